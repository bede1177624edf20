//! Sockets: one coordinated state machine over `hyper::client::conn` for every origin of a process.
//!
//! The pool knows origins and time. It knows no models, no providers and no JSON, and could be a crate of its own.
//!
//! ```text
//! checkout ──> idle socket or free stream? ──yes──────────────────────────────> Lease ── send ──> Response<Body>
//!                 │ no                                                            ^                   │
//!                 v                                                               │                   v
//!              Place in the queue ──── whatever comes first: a socket given back ─┤          end of the body:
//!                 │                    a stream that ended, a connection made ────┘          the lease goes back
//!                 v
//!              a right to open a socket, if the limits leave one ──> connect task (serves whoever waits then)
//! ```
//!
//! What is taken is a value that gives itself back on drop: [`Lease`], the place in the queue, the right to a socket.
//! So a caller may drop a checkout, a send or a body at any await.
//!
//! | file | idea |
//! |---|---|
//! | `origin` | where a socket goes to |
//! | `config` | limits and times, already parsed |
//! | `partition` | who shares sockets with whom: origin, tenant, lane |
//! | `state` | the locked data |
//! | `demand` | what callers want of it: a connection, or a place in the queue |
//! | `supply` | what connections bring: sockets and streams |
//! | `failure` | connects that fail, and who learns of it |
//! | `registry` | lines, origins and tenants that come and go |
//! | `line` | what one partition has: sockets, streams, those who wait |
//! | `queue` | those who wait: four priorities, ageing |
//! | `site` | what all lines of an origin have in common: limits, protocol, back-off |
//! | `limit` | a limit of sockets, and whom it keeps from opening one |
//! | `rights` | who may open a socket |
//! | `resting` | what rests, in which order |
//! | `yielding` | what goes for others |
//! | `checkout` | the asynchronous way through the state |
//! | `lease` | a socket or stream in use, and the body that carries it |
//! | `sent` | the body of a request on its way |
//! | `connect/` | DNS, TCP, TLS, each timed; proxies, Unix sockets |
//! | `connection` | how a connection is made and driven |
//! | `h2` | HTTP/2: its driver, windows, what the server announces |
//! | `info` | what is known of one connection |
//! | `right` | the right to have a socket |
//! | `last_words` | what a peer said before it hung up is heard |
//! | `keep_alive` | what an HTTP/1.1 server says of how long it keeps a connection |
//! | `reaper` | what is idle or old goes |
//! | `clock` | whether the machine slept |
//! | `stats` | counters, and the plain snapshot of them |
//! | `backlog` | events that nobody has taken yet |
//! | `events` | who is told of connections that open and close |
//! | `tasks` | the one place that spawns |

mod backlog;
mod checkout;
mod clock;
mod config;
mod connect;
mod connection;
mod demand;
mod error;
mod events;
mod failure;
mod h2;
mod info;
mod keep_alive;
mod last_words;
mod lease;
mod limit;
mod line;
mod origin;
mod partition;
mod queue;
mod reaper;
mod registry;
mod resting;
mod right;
mod rights;
mod sent;
mod site;
mod state;
mod stats;
mod supply;
mod sync;
mod tasks;
mod yielding;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub use self::backlog::Backlog;
pub use self::checkout::Checkout;
pub use self::config::{Config, Http2, Lanes, TlsConfig};
pub use self::connect::{Connect, Connected, Connector, Io, Lookup, Phases};
pub use self::connect::{
    Identity, IdentityError, NoProxy, NoProxyError, Proxies, Proxy, ProxyError, RootsError, Route, roots_of,
};
pub use self::error::{Error, Kind};
pub use self::events::{Change, Event, Inbox, Listener, Wake};
pub use self::lease::{Body, Lease};
pub use self::origin::{Origin, OriginError};
pub use self::partition::{Lane, Tenant};
pub use self::queue::Priority;
pub use self::sent::{Pieces, RequestBody};
pub use self::stats::{CloseReason, Histogram, OriginSnapshot, QueueSnapshot, Snapshot, Spread, Tally};
pub use self::tasks::Tasks;

use self::clock::Clock;
use self::events::Events;
use self::state::State;
use self::stats::Stats;

/// The protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    H1,
    H2,
}

