//! A turn for each attempt: waited for in the order of priority and age, held while the attempt is under way, and given back by its drop.
//!
//! ```text
//! an attempt ──> the tenant's turn ──> the model's turn ──> the provider's turn ──> circuit ──> the pool
//!                calls at once of       what its answers      concurrency, and the
//!                each, if limited       said of its limits    limits of the options
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
use super::shared::Shared;
use super::tenants::Tenants;
use crate::config::ProviderConfig;
use crate::policy::adaptive::{Adaptive, AdaptivePolicy, MaxConcurrency};
use crate::policy::circuits::bounded;
use crate::policy::learn::Learned;
use crate::policy::lease::Terms;
use crate::policy::rate::{Cost, Left, RateLimiter, RateLimits};
use crate::policy::schedule::CLASSES;
use crate::policy::turns::{AtOnce, Turns};
use crate::pool::Tasks;
use crate::telemetry::{TurnFigures, TurnWaits};

/// Models whose limits are remembered. Names come from requests: where there are more, those that nobody uses now are forgotten, and of
/// what comes while all are in use nothing is remembered.
const MODELS: usize = 1000;

/// Who may go, for one provider and each of its models.
pub(crate) struct Admission {
    provider: Arc<Gate>,
    models: Mutex<HashMap<Arc<str>, Model>>,
    /// Whether the limits of any model are known.
    has_models: AtomicBool,
    /// None where they are not limited.
    tenants: Option<Arc<Tenants>>,
    max_waiting: usize,
    aging: Duration,
    learn: bool,
    tasks: Tasks,
    /// Of all models, those forgotten as well.
    throttled: AtomicU64,
}

/// What is known of a model.
struct Model {
    gate: Arc<Gate>,
    /// How often it was refused as one call too many.
    throttled: u64,
}

/// The limits of the provider, or of a model.
#[derive(Debug)]
pub(super) struct Limits {
    /// None is the provider.
    pub(super) model: Option<Arc<str>>,
    pub(super) left: Left,
    pub(super) throttled: u64,
}

/// What an attempt holds while it is under way.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Turn {
    // Given back in this order; none where nothing was limited, and nobody had to be asked. Boxed: a turn is moved many times before its
    // call has ended, and most hold nothing.
    provider: Option<Box<GateTurn>>,
    model: Option<Box<GateTurn>>,
    #[expect(dead_code, reason = "held for its drop")]
    tenant: Option<Box<GateTurn>>,
    /// How long it was waited for.
    pub(super) waited: Duration,
}

impl Admission {
    pub(super) fn new(
        config: &ProviderConfig,
        tenants: Option<&Arc<Tenants>>,
        shared: Option<&Arc<Shared>>,
        tasks: &Tasks,
    ) -> Self {
        let ProviderConfig { rate, queue, .. } = config;
        let learn = rate.learn;
        // What is learned is of one model.
        let rate = RateLimits { learn: false, ..rate.clone() };
        let rate = RateLimiter::new(&rate, Instant::now());
        let at_once = match queue.at_once {
            None => AtOnce::Unlimited,
            Some(MaxConcurrency::Fixed(limit)) => AtOnce::Fixed(limit.get()),
            Some(MaxConcurrency::Adaptive) => AtOnce::Adaptive(Adaptive::new(AdaptivePolicy::default())),
        };
        let gate = Gate::new(Turns::new(at_once, rate), tasks);
        let gate = match shared {
            Some(shared) => {
                let places = match queue.at_once {
                    Some(MaxConcurrency::Fixed(limit)) => Some(limit.get()),
                    _ => None,
                };
                shared.share(&config.name, gate, Terms::of(&config.rate, places))
            }
            None => Arc::new(gate),
        };
        Self {
            provider: gate,
            models: Mutex::default(),
            has_models: AtomicBool::new(false),
            tenants: tenants.cloned(),
            max_waiting: queue.max,
            aging: queue.aging,
            learn,
            tasks: tasks.clone(),
            throttled: AtomicU64::new(0),
        }
    }

