//! `portcullis up`: everything in one process.

mod args;
mod data;
mod disk;
mod guardian;
mod guards;
mod left;
mod offline;
mod relay;
mod socket;
mod threads;

pub use args::Args;
pub use offline::verify_offline;
pub use threads::Threads;

use crate::{
    bots::BotsFile,
    clock,
    failed::failed,
    issuers,
    serve::serve,
    signals::{outlive_file_limits, told_to_stop},
    simulated::Simulated,
    site::{Health, LocalSite, Settling},
    steady,
};
use args::Guard;
use data::{SIMCLOUD_FILE, STORE_FILE, has_its_table, open, operator_token};
use guards::{answers, furnish, guarded, leave_nothing_alone, outside, simulated};
use portcullis_app::{self as app, Rights};
use portcullis_domain::{Person, Terms};
use portcullis_http::{Proxies, Strangers, Turns};
use portcullis_identity::Authenticators;
use portcullis_local::TokenBook;
use portcullis_program::{Failure, TOKEN_FILE, output, private, secret};
use socket::Socket;
use std::{fmt, net::SocketAddr, os::unix::net::UnixListener, path::Path, sync::Arc, thread, time::Duration};
use threads::Handles;
use tokio::{net::TcpSocket, select, sync::oneshot, time};

/// The operator's name.
const OPERATOR: &str = "operator";

/// Serves until it is told to stop.
pub fn run(data: &Path, args: &Args) -> Result<(), Failure> {
    let threads = Threads::start()?;
    let outcome = threads.scheduler().block_on(async {
        let up = Up::start(data, args, threads.handles()).await?;
        up.greet(data, args);
        up.serve().await
    });
    threads.stop();
    outcome
}

/// Everything that runs, and where it is heard.
pub struct Up {
    settling: Arc<Settling>,
    site: Arc<LocalSite>,
    threads: Handles,
    listener: std::net::TcpListener,
    socket: Option<(UnixListener, Socket)>,
    /// Where the API is served.
    pub address: SocketAddr,
    simulated: Option<Simulated>,
    reconcile_every: Duration,
    is_first: bool,
}

