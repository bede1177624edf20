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
//! | `shared/` | limits that several processes keep together, through Redis |
//! | `tenants` | calls at once of each tenant |
//! | `targets` | a model of a provider, or several in the order in which they are tried |
//! | `keys` | the keys of a provider, used in turn |
//! | `key` | one of them, given or asked for |
//! | `witness` | what a call's owner is told while it runs, and asked before an attempt |
//! | `record` | what is known of a call: attempts, times, connection |
//! | `money/` | what calls cost, and what they may |
//! | `exposition` | all figures, for whoever scrapes them |
//! | `pools` | one pool for equal settings in a process |

mod admission;
mod body;
mod call;
mod cassette;
mod embed;
mod endpoint;
mod errand;
mod events;
mod exchange;
mod exposition;
mod fetch;
mod gate;
mod journey;
mod key;
mod keys;
mod memory;
mod money;
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

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

use self::memory::Memory;
use self::money::{Money, Pooled};
use self::pools::SharedPool;
use self::provider::Provider;
use self::record::Record;
pub(crate) use self::shared::{Script, Store, told};
use self::shared::{Shared, TellOfCircuit};
use self::targets::{Target, Targets};
use self::tenants::Tenants;

use crate::config::{CallKind, CallOptions, ClientConfig, Environment, ExportOptions, parse_keys};
use crate::error::{Attempt, Error};
use crate::policy::alerts::{Alert, AlertPolicy, Alerts, SPANS};
use crate::policy::breaker::Outcome;
use crate::policy::circuits::Changes;
use crate::policy::money::Period;
use crate::pool::{Listener, Pool, Tasks, Wake};
use crate::telemetry::{
    Clocks, Counters, Event, Events, Format, Metrics, NONE as NO_MODEL, TurnFigures, next_client,
};

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
    /// What that had saved before the client was made.
    saved_before: Pooled,
    tasks: Tasks,
    counters: Arc<Counters>,
    /// None where nothing is remembered.
    memory: Option<Arc<Memory>>,
    events: Arc<Events>,
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
        let tenants = config.tenant_calls.map(|at_once| Arc::new(Tenants::new(at_once, tasks)));
        let replays = cassette.as_ref().is_some_and(|cassette| cassette.is_replay());
        let shared = config.shared.as_ref().filter(|_| !replays).map(|shared| Shared::open(shared, tasks));
        let made = config.providers.iter();
        let made = made.map(|provider| {
            Provider::new(
                provider,
                &config,
                &ask_for_key,
                &counters.turns,
                tenants.as_ref(),
                shared.as_ref(),
                tasks,
            )
            .map(Arc::new)
        });
        let providers = made.collect::<Result<Vec<_>, _>>()?;
        // Providers have them now, where they can be replaced.
        config.providers.iter_mut().for_each(|provider| provider.keys.clear());
        let events = Arc::new(Events::new(wake));
        let number = next_client();
        if let Some((shared, policy)) = shared.as_ref().zip(config.breaker) {
            let of = |provider: &Arc<Provider>| Some((provider.name().clone(), provider.circuits.clone()?));
            let all = providers.iter().filter_map(of).collect();
            shared.post_circuits(all, policy.recovery, tell_of_others(&events), tasks);
        }
        let money = Arc::new(Money::new(config.budget.as_ref(), shared.as_deref(), &events)?);
        let alerts = config.alerts.map(|policy| watch(number, policy, &events, tasks));
        let pool = SharedPool::of(&config.pool, tasks);
        if !replays {
            config.providers.iter().for_each(|provider| pool.prepare(&provider.base.origin));
        }
        Ok(Self {
            number,
            targets: Targets::new(&config, &providers),
            ask_for_key,
            options: Arc::new(CallOptions::of(&config)),
            saved_before: Pooled::by(&pool.snapshot()),
            pool,
            tasks: tasks.clone(),
            counters,
            memory: config.cache.as_ref().map(|policy| Arc::new(Memory::new(policy))),
            events,
            alerts,
            cassette,
            money,
            tenants,
            shared,
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

    pub fn metrics(&self) -> Metrics {
        let mut pool = self.pool.snapshot();
        for origin in &mut pool.origins {
            origin.provider = self.provider_at(&origin.origin).map(|provider| provider.name().clone());
        }
        let mut turns = self.tenant_turns();
        let (mut circuits, mut limits) = (BTreeMap::new(), BTreeMap::new());
        let clocks = Clocks::read();
        for provider in self.targets.providers() {
            provider.admission.add_to(&mut turns);
            provider.circuit_figures(&clocks, &mut circuits);
            provider.limit_figures(&clocks, &mut limits);
        }
        let cache = self.memory.as_ref().map(|memory| memory.figures());
        let cost = self.money.total(self.targets.providers()).dollars();
        self.counters.metrics(pool, turns, circuits, limits, cache, cost)
    }

    /// Its figures as a text, for whoever scrapes them; `as_json`: for a library that does.
    ///
    /// # Errors
    /// Where the options are none.
    pub fn export(&self, options: Value, as_json: bool) -> Result<String, Error> {
        let ExportOptions { format, labels } = ExportOptions::parse(options)?;
        Ok(self.figures(labels).encode(if as_json { Format::Json } else { format }))
    }

    /// Whose origin this is.
    fn provider_at(&self, origin: &str) -> Option<&Arc<Provider>> {
        self.targets.providers().find(|provider| *provider.origin().to_string() == *origin)
    }

    /// Of the calls that wait for others of their tenant, before those that wait for their provider.
    fn tenant_turns(&self) -> TurnFigures {
        let mut turns = TurnFigures::default();
        if let Some(tenants) = &self.tenants {
            turns.depth = tenants.depth();
        }
        turns
    }

    /// Which pool of the process it has a share of.
    pub fn pool_number(&self) -> u32 {
        self.pool.number()
    }

    /// What was spent, by model, provider and tenant.
    pub fn costs(&self, period: Period) -> CostReport {
        self.money.report(self.targets.providers(), period)
    }

    /// What pooling, cache and single flight have saved.
    pub fn savings(&self) -> SavingsReport {
        let cost = self.money.total(self.targets.providers());
        self.money.savings(&self.pool.snapshot(), self.saved_before, cost, self.counters.uptime())
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

    /// Lets go of the pool, and of the file of its budget. Resolves, where no other client shares them, when the last socket is closed and the file
    /// is free for another process.
    pub async fn finish_close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(pool) = self.pool.release() {
            pool.close();
            pool.closed().await;
        }
        self.money.close().await;
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

    /// A call has ended, other than by its caller's leaving.
    fn note_end(&self, record: &Record, is_good: bool) {
        if is_good {
            self.log_answer(record);
        }
        if let Some(alerts) = &self.alerts {
            alerts.record(is_good, record.retries, record.total(), Instant::now());
        }
    }

    fn log_answer(&self, record: &Record) {
        if !tracing::enabled!(target: "trunkline::call", tracing::Level::DEBUG) {
            return;
        }
        let (client, provider, model) = (self.number, &**record.provider(), &*record.model);
        let (status, attempts) = (record.status(), record.attempts.len());
        let total = record.total().as_secs_f64() * 1000.0;
        tracing::debug!(target: "trunkline::call", client, provider, model, status, attempts, total, "answered");
    }

    /// Its message, and not its cause, which may be the caller's own words.
    fn log_failure(&self, error: &Error) {
        let (client, code) = (self.number, error.name_and_code().1);
        let (provider, model) = (error.provider.as_deref(), error.model.as_deref());
        let (attempts, retryable) = (error.attempts.len(), error.retryable);
        tracing::warn!(target: "trunkline::call", client, provider, model, code, attempts, retryable, error = error.message, "failed");
    }

    /// An attempt has failed, and another follows.
    fn note_retry(&self, record: &mut Record, delay: Duration) {
        self.counters.retried();
        if let Some(row) = record.row() {
            row.retried.fetch_add(1, Ordering::Relaxed);
        }
        record.retries += 1;
        if let Some(attempt) = record.attempts.last() {
            let delay = delay.as_secs_f64() * 1000.0;
            let Attempt { provider, model, status, error, .. } = attempt;
            tracing::debug!(target: "trunkline::call", client = self.number, provider = &**provider, model = &**model, status, error, delay, "again");
            self.events.tell(|| Event::Retry { attempt: attempt.clone(), delay });
        }
    }

    /// The deadline has ended an attempt. A whole answer may think for as long as that; but where nothing at all came for as long as a stream
    /// would be given, it is the target that was silent.
    fn note_silence(&self, record: &Record, options: &CallOptions) {
        let Ok(provider) = self.provider(record.provider()) else { return };
        let limit = provider.timeouts(options).first_byte;
        if record.silence().is_none_or(|silence| silence < limit) {
            return;
        }
        let (model, now) = (record.model_asked(), Instant::now());
        if let Some(guard) = provider.circuits.as_ref().and_then(|circuits| circuits.admit(model, now).ok()) {
            self.tell_of_circuits(provider, model, guard.changes());
            let changes = guard.settle(Outcome::Failure, now);
            self.tell_of_circuits(provider, model, changes);
        }
    }

    /// A target is given up for another.
    fn note_failover(&self, from: &Target, to: &Target, record: &Record, error: &Error) {
        self.counters.failed_over();
        if let Some(row) = record.row() {
            row.failed_over.fetch_add(1, Ordering::Relaxed);
        }
        let wanted = record.wanted();
        let (_, reason) = error.name_and_code();
        let (from, to) = (from.label(wanted), to.label(wanted));
        tracing::info!(target: "trunkline::call", client = self.number, from, to, reason, "failed over");
        self.events.tell(|| Event::Failover { from, to, reason });
    }

    fn tell_of_circuits(&self, provider: &Provider, model: &Arc<str>, changes: Changes) {
        if let Some(shared) = &self.shared
            && changes != Changes::default()
        {
            shared.post(provider.name(), model, changes);
        }
        let changed = [(changes.model, Some(model)), (changes.provider, None)];
        for (state, model) in changed.into_iter().filter_map(|(state, model)| Some((state?, model))) {
            self.log_circuit(provider.name(), model.map(|model| &**model), state.as_str());
            self.events.tell(|| Event::Circuit {
                provider: provider.name().clone(),
                model: model.map(|model| if model.is_empty() { NO_MODEL.into() } else { model.clone() }),
                state: state.as_str(),
            });
        }
    }

    fn log_circuit(&self, provider: &str, model: Option<&str>, state: &'static str) {
        let client = self.number;
        match state {
            "open" => tracing::warn!(target: "trunkline::circuit", client, provider, model, "opened"),
            _ => tracing::info!(target: "trunkline::circuit", client, provider, model, state, "changed"),
        }
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

/// Tells of circuits that other processes found open, or closed.
fn tell_of_others(events: &Arc<Events>) -> TellOfCircuit {
    let events = events.clone();
    Box::new(move |provider, model, state| {
        events.tell(|| Event::Circuit {
            provider: provider.clone(),
            model: model.map(|model| if model.is_empty() { NO_MODEL.into() } else { model }),
            state: state.as_str(),
        });
    })
}

/// Alerts, and what tells of them for as long as there is a client.
fn watch(client: u32, policy: AlertPolicy, events: &Arc<Events>, tasks: &Tasks) -> Arc<Alerts> {
    let alerts = Arc::new(Alerts::new(policy));
    let (watched, events) = (Arc::downgrade(&alerts), Arc::downgrade(events));
    let pause = policy.window / SPANS as u32;
    tasks.spawn("alerts", async move {
        loop {
            tokio::time::sleep(pause).await;
            let (Some(alerts), Some(events)) = (watched.upgrade(), events.upgrade()) else { return };
            for alert in alerts.check(Instant::now()) {
                let Alert { name, state, value, threshold } = alert;
                tracing::warn!(target: "trunkline::alert", client, ?name, ?state, value, threshold, "changed");
                events.tell(|| Event::Alert(alert));
            }
        }
    });
    alerts
}
