//! A turn for each attempt: waited for in the order of priority and age, held while the attempt is under way, and given back by its drop.
//!
//! ```text
//! an attempt ──> the model's turn ──> the provider's turn ──> circuit ──> the pool
//!                what its answers       concurrency, and the
//!                said of its limits     limits of the options
//! ```
//! Providers limit each model by itself, and say so in the headers of its answers. So what is learned of one model holds nobody else
//! up; until something is, a model has no turns, and they cost nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::gate::{Ask, Gate, GateTurn, Refused};
use crate::config::{ClientConfig, ProviderConfig};
use crate::policy::adaptive::{Adaptive, AdaptivePolicy, MaxConcurrency};
use crate::policy::learn::Learned;
use crate::policy::rate::{RateLimiter, RateLimits};
use crate::policy::schedule::CLASSES;
use crate::policy::turns::{AtOnce, Turns};
use crate::pool::{Histogram, Spread, Tasks};

/// Models whose limits are remembered. Names come from requests: of more, those that nobody uses now are forgotten.
const MODELS: usize = 1000;

/// Who may go, for one provider and each of its models.
pub(crate) struct Admission {
    provider: Arc<Gate>,
    models: Mutex<HashMap<Arc<str>, Arc<Gate>>>,
    /// Whether any model has a gate.
    has_models: AtomicBool,
    max_waiting: usize,
    aging: Duration,
    learn: bool,
    tasks: Tasks,
    refused: AtomicU64,
    wait: Histogram,
}

/// What an attempt holds while it is under way.
#[must_use]
#[derive(Debug)]
pub(super) struct Turn {
    // Given back in this order.
    provider: GateTurn,
    model: Option<GateTurn>,
    /// How long it was waited for.
    pub(super) waited: Duration,
}

impl Admission {
    pub(super) fn new(config: &ClientConfig, tasks: &Tasks) -> Self {
        let ProviderConfig { rate, queue, .. } = config.default_provider();
        let learn = rate.learn;
        // What is learned is of one model.
        let rate = RateLimits { learn: false, ..rate.clone() };
        let rate = RateLimiter::new(&rate, Instant::now());
        let at_once = match queue.at_once {
            None => AtOnce::Unlimited,
            Some(MaxConcurrency::Fixed(limit)) => AtOnce::Fixed(limit.get()),
            Some(MaxConcurrency::Adaptive) => AtOnce::Adaptive(Adaptive::new(AdaptivePolicy::default())),
        };
        Self {
            provider: Arc::new(Gate::new(Turns::new(at_once, rate), tasks)),
            models: Mutex::default(),
            has_models: AtomicBool::new(false),
            max_waiting: queue.max,
            aging: queue.aging,
            learn,
            tasks: tasks.clone(),
            refused: AtomicU64::new(0),
            wait: Histogram::default(),
        }
    }

    /// Waits for a turn.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; a turn that came in the same moment goes to the next in line.
    pub(super) async fn enter(&self, ask: Ask<'_>) -> Result<Turn, Refused> {
        let mut waited = Duration::ZERO;
        let model = match self.model(ask.model) {
            Some(gate) => Some(self.pass(&gate, ask, &mut waited).await?),
            None => None,
        };
        let provider = self.pass(&self.provider, ask, &mut waited).await?;
        Ok(Turn { provider, model, waited })
    }

    async fn pass(&self, gate: &Arc<Gate>, ask: Ask<'_>, waited: &mut Duration) -> Result<GateTurn, Refused> {
        if let Some(turn) = gate.go(&ask) {
            return Ok(turn);
        }
        let place = gate.join(&ask, self.aging, self.max_waiting).inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        let wait = Waited { since: Instant::now(), total: waited, admission: self };
        let turn = place.turn(ask.until).await;
        drop(wait);
        turn
    }

    /// Whether nobody has to wait for anything.
    pub(super) fn is_open(&self) -> bool {
        !self.has_models.load(Ordering::Acquire) && self.provider.is_open()
    }

    /// What the head of an answer says of the limits of its model.
    pub(super) fn learn(&self, model: &Arc<str>, turn: &mut Turn, learned: &Learned) {
        if !self.learn {
            return;
        }
        match &mut turn.model {
            Some(turn) => turn.learn(learned),
            None => self.gate_of(model).with(|turns, now| turns.learn(learned, None, now)),
        }
    }

    /// The server wants nothing of this model before then.
    pub(super) fn pause(&self, model: &Arc<str>, until: Instant) {
        if self.learn {
            self.gate_of(model).with(|turns, now| turns.rate.pause_until(until, now));
        }
    }

    /// The gate of a model, made where there is none.
    fn gate_of(&self, model: &Arc<str>) -> Arc<Gate> {
        let mut models = self.models.lock();
        if let Some(gate) = models.get(model) {
            return gate.clone();
        }
        if models.len() >= MODELS {
            // Those in use stay: whoever waits there holds them.
            models.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let rate = RateLimiter::new(&RateLimits::default(), Instant::now());
        let gate = Arc::new(Gate::new(Turns::new(AtOnce::Unlimited, rate), &self.tasks));
        models.insert(model.clone(), gate.clone());
        self.has_models.store(true, Ordering::Release);
        gate
    }

    fn model(&self, model: &Arc<str>) -> Option<Arc<Gate>> {
        if !self.has_models.load(Ordering::Acquire) {
            return None;
        }
        self.models.lock().get(model).cloned()
    }

    /// How many wait, by priority.
    pub(super) fn depth(&self) -> [usize; CLASSES] {
        let mut depth = self.provider.depth();
        for gate in self.models.lock().values() {
            for (all, here) in depth.iter_mut().zip(gate.depth()) {
                *all += here;
            }
        }
        depth
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn wait(&self) -> Spread {
        self.wait.spread()
    }
}

/// A wait counts however it ends.
struct Waited<'a> {
    since: Instant,
    total: &'a mut Duration,
    admission: &'a Admission,
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        let time = self.since.elapsed();
        *self.total += time;
        self.admission.wait.record(time);
    }
}

impl Turn {
    /// The request goes out: what was reserved for it is used, even if nothing comes back.
    pub(super) fn sent(&mut self) {
        self.each(GateTurn::sent);
    }

    /// The head of the answer is there.
    pub(super) fn answered(&mut self, first_byte: Duration, throttled: bool) {
        self.each(|turn| turn.answered(first_byte, throttled));
    }

    /// How many tokens it took.
    pub(super) fn used(&mut self, tokens: u64) {
        self.each(|turn| turn.used(tokens));
    }

    fn each(&mut self, change: impl Fn(&mut GateTurn)) {
        change(&mut self.provider);
        if let Some(model) = &mut self.model {
            change(model);
        }
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("provider", &self.provider).finish_non_exhaustive()
    }
}
