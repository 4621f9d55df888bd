//! Callers without a token, many at once: those that ask, those that say nothing, and those that never read.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time,
};

/// Paths that a caller without a token may find out about. Every second stranger asks for the first alone, which is the
/// dearest answer, the others for all of them in turn.
const PATHS: [&str; 5] = ["/openapi.json", "/v1/targets", "/healthz", "/v1/verify", "/nowhere"];
/// How soon a caller whose connection ended comes back.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long the head of an answer may be, in bytes.
const HEAD_MAX: usize = 16 << 10;
/// How many calls a caller that never reads sends at a time.
const PIPELINED: usize = 64;

/// How strangers behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// They ask for one path after another, and read each answer.
    Asks,
    /// They connect, and say nothing.
    Silent,
    /// They ask for `/openapi.json` without an end, and read nothing.
    NeverReads,
}

/// Strangers on a thread of their own, until they are dropped.
#[derive(Debug)]
pub struct Strangers {
    answered: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Strangers {
    /// So many of them, at the address of a program, from a loopback address.
    pub fn at(url: &str, from: IpAddr, behaviour: Behaviour, count: usize) -> Self {
        let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
        let answered = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel();
        let counter = Arc::clone(&answered);
        let crowd = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
            runtime.block_on(async {
                let mut callers = JoinSet::new();
                for n in 0..count {
                    callers.spawn(call_again_and_again(address, from, behaviour, n, Arc::clone(&counter)));
                }
                drop(stopped.await);
            });
        };
        Self { answered, stop: Some(stop), thread: Some(thread::spawn(crowd)) }
    }

    /// How many answers they have read.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn call_again_and_again(
    to: SocketAddr,
    from: IpAddr,
    behaviour: Behaviour,
    n: usize,
    answered: Arc<AtomicU64>,
) {
    loop {
        // An error here is the refusal or the end of a connection: the caller comes back.
        if let Ok(stream) = connect(to, from).await {
            drop(match behaviour {
                Behaviour::Asks => ask(stream, n, &answered).await,
                Behaviour::Silent => say_nothing(stream).await,
                Behaviour::NeverReads => never_read(stream).await,
            });
        }
        time::sleep(AGAIN).await;
    }
}

async fn connect(to: SocketAddr, from: IpAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

async fn ask(mut stream: TcpStream, n: usize, answered: &AtomicU64) -> std::io::Result<()> {
    let paths = if n.is_multiple_of(2) { &PATHS[..1] } else { &PATHS[..] };
    for path in paths.iter().cycle().skip(n % PATHS.len()) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: portcullis\r\n\r\n").as_bytes()).await?;
        time::timeout(PATIENCE, read_answer(&mut stream)).await??;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads one answer whose length is stated.
async fn read_answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let broken = || std::io::Error::other("not an answer with a length");
    let mut read = Vec::with_capacity(HEAD_MAX);
    let head = loop {
        if let Some(at) = read.windows(4).position(|it| it == b"\r\n\r\n") {
            break at + 4;
        }
        if HEAD_MAX < read.len() || stream.read_buf(&mut read).await? == 0 {
            return Err(broken());
        }
    };
    let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|it| it.strip_prefix("content-length:")).ok_or_else(broken)?;
    let length: usize = length.trim().parse().map_err(|_| broken())?;
    let left = (head + length).saturating_sub(read.len());
    let left = u64::try_from(left).map_err(std::io::Error::other)?;
    tokio::io::copy(&mut stream.take(left), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Until the other side ends it.
async fn say_nothing(mut stream: TcpStream) -> std::io::Result<()> {
    stream.read_u8().await.map(drop)
}

/// Until the other side ends it, which nothing but an error tells.
async fn never_read(mut stream: TcpStream) -> std::io::Result<()> {
    let calls = "GET /openapi.json HTTP/1.1\r\nhost: portcullis\r\n\r\n".repeat(PIPELINED);
    loop {
        stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
        stream.write_all(calls.as_bytes()).await?;
    }
}
