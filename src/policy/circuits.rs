//! The circuits of one provider: one for each model, and one for the provider as a whole.
//!
//! The provider's opens when every model that was asked for within the window is failing, and these are two at least: one alone says nothing of
//! its provider, and whoever falls back to another model of it is not to be refused. So a client of one model has one circuit to hear of. While
//! the provider's is open, models are not asked. Its probe is one call, whatever its model and what that model's circuit says; the result counts
//! for both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::{Admission, Breaker, BreakerPolicy, Denied, Outcome, Pass, State};

/// Models come from requests: more are not remembered. The tenth of them that was not used for longest is forgotten together, closed
/// circuits first, so that a stream of new names costs little each.
pub const MAX_CIRCUITS: usize = 1000;

/// Bytes of a model's name. Longer ones that begin alike share a circuit.
pub const MAX_NAME: usize = 256;

#[derive(Debug)]
pub struct Circuits {
    policy: BreakerPolicy,
    state: Mutex<All>,
}

/// Which circuits changed, and to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub model: Option<State>,
    pub provider: Option<State>,
}

/// How often circuits changed to each state, forgotten ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transitions {
    pub opened: u64,
    pub half_opened: u64,
    pub closed: u64,
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// Of the error.
    pub code: &'static str,
    /// Of the answer, if there was one.
    pub status: Option<u16>,
}

/// What opened a circuit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Whether it is the provider's, which opens when all of its models fail.
    pub is_providers: bool,
    pub failures: u64,
    /// The last of them.
    pub last: Option<Why>,
}

/// One circuit as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// None is the provider as a whole.
    pub model: Option<Arc<str>>,
    pub state: State,
    /// Those of the window; of the provider as a whole those of its models together.
    pub failures: u64,
    /// When it last opened, unless it has closed since.
    pub opened_at: Option<Instant>,
    pub transitions: u64,
}

/// A call that may go. Dropped without a result, it has said nothing, and gives a probe's place back.
#[must_use]
pub struct Guard {
    circuits: Arc<Circuits>,
    model: Arc<str>,
    /// Of the model's circuit: one of the same name may have taken its place.
    id: u64,
    of_model: Option<Pass>,
    /// If it is the provider's probe.
    of_provider: Option<Pass>,
    changes: Changes,
    why: Option<Why>,
}

#[derive(Debug)]
struct All {
    provider: Breaker,
    /// What opened that last.
    opened: Opened,
    models: HashMap<Arc<str>, Circuit>,
    next_id: u64,
    transitions: Transitions,
}

#[derive(Debug)]
struct Circuit {
    id: u64,
    breaker: Breaker,
    /// What opened it last.
    opened: Opened,
    /// When it was last asked for, or heard of.
    used: Instant,
}

impl Circuits {
    pub fn new(policy: BreakerPolicy, now: Instant) -> Arc<Self> {
        let state = All {
            provider: Breaker::new(policy, now),
            opened: Opened::default(),
            models: HashMap::new(),
            next_id: 0,
            transitions: Transitions::default(),
        };
        Arc::new(Self { policy, state: Mutex::new(state) })
    }

    /// Whether a call of this model may go now. Allocates for a model's first call only.
    ///
    /// # Errors
    /// When to come back.
    pub fn admit(self: &Arc<Self>, model: &Arc<str>, now: Instant) -> Result<Guard, Denied> {
        let model = bounded(model);
        let mut changes = Changes::default();
        let mut state = self.state.lock();
        let of_provider = match state.provider.admit(now) {
            // Its own calls do not open it: their passes say nothing.
            Admission::Go(_) => None,
            Admission::Probe { pass, change } => {
                changes.provider = change;
                Some(pass)
            }
            Admission::Denied(denied) => return Err(denied),
        };
        let circuit = state.circuit(&model, self.policy, now);
        let id = circuit.id;
        let of_model = match circuit.breaker.admit(now) {
            Admission::Go(pass) => Some(pass),
            Admission::Probe { pass, change } => {
                changes.model = change;
                Some(pass)
            }
            Admission::Denied(denied) if of_provider.is_none() => return Err(denied),
            Admission::Denied(_) => None,
        };
        state.transitions.count(changes);
        drop(state);
        Ok(Guard { circuits: self.clone(), model, id, of_model, of_provider, changes, why: None })
    }

