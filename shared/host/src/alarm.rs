//! Waking up at a time, by whichever clock shows it first: also after the machine was asleep or its clock was set.

use jiff::{SignedDuration, Timestamp};
use std::io;

/// Waits until the clock on the wall shows `at`, or the machine has been running for so long, or its clock was set: then
/// it may be earlier.
pub async fn wait_until(at: Timestamp, running: SignedDuration) -> io::Result<()> {
    imp::wait_until(at, running).await
}

#[cfg(target_os = "linux")]
mod imp {
    use jiff::{SignedDuration, Timestamp};
    use rustix::{
        io::Errno,
        time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec},
    };
    use std::{io, os::fd::OwnedFd};
    use tokio::io::unix::AsyncFd;

    /// Timers of the kernel: one on the wall clock, which fires also when that is set, and one on the clock that runs in
    /// sleep too. Either fires on waking up if its time passed in sleep, which tokio's timers do not.
    pub async fn wait_until(at: Timestamp, running: SignedDuration) -> io::Result<()> {
        let on_set = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let at = at.as_duration();
        tokio::select! {
            rung = ring(TimerfdClockId::Realtime, at, on_set) => rung,
            rung = ring(TimerfdClockId::Boottime, running, TimerfdTimerFlags::ABSTIME) => rung,
        }
    }

    async fn ring(clock: TimerfdClockId, at: SignedDuration, flags: TimerfdTimerFlags) -> io::Result<()> {
        const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = rustix::time::timerfd_create(clock, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "sound for an `OwnedFd`; the new constructor is unsafe, which we forbid"
        )]
        let timer: AsyncFd<OwnedFd> = AsyncFd::new(timer)?;
        // A timer at zero would be none at all; anything that early is over.
        let it_value = Timespec { tv_sec: at.as_secs().max(1), tv_nsec: at.subsec_nanos().max(0).into() };
        let when = Itimerspec { it_interval: NEVER, it_value };
        rustix::time::timerfd_settime(&timer, flags, &when)?;
        loop {
            let mut ready = timer.readable().await?;
            let mut expirations = [0_u8; size_of::<u64>()];
            match rustix::io::read(timer.get_ref(), &mut expirations) {
                Ok(_) | Err(Errno::CANCELED) => return Ok(()),
                Err(Errno::AGAIN | Errno::INTR) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use jiff::{SignedDuration, Timestamp};
    use std::{io, time::Duration};

    /// Elsewhere the running clock stands still in sleep: look at the wall clock this often.
    const LOOK: Duration = Duration::from_secs(10);

    pub async fn wait_until(at: Timestamp, _: SignedDuration) -> io::Result<()> {
        loop {
            let left = Duration::try_from(at.duration_since(crate::steady::now())).unwrap_or_default();
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }
}
