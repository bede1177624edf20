//! What lets one attempt go: its turn, and the circuit of its target.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::admission::Turn;
use super::call::Life;
use super::exchange::{Failed, FailedAttempt, failed};
use super::gate::{Ask, Refused};
use super::record::Record;
use super::shared;
use crate::error::{Error, Kind, TimeoutPhase, millis};
use crate::policy::breaker::Outcome;
use crate::policy::circuits::{Circuits, Guard, Opened, Why};
use crate::policy::judge::{self, Failure};
use crate::policy::learn::learned;
use crate::policy::retry_after::retry_after;

/// What the probe of another process has found out is known here after so long.
const NEXT_LOOK: Duration = Duration::from_secs(1);

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
    let options = life.options;
    let arrived = record.attempt_began();
    if let Some(shared) = &life.client.shared {
        shared.check().map_err(|error| failed(Failure::Final, error))?;
    }
    let (model, limits) = (record.model_asked().clone(), record.limited_as().clone());
    // Nobody waits for what would be refused then.
    let circuits = life.provider.circuits.as_ref();
    if !life.provider.admission.is_open()
        && let Some(circuits) = circuits
        && let Some(until) = circuits.denied(&model, arrived)
    {
        return Err(circuit_open(circuits, &model, until));
    }
    let waits = &life.client.counters.turns;
    let turn = life.provider.admission.enter(ask(life, &limits, record), waits).await;
    let turn = turn.map_err(|refused| denied(life, refused))?;
    record.waited(turn.waited);
    // It may have opened meanwhile; and of those that waited, one is the probe.
    let now = if turn.waited.is_zero() { arrived } else { Instant::now() };
    let circuit = own_probe(life, &model, circuit_of(life, &model, now)?).await?;
    Ok(Pass { waited: turn.waited, turn, circuit, patience: options.retry.max_retry_after })
}

/// A pass that is free now, and that nobody has to wait for.
pub(super) fn at_once(life: &Life<'_>, record: &Record) -> Option<Pass> {
    let options = life.options;
    let model = record.model_asked();
    let turn = life.provider.admission.at_once(&ask(life, record.limited_as(), record))?;
    let circuit = circuit_of(life, model, Instant::now()).ok()?;
    // A probe's place goes back: one attempt is enough for it.
    let is_free = !circuit.as_ref().is_some_and(Guard::is_probe);
    let patience = options.retry.max_retry_after;
    is_free.then(|| Pass { waited: Duration::ZERO, turn, circuit, patience })
}

/// How the attempt under way asks for its turn.
fn ask<'a>(life: &Life<'a>, limits: &'a Arc<str>, record: &Record) -> Ask<'a> {
    let Life { options, timeouts, cost, .. } = *life;
    let until = record.attempt_began() + timeouts.queue;
    let tenant = options.tenant.as_ref();
    Ask { model: limits, tenant, priority: options.priority, since: record.started(), cost, until }
}

/// Past the circuit, if there is one.
fn circuit_of(life: &Life<'_>, model: &Arc<str>, now: Instant) -> Result<Option<Guard>, Failed> {
    let Some(circuits) = life.provider.circuits.as_ref() else { return Ok(None) };
    let guard = circuits.admit(model, now).map_err(|denied| circuit_open(circuits, model, denied.until))?;
    life.client.tell_of_circuits(life.provider, model, guard.changes());
    Ok(Some(guard))
}

