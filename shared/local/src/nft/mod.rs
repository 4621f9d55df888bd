//! This Linux machine, through nftables: one table of our own, changed as a whole, in one transaction.
//!
//! Nobody else's table is touched. What another table drops stays dropped: an accept of ours ends our chain alone. Such
//! tables are read to say so. What another table translates is guarded by the port that was asked for. The kernel shuts by itself at the end of the last lease, to the next second,
//! even if nobody is there to tell it.

mod connected;
mod established;
mod others;
mod surroundings;
mod table;

pub use established::Established;

use crate::Clock;
use jiff::{SignedDuration, Timestamp};
use others::Others;
use portcullis_app::{
    BoxError, Error, Troubles,
    ports::{Adoption, Checkup, Firewalls, Inventory, Machine, Machines, Os, OurRule},
};
use portcullis_domain::{
    Action, AddressSet, Bands, Cause, Change, ChangeTo, Existing, Families, Finding, Firewall, FirewallId,
    FirewallKind, Foreign, Gate, Held, Owner, Protocol, Refuser, Rule, RuleName, Snapshot, Sources, TargetId,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    ops::Range,
    path::Path,
    process::Stdio,
    sync::PoisonError,
    time::{Duration, Instant},
};
use table::{FAMILY, Placed, TABLE, Table};
use tokio::{io::AsyncWriteExt, process::Command, sync::Mutex, time};

/// Priorities here are only names: all our allows stand before all our denies.
const ALLOWS: Range<u16> = 100..200;
const DENIES: Range<u16> = 200..300;
/// For how long it is known what other tables refuse.
const OTHERS_EVERY: SignedDuration = SignedDuration::from_secs(1);
/// How long reading them may take: a closing waits for it, and decides nothing by it.
const OTHERS_MAX: Duration = Duration::from_millis(250);
/// How long one run of `nft` may take.
const RUN_MAX: Duration = Duration::from_secs(5);

/// This machine and its packet filter. One process guards it: the lock on the table sees to that.
pub struct Host {
    id: TargetId,
    firewall: FirewallId,
    name: String,
    established: Established,
    clock: Clock,
    writing: Mutex<()>,
    /// When our table was last written, by our clock and by one that nobody sets.
    wrote: std::sync::Mutex<Option<(Timestamp, Instant)>>,
    /// What was in the way of reading and writing the packet filter.
    troubles: Troubles,
    /// What other tables refuse, and when that was read.
    refusers: Mutex<Option<(Timestamp, Vec<Refuser>)>>,
}

impl Host {
    /// This machine, which is called so now. `known` is what it was called when it was first guarded: a
    /// machine that is renamed stays guarded.
    pub fn here(
        hostname: &str,
        known: Option<TargetId>,
        established: Established,
        clock: Clock,
    ) -> Result<Self, Error> {
        let bad = |error: portcullis_domain::BadName| Error::Broken {
            doing: "name this machine",
            source: error.into(),
        };
        Ok(Self {
            id: match known {
                Some(known) => known,
                None => TargetId::of_host(hostname).map_err(bad)?,
            },
            firewall: format!("nftables/{FAMILY}/{TABLE}").parse().map_err(bad)?,
            name: hostname.to_owned(),
            established,
            clock,
            writing: Mutex::new(()),
            wrote: std::sync::Mutex::new(None),
            troubles: Troubles::default(),
            refusers: Mutex::new(None),
        })
    }

    /// What this machine is called among targets.
    pub fn id(&self) -> &TargetId {
        &self.id
    }

    /// What our table is called among firewalls.
    pub fn firewall(&self) -> &FirewallId {
        &self.firewall
    }

    /// Can this process guard this machine? `Broken` says what is missing.
    pub async fn probe(&self) -> Result<(), Error> {
        let advice = "this machine can be guarded only with the program `nft` (package nftables) and as \
            root; the simulated cloud needs neither";
        self.load().await.map(drop).map_err(|error| Error::Broken {
            doing: "guard this machine",
            source: format!("{}; {advice}", error.full()).into(),
        })
    }

