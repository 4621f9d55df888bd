//! The contract of [`Store`], as its doc comment says it. Every function begins with an empty table.

use crate::given::{self, at, guarded, named};
use futures_util::{FutureExt as _, future::join_all};
use jiff::Timestamp;
use portcullis_app::{
    Error,
    ports::{Batch, Due, GrantFilter, PART_BYTES_MAX, Page, PageAsked, Rank, RequestFilter, Seen, Store},
};
use portcullis_domain::{
    Authority, CLOSED_AT_ONCE_MAX, Chain, ClaimToken, Entry, Fact, Grant, GrantId, Head, Next, People,
    Request, RequestState, Snapshot, Target, TargetId,
};
use std::{cell::RefCell, fmt::Debug};

/// What is committed is loaded, each thing by its name, with the version after the one that was seen.
pub async fn what_is_committed_is_loaded(store: &impl Store) {
    let (request, next) = approved("a", "vm-1", guarded("vm-1", at(0)).target);
    let batch = Batch {
        targets: vec![(next.clone(), Seen::NEVER)],
        request: Some((request.clone(), Seen::NEVER)),
        ..Batch::default()
    };
    assert_eq!(none(store.target(&next.target.id).await), None, "nothing is there before");
    done(store.commit(batch).await);
    assert_eq!(none(store.target(&next.target.id).await), Some((next.target.clone(), Seen(1))));
    assert_eq!(none(store.request(&request.id).await), Some((request, Seen(1))));
    assert_eq!(none(store.grant(&next.grants[0].id).await), Some(next.grants[0].clone()));
    let chain = Chain::from(&next.target.id);
    assert_eq!(none(store.entries(&chain, 0, 100).await), next.entries);
    assert_eq!(none(store.entries(&chain, 1, 1).await), next.entries[1..2]);
    assert_eq!(none(store.last(&chain).await).as_ref(), next.entries.last());
    assert_eq!(none(store.last(&Chain::rest()).await), None, "there is none of the rest");
}

/// A batch with one stale version in it conflicts, and nothing of it is written.
pub async fn a_conflict_leaves_no_trace(store: &impl Store) {
    let (one, two) = (guarded("vm-1", at(0)), guarded("vm-2", at(0)));
    done(store.commit(Batch::of(one.clone(), Seen::NEVER)).await);
    let (request, granted) = approved("a", "vm-2", two.target);
    let rest = Head::default().append(&Chain::rest(), at(1), [Fact::DriftHealed]).1;
    let stale = one.target.note(vec![Fact::DriftHealed], at(1));
    let batch = Batch {
        targets: vec![(granted.clone(), Seen::NEVER), (stale, Seen::NEVER)],
        request: Some((request.clone(), Seen::NEVER)),
        rest,
        ..Batch::default()
    };
    conflict(&store.commit(batch).await);
    assert_eq!(none(store.target(&granted.target.id).await), None);
    assert_eq!(none(store.request(&request.id).await), None);
    assert_eq!(none(store.grant(&granted.grants[0].id).await), None);
    assert_eq!(none(store.entries(&Chain::from(&granted.target.id), 0, 100).await), vec![]);
    assert_eq!(none(store.rest().await), Head::default());
    assert_eq!(none(store.requests(&RequestFilter::default(), &first(10)).await).items, vec![]);
    assert_eq!(none(store.due(at(100_000), 10).await).len(), 1, "only of what was there before");
}

/// Of writers that saw the same version one wins, and the others are told.
pub async fn one_of_many_writers_wins(store: &impl Store) {
    const WRITERS: usize = 20;
    let first = guarded("vm-1", at(0));
    done(store.commit(Batch::of(first.clone(), Seen::NEVER)).await);
    let write = |n: usize| {
        let noted = first.target.clone().note(vec![Fact::SettleFailed { why: n.to_string() }], at(1));
        store.commit(Batch::of(noted, Seen(1)))
    };
    let outcomes = join_all((0..WRITERS).map(write)).await;
    let won = outcomes.iter().filter(|it| it.is_ok()).count();
    let lost = outcomes.iter().filter(|it| matches!(it, Err(Error::Conflict))).count();
    assert_eq!((won, lost), (1, WRITERS - 1));
    assert_eq!(
        none(store.entries(&Chain::from(&first.target.id), 0, 100).await).len(),
        first.entries.len() + 1
    );
}

