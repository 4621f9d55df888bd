//! A chain of entries: each one's hash covers its own bytes as they are stored, and the hash before it.

use super::Fact;
use crate::{Chain, GrantId};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned, ser::SerializeStruct as _};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// One thing that happened. Its hash covers everything before it in its chain.
///
/// As JSON an object of the fields `chain`, `n`, `at`, `fact`, `prev` and `hash`, in this order. It is written again with the
/// same bytes as it was read, whatever this version of the code would have written: its [`Content`] is kept beside
/// what was read from it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Entry {
    /// Which chain it stands in.
    pub chain: Chain,
    /// Its number there, from 0, without gaps.
    pub n: u64,
    /// When, by the clock of whoever recorded it.
    pub at: Timestamp,
    /// What.
    pub fact: Fact,
    /// The hash of the entry before it; all zeros for the first.
    pub prev: Hash,
    /// SHA-256 of its [`Content`].
    pub hash: Hash,
    content: Content,
}

/// The values of an entry that its hash covers, as JSON, to the byte as they are stored.
///
/// INVARIANT (hashed-as-stored): the hash is of `[chain,n,at,fact,prev]`, a JSON array without white space around its five
/// values, each of them the bytes that are stored. Nothing is parsed and written again for it, so that neither another
/// order of fields here nor another release of what writes JSON breaks a chain that is stored.
#[derive(Debug, Clone, Serialize)]
pub struct Content(Box<RawValue>, Box<RawValue>, Box<RawValue>, Box<RawValue>, Box<RawValue>);

/// An entry as it is read: the text of each value, and not yet what it means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    chain: Box<RawValue>,
    n: Box<RawValue>,
    at: Box<RawValue>,
    fact: Box<RawValue>,
    prev: Box<RawValue>,
    hash: Hash,
}

/// SHA-256, printed as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

/// Where a chain ends: what the next entry must follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How many entries there are.
    pub n: u64,
    /// The hash of the last one.
    pub hash: Hash,
}

/// The first record that is not what was written, and how one can tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each one and its fields mean")]
pub enum BadRecord {
    #[error("entry {n} of `{chain}` is missing or out of order: entry {found} stands in its place")]
    OutOfOrder { chain: Chain, n: u64, found: u64 },
    #[error("entry {n} of `{chain}` was changed: its hash is not the one of its content")]
    Changed { chain: Chain, n: u64 },
    #[error(
        "entry {n} of `{chain}` does not follow the entry before it: that one was changed, dropped or inserted"
    )]
    NotChained { chain: Chain, n: u64 },
    #[error("entry {n} of `{chain}` cannot be read")]
    Unreadable { chain: Chain, n: u64 },
    #[error(
        "`{chain}` ends at entry {found}, but {wanted} entries were recorded: the last ones were dropped"
    )]
    CutShort { chain: Chain, wanted: u64, found: u64 },
    #[error("`{chain}` ends with another hash than the one that was recorded")]
    OtherHead { chain: Chain },
    #[error("entry {n} of `{chain}` was never recorded: the chain ends before it")]
    BeyondHead { chain: Chain, n: u64 },
    #[error("`{chain}` has entries, but its stored state was dropped")]
    NoState { chain: Chain },
    #[error("the stored state of `{chain}` differs from its entries: {field} differs")]
    OtherState { chain: Chain, field: &'static str },
    #[error("grant `{grant}` is stored otherwise than in the entries of `{chain}`")]
    OtherGrant { chain: Chain, grant: GrantId },
    #[error("`{chain}` has entries of {told} grants, but {stored} are stored")]
    OtherCount { chain: Chain, told: usize, stored: usize },
}

impl Head {
    /// These facts as the next entries, and where the chain ends after them.
    pub fn append(
        self,
        chain: &Chain,
        at: Timestamp,
        facts: impl IntoIterator<Item = Fact>,
    ) -> (Self, Vec<Entry>) {
        let mut head = self;
        let mut entries = vec![];
        for fact in facts {
            let entry = Entry::new(chain.clone(), head.n, at, fact, head.hash);
            head = Self { n: head.n + 1, hash: entry.hash };
            entries.push(entry);
        }
        (head, entries)
    }

    /// Where the chain ends after an entry that must be the next one.
    pub fn follow(self, chain: &Chain, entry: &Entry) -> Result<Self, BadRecord> {
        let (chain, n) = (chain.clone(), self.n);
        if entry.n != n || entry.chain != chain {
            return Err(BadRecord::OutOfOrder { chain, n, found: entry.n });
        }
        if entry.hash != entry.content.hash() {
            return Err(BadRecord::Changed { chain, n });
        }
        if entry.prev != self.hash {
            return Err(BadRecord::NotChained { chain, n });
        }
        Ok(Self { n: n + 1, hash: entry.hash })
    }
}

impl Entry {
    fn new(chain: Chain, n: u64, at: Timestamp, fact: Fact, prev: Hash) -> Self {
        let content = Content(raw(&chain), raw(&n), raw(&at), raw(&fact), raw(&prev));
        Self { chain, n, at, fact, prev, hash: content.hash(), content }
    }

    /// An entry whose content and hash stand apart, as in a table of evidence.
    pub fn of(content: Content, hash: Hash) -> Result<Self, serde_json::Error> {
        let Content(chain, n, at, fact, prev) = &content;
        Ok(Self {
            chain: parsed(chain)?,
            n: parsed(n)?,
            at: parsed(at)?,
            fact: parsed(fact)?,
            prev: parsed(prev)?,
            hash,
            content,
        })
    }

