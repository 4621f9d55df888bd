//! Everything that needs no emulator, no other program, no root and no network: `cargo test`.

mod appetite;
mod azure;
mod azure_network;
mod azure_plan;
mod contracts;
mod door;
mod due;
mod event_schemas;
mod export;
mod feed;
mod hold;
mod house;
mod http;
mod journal;
mod promises;
mod properties;
mod reconcile;
mod review;
mod settle;
mod simcloud;
mod simcloud_roles;
mod small_world;
mod stories;
mod submit;
mod verify;
mod words;
