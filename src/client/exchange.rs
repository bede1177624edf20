//! One attempt up to the head of its answer: a lease, a request, and what its failures mean.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::Client;
use super::body::{Body, BodyError};
use super::call::{Consume, Life};
use super::cassette::{Answered, Replayed};
use super::endpoint::Described;
use super::keys::UsedKey;
use super::pass::{Pass, late};
use super::record::Record;
use super::witness::{Question, Told, Witness};
use crate::error::{Api, Billed, ConnectionPhase, Error, Kind, TimeoutPhase, millis};
use crate::policy::judge::{Failure, Meaning};
use crate::policy::retry_after::{retry_after, should_retry};
use crate::pool::{self, Checkout, Lane};
use crate::protocol::dialect::Protocol;
use crate::protocol::openai::{ErrorClass, class_of};

/// A body that is taken whole may have this many bytes: 64 MiB.
pub(super) const MAX_BODY: usize = 64 * 1024 * 1024;
/// Of an error's body, this much is kept: 1 MiB.
const MAX_ERROR_BODY: usize = 1024 * 1024;
/// Of a path, a message has this many characters.
const MAX_PATH: usize = 128;

/// A failed attempt: what the table judges, and what the caller sees if nothing is left. Boxed, since it is rare.
pub(super) type Failed = Box<FailedAttempt>;

#[derive(Debug)]
pub(super) struct FailedAttempt {
    pub(super) failure: Failure,
    pub(super) error: Error,
}

/// A good answer whose body is still to come.
#[derive(Debug)]
pub(super) struct Response {
    /// What was read of the body already.
    pub(super) begun: VecDeque<Bytes>,
    pub(super) body: Body,
    /// When the request was sent.
    pub(super) sent: Instant,
    pub(super) first_byte_limit: Duration,
    pub(super) idle_limit: Duration,
}

pub(super) fn failed(failure: Failure, error: Error) -> Failed {
    Box::new(FailedAttempt { failure, error })
}

/// Takes a lease, sends the request and waits for the head of the answer. An answer that is an error is a failure.
pub(super) async fn exchange<C: Consume>(
    life: &Life<'_>,
    key: &UsedKey,
    fresh: bool,
    record: &mut Record,
    pass: &mut Pass,
) -> Result<Response, Failed> {
    let Life { client, provider, outgoing, options, timeouts, .. } = *life;
    let origin = provider.origin();
    // Before there is a socket, which nobody else could use meanwhile. Boxed, as it is rare, and kept through the waits.
    let own = match record.asked_before() {
        Some((witness, number)) => Some(Box::pin(own_headers(life, witness, number, record)).await?),
        None => None,
    };
    let mut recorder = None;
    if let Some(cassette) = &client.cassette {
        let answered = cassette.ask(&outgoing.asked(key), &client.tasks);
        match answered.map_err(|error| failed(Failure::Final, error))? {
            Answered::Replayed(replayed) => return replay::<C>(life, key, *replayed, record, pass).await,
            Answered::Blank(blank) => recorder = Some(blank),
        }
    }
    let lease = loop {
        let how = Checkout {
            lane: if C::STREAMED { Lane::Streaming } else { Lane::Unary },
            // One that is tried again, or waited for its turn, keeps its age.
            since: Some(record.started()),
            queue_timeout: timeouts.queue.saturating_sub(pass.waited()),
            fresh,
            fail_fast: life.fail_fast,
            ..provider.checkout(options, &timeouts)
        };
        let lease = client.pool().checkout(origin, how).await.map_err(|error| match error.kind() {
            pool::Kind::QueueTimeout(_) => late("free connection", timeouts.queue),
            _ => pool_failed(&error),
        })?;
        if pass.still_goes(life, record, lease.waited())? {
            break lease;
        }
        // Others may go on it meanwhile.
        let waited = lease.waited();
        drop(lease);
        pass.wait_again(life, record, waited).await?;
    };
    record.leased(&lease);

    let request = outgoing.request(lease.protocol(), key, own);
    let sent = Instant::now();
    record.sent(outgoing.asks(), life.bill(record));
    pass.sent();
    client.counters.sent(outgoing.body.len());
    let head = if C::STREAMED {
        let in_time = timeout_at(sent + timeouts.first_byte, lease.send(request)).await;
        in_time.map_err(|_| silence(TimeoutPhase::FirstByte, timeouts.first_byte))?
    } else {
        // An answer that comes whole may think as long as the call may last.
        lease.send(request).await
    };
    let response = head.map_err(|error| not_http(life, pool_failed(&error), &error))?;
    let (head, body) = response.into_parts();
    let body = match recorder {
        None => Body::Live(body),
        Some(recorder) => {
            let recorded = recorder.record(head.status, &head.headers, body);
            Body::Recorded(Box::new(recorded.map_err(|error| failed(Failure::Final, error))?))
        }
    };
    answered::<C>(life, key, head.status, head.headers, body, sent, record, pass).await
}

