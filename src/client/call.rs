//! The life of a call.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Client;
use super::endpoint::{Endpoint, Outgoing};
use super::exchange::{Failed, FailedAttempt, Response};
use super::pass::{self, Pass};
use super::race;
use super::record::Record;
use crate::config::CallOptions;
use crate::error::{Billed, Error, Kind, TimeoutPhase, millis};
use crate::policy::judge::{Failure, Tries, Verdict};
use crate::policy::rate::Cost;
use crate::protocol::json::Members;
use crate::protocol::openai::Asked;
use crate::telemetry::CallGuard;

/// A call as the border hands it over: the body is JSON text.
#[derive(Debug)]
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

/// How the body of a good answer is taken in: whole, or as a stream.
pub(super) trait Consume: Send {
    /// Whether a stream is asked for: its first piece has a time limit, and its `Accept` header a name.
    const STREAMED: bool;

    /// Takes the body of one attempt in. Called again if the attempt failed and another is made. `pass`: to be told as soon as there is
    /// something of a stream.
    fn consume(
        &mut self,
        client: &Client,
        response: Response,
        record: &mut Record,
        pass: &mut Pass,
    ) -> impl Future<Output = Result<bytes::Bytes, Failed>> + Send;

    /// What the next attempt is given as the beginning of its answer.
    fn prefill(&self) -> Option<&str> {
        None
    }
}

/// What is known of a request before it is sent.
pub(super) struct Accepted {
    /// When it was handed over: calls that wait are ordered by it.
    pub(super) arrived: Instant,
    pub(super) asked: Option<Asked>,
    /// Whether repeating it is safe even where it may have been processed.
    pub(super) repeatable: bool,
}

impl Accepted {
    /// The model that was asked for; empty where none was.
    pub(super) fn model(&self) -> &str {
        self.asked.as_ref().and_then(|asked| asked.model.as_deref()).unwrap_or_default()
    }
}

/// Reads what policy needs, and refuses what cannot be sent.
pub(super) fn accept(call: &Call, arrived: Instant) -> Result<Accepted, Error> {
    let needs_model = matches!(call.endpoint, Endpoint::Chat | Endpoint::Embeddings);
    let asked = match call.endpoint {
        Endpoint::Get(_) => None,
        _ => match Members::of(&call.body) {
            Ok(members) => Some(Asked::of(&members)),
            Err(_) if !needs_model => None,
            Err(error) => {
                // Where, and not serde's own words: they repeat a string that stands in the place of an object.
                let (line, column) = (error.0.line(), error.0.column());
                let cause = format!("no JSON object, seen at line {line}, column {column}");
                return Err(Error::config("request: must be an object").caused_by(Some(cause)));
            }
        },
    };
    if needs_model {
        match asked.as_ref().and_then(|asked| asked.model.as_deref()) {
            None => return Err(Error::config("request.model: must be a string")),
            Some("") => return Err(Error::config("request.model: must not be empty")),
            Some(_) => {}
        }
    }
    let repeatable = call.options.idempotent || !matches!(call.endpoint, Endpoint::Post(_));
    Ok(Accepted { arrived, asked, repeatable })
}

/// Makes a call that was accepted, and settles it.
pub(super) async fn run<C: Consume>(
    client: &Client,
    call: Call,
    accepted: &Accepted,
    consumer: &mut C,
) -> Result<Answer, Error> {
    let Call { endpoint, body, options } = call;
    // What cannot be sent is refused before it counts.
    let outgoing = client.endpoints.outgoing(&endpoint, body, C::STREAMED, &options)?;
    let guard = client.begin(accepted.arrived);
    let mut record = Record::new(guard.started(), accepted.model());
    let life = Life {
        client,
        outgoing: &outgoing,
        options: &options,
        repeatable: accepted.repeatable,
        cost: client.cost(accepted, outgoing.body.len()),
        deadline: guard.started() + options.timeouts.total,
    };
    let ended = live(life, &mut record, consumer).await;
    settle(client, guard, &record, ended)
}

