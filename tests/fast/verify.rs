//! What `verify` says of a table whose lists are a moment behind: nothing that is not so.

use jiff::Timestamp;
use portcullis_app::{
    self as app, Error,
    ports::{Batch, Due, FeedItem, GrantFilter, Page, PageAsked, RequestFilter, Seen, Store},
};
use portcullis_domain::{
    Authority, BadRecord, Chain, Entry, Grant, GrantId, Head, Request, RequestId, Target, TargetId,
};
use portcullis_tests::door;
use portcullis_tests::{
    given::{self, asked},
    place::Place,
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A table whose lists of grants show nothing so often.
struct Behind<'a, S> {
    table: &'a S,
    looks: AtomicUsize,
}

impl<S: Store> Store for Behind<'_, S> {
    async fn target(&self, id: &TargetId) -> Result<Option<(Target, Seen)>, Error> {
        self.table.target(id).await
    }

    async fn request(&self, id: &RequestId) -> Result<Option<(Request, Seen)>, Error> {
        self.table.request(id).await
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, Error> {
        self.table.grant(id).await
    }

    async fn authority(&self) -> Result<Option<Authority>, Error> {
        self.table.authority().await
    }

    async fn rest(&self) -> Result<Head, Error> {
        self.table.rest().await
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.table.commit(batch).await
    }

    async fn due(&self, until: Timestamp, at_most: usize) -> Result<Vec<(Timestamp, Due)>, Error> {
        self.table.due(until, at_most).await
    }

    async fn targets(&self, after: Option<&TargetId>, at_most: usize) -> Result<Vec<Target>, Error> {
        self.table.targets(after, at_most).await
    }

    async fn chains(&self, after: Option<&Chain>, at_most: usize) -> Result<Vec<Chain>, Error> {
        self.table.chains(after, at_most).await
    }

    async fn requests(&self, of: &RequestFilter, page: &PageAsked) -> Result<Page<Request>, Error> {
        self.table.requests(of, page).await
    }

    async fn grants(&self, of: &GrantFilter, page: &PageAsked) -> Result<Page<Grant>, Error> {
        if self.looks.load(Ordering::Relaxed) == 0 {
            return self.table.grants(of, page).await;
        }
        self.looks.fetch_sub(1, Ordering::Relaxed);
        Ok(Page { items: vec![], next: None })
    }

    async fn entries(&self, chain: &Chain, from: u64, at_most: usize) -> Result<Vec<Entry>, Error> {
        self.table.entries(chain, from, at_most).await
    }

    async fn last(&self, chain: &Chain) -> Result<Option<Entry>, Error> {
        self.table.last(chain).await
    }

    async fn feed(
        &self,
        since: Timestamp,
        after: Option<&FeedItem>,
        at_most: usize,
    ) -> Result<Vec<FeedItem>, Error> {
        self.table.feed(since, after, at_most).await
    }

    async fn recorded(&self, items: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Error> {
        self.table.recorded(items).await
    }
}

/// One grant that is told and stored, and lists that do not show it so often yet.
async fn verified(looks: usize) -> Vec<BadRecord> {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh()).await;
    let asked = asked("ann", "1", &[id.as_str()], "198.51.100.1");
    door::initiate(place.store(), place.terms(), &asked, place.now()).await.expect("granted");
    let behind = Behind { table: place.store(), looks: AtomicUsize::new(looks) };
    app::verify(&behind).await.expect("verified").bad
}

#[tokio::test]
async fn a_stale_list_of_targets_is_not_taken_for_a_broken_journal() {
    for looks in [0, 1, 5] {
        assert_eq!(verified(looks).await, [], "shown after {looks} looks");
    }
    let bad = verified(usize::MAX).await;
    assert!(matches!(bad[..], [BadRecord::OtherCount { told: 1, stored: 0, .. }]), "{bad:?}");
}
