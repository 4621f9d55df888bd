//! Azure: who asks, how Resource Manager is asked, and what its answers mean.
//!
//! Machines are found through Resource Graph, and guarded by rules in every network security group on the ways
//! to them and, where an Azure Firewall with classic rules stands in front, by its NAT rules.

mod admin;
mod adopt;
mod answer;
mod arm;
mod assertion;
mod azure;
mod balancers;
mod batches;
mod bearer;
mod bounds;
mod checkup;
mod clock;
mod endpoint;
mod group;
mod inventory;
mod leftovers;
mod login;
mod nat;
mod network;
mod operation;
mod parts;
mod reads;
mod refused;
mod retired;
mod retry;
mod role;
mod room;
mod row;
mod rule;
mod settings;
mod snapshot;
mod topology;
mod transport;
mod turns;
mod versions;
mod write;
mod written;

pub use arm::{Arm, Condition, Found, Judge, Sent, Vitals, Write};
pub use assertion::AskedAssertion;
pub use azure::Azure;
pub use azure_core::credentials::Secret;
pub use bounds::Bounds;
pub use clock::Clock;
pub use endpoint::{ForeignLink, NotAPath, NotAnEndpoint};
pub use refused::{Busy, Forbidden, NoToken, OutOfTime, Refused, UnderWay};
pub use retry::BUDGET;
pub use role::Role;
pub use settings::{CloudName, Credentials, Endpoints, FileAssertion, NoCloud, Settings};
pub use turns::Rank;
