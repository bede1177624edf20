//! The stand-in upstream: an AI provider on loopback, for tests, the demo, the benchmark, and users' own suites
//! as `MockUpstream` of `trunkline/testing`. It answers like OpenAI, Anthropic or Gemini, as the path says, over
//! HTTP/1.1 and HTTP/2, with or without TLS, at a pace and a distance of one's choice, and does wrong on the wire
//! whatever it is asked to.
//!
//! ```
//! use trunkline::mock::{MockOptions, MockUpstream};
//!
//! let upstream = MockUpstream::start(MockOptions::default())?;
//! assert!(upstream.url().starts_with("http://127.0.0.1:"));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! From the outside in: [`server`] accepts, [`h1`] and [`h2`] speak, [`upstream`] finds the answer, and [`script`] says
//! what is done on the wire, faults included. On the way to the answer:
//!
//! | file | what it is for |
//! |---|---|
//! | `route` | which protocol and endpoint a path belongs to |
//! | `gate` | what is turned away for its key, its rate, its length or its last message |
//! | `refusal` | why, before a protocol says it in its own words |
//! | `anthropic`, `gemini` | their requests, read as strictly as by the providers (by tables, see `shape`), and their answers |
//! | `openai`, `embeddings` | OpenAI's, whose requests are read leniently: those who speak it differ |
//! | `view` | requests of every protocol in OpenAI's shape |
//! | `begun` | the beginning of an answer that a request ends with, to be gone on with |
//! | `batches` | files and batches, and what became of their requests |
//! | `endpoints`, `chat` | what is answered, whichever protocol renders it |

mod answer;
mod anthropic;
mod batches;
mod begun;
mod chat;
mod clock;
mod damage;
mod delay;
mod embeddings;
mod endpoints;
mod faults;
mod gate;
mod gemini;
mod h1;
mod h1_parse;
mod h2;
mod head;
mod limit;
mod openai;
mod options;
mod refusal;
mod request;
mod route;
mod script;
mod server;
mod shape;
mod shapes;
mod text;
mod tls;
mod upstream;
mod view;
mod wire;

use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use self::upstream::Upstream;
pub use self::{
    faults::{FaultScope, LastStream, MockFault, ResetAfter},
    options::{MockBatches, MockKey, MockModel, MockOptions, RateLimit},
    shapes::{
        Connections, Headers, Matcher, MockAnswer, RawBody, RecordedRequest, Status, ToolCall, ToolFunction,
    },
    view::as_openai,
};

/// An upstream that runs. Clones are handles of the same one; when the last is dropped, it closes.
#[derive(Debug, Clone)]
pub struct MockUpstream {
    running: Arc<Running>,
}

/// Decides matches that are no data: in Node, a function of the test's.
pub trait Asker: Send + Sync {
    /// Whether the matcher of this number takes the request. A dropped sender is a no.
    fn ask(&self, id: u32, request: &RecordedRequest) -> oneshot::Receiver<bool>;
}

struct Running {
    upstream: Arc<Upstream>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<()>,
}

impl MockUpstream {
    /// Listens on 127.0.0.1 and returns; whoever connects from now on is served.
    ///
    /// # Errors
    /// `InvalidInput` for an option that means nothing, or what binding the port fails with.
    pub fn start(options: MockOptions) -> io::Result<Self> {
        options.validate()?;
        let runtime = server::runtime()?;
        let tls = options.tls.then(|| tls::acceptor(options.http2)).transpose()?;
        let listener = server::bind(options.port)?;
        let address = listener.local_addr()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let upstream = Arc::new(Upstream::new(options));
        let (stop, stop_seen) = watch::channel(false);
        let (stopped_seen, stopped) = watch::channel(());
        runtime.spawn(server::accept(listener, upstream.clone(), tls, stop_seen, stopped_seen));
        Ok(Self { running: Arc::new(Running { upstream, address, stop, stopped }) })
    }

    /// `http://127.0.0.1:PORT`, or `https://`, without `/v1`. A number and not a name, which might resolve to
    /// an IPv6 address that nobody listens on.
    pub fn url(&self) -> String {
        let scheme = if self.running.upstream.options.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.running.address)
    }

    /// The PEM of the authority that signed the certificate; `None` without TLS. It is the same for all
    /// upstreams of the process.
    pub fn ca(&self) -> Option<&str> {
        self.running.upstream.options.tls.then(|| tls::ca().ok()).flatten()
    }

    /// Answers requests that match. Of several that match, the one that came last is taken.
    pub fn reply(&self, matcher: Matcher, answer: MockAnswer) {
        self.running.upstream.add_rule(matcher, answer);
    }

    /// Lets the next requests in the scope meet a fault. A request meets one at most, the oldest first.
    pub fn fault(&self, fault: MockFault, scope: FaultScope) {
        self.running.upstream.faults.lock().add(fault, scope);
        self.running.upstream.look_again();
    }

    /// The requests so far, oldest first; the last 10,000.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.running.upstream.recorded()
    }

    pub fn connections(&self) -> Connections {
        self.running.upstream.connections()
    }

    /// Forgets replies, faults and requests. Connections stay, and so do their counts.
    pub fn reset(&self) {
        self.running.upstream.reset();
    }

    /// Who is asked for [`Matcher::Ask`]. Without one they match nothing.
    pub fn set_asker(&self, asker: Arc<dyn Asker>) {
        self.running.upstream.set_asker(asker);
    }

    /// Stops accepting and ends every connection at once. Returns before that is done; [`closed`](Self::closed)
    /// waits for it.
    pub fn close(&self) {
        self.running.stop.send_replace(true);
    }

    /// Waits until the port is free and every connection has ended, after [`close`](Self::close). May be
    /// dropped and called again.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopped = self.running.stopped.clone();
        // Nothing is ever sent: the only change is that the sender is gone.
        async move { while stopped.changed().await.is_ok() {} }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("address", &self.address).field("upstream", &self.upstream).finish()
    }
}
