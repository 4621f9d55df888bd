//! What delayed a closing that came late, and who has to act on it.

use crate::{Gate, secret::redacted};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long after its end a lease may be seen to be shut, without the time of the cloud's own write.
pub const LATE: SignedDuration = SignedDuration::from_secs(2);
/// How much of that time a cloud may take for its own write: what is beyond that is late too.
pub const CLOUD_WRITE_MAX: SignedDuration = SignedDuration::from_secs(5);
/// How many characters of a refusal are kept.
const WHY_MAX: usize = 500;

/// What delayed a closing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// Its name.
    pub cause: Cause,
    /// The words of what refused or failed, as far as there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The names of what delays closings. `docs/closing.md` says of each how it shows, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The cloud refused the write for good, as for a limit, a policy or a missing right.
    CloudRefused,
    /// The cloud did not answer, was busy, or did not do what it accepted.
    CloudUnavailable,
    /// The cloud took longer than [`CLOUD_WRITE_MAX`] for a write that it accepted.
    CloudSlow,
    /// The cloud refused our credentials, or gave no token for them.
    CredentialRefused,
    /// A lock, a policy or a role forbids to delete the rule, and it could not be narrowed either.
    DeletionLocked,
    /// A rule of somebody else's let callers in whatever our lock said.
    LockDefeated,
    /// The packet filter of the machine could not be read or written.
    FirewallFailed,
    /// The table's disk was full or refused a write.
    DiskFull,
    /// The clock of the machine was set forward over the lease's end.
    ClockJumped,
    /// Portcullis was not running when the lease ended.
    NotRunning,
    /// The worker that had claimed the machine died, and its claim had to end first.
    WorkerDied,
    /// Nothing else was in the way: our own queue or scheduler was late.
    Behind,
}

/// Whose a cause is: who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// We, and whoever runs us.
    Portcullis,
    /// Whoever runs the cloud's subscription, and the cloud itself.
    Cloud,
    /// Whoever runs the machine that Portcullis runs on.
    Machine,
}

/// Something that was in the way for a time, as far as the process knows that reads the firewalls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// Since when.
    pub from: Timestamp,
    /// Until when it was last met.
    pub to: Timestamp,
    /// What it was.
    pub delay: Delay,
}

/// What the passes before left in a target of what was in their way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Obstacles {
    /// The last attempt that failed, if the one after it did not succeed.
    pub missed_at: Option<Timestamp>,
    /// The words of a refusal that it met.
    pub refused: Option<String>,
    /// The gates that rules of others kept open, and which.
    pub defeated: BTreeMap<Gate, String>,
    /// When the claim was taken over from a worker that died.
    pub taken_over_at: Option<Timestamp>,
}

/// A closing that was just seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closing {
    pub gate: Gate,
    pub end: Timestamp,
    pub seen_at: Timestamp,
    pub late_ms: i64,
    pub cloud_ms: Option<i64>,
}

/// Was a closing late: by more than [`LATE`], without the time of the cloud's own write?
pub fn is_late(late_ms: i64, cloud_ms: Option<i64>) -> bool {
    let cloud = SignedDuration::from_millis(cloud_ms.unwrap_or(0)).min(CLOUD_WRITE_MAX);
    LATE < SignedDuration::from_millis(late_ms).saturating_sub(cloud)
}

impl Obstacles {
    /// What delayed a closing; nothing where it was not late.
    ///
    /// What was in the way for the longest of the time from its end is named. A worker that died is so only where the
    /// cloud or the machine was not seen to be in its way: workers that wait for a cloud in vain die too.
    pub fn delay(&self, closing: &Closing, hindrances: &[Hindrance]) -> Option<Delay> {
        let Closing { gate, end, seen_at, late_ms, cloud_ms } = *closing;
        if !is_late(late_ms, cloud_ms) {
            return None;
        }
        let met = hindrances.iter().filter_map(|it| Some((it.within(end, seen_at)?, it)));
        let longest = met.max_by_key(|(length, _)| *length);
        let is_taken_over = self.taken_over_at.is_some_and(|it| end <= it);
        if let Some(by) = self.defeated.get(&gate) {
            return Some(Delay::of(Cause::LockDefeated, by));
        }
        if let Some((length, longest)) = longest
            && (LATE <= length || !is_taken_over)
        {
            return Some(longest.delay.clone());
        }
        if is_taken_over {
            return Some(Cause::WorkerDied.into());
        }
        if self.missed_at.is_some_and(|missed_at| end <= missed_at) {
            return Some(match &self.refused {
                Some(why) => Delay::of(Cause::CloudRefused, why),
                None => Cause::CloudUnavailable.into(),
            });
        }
        let is_slow = cloud_ms.is_some_and(|it| CLOUD_WRITE_MAX < SignedDuration::from_millis(it));
        Some(if is_slow { Cause::CloudSlow } else { Cause::Behind }.into())
    }
}