/// Counts how a call ended, and tells what is known of it.
pub(super) fn settle(
    client: &Client,
    guard: CallGuard,
    record: &Record,
    ended: Result<bytes::Bytes, Error>,
) -> Result<Answer, Error> {
    guard.settle(ended.is_ok(), record.total());
    client.note_end(record, ended.is_ok());
    match ended {
        Ok(body) => Ok(Answer { body, meta: record.to_json() }),
        Err(error) => Err(record.complete(error)),
    }
}

/// What all attempts of a call share.
#[derive(Clone, Copy)]
pub(super) struct Life<'a> {
    pub(super) client: &'a Client,
    pub(super) outgoing: &'a Outgoing,
    pub(super) options: &'a CallOptions,
    pub(super) repeatable: bool,
    /// What each attempt counts against limits of rate.
    pub(super) cost: Cost,
    pub(super) deadline: Instant,
}

/// Attempts, and the deadline that ends them.
pub(super) async fn live<C: Consume>(
    life: Life<'_>,
    record: &mut Record,
    consumer: &mut C,
) -> Result<bytes::Bytes, Error> {
    match timeout_at(life.deadline, attempts(life, record, consumer)).await {
        Ok(ended) => ended,
        Err(_) => {
            let billed = if record.is_sent() { Billed::Maybe } else { Billed::No };
            let error = total_timeout(life.options.timeouts.total, billed);
            record.end_attempt(Some(&error));
            Err(error)
        }
    }
}

/// One attempt after the other, until one is good or the table says that none will be.
async fn attempts<C: Consume>(
    life: Life<'_>,
    record: &mut Record,
    consumer: &mut C,
) -> Result<bytes::Bytes, Error> {
    let Life { client, options, repeatable, deadline, .. } = life;
    let mut tries = Tries::default();
    let mut key = client.keys.get(None).await?;
    let mut fresh = false;
    loop {
        record.begin_attempt();
        let attempt = async {
            let pass = pass::admit(&life, record).await?;
            let (mut pass, response) = race::exchange::<C>(&life, &key, fresh, record, pass).await?;
            let ended = consumer.consume(client, response, record, &mut pass).await;
            pass.settle(client, record, ended.as_ref().err().map(|failed| &**failed));
            ended
        };
        let FailedAttempt { failure, error } = match attempt.await {
            Ok(body) => {
                record.end_attempt(None);
                return Ok(body);
            }
            Err(failed) => *failed,
        };
        record.end_attempt(Some(&error));
        let left = deadline.saturating_duration_since(Instant::now());
        let afford = || client.retries.retry(Instant::now());
        match options.retry.judge(failure, &mut tries, repeatable, left, afford) {
            Verdict::Fail => return Err(error),
            Verdict::Again { new_key: true, .. } if !client.keys.can_renew() => return Err(error),
            Verdict::Again { delay, new_key } => {
                tracing::debug!(target: "trunkline::call", ?failure, ?delay, new_key, "again");
                client.counters.retried();
                record.retries += 1;
                client.tell_of_retry(record, delay);
                tokio::time::sleep(delay).await;
                if new_key {
                    key = client.keys.get(Some(&key)).await?;
                }
                // What rested beside a dead socket may be dead as well, and 421 means this connection.
                fresh = matches!(
                    failure,
                    Failure::Unprocessed | Failure::NoResponseReused | Failure::Status { status: 421, .. }
                );
            }
        }
    }
}

fn total_timeout(limit: Duration, billed: Billed) -> Error {
    let limit_ms = millis(limit);
    let mut error = Error::new(
        Kind::Timeout { phase: TimeoutPhase::Total, limit_ms },
        format!("the call took longer than timeouts.total ({limit_ms} ms)"),
    );
    error.retryable = true;
    error.billed = billed;
    error
}
