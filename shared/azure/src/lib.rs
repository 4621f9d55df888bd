//! Azure: who asks, how Resource Manager is asked, and what its answers mean.

mod answer;
mod arm;
mod endpoint;
mod login;
mod operation;
mod refused;
mod retry;
mod settings;
mod transport;
mod turns;

pub use arm::{Arm, Condition, Vitals};
pub use endpoint::{ForeignLink, NotAnEndpoint};
pub use refused::{Busy, Forbidden, NoToken, OutOfTime, Refused, UnderWay};
pub use retry::BUDGET;
pub use settings::{CloudName, Credentials, Endpoints, FileAssertion, NoCloud, Settings};
pub use transport::NotARoot;
