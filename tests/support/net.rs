//! A network of memory: a scripted connector that counts, with hyper's own servers or a raw peer behind it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::Semaphore;
use trunkline::pool::{Config, Connect, Connected, Error, Kind, Origin, Phases, Pool, Protocol, Tasks};

const PIPE: usize = 64 * 1024;

/// What one connect does.
pub enum Plan {
    Fail(Kind),
    Never,
    /// Decided later, unless the pool gives the connect up before.
    Later(Pin<Box<dyn Future<Output = Self> + Send>>),
    /// hyper's server, answering by path (see [`answer`]).
    H1,
    /// The same over HTTP/2, with this many streams.
    H2(u32),
    /// A peer of one's own.
    Raw(Protocol, Box<dyn FnOnce(DuplexStream) + Send>),
}

type Script = dyn Fn(&Origin, usize) -> Plan + Send + Sync;

/// The connector. Every number is of this side: a socket counts from its connect until the pool lets go of it.
pub struct Net {
    script: Box<Script>,
    /// A connect waits for a permit of it.
    pub gate: Option<Semaphore>,
    pub delay: Duration,
    /// The pool's end of an HTTP/1.1 socket never comes through its shutdown, like TLS over a peer that has stopped reading.
    pub stubborn: bool,
    pub limit: usize,
    pub limit_per_origin: usize,
    pub connects: AtomicUsize,
    pub opened: AtomicUsize,
    pub closed: AtomicUsize,
    pub held: Mutex<Held>,
    /// Requests that a server of ours has seen.
    pub served: AtomicUsize,
    /// Answers of `/gated` wait for a permit of it.
    pub answers: Semaphore,
}

#[derive(Default)]
pub struct Held {
    /// Sockets, being opened or open.
    pub all: usize,
    pub peak: usize,
    pub by_origin: HashMap<String, usize>,
    pub over_limit: usize,
}

impl Net {
    pub fn new(script: impl Fn(&Origin, usize) -> Plan + Send + Sync + 'static) -> Self {
        Self {
            script: Box::new(script),
            gate: None,
            delay: Duration::ZERO,
            stubborn: false,
            limit: usize::MAX,
            limit_per_origin: usize::MAX,
            connects: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            held: Mutex::default(),
            served: AtomicUsize::new(0),
            answers: Semaphore::new(0),
        }
    }

    pub fn h1() -> Self {
        Self::new(|_, _| Plan::H1)
    }

    pub fn h2(streams: u32) -> Self {
        Self::new(move |_, _| Plan::H2(streams))
    }

    /// Every connect waits until the gate has a permit.
    pub fn gated(mut self) -> Self {
        self.gate = Some(Semaphore::new(0));
        self
    }

    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Notes every socket over the limits of `config`.
    pub fn watching(mut self, config: &Config) -> Self {
        self.limit = config.max_connections.get();
        self.limit_per_origin = config.max_connections_per_origin.get();
        self
    }

    pub fn pool(self, config: Config) -> (Pool, Arc<Self>, Tasks) {
        self.pool_with_clock(config, SystemTime::now)
    }

    pub fn pool_with_clock(
        self,
        config: Config,
        wall: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> (Pool, Arc<Self>, Tasks) {
        let net = Arc::new(self);
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let connector = Arc::new(Handle(net.clone()));
        (Pool::with_clock(config, tasks.clone(), connector, wall), net, tasks)
    }

    pub fn open_gate(&self, permits: usize) {
        self.gate.as_ref().unwrap().add_permits(permits);
    }

    pub fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }

    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }

    /// Open ends on the pool's side.
    pub fn open(&self) -> usize {
        self.opened() - self.closed()
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    pub fn over_limit(&self) -> usize {
        self.held.lock().unwrap().over_limit
    }

    pub fn peak(&self) -> usize {
        self.held.lock().unwrap().peak
    }
}

struct Handle(Arc<Net>);

/// Counted among the sockets for as long as it lives.
struct Counted {
    net: Arc<Net>,
    origin: String,
}

