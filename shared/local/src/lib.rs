//! One machine without a cloud: a durable store, an in-process bus and nftables.

mod bus;
mod nft;
mod store;
mod tokens;

pub use bus::LocalBus;
pub use nft::{Established, Host};
pub use store::{Class, RedbStore};
pub use tokens::TokenBook;

/// What time it is.
pub type Clock = std::sync::Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;
