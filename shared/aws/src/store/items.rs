//! Where things stand in the table.
//!
//! | item | `pk` | `sk` | in the indexes |
//! | --- | --- | --- | --- |
//! | target | `T#<id>` | `STATE` | due |
//! | live grants of a target that has many | `T#<id>` | `LIVE#<number>` | |
//! | that there is such a target | `D#targets` | id | |
//! | request | `R#<id>` | `STATE` | due while it waits; listed by state; of its person |
//! | grant | `R#<request>` | `G#<number>` | listed as open or closed; of its target; of its person |
//! | entries of one commit | `J#<chain>` | number of the last one | due, as the feed; a chain's first ones: listed |
//! | end of the chain of the rest | `H#portcullis` | `HEAD` | |
//! | authority | `H#portcullis` | `AUTHORITY` | |
//! | token, with its terms and its last use | `K#<digest>` | `TOKEN` | |
//! | which token a person has | `P#<person>` | `TOKEN` | listed |
//!
//! The live grants of a target are in its own item, or beside it where they are many (`spill.rs`): a grant's item says only
//! where to look until it is closed, so that opening, prolonging and ending one costs no write of its own. Times in keys have nine decimals, so that
//! their texts sort as they do.

use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use portcullis_app::Error;
use portcullis_domain::{Chain, GrantId, Person, RequestId, TargetId};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, fmt};

/// An item as the SDK has it.
#[expect(clippy::disallowed_types, reason = "the SDK's own shape; nobody walks through it")]
pub type Item = std::collections::HashMap<String, AttributeValue>;

/// The keys.
pub const PK: &str = "pk";
/// See [`PK`].
pub const SK: &str = "sk";
/// JSON, as text or, if it is long, deflated.
pub const BODY: &str = "body";
/// How often a target or a request was written.
pub const VERSION: &str = "version";
/// Which commit wrote it last, to tell one's own after an answer that was lost.
pub const COMMIT: &str = "commit";
/// How many entries the chain of the rest has.
pub const LENGTH: &str = "length";
/// The hash of its last entry.
pub const HASH: &str = "hash";
/// When a token was made.
pub const MADE_AT: &str = "made_at";
/// When a token was last used.
pub const USED_AT: &str = "used_at";
/// Whose token it is, or which token they have.
pub const TOKEN: &str = "token";

/// The index of what is due, and of the feed: by shard and time.
pub const BY_DUE: Index = Index { name: "due", pk: DUE_SHARD, sk: DUE_AT };
/// The index of lists: by list and place in it.
pub const LISTED: Index = Index { name: "listed", pk: LIST, sk: LISTED_AT };
/// The index of a target's grants.
pub const OF_TARGET: Index = Index { name: "of_target", pk: TARGET, sk: LISTED_AT };
/// The index of a person's requests, and of their grants.
pub const OF_PERSON: Index = Index { name: "of_person", pk: PERSON, sk: LISTED_AT };

/// Which part of the index of what is due, or of the feed, an item is in.
pub const DUE_SHARD: &str = "due_shard";
/// When it is due, or its place in the feed.
pub const DUE_AT: &str = "due_at";
/// Which list it is in.
pub const LIST: &str = "list";
/// Its place in lists: for requests and grants when it was first written.
pub const LISTED_AT: &str = "listed_at";
/// Whose target's it is.
pub const TARGET: &str = "target";
/// Whose it is.
pub const PERSON: &str = "person";

/// The list of grants that are not closed.
pub const GRANTS_OPEN: &str = "grants#open";
/// The list of those that are.
pub const GRANTS_CLOSED: &str = "grants#closed";
/// The list of chains.
pub const CHAINS: &str = "chains";
/// The list of those who have a token.
pub const TOKENS: &str = "tokens";
/// The partition that says which targets there are. Not an index: who sweeps rules that no target wants must see a
/// target that was stored a moment ago (INVARIANT: unknown-is-asked-last).
pub const TARGETS: &str = "D#targets";

/// Into how many parts what is due is divided: one would take about a thousand changes per second.
pub const DUE_SHARDS: u8 = 4;
/// Into how many parts the feed is divided; as with what is due.
pub const FEED_SHARDS: u8 = 4;
/// A body longer than this, in bytes, is deflated: an item has at most 400 KB.
const PACK_MIN: usize = 64 * 1024;
/// A body may be this long, in bytes, when it is inflated again.
const UNPACKED_MAX: usize = 64 * 1024 * 1024;
/// Fast, and small enough: what repeats is the names of fields.
const PACK_LEVEL: u8 = 6;

/// An index of the table, with its keys.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    pub name: &'static str,
    pub pk: &'static str,
    pub sk: &'static str,
}

/// Where an item stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

impl Key {
    pub fn target(id: &TargetId) -> Self {
        Self { pk: format!("T#{id}"), sk: STATE.to_owned() }
    }

