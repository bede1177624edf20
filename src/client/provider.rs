//! A provider: where it is, what it speaks, its keys, and what is known of how it bears with us.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::Instant;

use super::AskForKey;
use super::admission::Admission;
use super::endpoint::Endpoints;
use super::journey::Accepted;
use super::keys::Keys;
use super::money::Ledger;
use super::shared::Shared;
use super::tenants::Tenants;
use crate::config::{self, CallOptions, ClientConfig, DEFAULT_PROVIDER, ProviderConfig};
use crate::error::{Error, Kind};
use crate::policy::cache::{Digest, Key};
use crate::policy::circuits::Circuits;
use crate::policy::hedge::Hedger;
use crate::policy::learn::estimate_tokens;
use crate::policy::rate::Cost;
use crate::policy::retry_budget::RetryBudget;
use crate::policy::timeouts::Timeouts;
use crate::pool::{Checkout, Lane, Origin, Tasks};
use crate::protocol::dialect::Protocol;
use crate::telemetry::{CircuitFigures, Clocks, LimitFigures, NONE as NO_MODEL};

#[derive(Debug)]
pub(super) struct Provider {
    config: ProviderConfig,
    pub(super) endpoints: Endpoints,
    keys: RwLock<Held>,
    pub(super) admission: Arc<Admission>,
    pub(super) circuits: Option<Arc<Circuits>>,
    pub(super) retries: Arc<RetryBudget>,
    pub(super) hedger: Option<Hedger>,
    identity: Key,
    /// What its calls cost.
    pub(super) ledger: Arc<Ledger>,
}

/// What is known of how a provider bears with those who call it, and what that cost: clients of one name have it together.
#[derive(Debug, Clone)]
pub(super) struct Bearing {
    admission: Arc<Admission>,
    pub(super) circuits: Option<Arc<Circuits>>,
    retries: Arc<RetryBudget>,
    ledger: Arc<Ledger>,
}

/// The keys that a provider has.
#[derive(Debug)]
struct Held {
    now: Arc<Keys>,
    /// Those before them that calls still use: their functions may still be asked.
    before: Vec<Weak<Keys>>,
}

impl Bearing {
    pub(super) fn new(
        config: &ProviderConfig,
        client: &ClientConfig,
        tenants: Option<&Arc<Tenants>>,
        shared: Option<&Arc<Shared>>,
        tasks: &Tasks,
    ) -> Self {
        let now = Instant::now();
        Self {
            admission: Arc::new(Admission::new(config, tenants, shared, tasks)),
            circuits: client.breaker.map(|policy| Circuits::new(policy, now)),
            retries: Arc::new(RetryBudget::new(client.retry.budget, now)),
            ledger: Arc::new(Ledger::new(config, &client.pricing)),
        }
    }
}