impl fmt::Debug for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Up").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Up {
    /// Listens, opens the data, and settles every firewall; serves nothing yet. On the scheduler's threads.
    pub async fn start(data: &Path, args: &Args, threads: Handles) -> Result<Self, Failure> {
        args.check()?;
        let bots = BotsFile::open(args.bots.as_deref())?;
        let operator: Person =
            OPERATOR.parse().map_err(|error| Failure::cannot("name the operator", error))?;
        let believed = issuers::settings(args.issuers.as_deref(), &operator)?;
        let (beginnings, is_shared) = believed.names();
        let believed = issuers::issuers(believed, &operator)?;
        outlive_file_limits();
        // Before anything is written: where another one serves this address, nothing was changed.
        let listener = listen(args.listen)?;
        let address = listener.local_addr().map_err(|error| Failure::cannot("listen", error))?;
        if args.guard.contains(&Guard::Host) {
            guardian::take(&threads.callers).await?;
        }
        private::make_folder(data)?;
        for file in [TOKEN_FILE, STORE_FILE, SIMCLOUD_FILE] {
            private::check_file(&data.join(file))?;
        }
        has_its_table(data)?;
        let store = Arc::new(open(data)?);
        steady::not_before(steady::newest(&*store).await.map_err(failed)?.unwrap_or_default());
        let socket = socket::bind(data)?;
        let tokens = Authenticators { book: TokenBook::of(&store, secret), issuers: believed };
        let guarded = guarded(&store).await?;
        leave_nothing_alone(args, &guarded, data)?;
        let simulated = simulated(args, data, &threads).await?;
        let settling = outside(args, &store, &guarded, simulated.as_ref())?;
        answers(args, &settling).await?;
        let outside = outside(args, &store, &guarded, simulated.as_ref())?;
        let terms = Terms { lease_min: args.lease_min, pending_for: args.pending_for };
        let reconcile_every = Duration::try_from(args.reconcile_every).unwrap_or(Duration::MAX);
        let proxies = Proxies::of(args.trusted_proxy.clone());
        let vouchers = bots.now().vouchers().and_issuers(beginnings, is_shared);
        let rights = with_policies(Rights::of(operator.clone()).with_vouchers(vouchers));
        let settling = Settling { store: Arc::clone(&store), outside: settling, rights: rights.clone() };
        let settling = Arc::new(settling);
        let (turns, strangers, health) = (Turns::bounded(), Strangers::default(), Health::default());
        let site = Arc::new(LocalSite {
            store,
            outside,
            tokens,
            terms,
            proxies,
            rights,
            bots,
            turns,
            strangers,
            health,
        });
        let is_first = operator_token(&site, &operator, data).await?;
        if simulated.as_ref().is_some_and(|it| it.is_new) {
            furnish(&site, &settling, &operator).await?;
        }
        // The table is ours alone: whoever held a claim when it was last open is dead.
        app::bury(&*settling.store, steady::now()).await.map_err(failed)?;
        // Before anything is served: what was due while nobody was there is done now.
        if !clock::settle_everything(&settling).await {
            tracing::warn!("Some firewalls could not be settled at the start; the scheduler will try again");
        }
        Ok(Self { settling, site, threads, listener, socket, address, simulated, reconcile_every, is_first })
    }

    /// Serves until SIGINT or SIGTERM. Firewalls are left as they are: what is shut stays shut, and what is open is told.
    pub async fn serve(self) -> Result<(), Failure> {
        let mut scheduler = tokio::spawn(clock::run(Arc::clone(&self.settling)));
        let backstop = tokio::spawn(clock::backstop(Arc::clone(&self.settling), self.reconcile_every));
        let told = tokio::spawn(relay::run(Arc::clone(&self.settling.store)));
        let disk = tokio::spawn(disk::watch(Arc::clone(&self.settling.store)));
        self.threads.callers.spawn(say_strangers(Arc::clone(&self.site)));
        let (stop, stopped) = oneshot::channel::<()>();
        // The socket's file is there until nobody is answered any more.
        let (socket, _file) = self.socket.unzip();
        let callers = serve(self.listener, socket, Arc::clone(&self.site), async { drop(stopped.await) });
        let mut callers = self.threads.callers.spawn(callers);
        // Without its scheduler nothing would ever shut, and without its callers nobody could say so: rather be restarted.
        let outcome = select! {
            () = told_to_stop() => Ok(()),
            ended = &mut scheduler => Err(Failure::broken(format!("the scheduler stopped: {ended:?}"))),
            ended = &mut callers => Err(Failure::broken(format!("the server stopped: {ended:?}"))),
        };
        drop(stop);
        if outcome.is_ok()
            && let Err(error) = callers.await
        {
            tracing::warn!(%error, "Some calls were left without an answer");
        }
        scheduler.abort();
        // Nothing closes from here on.
        left::tell(&self.settling.store).await;
        backstop.abort();
        told.abort();
        disk.abort();
        if let Some(simulated) = self.simulated {
            simulated.stop().await;
        }
        outcome
    }

    fn greet(&self, data: &Path, args: &Args) {
        let token = data.join(TOKEN_FILE);
        let made = if self.is_first { "  (new, for `operator`)" } else { "" };
        let guards: Vec<String> = args.guard.iter().map(|it| self.words(*it)).collect();
        let lines = [
            format!("portcullis {} is up at http://{}", env!("CARGO_PKG_VERSION"), self.address),
            format!("  data   {}", data.display()),
            format!("  token  {}{made}", token.display()),
            format!(
                "  socket {}",
                self.socket.as_ref().map_or("none".into(), |(_, it)| it.path().display().to_string())
            ),
            format!("  guards {}", guards.join(" and ")),
            String::new(),
            "In another terminal:".to_owned(),
            "  portcullis targets          list the machines".to_owned(),
            "  portcullis request --help   ask for a port".to_owned(),
            "Stop with Ctrl-C: closed ports stay closed, and each open lease is named.".to_owned(),
            String::new(),
        ];
        // A terminal that is stopped, or a pipe that nobody reads, must not keep anything from closing.
        let printed = thread::Builder::new().spawn(move || drop(output::line(&lines.join("\n"))));
        if let Err(error) = printed {
            tracing::warn!(%error, "The greeting could not be printed");
        }
    }
}

impl Up {
    fn words(&self, guard: Guard) -> String {
        match (guard, &self.simulated) {
            (Guard::Simcloud, Some(simulated)) => {
                format!("a simulated Azure, at http://{}", simulated.address)
            }
            (Guard::Simcloud, None) => "a simulated Azure".to_owned(),
            (Guard::Azure, _) => "Azure".to_owned(),
            (Guard::Host, _) => "this machine, through nftables".to_owned(),
        }
    }
}

/// The rights of callers, also by policies.
#[cfg(feature = "policy")]
fn with_policies(rights: Rights) -> Rights {
    rights.with_policies(Arc::new(portcullis_policy::Cedar))
}

/// The rights of callers. This program was built without the feature `policy`: an installation that has policies refuses.
#[cfg(not(feature = "policy"))]
fn with_policies(rights: Rights) -> Rights {
    rights
}

/// A socket on which callers are heard from now on, though nobody answers them yet.
fn listen(address: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    /// How many callers wait to be accepted.
    const WAITING_MAX: u32 = 1024;
    let listener = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // As after a restart: connections of the run before are not in the way.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        // It is handed to the threads of callers: a socket belongs to the threads that first wait for it.
        socket.listen(WAITING_MAX)?.into_std()
    };
    listener().map_err(|error: std::io::Error| {
        Failure::unavailable(format!("cannot listen on `{address}`: {error}"))
            .next("choose another address with --listen")
    })
}

/// Says in the log what strangers did, also when they do nothing more.
async fn say_strangers(site: Arc<LocalSite>) {
    const EVERY: Duration = Duration::from_secs(10);
    loop {
        time::sleep(EVERY).await;
        site.strangers.say(steady::now());
    }
}