/// Writers of one chain that take turns all get to write, and a writer that stopped waiting holds nobody up.
pub async fn writers_in_turn_all_commit(store: &impl Store) {
    const WRITERS: usize = 32;
    const LOSSES_MAX: usize = 100;
    let first = guarded("vm-1", at(0));
    let chain = Chain::from(&first.target.id);
    done(store.commit(Batch::of(first.clone(), Seen::NEVER)).await);
    let write = async |n: usize| {
        for lost in 0..LOSSES_MAX {
            let _turn = store.turn(&chain, Rank::Asking, lost).await;
            let (target, seen) = none(store.target(&first.target.id).await).expect("stored");
            let noted = target.note(vec![Fact::SettleFailed { why: n.to_string() }], at(1));
            match store.commit(Batch::of(noted, seen)).await {
                Err(Error::Conflict) => {}
                outcome => return done(outcome),
            }
        }
        panic!("writer {n} never got its turn");
    };
    let turn = store.turn(&chain, Rank::Asking, 0).await;
    drop(store.turn(&chain, Rank::Worker, 0).now_or_never());
    drop(turn);
    join_all((0..WRITERS).map(write)).await;
    let entries = none(store.entries(&chain, 0, 100).await);
    assert_eq!(entries.len(), first.entries.len() + WRITERS);
}

/// Where turns are one at a time: a worker goes before a caller that shuts, that one before a caller that asks, and
/// callers of one kind go in the order in which they came. Another chain waits for none of them.
pub async fn turns_go_by_rank_and_then_by_arrival(store: &impl Store) {
    let chain: Chain = named("vm-1");
    let turn = store.turn(&chain, Rank::Asking, 0).await;
    let gone = RefCell::new(vec![]);
    let wait = async |name: &'static str, rank: Rank| {
        let _turn = store.turn(&chain, rank, 0).await;
        gone.borrow_mut().push(name);
    };
    let mut waiting: Vec<_> = [
        ("ask 1", Rank::Asking),
        ("ask 2", Rank::Asking),
        ("close 1", Rank::Shutting),
        ("worker", Rank::Worker),
        ("close 2", Rank::Shutting),
    ]
    .map(|(name, rank)| Box::pin(wait(name, rank)))
    .into();
    for it in &mut waiting {
        assert!(it.now_or_never().is_none(), "one turn at a time");
    }
    assert!(store.turn(&named("vm-2"), Rank::Asking, 0).now_or_never().is_some());
    // The first of them hangs up.
    drop(waiting.remove(0));
    drop(turn);
    join_all(waiting).await;
    assert_eq!(*gone.borrow(), ["worker", "close 1", "close 2", "ask 2"]);
}

/// A grant that ever existed cannot be approved again, also when it is long closed.
pub async fn granted_once(store: &impl Store) {
    let (_, next) = approved("a", "vm-1", guarded("vm-1", at(0)).target);
    let again = next.clone();
    done(store.commit(Batch::of(next.clone(), Seen::NEVER)).await);
    let over = at(10_000);
    let claimed = next.target.claim(&named("w"), over);
    done(store.commit(Batch::of(claimed.clone(), Seen(1))).await);
    let seen = Snapshot::of(over, vec![shut(&claimed.target)]);
    let decided = claimed.target.rules(over);
    let closed = claimed.target.confirm(&seen, false, &decided, over);
    assert_eq!(closed.grants.len(), 1, "the grant is closed: {:?}", closed.entries);
    done(store.commit(Batch::of(closed.clone(), Seen(2))).await);
    let reopened = closed.target.grant(again.grants, None, over);
    conflict(&store.commit(Batch::of(reopened, Seen(3))).await);
}

/// What concerns no target is one chain; whoever appends to an old end of it conflicts.
pub async fn the_rest_is_one_chain(store: &impl Store) {
    let (head, one) = Head::default().append(&Chain::rest(), at(0), [Fact::DriftHealed]);
    done(store.commit(Batch { rest: one.clone(), ..Batch::default() }).await);
    assert_eq!(none(store.rest().await), head);
    conflict(&store.commit(Batch { rest: one.clone(), ..Batch::default() }).await);
    let (head, two) = head.append(&Chain::rest(), at(1), [Fact::DriftHealed, Fact::DriftHealed]);
    done(store.commit(Batch { rest: two.clone(), ..Batch::default() }).await);
    assert_eq!(none(store.rest().await), head);
    assert_eq!(none(store.entries(&Chain::rest(), 0, 10).await), [one, two].concat());
}