impl Provider {
    pub(super) fn new(
        config: &ProviderConfig,
        client: &ClientConfig,
        ask: &Arc<AskForKey>,
        bearing: Bearing,
    ) -> Result<Self, Error> {
        let Bearing { admission, circuits, retries, ledger } = bearing;
        let mixed = client.providers.iter().any(|other| other.protocol != config.protocol);
        Ok(Self {
            endpoints: Endpoints::of(config, mixed)?,
            keys: RwLock::new(Held {
                now: Arc::new(Keys::new(&config.keys, config.protocol, 0, ask)),
                before: Vec::new(),
            }),
            admission,
            circuits,
            retries,
            hedger: client.hedge.map(Hedger::new),
            identity: identity_of(config),
            ledger,
            // Keys are where they can be replaced, and nowhere else.
            config: ProviderConfig { keys: Vec::new(), ..config.clone() },
        })
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// What it is called in the message of an error. Its name, if it was given one; if not, an answer is its host's.
    pub(super) fn named_in(&self, error: &Error) -> String {
        match error.kind {
            Kind::Api(_) if *self.config.name == *DEFAULT_PROVIDER => self.origin().authority(),
            _ => self.name().to_string(),
        }
    }

    /// What answers that are kept are its own by: an answer of one serves no other.
    pub(super) fn identity(&self) -> &Key {
        &self.identity
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.config.protocol
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.config.base.origin
    }

    /// The keys as they are now; whoever has begun with them goes on with them.
    pub(super) fn keys(&self) -> Arc<Keys> {
        self.keys.read().now.clone()
    }

    /// Other keys, for the calls that begin from now on.
    pub(super) fn rotate(&self, keys: &[config::Key], ask: &Arc<AskForKey>) {
        let mut held = self.keys.write();
        let keys = Arc::new(Keys::new(keys, self.protocol(), held.now.count(), ask));
        let old = std::mem::replace(&mut held.now, keys);
        held.before.retain(|keys| keys.strong_count() > 0);
        held.before.push(Arc::downgrade(&old));
    }

    /// The answer to a question for the key that this function gives; false where none is of it.
    pub(super) fn answer_key(&self, function: u32, key: Result<&str, &str>) -> bool {
        let held = self.keys.read();
        let mut before = held.before.iter().filter_map(Weak::upgrade);
        held.now.answer(function, key) || before.any(|keys| keys.answer(function, key))
    }

    /// The limits of time of a call to it.
    pub(super) fn timeouts(&self, options: &CallOptions) -> Timeouts {
        options.timeouts_at(&self.config)
    }

    /// How an attempt of these options takes a connection.
    pub(super) fn checkout(&self, options: &CallOptions, timeouts: &Timeouts) -> Checkout {
        Checkout {
            priority: options.priority,
            aging: self.config.queue.aging,
            lane: Lane::Unary,
            tenant: options.tenant.clone(),
            max_waiting: self.config.queue.max,
            queue_timeout: timeouts.queue,
            connect_timeout: timeouts.connect,
            since: None,
            fresh: false,
            fail_fast: false,
        }
    }

    /// A call begins here.
    pub(super) fn begin(&self, now: Instant) {
        self.retries.request(now);
        if let Some(hedger) = &self.hedger {
            hedger.call();
        }
    }

    /// What an attempt counts against limits of rate.
    pub(super) fn cost(&self, accepted: &Accepted, model: &str, body: usize) -> Cost {
        let asked = accepted.asked.as_ref();
        let max_tokens = asked.and_then(|asked| asked.max_tokens);
        let choices = asked.map_or(1, |asked| asked.choices);
        self.config.rate.cost(model, estimate_tokens(body, max_tokens, choices as u64))
    }

    /// Whether the circuit of a model is open, and will still be after so long.
    pub(super) fn is_open_for(&self, model: &Arc<str>, time: Duration) -> bool {
        let now = Instant::now();
        let until = self.circuits.as_ref().and_then(|circuits| circuits.denied(model, now));
        until.is_some_and(|until| until > now + time)
    }

    /// Whether it is not likely to answer for this model now: its circuit is open, or its keys all rest.
    pub(super) fn is_unlikely(&self, model: &Arc<str>, now: Instant) -> bool {
        let is_open = |circuits: &Arc<Circuits>| circuits.denied(model, now).is_some();
        self.circuits.as_ref().is_some_and(is_open) || self.keys.read().now.all_rest(now)
    }

    /// By provider, and by provider and model.
    pub(super) fn circuit_figures(&self, clocks: &Clocks, rows: &mut BTreeMap<String, CircuitFigures>) {
        let Some(circuits) = &self.circuits else { return };
        rows.extend(circuits.states(clocks.now).into_iter().map(|circuit| {
            let figures = CircuitFigures {
                state: circuit.state.as_str(),
                failures: circuit.failures,
                opened_at: circuit.opened_at.map(|at| clocks.unix_ms(at)),
                transitions: circuit.transitions,
            };
            (self.row_of(circuit.model.as_deref()), figures)
        }));
    }

    /// The same of limits.
    pub(super) fn limit_figures(&self, clocks: &Clocks, rows: &mut BTreeMap<String, LimitFigures>) {
        rows.extend(self.admission.limits(clocks.now).into_iter().map(|limits| {
            let figures = LimitFigures {
                requests_remaining: limits.left.requests,
                tokens_remaining: limits.left.tokens,
                reset_at: limits.left.full_at.map(|at| clocks.unix_ms(at)),
                throttled: limits.throttled,
            };
            (self.row_of(limits.model.as_deref()), figures)
        }));
    }

    /// Under which name the figures of a model are, or those of the provider.
    fn row_of(&self, model: Option<&str>) -> String {
        let name = self.name();
        match model {
            None => name.to_string(),
            Some("") => format!("{name}/{NO_MODEL}"),
            Some(model) => format!("{name}/{model}"),
        }
    }
}

/// Where it is, and what it is told with every request; not its keys, which come and go.
fn identity_of(config: &ProviderConfig) -> Key {
    let mut digest = Digest::new("provider");
    digest.part(config.name.as_bytes());
    digest.part(&[config.protocol as u8]);
    digest.part(config.base.origin.to_string().as_bytes());
    digest.part(config.base.path.as_bytes());
    digest.part(config.query.as_bytes());
    let headers = config.headers.iter();
    digest.list(headers.flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]));
    digest.finish()
}
