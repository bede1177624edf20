//! What is noted of calls as they go: counted, logged, told to who listens, and held against their targets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use super::provider::Provider;
use super::record::Record;
use super::shared::TellOfCircuit;
use super::targets::Target;
use crate::config::CallOptions;
use crate::error::{Attempt, Error};
use crate::policy::alerts::{Alert, AlertPolicy, Alerts, SPANS};
use crate::policy::breaker::{Outcome, State};
use crate::policy::circuits::Changes;
use crate::pool::Tasks;
use crate::telemetry::{Audience, Event, Events, NONE as NO_MODEL};

impl Client {
    /// A call has ended, other than by its caller's leaving.
    pub(super) fn note_end(&self, record: &Record, is_good: bool) {
        if is_good {
            self.log_answer(record);
        }
        if let Some(alerts) = &self.alerts {
            alerts.record(is_good, record.retries, record.total(), Instant::now());
        }
    }

    fn log_answer(&self, record: &Record) {
        if !tracing::enabled!(target: "trunkline::call", tracing::Level::DEBUG) {
            return;
        }
        let (client, provider, model) = (self.number, &**record.provider(), &*record.model);
        let (status, attempts) = (record.status(), record.attempts.len());
        let total = record.total().as_secs_f64() * 1000.0;
        tracing::debug!(target: "trunkline::call", client, provider, model, status, attempts, total, "answered");
    }

    /// Its message, and not its cause, which may be the caller's own words.
    pub(super) fn log_failure(&self, error: &Error) {
        let (client, code) = (self.number, error.name_and_code().1);
        let (provider, model) = (error.provider.as_deref(), error.model.as_deref());
        let (attempts, retryable) = (error.attempts.len(), error.retryable);
        tracing::warn!(target: "trunkline::call", client, provider, model, code, attempts, retryable, error = error.message, "failed");
    }

    /// An attempt has failed, and another follows.
    pub(super) fn note_retry(&self, record: &mut Record, delay: Duration) {
        self.counters.retried();
        if let Some(row) = record.row() {
            row.retried.fetch_add(1, Ordering::Relaxed);
        }
        record.retries += 1;
        if let Some(attempt) = record.attempts.last() {
            let delay = delay.as_secs_f64() * 1000.0;
            let Attempt { provider, model, status, error, .. } = attempt;
            tracing::debug!(target: "trunkline::call", client = self.number, provider = &**provider, model = &**model, status, error, delay, "again");
            self.events.tell(|| Event::Retry { attempt: attempt.clone(), delay });
        }
    }

    /// The deadline has ended an attempt. A whole answer may think for as long as that; but where nothing at all came for as long as a stream
    /// would be given, it is the target that was silent.
    pub(super) fn note_silence(&self, record: &Record, options: &CallOptions) {
        let Ok(provider) = self.provider(record.provider()) else { return };
        let limit = provider.timeouts(options).first_byte;
        if record.silence().is_none_or(|silence| silence < limit) {
            return;
        }
        let (model, now) = (record.model_asked(), Instant::now());
        if let Some(guard) = provider.circuits.as_ref().and_then(|circuits| circuits.admit(model, now).ok()) {
            self.tell_of_circuits(provider, model, guard.changes());
            let changes = guard.settle(Outcome::Failure, now);
            self.tell_of_circuits(provider, model, changes);
        }
    }

    /// A target is given up for another.
    pub(super) fn note_failover(&self, from: &Target, to: &Target, record: &Record, error: &Error) {
        self.counters.failed_over();
        if let Some(row) = record.row() {
            row.failed_over.fetch_add(1, Ordering::Relaxed);
        }
        let wanted = record.wanted();
        let (_, reason) = error.name_and_code();
        let (from, to) = (from.label(wanted), to.label(wanted));
        tracing::info!(target: "trunkline::call", client = self.number, from, to, reason, "failed over");
        self.events.tell(|| Event::Failover { from, to, reason });
    }

    pub(super) fn tell_of_circuits(&self, provider: &Provider, model: &Arc<str>, changes: Changes) {
        if let Some(shared) = &self.shared
            && changes != Changes::default()
        {
            shared.post(provider.name(), model, changes);
        }
        let changed = [(changes.model, Some(model)), (changes.provider, None)];
        for (state, model) in changed.into_iter().filter_map(|(state, model)| Some((state?, model))) {
            self.log_circuit(provider.name(), model.map(|model| &**model), state.as_str());
            self.common.audience.tell(|| circuit_event(provider.name(), model, state));
        }
    }

    fn log_circuit(&self, provider: &str, model: Option<&str>, state: &'static str) {
        let client = self.number;
        match state {
            "open" => tracing::warn!(target: "trunkline::circuit", client, provider, model, "opened"),
            _ => tracing::info!(target: "trunkline::circuit", client, provider, model, state, "changed"),
        }
    }
}

/// Tells of circuits that other processes found open, or closed.
pub(super) fn tell_of_others(audience: &Arc<Audience>) -> TellOfCircuit {
    let audience = audience.clone();
    Box::new(move |provider, model, state| {
        audience.tell(|| circuit_event(provider, model.as_ref(), state));
    })
}

fn circuit_event(provider: &Arc<str>, model: Option<&Arc<str>>, state: State) -> Event {
    let model = model.map(|model| if model.is_empty() { NO_MODEL.into() } else { model.clone() });
    Event::Circuit { provider: provider.clone(), model, state: state.as_str() }
}

/// Alerts, and what tells of them for as long as there is a client.
pub(super) fn watch(client: u32, policy: AlertPolicy, events: &Arc<Events>, tasks: &Tasks) -> Arc<Alerts> {
    let alerts = Arc::new(Alerts::new(policy));
    let (watched, events) = (Arc::downgrade(&alerts), Arc::downgrade(events));
    let pause = policy.window / SPANS as u32;
    tasks.spawn("alerts", async move {
        loop {
            tokio::time::sleep(pause).await;
            let (Some(alerts), Some(events)) = (watched.upgrade(), events.upgrade()) else { return };
            for alert in alerts.check(Instant::now()) {
                let Alert { name, state, value, threshold } = alert;
                tracing::warn!(target: "trunkline::alert", client, ?name, ?state, value, threshold, "changed");
                events.tell(|| Event::Alert(alert));
            }
        }
    });
    alerts
}