/// The answer of a cassette, as if it had come over a connection.
async fn replay<C: Consume>(
    life: &Life<'_>,
    key: &UsedKey,
    replayed: Replayed,
    record: &mut Record,
    pass: &mut Pass,
) -> Result<Response, Failed> {
    let Replayed { status, headers, body } = replayed;
    let sent = Instant::now();
    record.replayed();
    // What it would cost, so that what asks for costs and budgets can be tested too.
    record.sent(life.outgoing.asks(), life.bill(record));
    pass.sent();
    life.client.counters.sent(life.outgoing.body.len());
    answered::<C>(life, key, status, headers, Body::Replayed(Box::new(body)), sent, record, pass).await
}

/// The head of the answer is there.
#[expect(clippy::too_many_arguments, reason = "a head and its body, of one attempt")]
async fn answered<C: Consume>(
    life: &Life<'_>,
    key: &UsedKey,
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    sent: Instant,
    record: &mut Record,
    pass: &mut Pass,
) -> Result<Response, Failed> {
    let first_byte = sent.elapsed();
    record.answered(status.as_u16(), headers, first_byte);
    pass.answered(life, record, first_byte);
    if !C::STREAMED {
        let status = record.status();
        record.tell(|| Told::FirstByte { status });
    }
    let response = Response {
        begun: VecDeque::new(),
        body,
        sent,
        first_byte_limit: life.timeouts.first_byte,
        idle_limit: life.timeouts.idle,
    };
    if status.is_success() {
        return Ok(response);
    }
    let mut failed = error_answer(life, response, record).await;
    if status == StatusCode::UNAUTHORIZED && life.outgoing.has_no_key(key) {
        failed.error.message.push_str("; no key was sent: the options of this provider have no apiKey");
    }
    Err(failed)
}

/// The headers as whoever handed the call over wants them. What they refuse is not sent, nor tried again.
async fn own_headers(
    life: &Life<'_>,
    witness: &Witness,
    attempt: u32,
    record: &Record,
) -> Result<Box<HeaderMap>, Failed> {
    let answer = witness.ask(|reply| {
        let Described { method, url, path, headers, body } = life.outgoing.described();
        let (provider, model) = (life.provider.name().clone(), record.model_asked().clone());
        Question { attempt, provider, model, method, url, path, headers, body, reply }
    });
    answer.await.map(Box::new).map_err(|error| failed(Failure::Final, error))
}

/// Reads an answer that is an error, as far as it can be read.
async fn error_answer(life: &Life<'_>, response: Response, record: &Record) -> Failed {
    // An error counts by its status, even if its body breaks off.
    let body = collect(life.client, response, MAX_ERROR_BODY).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    api_failed(life, Some(record.status()), record, body)
}

