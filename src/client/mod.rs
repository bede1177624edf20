//! One call, from its acceptance to its end.
//!
//! | file | idea |
//! |---|---|
//! | `call` | the life of a call, read from top to bottom |
//! | `pass` | what lets an attempt go: its turn, and the circuit of its target |
//! | `admission` | turns: of the provider, and of each model |
//! | `gate` | who has a turn, and who waits for one |
//! | `race` | attempts that race each other |
//! | `exchange` | one attempt: a lease, a request, the head of the answer |
//! | `whole` | an answer that comes as one text |
//! | `stream` | a chat that comes as chunks |
//! | `events` | any other answer that comes as server-sent events |
//! | `reader` | the body of such an answer, under its time limits |
//! | `recovery` | a stream that breaks after its reader has seen a part of it |
//! | `outlet` | the bounded buffer between a stream and its reader |
//! | `embed` | long inputs, split and joined |
//! | `endpoint` | where a call goes to, and with which headers |
//! | `key` | the key of a provider, given or asked for |
//! | `record` | what is known of a call: attempts, times, connection |
//! | `pools` | one pool for equal settings in a process |

mod admission;
mod call;
mod embed;
mod endpoint;
mod events;
mod exchange;
mod gate;
mod key;
mod outlet;
mod pass;
mod pools;
mod race;
mod reader;
mod record;
mod recovery;
mod stream;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

pub use self::call::{Answer, Call};
pub use self::endpoint::Endpoint;
pub use self::outlet::{Delivery, Mode, Outlet};

use self::admission::Admission;
use self::call::Accepted;
use self::endpoint::Endpoints;
use self::key::KeyStore;
use self::pools::SharedPool;
use self::record::Record;
use crate::config::{CallKind, CallOptions, ClientConfig, Environment, Key};
use crate::error::Error;
use crate::policy::alerts::{AlertPolicy, Alerts, SPANS};
use crate::policy::circuits::{Changes, Circuits};
use crate::policy::hedge::Hedger;
use crate::policy::learn::estimate_tokens;
use crate::policy::rate::Cost;
use crate::policy::retry_budget::RetryBudget;
use crate::pool::{Checkout, Lane, Listener, Pool, Tasks, Wake};
use crate::telemetry::{
    CallGuard, CircuitFigures, Clocks, Counters, Event, Events, LimitFigures, Metrics, TurnFigures,
};

/// The name of the one provider that there is without `providers`.
pub(crate) const PROVIDER: &str = "default";

/// Stands in figures and events for the model of calls that name none: they share what belongs to a model.
const NO_MODEL: &str = "(none)";

