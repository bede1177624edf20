//! The life of a call.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use super::endpoint::{Endpoint, Outgoing};
use super::exchange::{Failed, FailedAttempt, Response};
use super::journey::{Accepted, Journey};
use super::money::Bill;
use super::pass::{self, Pass};
use super::provider::Provider;
use super::race;
use super::record::{Record, limits_of};
use super::targets::Target;
use crate::config::CallOptions;
use crate::error::{Billed, Error, Kind, TimeoutPhase, millis};
use crate::policy::breaker::Outcome;
use crate::policy::judge::{self, Failure, Next, Tries, Verdict};
use crate::policy::keys::Excluded;
use crate::policy::rate::Cost;
use crate::policy::route::takes_more;
use crate::policy::timeouts::Timeouts;
use crate::pool::Tenant;
use crate::telemetry::CallGuard;

/// A call as the border hands it over: the body is JSON text.
pub struct Call {
    pub endpoint: Endpoint,
    pub body: String,
    pub options: Arc<CallOptions>,
}

/// What a call came to: two texts of JSON, in UTF-8.
#[derive(Debug)]
pub struct Answer {
    pub body: bytes::Bytes,
    pub meta: Vec<u8>,
}

/// Not its body, which is what the caller says to a model, nor its path, whose query may have a key.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("options", &self.options).finish_non_exhaustive()
    }
}

/// How the body of a good answer is taken in: whole, or as a stream.
pub(super) trait Consume: Send {
    /// Whether a stream is asked for: its first piece has a time limit, and its `Accept` header a name.
    const STREAMED: bool;

    /// Takes the body of one attempt in. Called again if the attempt failed and another is made. `pass`: to be told as soon as there is
    /// something of a stream.
    fn consume(
        &mut self,
        life: &Life<'_>,
        response: Response,
        record: &mut Record,
        pass: &mut Pass,
    ) -> impl Future<Output = Result<bytes::Bytes, Failed>> + Send;

    /// What the next attempt is given as the beginning of its answer.
    fn prefill(&self) -> Option<&str> {
        None
    }

    /// The error of a call that nobody else is asked for: that of its last attempt, unless an earlier one left more to tell.
    fn lost(&mut self, last: Error) -> Error {
        last
    }
}

/// Who hears how it ends.
pub(super) enum Counted {
    /// The caller.
    Call(CallGuard),
    /// The calls that wait for this exchange. They are what counts, and it does not.
    Exchange,
}

/// Makes a call that was accepted, and settles it.
pub(super) async fn run<C: Consume>(
    client: &Client,
    call: Call,
    accepted: &Accepted,
    consumer: &mut C,
) -> Result<Answer, Error> {
    let Call { endpoint, body, options } = call;
    let journey = Journey::plan(client, &endpoint, body.into(), accepted, &options, C::STREAMED)?;
    // What nobody can be sent is refused before it counts.
    let first = journey.begin(C::STREAMED)?;
    let mut record = accepted.record();
    let counted = accepted.begin(client, &mut record);
    let ended = live(&journey, first, &mut record, consumer).await;
    settle(client, counted, &record, ended.map_err(|error| consumer.lost(error)))
}

/// Counts how a call ended, and tells what is known of it.
pub(super) fn settle(
    client: &Client,
    counted: Counted,
    record: &Record,
    ended: Result<bytes::Bytes, Error>,
) -> Result<Answer, Error> {
    match counted {
        Counted::Call(guard) => {
            if ended.is_ok() {
                record.count_pace();
            }
            guard.settle(record.row(), record.end(ended.as_ref().err()), record.total());
        }
        Counted::Exchange => {
            record.show();
            return ended.map(|body| Answer { body, meta: Vec::new() });
        }
    }
    client.note_end(record, ended.is_ok());
    match ended {
        Ok(body) => Ok(Answer { body, meta: record.to_json() }),
        Err(error) => {
            let error = record.complete(error);
            client.log_failure(&error);
            Err(error)
        }
    }
}

/// Targets, attempts, and the deadline that ends them.
pub(super) async fn live<C: Consume>(
    journey: &Journey<'_>,
    first: Option<Box<Outgoing>>,
    record: &mut Record,
    consumer: &mut C,
) -> Result<bytes::Bytes, Error> {
    let ended = journey.in_time(pin!(targets(journey, first, record, consumer))).await;
    match ended {
        Some(ended) => ended,
        None => {
            journey.client.note_silence(record, journey.options);
            let error = out_of_time(journey.options, record);
            record.end_attempt(Some(&error));
            Err(error)
        }
    }
}

