//! What workers see of the cloud: every read and every write is a call of its own, firewall by firewall.

use super::{
    clock::{Event, Outage, ms},
    cloud::{Deed, GHOST, Glimpse, Kept, Refused, TARGETS, locked, target},
    faults::{HELD_MS, LANDS_LATE_MS, STALE_MS},
    oracle::Excuses,
    outside::{Outside, unavailable},
    world::World,
};
use portcullis_app::{
    Error,
    ports::{Adoption, Checkup, Clock as _, Firewalls, Inventory, Machine, Machines, Os, OurRule},
};
use portcullis_domain::{
    Change, ChangeTo, Firewall, FirewallId, Held, LOOK_AGAIN, Rule, RuleName, Snapshot, TargetId,
};

impl World {
    /// An adapter whose credential is refused makes another one, as soon as there is one to be had.
    fn answers(&mut self, id: &FirewallId) -> Result<(), Error> {
        if let Some(renews_at) = self.renews_at {
            if self.time.now < renews_at {
                self.oracle.count("credential refused");
                return Err(unavailable(
                    "log in",
                    "the credential is refused, and there is no other one yet",
                ));
            }
            self.renews_at = None;
        }
        match self.cloud.outage(id) {
            None => Ok(()),
            Some(Outage::Throttled) => Err(unavailable("reach the firewall", "too many calls")),
            Some(Outage::Broken) => {
                Err(Error::Broken { doing: "use the firewall", source: "no right to".into() })
            }
        }
    }

    fn read_one(&mut self, worker: &Outside, id: &FirewallId) -> Result<(Firewall, Glimpse), Error> {
        self.answers(id)?;
        let now = self.time.now;
        let mut at = now;
        if self.storms() && self.dice.once_in(self.faults.stale_once_in) {
            at -= self.dice.below(STALE_MS);
            self.note(worker.actor(), || format!("is shown {id} as it was at {at} ms"));
            // What was wrongly believed is looked at again.
            self.oracle.excuse(None, now, now + ms(LOOK_AGAIN[0]), Excuses::WorkAndCuts);
        }
        Ok((self.cloud.show(id, at), self.cloud.glimpse(id, at)))
    }

    /// One change takes effect: now, later, or now and later once more.
    fn write_one(
        &mut self,
        worker: &Outside,
        target: Option<&TargetId>,
        deed: &Deed,
    ) -> Result<Option<Held>, Error> {
        let (now, change) = (self.time.now, deed.change());
        let is_zombie = self.lives.get(&worker.worker).is_none_or(|it| it.is_zombie);
        self.oracle.wrote((&self.table, &self.cloud), (worker.worker, is_zombie), target, change, now);
        self.answers(&change.firewall)?;
        if let Deed::Change(change) = deed
            && let Some(kept) = self.cloud.keeps(change)
        {
            self.note(worker.actor(), || format!("may not {change}"));
            self.oracle.count("deletion refused");
            return match kept {
                Kept::Stands(held) => Ok(Some(held)),
                Kept::Over => Err(kept_for_good()),
            };
        }
        if self.storms() && self.dice.once_in(self.faults.written_back_once_in) {
            let whole = self.cloud.whole(&change.firewall);
            let at = now + 1 + self.dice.below(HELD_MS);
            self.note(worker.actor(), || format!("another client has read {}", change.firewall));
            self.time.at(at, Event::WriteBack(change.firewall.clone(), whole));
        }
        if self.storms() && self.dice.once_in(self.faults.late_once_in) {
            let lands_at = now + 1 + self.dice.below(LANDS_LATE_MS);
            self.note(worker.actor(), || format!("writes, to land at {lands_at} ms: {deed}"));
            self.time.at(lands_at, Event::Land(deed.clone()));
            return match self.dice.roll(3) {
                0 => Ok(None),
                1 => Err(unavailable("hear back", "lost on the way there, for now")),
                _ => {
                    // Waiting for it outlasts the worker.
                    self.die(worker.worker);
                    self.doomed.insert(worker.worker);
                    Ok(None)
                }
            };
        }
        if self.storms() && self.dice.once_in(self.faults.twice_once_in) {
            let again_at = now + 1 + self.dice.below(LANDS_LATE_MS);
            self.note(worker.actor(), || format!("its next write lands again at {again_at} ms"));
            self.time.at(again_at, Event::Land(deed.clone()));
        }
        let by_now = self.clock(worker.skew);
        let wanted = target.and_then(|it| self.table.targets.get(it)).map(|it| it.target.rules(by_now));
        if let Some(wanted) = wanted.as_ref().and_then(|it| it.get(&change.name))
            && self.cloud.is_squeezed(&change.firewall, &change.name, wanted)
        {
            self.oracle.count("lease over beside a refused growth");
        }
        let is_reused = self.cloud.is_reused(change);
        let landed = self.cloud.land(deed, now);
        self.note(worker.actor(), || format!("writes: {deed}: {landed:?}"));
        self.oracle.stir();
        match landed {
            Ok(_) => {
                match (deed, &change.to) {
                    (Deed::Retire(..), _) => self.oracle.count("rule written over"),
                    (Deed::Change(_), ChangeTo::Put { .. }) if is_reused => {
                        self.oracle.count("rule that was over lets in again");
                    }
                    (Deed::Change(_), ChangeTo::Delete) if is_reused => {
                        self.oracle.count("rule that was over deleted");
                    }
                    (Deed::Change(_), ChangeTo::Put { .. } | ChangeTo::Delete) => {}
                }
                Ok(None)
            }
            // It was accepted, and then nothing came of it.
            Err(Refused::Kept) => Err(kept_for_good()),
            Err(Refused::Full) => {
                self.oracle.count("growth refused");
                let source = "it holds as many ranges as it may".into();
                Err(Error::Broken { doing: "write the rule", source })
            }
            Err(refused @ (Refused::Clash | Refused::Stale)) => {
                self.oracle.count(if refused == Refused::Clash {
                    "priority clashed"
                } else {
                    "etag was stale"
                });
                Err(Error::Conflict)
            }
        }
    }
}