    async fn load(&self) -> Result<Table, Error> {
        let read_at = (self.clock)();
        let failed = |source: BoxError| Error::Unavailable { doing: "read nftables", source };
        match nft(&["-j", "list", "table", FAMILY, TABLE], None).await {
            Ok(listed) => Table::parse(
                &objects(&listed).map_err(failed)?,
                self.established,
                read_at,
                self.skipped(read_at),
            )
            .ok_or_else(|| failed("the output of `nft` cannot be parsed".into())),
            Err(error) => {
                // It fails in the same way for a table that is not there and for one that may not be seen.
                let tables = nft(&["-j", "list", "tables"], None).await.map_err(failed)?;
                let ours = |it: &Value| it["table"]["family"] == FAMILY && it["table"]["name"] == TABLE;
                if objects(&tables).map_err(failed)?.iter().any(ours) {
                    Err(failed(error))
                } else {
                    Ok(Table::absent(read_at))
                }
            }
        }
    }

    /// What other tables refuse. They decide nothing of what is written, and may be long, so they are not read each time.
    async fn refusers(&self) -> Vec<Refuser> {
        let now = (self.clock)();
        let mut seen = self.refusers.lock().await;
        if let Some((at, refusers)) = &*seen
            && (SignedDuration::ZERO..OTHERS_EVERY).contains(&now.duration_since(*at))
        {
            return refusers.clone();
        }
        let listed = time::timeout(OTHERS_MAX, nft(&["-j", "list", "ruleset"], None)).await;
        let listed = listed.unwrap_or_else(|_| Err("`nft` did not answer in time".into()));
        let refusers = match listed.and_then(|it| objects(&it)) {
            Ok(listed) => Others::parse(&listed).refusers(),
            Err(error) => {
                tracing::debug!(error = %error, "The tables of others could not be read");
                seen.take().map(|(_, refusers)| refusers).unwrap_or_default()
            }
        };
        *seen = Some((now, refusers.clone()));
        refusers
    }

    /// One transaction: these rules are all that stands in our table.
    #[expect(
        clippy::disallowed_methods,
        reason = "the kernel counts its time-outs by a clock that nobody sets"
    )]
    async fn put(&self, rules: &BTreeMap<RuleName, Placed>) -> Result<(), Error> {
        let began = ((self.clock)(), Instant::now());
        let commands = table::commands(rules, self.established, began.0);
        let failed = |source: BoxError| Error::Unavailable { doing: "write nftables", source };
        nft(&["-j", "-f", "-"], Some(commands.to_string())).await.map(drop).map_err(failed)?;
        *self.wrote.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
        Ok(())
    }

    /// How much more time passed by our clock than by the kernel's since this process wrote the table: that is how far the
    /// clock was set forward, or how long the machine slept.
    fn skipped(&self, now: Timestamp) -> SignedDuration {
        let wrote = *self.wrote.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, then)) = wrote else { return SignedDuration::ZERO };
        let ran = SignedDuration::try_from(then.elapsed()).unwrap_or(SignedDuration::MAX);
        now.duration_since(at).saturating_sub(ran)
    }

    fn known(&self, target: &TargetId) -> Result<(), Error> {
        if *target == self.id {
            Ok(())
        } else {
            Err(Error::NotFound { what: "target", name: target.to_string() })
        }
    }

    fn machine_here(&self) -> Machine {
        Machine {
            id: self.id.clone(),
            name: self.name.clone(),
            location: "here".to_owned(),
            os: Os::Linux,
            addresses: vec![],
            guarded_by: Some("nftables".to_owned()),
            interfaces: vec![],
            tags: BTreeMap::new(),
            unsupported: None,
        }
    }
}

