//! What lets one attempt go: its turn, and the circuit of its target.

use std::sync::Arc;
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
    /// How long it waited for turns, and for sockets on which it did not go.
    waited: Duration,
    /// A longer Retry-After is not waited for.
    patience: Duration,
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
    let turn = client.admission.enter(ask(life, &model, record)).await;
    let turn = turn.map_err(|refused| denied(refused, options.timeouts.queue))?;
    record.waited(turn.waited);
    // It may have opened meanwhile; and of those that waited, one is the probe.
    let now = if turn.waited.is_zero() { arrived } else { Instant::now() };
    let circuit = circuit_of(client, &model, now)?;
    Ok(Pass { waited: turn.waited, turn, circuit, patience: options.retry.max_retry_after })
}

/// A pass that is free now, and that nobody has to wait for.
pub(super) fn at_once(life: &Life<'_>, record: &Record) -> Option<Pass> {
    let Life { client, options, .. } = *life;
    let model = record.model_asked();
    let turn = client.admission.at_once(&ask(life, model, record))?;
    let circuit = circuit_of(client, model, Instant::now()).ok()?;
    // A probe's place goes back: one attempt is enough for it.
    let is_free = !circuit.as_ref().is_some_and(Guard::is_probe);
    let patience = options.retry.max_retry_after;
    is_free.then(|| Pass { waited: Duration::ZERO, turn, circuit, patience })
}

/// How the attempt under way asks for its turn.
fn ask<'a>(life: &Life<'_>, model: &'a Arc<str>, record: &Record) -> Ask<'a> {
    let Life { options, cost, .. } = *life;
    let until = record.attempt_began() + options.timeouts.queue;
    Ask { model, priority: options.priority, since: record.started(), cost, until }
}

/// Past the circuit, if there is one.
fn circuit_of(client: &Client, model: &Arc<str>, now: Instant) -> Result<Option<Guard>, Failed> {
    let Some(circuits) = client.circuits.as_ref() else { return Ok(None) };
    let guard = circuits.admit(model, now).map_err(|denied| circuit_open(denied.until))?;
    client.tell_of_circuits(model, guard.changes());
    Ok(Some(guard))
}

impl Pass {
    /// Whether a circuit waits for what comes of it.
    pub(super) fn is_probe(&self) -> bool {
        self.circuit.as_ref().is_some_and(Guard::is_probe)
    }

    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether the attempt may still go, now that there is a socket for it that it waited so long for. Meanwhile the circuit may have
    /// opened, which is an error. Or its model has been paused, or limits of it become known: then its turn is given back, and it is to
    /// let go of the socket and [wait again](Self::wait_again).
    pub(super) fn still_goes(
        &mut self,
        life: &Life<'_>,
        record: &Record,
        waited: Duration,
    ) -> Result<bool, Failed> {
        if waited.is_zero() && self.turn.waited.is_zero() {
            return Ok(true);
        }
        let model = record.model_asked();
        if !life.client.admission.renew(&mut self.turn, &ask(life, model, record)) {
            return Ok(false);
        }
        // A probe is what its circuit waits for.
        if !waited.is_zero() && self.circuit.as_ref().is_some_and(|guard| !guard.is_probe()) {
            self.circuit = circuit_of(life.client, model, Instant::now())?;
        }
        Ok(true)
    }

    /// For one that can no longer go, and has `waited` for a socket. It stands where its age puts it.
    ///
    /// # Cancel safety
    /// As of [`admit`].
    pub(super) async fn wait_again(
        &mut self,
        life: &Life<'_>,
        record: &mut Record,
        waited: Duration,
    ) -> Result<(), Failed> {
        let Life { client, options, .. } = *life;
        // Whoever waits holds nothing: neither a turn of the provider's, nor the place of a probe.
        self.turn = Turn::default();
        self.circuit = None;
        let model = record.model_asked().clone();
        let turn = client.admission.enter_again(ask(life, &model, record)).await;
        self.turn = turn.map_err(|refused| denied(refused, options.timeouts.queue))?;
        let waited = waited + self.turn.waited;
        record.waited(waited);
        self.waited += waited;
        self.circuit = circuit_of(client, &model, Instant::now())?;
        Ok(())
    }

    /// The request goes out.
    pub(super) fn sent(&mut self) {
        self.turn.sent();
    }

    /// The head of the answer is there: what it says of limits holds for whoever comes next. Of a refusal that is seen to when its
    /// body has come, since that says whether there were too many calls or too little credit.
    pub(super) fn answered(&mut self, client: &Client, record: &Record, first_byte: Duration) {
        if is_refusal(record) {
            return;
        }
        // The time of an error is no latency: mistakes are answered quickly.
        if (200..300).contains(&record.status()) {
            self.turn.answered(first_byte);
        }
        self.learn(client, record);
    }

    fn learn(&mut self, client: &Client, record: &Record) {
        if let Some(learned) = learned(record.headers(), SystemTime::now()) {
            client.admission.learn(record.model_asked(), &mut self.turn, &learned);
        }
    }

    /// There were too many calls: nothing is left, but for what the header fields say.
    fn throttled(&mut self, client: &Client, record: &Record) {
        self.turn.throttled(record.first_byte);
        client.admission.throttled(record.model_asked());
        let wait = retry_after(record.headers(), SystemTime::now());
        if let Some(wait) = wait.filter(|wait| *wait <= self.patience) {
            client.admission.pause(record.model_asked(), Instant::now() + wait);
        }
    }

    /// The first content of a stream is there, and the rest may take minutes: the circuit that this is the probe of waits no longer. A cut
    /// after this is a failure as with any other call.
    pub(super) fn spoke(&mut self, client: &Client, record: &Record) {
        if let Some(guard) = self.circuit.as_mut().filter(|guard| guard.is_probe()) {
            client.tell_of_circuits(record.model_asked(), guard.answers(Instant::now()));
        }
    }

    /// The attempt has ended.
    pub(super) fn settle(mut self, client: &Client, record: &mut Record, failed: Option<&FailedAttempt>) {
        if let Some(tokens) = record.tokens {
            self.turn.used(tokens);
        }
        if failed.is_some_and(|failed| judge::is_throttle(failed.failure)) {
            self.throttled(client, record);
        }
        if is_refusal(record) {
            self.learn(client, record);
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

/// Whether the answer is a refusal, for one reason or another.
fn is_refusal(record: &Record) -> bool {
    matches!(record.status(), 429 | 529)
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
