//! Why a connection closed is told alike, whatever it speaks and over what: `server` where the peer closed or reset it while it
//! rested or after a whole response, `error` where that was in the middle of something, or where what came was no HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::servers::{Authority, Tls, pool};
use crate::support::{get, lease, origin, request, until};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use trunkline::pool::{Config, Http2, Pool, Protocol};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// How the server leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// Without a word, be it of TLS or of HTTP/2.
    Closing,
    Resetting,
}

/// A server of one connection at a time, which it leaves when it is told to.
struct Server {
    url: String,
    leave: Arc<Notify>,
    /// Requests that have come.
    seen: Arc<AtomicUsize>,
}

impl Server {
    async fn new(protocol: Protocol, tls: Option<Tls>, leaves: Leaves) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let (leave, seen) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let server = Self { url, leave: leave.clone(), seen: seen.clone() };
        let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config()));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if leaves == Leaves::Resetting {
                    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
                }
                let served = async {
                    match &acceptor {
                        Some(tls) => serve(tls.accept(socket).await.unwrap(), protocol, &seen).await,
                        None => serve(socket, protocol, &seen).await,
                    }
                };
                tokio::select! {
                    () = served => {}
                    () = leave.notified() => {}
                }
            }
        });
        server
    }
}

/// By path: `/hang` no head, `/endless` one piece and no end, `/last` with the end of the connection.
async fn answer(request: Request<Incoming>, seen: Arc<AtomicUsize>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let _ = request.into_body().collect().await;
    seen.fetch_add(1, Ordering::SeqCst);
    if path == "/hang" {
        std::future::pending::<()>().await;
    }
    let body = match path.as_str() {
        "/endless" => {
            let piece = stream::once(async { Ok(Frame::data(Bytes::from("piece"))) });
            StreamBody::new(piece.chain(stream::pending())).boxed_unsync()
        }
        _ => Full::from("ok").boxed_unsync(),
    };
    let mut answer = Response::new(body);
    if path == "/last" {
        answer.headers_mut().insert("connection", "close".parse().unwrap());
    }
    Ok(answer)
}

async fn serve<S>(socket: S, protocol: Protocol, seen: &Arc<AtomicUsize>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let seen = seen.clone();
    let service = service_fn(move |request| answer(request, seen.clone()));
    let socket = TokioIo::new(socket);
    let _ = match protocol {
        Protocol::H1 => http1::Builder::new().serve_connection(socket, service).await,
        Protocol::H2 => http2::Builder::new(TokioExecutor::new()).serve_connection(socket, service).await,
    };
}

async fn reasons(pool: &Pool) -> Vec<(&'static str, u64)> {
    until("it is closed", || {
        let now = pool.snapshot();
        now.opened > 0 && now.closed.values().sum::<u64>() == now.opened
    })
    .await;
    pool.snapshot().closed.into_iter().filter(|(_, count)| *count > 0).collect()
}

type Way = (Protocol, bool);
const WAYS: [Way; 4] =
    [(Protocol::H1, false), (Protocol::H1, true), (Protocol::H2, false), (Protocol::H2, true)];

/// A pool that speaks to it in this way, and what it is spoken to with.
fn made((protocol, secure): Way, authority: &Authority) -> (Pool, Option<Tls>) {
    let http2 = if protocol == Protocol::H1 { Http2::Never } else { Http2::PriorKnowledge };
    let tls = secure.then(|| Tls::of(&authority.leaf(&["localhost"])));
    (pool(Config { http2, ..authority.config() }), tls)
}

#[tokio::test]
async fn who_leaves_while_the_connection_rests_is_the_server() {
    let authority = Authority::new();
    for leaves in [Leaves::Closing, Leaves::Resetting] {
        for way in WAYS {
            let (pool, tls) = made(way, &authority);
            let server = Server::new(way.0, tls, leaves).await;
            assert_eq!(get(&pool, &origin(&server.url), "/").await.unwrap(), "ok");
            until("it rests", || pool.snapshot().connections.idle == 1).await;
            server.leave.notify_one();
            assert_eq!(reasons(&pool).await, [("server", 1)], "{way:?} {leaves:?}");
        }
    }
}

#[tokio::test]
async fn what_breaks_in_the_middle_of_something_is_an_error() {
    let authority = Authority::new();
    for leaves in [Leaves::Closing, Leaves::Resetting] {
        for way in WAYS {
            for path in ["/hang", "/endless"] {
                let (pool, tls) = made(way, &authority);
                let server = Server::new(way.0, tls, leaves).await;
                let lease = lease(&pool, &origin(&server.url)).await;
                let request = request(&lease, path);
                let (answer, ()) = tokio::join!(lease.send(request), async {
                    until("it is there", || server.seen.load(Ordering::SeqCst) == 1).await;
                    if path == "/hang" {
                        server.leave.notify_one();
                    }
                });
                if path == "/endless" {
                    let mut body = answer.unwrap().into_body();
                    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "piece");
                    server.leave.notify_one();
                    body.frame().await.unwrap().unwrap_err();
                } else {
                    answer.unwrap_err();
                }
                assert_eq!(reasons(&pool).await, [("error", 1)], "{way:?} {leaves:?} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_close_after_a_whole_response_is_the_servers() {
    let authority = Authority::new();
    for way in [(Protocol::H1, false), (Protocol::H1, true)] {
        for _ in 0..20 {
            let (pool, tls) = made(way, &authority);
            let server = Server::new(way.0, tls, Leaves::Closing).await;
            assert_eq!(get(&pool, &origin(&server.url), "/last").await.unwrap(), "ok");
            assert_eq!(reasons(&pool).await, [("server", 1)], "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_whole() {
    for _ in 0..20 {
        let (pool, url) = raw(b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
        assert_eq!(get(&pool, &origin(&url), "/").await.unwrap(), "all of it");
        assert_eq!(reasons(&pool).await, [("server", 1)]);
    }
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    // In place of an answer, and behind one.
    for said in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more"] {
        let (pool, url) = raw(said.as_bytes()).await;
        let _ = get(&pool, &origin(&url), "/").await;
        assert_eq!(reasons(&pool).await, [("error", 1)], "{said}");
    }
    // What the server says over HTTP/2: its SETTINGS, and then a frame that none may be.
    let (pool, url) = raw(b"\0\0\0\x04\0\0\0\0\0\0\0\x05\x04\0\0\0\0\x07garbage").await;
    let pool = crate::servers::pool(Config { http2: Http2::PriorKnowledge, ..pool.config().clone() });
    get(&pool, &origin(&url), "/").await.unwrap_err();
    assert_eq!(reasons(&pool).await, [("error", 1)]);
}

/// A server that says this as soon as it is asked, and closes.
async fn raw(said: &'static [u8]) -> (Pool, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"question") && !asked.starts_with(b"PRI") {
                if socket.read_buf(&mut asked).await.unwrap() == 0 {
                    break;
                }
            }
            socket.write_all(said).await.unwrap();
            // Its end, and not a reset.
            socket.shutdown().await.unwrap();
            let _ = socket.read_to_end(&mut asked).await;
        }
    });
    (pool(Config::default()), url)
}
