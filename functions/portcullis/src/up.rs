//! `portcullis up`: everything in one process.

mod disk;
mod guardian;
mod relay;
pub mod socket;
mod threads;

pub use threads::Threads;

use crate::{
    client::moments,
    clock,
    cloud::{self, Pace, Simulated},
    failure::Failure,
    output,
    outside::Outside,
    private,
    serve::serve,
    site::{Health, LocalSite, Settling, secret},
    steady,
};
use clap::ValueEnum;
use ipnet::IpNet;
use jiff::SignedDuration;
use portcullis_app::{
    self as app, Bots, Call, Channel, Error, Issuer, Principal, PrincipalKind, Rights, command, perform,
    ports::{Inventory, Store, Tokens as _},
};
use portcullis_domain::{Head, LEASE_DEFAULT, LEASE_MIN, Person, Target, TargetId, Terms};
use portcullis_http::{Proxies, Site as _, Strangers, Turns};
use portcullis_local::{Established, Host, RedbStore, TokenBook};
use portcullis_simcloud::Simcloud;
use portcullis_wire::VerifyView;
use socket::Socket;
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};
use threads::Handles;
use tokio::{
    net::TcpSocket,
    select,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time,
};

/// Serve the API, and open and close on the clock.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to serve the API
    #[arg(long, env = "PORTCULLIS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7422")]
    pub listen: SocketAddr,
    /// What to guard
    #[arg(
        long,
        env = "PORTCULLIS_GUARD",
        value_name = "WHAT",
        value_delimiter = ',',
        default_value = "simcloud"
    )]
    pub guard: Vec<Guard>,
    /// What becomes of established connections when a lease ends (this machine only)
    #[arg(long, env = "PORTCULLIS_ESTABLISHED", value_name = "WHAT", default_value = "survive")]
    pub established: EstablishedArg,
    /// How long a request waits for its approval
    #[arg(long, env = "PORTCULLIS_PENDING_FOR", value_name = "TIME", default_value = "8h")]
    #[arg(value_parser = moments::length)]
    pub pending_for: SignedDuration,
    /// The shortest lease; less than 5m is for demonstrations
    #[arg(long, env = "PORTCULLIS_LEASE_MIN", value_name = "TIME", default_value = "5m")]
    #[arg(value_parser = moments::length)]
    pub lease_min: SignedDuration,
    /// How often every firewall is compared with the table, whatever anybody asked
    #[arg(long, env = "PORTCULLIS_RECONCILE_EVERY", value_name = "TIME", default_value = "1m")]
    #[arg(value_parser = moments::length)]
    pub reconcile_every: SignedDuration,
    /// Where to serve the simulated Azure: a loopback address
    #[arg(long, env = "PORTCULLIS_SIMCLOUD_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub simcloud_listen: SocketAddr,
    /// How quick the simulated Azure is [default: as it was; a new one is ordinary]
    #[arg(long, env = "PORTCULLIS_SIMCLOUD_PACE", value_name = "PACE")]
    pub simcloud_pace: Option<Pace>,
    /// A file that says which bots may send events, and on whose behalf:
    /// `[{"source": "chatops", "for": ["ann"]}]`, with "*" for anybody. Default: none
    #[arg(long, env = "PORTCULLIS_BOTS_FILE", value_name = "FILE")]
    pub bots: Option<PathBuf>,
    /// The real one.
    #[command(flatten)]
    pub azure: cloud::Args,
    /// A proxy whose X-Forwarded-For is believed; may be given several times
    #[arg(long, env = "PORTCULLIS_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    #[arg(value_parser = range)]
    pub trusted_proxy: Vec<IpNet>,
}

/// What to guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Guard {
    /// A simulated Azure, kept in the data folder
    Simcloud,
    /// Azure
    Azure,
    /// This Linux machine, through nftables; needs root
    Host,
}

/// What becomes of established connections when a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EstablishedArg {
    /// They go on, as in Azure; new ones are refused
    Survive,
    /// They are cut as well
    Cut,
}

/// A range, or one address.
fn range(text: &str) -> Result<IpNet, String> {
    let range = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    range.map_err(|_| "not an address or a range such as `10.0.0.1` or `10.0.0.0/8`".to_owned())
}

/// The operator's name, and the file with its token.
const OPERATOR: &str = "operator";
const TOKEN_FILE: &str = "token";
/// The table's file.
const STORE_FILE: &str = "portcullis.redb";
/// The simulated cloud's file.
const SIMCLOUD_FILE: &str = "simcloud.json";

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

