//! Connections whose callers must read what they asked for.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How long a caller may take to read.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Without reading anything.
    pub still: Duration,
    /// For a whole answer, unless it is made while it is read.
    pub answer: Duration,
}

/// Is the answer of a connection made while it is read? Then it may be as long as it takes, while it is read on.
#[derive(Debug, Clone, Default)]
pub struct Streams(Arc<AtomicBool>);

impl Streams {
    /// From now on.
    pub fn set(&self, streams: bool) {
        self.0.store(streams, Ordering::Relaxed);
    }
}

/// A connection that fails once its caller reads too slowly.
#[derive(Debug)]
pub struct Paced<T> {
    io: T,
    patience: Patience,
    streams: Streams,
    /// Something is not written yet.
    unread: Option<Unread>,
}

#[derive(Debug)]
struct Unread {
    since: Instant,
    moved: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl<T> Paced<T> {
    /// A connection on which nothing waits yet.
    pub fn of(io: T, patience: Patience, streams: Streams) -> Self {
        Self { io, patience, streams, unread: None }
    }

    /// Judges the outcome of a write.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        wrote: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        match wrote {
            Poll::Ready(Ok(n)) => {
                if let Some(unread) = &mut self.unread {
                    unread.moved = now;
                }
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let Patience { still, answer } = self.patience;
                let unread = self.unread.get_or_insert_with(|| Unread {
                    since: now,
                    moved: now,
                    deadline: Box::pin(sleep_until(now + still)),
                });
                let mut until = unread.moved + still;
                if !self.streams.0.load(Ordering::Relaxed) {
                    until = until.min(unread.since + answer);
                }
                if unread.deadline.deadline() != until {
                    unread.deadline.as_mut().reset(until);
                }
                let over = || io::Error::new(io::ErrorKind::TimedOut, "the answer was not read in time");
                unread.deadline.as_mut().poll(context).map(|()| Err(over()))
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(context, to)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.io).poll_write(context, from);
        this.wrote(context, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.io).poll_write_vectored(context, from);
        this.wrote(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// `hyper` flushes once it has written all that it holds.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(context);
        if flushed.is_ready() {
            this.unread = None;
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::{sleep, timeout},
    };

    const PATIENCE: Patience =
        Patience { still: Duration::from_secs(1), answer: Duration::from_millis(1200) };
    const LONG: Duration = Duration::from_secs(10);

    /// Writes more than the connection holds, while the caller reads a byte now and then, or never.
    async fn written(streams: bool, reads_every: Option<Duration>) -> (io::Result<()>, Duration) {
        let (ours, mut theirs) = duplex(16);
        let is_streaming = Streams::default();
        is_streaming.set(streams);
        let mut paced = Paced::of(ours, PATIENCE, is_streaming);
        let caller = tokio::spawn(async move {
            let Some(every) = reads_every else { return sleep(LONG).await };
            let mut byte = [0];
            while theirs.read_exact(&mut byte).await.is_ok() {
                sleep(every).await;
            }
        });
        let began = Instant::now();
        let outcome = async {
            paced.write_all(&[7; 32]).await?;
            paced.flush().await
        };
        let outcome = timeout(LONG, outcome).await.expect("does not wait for ever");
        caller.abort();
        (outcome, began.elapsed())
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn an_answer_that_is_not_read_fails_after_a_while() {
        let (outcome, took) = runtime().block_on(written(false, None));
        assert_eq!(outcome.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
        assert!(PATIENCE.still <= took && took < LONG, "{took:?}");
    }

    #[test]
    fn an_answer_that_is_read_byte_by_byte_fails_once_it_takes_too_long_in_all() {
        let slowly = Some(Duration::from_millis(90));
        let (outcome, took) = runtime().block_on(written(false, slowly));
        assert_eq!(outcome.expect_err("it is too slow").kind(), io::ErrorKind::TimedOut);
        assert!(PATIENCE.answer <= took && took < LONG, "{took:?}");
    }

    #[test]
    fn a_stream_may_take_as_long_as_it_is_read_on() {
        let slowly = Some(Duration::from_millis(90));
        let (outcome, took) = runtime().block_on(written(true, slowly));
        outcome.expect("it is read on");
        assert!(PATIENCE.answer < took, "{took:?}");
        let (outcome, _) = runtime().block_on(written(true, None));
        assert_eq!(outcome.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
    }
}