impl Firewalls for Host {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        self.known(target)?;
        let table = self.watched(self.load()).await?;
        let held = |(name, it): (RuleName, Placed)| {
            let rule = table.is_as_written.then_some(it.rule);
            (name, Held { rule, priority: it.priority, beside: vec![], etag: None })
        };
        let firewall = Firewall {
            id: self.firewall.clone(),
            kind: FirewallKind::Ordered { otherwise: Action::Allow },
            bands: Bands { allows: ALLOWS, denies: DENIES, existing: Existing::Override },
            inside: AddressSet::default(),
            families: Families::BOTH,
            ours: table.rules.into_iter().map(held).collect(),
            foreign: if table.is_as_written { vec![] } else { vec![changed_by_hand()] },
        };
        let files =
            ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        let connected = files.iter().flat_map(|text| connected::parse(text)).collect();
        let hindered = self.troubles.of(target);
        // Of a table that was changed nobody knows who shut what.
        let (outlasting, lapsed) = if table.is_as_written {
            (table.outlasting, table.lapsed)
        } else {
            (BTreeSet::new(), BTreeMap::new())
        };
        Ok(Snapshot {
            sessions: self.established.into(),
            connected,
            hindered,
            outlasting,
            lapsed,
            refusers: self.refusers().await,
            ..Snapshot::of(table.read_at, vec![firewall])
        })
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        // A lock in this machine's own table is this machine's, whatever it was called then: nobody who
        // knows it by another name takes it for one of a machine that is gone.
        let owner = Owner::from(&self.id);
        let of_another_name =
            |name: &RuleName, it: &Placed| name.owner != owner && matches!(it.rule, Rule::Deny { .. });
        let rules = self.load().await?.rules.into_iter().filter(|(name, it)| !of_another_name(name, it));
        let ours = rules.map(|(name, it)| {
            let (until, machine) = match it.rule {
                Rule::Allow { until, .. } => (Some(until), None),
                Rule::Deny { .. } => (None, Some(self.id.clone())),
            };
            OurRule { firewall: self.firewall.clone(), name, etag: None, until, machine, is_over: false }
        });
        Ok(ours.collect())
    }

    async fn write(&self, _: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        self.watched(self.change(changes)).await
    }
}

impl Host {
    /// Remembers what is in the way of a call.
    async fn watched<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let failed = Cause::FirewallFailed;
        self.troubles.watch(&self.id, &*self.clock, failed, |_| Some(failed), call).await
    }

    async fn change(&self, changes: &[Change]) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().await;
        let Table { rules: before, is_as_written, outlasting, .. } = self.load().await?;
        // What an allow does that was changed by hand is not known: it is written anew or not at all. What
        // a lock shuts, under whatever name this machine had then, stays shut.
        let is_kept = |placed: &Placed| match placed.rule {
            Rule::Deny { .. } => true,
            Rule::Allow { .. } => is_as_written,
        };
        let kept = before.iter().filter(|(_, placed)| is_kept(placed));
        let kept: BTreeMap<RuleName, Placed> =
            kept.map(|(name, placed)| (name.clone(), placed.clone())).collect();
        let mut after = kept.clone();
        for change in changes {
            match &change.to {
                ChangeTo::Put { rule, priority } => {
                    let placed = Placed { rule: rule.clone(), priority: *priority };
                    after.insert(change.name.clone(), placed);
                }
                ChangeTo::Delete => drop(after.remove(&change.name)),
            }
        }
        // Where elements last too long the same rules are written anew, with time-outs that are right.
        if is_as_written && outlasting.is_empty() && after == before {
            return Ok(());
        }
        let outcome = self.put(&after).await;
        // INVARIANT (closing-waits-for-no-opening): one transaction is refused whole for whatever is in it.
        let less = less(&kept, &after);
        if outcome.is_err() && less != after && (less != before || !is_as_written) {
            self.put(&less).await?;
        }
        outcome
    }
}

/// What stands less what is to go: none of what is to come.
fn less(
    before: &BTreeMap<RuleName, Placed>,
    after: &BTreeMap<RuleName, Placed>,
) -> BTreeMap<RuleName, Placed> {
    let left = |(name, placed): (&RuleName, &Placed)| {
        let Rule::Allow { sources: stood, until: ended, .. } = &placed.rule else {
            return Some((name.clone(), placed.clone()));
        };
        let next = after.get(name)?;
        let is_less = match &next.rule {
            Rule::Allow { sources, until, .. } => stood.cover(sources) && until <= ended,
            Rule::Deny { .. } => false,
        };
        Some((name.clone(), if is_less { next.clone() } else { placed.clone() }))
    };
    before.iter().filter_map(left).collect()
}

/// Nothing else gives access to this machine just in time, that anybody would know of.
impl Adoption for Host {}

impl Checkup for Host {
    async fn checkup(&self) -> Vec<Finding> {
        let Ok(table) = self.load().await else { return vec![] };
        let gates = table.rules.into_values().flat_map(|it| match it.rule {
            Rule::Deny { gates } => gates,
            Rule::Allow { .. } => BTreeSet::new(),
        });
        let gates: BTreeSet<Gate> = gates.collect();
        let refusers = self.refusers().await;
        let refused = gates.iter().flat_map(|gate| {
            let refusing = refusers.iter().filter(|it| it.may_refuse(*gate));
            refusing.map(|it| surroundings::refused(it.of(*gate)))
        });
        let mut findings: Vec<Finding> = refused.collect();
        findings.extend(surroundings::findings(Path::new("/")));
        if findings.is_empty() { vec![surroundings::clear()] } else { findings }
    }
}

