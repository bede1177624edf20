//! What a peer said before it hung up is heard, though writing to it fails first.
//!
//! A server that leaves says so (GOAWAY, or an early answer such as 413) and closes its socket, often with requests of ours
//! unread, which resets it. Whoever writes next gets an error, and hyper and h2 end the connection there and then; but what was
//! said lies in the socket's buffer, and says which requests were certainly not processed. So a failed write is kept quiet until
//! everything that lies there has been read, up to the end of the stream: after a reset, that is there already.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::{Instant, Sleep, sleep};

/// A stream that cannot be written to may be silent for this long. Only that of a peer which has shut down its reading, and no more,
/// has no end by then.
const LIMIT: Duration = Duration::from_secs(1);

/// A stream whose writes go nowhere once one has failed; its reads end with that failure.
#[derive(Debug)]
pub(super) struct LastWords<T> {
    io: T,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    error: io::Error,
    /// Boxed, since it is rare.
    limit: Pin<Box<Sleep>>,
}

impl<T> LastWords<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, failed: None }
    }

    /// A failure is told as `well`, and kept for the reader.
    fn keep_quiet<W>(
        &mut self,
        cx: &Context<'_>,
        written: Poll<io::Result<W>>,
        well: W,
    ) -> Poll<io::Result<W>> {
        match written {
            Poll::Ready(Err(error)) => {
                self.failed = Some(Failed { error, limit: Box::pin(sleep(LIMIT)) });
                // Whoever writes reads as well, and would wait for news that came before.
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(well))
            }
            other => other,
        }
    }
}

impl<T: Read + Unpin> Read for LastWords<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let Some(Failed { error, limit }) = &mut self.failed else { return read };
        if read.is_ready() {
            limit.as_mut().reset(Instant::now() + LIMIT);
            return read;
        }
        ready!(limit.as_mut().poll(cx));
        Poll::Ready(Err(std::mem::replace(error, ErrorKind::BrokenPipe.into())))
    }
}

impl<T: Write + Unpin> Write for LastWords<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.keep_quiet(cx, written, buf.len())
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if self.failed.is_some() {
            return Poll::Ready(Ok(all));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.keep_quiet(cx, written, all)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.keep_quiet(cx, flushed, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn pair() -> (TokioIo<LastWords<TokioIo<DuplexStream>>>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        (TokioIo::new(LastWords::new(TokioIo::new(ours))), theirs)
    }

    #[tokio::test]
    async fn what_was_said_before_the_end_is_read_after_a_write_has_failed() {
        let (mut ours, mut theirs) = pair();
        theirs.write_all(b"goodbye").await.unwrap();
        drop(theirs);
        for _ in 0..3 {
            ours.write_all(b"a question").await.unwrap();
            ours.flush().await.unwrap();
        }
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"goodbye");
        ours.shutdown().await.unwrap();
    }

    /// A socket that cannot be written to, and says nothing of an end: a Unix socket whose peer has shut down its reading.
    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_failed_write_is_told_when_nothing_is_left_to_read() {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let ours = ours.into_std().unwrap();
        // Not its peer, but to the same effect.
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        let mut ours = TokioIo::new(LastWords::new(TokioIo::new(ours)));
        theirs.write_all(b"goodbye").await.unwrap();
        ours.write_all(b"a question").await.unwrap();
        let mut heard = Vec::new();
        let error = ours.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!((&heard[..], error.kind()), (&b"goodbye"[..], ErrorKind::BrokenPipe));
    }

    #[tokio::test]
    async fn a_stream_that_is_whole_is_left_alone() {
        let (mut ours, mut theirs) = pair();
        ours.write_all(b"a question").await.unwrap();
        let mut asked = [0; 10];
        theirs.read_exact(&mut asked).await.unwrap();
        theirs.write_all(b"an answer").await.unwrap();
        let mut answer = [0; 9];
        ours.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"an answer");
        ours.shutdown().await.unwrap();
        assert_eq!(theirs.read(&mut asked).await.unwrap(), 0);
    }
}
