//! An Azure Resource Manager to try Portcullis on, over HTTP: virtual machines, network interfaces,
//! security groups and firewalls, with the behaviour that matters to whoever changes their rules.
//!
//! Its truth is its own: it sees none of our other crates, and [`Simcloud::passes`] decides packets by
//! brute force, so that this and the evaluator check each other. Whatever goes wrong is planned
//! ([`Faults`]); the same calls at the same times have the same answers.

mod admin;
mod arm;
mod cloud;
mod control;
mod faults;
mod fleet;
mod graph;
mod jit;
mod keep;
mod kind;
mod login;
mod packet;
mod path;
mod peer;
mod permissions;
mod quota;
mod refused;
mod restrictions;
mod rule;
mod serve;
mod session;
mod tls;
mod wanted;
mod write;
mod written_back;

pub use cloud::Call;
pub use faults::{Fault, Faults, On, Planned};
pub use keep::{FileError, keep};
pub use packet::{Packet, PacketProtocol, Passage};
pub use permissions::Permissions;
pub use refused::Refused;
pub use restrictions::{Assignment, Lock, LockLevel, Restrictions};
pub use serve::serve;
pub use session::Session;
pub use tls::{NoTls, Tls};

use cloud::Cloud;
use jiff::Timestamp;
use quota::Spent;
use session::Sessions;
use std::{
    collections::VecDeque,
    fmt, mem,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// How many calls are remembered.
const CALLS_MAX: usize = 100_000;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A simulated cloud.
pub struct Simcloud {
    cloud: Mutex<Cloud>,
    /// The calls that were answered. What was asked is no part of what there is: nobody who saves that
    /// passes by them.
    calls: Mutex<VecDeque<Call>>,
    /// Sessions end with the process, as no snapshot holds them.
    sessions: Mutex<Sessions>,
    changes: watch::Sender<u64>,
    clock: Clock,
}

/// A text that is no snapshot of a simulated cloud.
#[derive(Debug, thiserror::Error)]
#[error("this is no snapshot of a simulated cloud")]
pub struct NotASnapshot(#[source] serde_json::Error);

impl Simcloud {
    /// A cloud with the sample fleet of a seed.
    pub fn new(seed: u64, clock: Clock) -> Self {
        Self::of(fleet::cloud(seed), clock)
    }

    /// A cloud with a large fleet and nothing else, to measure with: machines `vm-000` and so on, each with
    /// an interface and a public address, spread over so many subnets, each with its security group
    /// `farm-00-nsg` and so on. A subnet has at most 250 machines.
    pub fn farm(seed: u64, clock: Clock, groups: u16, machines_per_group: u16) -> Self {
        Self::of(fleet::farm(seed, groups, machines_per_group), clock)
    }

    /// A cloud to measure with, too: such machines without public addresses, in one subnet with its security
    /// group `farm-00-nsg`, behind one firewall `farm-fw` with classic rules. There are at most 250.
    pub fn farm_behind_firewall(seed: u64, clock: Clock, machines: u16) -> Self {
        Self::of(fleet::behind_firewall(seed, machines), clock)
    }

    /// The cloud of a snapshot.
    pub fn restore(snapshot: &str, clock: Clock) -> Result<Self, NotASnapshot> {
        let cloud = serde_json::from_str(snapshot).map_err(NotASnapshot)?;
        Ok(Self::of(cloud, clock))
    }

    /// Everything there is, as JSON text: also what is still under way, and the tokens.
    pub fn snapshot(&self) -> String {
        // Whoever calls meanwhile waits for the copy, and not for the text.
        let cloud = Cloud::clone(&self.now().0);
        serde_json::to_string_pretty(&cloud).unwrap_or_else(|_| unreachable!("a cloud is JSON"))
    }

    /// How often what a snapshot holds has changed, for whoever waits for the next change. What is due
    /// changes when somebody looks; calls that only look change nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What shall go wrong from now on, in place of what was planned before.
    pub fn plan(&self, faults: Faults) {
        let (mut cloud, _) = self.now();
        cloud.faults = faults;
        cloud.has_changed();
        cloud.spent = Spent::default();
    }

    /// How quick writes are from now on, as these faults say it; whatever else is planned stays.
    pub fn pace(&self, of: &Faults) {
        let (mut cloud, _) = self.now();
        cloud.faults.operation_millis = of.operation_millis;
        cloud.faults.retry_after_secs = of.retry_after_secs;
        cloud.faults.one_operation_at_a_time = of.one_operation_at_a_time;
        cloud.has_changed();
    }

    /// What a Virtual Network Manager's security admin rules say of a virtual network, named by its id, from now on: as ARM
    /// lists them, each with its `id` and `properties`.
    pub fn administer(&self, network: &str, rules: Vec<serde_json::Value>) {
        let (mut cloud, _) = self.now();
        cloud.admin_rules.insert(network.to_ascii_lowercase(), rules);
        cloud.has_changed();
    }

    /// What callers may do from now on.
    pub fn permit(&self, permissions: Permissions) {
        let (mut cloud, _) = self.now();
        cloud.permissions = permissions;
        cloud.has_changed();
    }

    /// What locks and policies forbid from now on.
    pub fn restrict(&self, restrictions: Restrictions) {
        let (mut cloud, _) = self.now();
        cloud.restrictions = restrictions;
        cloud.has_changed();
    }

    /// Refuses every token that was issued so far, whatever its end. With `claims`, a new one is good only if it is
    /// asked for with them, as a challenge says.
    pub fn refuse_tokens(&self, claims: Option<String>) {
        let (mut cloud, _) = self.now();
        cloud.tokens.clear();
        cloud.claims = claims;
        cloud.has_changed();
    }

    /// Does a packet get through, and what decides? `vm` is an id, or the name of a machine.
    pub fn passes(&self, vm: &str, packet: Packet) -> Result<Passage, Refused> {
        packet::passes(&self.now().0, vm, packet)
    }

    /// Opens a session by its first packet; nothing where that does not get through.
    pub fn connect(&self, vm: &str, packet: Packet) -> Result<Option<Session>, Refused> {
        let (cloud, _) = self.now();
        self.sessions().connect(&cloud, vm, packet)
    }

    /// Does a session still stand?
    pub fn stands(&self, session: Session) -> bool {
        drop(self.now());
        self.sessions().stands(session)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret that the control endpoints want from now on, as a bearer token. It is kept with the cloud.
    pub fn guard_control(&self, secret: &str) {
        let (mut cloud, _) = self.now();
        cloud.control = Some(secret.to_owned());
        cloud.has_changed();
    }

    /// The secret that the control endpoints want; without one they let nobody in.
    pub fn control(&self) -> Option<String> {
        self.now().0.control.clone()
    }

    /// A bearer token, as the token endpoints issue them.
    pub fn issue_token(&self) -> String {
        let (mut cloud, now) = self.now();
        let claims = cloud.claims.clone();
        cloud.issue_token(claims.as_deref(), now).0
    }

    /// The tenant's id.
    pub fn tenant(&self) -> String {
        self.now().0.tenant.clone()
    }

    /// The subscription's id.
    pub fn subscription(&self) -> String {
        self.now().0.subscription.clone()
    }

    /// The last 100,000 calls of ARM that were answered, the oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn of(cloud: Cloud, clock: Clock) -> Self {
        let (cloud, changes) = (Mutex::new(cloud), watch::Sender::new(0));
        Self { cloud, calls: Mutex::default(), sessions: Mutex::default(), changes, clock }
    }

    /// Remembers a call that was answered.
    fn remember(&self, call: Call) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if CALLS_MAX <= calls.len() {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    /// The cloud as it is now: whatever was due to happen has happened.
    fn now(&self) -> (Held<'_>, Timestamp) {
        let cloud = self.cloud.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cloud = Held { seen: cloud.changes, cloud, changes: &self.changes };
        let now = (self.clock)();
        cloud.advance(now);
        let flushed = mem::take(&mut cloud.flushed);
        if !flushed.is_empty() {
            self.sessions().judge(&cloud, &flushed);
        }
        (cloud, now)
    }
}

/// The cloud, held by whoever looks at it or changes it. Letting go of it says whether it was changed.
struct Held<'a> {
    cloud: MutexGuard<'a, Cloud>,
    seen: u64,
    changes: &'a watch::Sender<u64>,
}

impl Deref for Held<'_> {
    type Target = Cloud;

    fn deref(&self) -> &Cloud {
        &self.cloud
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Cloud {
        &mut self.cloud
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.cloud.changes != self.seen {
            self.changes.send_replace(self.cloud.changes);
        }
    }
}

impl fmt::Debug for Simcloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simcloud").finish_non_exhaustive()
    }
}
