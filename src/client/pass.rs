//! What lets one attempt go: its turn, and the circuit of its target.

use std::time::{Duration, SystemTime};
use tokio::time::Instant;

use super::admission::Turn;
use super::call::Life;
use super::exchange::{Failed, FailedAttempt, failed};
use super::gate::{Ask, Refused};
use super::record::Record;
use super::{Client, PROVIDER};
use crate::error::{Error, Kind, TimeoutPhase, millis};
use crate::policy::breaker::Outcome;
use crate::policy::circuits::Guard;
use crate::policy::judge::{self, Failure};
use crate::policy::learn::learned;
use crate::policy::retry_after::retry_after;

/// Of one attempt. Dropped unsettled it blames nobody.
#[must_use]
#[derive(Debug)]
pub(super) struct Pass {
    turn: Turn,
    circuit: Option<Guard>,
}

/// Waits until the attempt may go.
///
/// # Cancel safety
/// As of [`Admission::enter`](super::admission::Admission::enter).
pub(super) async fn admit(life: &Life<'_>, record: &mut Record) -> Result<Pass, Failed> {
    let Life { client, options, .. } = *life;
    let arrived = record.attempt_began();
    let model = record.model_asked().clone();
    // Nobody waits for what would be refused then.
    let circuits = client.circuits.as_ref();
    if !client.admission.is_open()
        && let Some(until) = circuits.and_then(|circuits| circuits.denied(&model, arrived))
    {
        return Err(circuit_open(until));
    }
    let ask = Ask {
        model: &model,
        priority: options.priority,
        since: record.started(),
        cost: life.cost,
        until: arrived + options.timeouts.queue,
    };
    let turn =
        client.admission.enter(ask).await.map_err(|refused| denied(refused, options.timeouts.queue))?;
    record.waited(turn.waited);
    // It may have opened meanwhile; and of those that waited, one is the probe.
    let circuit = match circuits {
        Some(circuits) => {
            let now = if turn.waited.is_zero() { arrived } else { Instant::now() };
            let admitted = circuits.admit(&model, now);
            let guard = admitted.map_err(|denied| circuit_open(denied.until))?;
            client.tell_of_circuits(&model, guard.changes());
            Some(guard)
        }
        None => None,
    };
    Ok(Pass { turn, circuit })
}

impl Pass {
    /// How long it waited for its turn.
    pub(super) fn waited(&self) -> Duration {
        self.turn.waited
    }

    /// The request goes out.
    pub(super) fn sent(&mut self) {
        self.turn.sent();
    }

    /// The head of the answer is there: what it says of limits holds for whoever comes next.
    /// `patience`: a longer Retry-After is not waited for.
    pub(super) fn answered(
        &mut self,
        client: &Client,
        record: &Record,
        first_byte: Duration,
        patience: Duration,
    ) {
        let (status, headers) = (record.status(), record.headers());
        let throttled = matches!(status, 429 | 529);
        self.turn.answered(first_byte, throttled);
        if let Some(learned) = learned(headers, SystemTime::now()) {
            client.admission.learn(record.model_asked(), &mut self.turn, &learned);
        }
        if throttled
            && let Some(wait) = retry_after(headers, SystemTime::now()).filter(|wait| *wait <= patience)
        {
            client.admission.pause(record.model_asked(), Instant::now() + wait);
        }
    }

    /// The attempt has ended.
    pub(super) fn settle(mut self, client: &Client, record: &mut Record, failed: Option<&FailedAttempt>) {
        if let Some(tokens) = record.tokens {
            self.turn.used(tokens);
        }
        let outcome = failed.map_or(Outcome::Success, |failed| judge::blame(failed.failure));
        if let Some(guard) = self.circuit.take() {
            // The caller's mistake says nothing against the target; to a probe it says that somebody is there.
            let is_there = failed.is_some_and(|failed| matches!(failed.failure, Failure::Status { .. }));
            let outcome = match outcome {
                Outcome::Neutral if is_there && guard.is_probe() => Outcome::Success,
                outcome => outcome,
            };
            let changes = guard.settle(outcome, record.attempt_ends());
            client.tell_of_circuits(record.model_asked(), changes);
        }
    }
}

fn denied(refused: Refused, limit: Duration) -> Failed {
    match refused {
        Refused::Full(waiting) => {
            let message = format!("{PROVIDER}: {waiting} calls wait already, which is concurrency.maxQueue");
            let mut error = Error::new(Kind::QueueFull, message);
            error.retryable = true;
            failed(Failure::Queue, error)
        }
        Refused::Late => late("turn", limit),
    }
}

/// No turn or no free connection in time. Both are waited for under one limit, which is told, and not what is left of it.
pub(super) fn late(what: &str, limit: Duration) -> Failed {
    let limit_ms = millis(limit);
    let message = format!("{PROVIDER}: no {what} within timeouts.queue ({limit_ms} ms)");
    let mut error = Error::new(Kind::Timeout { phase: TimeoutPhase::Queue, limit_ms }, message);
    error.retryable = true;
    failed(Failure::Queue, error)
}

fn circuit_open(until: Instant) -> Failed {
    let retry_after_ms = millis(until.saturating_duration_since(Instant::now())).max(1);
    let message = format!("{PROVIDER}: the circuit is open, and is tried again in {retry_after_ms} ms");
    let mut error = Error::new(Kind::CircuitOpen { retry_after_ms }, message);
    error.retryable = true;
    failed(Failure::Circuit, error)
}