/// The authority changes with the chain of the rest, and by nothing else: of two that change what they both read, one conflicts.
pub async fn the_authority_changes_with_an_entry_of_the_rest(store: &impl Store) {
    assert_eq!(none(store.authority().await), None, "nobody changed it");
    let authority = |version| Some(Authority { version, ..Authority::founding() });
    conflict(&store.commit(Batch { authority: authority(1), ..Batch::default() }).await);
    assert_eq!(none(store.authority().await), None, "without an entry nothing is written");
    let head = none(store.rest().await);
    let (next, one) = head.append(&Chain::rest(), at(0), [Fact::DriftHealed]);
    let batch = |rest: &Vec<Entry>, version| Batch {
        rest: rest.clone(),
        authority: authority(version),
        ..Batch::default()
    };
    done(store.commit(batch(&one, 1)).await);
    assert_eq!(none(store.authority().await), authority(1));
    conflict(&store.commit(batch(&one, 2)).await);
    assert_eq!(none(store.authority().await), authority(1), "the loser wrote nothing");
    let (_, two) = next.append(&Chain::rest(), at(1), [Fact::DriftHealed]);
    done(store.commit(batch(&two, 2)).await);
    assert_eq!(none(store.authority().await), authority(2));
}

/// Entries that are long together are read in parts, each of which is bounded in bytes, whatever number is asked for.
pub async fn entries_are_read_in_parts_of_bounded_length(store: &impl Store) {
    const COMMITS: usize = 12;
    const LONG: usize = PART_BYTES_MAX / 5;
    let first = guarded("vm-1", at(0));
    let chain = Chain::from(&first.target.id);
    let (mut target, mut all) = (first.target.clone(), first.entries.clone());
    done(store.commit(Batch::of(first, Seen::NEVER)).await);
    for n in 0..COMMITS {
        let why = "x".repeat(LONG);
        let next = target.note(vec![Fact::SettleFailed { why }], at(1));
        target = next.target.clone();
        all.extend(next.entries.clone());
        done(store.commit(Batch::of(next, Seen(1 + n as u64))).await);
    }
    let (mut read, mut parts) = (vec![], 0);
    loop {
        let part = none(store.entries(&chain, read.len() as u64, 1000).await);
        if part.is_empty() {
            break;
        }
        let length: usize = part.iter().map(|it| serde_json::to_vec(it).expect("JSON").len()).sum();
        assert!(length < 2 * PART_BYTES_MAX, "{length} bytes in one part");
        read.extend(part);
        parts += 1;
    }
    assert_eq!(read, all);
    assert!(1 < parts, "all of it came in one part");
}

/// What is due is what its own due time says, longest due first, and moves with every commit.
pub async fn due_follows_every_commit(store: &impl Store) {
    let due = async |until: Timestamp, at_most: usize| {
        none(store.due(until, at_most).await).into_iter().map(|(_, due)| due).collect::<Vec<_>>()
    };
    for (n, name) in ["vm-1", "vm-2", "vm-3"].into_iter().enumerate() {
        let when = at(30 - 10 * i64::try_from(n).expect("small"));
        done(store.commit(Batch::of(guarded(name, when), Seen::NEVER)).await);
    }
    let target = |name: &str| Due::Target(named(name));
    assert_eq!(due(at(5), 10).await, vec![], "nothing is due before its time");
    assert_eq!(due(at(20), 10).await, [target("vm-3"), target("vm-2")]);
    assert_eq!(due(at(99), 2).await, [target("vm-3"), target("vm-2")], "at most as many as asked for");
    let (loaded, seen) = none(store.target(&named("vm-3")).await).expect("stored");
    done(store.commit(Batch::of(loaded.claim(&token(), at(40)), seen)).await);
    assert_eq!(due(at(40), 10).await, [target("vm-2"), target("vm-1")], "a claim is due at its end");
    assert!(due(at(70), 10).await.contains(&target("vm-3")));
    let pending = pending("a", 50);
    done(store.commit(Batch { request: Some((pending.clone(), Seen::NEVER)), ..Batch::default() }).await);
    assert_eq!(due(at(50), 10).await.last(), Some(&Due::Request(pending.id.clone())));
    let lapsed = pending.into_state(RequestState::Lapsed { at: at(50) });
    done(store.commit(Batch { request: Some((lapsed, Seen(1))), ..Batch::default() }).await);
    assert_eq!(due(at(69), 10).await.len(), 2, "what is decided is not due");
}

