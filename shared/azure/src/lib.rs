//! Azure: who asks, how Resource Manager is asked, and what its answers mean.

mod arm;
mod settings;

pub use arm::{Arm, Condition, Vitals};
pub use settings::{CloudName, Credentials, Endpoints, FileAssertion, NoCloud, Settings};
