//! Knocking at every gate from every address: who gets in, and who should.

use super::{Oracle, PROMISED_MS, Scene};
use crate::stories::{
    actors::{GATES, addresses},
    clock::stamp,
    cloud::Cloud,
};
use portcullis_domain::{Gate, Grant, Target, TargetId};
use std::{net::IpAddr, sync::LazyLock};

/// Which packets get to a machine, from every address to every gate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doors {
    /// For how many changes of its firewalls this is true.
    changes: u64,
    doors: [[Door; 5]; 4],
}

/// Which packets get through from one address to one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Shut,
    /// Of one protocol, where the gate is about several.
    Ajar,
    Open,
}

impl Doors {
    fn of(cloud: &Cloud, id: &TargetId) -> Self {
        let door = |gate: Gate, who| {
            let (transports, port) = (gate.protocol.transports(), gate.port.number());
            match transports.iter().filter(|protocol| cloud.passes(id, who, **protocol, port)).count() {
                0 => Door::Shut,
                all if all == transports.len() => Door::Open,
                _ => Door::Ajar,
            }
        };
        let doors = gates().map(|gate| addresses().map(|who| door(gate, who)));
        Self { changes: cloud.changes(id), doors }
    }

    /// Does every packet get through that the gate is about?
    fn admit(&self, gate: Gate, who: IpAddr) -> bool {
        let at = gates().iter().position(|it| *it == gate).expect("a gate of every story");
        let from = addresses().iter().position(|it| *it == who).expect("an address of every story");
        self.doors[at][from] == Door::Open
    }
}

impl Oracle {
    /// As they are now: found anew where a firewall has changed, which is seldom.
    fn doors(&mut self, cloud: &Cloud, id: &TargetId) -> Doors {
        let known = self.doors.get(id).filter(|it| it.changes == cloud.changes(id));
        let doors = known.copied().unwrap_or_else(|| Doors::of(cloud, id));
        self.doors.insert(id.clone(), doors);
        doors
    }

    pub(in crate::stories) fn observe(&mut self, scene: &Scene<'_>) {
        if !std::mem::take(&mut self.is_stirred) {
            return;
        }
        for (id, row) in &scene.table.targets {
            self.knock(scene, id, &row.target);
            self.look_for_cuts(scene, id, &row.target);
        }
        self.look_for_the_unpermitted(scene);
    }

    /// INVARIANT (shut-by-default, the-clock-closes): who has no live lease does not get in.
    fn knock(&mut self, scene: &Scene<'_>, id: &TargetId, target: &Target) {
        let (now, doors) = (stamp(scene.now), self.doors(scene.cloud, id));
        for (at, gate) in gates().into_iter().enumerate() {
            let is_guarded = target.policy().is_some_and(|it| it.rule(gate).is_some());
            for (from, address) in addresses().into_iter().enumerate() {
                let at_gate =
                    || target.grants().values().filter(|it| it.gate == gate && it.sources.admit(address));
                let is_exposed = is_guarded
                    && doors.doors[at][from] != Door::Shut
                    && !at_gate().any(|it| it.lease.is_live(now));
                let key = (id.clone(), at, from);
                let since = if is_exposed {
                    *self.exposed_since.entry(key).or_insert(scene.now)
                } else if let Some(since) = self.exposed_since.remove(&key) {
                    since
                } else {
                    continue;
                };
                let late = scene.now - since;
                if PROMISED_MS < late && self.deadline(Some(id), since, PROMISED_MS) < scene.now {
                    let rule = if at_gate().any(|it| it.lease.is_over(now)) {
                        "the-clock-closes"
                    } else {
                        "shut-by-default"
                    };
                    let how = format!("{address} enters {gate} of {id} since {since} ms");
                    self.break_rule(rule, scene.now, how);
                }
            }
        }
    }

    /// INVARIANT (no-neighbour-harmed, open-stays-open): who was seen to get in gets in until the end.
    fn look_for_cuts(&mut self, scene: &Scene<'_>, id: &TargetId, target: &Target) {
        let (now, margin) = (stamp(scene.now), stamp(scene.now + self.skew_ms));
        let doors = self.doors(scene.cloud, id);
        for (grant, it) in target.grants() {
            let who = || addresses().into_iter().filter(|who| it.sources.admit(*who));
            // Who got in because a gate stood open was not let in by us, and waits while we shut it.
            if who().all(|who| scene.cloud.lets_in(id, it.gate, who)) {
                self.let_in.insert(grant.clone());
            }
            let is_open = it.opened_at.is_some()
                && self.let_in.contains(grant)
                && !it.lease.is_over(now)
                && !it.lease.is_over(margin);
            let is_cut = is_open && !who().all(|who| doors.admit(it.gate, who));
            let since = if is_cut {
                *self.cut_since.entry(grant.clone()).or_insert(scene.now)
            } else if let Some(since) = self.cut_since.remove(grant) {
                since
            } else {
                continue;
            };
            if self.cut_deadline(id, since) < scene.now {
                let others =
                    || target.grants().values().filter(|other| other.id != *grant && other.gate == it.gate);
                let rule = self.rule_of_a_cut(it, scene.now, others().next().is_some());
                self.break_rule(
                    rule,
                    scene.now,
                    format!("{grant} is kept out of {} of {id} since {since} ms", it.gate),
                );
            }
        }
    }

    fn rule_of_a_cut(&self, it: &Grant, now: i64, has_neighbours: bool) -> &'static str {
        if !it.lease.is_live(stamp(now - self.skew_ms)) {
            "open-stays-open"
        } else if has_neighbours {
            "union-of-leases"
        } else {
            "no-neighbour-harmed"
        }
    }
}

/// Does every packet get through that the gate is about?
pub(super) fn admits(cloud: &Cloud, id: &TargetId, gate: Gate, who: IpAddr) -> bool {
    gate.protocol.transports().iter().all(|protocol| cloud.passes(id, who, *protocol, gate.port.number()))
}

fn gates() -> [Gate; 4] {
    static ALL: LazyLock<[Gate; 4]> = LazyLock::new(|| GATES.map(|gate| gate.parse().expect("a gate")));
    *ALL
}