    /// Waits for a turn. `waits`: where it is noted of whose call it is.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; a turn that came in the same moment goes to the next in line.
    pub(super) async fn enter(&self, ask: Ask<'_>, waits: &TurnWaits) -> Result<Turn, Refused> {
        self.enter_among(ask, self.max_waiting, waits).await
    }

    /// The same, for one that had its turn and could not go: it was let in once, and is not refused now, however many wait.
    pub(super) async fn enter_again(&self, ask: Ask<'_>, waits: &TurnWaits) -> Result<Turn, Refused> {
        self.enter_among(ask, usize::MAX, waits).await
    }

    async fn enter_among(
        &self,
        ask: Ask<'_>,
        max_waiting: usize,
        waits: &TurnWaits,
    ) -> Result<Turn, Refused> {
        let mut waited = Waited { total: Duration::ZERO, waits };
        // First: while it waits there, it keeps nothing from others.
        let tenant = match self.tenant(&ask) {
            Some(gate) => self.pass(&gate, ask, max_waiting, &mut waited).await?,
            None => None,
        };
        let model = match self.model(ask.model) {
            Some(gate) => self.pass(&gate, ask, max_waiting, &mut waited).await?,
            None => None,
        };
        let provider = self.pass(&self.provider, ask, max_waiting, &mut waited).await?;
        Ok(Turn { provider, model, tenant, waited: waited.total })
    }

    /// A turn that nobody has to wait for.
    pub(super) fn at_once(&self, ask: &Ask<'_>) -> Option<Turn> {
        let free =
            |gate: &Arc<Gate>| if gate.is_open() { Some(None) } else { gate.go(ask).map(Box::new).map(Some) };
        let tenant = match self.tenant(ask) {
            Some(gate) => free(&gate)?,
            None => None,
        };
        let model = match self.model(ask.model) {
            Some(gate) => free(&gate)?,
            None => None,
        };
        Some(Turn { provider: free(&self.provider)?, model, tenant, waited: Duration::ZERO })
    }

    /// Whether nobody waits for this model, nor would such a call.
    pub(super) fn is_free(&self, model: &Arc<str>, cost: Cost) -> bool {
        self.model(model).is_none_or(|gate| gate.is_free(cost))
    }

    /// Whether an attempt that has its turn may still go, now that it would. Where it had to wait, for its turn or something else: a pause
    /// of its model may have begun, or its limits have become known, since it came through there. Of those that waited together for
    /// something else, no more go at once than the limits allow that are set.
    pub(super) fn still_goes(&self, turn: &mut Turn, ask: &Ask<'_>, has_waited: bool) -> bool {
        let by_model = match (&mut turn.model, has_waited) {
            (_, false) => true,
            (Some(turn), true) => turn.renew(ask.cost),
            (None, true) => match self.model(ask.model) {
                Some(gate) if !gate.is_open() => {
                    turn.model = gate.go(ask).map(Box::new);
                    turn.model.is_some()
                }
                _ => true,
            },
        };
        by_model && turn.provider.as_mut().is_none_or(|turn| turn.goes(ask.cost))
    }