/// What is yet to come is shown with its time, so that one can wait for it.
pub async fn what_comes_due_has_its_time(store: &impl Store) {
    for (name, when) in [("vm-1", at(30)), ("vm-2", at(20))] {
        done(store.commit(Batch::of(guarded(name, when), Seen::NEVER)).await);
    }
    let pending = pending("a", 25);
    done(store.commit(Batch { request: Some((pending.clone(), Seen::NEVER)), ..Batch::default() }).await);
    let target = |name: &str| Due::Target(named(name));
    let all = [(at(20), target("vm-2")), (at(25), Due::Request(pending.id)), (at(30), target("vm-1"))];
    assert_eq!(none(store.due(at(99), 10).await), all);
    assert_eq!(none(store.due(at(25), 10).await), all[..2], "its own time is in time");
    assert_eq!(none(store.due(Timestamp::MAX, 1).await), all[..1], "the next one");
}

/// Targets are listed by id, a part at a time, each once.
pub async fn targets_are_listed_in_parts(store: &impl Store) {
    let names: Vec<String> = (0..7).map(|n| format!("vm-{n}")).collect();
    for name in &names {
        done(store.commit(Batch::of(guarded(name, at(0)), Seen::NEVER)).await);
    }
    let (mut listed, mut after): (Vec<String>, Option<TargetId>) = (vec![], None);
    loop {
        let page = none(store.targets(after.as_ref(), 3).await);
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        listed.extend(page.iter().map(|it| it.id.to_string()));
    }
    assert_eq!(listed, names);
}

/// Every chain that has an entry is listed by name, a part at a time, each once.
pub async fn chains_are_listed_in_parts(store: &impl Store) {
    assert_eq!(none(store.chains(None, 3).await), vec![], "an empty table has none");
    for n in 0..5 {
        done(store.commit(Batch::of(guarded(&format!("vm-{n}"), at(0)), Seen::NEVER)).await);
    }
    let (_, rest) = Head::default().append(&Chain::rest(), at(0), [Fact::DriftHealed]);
    done(store.commit(Batch { rest, ..Batch::default() }).await);
    let (mut listed, mut after): (Vec<Chain>, Option<Chain>) = (vec![], None);
    loop {
        let page = none(store.chains(after.as_ref(), 2).await);
        assert!(page.len() <= 2, "at most as many as asked for");
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        listed.extend(page);
    }
    let names = ["portcullis", "vm-0", "vm-1", "vm-2", "vm-3", "vm-4"].map(named::<Chain>);
    assert_eq!(listed, names);
}