/// Asks the owner of a client for a key, by the number of the function that gives it; the answer comes by [`Client::set_key`].
pub type AskForKey = Box<dyn Fn(u32) + Send + Sync>;

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
    admission: Admission,
    circuits: Option<Arc<Circuits>>,
    retries: RetryBudget,
    hedger: Option<Hedger>,
    events: Arc<Events>,
    alerts: Option<Arc<Alerts>>,
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
        let config = ClientConfig::parse(options, environment)?;
        let keys = match config.default_provider().keys.first() {
            Some(Key::Fixed(key)) => KeyStore::fixed(Some(key.clone())),
            Some(Key::Asked(function)) => {
                let function = *function;
                KeyStore::asked(Box::new(move || ask_for_key(function)))
            }
            Some(Key::None) | None => KeyStore::fixed(None),
        };
        let events = Arc::new(Events::new(wake));
        let alerts = config.alerts.map(|policy| watch(policy, &events, tasks));
        let pool = SharedPool::of(&config.pool, tasks);
        pool.prepare(&config.default_provider().base.origin);
        Ok(Self {
            options: Arc::new(CallOptions::of(&config)),
            endpoints: Endpoints::of(&config)?,
            keys,
            pool,
            tasks: tasks.clone(),
            counters: Arc::default(),
            admission: Admission::new(&config, tasks),
            circuits: config.breaker.map(|policy| Circuits::new(policy, Instant::now())),
            retries: RetryBudget::new(config.retry.budget, Instant::now()),
            hedger: config.hedge.map(Hedger::new),
            events,
            alerts,
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
    /// when the future is first polled; it is as old as this call of the function.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call: its stream is reset or its socket closed, its place in the queue left.
    pub fn call(self: &Arc<Self>, call: Call) -> impl Future<Output = Result<Answer, Error>> + Send + use<> {
        let (client, open) = (self.clone(), self.check_open());
        async move {
            let arrived = open?;
            match call.endpoint {
                // Boxed where it is rare: a call's future is moved as a whole when its task is made.
                Endpoint::Embeddings => Box::pin(embed::run(&client, call, arrived)).await,
                _ => whole::run(&client, call, arrived).await,
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
            let arrived = open?;
            match call.endpoint {
                Endpoint::Chat => stream::run(&client, call, outlet, arrived).await,
                _ => events::run(&client, call, outlet, arrived).await,
            }
        }
    }

    /// Opens connections ahead of the first request.
    pub async fn warm(&self, connections: usize) -> Result<(), Error> {
        self.check_open()?;
        let origin = &self.config.default_provider().base.origin;
        self.pool
            .warm(origin, connections, self.checkout(&self.options, false))
            .await
            .map_err(|error| exchange::error_of(&error, None))
    }

    /// The answer to `ask_for_key` of this function.
    pub fn set_key(&self, function: u32, key: Result<&str, &str>) {
        let keys = &self.config.default_provider().keys;
        if keys.iter().any(|key| matches!(key, Key::Asked(own) if *own == function)) {
            self.keys.answer(key);
        }
    }

    pub fn metrics(&self) -> Metrics {
        let mut pool = self.pool.snapshot();
        let ours = self.config.default_provider().base.origin.to_string();
        for origin in pool.origins.iter_mut().filter(|origin| *origin.origin == *ours) {
            origin.provider = Some(PROVIDER);
        }
        let turns = TurnFigures {
            depth: self.admission.depth(),
            wait: self.admission.wait(),
            refused: self.admission.refused(),
        };
        self.counters.metrics(pool, turns, self.circuit_figures(), self.limit_figures())
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
            aging: self.config.default_provider().queue.aging,
            since: None,
            lane: Lane::Unary,
            tenant: options.tenant.clone(),
            max_waiting: self.config.default_provider().queue.max,
            queue_timeout: options.timeouts.queue,
            connect_timeout: options.timeouts.connect,
            fresh,
        }
    }

    /// A call begins.
    fn begin(&self, arrived: Instant) -> CallGuard {
        let guard = self.counters.begin(arrived);
        self.retries.request(guard.started());
        if let Some(hedger) = &self.hedger {
            hedger.call();
        }
        guard
    }

    /// What a call counts against limits of rate.
    fn cost(&self, accepted: &Accepted, body: usize) -> Cost {
        let asked = accepted.asked.as_ref();
        let max_tokens = asked.and_then(|asked| asked.max_tokens);
        let choices = asked.map_or(1, |asked| asked.choices);
        self.config
            .default_provider()
            .rate
            .cost(accepted.model(), estimate_tokens(body, max_tokens, choices as u64))
    }

    /// A call has ended, other than by its caller's leaving.
    fn note_end(&self, record: &Record, is_good: bool) {
        if let Some(alerts) = &self.alerts {
            alerts.record(is_good, record.retries, record.total(), Instant::now());
        }
    }

    fn tell_of_retry(&self, record: &Record, delay: Duration) {
        if let Some(attempt) = record.attempts.last() {
            let delay = delay.as_secs_f64() * 1000.0;
            self.events.tell(|| Event::Retry { attempt: attempt.clone(), delay });
        }
    }

    fn tell_of_circuits(&self, model: &Arc<str>, changes: Changes) {
        let changed = [(changes.model, Some(model)), (changes.provider, None)];
        for (state, model) in changed.into_iter().filter_map(|(state, model)| Some((state?, model))) {
            tracing::debug!(target: "trunkline::circuit", ?model, state = state.as_str());
            self.events.tell(|| Event::Circuit {
                provider: PROVIDER,
                model: model.map(|model| if model.is_empty() { NO_MODEL.into() } else { model.clone() }),
                state: state.as_str(),
            });
        }
    }

    /// By provider, and by provider and model.
    fn circuit_figures(&self) -> BTreeMap<String, CircuitFigures> {
        let Some(circuits) = &self.circuits else { return BTreeMap::new() };
        let clocks = Clocks::read();
        let rows = circuits.states(clocks.now).into_iter().map(|circuit| {
            let figures = CircuitFigures {
                state: circuit.state.as_str(),
                failures: circuit.failures,
                opened_at: circuit.opened_at.map(|at| clocks.unix_ms(at)),
                transitions: circuit.transitions,
            };
            (row_of(circuit.model.as_deref()), figures)
        });
        rows.collect()
    }

    /// By provider, and by provider and model.
    fn limit_figures(&self) -> BTreeMap<String, LimitFigures> {
        let clocks = Clocks::read();
        let rows = self.admission.limits(clocks.now).into_iter().map(|limits| {
            let figures = LimitFigures {
                requests_remaining: limits.left.requests,
                tokens_remaining: limits.left.tokens,
                reset_at: limits.left.full_at.map(|at| clocks.unix_ms(at)),
                throttled: limits.throttled,
            };
            (row_of(limits.model.as_deref()), figures)
        });
        rows.collect()
    }

    /// The time at which a call was handed over. Asked before its task is made: tasks are not begun in the order in which they were.
    fn check_open(&self) -> Result<Instant, Error> {
        if self.closed.load(Ordering::Relaxed) { Err(Error::closed()) } else { Ok(Instant::now()) }
    }
}

/// Under which name the figures of a model are, or those of its provider.
fn row_of(model: Option<&str>) -> String {
    match model {
        None => PROVIDER.to_owned(),
        Some("") => format!("{PROVIDER}/{NO_MODEL}"),
        Some(model) => format!("{PROVIDER}/{model}"),
    }
}

/// Alerts, and what tells of them for as long as there is a client.
fn watch(policy: AlertPolicy, events: &Arc<Events>, tasks: &Tasks) -> Arc<Alerts> {
    let alerts = Arc::new(Alerts::new(policy));
    let (watched, events) = (Arc::downgrade(&alerts), Arc::downgrade(events));
    let pause = policy.window / SPANS as u32;
    tasks.spawn("alerts", async move {
        loop {
            tokio::time::sleep(pause).await;
            let (Some(alerts), Some(events)) = (watched.upgrade(), events.upgrade()) else { return };
            for alert in alerts.check(Instant::now()) {
                tracing::warn!(target: "trunkline::alert", ?alert);
                events.tell(|| Event::Alert(alert));
            }
        }
    });
    alerts
}
