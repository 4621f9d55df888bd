//! The policies of the installation: changing them, going back, and what they were. They are a part of the authority; each change of them is
//! an entry of the rest that has all of them.

use crate::{
    Call, Error, Rights,
    ports::{Batch, Outside, Rank, Store, Tokens},
    record::{Record, sentences},
    transact::{Attempt, transact},
    vouch,
};
use jiff::Timestamp;
use portcullis_domain::{
    Authority, Chain, Entry, Fact, Grant, Hash, Justification, POLICIES_MAX, POLICY_BYTES_MAX, Person,
    Policies, PoliciesAt, PolicyRead, Refusal, Refusals, TargetId,
};
use std::collections::{BTreeMap, BTreeSet};

/// How many machines that policies name are compared with those that there are: each may be a question to the cloud.
const MACHINES_MAX: usize = 100;
/// How many faults of policy files a refusal names.
const FAULTS_MAX: usize = 20;
/// How many versions one answer lists: each has all of its policies.
pub const VERSIONS_MAX: usize = 50;

/// A change of the policies: to these, or back to those of a version.
#[derive(Debug, Clone)]
pub(crate) struct Changing<'a> {
    pub to: To<'a>,
    /// The version that the caller takes for the newest one.
    pub expect: Option<u64>,
    pub why: Option<&'a Justification>,
}

/// The policies that are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To<'a> {
    These(&'a Policies),
    Version(u64),
}

/// The outcome of a change.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The version that is in force.
    pub version: PolicyVersion,
    /// Are the policies other ones than before?
    pub is_new: bool,
    /// What to know of the people and machines that the policies name.
    pub warnings: Vec<String>,
    /// The leases that nothing permits to their requesters any more, as they are now.
    pub ended: Vec<Grant>,
}

/// Policies as they were from a change on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyVersion {
    /// The version of the authority that the change made; 0 where the policies were never changed.
    pub version: u64,
    /// The digest of the policies.
    pub digest: Hash,
    /// The person who changed them, and when.
    pub changed: Option<(Person, Timestamp)>,
    /// The reason, in that person's words.
    pub why: Option<Justification>,
    /// The version whose policies these are again.
    pub back_to: Option<u64>,
    /// The ids of policies that were not there before.
    pub added: Vec<String>,
    /// The ids of policies whose text is another one than before.
    pub altered: Vec<String>,
    /// The ids of policies that are there no longer.
    pub removed: Vec<String>,
    /// The policies.
    pub policies: Policies,
    /// The entry of the change before.
    previous: Option<u64>,
}

/// Changes the policies. Applying what is in force is success, and changes nothing.
///
/// A change after which its caller could not make another one is refused: a `forbid` binds the operator too.
pub(crate) async fn change(
    store: &impl Store,
    rights: &Rights,
    changing: Changing<'_>,
    call: &Call,
) -> Result<(PolicyVersion, bool), Error> {
    let changing = &changing;
    let changed = transact(store, &[], Rank::Asking, |_| async move {
        // First where the chain ends: whoever changes the authority after that has made an entry.
        let head = store.rest().await?;
        let before = store.authority().await?.unwrap_or_else(Authority::founding);
        let now = newest(store, &before).await?;
        if let Some(expected) = changing.expect.filter(|it| *it != now.version) {
            let by = now.changed.map(|(by, _)| Box::new(by));
            return Err(Refusal::PoliciesNewer { expected, version: now.version, by }.into());
        }
        let (policies, back_to) = match changing.to {
            To::These(policies) => (policies.clone(), None),
            To::Version(version) => (of_version(store, &before, version).await?.policies, Some(version)),
        };
        if policies == before.policies {
            return Ok(Attempt::Done((now, false)));
        }
        let read = read(rights, &policies)?;
        let version = before.version + 1;
        let changed = Some(PoliciesAt { version, entry: head.n });
        let after = Authority { version, policies, changed, ..before.clone() };
        rights.may_still_administer(&after, call)?;
        let fact = told(rights, &before, &after, &read, back_to, changing.why, call);
        let (_, rest) = head.append(&Chain::rest(), call.now, [fact]);
        let made = rest.first().and_then(PolicyVersion::of).unwrap_or_default();
        Ok(Attempt::commit(Batch { rest, authority: Some(after), ..Batch::default() }, (made, true)))
    })
    .await;
    rights.forget();
    changed
}

/// The policies in force.
pub(crate) async fn newest(store: &impl Store, authority: &Authority) -> Result<PolicyVersion, Error> {
    let nothing = PolicyVersion { digest: Policies::default().digest(), ..PolicyVersion::default() };
    match authority.changed {
        Some(at) => at_entry(store, at.entry).await,
        None => Ok(nothing),
    }
}

/// The policies of a version, which has to be one that changed them.
pub(crate) async fn of_version(
    store: &impl Store,
    authority: &Authority,
    version: u64,
) -> Result<PolicyVersion, Error> {
    let mut at = newest(store, authority).await?;
    loop {
        if at.version == version {
            return Ok(at);
        }
        at = match at.previous.filter(|_| version < at.version) {
            Some(previous) => at_entry(store, previous).await?,
            None if version == 0 => newest(store, &Authority::founding()).await?,
            None => {
                return Err(Error::NotFound { what: "version of the policies", name: version.to_string() });
            }
        };
    }
}