/// A target may have thousands of live grants: each commit changes what it changes, and the target is loaded as it was
/// committed, its grants by themselves and in lists too.
pub async fn thousands_of_live_grants_of_one_target_are_kept(store: &impl Store) {
    const ASKS: usize = 75;
    const GRANTS: usize = 40;
    let id: TargetId = named("vm-1");
    let mut kept = Writer { store, target: guarded("vm-1", at(0)).target, seen: Seen(0) };
    kept.commit(guarded("vm-1", at(0))).await;
    for ask in 0..ASKS {
        let request = given::request(&format!("ann-{}", ask % 4), &ask.to_string(), "vm-1", at(0));
        let grant = |n: usize| {
            let address = std::net::Ipv4Addr::from_bits(
                0x0B00_0000 + u32::try_from(2 * (ask * GRANTS + n)).expect("few"),
            );
            let id = GrantId::derived(&request.id, n + 1);
            Grant {
                id,
                sources: named(&address.to_string()),
                ..given::grant(&request, &named("vm-1"), at(0))
            }
        };
        let next = kept.target.clone().grant((0..GRANTS).map(grant).collect(), None, at(0));
        kept.commit(next).await;
        if ask % 25 == 0 {
            kept.is_stored().await;
        }
    }
    let claimed = kept.target.clone().claim(&token(), at(1));
    kept.commit(claimed).await;
    // All of them are opened by one commit.
    let (decided, open) = (kept.target.rules(at(1)), Snapshot::of(at(2), vec![holding(&kept.target, at(1))]));
    let opened = kept.target.clone().confirm(&open, true, &decided, at(1));
    assert_eq!(opened.grants.len(), ASKS * GRANTS, "each is seen to be open");
    kept.commit(opened).await;
    kept.is_stored().await;
    // Of one of many only that one changes.
    let one = kept.target.grants().values().nth(1_234).expect("there are more").id.clone();
    let ended = kept.target.clone().close(&one, &named("ann"), None, at(3));
    kept.commit(ended).await;
    kept.is_stored().await;
    assert_eq!(none(store.grant(&one).await).as_ref(), kept.target.grant_of(&one));
    // All of them end by one commit, and are closed so many at a time.
    let unguarded = kept.target.clone().set_policy(None, &named("owner"), None, at(4)).expect("nobody waits");
    kept.commit(unguarded).await;
    kept.is_stored().await;
    let claimed = kept.target.clone().claim(&token(), at(5));
    kept.commit(claimed).await;
    let (decided, shut) = (kept.target.rules(at(5)), Snapshot::of(at(6), vec![holding(&kept.target, at(5))]));
    for _ in 0..2 {
        let closed = kept.target.clone().confirm(&shut, true, &decided, at(5));
        let some = closed.grants.first().expect("some are closed").clone();
        kept.commit(closed).await;
        assert_eq!(none(store.grant(&some.id).await), Some(some), "what is closed is kept by itself");
    }
    kept.is_stored().await;
    assert_eq!(kept.target.grants().len(), ASKS * GRANTS - 2 * CLOSED_AT_ONCE_MAX);
    let of = GrantFilter { target: Some(id), unclosed: true, ..GrantFilter::default() };
    let (mut listed, mut after) = (0, None);
    loop {
        let page = none(store.grants(&of, &PageAsked { after, at_most: 500 }).await);
        listed += page.items.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, kept.target.grants().len());
}

/// One writer of one target, with what it wrote last.
struct Writer<'a, S> {
    store: &'a S,
    target: Target,
    seen: Seen,
}

impl<S: Store> Writer<'_, S> {
    async fn commit(&mut self, next: Next) {
        self.target = next.target.clone();
        done(self.store.commit(Batch::of(next, self.seen)).await);
        self.seen = self.seen.next();
    }

    async fn is_stored(&self) {
        let (loaded, seen) = none(self.store.target(&self.target.id).await).expect("stored");
        assert_eq!(seen, self.seen);
        assert!(loaded == self.target, "what is loaded is not what was committed");
    }
}

