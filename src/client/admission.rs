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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::ClientConfig;
use crate::policy::adaptive::{Adaptive, AdaptivePolicy, MaxConcurrency};
use crate::policy::learn::Learned;
use crate::policy::rate::{Cost, RateLimiter, RateLimits};
use crate::policy::schedule::{CLASSES, Place};
use crate::policy::turns::{AtOnce, Held, Next, Turns, Used};
use crate::pool::{Histogram, Priority, Spread, Tasks};

/// Models whose limits are remembered. Names come from requests: of more, those that were not used for longest are forgotten.
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

/// How an attempt waits for its turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) model: &'a Arc<str>,
    pub(super) priority: Priority,
    /// When its call came: one that is tried again keeps its age.
    pub(super) since: Instant,
    pub(super) cost: Cost,
    pub(super) until: Instant,
}

/// Why there is no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// So many wait already.
    Full(usize),
    /// None came in time.
    Late,
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
        // What is learned is of one model.
        let rate = RateLimits { learn: false, ..config.rate.clone() };
        let rate = RateLimiter::new(&rate, Instant::now());
        let at_once = match config.queue.at_once {
            None => AtOnce::Unlimited,
            Some(MaxConcurrency::Fixed(limit)) => AtOnce::Fixed(limit.get()),
            Some(MaxConcurrency::Adaptive) => AtOnce::Adaptive(Adaptive::new(AdaptivePolicy::default())),
        };
        Self {
            provider: Arc::new(Gate::new(Turns::new(at_once, rate), tasks)),
            models: Mutex::default(),
            has_models: AtomicBool::new(false),
            max_waiting: config.queue.max,
            aging: config.queue.aging,
            learn: config.rate.learn,
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
        !self.has_models.load(Ordering::Acquire) && self.provider.open.load(Ordering::Acquire)
    }

    /// What the head of an answer says of the limits of its model.
    pub(super) fn learn(&self, model: &Arc<str>, turn: &mut Turn, learned: &Learned) {
        if !self.learn {
            return;
        }
        match &mut turn.model {
            Some(turn) => {
                let held = turn.held.as_mut();
                turn.gate.with(|turns, now| turns.learn(learned, held, now));
            }
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
        self.each(|turn| turn.used = Used::Tokens(None));
    }

    /// The head of the answer is there.
    pub(super) fn answered(&mut self, first_byte: Duration, throttled: bool) {
        self.each(|turn| turn.answered(first_byte, throttled));
    }

    /// How many tokens it took.
    pub(super) fn used(&mut self, tokens: u64) {
        self.each(|turn| turn.used = Used::Tokens(Some(tokens)));
    }

    fn each(&mut self, change: impl Fn(&mut GateTurn)) {
        change(&mut self.provider);
        if let Some(model) = &mut self.model {
            change(model);
        }
    }
}

/// Turns, and those who wait for them.
struct Gate {
    turns: Mutex<Turns<oneshot::Sender<GateTurn>>>,
    /// Whether nothing is limited, so that nobody need ask.
    open: AtomicBool,
    alarm: Mutex<Option<Instant>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct GateTurn {
    gate: Arc<Gate>,
    /// None where nobody had to be asked.
    held: Option<Held>,
    used: Used,
}

impl Gate {
    fn new(turns: Turns<oneshot::Sender<GateTurn>>, tasks: &Tasks) -> Self {
        Self {
            open: AtomicBool::new(turns.is_open()),
            turns: Mutex::new(turns),
            alarm: Mutex::new(None),
            tasks: tasks.clone(),
        }
    }

    /// A turn without waiting, if there is one.
    fn go(self: &Arc<Self>, ask: &Ask<'_>) -> Option<GateTurn> {
        if self.open.load(Ordering::Acquire) {
            return Some(GateTurn { gate: self.clone(), held: None, used: Used::Nothing });
        }
        let held = self.turns.lock().go(ask.cost, Instant::now())?;
        Some(self.turn(held))
    }

