//! The threads of one process: no caller can fill those that close.

use portcullis_program::Failure;
use tokio::runtime::{Builder, Handle, Runtime};

/// How many threads open and close; each has its own connections, timers and blocking calls.
const SCHEDULER_THREADS: usize = 2;
/// How many threads answer callers.
const CALLER_THREADS: usize = 2;
/// How many threads simulate a cloud.
const CLOUD_THREADS: usize = 1;

/// One runtime for each kind of work, so that the operating system shares the processors fairly between them. Whatever is
/// spawned, connected or waited for in one of them stands in no queue of another.
#[derive(Debug)]
pub struct Threads {
    scheduler: Runtime,
    callers: Runtime,
    cloud: Runtime,
}

/// Where work that is not the scheduler's is done.
#[derive(Debug, Clone)]
pub struct Handles {
    /// Callers are answered here.
    pub callers: Handle,
    /// A simulated cloud answers here.
    pub cloud: Handle,
}

impl Threads {
    /// Starts them all.
    pub fn start() -> Result<Self, Failure> {
        let of = |name: &str, threads| {
            let runtime =
                Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build();
            runtime.map_err(|error| Failure::cannot("start", error))
        };
        Ok(Self {
            scheduler: of("scheduler", SCHEDULER_THREADS)?,
            callers: of("callers", CALLER_THREADS)?,
            cloud: of("cloud", CLOUD_THREADS)?,
        })
    }

    /// The threads that open and close.
    pub fn scheduler(&self) -> &Runtime {
        &self.scheduler
    }

    /// Where everything else is done.
    pub fn handles(&self) -> Handles {
        Handles { callers: self.callers.handle().clone(), cloud: self.cloud.handle().clone() }
    }

    /// Ends them without waiting for what they are at.
    pub fn stop(self) {
        self.callers.shutdown_background();
        self.cloud.shutdown_background();
        self.scheduler.shutdown_background();
    }
}