/// Requests are listed newest first, a part at a time, each once, and only those that fit.
pub async fn requests_are_listed_newest_first(store: &impl Store) {
    let mut ids = vec![];
    for n in 0..7 {
        let request = if n % 2 == 0 { pending(&n.to_string(), 1000) } else { decided(n) };
        ids.push(request.id.clone());
        done(store.commit(Batch { request: Some((request, Seen::NEVER)), ..Batch::default() }).await);
    }
    ids.reverse();
    let list = async |of: RequestFilter| {
        let listed = all(async |asked| store.requests(&of, &asked).await).await;
        listed.into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    assert_eq!(list(RequestFilter::default()).await, ids);
    let waiting: Vec<_> = ids.iter().step_by(2).cloned().collect();
    assert_eq!(list(RequestFilter { state: Some("pending".to_owned()), by: None }).await, waiting);
    for name in ["bob", "BOB"] {
        assert_eq!(list(RequestFilter { state: None, by: Some(named(name)) }).await.len(), 3, "{name}");
    }
    // A request that changes stays in its place.
    let (known, seen) = none(store.request(&ids[6]).await).expect("stored");
    let lapsed = known.into_state(RequestState::Lapsed { at: at(1) });
    done(store.commit(Batch { request: Some((lapsed, seen)), ..Batch::default() }).await);
    assert_eq!(list(RequestFilter::default()).await, ids);
}

/// Grants are listed newest first, a part at a time, each once, and only those that fit.
pub async fn grants_are_listed_newest_first(store: &impl Store) {
    let mut ids = vec![];
    for name in ["vm-0", "vm-1"] {
        done(store.commit(Batch::of(guarded(name, at(0)), Seen::NEVER)).await);
    }
    // Two spellings of one name.
    for (n, by) in (0..).zip(["ann", "ann", "ann", "bob", "Bob", "bob"]) {
        let name = format!("vm-{}", n % 2);
        let id: TargetId = named(&name);
        let (target, seen) = none(store.target(&id).await).expect("stored");
        let request = given::request(by, &n.to_string(), &name, at(n));
        let next = target.grant(vec![given::grant(&request, &id, at(n))], None, at(n));
        ids.push(next.grants[0].id.clone());
        done(store.commit(Batch::of(next, seen)).await);
    }
    ids.reverse();
    let list = async |of: GrantFilter| {
        let listed = all(async |asked| store.grants(&of, &asked).await).await;
        listed.into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    let any = GrantFilter::default;
    assert_eq!(list(any()).await, ids);
    assert_eq!(list(GrantFilter { unclosed: true, ..any() }).await, ids);
    for name in ["bob", "Bob", "BOB"] {
        assert_eq!(list(GrantFilter { by: Some(named(name)), ..any() }).await, ids[..3], "{name}");
    }
    let of_one: Vec<_> = ids.iter().step_by(2).cloned().collect();
    assert_eq!(list(GrantFilter { target: Some(named("vm-1")), ..any() }).await, of_one);
    let both = GrantFilter { target: Some(named("vm-1")), by: Some(named("bob")), unclosed: true, ..any() };
    assert_eq!(list(both).await, of_one[..2]);
}

/// Every page of a list, three things at a time.
async fn all<T>(page: impl AsyncFn(PageAsked) -> Result<Page<T>, Error>) -> Vec<T> {
    const PARTS_MAX: usize = 100;
    let (mut items, mut after) = (vec![], None);
    for _ in 0..PARTS_MAX {
        let part = none(page(PageAsked { after, at_most: 3 }).await);
        assert!(part.items.len() <= 3, "a part is at most as long as asked for");
        items.extend(part.items);
        after = part.next;
        if after.is_none() {
            return items;
        }
    }
    panic!("the list has no end");
}

fn approved(key: &str, name: &str, target: Target) -> (Request, Next) {
    let request = given::request("ann", key, name, at(0));
    let grant = given::grant(&request, &target.id, at(0));
    let fresh = Target::unguarded(target.id);
    let guarded = fresh.set_policy(Some(given::ssh()), &named("owner"), None, at(0)).expect("new");
    let granted = guarded.target.grant(vec![grant], None, at(0));
    let entries = [guarded.entries, granted.entries].concat();
    (request, Next { entries, ..granted })
}

fn pending(key: &str, until: i64) -> Request {
    let state = RequestState::Pending { until: at(until), approvers: People::Anybody, because: vec![] };
    given::request("ann", key, "vm", at(0)).into_state(state)
}

fn decided(n: i32) -> Request {
    given::request("bob", &n.to_string(), "vm", at(0))
}

/// A firewall that holds exactly what a target wants after all its leases.
fn shut(target: &Target) -> portcullis_domain::Firewall {
    holding(target, at(1_000_000))
}

/// A firewall that holds exactly what a target wants at a time.
fn holding(target: &Target, when: Timestamp) -> portcullis_domain::Firewall {
    use portcullis_domain::{
        Action, AddressSet, Bands, Existing, Families, Firewall, FirewallKind, Held, Rule,
    };
    let rules = target.rules(when);
    let held = |(name, rule)| {
        let priority = if matches!(rule, Rule::Allow { .. }) { 100 } else { 200 };
        (name, Held { rule: Some(rule), priority, beside: vec![], etag: None })
    };
    Firewall {
        id: named("nsg"),
        kind: FirewallKind::Ordered { otherwise: Action::Deny },
        bands: Bands { allows: 100..200, denies: 200..300, existing: Existing::Override },
        inside: AddressSet::default(),
        families: Families::BOTH,
        ours: rules.into_iter().map(held).collect(),
        foreign: vec![],
    }
}

fn token() -> ClaimToken {
    named("worker")
}

fn first(at_most: usize) -> PageAsked {
    PageAsked { after: None, at_most }
}

fn done(outcome: Result<(), Error>) {
    none(outcome);
}

fn conflict(outcome: &Result<(), Error>) {
    assert!(matches!(outcome, Err(Error::Conflict)), "a conflict is wanted, not {outcome:?}");
}

/// No error.
fn none<T>(outcome: Result<T, Error>) -> T
where
    Error: Debug,
{
    outcome.unwrap_or_else(|error| panic!("{}", error.full()))
}
