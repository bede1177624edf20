//! One call, from its acceptance to its end.
//!
//! | file | idea |
//! |---|---|
//! | `call` | the life of a call, read from top to bottom |
//! | `journey` | what a call asks for, and where it may go |
//! | `pass` | what lets an attempt go: its turn, and the circuit of its target |
//! | `admission` | turns: of the provider, and of each model |
//! | `gate` | who has a turn, and who waits for one |
//! | `race` | attempts that race each other |
//! | `exchange` | one attempt: a lease, a request, the head of the answer |
//! | `whole` | an answer that comes as one text |
//! | `stream` | a chat that comes as chunks |
//! | `memory` | answers that were given before, and exchanges that several calls share |
//! | `events` | any other answer that comes as server-sent events |
//! | `reader` | the body of such an answer, under its time limits |
//! | `recovery` | a stream that breaks after its reader has seen a part of it |
//! | `outlet` | the bounded buffer between a stream and its reader |
//! | `errand` | requests that are no calls: those of providers' batches |
//! | `fetch/` | WHATWG's fetch: any request, to any origin |
//! | `body` | the body of an answer, wherever it comes from |
//! | `cassette/` | answers from a file in place of the network |
//! | `embed` | long inputs, split and joined |
//! | `endpoint` | where a call goes to, and with which headers |
//! | `provider` | whom calls are sent to, and what is known of how it bears with us |
//! | `common` | what clients of one name share in a process |
//! | `shared/` | limits that several processes keep together, through Redis |
//! | `tenants` | calls at once of each tenant |
//! | `targets` | a model of a provider, or several in the order in which they are tried |
//! | `keys` | the keys of a provider, used in turn |
//! | `key` | one of them, given or asked for |
//! | `witness` | what a call's owner is told while it runs, and asked before an attempt |
//! | `record` | what is known of a call: attempts, times, connection |
//! | `money/` | what calls cost, and what they may |
//! | `notes` | what is noted of calls as they go: counters, logs, events |
//! | `figures` | all that was counted and spent |
//! | `exposition` | all figures, for whoever scrapes them |
//! | `pools` | one pool for equal settings in a process |

mod admission;
mod body;
mod call;
mod cassette;
mod common;
mod embed;
mod endpoint;
mod errand;
mod events;
mod exchange;
mod exposition;
mod fetch;
mod figures;
mod gate;
mod journey;
mod key;
mod keys;
mod memory;
mod money;
mod notes;
mod outlet;
mod pass;
mod pools;
mod provider;
mod race;
mod reader;
mod record;
mod recovery;
mod shared;
mod stream;
mod targets;
mod tenants;
mod whole;
mod witness;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::time::Instant;

pub use self::call::{Answer, Call};
pub use self::cassette::Cassette;
pub use self::endpoint::Endpoint;
pub use self::errand::{BatchDesk, BatchHold, BatchTarget, Load, Reply as ErrandReply, Said as BatchRequest};
pub use self::fetch::{Drain, FetchBody, FetchRequest, Fetched, Head, Reading, Tell, Upload, Whole};
pub use self::money::{CostReport, SavingsReport};
pub use self::outlet::{Delivery, Form, Mode, Outlet, Taken};
pub use self::witness::{Arrival, Ask, Question, TellOf, Witness};

use self::common::Membership;
use self::memory::Memory;
use self::money::{Before, Money};
use self::notes::watch;
use self::pools::SharedPool;
use self::provider::Provider;
use self::shared::Shared;
pub(crate) use self::shared::{Script, Store, told};
use self::targets::Targets;
use self::tenants::Tenants;

use crate::config::{CallKind, CallOptions, ClientConfig, Environment, parse_keys};
use crate::error::Error;
use crate::policy::alerts::Alerts;
use crate::pool::{Listener, Pool, Tasks, Wake};
use crate::telemetry::{Counters, Events, next_client};

/// Asks the owner of a client for a key, by the number of the function that gives it; the answer comes by [`Client::set_key`].
pub type AskForKey = Box<dyn Fn(u32) + Send + Sync>;

