//! Where things stand in the file. Keys are names, values JSON: a person can read it with any tool.

use super::failed::{Failed, corrupt};
use jiff::Timestamp;
use portcullis_app::Error;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};

/// The version of this layout. Another one is refused, not guessed at.
pub const LAYOUT: u64 = 4;
/// The layout before, in which each spelling of a name had grants of its own. A file of it is laid out anew when it is opened.
pub const LAYOUT_BY_SPELLING: u64 = 3;
/// The layout before that, which has no feed.
pub const LAYOUT_WITHOUT_FEED: u64 = 2;
/// The layout before that, in which a target held its grants that are not closed.
pub const LAYOUT_WITH_GRANTS: u64 = 1;

/// The version of an item, and when it is due in ns since 1970.
pub type Version = (u64, Option<i128>);

/// Version, JSON of a `Target` without its grants; by target id.
pub const TARGETS: TableDefinition<'_, &str, (Version, &[u8])> = TableDefinition::new("targets");
/// Version, number in the list, JSON of a `Request`; by request id.
pub const REQUESTS: TableDefinition<'_, &str, (Version, u64, &[u8])> = TableDefinition::new("requests");
/// Number in the list, JSON of a `Grant`; by grant id.
pub const GRANTS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("grants");
/// JSON of an `Entry`; by chain and number.
pub const ENTRIES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("entries");
/// The feed: number of the first entry; by time in ns since 1970, chain, and number of the last entry of the same commit.
pub const FEED: TableDefinition<'_, (i128, &str, u64), u64> = TableDefinition::new("feed");
/// What is due: time in ns since 1970, [`DUE_TARGET`] or [`DUE_REQUEST`], id.
pub const DUE: TableDefinition<'_, (i128, u8, &str), ()> = TableDefinition::new("due");
/// Ids of requests in order of their first commit.
pub const REQUESTS_LISTED: TableDefinition<'_, u64, &str> = TableDefinition::new("requests_listed");
/// Ids of grants in order of their first commit.
pub const GRANTS_LISTED: TableDefinition<'_, u64, &str> = TableDefinition::new("grants_listed");
/// The same, of grants that are not closed.
pub const GRANTS_UNCLOSED: TableDefinition<'_, u64, &str> = TableDefinition::new("grants_unclosed");
/// The same, by `target:`, `request:` or `by:` and whose they are; a person by the name as it is compared.
pub const GRANTS_OF: TableDefinition<'_, (&str, u64), &str> = TableDefinition::new("grants_of");
/// Ids of the grants of a target that are not closed, by target id: what a target holds beside its own row.
pub const GRANTS_LIVE: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("grants_live");
/// JSON: the layout, the head of the chain of the rest, and the authority.
pub const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// SHA-256 of a token, when it was made in ns since 1970; by person.
pub const TOKENS: TableDefinition<'_, &str, (&[u8; 32], i128)> = TableDefinition::new("tokens");
/// JSON of the `TokenTerms` of the token in [`TOKENS`], and when it was last used in ns since 1970; by person. A file of an older version
/// has no such table, and a token of it no such row.
pub const TOKEN_TERMS: TableDefinition<'_, &str, (&[u8], Option<i128>)> = TableDefinition::new("token_terms");

/// The key of the layout in [`META`].
pub const META_LAYOUT: &str = "layout";
/// The key of the head of the chain of the rest in [`META`].
pub const META_REST: &str = "rest";
/// The key of the authority in [`META`].
pub const META_AUTHORITY: &str = "authority";
/// In [`DUE`]: a target.
pub const DUE_TARGET: u8 = 0;
/// In [`DUE`]: a request.
pub const DUE_REQUEST: u8 = 1;

/// Every table, open for one transaction.
pub struct Open<'t> {
    pub targets: Table<'t, &'static str, (Version, &'static [u8])>,
    pub requests: Table<'t, &'static str, (Version, u64, &'static [u8])>,
    pub grants: Table<'t, &'static str, (u64, &'static [u8])>,
    pub entries: Table<'t, (&'static str, u64), &'static [u8]>,
    pub feed: Table<'t, (i128, &'static str, u64), u64>,
    pub due: Table<'t, (i128, u8, &'static str), ()>,
    pub requests_listed: Table<'t, u64, &'static str>,
    pub grants_listed: Table<'t, u64, &'static str>,
    pub grants_unclosed: Table<'t, u64, &'static str>,
    pub grants_of: Table<'t, (&'static str, u64), &'static str>,
    pub grants_live: Table<'t, (&'static str, &'static str), ()>,
    pub meta: Table<'t, &'static str, &'static [u8]>,
    pub tokens: Table<'t, &'static str, (&'static [u8; 32], i128)>,
    pub token_terms: Table<'t, &'static str, (&'static [u8], Option<i128>)>,
}

impl<'t> Open<'t> {
    /// Opens all of them, and makes those that are not there.
    pub fn of(transaction: &'t WriteTransaction) -> Result<Self, redb::TableError> {
        Ok(Self {
            targets: transaction.open_table(TARGETS)?,
            requests: transaction.open_table(REQUESTS)?,
            grants: transaction.open_table(GRANTS)?,
            entries: transaction.open_table(ENTRIES)?,
            feed: transaction.open_table(FEED)?,
            due: transaction.open_table(DUE)?,
            requests_listed: transaction.open_table(REQUESTS_LISTED)?,
            grants_listed: transaction.open_table(GRANTS_LISTED)?,
            grants_unclosed: transaction.open_table(GRANTS_UNCLOSED)?,
            grants_of: transaction.open_table(GRANTS_OF)?,
            grants_live: transaction.open_table(GRANTS_LIVE)?,
            meta: transaction.open_table(META)?,
            tokens: transaction.open_table(TOKENS)?,
            token_terms: transaction.open_table(TOKEN_TERMS)?,
        })
    }
}

/// The number after the last one of a list.
pub fn next_number(list: &impl ReadableTable<u64, &'static str>) -> Result<u64, Failed> {
    Ok(list.last()?.map_or(0, |(number, _)| number.value() + 1))
}

/// A due time as it stands in a key.
pub fn nanos(at: Timestamp) -> i128 {
    at.as_nanosecond()
}

/// A value as it is stored.
pub fn json(value: &impl Serialize) -> Result<Vec<u8>, Failed> {
    serde_json::to_vec(value).map_err(|error| {
        Failed::Whole(Error::Broken { doing: "write a record as JSON", source: error.into() })
    })
}

/// A value as it was stored; what cannot be read is named.
pub fn parse<T: DeserializeOwned>(table: &'static str, key: &str, value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|error| corrupt(table, key, &error))
}