impl Firewalls for Outside {
    async fn read(&self, id: &TargetId) -> Result<Snapshot, Error> {
        let read_at = self.now();
        let path = self.world().cloud.path(id).map(<[FirewallId]>::to_vec);
        let path = path.ok_or_else(|| Error::NotFound { what: "target", name: id.to_string() })?;
        let (mut firewalls, mut seen) = (vec![], vec![]);
        for firewall in &path {
            let (shown, glimpse) = self.call(|world| world.read_one(self, firewall)).await?;
            firewalls.push(shown);
            seen.push(glimpse);
        }
        let mut world = self.world();
        let now = world.time.now;
        world.oracle.looked(self.worker, id, seen, now);
        Ok(Snapshot::of(read_at, firewalls))
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        let mut found = vec![];
        let ids = self.world().cloud.ids();
        for id in ids {
            let (firewall, _) = self.call(|world| world.read_one(self, &id)).await?;
            let of = |(name, held): (RuleName, Held)| {
                let until = match held.rule {
                    Some(Rule::Allow { until, .. }) => Some(until),
                    Some(Rule::Deny { .. }) | None => None,
                };
                OurRule {
                    firewall: id.clone(),
                    machine: locked(&name),
                    name,
                    etag: held.etag,
                    until,
                    is_over: false,
                }
            };
            found.extend(firewall.ours.into_iter().map(of));
            let now = self.world().time.now;
            let over = self.world().cloud.over(&id, now);
            found.extend(over.into_iter().map(|(name, etag)| OurRule {
                firewall: id.clone(),
                name,
                etag,
                until: None,
                machine: None,
                is_over: true,
            }));
        }
        Ok(found)
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        for change in changes {
            self.take(&change.firewall).await;
            let deed = Deed::Change(change.clone());
            let kept = self.call(|world| world.write_one(self, target, &deed)).await?;
            // What an adapter does of itself where it may not delete: it writes over what it finds.
            if let Some(found) = kept {
                let deed = Deed::Retire(change.clone(), found);
                self.take(&change.firewall).await;
                self.call(|world| world.write_one(self, target, &deed)).await?;
            }
        }
        Ok(())
    }
}

impl World {
    /// A write is under way until then, or somebody else's is until then. Nobody is late for the time of the cloud.
    fn take(&mut self, worker: &Outside, id: &FirewallId) -> Result<i64, i64> {
        let now = self.time.now;
        let until = now + self.faults.pace_ms;
        let taken = self.cloud.take(id, now, until);
        if taken.is_err() {
            self.note(worker.actor(), || format!("is told to come back to {id}"));
            self.oracle.count("told to come back");
        }
        let until = taken.map_or_else(|until| until, |()| until);
        for target in self.cloud.behind(id) {
            self.oracle.excuse(Some(target), now, until, Excuses::Work);
        }
        taken.map(|()| until)
    }
}

impl Outside {
    /// Waits for a turn at a firewall, and then for as long as a write takes.
    async fn take(&self, id: &FirewallId) {
        if self.world().faults.pace_ms == 0 {
            return;
        }
        loop {
            let taken = self.world().take(self, id);
            let (Ok(until) | Err(until)) = taken;
            self.until(until).await;
            if taken.is_ok() {
                return;
            }
        }
    }
}

fn kept_for_good() -> Error {
    Error::Broken { doing: "delete the rule", source: "a lock on the firewall forbids it".into() }
}

impl Adoption for Outside {}

impl Checkup for Outside {}

impl Inventory for Outside {
    async fn machines(&self, after: Option<&TargetId>, at_most: usize) -> Result<Machines, Error> {
        self.call(|_| {
            let all = TARGETS.map(target).into_iter().filter(|id| after.is_none_or(|after| after < id));
            Ok(Machines { items: all.take(at_most).map(machine).collect(), unseen: vec![] })
        })
        .await
    }

    async fn machine(&self, id: &TargetId) -> Result<Option<Machine>, Error> {
        self.call(|_| Ok(TARGETS.map(target).into_iter().find(|it| it == id).map(machine))).await
    }

    async fn is_gone(&self, id: &TargetId) -> Result<bool, Error> {
        self.call(|_| Ok(*id == target(GHOST))).await
    }
}

fn machine(id: TargetId) -> Machine {
    Machine {
        name: id.to_string(),
        id,
        location: "here".to_owned(),
        os: Os::Linux,
        addresses: vec![],
        guarded_by: Some("nsg".to_owned()),
        interfaces: vec![],
        tags: std::collections::BTreeMap::new(),
        unsupported: None,
    }
}