impl Protocol {
    /// `"h1"` or `"h2"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2 => "h2",
        }
    }
}

/// A handle on the pool. Clones share it; when the last one goes, idle sockets close and leased ones follow
/// as their bodies end.
#[derive(Clone, Debug)]
pub struct Pool {
    handle: Arc<Handle>,
}

/// Closes the pool on drop. Drivers and leases hold `Shared`, never this.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    config: Config,
    connector: Arc<dyn Connect>,
    tasks: Tasks,
    state: Mutex<State>,
    stats: Stats,
    clock: Clock,
    /// Cancelled when the pool closes.
    closing: CancellationToken,
    events: Arc<Events>,
    /// Told whenever a socket has gone, for those who wait for the end of a close.
    gone: tokio::sync::Notify,
}

impl Pool {
    /// A pool that connects over TCP and TLS.
    pub fn new(config: Config, tasks: Tasks) -> Self {
        let connector = Arc::new(Connector::new(&config, &tasks));
        Self::with_connector(config, tasks, connector)
    }

    /// A pool over a connector of one's own: in tests, a scripted one.
    pub fn with_connector(config: Config, tasks: Tasks, connector: Arc<dyn Connect>) -> Self {
        Self::with_clock(config, tasks, connector, SystemTime::now)
    }

    /// The same, with a wall clock of one's own.
    pub fn with_clock(
        config: Config,
        tasks: Tasks,
        connector: Arc<dyn Connect>,
        wall: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(&config)),
            stats: Stats::default(),
            clock: Clock::new(wall),
            closing: CancellationToken::new(),
            events: Arc::default(),
            gone: tokio::sync::Notify::new(),
            config,
            connector,
            tasks,
        });
        reaper::start(&shared);
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Takes an idle socket or a free stream, or waits for one.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; a lease that was granted in the same moment goes to the next in line.
    ///
    /// # Errors
    /// [`Kind::QueueFull`], [`Kind::TooManyTenants`] and [`Kind::PutOff`] at once; [`Kind::QueueTimeout`] after `how.queue_timeout`; the error of the connection
    /// that this call waited for; [`Kind::Closed`] once the pool closes.
    pub async fn checkout(&self, origin: &Origin, how: Checkout) -> Result<Lease, Error> {
        checkout::checkout(&self.handle.shared, origin, &how).await
    }

    /// Reads the system's roots in the background, if the origin needs them: it takes some milliseconds, which the first call
    /// need not wait for.
    pub fn prepare(&self, origin: &Origin) {
        let (shared, origin) = (self.handle.shared.clone(), origin.clone());
        self.handle.shared.tasks.spawn("prepare", async move { shared.connector.prepare(&origin).await });
    }

    /// Opens connections ahead of the first request, until the origin has `connections` of them or, over HTTP/2,
    /// one with room for as many streams; but no more than may rest ([`Config::max_idle_connections`]), and none where none may.
    pub async fn warm(&self, origin: &Origin, connections: usize, how: Checkout) -> Result<(), Error> {
        checkout::warm(&self.handle.shared, origin, connections, &how).await
    }

    /// Tells of every connection that opens or closes from now on, until the listener is dropped. `wake` is told when there is
    /// something to take where there was nothing.
    pub fn listen(&self, wake: Wake) -> Listener {
        self.handle.shared.events.listen(wake)
    }

    /// Closes what rests now. What comes to rest later may be used again.
    pub fn close_idle(&self) {
        self.handle.shared.close_idle();
    }

    /// Stops giving out leases: waiters get [`Kind::Closed`], idle sockets close. What is leased runs on.
    pub fn close(&self) {
        self.handle.shared.close();
    }

    /// Resolves when no socket is open any more. Ask after [`Pool::close`].
    pub async fn closed(&self) {
        self.handle.shared.all_gone().await;
    }

    /// The figures, as a plain copy.
    pub fn snapshot(&self) -> Snapshot {
        self.handle.shared.snapshot()
    }

    /// The times of handshakes and of waits for a connection, within these bounds, which rise.
    pub fn tallies(&self, bounds: &[Duration]) -> [Tally; 2] {
        self.handle.shared.tallies(bounds)
    }

    /// The settings that the pool was made with.
    pub fn config(&self) -> &Config {
        &self.handle.shared.config
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}
