//! Remarks that are found by asking: requests that no other caller may approve, and those from wide sources.

use super::remark::{Bound, Kind, Remark};
use crate::{
    engine::Engine,
    fault::Faults,
    installation::{Caller, Installation},
};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Circumstances, Decide as _, Facts, OPERATOR, Object, Os, Question, Right, address_range,
};
use std::collections::{BTreeMap, BTreeSet};

/// The hours of a week, each of which is asked about.
const WEEK_HOURS: i64 = 7 * 24;
/// The channels by which people approve.
const CHANNELS: [&str; 3] = ["http", "cli", "bot"];
/// One address, from documentation.
const ADDRESS: &str = "203.0.113.9/32";
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Requests that wait for an approval, and that no other caller may approve in any hour of a week.
pub fn unapproved(
    files: &BTreeMap<String, String>,
    installation: &Installation,
) -> Result<Vec<Remark>, Faults> {
    let asked = Asked::of(files, installation)?;
    let mut remarks = vec![];
    for machine in installation.machines() {
        let all = asked.callers.iter();
        let waiting: Vec<&Caller> = all.filter(|it| asked.waits(it, &machine)).collect();
        if waiting.is_empty() {
            continue;
        }
        // Two approvers are enough for every request: one of them is another person than the requester.
        let approvers: Vec<&Caller> =
            asked.callers.iter().filter(|it| asked.may_approve(it, &machine)).take(2).collect();
        for requester in waiting {
            if approvers.iter().all(|it| it.name == requester.name) {
                let id = &machine.id;
                let why = if approvers.is_empty() {
                    "no caller may approve"
                } else {
                    "no other caller may approve"
                };
                remarks.push(Remark::of(
                    Kind::NoApprover,
                    format!("{why} a request of `{requester}` for `{id}`"),
                ));
            }
        }
    }
    Ok(remarks)
}

/// Requests that are permitted from wider sources than the bound.
pub fn wide(
    files: &BTreeMap<String, String>,
    installation: &Installation,
    bound: Bound,
) -> Result<Vec<Remark>, Faults> {
    let asked = Asked::of(files, installation)?;
    let is_wide = |it: &IpNet| match it {
        IpNet::V4(it) => it.prefix_len() < bound.ipv4,
        IpNet::V6(it) => it.prefix_len() < bound.ipv6,
    };
    let literals = files.values().flat_map(|it| networks(it));
    let sources = literals.chain(EVERYWHERE.into_iter().filter_map(address_range)).filter(is_wide);
    let sources: BTreeSet<IpNet> = sources.collect();
    let mut found = BTreeSet::new();
    for machine in installation.machines() {
        for caller in &asked.callers {
            for source in &sources {
                let circumstances = Circumstances { source: Some(*source), ..usual(&machine) };
                if let Some(deciding) = asked.permitted(caller, Right::Request, &machine, circumstances) {
                    // Whom the installation itself names is above its policies.
                    let policies = deciding.into_iter().filter(|it| it != OPERATOR);
                    found.extend(policies.map(|it| (it, *source)));
                }
            }
        }
    }
    let remark = |(id, source): (String, IpNet)| {
        let bits = match source {
            IpNet::V4(_) => bound.ipv4,
            IpNet::V6(_) => bound.ipv6,
        };
        let message = format!("`{id}` permits requests from {source}, which is wider than /{bits}");
        Remark::of(Kind::WideSource, message)
    };
    Ok(found.into_iter().map(remark).collect())
}

/// The engine with everyone who can be asked about.
struct Asked<'a> {
    engine: Engine,
    installation: &'a Installation,
    callers: BTreeSet<Caller>,
}

impl<'a> Asked<'a> {
    fn of(files: &BTreeMap<String, String>, installation: &'a Installation) -> Result<Self, Faults> {
        let authority = installation.authority(files.clone());
        let zone = installation.zone();
        let engine = Engine::of_checked(&authority, installation.operator(), zone)?;
        Ok(Self { engine, installation, callers: installation.callers() })
    }

    /// The policies that permit it, if it is permitted.
    fn permitted(
        &self,
        caller: &Caller,
        right: Right,
        machine: &Facts,
        circumstances: Circumstances,
    ) -> Option<Vec<String>> {
        let subject = self.installation.subject(caller);
        let object = Object::Machine(Box::new(machine.clone()));
        let judged = self.engine.decide(&Question { subject, right, object, circumstances });
        judged.is_permitted.then_some(judged.deciding)
    }

    /// May they request, and does that wait for an approval?
    fn waits(&self, caller: &Caller, machine: &Facts) -> bool {
        let may = |right| self.permitted(caller, right, machine, usual(machine)).is_some();
        may(Right::Request) && !may(Right::OpenWithoutApproval)
    }

    /// May they approve by any channel in any hour of a week?
    fn may_approve(&self, caller: &Caller, machine: &Facts) -> bool {
        let usual = usual(machine);
        (0..WEEK_HOURS).any(|hour| {
            CHANNELS.into_iter().any(|channel| {
                let now = usual.now + SignedDuration::from_hours(hour);
                let circumstances = Circumstances { now, channel: channel.to_owned(), ..usual.clone() };
                self.permitted(caller, Right::Approve, machine, circumstances).is_some()
            })
        })
    }
}

/// A request for an hour, at noon of a Monday, by a person at a known address.
fn usual(machine: &Facts) -> Circumstances {
    let gate = machine.os.unwrap_or(Os::Linux).default_gate();
    Circumstances {
        now: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(4 * 24 + 12),
        channel: CHANNELS[0].to_owned(),
        port: Some(gate.port.number()),
        protocol: Some("tcp".to_owned()),
        source: address_range(ADDRESS),
        minutes: Some(60),
        minutes_ahead: Some(0),
        reason: Some("INC-1".to_owned()),
        ticket: Some("INC-1".to_owned()),
        ..Circumstances::default()
    }
}

/// The networks that a policy file names.
fn networks(text: &str) -> impl Iterator<Item = IpNet> {
    let literals = text.split("ip(\"").skip(1).filter_map(|it| it.split('"').next());
    literals.filter_map(address_range)
}