    /// Until when no call of this model would be let through; a look that takes no probe's place.
    pub fn denied(&self, model: &Arc<str>, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        let open = |breaker: &Breaker| {
            let opened = breaker.opened_at().filter(|_| breaker.state(now) == State::Open)?;
            opened.checked_add(self.policy.recovery)
        };
        let model = state.models.get(&bounded(model));
        open(&state.provider).or_else(|| model.and_then(|circuit| open(&circuit.breaker)))
    }

    /// What opened the circuit that stands in the way of this model's calls; None if none does.
    pub fn opened(&self, model: &Arc<str>) -> Option<Opened> {
        let state = self.state.lock();
        if !state.provider.is_closed() {
            return Some(state.opened);
        }
        let circuit = state.models.get(&bounded(model))?;
        (!circuit.breaker.is_closed()).then_some(circuit.opened)
    }

    /// How the circuits are, the provider's first. At most [`MAX_CIRCUITS`] + 1, in no order.
    pub fn states(&self, now: Instant) -> Vec<Figures> {
        let mut state = self.state.lock();
        let All { provider, models, .. } = &mut *state;
        let figures = |model, breaker: &Breaker, failures| Figures {
            model,
            state: breaker.state(now),
            failures,
            opened_at: breaker.opened_at(),
            transitions: breaker.transitions(),
        };
        let mut all = Vec::with_capacity(models.len() + 1);
        all.push(figures(None, provider, 0));
        for (model, circuit) in models {
            let failures = circuit.breaker.failures(now);
            all[0].failures += failures;
            all.push(figures(Some(model.clone()), &circuit.breaker, failures));
        }
        all
    }

    pub fn transitions(&self) -> Transitions {
        self.state.lock().transitions
    }

    /// Another process found this circuit open, for so long yet; None is the provider's. What is over is left to whoever probes.
    pub fn others_opened(&self, model: Option<&Arc<str>>, left: Duration, now: Instant) -> Option<State> {
        if left.is_zero() {
            return None;
        }
        let since = now.checked_sub(self.policy.recovery.saturating_sub(left)).unwrap_or(now);
        let mut state = self.state.lock();
        let changed = match model {
            Some(model) => state.circuit(&bounded(model), self.policy, now).breaker.others_opened(since),
            None => state.provider.others_opened(since),
        };
        state.transitions.count(Changes { model: changed, provider: None });
        changed
    }

    /// Another process found that the target answers.
    pub fn others_closed(&self, model: Option<&Arc<str>>) -> Option<State> {
        let mut state = self.state.lock();
        let changed = match model {
            Some(model) => state.models.get_mut(&bounded(model))?.breaker.others_closed(),
            None => state.provider.others_closed(),
        };
        state.transitions.count(Changes { model: changed, provider: None });
        changed
    }

    fn settle(&self, guard: &mut Guard, outcome: Outcome, now: Instant) -> Changes {
        let mut changes = Changes::default();
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(circuit) = state.models.get_mut(&guard.model).filter(|circuit| circuit.id == guard.id) {
            circuit.used = circuit.used.max(now);
            changes.model = guard.of_model.take().and_then(|pass| circuit.breaker.report(pass, outcome, now));
            if changes.model == Some(State::Open) {
                let failures = circuit.breaker.opened_by(now);
                circuit.opened = Opened { is_providers: false, failures, last: guard.why };
            }
        }
        changes.provider = match guard.of_provider.take() {
            Some(pass) => state.provider.report(pass, outcome, now),
            None if changes.model == Some(State::Open) && state.all_fail(self.policy, now) => {
                state.provider.trip(now)
            }
            None => None,
        };
        if changes.provider == Some(State::Open) {
            let failures = state.models.values_mut().map(|circuit| circuit.breaker.opened_by(now)).sum();
            state.opened = Opened { is_providers: true, failures, last: guard.why };
        }
        state.transitions.count(changes);
        changes
    }

    fn answers(&self, guard: &mut Guard, now: Instant) -> Changes {
        let mut changes = Changes::default();
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(probe) = guard.of_model.filter(|pass| pass.is_probe())
            && let Some(circuit) = state.models.get_mut(&guard.model).filter(|circuit| circuit.id == guard.id)
        {
            (changes.model, guard.of_model) = circuit.breaker.answers(probe, now);
        }
        if let Some(probe) = guard.of_provider.take() {
            changes.provider = state.provider.report(probe, Outcome::Success, now);
        }
        state.transitions.count(changes);
        changes
    }

