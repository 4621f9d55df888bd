//! `portcullis simcloud`: a simulated Azure alone, for whoever has a client of Azure and no cloud.

use crate::{
    failed::full,
    signals::told_to_stop,
    simulated::{Pace, guard_control},
    steady,
};
use portcullis_program::{Exit, Failure, output::line, private};
use portcullis_simcloud::{Clock, FileError, Simcloud, Tls, keep, serve};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{net::TcpListener, sync::oneshot};

/// Serve a simulated Azure: its machines, security groups and firewalls, and tokens for them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The address to serve at
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7423")]
    pub listen: SocketAddr,
    /// Serve HTTPS, with a new certificate for `localhost` that is written to the data folder
    #[arg(long)]
    pub tls: bool,
    /// The seed of the sample fleet: the same number is the same fleet
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Keep the cloud in this file, and continue from it at the next start; the seed is for a new file only
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The speed of the cloud [default: as it was kept; a new one is ordinary]
    #[arg(long, value_name = "PACE")]
    pub pace: Option<Pace>,
}

const EXAMPLES: &str = "\
Examples:
  portcullis simcloud
  portcullis simcloud --listen 127.0.0.1:0 --tls --seed 7
  portcullis simcloud --state azure.json --pace quick
  curl -H \"authorization: Bearer $CONTROL\" \\
       'http://127.0.0.1:7423/_simcloud/packet?vm=web-1&from=203.0.113.9&protocol=tcp&port=22'
  curl -H \"authorization: Bearer $CONTROL\" http://127.0.0.1:7423/_simcloud/faults -H 'content-type: \
      application/json' \\
       -d '{\"planned\":[{\"on\":\"write\",\"times\":3,\"fault\":{\"throttled\":{\"retry_after_secs\":2}}}]}'
  curl -H \"authorization: Bearer $CONTROL\" http://127.0.0.1:7423/_simcloud/permissions \\
       -H 'content-type: application/json' -d '{\"actions\":[\"*/read\"]}'
  curl -H \"authorization: Bearer $CONTROL\" http://127.0.0.1:7423/_simcloud/refuse-tokens \\
       -H 'content-type: application/json' -d '{}'

CONTROL is the secret that is printed at the start, and `control` in the file of --state: other users of this machine
do not know it. Without --state all is kept in memory: a new start is a new fleet. Any client of Azure with any secret
gets a token.";

/// The certificate's file in the data folder, for clients to trust.
const CERTIFICATE: &str = "simcloud.pem";

/// Serves until it is told to stop.
pub fn run(data: &Path, args: &Args) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::cannot("start", error))?.block_on(async {
        let cloud = Arc::new(begin(args)?);
        if let Some(pace) = args.pace {
            pace.set(&cloud);
        }
        let listener = TcpListener::bind(args.listen).await;
        let listener = listener.map_err(|error| {
            let message = format!("cannot listen on `{}`: {error}", args.listen);
            Failure::unavailable(message).next("choose another address with --listen")
        })?;
        let address = listener.local_addr().map_err(|error| Failure::cannot("listen", error))?;
        let tls = if args.tls { Some(certificate(data)?) } else { None };
        greet(&cloud, address, tls.is_some().then(|| data.join(CERTIFICATE)).as_deref())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let keeper = args.state.clone().map(|file| {
            let stopped = async { drop(stopped.await) };
            tokio::spawn(keep(Arc::clone(&cloud), file, stopped, |error| {
                tracing::warn!(
                    error = full(error),
                    "Changes of the simulated cloud could not be saved; \
                    saving will be tried again"
                );
            }))
        });
        let served = serve(cloud, listener, tls, told_to_stop()).await;
        // Nobody is answered any more: what is saved now is all there is.
        drop(stop);
        if let Some(keeper) = keeper {
            keeper.await.map_err(|error| Failure::cannot("save", error))?.map_err(|error| unkept(&error))?;
        }
        served.map_err(|error| Failure::cannot("serve", error))?;
        Ok(Exit::Done)
    })
}

/// The cloud of the file, or a new one, which the file can hold.
fn begin(args: &Args) -> Result<Simcloud, Failure> {
    let clock: Clock = Arc::new(steady::now);
    let Some(file) = &args.state else {
        let cloud = Simcloud::new(args.seed, clock);
        guard_control(&cloud)?;
        return Ok(cloud);
    };
    private::check_file(file)?;
    let kept = Simcloud::load(file, Arc::clone(&clock)).map_err(|error| unkept(&error))?;
    let cloud = kept.unwrap_or_else(|| Simcloud::new(args.seed, clock));
    guard_control(&cloud)?;
    cloud.save(file).map_err(|error| unkept(&error))?;
    Ok(cloud)
}

fn unkept(error: &FileError) -> Failure {
    Failure::broken(full(error)).next("choose another file with --state")
}

/// A certificate for this machine, new each time: its key is never written.
fn certificate(data: &Path) -> Result<Tls, Failure> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names);
    let made = made.map_err(|error| Failure::cannot("make a certificate", error))?;
    private::make_folder(data)?;
    let path = data.join(CERTIFICATE);
    fs::write(&path, made.cert.pem())
        .map_err(|error| Failure::broken(format!("cannot write `{}`: {error}", path.display())))?;
    Tls::of(made.cert.der().to_vec(), made.signing_key.serialize_der())
        .map_err(|error| Failure::cannot("serve HTTPS", error))
}

fn greet(cloud: &Simcloud, address: SocketAddr, certificate: Option<&Path>) -> Result<(), Failure> {
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = vec![
        format!("portcullis simcloud {version} is up at {scheme}://{address}"),
        format!("  tenant        {}", cloud.tenant()),
        format!("  subscription  {}", cloud.subscription()),
        format!("  token         {}", cloud.issue_token()),
        format!("  control       {}", cloud.control().unwrap_or_default()),
    ];
    lines.extend(certificate.map(|it| format!("  certificate   {}", it.display())));
    // It serves on where its greeting is read only in part.
    line(&lines.join("\n")).or_else(|it| if it.exit() == Exit::Unread { Ok(()) } else { Err(it) })
}