impl Inventory for Host {
    async fn machines(&self, after: Option<&TargetId>, at_most: usize) -> Result<Machines, Error> {
        let is_asked_for = 0 < at_most && after.is_none_or(|after| *after < self.id);
        let items = is_asked_for.then(|| self.machine_here()).into_iter().collect();
        Ok(Machines { items, unseen: vec![] })
    }

    async fn machine(&self, id: &TargetId) -> Result<Option<Machine>, Error> {
        Ok((*id == self.id).then(|| self.machine_here()))
    }
}

/// Nobody can say what a table does that was changed by hand: until it is healed, the worst is assumed.
fn changed_by_hand() -> Foreign {
    Foreign {
        name: "(changed by hand)".to_owned(),
        priority: 0,
        action: Action::Allow,
        protocol: Protocol::Any,
        sources: Sources::anywhere(),
        unsure: Sources::default(),
        ports: vec![0..=u16::MAX],
        to: Sources::anywhere(),
        is_general: false,
    }
}

/// One run of `nft`; what it prints.
async fn nft(arguments: &[&str], input: Option<String>) -> Result<Vec<u8>, BoxError> {
    let run = async {
        let mut process = Command::new("nft")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Whoever waits for it may die at any await; a transaction is whole or not at all.
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`nft` does not start: {error}"))?;
        if let Some(mut stdin) = process.stdin.take() {
            stdin.write_all(input.unwrap_or_default().as_bytes()).await?;
        }
        Ok::<_, BoxError>(process.wait_with_output().await?)
    };
    let output =
        time::timeout(RUN_MAX, run).await.map_err(|_| format!("`nft` took longer than {RUN_MAX:?}"))??;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("`nft {}`: {}", arguments.join(" "), told.lines().next().unwrap_or("failed")).into())
}

fn objects(listed: &[u8]) -> Result<Vec<Value>, BoxError> {
    let listed: Value = serde_json::from_slice(listed)?;
    let objects = listed["nftables"].as_array();
    Ok(objects.ok_or("`nft` printed JSON without `nftables`")?.clone())
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("id", &self.id)
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<T: std::str::FromStr<Err: fmt::Debug>>(text: &str) -> T {
        text.parse().expect("valid")
    }

    /// An allow of a port, until a second, as it stands in a table.
    fn allow(port: &str, from: &[&str], until: i64) -> (RuleName, Placed) {
        let gate = named(port);
        let owner = Owner::from(&named::<TargetId>("host/machine"));
        let sources = Sources::of(from.iter().flat_map(|it| named::<Sources>(it).ranges().to_vec()));
        let until = Timestamp::from_second(until).expect("in range");
        let rule = Rule::Allow { gate, sources, until };
        (RuleName { owner, gate: Some(gate) }, Placed { rule, priority: 100 })
    }

    fn lock(gates: &[&str]) -> (RuleName, Placed) {
        let owner = Owner::from(&named::<TargetId>("host/machine"));
        let gates = gates.iter().map(|it| named(it)).collect();
        (RuleName { owner, gate: None }, Placed { rule: Rule::Deny { gates }, priority: 200 })
    }

    #[test]
    fn what_shuts_alone_is_what_stands_less_what_goes_and_nothing_new() {
        let (ann, bob) = ("198.51.100.1", "198.51.100.3");
        let before = [
            lock(&["22", "80", "443", "3389"]),
            allow("22", &[ann, bob], 20),
            allow("80", &[ann], 10),
            allow("443", &[ann], 10),
            allow("3389", &[ann], 10),
        ];
        let after = [
            lock(&["22", "443", "5900"]),
            allow("22", &[bob], 20),
            allow("443", &[ann, bob], 10),
            allow("3389", &[ann], 30),
            allow("5900", &[ann], 10),
        ];
        let wanted = [before[0].clone(), after[1].clone(), before[3].clone(), before[4].clone()];
        assert_eq!(less(&before.into(), &after.into()), wanted.into());
    }
}