/// The versions before this one, or from the newest on, the newest first; at most [`VERSIONS_MAX`]. The number is the version before which to
/// go on.
pub(crate) async fn versions(
    store: &impl Store,
    before: Option<u64>,
) -> Result<(Vec<PolicyVersion>, Option<u64>), Error> {
    let authority = store.authority().await?.unwrap_or_else(Authority::founding);
    let mut at = authority.changed.map(|it| it.entry);
    let mut versions: Vec<PolicyVersion> = vec![];
    while let Some(entry) = at {
        if versions.len() == VERSIONS_MAX {
            let next = versions.last().map(|it| it.version);
            return Ok((versions, next));
        }
        let version = at_entry(store, entry).await?;
        at = version.previous;
        if before.is_none_or(|it| version.version < it) {
            versions.push(version);
        }
    }
    Ok((versions, None))
}

/// What to know of the people and machines that these policies name; nothing where it cannot be told.
pub(crate) async fn warnings(
    store: &impl Store,
    machines: &impl Outside,
    tokens: &impl Tokens,
    rights: &Rights,
    policies: &Policies,
) -> Vec<String> {
    let Ok(read) = read(rights, policies) else { return vec![] };
    let people = read.values().flat_map(|it| &it.people);
    let strangers = vouch::strangers(tokens, rights.vouchers.as_ref(), people).await;
    let named: BTreeSet<&TargetId> = read.values().flat_map(|it| &it.machines).collect();
    let mut unknown = BTreeSet::new();
    for target in named.into_iter().take(MACHINES_MAX) {
        // A table or a catalogue that does not answer accuses nobody.
        let is_stored = !matches!(store.target(target).await, Ok(None));
        if !is_stored && matches!(machines.machine(target).await, Ok(None)) {
            unknown.insert(target);
        }
    }
    let of = |(id, it): (&String, &PolicyRead)| {
        let people = it.people.iter().filter(|it| strangers.contains(it));
        let people =
            people.map(|it| format!("person `{it}`, for whom no token, issuer, bot or platform vouches"));
        let machines = it.machines.iter().filter(|it| unknown.contains(it));
        let machines = machines.map(|it| format!("machine `{it}`, which is not there"));
        people.chain(machines).map(|named| format!("the policy `{id}` names the {named}")).collect::<Vec<_>>()
    };
    read.iter().flat_map(of).collect()
}

/// The entry of a refused change.
pub(crate) fn refused(policies: Option<&Policies>, call: &Call, reasons: &Refusals) -> Record {
    let (by, via, reasons) = (call.by().clone(), Some(call.via.clone()), sentences(reasons));
    Record::of_rest(Fact::PoliciesRefused { digest: policies.map(Policies::digest), by, reasons, via })
}

/// Each policy by its id, or every reason why these are no policies of an installation.
fn read(rights: &Rights, policies: &Policies) -> Result<BTreeMap<String, PolicyRead>, Refusals> {
    if let Some(name) = policies.bad_names().next() {
        return Err(Refusal::BadPolicyFile { name: name.clone() }.into());
    }
    let bytes = policies.bytes();
    if POLICY_BYTES_MAX < bytes {
        return Err(Refusal::PoliciesTooLong { bytes, max: POLICY_BYTES_MAX }.into());
    }
    let read = match rights.language()?.read(policies) {
        Ok(read) => read,
        Err(mut faults) => {
            let more = faults.len().saturating_sub(FAULTS_MAX);
            faults.truncate(FAULTS_MAX);
            faults.extend((0 < more).then(|| format!("and {more} more")));
            return Err(Refusal::PolicyFaults { faults }.into());
        }
    };
    if POLICIES_MAX < read.len() {
        return Err(Refusal::TooManyPolicies { count: read.len(), max: POLICIES_MAX }.into());
    }
    Ok(read)
}

/// The change as the journal has it.
fn told(
    rights: &Rights,
    before: &Authority,
    after: &Authority,
    read: &BTreeMap<String, PolicyRead>,
    back_to: Option<u64>,
    why: Option<&Justification>,
    call: &Call,
) -> Fact {
    // Of policies that an older version took and this one does not, none is known.
    let known = rights.language().ok().and_then(|it| it.read(&before.policies).ok()).unwrap_or_default();
    let ids = |all: &BTreeMap<String, PolicyRead>, is: &dyn Fn(&String, &PolicyRead) -> bool| {
        all.iter().filter(|(id, it)| is(id, it)).map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    Fact::PoliciesChanged {
        version: after.version,
        digest: after.policies.digest(),
        added: ids(read, &|id, _| !known.contains_key(id)),
        changed: ids(read, &|id, it| known.get(id).is_some_and(|known| known.text != it.text)),
        removed: ids(&known, &|id, _| !read.contains_key(id)),
        back_to,
        previous: before.changed.map(|it| it.entry),
        why: why.cloned(),
        policies: after.policies.clone(),
        by: call.by().clone(),
        via: Some(call.via.clone()),
    }
}

async fn at_entry(store: &impl Store, n: u64) -> Result<PolicyVersion, Error> {
    let entries = store.entries(&Chain::rest(), n, 1).await?;
    let version = entries.first().filter(|it| it.n == n).and_then(PolicyVersion::of);
    version.ok_or_else(|| Error::Broken {
        doing: "read the policies",
        source: format!("entry {n} of the rest is no change of them").into(),
    })
}

impl PolicyVersion {
    /// The policies that an entry tells of, if it tells of any.
    fn of(entry: &Entry) -> Option<Self> {
        let Fact::PoliciesChanged {
            version,
            digest,
            added,
            changed,
            removed,
            back_to,
            previous,
            why,
            policies,
            by,
            via: _,
        } = entry.fact.clone()
        else {
            return None;
        };
        Some(Self {
            version,
            digest,
            changed: Some((by, entry.at)),
            why,
            back_to,
            added,
            altered: changed,
            removed,
            policies,
            // A number that is no earlier one would be read for ever.
            previous: previous.filter(|it| *it < entry.n),
        })
    }
}