/// Recomputes the journal of a data folder that nobody serves.
pub fn verify_offline(data: &Path) -> Result<VerifyView, Failure> {
    let file = store_file(data);
    match fs::metadata(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::not_found(format!("there is no table at `{}`", file.display())));
        }
        // An empty file would be made a new table.
        Ok(seen) if seen.len() == 0 => {
            return Err(Failure::not_found(format!("the table at `{}` is an empty file", file.display())));
        }
        Ok(_) | Err(_) => {}
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().map_err(|error| broken("start", error))?;
    let store = open(data)?;
    Ok(portcullis_http::verified(&runtime.block_on(app::verify(&store))?))
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

impl Up {
    /// Listens, opens the data, and settles every firewall; serves nothing yet. On the scheduler's threads.
    pub async fn start(data: &Path, args: &Args, threads: Handles) -> Result<Self, Failure> {
        let times = [
            ("--pending-for", args.pending_for),
            ("--lease-min", args.lease_min),
            ("--reconcile-every", args.reconcile_every),
        ];
        if let Some((option, time)) = times.into_iter().find(|(_, time)| *time < SignedDuration::from_secs(1))
        {
            return Err(Failure::usage(format!("`{option} {time:#}` is too short: at least 1s")));
        }
        if LEASE_DEFAULT < args.lease_min {
            let (asked, max) = (args.lease_min, LEASE_DEFAULT);
            return Err(Failure::usage(format!("`--lease-min {asked:#}` is too long: at most {max:#}")));
        }
        let bots = args.bots()?;
        outlive_file_limits();
        // Before anything is written: where another one serves this address, nothing was changed.
        let listener = listen(args.listen)?;
        let address = listener.local_addr().map_err(|error| broken("listen", error))?;
        if args.guard.contains(&Guard::Host) {
            guardian::take(&threads.callers).await?;
        }
        private::make_folder(data)?;
        for file in [TOKEN_FILE, STORE_FILE, SIMCLOUD_FILE] {
            private::check_file(&data.join(file))?;
        }
        has_its_table(data)?;
        let store = Arc::new(open(data)?);
        steady::not_before(steady::newest(&*store).await?.unwrap_or_default());
        let socket = socket::bind(data)?;
        let tokens = TokenBook::of(&store, secret);
        let guarded = guarded(&store).await?;
        args.leave_nothing_alone(&guarded, data)?;
        let simulated = args.simulated(data, &threads).await?;
        let settling = outside(args, &store, &guarded, simulated.as_ref())?;
        answers(args, &settling).await?;
        let settling = Arc::new(Settling { store: Arc::clone(&store), outside: settling });
        let outside = outside(args, &store, &guarded, simulated.as_ref())?;
        let terms = Terms { lease_min: args.lease_min, pending_for: args.pending_for };
        let reconcile_every = Duration::try_from(args.reconcile_every).unwrap_or(Duration::MAX);
        let proxies = Proxies::of(args.trusted_proxy.clone());
        let operator: Person = OPERATOR.parse().map_err(|error| broken("name the operator", error))?;
        let (turns, strangers, health) = (Turns::bounded(), Strangers::default(), Health::default());
        let site = Arc::new(LocalSite {
            store,
            outside,
            tokens,
            terms,
            proxies,
            rights: Rights::of(operator.clone()),
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
        app::bury(&*settling.store, steady::now()).await?;
        // Before anything is served: what was due while nobody was there is done now.
        if !clock::settle_everything(&settling).await {
            tracing::warn!("Not every firewall could be settled at the start; the clock goes on trying");
        }
        Ok(Self { settling, site, threads, listener, socket, address, simulated, reconcile_every, is_first })
    }

    /// Serves until SIGINT or SIGTERM. Firewalls are left as they are: a stopped host stays shut.
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
            ended = &mut callers => Err(Failure::broken(format!("callers are not answered any more: {ended:?}"))),
        };
        drop(stop);
        if outcome.is_ok()
            && let Err(error) = callers.await
        {
            tracing::warn!(%error, "Some callers were left without an answer");
        }
        scheduler.abort();
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
        let made = if self.is_first { "  (made just now, for `operator`)" } else { "" };
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
            "  portcullis targets          what is guarded, and what is not".to_owned(),
            "  portcullis request --help   how to ask for a port".to_owned(),
            "Stop with Ctrl-C: what is shut stays shut.".to_owned(),
            String::new(),
        ];
        // A terminal that is stopped, or a pipe that nobody reads, must not keep anything from closing.
        thread::spawn(move || drop(output::line(&lines.join("\n"))));
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

impl Args {
    fn bots(&self) -> Result<Bots, Failure> {
        let Some(file) = &self.bots else { return Ok(Bots::default()) };
        private::check_file(file)?;
        let cannot = |why: String| Failure::usage(format!("cannot use `{}`: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| cannot(error.to_string()))?;
        text.parse().map_err(cannot)
    }

    async fn simulated(&self, data: &Path, threads: &Handles) -> Result<Option<Simulated>, Failure> {
        if self.guard.contains(&Guard::Simcloud) && self.guard.contains(&Guard::Azure) {
            let message = "`--guard simcloud,azure` guards a simulated Azure and a real one";
            return Err(Failure::usage(message).next("choose one of them"));
        }
        if !self.guard.contains(&Guard::Simcloud) {
            return Ok(None);
        }
        let start = Simulated::start(simcloud_file(data), self.simcloud_listen, self.simcloud_pace);
        let started = threads.cloud.spawn(start).await;
        started.map_err(|error| broken("simulate a cloud", error))?.map(Some)
    }

    /// What the table guards must be among what is guarded here, or it would never be settled again.
    fn leave_nothing_alone(&self, guarded: &[Target], data: &Path) -> Result<(), Failure> {
        let simulated = Simcloud::load(&simcloud_file(data), Arc::new(steady::now)).ok().flatten();
        let simulated = simulated.map(|it| it.subscription().to_ascii_lowercase());
        let place = |it: &Target| {
            let is_simulated = simulated.as_ref().is_some_and(|simulated| it.id.as_str().contains(simulated));
            match (Host::is_named(&it.id), is_simulated) {
                (true, _) => Guard::Host,
                (false, true) => Guard::Simcloud,
                (false, false) => Guard::Azure,
            }
        };
        let Some(left) = guarded.iter().find(|it| !self.guard.contains(&place(it))) else { return Ok(()) };
        let data = data.display();
        Err(Failure::usage(format!("`{}` is guarded in `{data}`, and would be left alone", left.id))
            .next(format!("add `--guard {}`, or choose another folder with --data", place(left).word())))
    }
}

impl Guard {
    fn word(self) -> &'static str {
        match self {
            Self::Simcloud => "simcloud",
            Self::Azure => "azure",
            Self::Host => "host",
        }
    }
}

/// A token without its table would make a new beginning of a loss: nothing of the old table would shut any more.
fn has_its_table(data: &Path) -> Result<(), Failure> {
    let has_token = data.join(TOKEN_FILE).symlink_metadata().is_ok();
    let has_table = fs::metadata(store_file(data)).is_ok_and(|it| 0 < it.len());
    if has_token && !has_table { Err(lost_table(data)) } else { Ok(()) }
}

fn lost_table(data: &Path) -> Failure {
    let (table, token) = (store_file(data), data.join(TOKEN_FILE));
    let (table, token) = (table.display(), token.display());
    Failure::broken(format!("`{token}` is there, and its table `{table}` is missing or empty")).next(format!(
        "restore `{table}` from a copy; or, to begin anew without its machines, leases and journal, remove `{token}`"
    ))
}

fn open(data: &Path) -> Result<RedbStore, Failure> {
    RedbStore::open(&store_file(data)).map_err(|error| match error {
        Error::Unavailable { .. } => Failure::unavailable(error.full()),
        error @ (Error::Refused(_) | Error::NotFound { .. } | Error::Conflict | Error::Broken { .. }) => {
            error.into()
        }
    })
}

/// The table's file in a data folder.
fn store_file(data: &Path) -> PathBuf {
    data.join(STORE_FILE)
}

/// The simulated cloud's file in a data folder.
fn simcloud_file(data: &Path) -> PathBuf {
    data.join(SIMCLOUD_FILE)
}

/// What has rules somewhere, by the table.
async fn guarded(store: &RedbStore) -> Result<Vec<Target>, Failure> {
    const PAGE: usize = 200;
    let mut guarded: Vec<Target> = vec![];
    let mut after: Option<TargetId> = None;
    loop {
        let page = store.targets(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(guarded) };
        after = Some(last.id.clone());
        guarded.extend(page.into_iter().filter(|it| it.policy().is_some() || !it.grants().is_empty()));
    }
}

/// Ways to everything that holds rules here. Each call makes connections of its own.
fn outside(
    args: &Args,
    store: &Arc<RedbStore>,
    guarded: &[Target],
    simulated: Option<&Simulated>,
) -> Result<Outside, Failure> {
    let clock = || -> portcullis_local::Clock { Arc::new(steady::now) };
    let mut outside = Outside { azure: None, host: None, table: Arc::clone(store) };
    if let Some(simulated) = simulated {
        outside.azure = Some(simulated.azure(&args.azure)?);
    } else if args.guard.contains(&Guard::Azure) {
        outside.azure = Some(args.azure.azure()?);
    }
    if args.guard.contains(&Guard::Host) {
        let established = match args.established {
            EstablishedArg::Survive => Established::Survive,
            EstablishedArg::Cut => Established::Cut,
        };
        let known = guarded.iter().map(|it| it.id.clone()).find(Host::is_named);
        outside.host = Some(Host::here(&hostname(), known, established, clock())?);
    }
    Ok(outside)
}

/// Fails at the start where nothing could be guarded later. A simulated cloud refuses only where that is wanted.
async fn answers(args: &Args, outside: &Outside) -> Result<(), Failure> {
    if let Some(azure) = outside.azure.as_ref().filter(|_| args.guard.contains(&Guard::Azure)) {
        match azure.machines(None, 1).await {
            Ok(_) => {}
            // What is due is tried until it answers.
            Err(error @ Error::Unavailable { .. }) => {
                tracing::warn!(error = error.full(), "Azure does not answer; it is asked again and again");
            }
            Err(error) => {
                let login =
                    "say as whom with --azure-login; `developer` is whoever is logged in with `az login`";
                return Err(Failure::from(error).next(login));
            }
        }
    }
    if let Some(host) = &outside.host {
        host.probe().await?;
    }
    Ok(())
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

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A fleet that nobody has seen yet has one machine that is guarded already.
async fn furnish(site: &LocalSite, settling: &Settling, operator: &Person) -> Result<(), Failure> {
    const GUARDED: &str = "db-1";
    const MACHINES_MAX: usize = 100;
    let principal =
        Principal { kind: PrincipalKind::Platform, ..Principal::person(operator.clone(), Issuer::Tokens) };
    let call = Call { channel: Channel::Program, ..Call::over_http(principal, None, steady::now()) };
    for machine in settling.outside.machines(None, MACHINES_MAX).await?.items {
        if machine.name == GUARDED {
            let (ports, confirm_within) = (vec![], None);
            let enable = command::Enable { target: machine.id, ports, confirm_within, take_over: false };
            perform(site.parts_with(&settling.outside), &call, enable).await?;
        }
    }
    Ok(())
}

/// Makes the operator's token if its file is not there; says whether it was made.
async fn operator_token(site: &LocalSite, operator: &Person, data: &Path) -> Result<bool, Failure> {
    let path = data.join(TOKEN_FILE);
    if path.try_exists().unwrap_or(true) {
        if let Some(warning) = private::readable_by_others(&path) {
            tracing::warn!("{warning}");
        }
        // Whoever made the token had it recorded: a journal without an entry is another one.
        if site.store.rest().await? == Head::default() {
            return Err(lost_table(data));
        }
        return Ok(false);
    }
    // Nobody can call yet who could ask for it at the door.
    let token = site.tokens.issue(operator, operator, steady::now()).await?;
    private::write_secret(&path, &token)
        .map_err(|error| Failure::broken(format!("cannot write `{}`: {error}", path.display())))?;
    Ok(true)
}

/// Says in the log what strangers did, also when they do nothing more.
async fn say_strangers(site: Arc<LocalSite>) {
    const EVERY: Duration = Duration::from_secs(10);
    loop {
        time::sleep(EVERY).await;
        site.strangers.say(steady::now());
    }
}

/// A limit on the length of files becomes an error of the write that meets it, and not the end of this program: leases
/// still have to end.
fn outlive_file_limits() {
    const SIGXFSZ: i32 = 25;
    // Who listened once is never killed by it again.
    if let Err(error) = signal(SignalKind::from_raw(SIGXFSZ)) {
        tracing::debug!(%error, "A limit on the length of files would end this program");
    }
}

/// Waits for SIGINT or SIGTERM.
pub async fn told_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// It is ours to fix.
pub fn broken(doing: &str, error: impl std::fmt::Display) -> Failure {
    Failure::broken(format!("cannot {doing}: {error}"))
}

/// What a demonstration needs: leases of seconds on a fleet of its own.
pub fn for_demonstration() -> Args {
    Args {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        guard: vec![Guard::Simcloud],
        simcloud_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        simcloud_pace: Some(Pace::Quick),
        azure: cloud::Args::default(),
        established: EstablishedArg::Survive,
        pending_for: Terms::default().pending_for,
        lease_min: LEASE_MIN.min(SignedDuration::from_secs(1)),
        reconcile_every: SignedDuration::from_mins(1),
        trusted_proxy: vec![],
        bots: None,
    }
}
