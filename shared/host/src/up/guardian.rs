//! One Portcullis guards a machine: two would open each other's ports in turn.
//!
//! The guardian holds the name of an abstract socket, which there is once in each network namespace, like the packet filter
//! itself; the kernel gives it back when the process dies, however that dies.

use portcullis_program::Failure;
use std::{io, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Handle,
    time,
};

/// How many names there are. A user who cannot guard a machine may hold one, which must not keep others from guarding it.
const NAMES: u8 = 4;
/// How long the holder of a name may take to be connected to.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long nobody is accepted after that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// The user who may guard any machine.
const ROOT: u32 = 0;

/// Says that this process guards this machine, until it ends. Refused where another one does.
pub async fn take(answering: &Handle) -> Result<(), Failure> {
    let mut ours = None;
    for n in 0..NAMES {
        let name = format!("\0portcullis/host/{n}");
        match UnixListener::bind(&name) {
            // The first one is held; that the others are free was to be seen.
            Ok(listener) => {
                ours.get_or_insert(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => refuse(&name).await?,
            Err(error) => return Err(Failure::cannot("claim this machine", error)),
        }
    }
    let Some(listener) = ours else {
        let message = "other users hold all names with which a portcullis claims this machine";
        return Err(Failure::broken(message).next("`ss -lxp | grep portcullis/host` lists their processes"));
    };
    let listener = listener.into_std().map_err(|error| Failure::cannot("claim this machine", error))?;
    // A second process connects only to learn which process this is.
    answering.spawn(async move {
        let Ok(listener) = UnixListener::from_std(listener) else { return };
        loop {
            if listener.accept().await.is_err() {
                time::sleep(AFTER_FAILURE).await;
            }
        }
    });
    Ok(())
}

/// Refused where whoever holds a name may guard this machine; any other user's is passed over.
async fn refuse(name: &str) -> Result<(), Failure> {
    let holder = time::timeout(CONNECT_MAX, UnixStream::connect(name)).await;
    let holder = holder.ok().and_then(Result::ok).and_then(|it| it.peer_cred().ok());
    if let Some(holder) = &holder
        && holder.uid() != ROOT
        && holder.uid() != rustix::process::geteuid().as_raw()
    {
        let (uid, pid) = (holder.uid(), holder.pid());
        tracing::warn!(uid, pid, "The claim of a user who cannot guard this machine is ignored");
        return Ok(());
    }
    let pid = holder.and_then(|it| it.pid()).filter(|it| 0 < *it);
    let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let message = format!("another portcullis{pid} guards this machine");
    Err(Failure::unavailable(message).next("stop that process first: two would undo each other's rules"))
}
