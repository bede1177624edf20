//! What a connection is read from and written to, with the means to end it as no well-behaved server would.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

/// Shared by whoever speaks on a connection and whoever holds its socket.
#[derive(Debug, Default)]
pub(super) struct Control {
    reset: AtomicBool,
}

impl Control {
    /// From now on dropping the connection resets it.
    pub(super) fn reset(&self) {
        self.reset.store(true, Relaxed);
    }

    pub(super) fn resets(&self) -> bool {
        self.reset.load(Relaxed)
    }

    /// To be called just before the socket is dropped.
    pub(super) fn settle(&self, socket: &TcpStream) {
        if self.resets() {
            // Fails only on a socket that is gone already.
            let _ = socket.set_zero_linger();
        }
    }
}

/// The bytes below TLS: a socket, or the near end of a [`relay`](super::delay::relay).
#[derive(Debug)]
pub(super) struct Wire {
    way: Way,
    control: Arc<Control>,
}

#[derive(Debug)]
enum Way {
    Near(TcpStream),
    Far(DuplexStream),
}

/// What HTTP is spoken over.
#[derive(Debug)]
pub(super) enum Io {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

impl Wire {
    pub(super) fn near(socket: TcpStream, control: Arc<Control>) -> Self {
        Self { way: Way::Near(socket), control }
    }

    pub(super) fn far(end: DuplexStream, control: Arc<Control>) -> Self {
        Self { way: Way::Far(end), control }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Way::Near(socket) = &self.way {
            self.control.settle(socket);
        }
    }
}

/// Passes the I/O traits on to whichever of two streams there is.
macro_rules! pass_on {
    ($type:ty, $self:ident => $either:expr, $one:path, $other:path) => {
        impl AsyncRead for $type {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let $self = &mut *self;
                match $either {
                    $one(stream) => Pin::new(stream).poll_read(cx, buf),
                    $other(stream) => Pin::new(stream).poll_read(cx, buf),
                }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                let $self = &mut *self;
                match $either {
                    $one(stream) => Pin::new(stream).poll_write(cx, buf),
                    $other(stream) => Pin::new(stream).poll_write(cx, buf),
                }
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $self = &mut *self;
                match $either {
                    $one(stream) => Pin::new(stream).poll_flush(cx),
                    $other(stream) => Pin::new(stream).poll_flush(cx),
                }
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $self = &mut *self;
                match $either {
                    $one(stream) => Pin::new(stream).poll_shutdown(cx),
                    $other(stream) => Pin::new(stream).poll_shutdown(cx),
                }
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let $self = &mut *self;
                match $either {
                    $one(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
                    $other(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
                }
            }

            fn is_write_vectored(&self) -> bool {
                true
            }
        }
    };
}

pass_on!(Wire, this => &mut this.way, Way::Near, Way::Far);
pass_on!(Io, this => this, Self::Plain, Self::Tls);

/// An [`Io`] for HTTP/2: bytes read too early come first, frames are gathered until they are flushed (the h2
/// crate writes each DATA frame by itself, which costs a system call or a TLS record), and bytes that are no
/// frames can be thrown in between two frames, after which it is at its end. When it is shut down, it waits for the client to
/// close as well, as a server should: a socket that is closed with something unread is reset, and that may take away what was
/// written last.
#[derive(Debug)]
pub(super) struct FrameIo {
    io: Io,
    early: Bytes,
    steering: Arc<Steering>,
    left: Option<Bytes>,
    outbox: BytesMut,
    /// Once it is shut down: until when it waits.
    leaving: Option<Pin<Box<Sleep>>>,
}

/// How long a client may take to close.
const PATIENCE: Duration = Duration::from_secs(1);

/// Gathered at most before they are written.
const GATHERED: usize = 64 * 1024;

/// Says what is to be done on a connection that the h2 crate writes to.
#[derive(Debug, Default)]
pub(super) struct Steering {
    noise: AtomicBool,
    held: AtomicBool,
}

impl Steering {
    pub(super) fn make_noise(&self) {
        self.noise.store(true, Relaxed);
    }

    /// While held, a flush leaves what was gathered where it is.
    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, Relaxed);
    }
}

impl FrameIo {
    pub(super) fn new(io: Io, early: Bytes, steering: Arc<Steering>) -> Self {
        Self { io, early, steering, left: None, outbox: BytesMut::with_capacity(4096), leaving: None }
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.outbox))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(written);
        }
        self.outbox.clear();
        Poll::Ready(Ok(()))
    }

    fn is_over(&self) -> bool {
        self.left.as_ref().is_some_and(Bytes::is_empty)
    }
}

impl AsyncRead for FrameIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over() {
            return Poll::Ready(Ok(()));
        }
        if !self.early.is_empty() {
            let early = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(early));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for FrameIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.outbox.len() >= GATHERED {
            ready!(self.poll_outbox(cx))?;
        }
        let taken = buf.len().min(GATHERED);
        self.outbox.extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// The h2 crate flushes when all its frames are written whole: the one place to throw something in.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.steering.held.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_outbox(cx))?;
        let this = &mut *self;
        if this.steering.noise.load(Relaxed) {
            let left = this.left.get_or_insert(Bytes::from_static(super::damage::GARBAGE));
            if !left.is_empty() {
                while !left.is_empty() {
                    let written = ready!(Pin::new(&mut this.io).poll_write(cx, left))?;
                    left.advance(written);
                }
                // Reading ends here, but h2 only notices when it reads again.
                cx.waker().wake_by_ref();
            }
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outbox(cx))?;
        if self.leaving.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        let Self { io, leaving, .. } = &mut *self;
        let leaving = leaving.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        let mut unread = [0; 4096];
        loop {
            let mut unread = ReadBuf::new(&mut unread);
            match Pin::new(&mut *io).poll_read(cx, &mut unread) {
                Poll::Ready(Ok(())) if !unread.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return leaving.as_mut().poll(cx).map(Ok),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.outbox.len() >= GATHERED {
            ready!(self.poll_outbox(cx))?;
        }
        bufs.iter().for_each(|buf| self.outbox.extend_from_slice(buf));
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