/// The failure that an error of the provider is. `status`: that of the answer; None inside a good one, where the error stands for one.
pub(super) fn api_failed(life: &Life<'_>, status: Option<u16>, record: &Record, body: String) -> Failed {
    let headers = record.headers();
    let protocol = life.provider.protocol();
    let json = serde_json::from_str::<Value>(&body).unwrap_or_default();
    let fields = protocol.error_fields(&json);
    let status = match (protocol, fields.status) {
        // Gemini's status is of HTTP's choosing: a wrong key is a 400 that says it is none.
        (Protocol::Gemini, Some(own)) => own,
        _ => status.unwrap_or_else(|| fields.implied_status()),
    };
    let class = class_of(status, &fields);
    let wait = retry_after(headers, SystemTime::now()).or_else(|| protocol.retry_delay(&json));
    let meaning = match class {
        ErrorClass::RateLimit { quota: true } => Meaning::Quota,
        ErrorClass::ContextLength => Meaning::ContextLength,
        ErrorClass::ContentFilter => Meaning::ContentFilter,
        _ => Meaning::Plain,
    };
    let failure = Failure::Status { status, retry_after: wait, should_retry: should_retry(headers), meaning };
    // Not the provider's own words: they may repeat a key or a prompt. They are in the body.
    let mut message = format!("answered {}", record.status());
    if let Some((method, path)) = record.asked() {
        message.push_str(&format!(" to {method} {}", shortened(path)));
    }
    if status != record.status() {
        message.push_str(" with an error");
    }
    let hint = record.asked().map_or("", |(_, path)| hint(status, path));
    let named = fields.code.as_deref().or(fields.kind.as_deref()).filter(|name| is_name(name));
    if let Some(name) = named {
        message.push_str(&format!(" ({name})"));
    }
    message.push_str(hint);
    if named == Some("model_not_found") {
        let model = shortened(record.model_asked());
        message.push_str(&format!(
            "; this key has no model '{model}': line.get('/models') lists those that it has"
        ));
    }
    let kind = Kind::Api(Box::new(Api {
        class,
        status,
        headers: headers.clone(),
        fields,
        body,
        retry_after_ms: wait.map(millis),
    }));
    let mut error = Error::new(kind, message);
    error.retryable = meaning != Meaning::Quota && (matches!(status, 408 | 409 | 429) || status >= 500);
    error.billed = if status >= 500 { Billed::Maybe } else { Billed::No };
    failed(failure, error)
}

/// What somebody may do about it who looks at the status and the path alone.
fn hint(status: u16, path: &str) -> &'static str {
    let ends = |end: &str| path.ends_with(end);
    match status {
        300..=399 => "; redirects are not followed: baseURL should be the address that it leads to",
        404 if ends("/chat/completions/chat/completions") || ends("/messages/v1/messages") => {
            "; paths are appended to baseURL, which has one already"
        }
        404 if path == "/chat/completions" || path == "/embeddings" => {
            "; baseURL has no version in it, such as /v1"
        }
        _ => "",
    }
}

/// A path, or a name, as far as a message has room for it.
fn shortened(path: &str) -> Cow<'_, str> {
    match path.char_indices().nth(MAX_PATH) {
        Some((end, _)) => format!("{}…", &path[..end]).into(),
        None => path.into(),
    }
}