/// A probe goes if no other process has one on its way.
async fn own_probe(
    life: &Life<'_>,
    model: &Arc<str>,
    circuit: Option<Guard>,
) -> Result<Option<Guard>, Failed> {
    if let (Some(shared), Some(circuits)) = (&life.client.shared, &life.provider.circuits)
        && circuit.as_ref().is_some_and(Guard::is_probe)
        && !shared.may_probe(life.provider.name(), model).await
    {
        return Err(circuit_open(circuits, model, Instant::now() + NEXT_LOOK));
    }
    Ok(circuit)
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
    /// opened, which is an error. Or its model has been paused, limits of it have become known, or those that waited for sockets as well
    /// and went have left nothing of the rate: then its turn is given back, and it is to let go of the socket and
    /// [wait again](Self::wait_again).
    pub(super) fn still_goes(
        &mut self,
        life: &Life<'_>,
        record: &Record,
        waited: Duration,
    ) -> Result<bool, Failed> {
        let has_waited = !waited.is_zero() || !self.turn.waited.is_zero();
        let ask = ask(life, record.limited_as(), record);
        if !life.provider.admission.still_goes(&mut self.turn, &ask, has_waited) {
            return Ok(false);
        }
        // A probe is what its circuit waits for.
        if !waited.is_zero() && self.circuit.as_ref().is_some_and(|guard| !guard.is_probe()) {
            self.circuit = circuit_of(life, record.model_asked(), Instant::now())?;
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
        // Whoever waits holds nothing: neither a turn of the provider's, nor the place of a probe.
        self.turn = Turn::default();
        self.circuit = None;
        let (model, limits) = (record.model_asked().clone(), record.limited_as().clone());
        let waits = &life.client.counters.turns;
        let turn = life.provider.admission.enter_again(ask(life, &limits, record), waits).await;
        self.turn = turn.map_err(|refused| denied(life, refused))?;
        let waited = waited + self.turn.waited;
        record.waited(waited);
        self.waited += waited;
        self.circuit = own_probe(life, &model, circuit_of(life, &model, Instant::now())?).await?;
        Ok(())
    }

    /// The request goes out.
    pub(super) fn sent(&mut self) {
        self.turn.sent();
    }

    /// The head of the answer is there: what it says of limits holds for whoever comes next. Of a refusal that is seen to when its
    /// body has come, since that says whether there were too many calls or too little credit.
    pub(super) fn answered(&mut self, life: &Life<'_>, record: &Record, first_byte: Duration) {
        if is_refusal(record) {
            return;
        }
        // The time of an error is no latency: mistakes are answered quickly.
        if (200..300).contains(&record.status()) {
            self.turn.answered(first_byte);
        }
        self.learn(life, record);
    }

    fn learn(&mut self, life: &Life<'_>, record: &Record) {
        // What held when it was recorded holds nobody up now.
        if record.is_replayed {
            return;
        }
        if let Some(learned) = learned(record.headers(), SystemTime::now) {
            life.provider.admission.learn(record.limited_as(), &mut self.turn, &learned);
        }
    }

    /// There were too many calls: nothing is left, but for what the header fields say.
    fn throttled(&mut self, life: &Life<'_>, record: &Record) {
        self.turn.throttled(record.first_byte);
        life.provider.admission.throttled(record.limited_as());
        let wait = retry_after(record.headers(), SystemTime::now());
        if let Some(wait) = wait.filter(|wait| *wait <= self.patience) {
            life.provider.admission.pause(record.limited_as(), Instant::now() + wait);
        }
    }

    /// The first content of a stream is there, and the rest may take minutes: the circuit that this is the probe of waits no longer. A cut
    /// after this is a failure as with any other call.
    pub(super) fn spoke(&mut self, life: &Life<'_>, record: &Record) {
        if let Some(guard) = self.circuit.as_mut().filter(|guard| guard.is_probe()) {
            life.client.tell_of_circuits(life.provider, record.model_asked(), guard.answers(Instant::now()));
        }
    }

    /// The attempt has ended.
    pub(super) fn settle(mut self, life: &Life<'_>, record: &mut Record, failed: Option<&FailedAttempt>) {
        if let Some(tokens) = record.tokens {
            self.turn.used(tokens);
        }
        if !record.is_replayed && failed.is_some_and(|failed| judge::is_throttle(failed.failure)) {
            self.throttled(life, record);
        }
        if is_refusal(record) {
            self.learn(life, record);
        }
        let outcome = failed.map_or(Outcome::Success, |failed| judge::blame(failed.failure));
        if let Some(mut guard) = self.circuit.take() {
            // The caller's mistake says nothing against the target; to a probe it says that somebody is there.
            let is_there = failed.is_some_and(|failed| matches!(failed.failure, Failure::Status { .. }));
            let outcome = match outcome {
                Outcome::Neutral if is_there && guard.is_probe() => Outcome::Success,
                outcome => outcome,
            };
            if let Some(failed) = failed {
                guard.failed_by(why(failed));
            }
            let changes = guard.settle(outcome, record.attempt_ends());
            life.client.tell_of_circuits(life.provider, record.model_asked(), changes);
        }
    }
}

/// Whether the answer is a refusal, for one reason or another.
fn is_refusal(record: &Record) -> bool {
    matches!(record.status(), 429 | 529)
}

fn denied(life: &Life<'_>, refused: Refused) -> Failed {
    match refused {
        Refused::Full(waiting) => {
            let message = format!("{waiting} calls wait already, which is concurrency.maxQueue");
            let mut error = Error::new(Kind::QueueFull, message);
            error.retryable = true;
            failed(Failure::Queue, error)
        }
        Refused::Late => late("turn", life.timeouts.queue),
        Refused::Unshared => failed(Failure::Final, shared::unavailable(life.client.shared.as_deref())),
    }
}

/// No turn or no free connection in time. Both are waited for under one limit, which is told, and not what is left of it.
pub(super) fn late(what: &str, limit: Duration) -> Failed {
    let limit_ms = millis(limit);
    let message = format!("no {what} within timeouts.queue ({limit_ms} ms)");
    let mut error = Error::new(Kind::Timeout { phase: TimeoutPhase::Queue, limit_ms }, message);
    error.retryable = true;
    failed(Failure::Queue, error)
}

fn why(failed: &FailedAttempt) -> Why {
    let status = match failed.failure {
        Failure::Status { status, .. } => Some(status),
        _ => None,
    };
    Why { code: failed.error.name_and_code().1, status }
}

fn circuit_open(circuits: &Circuits, model: &Arc<str>, until: Instant) -> Failed {
    let retry_after_ms = millis(until.saturating_duration_since(Instant::now())).max(1);
    // It may have closed since: then there is no more to say.
    let Opened { is_providers, failures, last } = circuits.opened(model).unwrap_or_default();
    let mut message = match &**model {
        _ if is_providers => "the circuit of all its models is open".to_owned(),
        "" => "the circuit is open".to_owned(),
        model => format!("the circuit of the model '{model}' is open"),
    };
    if failures > 0 {
        message
            .push_str(&format!(" after {failures} {}", if failures == 1 { "failure" } else { "failures" }));
        match last {
            Some(Why { status: Some(status), .. }) => message.push_str(&format!(" (the last: {status})")),
            Some(Why { code, .. }) => message.push_str(&format!(" (the last: {code})")),
            None => {}
        }
    }
    message.push_str(&format!("; it is tried again in {retry_after_ms} ms"));
    let mut error = Error::new(Kind::CircuitOpen { retry_after_ms }, message);
    error.retryable = true;
    failed(Failure::Circuit, error)
}
