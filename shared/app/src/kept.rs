//! Where an archive of many exports keeps one of them, by a name that says which.

use crate::{
    Error, Exporting, MANIFEST,
    export::first_since,
    ports::{Batch, Rank, Store},
    transact::{Attempt, transact},
};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use portcullis_domain::{Chain, CorrelationId, Fact};
use serde_json::Value;

/// How many entries are read at a time.
const PAGE: usize = 200;
/// How often more of them are read.
const PAGES_MAX: usize = 50;

/// One try of an export. Each try has a folder of its own, so that nothing is overwritten, and only a whole export has its
/// manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// From then on.
    pub from: Timestamp,
    /// And before that.
    pub to: Timestamp,
    /// When it was begun.
    pub at: Timestamp,
    /// What whoever asked for it calls the matter.
    pub correlation: Option<CorrelationId>,
}

impl Kept {
    /// A try that begins now.
    pub fn begun(wish: &Exporting, correlation: Option<CorrelationId>, now: Timestamp) -> Self {
        Self { from: wish.from, to: wish.to, at: now, correlation }
    }

    /// The folder: `FROM--TO/AT`, and for whom.
    pub fn folder(&self) -> String {
        let Self { from, to, at, correlation } = self;
        let whose = correlation.as_ref().map(|it| BASE64URL_NOPAD.encode(it.as_str().as_bytes()));
        let whose = whose.map(|it| format!("/{it}")).unwrap_or_default();
        format!("{from}--{to}/{at}{whose}")
    }

    /// What is whole once this key is there; `None` if that is no manifest of ours.
    fn whole(key: &str) -> Option<Self> {
        let mut parts = key.strip_suffix(MANIFEST)?.strip_suffix('/')?.split('/');
        let (range, at) = (parts.next()?, parts.next()?);
        let (from, to) = range.split_once("--")?;
        let correlation = match parts.next() {
            Some(whose) => {
                Some(String::from_utf8(BASE64URL_NOPAD.decode(whose.as_bytes()).ok()?).ok()?.parse().ok()?)
            }
            None => None,
        };
        let kept = Self { from: from.parse().ok()?, to: to.parse().ok()?, at: at.parse().ok()?, correlation };
        parts.next().is_none().then_some(kept)
    }

    /// The one that an event of S3 tells of, and the bucket that it is in.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>
    pub(crate) fn told(source: &str, kind: Option<&str>, detail: &Value) -> Option<(Self, String)> {
        let is_told = source == "aws.s3" && kind == Some("Object Created");
        let kept = is_told.then(|| Self::whole(detail["object"]["key"].as_str()?)).flatten()?;
        Some((kept, detail["bucket"]["name"].as_str()?.to_owned()))
    }

    /// Records that it is whole, once.
    pub(crate) async fn record(
        self,
        archive: String,
        store: &impl Store,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (folder, Self { from, to, at, correlation }) = (self.folder(), self);
        let fact = Fact::ExportReady { archive, folder, from, to, correlation };
        record_once(store, &fact, at, now).await
    }
}

/// Records what belongs to no target, unless it was recorded since then: what tells of it may do so twice.
pub(crate) async fn record_once(
    store: &impl Store,
    fact: &Fact,
    since: Timestamp,
    now: Timestamp,
) -> Result<(), Error> {
    let first = first_since(store, &Chain::rest(), since).await?;
    transact(store, &[], Rank::Asking, |_| async move {
        let head = store.rest().await?;
        if is_told(store, first, fact).await? {
            return Ok(Attempt::Done(()));
        }
        let (_, rest) = head.append(&Chain::rest(), now, [fact.clone()]);
        Ok(Attempt::commit(Batch { rest, ..Batch::default() }, ()))
    })
    .await
}

/// Does an entry of the rest tell the same, from this one on? Behind more than are looked through it is told again.
async fn is_told(store: &impl Store, mut first: u64, fact: &Fact) -> Result<bool, Error> {
    for _ in 0..PAGES_MAX {
        let entries = store.entries(&Chain::rest(), first, PAGE).await?;
        let Some(last) = entries.last() else { return Ok(false) };
        if entries.iter().any(|it| it.fact == *fact) {
            return Ok(true);
        }
        first = last.n + 1;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_name_of_a_folder_identifies_its_export() {
        for correlation in [None, Some("audit/2026#2"), Some("a")] {
            let correlation = correlation.map(|it| it.parse().expect("valid"));
            let (from, to) = (time("2026-02-01T00:00:00Z"), time("2026-03-01T00:00:00Z"));
            let kept = Kept { from, to, at: time("2026-03-02T00:17:00.25Z"), correlation };
            assert_eq!(Kept::whole(&format!("{}/{MANIFEST}", kept.folder())), Some(kept.clone()));
            assert_eq!(Kept::whole(&format!("{}/part-1.jsonl", kept.folder())), None);
            assert_eq!(Kept::whole(&format!("{}/more/{MANIFEST}", kept.folder())), None);
        }
        assert_eq!(Kept::whole(MANIFEST), None);
        assert_eq!(Kept::whole("2026-02-01T00:00:00Z--soon/2026-03-02T00:17:00Z/manifest.json"), None);
    }
}
