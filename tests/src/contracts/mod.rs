//! What every implementation of a port must do, whichever it is.

pub mod archive;
pub mod authentication;
pub mod bus;
pub mod every;
pub mod feed;
pub mod firewalls;
pub mod store;
pub mod tokens;
