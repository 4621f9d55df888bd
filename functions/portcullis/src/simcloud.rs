//! `portcullis simcloud`: a simulated Azure alone, for whoever has a client of Azure and no cloud.

use crate::{
    failure::{Exit, Failure},
    output::line,
    up::{broken, make_private_folder, told_to_stop},
};
use jiff::Timestamp;
use portcullis_simcloud::{Simcloud, Tls, serve};
use std::{fs, net::SocketAddr, path::Path, sync::Arc};
use tokio::net::TcpListener;

/// Serve a simulated Azure: its machines, security groups and firewalls, and tokens for them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to serve it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7423")]
    pub listen: SocketAddr,
    /// Serve HTTPS, with a certificate for `localhost` that is made anew and written to the data folder
    #[arg(long)]
    pub tls: bool,
    /// Which sample fleet: the same number is the same fleet
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

const EXAMPLES: &str = "\
Examples:
  portcullis simcloud
  portcullis simcloud --listen 127.0.0.1:0 --tls --seed 7
  curl 'http://127.0.0.1:7423/_simcloud/packet?vm=web-1&from=203.0.113.9&protocol=tcp&port=22'
  curl http://127.0.0.1:7423/_simcloud/faults -H 'content-type: application/json' \\
       -d '{\"planned\":[{\"on\":\"write\",\"times\":3,\"fault\":{\"throttled\":{\"retry_after_secs\":2}}}]}'

It is kept in memory: a new start is a new fleet. Any client with any secret gets a token.";

/// The certificate's file in the data folder, for clients to trust.
const CERTIFICATE: &str = "simcloud.pem";

/// Serves until it is told to stop.
pub fn run(data: &Path, args: &Args) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| broken("start", error))?.block_on(async {
        let cloud = Arc::new(Simcloud::new(args.seed, Arc::new(Timestamp::now)));
        let listener = TcpListener::bind(args.listen).await;
        let listener = listener.map_err(|error| {
            let message = format!("cannot listen on `{}`: {error}", args.listen);
            Failure::unavailable(message).next("choose another address with --listen")
        })?;
        let address = listener.local_addr().map_err(|error| broken("listen", error))?;
        let tls = if args.tls { Some(certificate(data)?) } else { None };
        greet(&cloud, address, tls.is_some().then(|| data.join(CERTIFICATE)).as_deref())?;
        serve(cloud, listener, tls, told_to_stop()).await.map_err(|error| broken("serve", error))?;
        Ok(Exit::Done)
    })
}

/// A certificate for this machine, new each time: its key is never written.
fn certificate(data: &Path) -> Result<Tls, Failure> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names);
    let made = made.map_err(|error| broken("make a certificate", error))?;
    make_private_folder(data)?;
    let path = data.join(CERTIFICATE);
    fs::write(&path, made.cert.pem())
        .map_err(|error| Failure::broken(format!("cannot write `{}`: {error}", path.display())))?;
    Tls::of(made.cert.der().to_vec(), made.signing_key.serialize_der())
        .map_err(|error| broken("serve HTTPS", error))
}

fn greet(cloud: &Simcloud, address: SocketAddr, certificate: Option<&Path>) -> Result<(), Failure> {
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = vec![
        format!("portcullis simcloud {version} is up at {scheme}://{address}"),
        format!("  tenant        {}", cloud.tenant()),
        format!("  subscription  {}", cloud.subscription()),
        format!("  token         {}", cloud.issue_token()),
    ];
    lines.extend(certificate.map(|it| format!("  certificate   {}", it.display())));
    line(&lines.join("\n"))
}