impl Hindrance {
    /// How long it was there between two moments, if it was there at all.
    fn within(&self, from: Timestamp, to: Timestamp) -> Option<SignedDuration> {
        let (from, to) = (self.from.max(from), self.to.min(to));
        (from <= to).then(|| to.duration_since(from))
    }
}

impl Delay {
    /// A cause with the words of what refused or failed: no token in them, and not too many.
    pub fn of(cause: Cause, why: &str) -> Self {
        let why = redacted(why);
        let end = why.char_indices().nth(WHY_MAX).map(|(end, _)| end);
        Self { cause, why: Some(end.map_or_else(|| why.to_string(), |end| format!("{}…", &why[..end]))) }
    }
}

impl From<Cause> for Delay {
    fn from(cause: Cause) -> Self {
        Self { cause, why: None }
    }
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::CloudRefused,
        Self::CloudUnavailable,
        Self::CloudSlow,
        Self::CredentialRefused,
        Self::DeletionLocked,
        Self::LockDefeated,
        Self::FirewallFailed,
        Self::DiskFull,
        Self::ClockJumped,
        Self::NotRunning,
        Self::WorkerDied,
        Self::Behind,
    ];

    /// Who has to act.
    pub fn party(self) -> Party {
        match self {
            Self::CloudRefused
            | Self::CloudUnavailable
            | Self::CloudSlow
            | Self::CredentialRefused
            | Self::DeletionLocked
            | Self::LockDefeated => Party::Cloud,
            Self::FirewallFailed | Self::DiskFull | Self::ClockJumped => Party::Machine,
            Self::NotRunning | Self::WorkerDied | Self::Behind => Party::Portcullis,
        }
    }

    /// The word that programs go by.
    pub fn word(self) -> &'static str {
        match self {
            Self::CloudRefused => "cloud-refused",
            Self::CloudUnavailable => "cloud-unavailable",
            Self::CloudSlow => "cloud-slow",
            Self::CredentialRefused => "credential-refused",
            Self::DeletionLocked => "deletion-locked",
            Self::LockDefeated => "lock-defeated",
            Self::FirewallFailed => "firewall-failed",
            Self::DiskFull => "disk-full",
            Self::ClockJumped => "clock-jumped",
            Self::NotRunning => "not-running",
            Self::WorkerDied => "worker-died",
            Self::Behind => "behind",
        }
    }
}