/// A client: its settings, its share of a pool, its counters.
pub struct Client {
    /// By which records name it.
    number: u32,
    config: ClientConfig,
    targets: Targets,
    ask_for_key: Arc<AskForKey>,
    /// Of calls that have none of their own.
    options: Arc<CallOptions>,
    pool: SharedPool,
    /// What there was before the client was made.
    before: Before,
    tasks: Tasks,
    counters: Arc<Counters>,
    /// None where nothing is remembered.
    memory: Option<Arc<Memory>>,
    events: Arc<Events>,
    /// What others of its name have as well: what follows of it is for calls to have at hand.
    common: Membership,
    alerts: Option<Arc<Alerts>>,
    /// What answers in place of the network.
    cassette: Option<Arc<Cassette>>,
    money: Arc<Money>,
    /// Where their calls at once are limited.
    tenants: Option<Arc<Tenants>>,
    /// None where nothing is shared with other processes.
    shared: Option<Arc<Shared>>,
    closed: AtomicBool,
}

impl Client {
    /// A client of these options (as JSON). `ask_for_key` is called when they say that a key is a function.
    pub fn new(
        options: Value,
        environment: &Environment,
        tasks: &Tasks,
        ask_for_key: AskForKey,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, Error> {
        let mut config = ClientConfig::parse(options, environment)?;
        let cassette = config.cassette.map(Cassette::numbered).transpose()?;
        if let Some(cassette) = &cassette {
            cassette.settle_options(&mut config);
        }
        let (ask_for_key, counters) = (Arc::new(ask_for_key), Arc::<Counters>::default());
        let replays = cassette.as_ref().is_some_and(|cassette| cassette.is_replay());
        let events = Arc::new(Events::new(wake));
        let (common, bearings) = Membership::of(&config, replays, &events, tasks)?;
        let made = config.providers.iter().zip(bearings);
        let made = made
            .map(|(provider, bearing)| Provider::new(provider, &config, &ask_for_key, bearing).map(Arc::new));
        let providers = made.collect::<Result<Vec<_>, _>>()?;
        // Providers have them now, where they can be replaced.
        config.providers.iter_mut().for_each(|provider| provider.keys.clear());
        let number = next_client();
        let alerts = config.alerts.map(|policy| watch(number, policy, &events, tasks));
        let pool = SharedPool::of(&config.pool, tasks);
        if !replays {
            config.providers.iter().for_each(|provider| pool.prepare(&provider.base.origin));
        }
        let money = common.money.clone();
        Ok(Self {
            number,
            targets: Targets::new(&config, &providers),
            ask_for_key,
            options: Arc::new(CallOptions::of(&config)),
            before: money.by_now(&pool.snapshot(), providers.iter()),
            pool,
            tasks: tasks.clone(),
            counters,
            memory: common.memory.clone(),
            events,
            alerts,
            cassette,
            money,
            tenants: common.tenants.clone(),
            shared: common.shared.clone(),
            common,
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

    /// Whether calls for this model go where a route says.
    pub fn has_route(&self, model: &str) -> bool {
        self.targets.has_route(model)
    }

    /// # Errors
    /// Where no provider has this name.
    pub fn check_provider(&self, name: &str) -> Result<(), Error> {
        self.provider(name).map(drop)
    }

    /// How many calls its pool has connections for at one origin, where each takes one for itself.
    pub fn most_connections(&self) -> NonZeroUsize {
        self.config.pool.max_connections_per_origin
    }

    /// For what its jobs do beside their calls.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The Redis by which it shares its limits, where it does.
    pub(crate) fn shared_redis(&self) -> Option<&redis::ConnectionInfo> {
        self.config.shared.as_ref().map(|shared| &shared.redis.0)
    }

    /// Makes one call whose answer comes as one text. It is accepted or refused by whether the client is open now, and not
    /// when the future is first polled; it is as old as this call of the function.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call: its stream is reset or its socket closed, its place in the queue left.
    pub fn call(self: &Arc<Self>, call: Call) -> impl Future<Output = Result<Answer, Error>> + Send + use<> {
        self.clone().call_arrived(call, self.arrival(None))
    }

    /// The handing over of a call, which may begin later. It is before the witness, if there is one. None is taken any more once the client
    /// closes.
    pub fn arrival(&self, witness: Option<Arc<Witness>>) -> Result<Arrival, Error> {
        Ok(Arrival { at: self.check_open()?, witness })
    }

    /// As [`Client::call`], of a call that was handed over before.
    pub async fn call_arrived(
        self: Arc<Self>,
        call: Call,
        arrival: Result<Arrival, Error>,
    ) -> Result<Answer, Error> {
        whole::run(&self, call, arrival?).await
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
        self.clone().stream_arrived(call, outlet, self.arrival(None))
    }

    /// As [`Client::stream`], of a call that was handed over before.
    pub async fn stream_arrived(
        self: Arc<Self>,
        call: Call,
        outlet: Arc<Outlet>,
        arrival: Result<Arrival, Error>,
    ) -> Result<Answer, Error> {
        let arrived = arrival?;
        match call.endpoint {
            Endpoint::Chat => stream::run(&self, call, outlet, arrived).await,
            _ => events::run(&self, call, outlet, arrived).await,
        }
    }

    /// Makes one exchange of fetch's, whose body goes into `drain`.
    ///
    /// # Cancel safety
    /// As of [`Client::call`].
    pub fn fetch(
        self: &Arc<Self>,
        request: FetchRequest,
        drain: Arc<Drain>,
    ) -> impl Future<Output = Result<Fetched, Error>> + Send + use<> {
        self.clone().fetch_arrived(request, drain, self.arrival(None))
    }

    /// As [`Client::fetch`], of one that was handed over before. Its witness is asked nothing.
    pub async fn fetch_arrived(
        self: Arc<Self>,
        request: FetchRequest,
        drain: Arc<Drain>,
        arrival: Result<Arrival, Error>,
    ) -> Result<Fetched, Error> {
        fetch::run(&self, request, &drain, arrival?).await
    }

    /// Opens connections ahead of the first request: to the provider of this name, or to the default one.
    pub async fn warm(&self, connections: usize, provider: Option<&str>) -> Result<(), Error> {
        self.check_open()?;
        let provider = match provider {
            Some(name) => self.provider(name)?,
            None => self.targets.providers().next().ok_or_else(Error::closed)?,
        };
        if self.is_replay() {
            return Ok(());
        }
        let how = provider.checkout(&self.options, &provider.timeouts(&self.options));
        let warmed = self.pool.warm(provider.origin(), connections, how).await;
        warmed.map_err(|error| exchange::error_of(&error, None).of_provider(provider.name()))
    }

    /// The answer to `ask_for_key` of this function.
    pub fn set_key(&self, function: u32, key: Result<&str, &str>) {
        self.targets.providers().find(|provider| provider.answer_key(function, key));
    }

    /// Other keys for a provider, as its `apiKey` has them: for the calls that begin from now on.
    pub fn rotate_key(&self, provider: &str, keys: Value) -> Result<(), Error> {
        let provider = self.provider(provider)?;
        let mut keys = parse_keys(keys, provider.protocol())?;
        if self.is_replay() {
            cassette::unasked(&mut keys);
        }
        provider.rotate(&keys, &self.ask_for_key);
        Ok(())
    }

    fn provider(&self, name: &str) -> Result<&Arc<Provider>, Error> {
        self.targets.provider(name)
    }

    /// Which pool of the process it has a share of.
    pub fn pool_number(&self) -> u32 {
        self.pool.number()
    }

    /// What is wrong that calls go on in spite of.
    pub fn problem(&self) -> Option<String> {
        self.money.problem()
    }

    /// Why what is shared with other processes cannot be asked for now.
    pub fn shared_problem(&self) -> Option<String> {
        self.shared.as_ref()?.problem()
    }

    /// What the client tells of its calls.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
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

    /// Lets go of the pool, of what clients of its name share, and of the file of its budget. Resolves, where no other client shares them, when the last socket is closed and the file
    /// is free for another process.
    pub async fn finish_close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(pool) = self.pool.release() {
            pool.close();
            pool.closed().await;
        }
        if self.common.release() {
            self.money.close().await;
        }
    }

    /// Waits until what is recorded is in its file, where there is a cassette.
    pub async fn settle_cassette(&self) -> Result<(), Error> {
        match &self.cassette {
            Some(cassette) => cassette.settle().await,
            None => Ok(()),
        }
    }

    /// Whether the network is never asked.
    fn is_replay(&self) -> bool {
        self.cassette.as_ref().is_some_and(|cassette| cassette.is_replay())
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// By which records name it.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The time at which a call was handed over. Asked before its task is made: tasks are not begun in the order in which they were.
    fn check_open(&self) -> Result<Instant, Error> {
        if self.closed.load(Ordering::Relaxed) { Err(Error::closed()) } else { Ok(Instant::now()) }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("targets", &self.targets).finish_non_exhaustive()
    }
}