/// A code of a provider, and no sentence of its.
fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// The body as a whole, under the idle timeout and a limit of size.
pub(super) async fn collect(client: &Client, response: Response, limit: usize) -> Result<Bytes, Failed> {
    let Response { mut begun, mut body, idle_limit, .. } = response;
    let too_large = || invalid(format!("the answer has more than {limit} bytes"));
    let promised = body.size_hint();
    if promised.lower() > limit as u64 {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    loop {
        let data = match begun.pop_front() {
            Some(data) => data,
            None => {
                // Most often it is there already, and needs no clock.
                let next = match body.frame().now_or_never() {
                    Some(next) => next,
                    None => {
                        let in_time = timeout(idle_limit, body.frame()).await;
                        in_time.map_err(|_| silence(TimeoutPhase::Idle, idle_limit))?
                    }
                };
                let Some(frame) = next else { break };
                let frame = frame.map_err(BodyError::failed)?;
                let Ok(data) = frame.into_data() else { continue };
                client.counters.received(data.len());
                data
            }
        };
        if first.len() + whole.len() + data.len() > limit {
            return Err(too_large());
        }
        // The usual answer is one frame, which is passed on as it is.
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.reserve(promised.exact().map_or(first.len() * 2, |exact| exact as usize));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// An answer of 200 that is none.
pub(super) fn invalid(message: impl Into<String>) -> Failed {
    let mut error = Error::new(Kind::InvalidResponse, message);
    error.billed = Billed::Maybe;
    failed(Failure::InvalidResponse, error)
}

/// Nothing came for this long.
pub(super) fn silence(phase: TimeoutPhase, limit: Duration) -> Failed {
    let limit_ms = millis(limit);
    let what = match phase {
        TimeoutPhase::FirstByte => "no first piece of the answer",
        _ => "no further piece of the answer",
    };
    let message = format!("{what} within timeouts.{} ({limit_ms} ms)", phase.as_str());
    let mut error = Error::new(Kind::Timeout { phase, limit_ms }, message);
    error.retryable = true;
    error.billed = Billed::Maybe;
    failed(Failure::Silence, error)
}

/// What answers a request in plain text with bytes that are no HTTP may well speak TLS.
fn not_http(life: &Life<'_>, mut failed: Failed, error: &pool::Error) -> Failed {
    if error.kind() == pool::Kind::Protocol && !life.provider.origin().is_secure() {
        failed.error.message.push_str("; if the server speaks TLS, baseURL begins with https://");
    }
    failed
}

pub(super) fn pool_failed(error: &pool::Error) -> Failed {
    use pool::Kind as Pool;
    let failure = match error.kind() {
        Pool::Proxy { status: Some(407) } => Failure::Denied,
        Pool::Dns | Pool::Connect | Pool::Proxy { .. } | Pool::ConnectTimeout(_) => Failure::Connect,
        Pool::PutOff => Failure::PutOff,
        Pool::Tls => Failure::Tls,
        Pool::QueueTimeout(_) | Pool::QueueFull(_) | Pool::TooManyTenants(_) => Failure::Queue,
        Pool::Closed => Failure::Final,
        Pool::Unprocessed => Failure::Unprocessed,
        Pool::Refused => Failure::Refused,
        Pool::NoResponse { reused: true } => Failure::NoResponseReused,
        Pool::NoResponse { reused: false } | Pool::Protocol => Failure::NoResponseFresh,
        Pool::Body => Failure::CutUnseen,
    };
    failed(failure, error_of(error, Some(failure)))
}

/// The error that a caller sees for one of the pool.
pub(super) fn error_of(error: &pool::Error, failure: Option<Failure>) -> Error {
    use pool::Kind as Pool;
    let kind = match error.kind() {
        Pool::Dns => Kind::Connection(ConnectionPhase::Dns),
        Pool::Connect | Pool::PutOff => Kind::Connection(ConnectionPhase::Connect),
        Pool::Tls => Kind::Connection(ConnectionPhase::Tls),
        Pool::Proxy { .. } => Kind::Connection(ConnectionPhase::Proxy),
        Pool::ConnectTimeout(limit) => {
            Kind::Timeout { phase: TimeoutPhase::Connect, limit_ms: millis(limit) }
        }
        Pool::QueueTimeout(limit) => Kind::Timeout { phase: TimeoutPhase::Queue, limit_ms: millis(limit) },
        Pool::QueueFull(_) | Pool::TooManyTenants(_) => Kind::QueueFull,
        Pool::Closed => Kind::Closed,
        Pool::Unprocessed | Pool::Refused | Pool::NoResponse { .. } | Pool::Protocol | Pool::Body => {
            Kind::Connection(ConnectionPhase::Receive)
        }
    };
    // The pool knows limits, and not which option they are of.
    let what = match error.kind() {
        Pool::ConnectTimeout(limit) => {
            let place = error.place().map_or_else(String::new, |place| format!(" to {place}"));
            format!("no connection{place} within timeouts.connect ({} ms)", millis(limit))
        }
        Pool::QueueTimeout(limit) => {
            format!("no free connection within timeouts.queue ({} ms)", millis(limit))
        }
        _ => error.message(),
    };
    let mut message = what;
    if error.is_untrusted() {
        message.push_str("; the certificate of an authority of your own is trusted by pool.tls.ca");
    }
    let mut made = Error::new(kind, message).caused_by(error.causes());
    made.retryable = !matches!(failure, Some(Failure::Tls | Failure::Denied | Failure::Final));
    let processed = matches!(error.kind(), Pool::NoResponse { .. } | Pool::Protocol | Pool::Body);
    made.billed = if processed { Billed::Maybe } else { Billed::No };
    made
}