    async fn pass(
        &self,
        gate: &Arc<Gate>,
        ask: Ask<'_>,
        max_waiting: usize,
        waited: &mut Waited<'_>,
    ) -> Result<Option<Box<GateTurn>>, Refused> {
        if gate.is_open() {
            return Ok(None);
        }
        if let Some(turn) = gate.go(&ask) {
            return Ok(Some(Box::new(turn)));
        }
        let place = gate.join(&ask, self.aging, max_waiting).inspect_err(|_| {
            waited.waits.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        let wait = Wait { since: Instant::now(), waited };
        let turn = place.turn(ask.until).await;
        drop(wait);
        turn.map(Box::new).map(Some)
    }

    /// Whether nobody has to wait for anything.
    pub(super) fn is_open(&self) -> bool {
        self.tenants.is_none() && !self.has_models.load(Ordering::Acquire) && self.provider.is_open()
    }

    /// What the head of an answer says of the limits of its model.
    pub(super) fn learn(&self, model: &Arc<str>, turn: &mut Turn, learned: &Learned) {
        if !self.learn {
            return;
        }
        match &mut turn.model {
            Some(turn) => turn.learn(learned),
            None => {
                if let Some(gate) = self.gate_of(model) {
                    gate.with(|turns, now| turns.learn(learned, None, now));
                }
            }
        }
    }

    /// The server wants nothing of this model before then.
    pub(super) fn pause(&self, model: &Arc<str>, until: Instant) {
        if self.learn
            && let Some(gate) = self.gate_of(model)
        {
            gate.with(|turns, now| turns.rate.pause_until(until, now));
        }
    }

    /// A call of this model was refused as one too many: it counts, and nothing else.
    pub(super) fn throttled(&self, model: &Arc<str>) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
        self.of_model(model, |model| model.throttled += 1);
    }

    /// The gate of a model, made where there is none.
    fn gate_of(&self, model: &Arc<str>) -> Option<Arc<Gate>> {
        let gate = self.of_model(model, |model| model.gate.clone())?;
        self.has_models.store(true, Ordering::Release);
        Some(gate)
    }

    fn of_model<R>(&self, model: &Arc<str>, use_it: impl FnOnce(&mut Model) -> R) -> Option<R> {
        let name = bounded(model);
        let mut models = self.models.lock();
        if let Some(model) = models.get_mut(&name) {
            return Some(use_it(model));
        }
        if models.len() >= MODELS {
            // Those in use stay: whoever has a turn or waits there holds them.
            models.retain(|_, model| Arc::strong_count(&model.gate) > 1);
        }
        if models.len() >= MODELS {
            return None;
        }
        let rate = RateLimiter::new(&RateLimits::default(), Instant::now());
        let gate = Arc::new(Gate::new(Turns::new(AtOnce::Unlimited, rate), &self.tasks));
        Some(use_it(models.entry(name).or_insert(Model { gate, throttled: 0 })))
    }

    /// Where the tenant of a call gets its turns.
    fn tenant(&self, ask: &Ask<'_>) -> Option<Arc<Gate>> {
        Some(self.tenants.as_ref()?.gate_of(ask.tenant?))
    }

    fn model(&self, model: &Arc<str>) -> Option<Arc<Gate>> {
        if !self.has_models.load(Ordering::Acquire) {
            return None;
        }
        self.models.lock().get(&bounded(model)).map(|model| model.gate.clone())
    }

    /// How many wait, by priority.
    fn depth(&self) -> [usize; CLASSES] {
        let mut depth = self.provider.depth();
        for model in self.models.lock().values() {
            for (all, here) in depth.iter_mut().zip(model.gate.depth()) {
                *all += here;
            }
        }
        depth
    }

    /// What is left now, and how often there was too little: the provider's first, then of the models of which anything is known.
    pub(super) fn limits(&self, now: Instant) -> Vec<Limits> {
        let throttled = self.throttled.load(Ordering::Relaxed);
        let mut all = vec![Limits { model: None, left: self.provider.left(now), throttled }];
        let models = self.models.lock();
        all.extend(models.iter().map(|(name, model)| Limits {
            model: Some(name.clone()),
            left: model.gate.left(now),
            throttled: model.throttled,
        }));
        all
    }

    pub(super) fn add_to(&self, figures: &mut TurnFigures) {
        for (all, here) in figures.depth.iter_mut().zip(self.depth()) {
            *all += here;
        }
    }
}

/// How long a call has waited at all gates.
struct Waited<'a> {
    total: Duration,
    waits: &'a TurnWaits,
}

/// A wait counts however it ends.
struct Wait<'w, 'a> {
    since: Instant,
    waited: &'w mut Waited<'a>,
}

impl Drop for Wait<'_, '_> {
    fn drop(&mut self) {
        let time = self.since.elapsed();
        self.waited.total += time;
        self.waited.waits.times.record(time);
    }
}