impl Counted {
    fn new(net: &Arc<Net>, origin: &Origin) -> Self {
        let origin = origin.to_string();
        let mut held = net.held.lock().unwrap();
        held.all += 1;
        held.peak = held.peak.max(held.all);
        let here = held.by_origin.entry(origin.clone()).or_default();
        *here += 1;
        if *here > net.limit_per_origin || held.all > net.limit {
            held.over_limit += 1;
        }
        drop(held);
        Self { net: net.clone(), origin }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut held = self.net.held.lock().unwrap();
        held.all -= 1;
        *held.by_origin.get_mut(&self.origin).unwrap() -= 1;
    }
}

impl Connect for Handle {
    fn connect<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + 'a>> {
        Box::pin(async move {
            let net = &self.0;
            let counted = Counted::new(net, origin);
            let number = net.connects.fetch_add(1, Ordering::SeqCst);
            if let Some(gate) = &net.gate {
                gate.acquire().await.unwrap().forget();
            }
            if !net.delay.is_zero() {
                tokio::time::sleep(net.delay).await;
            }
            let mut plan = (net.script)(origin, number);
            while let Plan::Later(decided) = plan {
                plan = decided.await;
            }
            let (protocol, peer): (_, Box<dyn FnOnce(DuplexStream) + Send>) = match plan {
                Plan::Later(_) | Plan::Never => std::future::pending().await,
                Plan::Fail(kind) => return Err(Error::with(kind, "scripted")),
                Plan::Raw(protocol, peer) => (protocol, peer),
                Plan::H1 => {
                    let net = net.clone();
                    (Protocol::H1, Box::new(move |end| serve_h1(end, net)))
                }
                Plan::H2(streams) => {
                    let net = net.clone();
                    (Protocol::H2, Box::new(move |end| serve_h2(end, net, streams)))
                }
            };
            let (ours, theirs) = tokio::io::duplex(PIPE);
            peer(theirs);
            net.opened.fetch_add(1, Ordering::SeqCst);
            let stubborn = net.stubborn && protocol == Protocol::H1;
            let end = End { stream: ours, stubborn, counted };
            Ok(Connected {
                io: Box::new(TokioIo::new(end)),
                protocol,
                phases: Phases { connect: Duration::from_millis(10), ..Phases::default() },
                tls_resumed: false,
            })
        })
    }
}

/// The pool's end of a socket.
struct End {
    stream: DuplexStream,
    stubborn: bool,
    counted: Counted,
}

impl Drop for End {
    fn drop(&mut self) {
        self.counted.net.closed.fetch_add(1, Ordering::SeqCst);
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stubborn {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

pub fn serve_h1(end: DuplexStream, net: Arc<Net>) {
    tokio::spawn(async move {
        let service = service_fn(move |request| answer(net.clone(), request));
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(end), service).await;
    });
}

pub fn serve_h2(end: DuplexStream, net: Arc<Net>, streams: u32) {
    tokio::spawn(async move {
        let service = service_fn(move |request| answer(net.clone(), request));
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(streams)
            .serve_connection(TokioIo::new(end), service)
            .await;
    });
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// By path: `/` a small body, `/empty` none, `/large` a mebibyte, `/hang` no head, `/endless` one piece and no end, `/gated` when
/// `answers` has a permit, `/slow` after 5 ms, `/close` with the end of the connection, `/hint:timeout=5,max=9` with that as its Keep-Alive.
async fn answer(net: Arc<Net>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    net.served.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    let _ = request.into_body().collect().await;
    let body = match path.as_str() {
        "/empty" => Empty::new().boxed(),
        "/large" => Full::from(vec![b'x'; 1 << 20]).boxed(),
        "/hang" => std::future::pending().await,
        "/endless" => Endless(Some("piece")).boxed(),
        "/gated" => {
            net.answers.acquire().await.unwrap().forget();
            Full::from("gated").boxed()
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Full::from("slow").boxed()
        }
        _ => Full::from("ok").boxed(),
    };
    let mut answer = Response::new(body);
    if path == "/close" {
        answer.headers_mut().insert("connection", "close".parse().unwrap());
    }
    if let Some(hint) = path.strip_prefix("/hint:") {
        answer.headers_mut().insert("keep-alive", hint.parse().unwrap());
    }
    Ok(answer)
}

struct Endless(Option<&'static str>);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece.into())))),
            None => Poll::Pending,
        }
    }
}
