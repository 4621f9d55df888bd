//! How the disk of a table is, and what of that is told: little space, a write that it refused, and that it is well again.

use crate::{
    Error,
    ports::Store,
    record::{Record, record},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::Fact;

/// Little space is told no more often: a disk may be at the edge for long.
const LOW_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// How a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// It has room, and is written.
    Sound,
    /// It has less left than the table wants when it next grows.
    Low {
        /// What it has left, in MiB.
        left_mib: u64,
        /// What the table wants, in MiB.
        wanted_mib: u64,
    },
    /// It has no room, or refused a write.
    Failed {
        /// In words.
        why: String,
    },
}

/// What was told of a disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskTold {
    is_failed: bool,
    low_at: Option<Timestamp>,
}

impl DiskTold {
    /// What is to be told of how the disk is now.
    pub fn next(&self, disk: &Disk, now: Timestamp) -> Option<Fact> {
        let is_low_told = self.low_at.is_some_and(|at| now.duration_since(at) < LOW_AGAIN);
        match disk {
            Disk::Failed { why } => (!self.is_failed).then(|| Fact::DiskFailed { why: why.clone() }),
            Disk::Sound | Disk::Low { .. } if self.is_failed => Some(Fact::DiskRecovered),
            Disk::Low { left_mib, wanted_mib } if !is_low_told => {
                Some(Fact::DiskLow { left_mib: *left_mib, wanted_mib: *wanted_mib })
            }
            Disk::Low { .. } | Disk::Sound => None,
        }
    }

    /// Records what is to be told, if anything is, and remembers that it was.
    pub async fn tell(&mut self, store: &impl Store, disk: &Disk, now: Timestamp) -> Result<(), Error> {
        let Some(fact) = self.next(disk, now) else { return Ok(()) };
        let is_low = matches!(fact, Fact::DiskLow { .. });
        record(store, &Record::of_rest(fact), now).await?;
        self.is_failed = matches!(disk, Disk::Failed { .. });
        if is_low {
            self.low_at = Some(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told, in a word; nothing where nothing is.
    fn told(told: DiskTold, disk: &Disk, minute: i64) -> String {
        let now = Timestamp::from_second(minute * 60).expect("in range");
        let fact = serde_json::to_value(told.next(disk, now)).expect("writes");
        fact["what"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_disk_is_reported_when_low_when_failed_and_when_recovered() {
        let low = Disk::Low { left_mib: 3, wanted_mib: 16 };
        let failed = Disk::Failed { why: "full".to_owned() };
        let nothing = DiskTold::default();
        assert_eq!(told(nothing, &Disk::Sound, 0), "");
        assert_eq!(told(nothing, &low, 0), "disk_low");
        assert_eq!(told(nothing, &failed, 0), "disk_failed");
        let low_told = DiskTold { low_at: Some(Timestamp::UNIX_EPOCH), ..nothing };
        assert_eq!(
            (told(low_told, &low, 59), told(low_told, &low, 60)),
            (String::new(), "disk_low".to_owned())
        );
        let failed_told = DiskTold { is_failed: true, ..nothing };
        assert_eq!(told(failed_told, &failed, 0), "", "once");
        assert_eq!(
            [&Disk::Sound, &low].map(|it| told(failed_told, it, 0)),
            ["disk_recovered", "disk_recovered"]
        );
    }
}
