//! Callers who mean harm, many at once, over real connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Runtime},
    time::sleep,
};

/// How long to wait for a flood to begin, or to be cut.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// How long a caller rests whose connection failed.
const REST: Duration = Duration::from_millis(20);
/// How many requests a caller who never reads sends at once.
const PIPELINED: usize = 100;

/// The thing that each of them does, again and again.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Asks for a path without a token, and reads the answer.
    Asks(&'static str),
    /// Asks for a path many times over one connection, with a token or without, and reads nothing.
    NeverReads(&'static str, Option<String>),
    /// Connects and says nothing.
    Silent,
}

/// Callers until they are dropped.
#[derive(Debug)]
pub struct Flood {
    runtime: Option<Runtime>,
    counts: Arc<Counts>,
    callers: usize,
}

#[derive(Debug, Default)]
struct Counts {
    connected: AtomicUsize,
    answers: AtomicUsize,
    cut: AtomicUsize,
}

impl Flood {
    /// So many callers of one address, such as `http://127.0.0.1:7422`.
    pub fn start(url: &str, callers: usize, kind: &Kind) -> Self {
        // Each caller is a file.
        let files = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files })
            .expect("as many as there may be");
        let address: SocketAddr = url.strip_prefix("http://").expect("HTTP").parse().expect("an address");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let counts = Arc::new(Counts::default());
        for _ in 0..callers {
            let (counts, kind) = (Arc::clone(&counts), kind.clone());
            runtime.spawn(async move {
                loop {
                    // Whatever ends one connection, the next one follows.
                    if call(address, &kind, &counts).await.is_err() {
                        sleep(REST).await;
                    }
                }
            });
        }
        Self { runtime: Some(runtime), counts, callers }
    }

    /// How many answers they read whole.
    pub fn answers(&self) -> usize {
        self.counts.answers.load(Ordering::Relaxed)
    }

    /// Waits until as many connections were made as there are callers.
    pub fn wait_until_it_runs(&self) {
        self.wait("connections", &self.counts.connected, self.callers);
    }

    /// Waits until so many connections of theirs were cut.
    pub fn wait_until_cut(&self, count: usize) {
        self.wait("connections that are cut", &self.counts.cut, count);
    }

    fn wait(&self, what: &str, counted: &AtomicUsize, count: usize) {
        let began = Instant::now();
        while counted.load(Ordering::Relaxed) < count {
            assert!(began.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {count} {what}: {:?}", self.counts);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn call(address: SocketAddr, kind: &Kind, counts: &Counts) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    counts.connected.fetch_add(1, Ordering::Relaxed);
    match kind {
        Kind::Asks(path) => {
            stream.write_all(head(path, None).as_bytes()).await?;
            let mut answer = vec![];
            stream.read_to_end(&mut answer).await?;
            counts.answers.fetch_add(1, Ordering::Relaxed);
        }
        Kind::NeverReads(path, token) => {
            let requests = head(path, token.as_deref()).repeat(PIPELINED);
            let sent = stream.write_all(requests.as_bytes()).await;
            // A connection that was cut is one on which nothing more can be sent.
            let mut sent = sent.is_ok();
            while sent {
                sleep(Duration::from_millis(100)).await;
                sent = stream.write_all(b"G").await.is_ok();
            }
            counts.cut.fetch_add(1, Ordering::Relaxed);
        }
        Kind::Silent => {
            stream.read_to_end(&mut vec![]).await?;
            counts.cut.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn head(path: &str, token: Option<&str>) -> String {
    let token = token.map_or_else(String::new, |it| format!("authorization: Bearer {it}\r\n"));
    format!("GET {path} HTTP/1.1\r\nhost: portcullis\r\n{token}\r\n")
}