    fn give_back(&self, guard: &mut Guard) {
        let mut state = self.state.lock();
        if let Some(pass) = guard.of_provider.take() {
            state.provider.give_back(pass);
        }
        if let Some(pass) = guard.of_model.take()
            && let Some(circuit) = state.models.get_mut(&guard.model).filter(|circuit| circuit.id == guard.id)
        {
            circuit.breaker.give_back(pass);
        }
    }
}

impl Guard {
    /// What its admission changed: nothing, or that circuits are half-open now.
    pub fn changes(&self) -> Changes {
        self.changes
    }

    /// Whether a circuit waits for its result. Such a call is not to be hedged.
    pub fn is_probe(&self) -> bool {
        self.of_provider.or(self.of_model).is_some_and(Pass::is_probe)
    }

    /// The target has begun to answer, and the call goes on, as a stream does for minutes. A probe has found out then what it was sent
    /// for: it closes its circuits now, and how the call ends counts as with any other. Of other calls that end alone counts: a target
    /// that begins each stream and breaks it off would have a success for each failure.
    pub fn answers(&mut self, now: Instant) -> Changes {
        if !self.is_probe() {
            return Changes::default();
        }
        let circuits = self.circuits.clone();
        circuits.answers(self, now)
    }

    /// How the call has failed, if it has: what a circuit says that it opens.
    pub fn failed_by(&mut self, why: Why) {
        self.why = Some(why);
    }

    pub fn settle(mut self, outcome: Outcome, now: Instant) -> Changes {
        if outcome == Outcome::Neutral {
            return Changes::default();
        }
        let circuits = self.circuits.clone();
        circuits.settle(&mut self, outcome, now)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // What holds no place has none to give back, and leaves the lock alone.
        if self.is_probe() {
            let circuits = self.circuits.clone();
            circuits.give_back(self);
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { model, of_model, of_provider, .. } = self;
        f.debug_struct("Guard")
            .field("model", model)
            .field("of_model", of_model)
            .field("of_provider", of_provider)
            .finish_non_exhaustive()
    }
}

impl Transitions {
    fn count(&mut self, changes: Changes) {
        for state in [changes.model, changes.provider].into_iter().flatten() {
            match state {
                State::Open => self.opened += 1,
                State::HalfOpen => self.half_opened += 1,
                State::Closed => self.closed += 1,
            }
        }
    }
}

impl All {
    fn circuit(&mut self, model: &Arc<str>, policy: BreakerPolicy, now: Instant) -> &mut Circuit {
        if self.models.len() >= MAX_CIRCUITS && !self.models.contains_key(model) {
            self.forget();
        }
        let circuit = self.models.entry(model.clone()).or_insert_with(|| {
            self.next_id += 1;
            Circuit {
                id: self.next_id,
                breaker: Breaker::new(policy, now),
                opened: Opened::default(),
                used: now,
            }
        });
        circuit.used = circuit.used.max(now);
        circuit
    }

    /// Whether no model of late is known to answer, of two or more.
    fn all_fail(&self, policy: BreakerPolicy, now: Instant) -> bool {
        let mut models = 0;
        for circuit in self.models.values() {
            if now.saturating_duration_since(circuit.used) > policy.window {
                continue;
            }
            if !circuit.breaker.is_failing() {
                return false;
            }
            models += 1;
        }
        models >= 2
    }

    fn forget(&mut self) {
        let rank = |circuit: &Circuit| {
            let breaker = &circuit.breaker;
            let is_probed = !breaker.is_closed() && !breaker.is_failing();
            (!breaker.is_closed(), is_probed, circuit.used, circuit.id)
        };
        let mut ranks: Vec<_> = self.models.values().map(rank).collect();
        let last = (ranks.len() / 10).min(ranks.len().saturating_sub(1));
        if !ranks.is_empty() {
            let (_, first_kept, _) = ranks.select_nth_unstable(last);
            self.models.retain(|_, circuit| rank(circuit) >= *first_kept);
        }
    }
}

/// A model's name as it is remembered.
pub fn bounded(model: &Arc<str>) -> Arc<str> {
    if model.len() <= MAX_NAME {
        return model.clone();
    }
    let end = (0..=MAX_NAME).rev().find(|end| model.is_char_boundary(*end)).unwrap_or(0);
    Arc::from(&model[..end])
}

#[cfg(test)]
mod tests;
