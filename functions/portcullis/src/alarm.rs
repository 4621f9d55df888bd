//! Waking up at a time of day, also after the machine was asleep or its clock was set.

use jiff::Timestamp;
use std::io;

/// Waits until `at`, or until the clock was set: then it may be earlier.
pub async fn wait_until(at: Timestamp) -> io::Result<()> {
    imp::wait_until(at).await
}

#[cfg(target_os = "linux")]
mod imp {
    use jiff::Timestamp;
    use rustix::{
        io::Errno,
        time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec},
    };
    use std::{io, os::fd::OwnedFd};
    use tokio::io::unix::AsyncFd;

    /// A timer of the kernel on the wall clock: it fires on waking up if its time passed in sleep, which
    /// tokio's timers, on the monotonic clock, do not.
    pub async fn wait_until(at: Timestamp) -> io::Result<()> {
        const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Realtime, flags)?;
        #[expect(
            deprecated,
            reason = "sound for an `OwnedFd`; the new constructor is unsafe, which we forbid"
        )]
        let timer: AsyncFd<OwnedFd> = AsyncFd::new(timer)?;
        // A timer at zero would be none at all; anything that early is over.
        let it_value =
            Timespec { tv_sec: at.as_second().max(1), tv_nsec: at.subsec_nanosecond().max(0).into() };
        let when = Itimerspec { it_interval: NEVER, it_value };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
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
    use jiff::Timestamp;
    use std::{io, time::Duration};

    /// Elsewhere the monotonic clock stands still in sleep: look at the wall clock this often.
    const LOOK: Duration = Duration::from_secs(10);

    pub async fn wait_until(at: Timestamp) -> io::Result<()> {
        loop {
            let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }
}
