//! What the calls of an adapter met lately, for each target: told with the next read, so that a closing that came late
//! names it. Kept in memory: each process tells what it met itself.

use crate::Error;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{Cause, Delay, Hindrance, TargetId};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Mutex, PoisonError},
};

/// How long trouble is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);
/// Attempts that fail for the same cause within that time are one trouble.
const SAME: SignedDuration = SignedDuration::from_mins(2);
/// How many troubles of one target are remembered.
const TROUBLES_MAX: usize = 16;

/// What lately was in the way of calls.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<BTreeMap<TargetId, Vec<Hindrance>>>);

/// A call that is under way. Where it is dropped, its worker died waiting for it.
struct Call<'a> {
    troubles: &'a Troubles,
    target: &'a TargetId,
    clock: &'a (dyn Fn() -> Timestamp + Send + Sync),
    began: Timestamp,
    abandoned: Option<Cause>,
}

impl Troubles {
    /// Makes a call, and remembers what `cause` says of its failure; `abandoned`, where nobody waits for it to its end.
    pub async fn watch<T>(
        &self,
        target: &TargetId,
        clock: &(dyn Fn() -> Timestamp + Send + Sync),
        abandoned: Cause,
        cause: impl Fn(&Error) -> Option<Cause>,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut watched = Call { troubles: self, target, clock, began: clock(), abandoned: Some(abandoned) };
        let outcome = call.await;
        watched.abandoned = None;
        if let Err(error) = &outcome
            && let Some(cause) = cause(error)
        {
            watched.note(Delay::of(cause, &error.full()));
        }
        outcome
    }

    /// What was lately in the way of a target's calls.
    pub fn of(&self, target: &TargetId) -> Vec<Hindrance> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(target).cloned().unwrap_or_default()
    }

    fn note(&self, target: &TargetId, met: Hindrance) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, troubles| {
            troubles.retain(|it| met.to.duration_since(it.to) < REMEMBERED);
            !troubles.is_empty()
        });
        let troubles = all.entry(target.clone()).or_default();
        let is_same =
            |it: &&mut Hindrance| it.delay.cause == met.delay.cause && met.from.duration_since(it.to) < SAME;
        if let Some(same) = troubles.iter_mut().find(is_same) {
            (same.to, same.delay) = (met.to, met.delay);
        } else {
            if TROUBLES_MAX <= troubles.len() {
                troubles.remove(0);
            }
            troubles.push(met);
        }
    }
}

impl Call<'_> {
    fn note(&self, delay: Delay) {
        self.troubles.note(self.target, Hindrance { from: self.began, to: (self.clock)(), delay });
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(cause) = self.abandoned {
            self.note(Delay::of(cause, "there was no answer within the life of a worker"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn target() -> TargetId {
        "vm-1".parse().expect("an id")
    }

    /// What is remembered of calls that fail for these causes, one each second of these; each takes a second.
    fn met(calls: &[(i64, Option<Cause>)]) -> Vec<(i64, i64, Cause)> {
        let (troubles, second, target) = (Troubles::default(), AtomicI64::new(0), target());
        let clock = || Timestamp::from_second(second.load(Ordering::Relaxed)).expect("in range");
        for (at, outcome) in calls {
            second.store(*at, Ordering::Relaxed);
            let call = async {
                second.store(at + 1, Ordering::Relaxed);
                Err::<(), _>(Error::Conflict)
            };
            let watched = troubles.watch(&target, &clock, Cause::Behind, |_| *outcome, call).now_or_never();
            assert!(watched.is_some_and(|it| it.is_err()), "the failure is the caller's");
        }
        let all = troubles.of(&target);
        all.into_iter().map(|it| (it.from.as_second(), it.to.as_second(), it.delay.cause)).collect()
    }

    #[test]
    fn attempts_that_fail_for_one_cause_are_one_trouble() {
        let silent = Some(Cause::CloudUnavailable);
        assert_eq!(met(&[(0, silent), (10, silent), (60, silent)]), [(0, 61, Cause::CloudUnavailable)]);
        let refused = Some(Cause::CloudRefused);
        assert_eq!(
            met(&[(0, silent), (10, refused), (20, silent)]),
            [(0, 21, Cause::CloudUnavailable), (10, 11, Cause::CloudRefused)]
        );
        assert_eq!(met(&[(0, silent), (300, silent)]).len(), 2, "the cloud answered in between");
        assert_eq!(met(&[(0, silent), (5_000, silent)]).len(), 1, "the first was long ago");
        assert_eq!(met(&[(0, None)]), [], "no failure of the cloud's");
    }

    #[test]
    fn a_call_that_its_worker_did_not_live_to_see_answered_is_trouble() {
        let (troubles, second, target) = (Troubles::default(), AtomicI64::new(0), target());
        let clock = || Timestamp::from_second(second.load(Ordering::Relaxed)).expect("in range");
        let silence = std::future::pending::<Result<(), Error>>();
        let watched = troubles.watch(&target, &clock, Cause::CloudUnavailable, |_| None, silence);
        assert!(watched.now_or_never().is_none());
        let met = troubles.of(&target);
        assert_eq!(met.iter().map(|it| it.delay.cause).collect::<Vec<_>>(), [Cause::CloudUnavailable]);
    }
}
