//! What goes wrong, as planned: a plain value, so that the same story can be told again.

use serde::{Deserialize, Serialize};

/// How the cloud behaves when it does not behave well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// How long a write takes from being accepted to being done and in force, in milliseconds; 0 is done when it
    /// is answered.
    pub operation_millis: u32,
    /// When to ask how a write is getting on, in seconds, as `Retry-After` says it; 0 is not said.
    pub retry_after_secs: u32,
    /// Is a write refused with 429 while another one on the same resource is under way?
    pub one_operation_at_a_time: bool,
    /// Have all rules of a security group its etag, so that every write changes all of them?
    pub one_etag_per_group: bool,
    /// Is what became of a write told by `Location` alone, without `Azure-AsyncOperation`?
    pub location_only: bool,
    /// How many items a page of a list has.
    pub page_size: u16,
    /// How many reads are left when an hour begins, or now. Each answer says how many are left after it;
    /// nobody is refused for there being none: that is planned as [`Fault::Throttled`].
    pub reads_remaining: u32,
    /// The same for writes.
    pub writes_remaining: u32,
    /// What else goes wrong: each call takes the first that is for it.
    pub planned: Vec<Planned>,
}

/// A fault, and which calls it strikes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// Which calls.
    pub on: On,
    /// How many such calls go well before.
    #[serde(default)]
    pub skip: u32,
    /// How many calls it strikes then.
    #[serde(default = "once")]
    pub times: u32,
    /// What goes wrong.
    pub fault: Fault,
}

/// Which calls of ARM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// GET, and queries.
    Read,
    /// PUT and DELETE.
    Write,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// 429, with the time to wait in `Retry-After`.
    Throttled {
        /// How long to wait, in seconds.
        retry_after_secs: u32,
    },
    /// 409 `AnotherOperationInProgress`, although there is none.
    AnotherOperation,
    /// 500.
    Broken,
    /// A write is accepted, answered and reported as done, and is seen and in force only later: over
    /// whatever was written meanwhile.
    Late {
        /// How much later than it was reported as done, in milliseconds.
        millis: u32,
    },
    /// A write is done, and is undone again by another client that read the whole security group before it, and writes that
    /// back without `If-Match`, as `az network nsg update --tags` does.
    WrittenBack {
        /// How much later than the write was done, in milliseconds; 0 is before anybody reads what it did.
        millis: u32,
    },
    /// Nothing is done and nothing is answered, and the connection stays: for a minute, longer than any caller waits.
    Silent,
    /// The connection is cut instead of an answer.
    Unanswered {
        /// Was done what was asked for?
        done: bool,
    },
}

impl Default for Faults {
    /// The ordinary Azure, as recorded with `az`: a rule's write takes about two seconds, its answer asks for a wait of
    /// ten, and one resource takes one operation at a time.
    fn default() -> Self {
        Self {
            operation_millis: 2_000,
            retry_after_secs: 10,
            one_operation_at_a_time: true,
            one_etag_per_group: false,
            location_only: false,
            page_size: 100,
            reads_remaining: 12_000,
            writes_remaining: 1_200,
            planned: vec![],
        }
    }
}

impl Faults {
    /// A quick cloud, for demonstrations and for tests that are not about pace: a write is done when it is
    /// answered, and no write waits for another.
    pub fn quick() -> Self {
        Self { operation_millis: 0, retry_after_secs: 0, one_operation_at_a_time: false, ..Self::default() }
    }

    /// How many calls are still meant by what is planned.
    pub(crate) fn left(&self) -> u64 {
        self.planned.iter().map(|it| u64::from(it.skip) + u64::from(it.times)).sum()
    }

    /// What strikes the call that is made now.
    pub(crate) fn strike(&mut self, on: On) -> Option<Fault> {
        for planned in self.planned.iter_mut().filter(|it| it.on == on && 0 < it.times) {
            if let Some(skip) = planned.skip.checked_sub(1) {
                planned.skip = skip;
                continue;
            }
            planned.times -= 1;
            return Some(planned.fault);
        }
        None
    }
}

const fn once() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_the_calls_it_is_planned_for() {
        let planned = |on, skip, times, fault| Planned { on, skip, times, fault };
        let mut faults = Faults {
            planned: vec![
                planned(On::Write, 1, 2, Fault::Broken),
                planned(On::Write, 0, 1, Fault::AnotherOperation),
            ],
            ..Faults::default()
        };
        assert_eq!(faults.strike(On::Read), None);
        let struck: Vec<_> = (0..5).map(|_| faults.strike(On::Write)).collect();
        let (broken, another) = (Some(Fault::Broken), Some(Fault::AnotherOperation));
        assert_eq!(struck, [another, broken, broken, None, None]);
    }
}