    /// Some of a target's live grants.
    pub fn chunk(id: &TargetId, n: u16) -> Self {
        Self { pk: format!("T#{id}"), sk: format!("LIVE#{n:05}") }
    }

    pub fn listed_target(id: &TargetId) -> Self {
        Self { pk: TARGETS.to_owned(), sk: id.to_string() }
    }

    pub fn request(id: &RequestId) -> Self {
        Self { pk: format!("R#{id}"), sk: STATE.to_owned() }
    }

    /// None if the grant's name is not one that was derived from a request.
    pub fn grant(id: &GrantId) -> Option<Self> {
        let (request, n) = id.derivation()?;
        // `…-01` would be found where `…-1` stands.
        if GrantId::derived(&request, n) != *id {
            return None;
        }
        Some(Self { pk: format!("R#{request}"), sk: format!("{GRANT}{n:06}") })
    }

    pub fn entries(chain: &Chain, last: u64) -> Self {
        Self { pk: chain_pk(chain), sk: number(last) }
    }

    pub fn head() -> Self {
        Self { pk: format!("H#{}", Chain::rest()), sk: "HEAD".to_owned() }
    }

    /// The authority: a change of it is an entry of the rest.
    pub fn authority() -> Self {
        Self { sk: "AUTHORITY".to_owned(), ..Self::head() }
    }

    pub fn token(digest: &str) -> Self {
        Self { pk: format!("K#{digest}"), sk: TOKEN_SK.to_owned() }
    }

    pub fn token_of(person: &Person) -> Self {
        Self { pk: format!("P#{person}"), sk: TOKEN_SK.to_owned() }
    }

    /// The key of an item that was read.
    pub fn of(item: &Item) -> Result<Self, Error> {
        Ok(Self { pk: text(item, PK)?.to_owned(), sk: text(item, SK)?.to_owned() })
    }

    /// What stands after the kind in its `pk`.
    pub fn name(&self) -> &str {
        self.pk.split_once('#').map_or("", |(_, name)| name)
    }

    /// The grant that stands here.
    pub fn grant_id(&self, item: &Item) -> Result<GrantId, Error> {
        let n = self.sk.strip_prefix(GRANT).and_then(|it| it.parse().ok());
        let n = n.ok_or_else(|| corrupt(item, &"it is not a grant"))?;
        Ok(GrantId::derived(&named(item, self.name())?, n))
    }

    pub fn is_request(&self) -> bool {
        self.pk.starts_with("R#")
    }

    /// The part of the index of what is due that it belongs to.
    pub fn due_shard(&self) -> String {
        due_shard(Sha256::digest(&self.pk)[0] % DUE_SHARDS)
    }

    /// The part of the feed that its entries belong to.
    pub fn feed_shard(&self) -> String {
        feed_shard(Sha256::digest(&self.pk)[0] % FEED_SHARDS)
    }
}

/// The `sk` of a target or a request.
const STATE: &str = "STATE";
/// What the `sk` of a grant begins with.
const GRANT: &str = "G#";
/// What sorts after the `sk` of every grant, and before [`STATE`].
pub const GRANTS_END: &str = "G$";
const TOKEN_SK: &str = "TOKEN";

/// A part of the index of what is due.
pub fn due_shard(shard: u8) -> String {
    format!("due#{shard}")
}

/// A part of the feed: a partition of the index of what is due, beside those.
pub fn feed_shard(shard: u8) -> String {
    format!("feed#{shard}")
}

/// The place of entries in the feed: by time, and of one time by a digest of their key, so that no two have the same place.
pub fn feed_at(at: Timestamp, Key { pk, sk }: &Key) -> String {
    const DIGEST_BYTES: usize = 8;
    let digest = Sha256::digest(format!("{pk} {sk}"));
    format!("{}#{}", moment(at), HEXLOWER.encode(&digest[..DIGEST_BYTES]))
}

/// What the partition of a chain's entries begins with.
pub const ENTRIES: &str = "J#";

/// The partition of a chain's entries.
pub fn chain_pk(chain: &Chain) -> String {
    format!("{ENTRIES}{chain}")
}

/// The partition of a person's requests in the index of persons, one for all spellings of the name.
pub fn requests_of(person: &Person) -> String {
    format!("requests#{}", person.folded())
}

/// The partition of a person's grants in the index of persons, one for all spellings of the name.
pub fn grants_of(person: &Person) -> String {
    format!("grants#{}", person.folded())
}

/// The partition of a person's requests in which the version before wrote them: there each spelling had its own.
pub fn requests_as_spelled(person: &Person) -> String {
    format!("requests#{person}")
}

/// See [`requests_as_spelled`].
pub fn grants_as_spelled(person: &Person) -> String {
    format!("grants#{person}")
}

/// The list of requests in a state.
pub fn requests_in(state: &str) -> String {
    format!("requests#{state}")
}

/// A number as it sorts.
pub fn number(n: u64) -> String {
    format!("{n:020}")
}

/// A time as it sorts.
pub fn moment(at: Timestamp) -> String {
    format!("{at:.9}")
}

