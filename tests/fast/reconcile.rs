//! A round of the backstop that is longer than its worker lives: it leaves targets to the next one, and no claims.

use jiff::Timestamp;
use portcullis_app::{
    self as app, Error,
    ports::{Batch, Clock, Firewalls, Inventory, Machine, Machines, OurRule, Seen, Store},
};
use portcullis_domain::{Change, Snapshot, TargetId};
use portcullis_local::RedbStore;
use portcullis_tests::given::{at, guarded, named};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

/// How many targets there are: more than are settled at once.
const TARGETS: usize = 150;

/// A cloud that takes a second for each read, one after another, and gives nothing.
#[derive(Default)]
struct Slow {
    seconds: AtomicI64,
    read: Mutex<BTreeSet<TargetId>>,
}

impl Clock for Slow {
    fn now(&self) -> Timestamp {
        at(self.seconds.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, _: Timestamp) -> Result<(), Error> {
        unreachable!("it waits for nothing")
    }
}

impl Firewalls for Slow {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        self.seconds.fetch_add(1, Ordering::Relaxed);
        self.read.lock().expect("whole").insert(target.clone());
        Err(Error::Broken { doing: "read a firewall", source: "it gives nothing".into() })
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        Ok(vec![])
    }

    async fn write(&self, _: Option<&TargetId>, _: &[Change]) -> Result<(), Error> {
        unreachable!("nothing was read")
    }
}

impl Inventory for Slow {
    async fn machines(&self, _: Option<&TargetId>, _: usize) -> Result<Machines, Error> {
        Ok(Machines { items: vec![], unseen: vec![] })
    }

    async fn machine(&self, _: &TargetId) -> Result<Option<Machine>, Error> {
        Ok(None)
    }
}

#[tokio::test]
async fn a_target_that_cannot_be_settled_in_time_is_left_without_a_claim() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = RedbStore::open(&folder.path().join("portcullis.redb")).expect("opens");
    for n in 0..TARGETS {
        let next = guarded(&format!("vm-{n}"), at(0));
        store.commit(Batch::of(next, Seen::NEVER)).await.expect("committed");
    }
    let mut settled = BTreeSet::new();
    // Each round begins with others, so that in some of them everybody's turn has come.
    for round in 0..20 {
        let cloud = Slow { seconds: AtomicI64::new(round * 900), ..Slow::default() };
        let token = named(&format!("round-{round}"));
        app::reconcile(&store, &cloud, &app::Rights::default(), &token, &cloud)
            .await
            .expect_err("nothing can be read");
        let read = cloud.read.into_inner().expect("whole");
        assert!(read.len() < TARGETS, "it began {} targets", read.len());
        settled.extend(read);
        for n in 0..TARGETS {
            let (target, _) =
                store.target(&named(&format!("vm-{n}"))).await.expect("loads").expect("is there");
            assert!(!target.is_claimed(), "{} is claimed", target.id);
        }
    }
    assert_eq!(settled.len(), TARGETS, "nobody is always the last");
}
