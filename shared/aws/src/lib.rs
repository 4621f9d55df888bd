//! AWS: the table in DynamoDB, events on EventBridge, who may call, and who we are to Azure.
//!
//! One table holds everything; `store/items.rs` says where. Settings are arguments: the functions read them.

mod archive;
mod bus;
mod connector;
mod federation;
mod pauses;
mod settings;
mod store;
mod tokens;

pub use archive::Bucket;
pub use bus::EventBus;
pub use connector::connector;
pub use federation::Federation;
/// What a token book does, for a client that makes the first token of a table.
pub use portcullis_app::ports::Tokens;
pub use settings::{BadCloud, Cloud, Keys};
pub use store::{Clock, DynamoStore, NotEntries, entries_in};
pub use tokens::TokenBook;
