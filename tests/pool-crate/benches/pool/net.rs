//! A network of memory, or of loopback: every connect is a pipe or a socket, and at its other end a peer as small as may be.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use trunkline_pool::pool::{
    Checkout, Config, Connect, Connected, Error, Io, Lease, Origin, Phases, Pool, Protocol, Tasks,
};

/// What calls go over.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Pipes,
    Sockets,
}

const PIPE: usize = 4 * 1024;
const LONG: Duration = Duration::from_secs(3600);

/// Connects to peers of one protocol, and counts.
pub(crate) struct Net {
    protocol: Protocol,
    /// Where sockets go to; pipes without it.
    server: Option<SocketAddr>,
    connects: AtomicUsize,
}

impl Net {
    /// A pool over it, on the runtime that runs.
    pub(crate) fn pool(protocol: Protocol, config: Config) -> (Pool, Arc<Self>) {
        Self::pool_over(None, protocol, config)
    }

    /// A pool over sockets of loopback: all origins are one server, in the same thread.
    pub(crate) async fn pool_of_sockets(config: Config) -> (Pool, Arc<Self>) {
        Self::pool_over(Some(serve_sockets().await), Protocol::H1, config)
    }

    fn pool_over(server: Option<SocketAddr>, protocol: Protocol, config: Config) -> (Pool, Arc<Self>) {
        let net = Arc::new(Self { protocol, server, connects: AtomicUsize::new(0) });
        let config = Config { idle_timeout: LONG, max_age: LONG, ..config };
        (Pool::with_connector(config, Tasks::new(Handle::current()), net.clone()), net)
    }

    pub(crate) fn connects(&self) -> usize {
        self.connects.load(Ordering::Relaxed)
    }
}

impl Connect for Net {
    fn connect<'a>(
        &'a self,
        _origin: &'a Origin,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + 'a>> {
        Box::pin(async {
            self.connects.fetch_add(1, Ordering::Relaxed);
            let io: Box<dyn Io> = if let Some(server) = self.server {
                Box::new(TokioIo::new(connect(server).await))
            } else {
                let (ours, theirs) = tokio::io::duplex(PIPE);
                match self.protocol {
                    Protocol::H1 => tokio::spawn(serve_h1(theirs)),
                    Protocol::H2 => tokio::spawn(serve_h2(theirs)),
                };
                Box::new(TokioIo::new(ours))
            };
            Ok(Connected { io, protocol: self.protocol, phases: Phases::default(), tls_resumed: false })
        })
    }
}

/// Connections to the same peer without a pool: what hyper alone costs.
pub(crate) async fn bare(count: usize, way: Way) -> Vec<SendRequest<Full<Bytes>>> {
    let server = match way {
        Way::Pipes => None,
        Way::Sockets => Some(serve_sockets().await),
    };
    let mut senders = Vec::new();
    for _ in 0..count {
        let io: Box<dyn Io> = match server {
            None => {
                let (ours, theirs) = tokio::io::duplex(PIPE);
                tokio::spawn(serve_h1(theirs));
                Box::new(TokioIo::new(ours))
            }
            Some(server) => Box::new(TokioIo::new(connect(server).await)),
        };
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        senders.push(sender);
    }
    senders
}

async fn connect(server: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(server).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// A server on loopback, in the same thread.
async fn serve_sockets() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            tokio::spawn(serve_h1(socket));
        }
    });
    address
}

async fn serve_h1(mut end: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = Vec::with_capacity(256);
    while matches!(end.read_buf(&mut request).await, Ok(1..)) {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            let sent = end.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            if sent.is_err() {
                return;
            }
        }
    }
}

async fn serve_h2(end: DuplexStream) {
    let service = service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("ok"))));
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(1000)
        .serve_connection(TokioIo::new(end), service)
        .await;
}

/// Limits that are never reached, but for `all`.
pub(crate) fn config(all: usize) -> Config {
    Config {
        max_connections: all.try_into().unwrap(),
        max_connections_per_origin: all.try_into().unwrap(),
        max_idle_connections: all,
        ..Config::default()
    }
}

pub(crate) fn origins(protocol: Protocol, count: usize) -> Vec<Origin> {
    let scheme = if protocol == Protocol::H2 { "https" } else { "http" };
    let url = |n: usize| format!("{scheme}://api-{n}.example.com");
    (0..count).map(|n| Origin::of(&url(n).parse().unwrap()).unwrap()).collect()
}

/// How all of the bench checks out.
pub(crate) fn how() -> Checkout {
    Checkout { queue_timeout: LONG, connect_timeout: LONG, max_waiting: 1_000_000, ..Checkout::default() }
}

pub(crate) async fn lease(pool: &Pool, origin: &Origin) -> Lease {
    pool.checkout(origin, how()).await.unwrap()
}

/// The whole of one call: taken, sent, answered, read to the end.
pub(crate) async fn exchange(pool: &Pool, origin: &Origin) {
    let answer = lease(pool, origin).await.send(request::<Bytes>()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
}

pub(crate) async fn bare_exchange(sender: &mut SendRequest<Full<Bytes>>) {
    sender.ready().await.unwrap();
    let answer = sender.send_request(request()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
}

fn request<B: Default>() -> Request<B> {
    Request::get("/v1/models").header("host", "api.example.com").body(B::default()).unwrap()
}
