//! A simulated Azure in this process: how quick it is, where it answers, and where it is kept.

use crate::{cloud::Args, failed::full, steady};
use clap::ValueEnum;
use portcullis_azure::{Azure, Settings};
use portcullis_program::{Failure, secret};
use portcullis_simcloud::{Faults, FileError, Simcloud, keep, serve};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// The seed of the fleet that a new folder gets.
const SEED: u64 = 1;

/// How quick a simulated Azure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    /// As Azure: a rule's write takes two seconds, one at a time on one security group
    Ordinary,
    /// Every write is done when it is answered
    Quick,
}

impl Pace {
    /// Makes a cloud as quick as this, from now on.
    pub fn set(self, cloud: &Simcloud) {
        cloud.pace(&match self {
            Self::Ordinary => Faults::default(),
            Self::Quick => Faults::quick(),
        });
    }
}

/// A simulated cloud that this process serves, and keeps in a file.
#[derive(Debug)]
pub struct Simulated {
    /// The cloud.
    pub cloud: Arc<Simcloud>,
    /// Where it is heard.
    pub address: SocketAddr,
    /// Was it made just now?
    pub is_new: bool,
    stop: oneshot::Sender<()>,
    kept: JoinHandle<Result<(), FileError>>,
}

impl Simulated {
    /// The cloud of a file, or a new one, served on a loopback address; as quick as it was where nothing is said. Call it
    /// where the cloud shall answer: it stays there.
    pub async fn start(file: PathBuf, listen: SocketAddr, pace: Option<Pace>) -> Result<Self, Failure> {
        if !listen.ip().is_loopback() {
            let message = format!("`--simcloud-listen {listen}` is not a loopback address");
            return Err(Failure::usage(format!(
                "{message}: every caller who reaches a simulated cloud has all permissions there"
            )));
        }
        let known = Simcloud::load(&file, Arc::new(steady::now))
            .map_err(|error| Failure::cannot("simulate a cloud", full(&error)))?;
        let is_new = known.is_none();
        let cloud = known.unwrap_or_else(|| Simcloud::new(SEED, Arc::new(steady::now)));
        if let Some(pace) = pace {
            pace.set(&cloud);
        }
        let cloud = Arc::new(cloud);
        if cloud.control().is_none() {
            guard_control(&cloud)?;
            // The operator reads it there.
            cloud.save(&file).map_err(|error| Failure::cannot("simulate a cloud", full(&error)))?;
        }
        let listener = TcpListener::bind(listen).await;
        let listener = listener
            .map_err(|error| Failure::unavailable(format!("cannot listen on `{listen}`: {error}")))?;
        let address = listener.local_addr().map_err(|error| Failure::cannot("listen", error))?;
        // Answers are given up first; then what is left is saved.
        let (stop, stopped) = oneshot::channel::<()>();
        let (silent, unheard) = oneshot::channel::<()>();
        let served = Arc::clone(&cloud);
        tokio::spawn(async move {
            let outcome = serve(served, listener, None, async { drop(stopped.await) }).await;
            if let Err(error) = outcome {
                tracing::error!(%error, "The simulated cloud stopped serving");
            }
            drop(silent);
        });
        let saved = Arc::clone(&cloud);
        let failed = |error: &FileError| {
            let error = full(error);
            tracing::warn!(error, "The simulated cloud could not be saved; saving will be tried again");
        };
        let kept =
            tokio::spawn(async move { keep(saved, file, async { drop(unheard.await) }, failed).await });
        Ok(Self { cloud, address, is_new, stop, kept })
    }

    /// What Portcullis makes of it.
    pub fn azure(&self, args: &Args) -> Result<Azure, Failure> {
        let url = format!("http://{}", self.address);
        args.guarded(&Settings::of_simulator(&url, &self.cloud.tenant()))
    }

    /// Stops answering, and saves it.
    pub async fn stop(self) {
        drop(self.stop);
        match self.kept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(
                error = full(&error),
                "The simulated cloud could not be saved \
                at the end"
            ),
            Err(error) => tracing::error!(%error, "The simulated cloud could not be saved at the end"),
        }
    }
}

/// Gives a cloud that has none the secret that only its operator knows.
pub fn guard_control(cloud: &Simcloud) -> Result<(), Failure> {
    if cloud.control().is_none() {
        let secret = secret().map_err(|error| Failure::cannot("generate a secret", error))?;
        cloud.guard_control(&secret.iter().fold(String::new(), |text, it| text + &format!("{it:02x}")));
    }
    Ok(())
}