/// One target after the other, until one answers or the table says that none will be asked.
async fn targets<C: Consume>(
    journey: &Journey<'_>,
    mut first: Option<Box<Outgoing>>,
    record: &mut Record,
    consumer: &mut C,
) -> Result<bytes::Bytes, Error> {
    let Journey { client, accepted, options, ref path, request, .. } = *journey;
    let mut before: Option<(&Target, GivenUp)> = None;
    // Whoever takes no more than these is not asked, whatever fails after them.
    let mut too_small: Vec<&Target> = Vec::new();
    // The last error is told, but the call may go well later if any of its targets may.
    let mut retryable = false;
    let asked = record.wanted().clone();
    let mut targets = path.iter().peekable();
    while let Some(target) = targets.next() {
        if let Some((_, GivenUp { next, .. })) = &before {
            let is_next = match next {
                Next::Never | Next::IfRecovered => false,
                Next::Yes | Next::LargerContext => true,
                Next::IfRouteSaysSo => path.on_content_filter,
            };
            let takes_it =
                |failed: &&Target| takes_more(target.max_input_tokens, failed.max_input_tokens, request);
            let goes_on = consumer.prefill().is_none() || target.takes_prefill(&asked);
            if !(is_next && goes_on && too_small.iter().all(takes_it)) {
                continue;
            }
        }
        let (provider, model) = (&*target.provider, target.model_for(&asked));
        let words =
            first.take().map_or_else(|| journey.outgoing(target, C::STREAMED, consumer.prefill()), Ok);
        let affordable = match words {
            Ok(outgoing) => journey.afford(provider, &model).await.map(|hold| (outgoing, hold)),
            Err(error) => Err(error),
        };
        let (outgoing, hold) = match affordable {
            Ok(affordable) => affordable,
            // It has no words for it, or would cost too much. Another may have them, or cost less.
            Err(error) => {
                if before.is_none() {
                    record.aim(&client.counters, provider.name(), model, &[]);
                    before = Some((target, GivenUp { error, next: Next::Yes }));
                }
                continue;
            }
        };
        if let Some((failed, GivenUp { error, .. })) = &before {
            client.note_failover(failed, target, record, error);
        }
        provider.begin(Instant::now());
        let life = Life {
            client,
            provider,
            outgoing: &outgoing,
            options,
            timeouts: provider.timeouts(options),
            repeatable: accepted.repeatable,
            cost: provider.cost(accepted, &model, outgoing.body.len()),
            request: &journey.body,
            is_model_call: journey.is_model_call(),
            fail_fast: targets.peek().is_some(),
        };
        record.aim(&client.counters, provider.name(), model, &outgoing.dropped);
        record.hold.0 = hold;
        match attempts(journey, target, life, record, consumer).await {
            Ok(body) => return Ok(body),
            Err(mut given_up) => {
                retryable |= given_up.error.retryable;
                given_up.error.retryable = retryable;
                if given_up.next == Next::LargerContext {
                    too_small.push(target);
                }
                before = Some((target, given_up));
            }
        }
    }
    // A client has a provider, and a route a target.
    Err(before.map_or_else(Error::closed, |(_, GivenUp { error, .. })| error))
}

/// Why no further attempt is made at a target, and who may be asked instead.
#[derive(Debug)]
struct GivenUp {
    error: Error,
    next: Next,
}

/// What all attempts at a target share.
#[derive(Clone, Copy)]
pub(super) struct Life<'a> {
    pub(super) client: &'a Client,
    pub(super) provider: &'a Provider,
    pub(super) outgoing: &'a Outgoing,
    pub(super) options: &'a CallOptions,
    pub(super) timeouts: Timeouts,
    pub(super) repeatable: bool,
    /// What each attempt counts against limits of rate.
    pub(super) cost: Cost,
    /// As it was handed over.
    request: &'a bytes::Bytes,
    is_model_call: bool,
    /// Whether another target is there, so that none is waited for that has just taken no connection.
    pub(super) fail_fast: bool,
}

impl Life<'_> {
    /// What an attempt comes to that goes out now.
    pub(super) fn bill(&self, record: &Record) -> Bill {
        let tenant = self.options.tenant.as_ref().map(Tenant::name);
        let (money, ledger) = (&self.client.money, &self.provider.ledger);
        Bill::open(money, ledger, record.model_asked(), tenant, self.request, self.is_model_call)
    }
}