    /// A place among those who wait.
    fn join<'a>(
        self: &'a Arc<Self>,
        ask: &Ask<'_>,
        aging: Duration,
        max_waiting: usize,
    ) -> Result<Waiting<'a>, Refused> {
        let (grant, granted) = oneshot::channel();
        let place = {
            let mut turns = self.turns.lock();
            if turns.waiting() >= max_waiting {
                return Err(Refused::Full(max_waiting));
            }
            turns.join(ask.priority as usize, ask.since, aging, ask.cost, grant)
        };
        let waiting = Waiting { gate: self, place, granted, gone: false };
        // It may be the first, whom only time keeps; or something was given back just now.
        self.serve();
        Ok(waiting)
    }

    /// Lets go whoever may, and wakes when time alone will let go the next.
    fn serve(self: &Arc<Self>) {
        let mut going = Vec::new();
        let alarm = {
            let mut turns = self.turns.lock();
            loop {
                match turns.next(Instant::now()) {
                    Next::Go(grant, held) => going.push((grant, held)),
                    Next::At(at) => break Some(at),
                    Next::Nobody => break None,
                }
            }
        };
        for (grant, held) in going {
            // One whose caller has gone in this moment is given back by its drop, and serves the next.
            drop(grant.send(self.turn(held)));
        }
        if let Some(at) = alarm {
            self.wake_at(at);
        }
    }

    fn wake_at(self: &Arc<Self>, at: Instant) {
        {
            let mut alarm = self.alarm.lock();
            if alarm.is_some_and(|set| set <= at) {
                return;
            }
            *alarm = Some(at);
        }
        // Weak: nobody waits for a client that has gone.
        let gate: Weak<Self> = Arc::downgrade(self);
        self.tasks.spawn("turns", async move {
            sleep_until(at).await;
            let Some(gate) = gate.upgrade() else { return };
            {
                let mut alarm = gate.alarm.lock();
                if *alarm != Some(at) {
                    // An earlier one was set since, and rang.
                    return;
                }
                *alarm = None;
            }
            gate.serve();
        });
    }

    fn turn(self: &Arc<Self>, held: Held) -> GateTurn {
        GateTurn { gate: self.clone(), held: Some(held), used: Used::Nothing }
    }

    /// Changes what decides, and lets go whoever may go now.
    fn with(self: &Arc<Self>, change: impl FnOnce(&mut Turns<oneshot::Sender<GateTurn>>, Instant)) {
        let waits = {
            let mut turns = self.turns.lock();
            change(&mut turns, Instant::now());
            self.open.store(turns.is_open(), Ordering::Release);
            turns.waiting() > 0
        };
        if waits {
            self.serve();
        }
    }

    fn depth(&self) -> [usize; CLASSES] {
        self.turns.lock().depth()
    }
}

impl GateTurn {
    fn answered(&self, first_byte: Duration, throttled: bool) {
        if self.held.is_some() {
            self.gate.with(|turns, now| turns.answered(Some(first_byte), throttled, now));
        }
    }
}

impl Drop for GateTurn {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let used = self.used;
            self.gate.with(|turns, now| turns.end(held, used, now));
        }
    }
}

/// A place among those who wait.
struct Waiting<'a> {
    gate: &'a Arc<Gate>,
    place: Place,
    granted: oneshot::Receiver<GateTurn>,
    /// Whether it was left with a turn.
    gone: bool,
}

impl Waiting<'_> {
    async fn turn(mut self, until: Instant) -> Result<GateTurn, Refused> {
        match timeout_at(until, &mut self.granted).await {
            Ok(Ok(turn)) => {
                self.gone = true;
                Ok(turn)
            }
            _ => Err(Refused::Late),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        self.granted.close();
        // A turn that was granted in the very moment of leaving goes back by its own drop. Who left may have kept others waiting.
        if self.granted.try_recv().is_err() {
            self.gate.with(|turns, _| turns.leave(self.place));
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("open", &self.open).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("provider", &self.provider).finish_non_exhaustive()
    }
}
