//! One machine without a cloud: a durable store, an in-process bus, nftables and a simulated fleet.

mod bus;
mod fleet;
mod nft;
mod store;
mod tokens;
