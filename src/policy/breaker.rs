//! One circuit: it opens when its target fails, and is probed until the target answers again.
//!
//! The three states are Nygard's ("Release It!", 2007, "Circuit Breaker"); the window with its minimum of calls is as in resilience4j's
//! time-based sliding window.
//!
//! ```text
//!            too many failures                 recovery has passed, and a call came
//!  closed ────────────────────────>  open  ──────────────────────────────────────────>  half-open
//!    ^                                 ^                                                │   │  ^
//!    │                                 └──────────────── the probe failed ──────────────┘   │  │ the probe was given back:
//!    └────────────────────────────────────────────────── the probe succeeded ───────────────┘──┘ the next call is one
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::window::Window;

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// Failures without a success between them that open it. Default 5.
    pub failure_threshold: u32,
    /// … or this share of the calls of the window, above 0 and at most 1. Default 0.5.
    pub failure_ratio: f64,
    /// Fewer calls in the window have no ratio. Default 20.
    pub minimum_calls: u32,
    /// Its newest tenth is still filling, so that it covers nine to ten tenths of this. Default 10 s.
    pub window: Duration,
    /// From opening, or from the failure of a probe, to the next probe. Default 10 s.
    pub recovery: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            failure_ratio: 0.5,
            minimum_calls: 20,
            window: Duration::from_secs(10),
            recovery: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    Open,
    HalfOpen,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What became of a call, as far as its target goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// The target's own.
    Failure,
    /// Says nothing about the target: cancelled, aborted, or the caller's own mistake.
    Neutral,
}

/// May a call go?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Go(Pass),
    /// It goes, and the circuit has its result for its answer. `change` tells if it was open before.
    Probe {
        pass: Pass,
        change: Option<State>,
    },
    Denied(Denied),
}

/// No call goes before `until`. While a probe is under way that is a guess: one `recovery` from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    pub until: Instant,
}

/// To be reported once, whatever became of the call: a probe's place is taken until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Pass {
    generation: u64,
    is_probe: bool,
}

impl Pass {
    pub fn is_probe(self) -> bool {
        self.is_probe
    }
}

#[derive(Clone, Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    phase: Phase,
    /// One more with each change and each probe: what a pass of an earlier one reports is history.
    generation: u64,
    failures_in_a_row: u32,
    window: Window<BUCKETS>,
    transitions: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { since: Instant },
    HalfOpen { since: Instant, is_probed: bool },
}

const BUCKETS: usize = 10;

const SUCCESSES: usize = 0;
const FAILURES: usize = 1;

