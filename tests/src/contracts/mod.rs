//! What every implementation of a port must do, whichever it is.

pub mod archive;
pub mod firewalls;
pub mod store;
