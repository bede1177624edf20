//! One call, from its acceptance to its end.
//!
//! | file | idea |
//! |---|---|
//! | `call` | the life of a call, read from top to bottom |
//! | `exchange` | one attempt: a lease, a request, the head of the answer |
//! | `whole` | an answer that comes as one text |
//! | `stream` | a chat that comes as chunks |
//! | `events` | any other answer that comes as server-sent events |
//! | `reader` | the body of such an answer, under its time limits |
//! | `outlet` | the bounded buffer between a stream and its reader |
//! | `embed` | long inputs, split and joined |
//! | `endpoint` | where a call goes to, and with which headers |
//! | `key` | the key of a provider, given or asked for |
//! | `record` | what is known of a call: attempts, times, connection |
//! | `pools` | one pool for equal settings in a process |

mod call;
mod embed;
mod endpoint;
mod events;
mod exchange;
mod key;
mod outlet;
mod pools;
mod reader;
mod record;
mod stream;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

pub use self::call::{Answer, Call};
pub use self::endpoint::Endpoint;
pub use self::outlet::{Delivery, Mode, Outlet};

use self::endpoint::Endpoints;
use self::key::KeyStore;
use self::pools::SharedPool;
use crate::config::{CallKind, CallOptions, ClientConfig, Environment, Key};
use crate::error::Error;
use crate::pool::{Checkout, Lane, Listener, Pool, Tasks, Wake};
use crate::telemetry::{Counters, Metrics};

/// The name of the one provider that there is without `providers`.
pub(crate) const PROVIDER: &str = "default";

/// Asks the owner of a client for its key; the answer comes by [`Client::set_key`].
pub type AskForKey = Box<dyn Fn() + Send + Sync>;

/// A client: its settings, its share of a pool, its counters.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    /// Of calls that have none of their own.
    options: Arc<CallOptions>,
    endpoints: Endpoints,
    keys: KeyStore,
    pool: SharedPool,
    tasks: Tasks,
    counters: Arc<Counters>,
    closed: AtomicBool,
}

impl Client {
    /// A client of these options (as JSON). `ask_for_key` is called when they say that the key is a function.
    pub fn new(
        options: Value,
        environment: &Environment,
        tasks: &Tasks,
        ask_for_key: AskForKey,
    ) -> Result<Self, Error> {
        let config = ClientConfig::parse(options, environment)?;
        let keys = match &config.key {
            Key::None => KeyStore::fixed(None),
            Key::Fixed(key) => KeyStore::fixed(Some(key.clone())),
            Key::Asked => KeyStore::asked(ask_for_key),
        };
        let pool = SharedPool::of(&config.pool, tasks);
        pool.prepare(&config.base.origin);
        Ok(Self {
            options: Arc::new(CallOptions::of(&config)),
            endpoints: Endpoints::of(&config)?,
            keys,
            pool,
            tasks: tasks.clone(),
            counters: Arc::default(),
            closed: AtomicBool::new(false),
            config,
        })
    }

    /// The options of a call of any kind; None for the client's own.
    pub fn call_options(&self, options: Option<Value>) -> Result<Arc<CallOptions>, Error> {
        self.call_options_of(CallKind::Stream, options)
    }

    /// The options of a call; None for the client's own.
    pub fn call_options_of(&self, kind: CallKind, options: Option<Value>) -> Result<Arc<CallOptions>, Error> {
        match options {
            Some(options) => CallOptions::parse(options, kind, &self.config).map(Arc::new),
            None => Ok(self.options.clone()),
        }
    }

    /// Makes one call whose answer comes as one text. It is accepted or refused by whether the client is open now, and not
    /// when the future is first polled.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call: its stream is reset or its socket closed, its place in the queue left.
    pub fn call(self: &Arc<Self>, call: Call) -> impl Future<Output = Result<Answer, Error>> + Send + use<> {
        let (client, open) = (self.clone(), self.check_open());
        async move {
            open?;
            match call.endpoint {
                // Boxed where it is rare: a call's future is moved as a whole when its task is made.
                Endpoint::Embeddings => Box::pin(embed::run(&client, call)).await,
                _ => whole::run(&client, call).await,
            }
        }
    }

    /// Makes one call whose answer comes as events, into `outlet`. The answer's text is the whole completion of a chat,
    /// gathered, and empty for other events.
    ///
    /// # Cancel safety
    /// As of [`Client::call`].
    pub fn stream(
        self: &Arc<Self>,
        call: Call,
        outlet: Arc<Outlet>,
    ) -> impl Future<Output = Result<Answer, Error>> + Send + use<> {
        let (client, open) = (self.clone(), self.check_open());
        async move {
            open?;
            match call.endpoint {
                Endpoint::Chat => stream::run(&client, call, outlet).await,
                _ => events::run(&client, call, outlet).await,
            }
        }
    }

    /// Opens connections ahead of the first request.
    pub async fn warm(&self, connections: usize) -> Result<(), Error> {
        self.check_open()?;
        let origin = &self.config.base.origin;
        self.pool
            .warm(origin, connections, self.checkout(&self.options, false))
            .await
            .map_err(|error| exchange::error_of(&error, None))
    }

    /// The answer to `ask_for_key`.
    pub fn set_key(&self, key: Result<&str, &str>) {
        self.keys.answer(key);
    }

    pub fn metrics(&self) -> Metrics {
        let mut pool = self.pool.snapshot();
        let ours = self.config.base.origin.to_string();
        for origin in pool.origins.iter_mut().filter(|origin| *origin.origin == *ours) {
            origin.provider = Some(PROVIDER);
        }
        self.counters.metrics(pool)
    }

    /// Tells of the connections of the pool, those of other clients that share it too.
    pub fn listen(&self, wake: Wake) -> Listener {
        self.pool.listen(wake)
    }

    /// Refuses new calls from now on. If no other client shares the pool, the sockets that no call needs close.
    pub fn begin_close(self: &Arc<Self>) {
        self.closed.store(true, Ordering::Relaxed);
        let client = self.clone();
        // Behind the calls that were begun before, so that each finds the socket that rests for it.
        self.tasks.spawn("close", async move {
            if client.pool.is_last() {
                client.pool.close_idle();
            }
        });
    }

    /// Lets go of the pool. If no other client shares it, resolves when its last socket is closed.
    pub async fn finish_close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(pool) = self.pool.release() {
            pool.close();
            pool.closed().await;
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How a call of these options takes a connection.
    pub(crate) fn checkout(&self, options: &CallOptions, fresh: bool) -> Checkout {
        Checkout {
            priority: options.priority,
            aging: self.config.queue.aging,
            lane: Lane::Unary,
            tenant: options.tenant.clone(),
            max_waiting: self.config.queue.max,
            queue_timeout: options.timeouts.queue,
            connect_timeout: options.timeouts.connect,
            fresh,
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Relaxed) { Err(Error::closed()) } else { Ok(()) }
    }
}