impl Turn {
    /// The request goes out: what was reserved for it is used, even if nothing comes back.
    pub(super) fn sent(&mut self) {
        self.each(GateTurn::sent);
    }

    /// The head of a good answer is there.
    pub(super) fn answered(&mut self, first_byte: Duration) {
        self.each(|turn| turn.answered(Some(first_byte), false));
    }

    /// It was refused as one call too many.
    pub(super) fn throttled(&mut self, first_byte: Option<Duration>) {
        self.each(|turn| turn.answered(first_byte, true));
    }

    /// How many tokens it took.
    pub(super) fn used(&mut self, tokens: u64) {
        self.each(|turn| turn.used(tokens));
    }

    fn each(&mut self, change: impl Fn(&mut GateTurn)) {
        [&mut self.provider, &mut self.model].into_iter().flatten().for_each(|turn| change(turn));
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("provider", &self.provider).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{ClientConfig, Environment};
    use crate::policy::learn::Sample;
    use crate::pool::Priority;

    fn admission(options: Value) -> Admission {
        let config = ClientConfig::parse(options, &Environment::default()).unwrap();
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        Admission::new(config.default_provider(), None, None, &tasks)
    }

    async fn enter(admission: &Admission, model: &str) -> Turn {
        let now = Instant::now();
        let ask = Ask {
            model: &model.into(),
            tenant: None,
            priority: Priority::Interactive,
            since: now,
            cost: Cost { requests: 1.0, tokens: 1 },
            until: now + Duration::from_secs(10),
        };
        admission.enter(ask, &TurnWaits::default()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_limited_an_attempt_holds_nothing() {
        let open = admission(json!({}));
        let turn = enter(&open, "m").await;
        assert!(turn.provider.is_none() && turn.model.is_none());
        // What holds one model up is nothing to the others.
        open.pause(&"m".into(), Instant::now() + Duration::from_secs(5));
        assert!(enter(&open, "m").await.model.is_some());
        assert!(enter(&open, "other").await.model.is_none());
        let limited = admission(json!({ "concurrency": { "max": 1 } }));
        assert!(enter(&limited, "m").await.provider.is_some());
    }

    #[tokio::test]
    async fn no_more_than_a_thousand_models_are_remembered_and_those_in_use_stay() {
        let admission = admission(json!({}));
        let learned = Learned {
            requests: Some(Sample { limit: 50.0, remaining: 40.0, reset: None }),
            ..Learned::default()
        };
        let mut turn = enter(&admission, "used").await;
        admission.pause(&"used".into(), Instant::now());
        let in_use = admission.model(&"used".into());
        for n in 0..5000 {
            let model = format!("{n}{}", "x".repeat(1000)).into();
            admission.throttled(&model);
            admission.learn(&model, &mut turn, &learned);
            assert!(n % 50 != 0 || admission.limits(Instant::now()).len() <= MODELS + 1);
        }
        let limits = admission.limits(Instant::now());
        assert_eq!((limits[0].model.as_deref(), limits[0].throttled), (None, 5000));
        assert!(limits.iter().any(|limits| limits.model.as_deref() == Some("used")));
        assert!(limits[1..].iter().all(|limits| limits.model.as_ref().is_some_and(|name| name.len() <= 256)));
        drop(in_use);
    }

    #[tokio::test]
    async fn what_comes_while_all_models_are_in_use_is_not_remembered() {
        let admission = admission(json!({}));
        let until = Instant::now() + Duration::from_secs(60);
        let in_use: Vec<_> = (0..MODELS)
            .map(|n| {
                admission.pause(&n.to_string().into(), until);
                admission.model(&n.to_string().into())
            })
            .collect();
        admission.pause(&"more".into(), until);
        admission.throttled(&"more".into());
        assert_eq!(admission.limits(Instant::now()).len(), MODELS + 1);
        assert_eq!(admission.limits(Instant::now())[0].throttled, 1);
        drop(in_use);
        admission.throttled(&"more".into());
        assert_eq!(admission.limits(Instant::now()).len(), 2);
    }
}
