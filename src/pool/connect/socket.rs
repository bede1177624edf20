//! A TCP socket that knows at once when its peer has closed it.
//!
//! tokio reads a socket only after the system has told its reactor of something to read, which is looked after when the runtime has
//! nothing else to do: until then a close that has arrived goes unseen. Over HTTP/1.1 that is fatal. A request written to a socket
//! that its server has closed comes back as a reset, and nobody knows any more whether it was processed.
//!
//! But hyper reads an idle connection before it writes a request to it. So here that read asks the system itself: a server's close
//! that has arrived by then is seen, and the request is sent elsewhere, certainly not processed. What is left is the time that a
//! close and a request take on the way, past each other. It costs a system call for each request on a socket that has rested for a
//! moment; one that is used without a pause is not asked.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    rest: Rest,
}

#[derive(Debug, PartialEq, Eq)]
enum Rest {
    /// Something was written, and nothing was read since: whoever reads waits for an answer, and is woken by it.
    Asked,
    /// Something was read.
    Heard,
    /// The same, and since then nothing more was there: the next read may be the one before a request.
    Quiet(Instant),
}

/// What rests for less was most likely read in that time: a worker looks after its reactor at least once in 61 tasks.
const MOMENT: Duration = Duration::from_millis(10);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, rest: Rest::Asked }
    }

    /// Whether there is anything to read, the end included, though the reactor does not know of it yet.
    fn has_news(&self) -> bool {
        let peeked = SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]);
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        match (&read, &self.rest) {
            (Poll::Ready(_), _) => self.rest = Rest::Heard,
            (Poll::Pending, Rest::Asked) => {}
            (Poll::Pending, Rest::Heard) => self.rest = Rest::Quiet(Instant::now()),
            (Poll::Pending, Rest::Quiet(since)) => {
                if since.elapsed() >= MOMENT && self.has_news() {
                    self.rest = Rest::Heard;
                    let count =
                        io::Read::read(&mut &*SockRef::from(&self.stream), buf.initialize_unfilled())?;
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.rest = Rest::Asked;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.rest = Rest::Asked;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn pair() -> (Socket, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Socket::new(stream), listener.accept().unwrap().0)
    }

    /// One read without a turn of the reactor.
    async fn look(socket: &mut Socket) -> Poll<Vec<u8>> {
        let mut room = [0; 16];
        poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut room);
            Poll::Ready(Pin::new(&mut *socket).poll_read(cx, &mut buf).map(|read| {
                read.unwrap();
                buf.filled().to_vec()
            }))
        })
        .await
    }

    /// A socket that was answered on, and rests.
    async fn rested() -> (Socket, std::net::TcpStream) {
        let (mut socket, mut peer) = pair().await;
        socket.write_all(b"ask").await.unwrap();
        peer.write_all(b"answer").unwrap();
        socket.read_exact(&mut [0; 6]).await.unwrap();
        while look(&mut socket).await.is_ready() {}
        std::thread::sleep(2 * MOMENT);
        (socket, peer)
    }

    #[tokio::test]
    async fn a_close_is_seen_before_the_reactor_tells_of_it() {
        let (mut socket, peer) = rested().await;
        assert!(look(&mut socket).await.is_pending());
        drop(peer);
        assert_eq!(look(&mut socket).await, Poll::Ready(Vec::new()));
    }

    #[tokio::test]
    async fn what_came_before_the_close_is_read_first() {
        let (mut socket, mut peer) = rested().await;
        peer.write_all(b"farewell").unwrap();
        peer.shutdown(Shutdown::Both).unwrap();
        assert_eq!(look(&mut socket).await, Poll::Ready(b"farewell".to_vec()));
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_as_ever() {
        let (mut socket, mut peer) = rested().await;
        for _ in 0..10 {
            assert!(look(&mut socket).await.is_pending());
            socket.write_all(b"ask").await.unwrap();
            let waiting = tokio::spawn(async move {
                let mut answer = [0; 6];
                socket.read_exact(&mut answer).await.unwrap();
                while look(&mut socket).await.is_ready() {}
                (socket, answer)
            });
            tokio::task::yield_now().await;
            peer.write_all(b"answer").unwrap();
            let (back, answer) = waiting.await.unwrap();
            assert_eq!(&answer, b"answer");
            socket = back;
        }
    }
}
