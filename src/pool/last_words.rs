//! What a server said before it closed is heard, even where writing to it fails first.
//!
//! A server that closes says so: with a GOAWAY that names the last request it takes, or with an answer to a request that it does not
//! read to its end. What is written to it after that comes back as a reset, and the next write fails, often before its last words are
//! read. hyper and h2 give a connection up at the first error, whichever side of it fails, and then nobody knows what was processed.
//! So writing never fails here: what cannot be written is thrown away, and the connection ends when there is nothing left to read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::{Sleep, sleep};

use super::Io;

/// How long a socket that cannot be written to may have nothing to read. One that failed has all there will be at hand, and then its
/// end, but that may be seen a turn later.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct LastWords {
    io: Box<dyn Io>,
    failed: Option<Failed>,
}

struct Failed {
    error: io::Error,
    patience: Pin<Box<Sleep>>,
}

impl LastWords {
    pub(super) fn new(io: Box<dyn Io>) -> Self {
        Self { io, failed: None }
    }

    /// Takes what was to be written for written if it cannot be.
    fn written(
        &mut self,
        cx: &Context<'_>,
        result: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(Err(error)) = result else { return result };
        self.failed = Some(Failed { error, patience: Box::pin(sleep(PATIENCE)) });
        // For another turn of reading, which ends the connection.
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(length))
    }
}

impl Read for LastWords {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let (Poll::Pending, Some(failed)) = (&read, &mut self.failed) {
            ready!(failed.patience.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(failed.error.kind(), failed.error.to_string())));
        }
        read
    }
}

impl Write for LastWords {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(cx, result, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.failed.is_some() {
            return Poll::Ready(Ok(length));
        }
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(cx, result, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut self.io).poll_flush(cx).map_ok(|()| 0);
        self.written(cx, result, 0).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