impl Party {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Portcullis, Self::Cloud, Self::Machine];

    /// The word that programs go by.
    pub fn word(self) -> &'static str {
        match self {
            Self::Portcullis => "portcullis",
            Self::Cloud => "cloud",
            Self::Machine => "machine",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    fn gate() -> Gate {
        "22/tcp".parse().expect("a gate")
    }

    /// A lease that ended at 0, and was seen to be shut so many seconds later.
    fn shut(second: i64, cloud_ms: Option<i64>) -> Closing {
        Closing { gate: gate(), end: at(0), seen_at: at(second), late_ms: second * 1000, cloud_ms }
    }

    fn hindrance(from: i64, to: i64, cause: Cause) -> Hindrance {
        Hindrance { from: at(from), to: at(to), delay: cause.into() }
    }

    fn cause(obstacles: &Obstacles, closing: &Closing, hindrances: &[Hindrance]) -> Option<Cause> {
        obstacles.delay(closing, hindrances).map(|it| it.cause)
    }

    #[test]
    fn a_closing_in_time_has_no_delay_whatever_was_in_the_way() {
        let met = [hindrance(0, 2, Cause::CloudUnavailable)];
        for (second, cloud_ms) in [(0, None), (2, None), (4, Some(2_000)), (7, Some(5_000))] {
            assert_eq!(cause(&Obstacles::default(), &shut(second, cloud_ms), &met), None, "{second}");
        }
    }

    #[test]
    fn a_late_closing_with_nothing_in_the_way_is_ours() {
        let none = Obstacles::default();
        assert_eq!(cause(&none, &shut(3, None), &[]), Some(Cause::Behind));
        let other_times = [hindrance(-9, -1, Cause::DiskFull), hindrance(4, 9, Cause::CloudRefused)];
        assert_eq!(cause(&none, &shut(3, None), &other_times), Some(Cause::Behind));
    }

    #[test]
    fn a_write_that_takes_the_cloud_too_long_is_the_clouds_and_late() {
        let none = Obstacles::default();
        assert_eq!(cause(&none, &shut(8, Some(7_000)), &[]), Some(Cause::CloudSlow));
        assert_eq!(cause(&none, &shut(8, Some(2_000)), &[]), Some(Cause::Behind));
    }

    #[test]
    fn the_hindrance_that_lasted_longest_since_the_end_is_named() {
        let met = [
            hindrance(-100, 3, Cause::CloudUnavailable),
            hindrance(3, 30, Cause::DeletionLocked),
            hindrance(30, 31, Cause::DiskFull),
        ];
        assert_eq!(cause(&Obstacles::default(), &shut(32, None), &met), Some(Cause::DeletionLocked));
    }

    #[test]
    fn a_worker_that_died_is_named_unless_it_died_of_the_cloud() {
        let died = Obstacles { taken_over_at: Some(at(30)), ..Obstacles::default() };
        assert_eq!(cause(&died, &shut(31, None), &[]), Some(Cause::WorkerDied));
        let one_lost_call = [hindrance(0, 1, Cause::CloudUnavailable)];
        assert_eq!(cause(&died, &shut(31, None), &one_lost_call), Some(Cause::WorkerDied));
        let silence = [hindrance(0, 20, Cause::CloudUnavailable)];
        assert_eq!(cause(&died, &shut(31, None), &silence), Some(Cause::CloudUnavailable));
        let died_before = Obstacles { taken_over_at: Some(at(-1)), ..Obstacles::default() };
        assert_eq!(cause(&died_before, &shut(3, None), &[]), Some(Cause::Behind));
    }

    #[test]
    fn a_failed_attempt_after_the_end_is_the_clouds_with_the_words_of_its_refusal() {
        let missed = |second: i64, refused: Option<&str>| Obstacles {
            missed_at: Some(at(second)),
            refused: refused.map(str::to_owned),
            ..Obstacles::default()
        };
        let refused = missed(1, Some("403 `Nope`")).delay(&shut(5, None), &[]).expect("late");
        assert_eq!(refused, Delay { cause: Cause::CloudRefused, why: Some("403 `Nope`".to_owned()) });
        assert_eq!(cause(&missed(1, None), &shut(5, None), &[]), Some(Cause::CloudUnavailable));
        let before_the_end = missed(-1, Some("no room to open"));
        assert_eq!(cause(&before_the_end, &shut(5, None), &[]), Some(Cause::Behind));
    }

    #[test]
    fn a_rule_that_defeated_the_lock_of_the_gate_is_named() {
        let defeated =
            Obstacles { defeated: [(gate(), "allow-all in n".to_owned())].into(), ..Obstacles::default() };
        let delay = defeated.delay(&shut(60, None), &[]).expect("late");
        assert_eq!(delay, Delay { cause: Cause::LockDefeated, why: Some("allow-all in n".to_owned()) });
    }

    #[test]
    fn words_of_others_are_short_and_without_tokens() {
        let token = format!("pct_{}", "a".repeat(43));
        let why = Delay::of(Cause::CloudRefused, &format!("no {token} {}", "x".repeat(2_000))).why;
        let why = why.expect("words");
        assert!(why.starts_with("no pct_[redacted] x") && why.chars().count() <= WHY_MAX + 1, "{why}");
    }

    #[test]
    fn every_cause_has_the_name_that_it_has_in_json() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).expect("writes"), cause.word());
        }
        for party in Party::ALL {
            assert_eq!(serde_json::to_value(party).expect("writes"), party.word());
            assert!(Cause::ALL.iter().any(|it| it.party() == party), "{party:?}");
        }
    }
}