/// One attempt after the other at one target, until one is good or the table says that none will be.
async fn attempts<C: Consume>(
    journey: &Journey<'_>,
    target: &Target,
    life: Life<'_>,
    record: &mut Record,
    consumer: &mut C,
) -> Result<bytes::Bytes, GivenUp> {
    let Life { client, provider, options, repeatable, .. } = life;
    let keys = provider.keys();
    let elsewhere = |error| GivenUp { error, next: Next::Yes };
    let model = record.model_asked().clone();
    let is_free = |key| provider.admission.is_free(&limits_of(&model, keys.number(key)), life.cost);
    let mut key = keys.get(&is_free).await.map_err(elsewhere)?;
    let (mut tries, mut refused, mut fresh) = (Tries::default(), Excluded::default(), false);
    // The first that was refused of those that can be asked for again.
    let mut stale = None;
    let (mut continued, mut earlier) = (None, None);
    loop {
        let life = Life {
            outgoing: continued.as_deref().unwrap_or(life.outgoing),
            // A retry is meant for this one.
            fail_fast: life.fail_fast && earlier.is_none(),
            ..life
        };
        record.begin_attempt(keys.number(key.index()));
        record.tell_of_attempt(provider);
        let mut running = target.load.as_ref().map(|load| load.begin(journey.request.wait));
        let attempt = async {
            let pass = pass::admit(&life, record).await?;
            let (mut pass, response) = race::exchange::<C>(&life, &key, fresh, record, pass).await?;
            let ended = consumer.consume(&life, response, record, &mut pass).await;
            pass.settle(&life, record, ended.as_ref().err().map(|failed| &**failed));
            ended
        };
        let ended = attempt.await;
        if let Some(running) = &mut running {
            let outcome =
                ended.as_ref().map_or_else(|failed| judge::blame(failed.failure), |_| Outcome::Success);
            let now = record.attempt_ends();
            running.ended(outcome, record.first_byte, now - record.attempt_began(), now);
        }
        let FailedAttempt { mut failure, error } = match ended {
            Ok(body) => {
                keys.success(&key);
                record.end_attempt(None);
                return Ok(body);
            }
            Err(failed) => *failed,
        };
        let name = provider.named_in(&error);
        let error = error.of_provider(&name);
        record.end_attempt(Some(&error));
        if let Some(strike) = judge::strike(failure) {
            if !record.is_replayed {
                keys.strike(&key, strike);
            }
            refused.add(key.index());
        }
        if judge::new_key(failure) && stale.is_none() && keys.can_renew(&key) {
            keys.renew_meanwhile(&key);
            stale = Some(key.clone());
        }
        let mut next = options.retry.next_target(failure, repeatable);
        if failure == Failure::Circuit
            && let Some(error) = earlier
        {
            // What opened it says more.
            return Err(GivenUp { error, next });
        }
        if consumer.prefill().is_some() && next == Next::Never && matches!(failure, Failure::Status { .. }) {
            // The caller's request was good enough for an answer to begin: what this one refuses is the prefill, which is ours.
            next = Next::Yes;
        }
        if consumer.prefill().is_some() && !target.takes_prefill(record.wanted()) {
            return Err(GivenUp { error, next });
        }
        if judge::other_key(failure)
            && (repeatable || judge::is_unprocessed(failure))
            && let Some(other) = keys.other(refused, &is_free).await
        {
            key = other;
            client.note_retry(record, Duration::ZERO);
            earlier = Some(error);
            continue;
        }
        // All are limited: the one that wakes first is waited for, which need not be the last.
        let first = keys.first_to_wake(&mut failure).await;
        let left = journey.deadline().saturating_duration_since(Instant::now());
        let afford = || provider.retries.retry(Instant::now());
        match options.retry.judge(failure, &mut tries, repeatable, left, afford) {
            Verdict::Fail => return Err(GivenUp { error, next }),
            Verdict::Again { new_key: true, .. } if stale.is_none() => return Err(GivenUp { error, next }),
            // Nobody waits for what would be refused then.
            Verdict::Again { delay, .. } if provider.is_open_for(&model, delay) => {
                return Err(GivenUp { error, next });
            }
            Verdict::Again { delay, new_key } => {
                client.note_retry(record, delay);
                // What a cassette says, it says at once.
                if !record.is_replayed {
                    tokio::time::sleep(delay).await;
                }
                match (&stale, first) {
                    (Some(stale), _) if new_key => key = keys.renew(stale).await.map_err(elsewhere)?,
                    (_, Some(first)) => key = first,
                    _ => {}
                }
                // What rested beside a dead socket may be dead as well; and what rested beside a connection that is the wrong one, as
                // wrong. Those are given no more requests themselves.
                fresh = matches!(
                    failure,
                    Failure::Unprocessed | Failure::NoResponseReused | Failure::Status { status: 421, .. }
                );
                earlier = Some(error);
            }
        }
        if let Some(prefill) = consumer.prefill() {
            continued = Some(journey.outgoing(target, C::STREAMED, Some(prefill)).map_err(elsewhere)?);
        }
    }
}

/// The error of a call that took longer than it may.
pub(super) fn out_of_time(options: &CallOptions, record: &Record) -> Error {
    let limit_ms = millis(options.total);
    let mut error = Error::new(
        Kind::Timeout { phase: TimeoutPhase::Total, limit_ms },
        format!("the call took longer than timeouts.total ({limit_ms} ms)"),
    );
    error.retryable = true;
    error.billed = if record.is_sent() { Billed::Maybe } else { Billed::No };
    error
}