/// A text as it is stored.
pub fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number as it is stored.
pub fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A value as it is stored: JSON, deflated if it is long.
pub fn body(value: &impl Serialize) -> Result<AttributeValue, Error> {
    let json = serde_json::to_string(value)
        .map_err(|error| Error::Broken { doing: "write a record as JSON", source: error.into() })?;
    if json.len() <= PACK_MIN {
        return Ok(AttributeValue::S(json));
    }
    let packed = miniz_oxide::deflate::compress_to_vec(json.as_bytes(), PACK_LEVEL);
    Ok(AttributeValue::B(packed.into()))
}

/// The same, deflated also if it is short: what is written again and again.
pub fn body_packed(value: &impl Serialize) -> Result<AttributeValue, Error> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Error::Broken { doing: "write a record as JSON", source: error.into() })?;
    Ok(AttributeValue::B(miniz_oxide::deflate::compress_to_vec(&json, PACK_LEVEL).into()))
}

/// How long a body is as it is stored, in bytes.
pub fn length(body: &AttributeValue) -> usize {
    let text = body.as_s().map(String::len);
    text.or_else(|_| body.as_b().map(|it| it.as_ref().len())).unwrap_or(0)
}

/// A value as it was stored; what cannot be read is named.
pub fn parse<T: DeserializeOwned>(item: &Item) -> Result<T, Error> {
    sized(item).map(|(value, _)| value)
}

/// The same, and how long it is as JSON, in bytes.
pub fn sized<T: DeserializeOwned>(item: &Item) -> Result<(T, usize), Error> {
    let json = match item.get(BODY) {
        Some(AttributeValue::S(json)) => Cow::Borrowed(json.as_bytes()),
        Some(AttributeValue::B(packed)) => {
            let json = miniz_oxide::inflate::decompress_to_vec_with_limit(packed.as_ref(), UNPACKED_MAX);
            Cow::Owned(json.map_err(|error| corrupt(item, &error))?)
        }
        Some(_) | None => return Err(corrupt(item, &"it has no body")),
    };
    let value = serde_json::from_slice(&json).map_err(|error| corrupt(item, &error))?;
    Ok((value, json.len()))
}

/// A text of an item that was read.
pub fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, Error> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        Some(_) | None => Err(corrupt(item, &format_args!("it has no text `{name}`"))),
    }
}

/// A number of an item that was read.
pub fn whole(item: &Item, name: &str) -> Result<u64, Error> {
    let found = match item.get(name) {
        Some(AttributeValue::N(number)) => number.parse().ok(),
        Some(_) | None => None,
    };
    found.ok_or_else(|| corrupt(item, &format_args!("it has no whole number `{name}`")))
}

/// A name that was stored, and so was one.
pub fn named<T: std::str::FromStr<Err: fmt::Display>>(item: &Item, name: &str) -> Result<T, Error> {
    name.parse().map_err(|error| corrupt(item, &error))
}

pub fn corrupt(item: &Item, why: &dyn fmt::Display) -> Error {
    let key = |name| match item.get(name) {
        Some(AttributeValue::S(text)) => text.as_str(),
        Some(_) | None => "?",
    };
    let source = format!("item `{}`, `{}` is not as it was written: {why}", key(PK), key(SK)).into();
    Error::Broken { doing: "read the table", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_sort_as_their_texts_do() {
        let at = |nanos| moment(Timestamp::from_nanosecond(nanos).expect("in range"));
        let second = 1_800_000_000_000_000_000;
        let sorted = [at(second - 1), at(second), at(second + 1), at(second + 1_000_000_000)];
        assert!(sorted.is_sorted(), "{sorted:?}");
        assert!(number(9) < number(10));
    }

    #[test]
    fn a_long_body_is_deflated_and_reads_back() {
        for repeats in [1, 10_000] {
            let value = vec!["a grant of somebody".to_owned(); repeats];
            let stored = body(&value).expect("writes");
            assert_eq!(matches!(stored, AttributeValue::B(_)), repeats != 1);
            let item = Item::from([(BODY.to_owned(), stored)]);
            assert_eq!(parse::<Vec<String>>(&item).expect("reads"), value);
        }
    }

    #[test]
    fn a_changed_item_is_named() {
        let item =
            Item::from([(PK.to_owned(), s("T#vm")), (SK.to_owned(), s("STATE")), (BODY.to_owned(), s("{"))]);
        let error = parse::<Vec<String>>(&item).expect_err("no JSON");
        assert!(error.full().contains("`T#vm`, `STATE` is not as it was written"), "{}", error.full());
    }

    #[test]
    fn what_is_due_is_in_one_of_the_parts() {
        let shards: Vec<String> = (0..DUE_SHARDS).map(due_shard).collect();
        for n in 0..100 {
            let id = format!("vm-{n}").parse().expect("a target");
            assert!(shards.contains(&Key::target(&id).due_shard()));
        }
    }
}
