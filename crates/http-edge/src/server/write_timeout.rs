//! Time limit on writes: the connection of a client that reads nothing for too long is closed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Time limit on writes that make no progress. Its timer exists only once a write had to wait.
#[derive(Debug)]
pub(super) struct WriteTimeout {
    limit: Duration,
    waits: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            waits: false,
            timer: None,
        }
    }

    /// Returns true if the last write had to wait for the client.
    pub(super) const fn is_pending(&self) -> bool {
        self.waits
    }

    /// Records the result of a write or flush, and fails one that has waited for the whole limit. Each byte that
    /// the client reads restarts the limit.
    pub(super) fn check<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let waited = std::mem::replace(&mut self.waits, written.is_pending());
        if written.is_ready() {
            return written;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !waited {
            timer.as_mut().reset(Instant::now() + limit);
        }
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Stream with this limit and no other.
#[derive(Debug)]
pub(super) struct WriteTimeoutStream<S> {
    stream: S,
    write_timeout: WriteTimeout,
}

impl<S> WriteTimeoutStream<S> {
    pub(super) const fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            write_timeout: WriteTimeout::new(limit),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.write_timeout.check(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.write_timeout.check(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.write_timeout.check(shut, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.write_timeout.check(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_closed_at_the_limit_and_not_before() {
        let (near, _far) = duplex(4);
        let begun = Instant::now();
        let failed = WriteTimeoutStream::new(near, LIMIT)
            .write_all(b"12345")
            .await;
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_a_little_now_and_then_is_not_closed() {
        let (near, mut far) = duplex(1);
        let taking = tokio::spawn(async move {
            for _ in 0..8 {
                sleep(LIMIT / 2).await;
                far.read_u8().await.unwrap();
            }
        });
        let mut near = WriteTimeoutStream::new(near, LIMIT);
        near.write_all(b"12345678").await.unwrap();
        taking.await.unwrap();
        assert!(near.flush().now_or_never().is_some());
    }
}