impl Breaker {
    pub fn new(policy: BreakerPolicy, now: Instant) -> Self {
        Self {
            policy,
            phase: Phase::Closed,
            generation: 0,
            failures_in_a_row: 0,
            window: Window::new(policy.window / BUCKETS as u32, now),
            transitions: 0,
        }
    }

    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.phase {
            Phase::Closed => Admission::Go(self.pass()),
            Phase::Open { since } if now.saturating_duration_since(since) >= self.policy.recovery => {
                let change = self.change_to(Phase::HalfOpen { since, is_probed: true });
                Admission::Probe { pass: self.probe(), change: Some(change) }
            }
            Phase::Open { since } => Admission::Denied(self.denied_from(since)),
            Phase::HalfOpen { is_probed: true, .. } => Admission::Denied(self.denied_from(now)),
            Phase::HalfOpen { since, is_probed: false } => {
                self.phase = Phase::HalfOpen { since, is_probed: true };
                Admission::Probe { pass: self.probe(), change: None }
            }
        }
    }

    /// The state that it changed to, if it did.
    pub fn report(&mut self, pass: Pass, outcome: Outcome, now: Instant) -> Option<State> {
        if pass.generation != self.generation {
            return None;
        }
        match (self.phase, outcome) {
            (_, Outcome::Neutral) => {
                self.give_back(pass);
                None
            }
            (Phase::Closed, Outcome::Success) => {
                self.failures_in_a_row = 0;
                self.window.add(SUCCESSES, now);
                None
            }
            (Phase::Closed, Outcome::Failure) => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.window.add(FAILURES, now);
                self.has_failed(now).then(|| self.change_to(Phase::Open { since: now }))
            }
            (Phase::HalfOpen { is_probed: true, .. }, Outcome::Success) => {
                self.failures_in_a_row = 0;
                self.window.clear();
                Some(self.change_to(Phase::Closed))
            }
            (Phase::HalfOpen { is_probed: true, .. }, Outcome::Failure) => {
                self.window.add(FAILURES, now);
                Some(self.change_to(Phase::Open { since: now }))
            }
            (Phase::Open { .. } | Phase::HalfOpen { is_probed: false, .. }, _) => None,
        }
    }

    /// A probe that goes on though its target has shown that it answers: that closes the circuit now, and what becomes of the call
    /// counts as any other's does. None if its circuit knows nothing of it any more.
    pub fn answers(&mut self, probe: Pass, now: Instant) -> (Option<State>, Option<Pass>) {
        let change = self.report(probe, Outcome::Success, now);
        (change, change.map(|_| self.pass()))
    }

    /// As [`Outcome::Neutral`], which needs no time.
    pub fn give_back(&mut self, pass: Pass) {
        if let Phase::HalfOpen { is_probed, .. } = &mut self.phase
            && pass.is_probe
            && pass.generation == self.generation
        {
            *is_probed = false;
        }
    }

    /// Opens it, if it is closed, whatever its own calls say.
    pub fn trip(&mut self, now: Instant) -> Option<State> {
        matches!(self.phase, Phase::Closed).then(|| self.change_to(Phase::Open { since: now }))
    }

    /// Another process opened it, `since` then: here it is open as well, or open again.
    pub fn others_opened(&mut self, since: Instant) -> Option<State> {
        match self.phase {
            Phase::Closed => Some(self.change_to(Phase::Open { since })),
            Phase::Open { since: own } if own < since => {
                self.phase = Phase::Open { since };
                None
            }
            Phase::HalfOpen { since: own, is_probed: false } if own < since => {
                Some(self.change_to(Phase::Open { since }))
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// The probe of another process succeeded.
    pub fn others_closed(&mut self) -> Option<State> {
        if self.is_closed() {
            return None;
        }
        self.failures_in_a_row = 0;
        self.window.clear();
        Some(self.change_to(Phase::Closed))
    }

    /// What the next call finds: one that has been open for `recovery` is half-open, also before its probe.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { since } if now.saturating_duration_since(since) < self.policy.recovery => {
                State::Open
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Whether the last that is known is failure. A probe that is under way may know better.
    pub fn is_failing(&self) -> bool {
        matches!(self.phase, Phase::Open { .. } | Phase::HalfOpen { is_probed: false, .. })
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// When it last opened, unless it has closed since.
    pub fn opened_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { since } | Phase::HalfOpen { since, .. } => Some(since),
        }
    }

    /// The failures of the window.
    pub fn failures(&mut self, now: Instant) -> u64 {
        self.window.sums(BUCKETS, now)[FAILURES]
    }

    /// Those by which it opened, if it has: in a row, or of the window by then, whichever are more.
    pub fn opened_by(&mut self, now: Instant) -> u64 {
        self.failures(now).max(u64::from(self.failures_in_a_row))
    }

    /// Changes of state so far.
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Asked after a failure only: a success opens nothing, even where it makes the minimum of calls full.
    fn has_failed(&mut self, now: Instant) -> bool {
        if self.failures_in_a_row >= self.policy.failure_threshold {
            return true;
        }
        let [successes, failures] = self.window.sums(BUCKETS, now);
        let calls = successes + failures;
        calls >= u64::from(self.policy.minimum_calls)
            && failures as f64 >= self.policy.failure_ratio * calls as f64
    }

    fn change_to(&mut self, phase: Phase) -> State {
        self.phase = phase;
        self.generation += 1;
        self.transitions += 1;
        match phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn pass(&self) -> Pass {
        Pass { generation: self.generation, is_probe: false }
    }

    fn probe(&mut self) -> Pass {
        self.generation += 1;
        Pass { generation: self.generation, is_probe: true }
    }

    fn denied_from(&self, since: Instant) -> Denied {
        // Beyond the end of time there is no better answer than "not now".
        Denied { until: since.checked_add(self.policy.recovery).unwrap_or(since) }
    }
}

#[cfg(test)]
mod tests;