    /// Its fact as JSON, to the byte as it is stored.
    pub fn stored_fact(&self) -> &str {
        self.content.3.get()
    }

    /// Its time, to the letter as it is stored.
    pub fn stored_at(&self) -> String {
        parsed(&self.content.2).unwrap_or_default()
    }
}

impl Content {
    /// Of these texts, of which `fact` alone is JSON already; an error where it is not.
    pub fn of(chain: &str, n: u64, at: &str, fact: &str, prev: &str) -> Result<Self, serde_json::Error> {
        let fact = RawValue::from_string(fact.to_owned())?;
        Ok(Self(raw(&chain), raw(&n), raw(&at), fact, raw(&prev)))
    }

    fn texts(&self) -> [&str; 5] {
        let Self(chain, n, at, fact, prev) = self;
        [chain.get(), n.get(), at.get(), fact.get(), prev.get()]
    }

    fn hash(&self) -> Hash {
        Hash::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl Eq for Content {}

impl TryFrom<Stored> for Entry {
    type Error = serde_json::Error;
    fn try_from(it: Stored) -> Result<Self, Self::Error> {
        Self::of(Content(it.chain, it.n, it.at, it.fact, it.prev), it.hash)
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Content(chain, n, at, fact, prev) = &self.content;
        let mut entry = serializer.serialize_struct("Entry", 6)?;
        entry.serialize_field("chain", chain)?;
        entry.serialize_field("n", n)?;
        entry.serialize_field("at", at)?;
        entry.serialize_field("fact", fact)?;
        entry.serialize_field("prev", prev)?;
        entry.serialize_field("hash", &self.hash)?;
        entry.end()
    }
}

/// Writing cannot fail: every map has text for keys, and there are no floats.
fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_default()
}

fn parsed<T: DeserializeOwned>(text: &RawValue) -> Result<T, serde_json::Error> {
    serde_json::from_str(text.get())
}

impl Hash {
    /// Of all of this.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        HEXLOWER.encode(&hash.0)
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|it| it.try_into().ok());
        bytes.map(Self).ok_or("a hash has 64 lower-case hexadecimal digits")
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: usize) -> (Head, Vec<Entry>) {
        let facts = (0..length).map(|n| Fact::SettleFailed { why: format!("no {n}") });
        Head::default().append(&Chain::rest(), Timestamp::UNIX_EPOCH, facts)
    }

    fn verify(entries: &[Entry]) -> Result<Head, BadRecord> {
        entries.iter().try_fold(Head::default(), |head, entry| head.follow(&Chain::rest(), entry))
    }

    #[test]
    fn a_chain_verifies_also_after_a_round_trip() {
        let (head, entries) = chain(5);
        assert_eq!(verify(&entries), Ok(head));
        let text = serde_json::to_string(&entries).expect("writes");
        assert_eq!(serde_json::from_str::<Vec<Entry>>(&text).expect("reads"), entries);
    }

    #[test]
    fn a_changed_dropped_or_reordered_record_is_found() {
        let (_, entries) = chain(5);
        let mut changed = entries.clone();
        changed[2].content.3 = raw(&Fact::DriftHealed);
        assert!(matches!(verify(&changed), Err(BadRecord::Changed { n: 2, .. })));
        changed[2].hash = changed[2].content.hash();
        assert!(matches!(verify(&changed), Err(BadRecord::NotChained { n: 3, .. })));
        let mut dropped = entries.clone();
        dropped.remove(2);
        assert!(matches!(verify(&dropped), Err(BadRecord::OutOfOrder { n: 2, found: 3, .. })));
        let mut reordered = entries;
        reordered.swap(1, 2);
        assert!(matches!(verify(&reordered), Err(BadRecord::OutOfOrder { n: 1, found: 2, .. })));
    }

    #[test]
    fn an_entry_that_this_code_would_write_otherwise_verifies_and_is_written_as_it_was_read() {
        let fact = r#"{"why":"no \u0031","what":"settle_failed"}"#;
        let (at, prev) = ("1970-01-01T00:00:00.000Z", Hash::default().to_string());
        let preimage = format!(r#"["portcullis",0,"{at}",{fact},"{prev}"]"#);
        let hash = Hash::of(preimage.as_bytes());
        let stored = format!(
            r#"{{"chain":"portcullis","n":0,"at":"{at}","fact":{fact},"prev":"{prev}","hash":"{hash}"}}"#
        );
        let entry: Entry = serde_json::from_str(&stored).expect("reads");
        assert_eq!(entry.fact, Fact::SettleFailed { why: "no 1".to_owned() });
        let head = verify(std::slice::from_ref(&entry)).expect("whole");
        assert_eq!(head, Head { n: 1, hash });
        assert_eq!(serde_json::to_string(&entry).expect("writes"), stored);
        assert_eq!(entry.stored_fact(), fact);
        let apart = Content::of("portcullis", 0, at, fact, &prev).expect("JSON");
        assert_eq!(Entry::of(apart, hash).expect("reads"), entry);
        let widened = stored.replace(r#""what":"settle"#, r#""what": "settle"#);
        let widened: Entry = serde_json::from_str(&widened).expect("reads");
        assert!(
            matches!(verify(&[widened]), Err(BadRecord::Changed { n: 0, .. })),
            "another byte is another content"
        );
    }
}
