//! One request of WHATWG's fetch, to any origin, over the client's pool.
//!
//! What fetch means (methods, redirects, bodies, errors) is in `lib/fetch/`; here it is one exchange. Nothing is tried again but what was
//! certainly not processed: whoever calls fetch has retries of its own. No circuit and no limit of rate stands before it.
//!
//! | file | idea |
//! |---|---|
//! | `request` | the request as it crosses the border, and as it is sent |
//! | `upload` | the body of a request that comes piece by piece |
//! | `decode` | the body of an answer, without its codings |
//! | `drain` | the bounded buffer between that body and its reader |
//! | `failure` | errors, with the codes by which Node's own fetch tells of them |
//!
//! # Time
//! The pool's limits are the client's: `timeouts.connect` and `timeouts.queue`. An answer has five minutes for its head, and as much
//! between two pieces of its body while somebody reads, as with Node's own fetch. A request as a whole has no limit: its signal is one.

mod decode;
mod drain;
mod failure;
mod request;
mod upload;

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

pub use self::drain::{Drain, Head, Reading, Tell, Whole};
pub use self::request::{FetchBody, FetchRequest};
pub use self::upload::Upload;

use self::decode::Source;
use super::Client;
use super::body::Body;
use super::cassette::{Answered, Replayed};
use super::witness::{Arrival, Told};
use crate::error::{Billed, Error, header_text};
use crate::pool::{self, Checkout, Kind as Pool, Origin};
use crate::telemetry::{End, NONE, Row};

/// Stands among the figures for the provider: origins come from requests, and are many.
const FETCH: &str = "(fetch)";
/// For the head of an answer, and for each further piece of its body: what undici has.
const SILENCE: Duration = Duration::from_secs(300);
/// A request that was not processed is sent again this often.
const REPLAYS: usize = 3;
/// One that came to the wrong server, once, as fetch has it.
const MISDIRECTED: usize = 1;
/// The end of a body that nobody wants is read for this long and this many bytes, so that its socket can be used again.
const DISCARDED_FOR: Duration = Duration::from_secs(1);
const DISCARDED: usize = 64 * 1024;
/// How often the runtime does other things before a head goes without its body.
const TURNS: usize = 2;

/// The end of an exchange; what is left of its body is in the drain.
#[derive(Debug)]
pub struct Fetched {
    /// None where it was told already.
    pub head: Option<Head>,
}

/// Makes one exchange.
///
/// # Cancel safety
/// Dropping the future cancels it: its stream is reset or its socket closed, its place in the queue left.
pub(super) async fn run(
    client: &Client,
    request: FetchRequest,
    drain: &Drain,
    arrival: Arrival,
) -> Result<Fetched, Error> {
    let arrived = arrival.at;
    let guard = client.counters.begin(arrived);
    let mut status = StatusCode::OK;
    let mut told = Telling { arrival, attempt: None, status: None };
    let row = client.counters.rows.of(&FETCH.into(), &NONE.into());
    guard.seat().take(&row);
    let ended = exchange(client, request, drain, &mut told, (&mut status, &row)).await;
    told.end(ended.as_ref().err());
    log(client, arrived, status.as_u16(), ended.as_ref().err());
    drain.end();
    let (is_good, took) = (ended.is_ok() && status.as_u16() < 400, arrived.elapsed());
    guard.settle(Some(&row), end_of(&ended, status), took);
    if let Some(alerts) = &client.alerts {
        alerts.record(is_good, 0, took, Instant::now());
    }
    ended
}

/// How it counts: an answer of 400 or more is for whoever called fetch to judge, and a failure among the figures.
fn end_of(ended: &Result<Fetched, Error>, status: StatusCode) -> End {
    match ended {
        Ok(_) => End { status: status.as_u16(), error: (status.as_u16() >= 400).then_some("ERR_API") },
        Err(error) => End { status: 0, error: Some(error.name_and_code().1) },
    }
}

async fn exchange(
    client: &Client,
    mut request: FetchRequest,
    drain: &Drain,
    told: &mut Telling,
    (status, row): (&mut StatusCode, &Row),
) -> Result<Fetched, Error> {
    let (parts, body, sent) = answer(client, &mut request, told).await?;
    let after = sent.elapsed();
    client.counters.first_byte(after);
    row.first_byte.time(after);
    *status = parts.status;
    let head = head_of(&parts);
    let follows = request.follows && is_redirect(parts.status) && parts.headers.contains_key(LOCATION);
    let is_bodiless =
        request.method == http::Method::HEAD || matches!(parts.status.as_u16(), 204 | 205 | 304);
    if follows || is_bodiless {
        discard(client, body);
        return Ok(Fetched { head: Some(head) });
    }
    let media_type = media_type(&parts.headers);
    let is_stream = media_type == "text/event-stream";
    // Events are read piece by piece, as bytes, by nearly all who read them.
    drain.set_textual(!is_stream && is_textual(&media_type));
    let source = Source::of(body, &parts.headers, client.counters.clone())
        .inspect_err(|_| drain.tell_head(head.clone()))?;
    let mut coming = Coming { client, source: Some(source), is_stream, is_over: false };
    // Most answers that are not streams are there as soon as their head is, or one turn later: they cross as one.
    let mut turns = if is_stream { TURNS } else { 0 };
    loop {
        match coming.next().now_or_never() {
            Some(Ok(Some(bytes))) => {
                if drain.push(bytes).is_full {
                    break;
                }
            }
            Some(Ok(None)) => return Ok(Fetched { head: Some(head) }),
            Some(Err(error)) => {
                drain.tell_head(head);
                return Err(error);
            }
            None if turns < TURNS => {
                turns += 1;
                tokio::task::yield_now().await;
            }
            None => break,
        }
    }
    drain.tell_head(head);
    loop {
        drain.room().await;
        // Most often it is there already, and needs no clock.
        let next = match coming.next().now_or_never() {
            Some(next) => next,
            None => timeout(SILENCE, coming.next()).await.map_err(|_| failure::silent_body(SILENCE))?,
        };
        match next? {
            Some(bytes) => {
                if drain.push(bytes).is_too_much {
                    return Err(failure::too_large());
                }
            }
            None => return Ok(Fetched { head: None }),
        }
    }
}

fn log(client: &Client, arrived: Instant, status: u16, error: Option<&Error>) {
    let (client, total) = (client.number, arrived.elapsed().as_secs_f64() * 1000.0);
    match error {
        None => tracing::debug!(target: "trunkline::fetch", client, status, total, "fetched"),
        // Whoever fetches has retries of their own.
        Some(error) => {
            let code = error.name_and_code().1;
            tracing::info!(target: "trunkline::fetch", client, code, error = error.message, total, "failed");
        }
    }
}

/// What is told of an exchange, if anybody wants to know.
#[derive(Debug)]
struct Telling {
    arrival: Arrival,
    /// The number of the attempt under way.
    attempt: Option<u32>,
    status: Option<u16>,
}

impl Telling {
    fn attempt(&mut self, origin: &Origin) {
        if let Some(witness) = &self.arrival.witness {
            self.attempt = Some(witness.next());
            let origin = origin.to_string();
            self.tell(|| Told::Attempt { provider: "", model: "", protocol: None, origin });
        }
    }

    /// The head of the answer is there.
    fn head(&mut self, status: u16) {
        self.status = Some(status);
        self.tell(|| Told::FirstByte { status });
    }

    fn tell<'a>(&self, told: impl FnOnce() -> Told<'a>) {
        if let (Some(witness), Some(attempt)) = (&self.arrival.witness, self.attempt) {
            witness.tell(attempt, self.arrival.at, told());
        }
    }

    /// The attempt under way ends, if one is.
    fn end(&mut self, error: Option<&Error>) {
        let (status, billed) = (self.status, Billed::Maybe);
        let error = error.map(|error| error.name_and_code().1);
        self.tell(|| Told::AttemptEnd { status, error, billed });
        self.attempt = None;
    }
}

/// The body of an answer on its way. Whoever leaves a stream of events after its last one, as SDKs do, has left nothing: what little
/// follows is read all the same, so that the socket can be used again.
struct Coming<'a> {
    client: &'a Client,
    source: Option<Source>,
    is_stream: bool,
    /// Whether the last event has come, and not the end.
    is_over: bool,
}

impl Coming<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(source) = &mut self.source else { return Ok(None) };
        let next = source.next().await;
        self.is_over = match &next {
            Ok(Some(bytes)) => self.is_stream && is_last(bytes),
            _ => false,
        };
        next
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        if self.is_over
            && let Some(Source::Plain(frames)) = self.source.take()
        {
            discard(self.client, frames.into_body());
        }
    }
}

/// Whether these bytes end with the last event of a stream, by OpenAI's protocol or Anthropic's.
fn is_last(bytes: &[u8]) -> bool {
    let end = bytes.trim_ascii_end();
    end.ends_with(b"data: [DONE]") || end.ends_with(br#""type":"message_stop"}"#)
}

/// The head of the answer, its body still to come, and when the request was sent.
async fn answer(
    client: &Client,
    request: &mut FetchRequest,
    told: &mut Telling,
) -> Result<(http::response::Parts, Body, Instant), Error> {
    let mut recorder = None;
    if let Some(cassette) = &client.cassette {
        request.settle().await;
        match cassette.ask(&request.asked(), &client.tasks)? {
            Answered::Replayed(replayed) => {
                client.counters.sent(request.size());
                told.attempt(&request.origin);
                let replayed = replay(*replayed);
                told.head(replayed.0.status.as_u16());
                return Ok(replayed);
            }
            Answered::Blank(blank) => recorder = Some(blank),
        }
    }
    let (response, sent) = send(client, request, told).await?;
    let (parts, body) = response.into_parts();
    let body = match recorder {
        None => Body::Live(body),
        Some(recorder) => Body::Recorded(Box::new(recorder.record(parts.status, &parts.headers, body)?)),
    };
    Ok((parts, body, sent))
}

/// The answer of a cassette. Whoever called fetch has retries of its own, and would wait for what it was told then.
fn replay(replayed: Replayed) -> (http::response::Parts, Body, Instant) {
    let Replayed { status, headers, body } = replayed;
    let (mut parts, ()) = http::Response::new(()).into_parts();
    (parts.status, parts.headers) = (status, headers);
    for name in ["retry-after", "retry-after-ms"] {
        if let Some(wait) = parts.headers.get_mut(name) {
            *wait = HeaderValue::from_static("0");
        }
    }
    (parts, Body::Replayed(Box::new(body)), Instant::now())
}

/// The head of an answer of the network, its body still to come, and when the request was sent.
async fn send(
    client: &Client,
    request: &FetchRequest,
    told: &mut Telling,
) -> Result<(http::Response<pool::Body>, Instant), Error> {
    // Limits and times of a provider at that origin, if there is one; else of the first, which are the client's.
    let providers = || client.targets.providers();
    let provider = providers()
        .find(|provider| *provider.origin() == request.origin)
        .or_else(|| providers().next())
        .ok_or_else(Error::closed)?;
    let timeouts = provider.timeouts(&client.options);
    let (mut fresh, mut replays, mut misdirected) = (false, 0, 0);
    loop {
        let how = Checkout {
            lane: request.lane(),
            priority: request.priority,
            tenant: request.tenant.clone(),
            since: Some(told.arrival.at),
            fresh,
            ..provider.checkout(&client.options, &timeouts)
        };
        told.attempt(&request.origin);
        let lease = client.pool().checkout(&request.origin, how).await;
        let lease = lease.map_err(|error| failure::of_pool(&error))?;
        told.tell(|| Told::sent(&lease));
        let message = request.message(lease.protocol()).ok_or_else(failure::body_is_used)?;
        let sent = Instant::now();
        client.counters.sent(request.size());
        let answer = timeout(SILENCE, lease.send(message)).await;
        match answer.map_err(|_| failure::silent_head(SILENCE))? {
            // "You came by a connection that is not for this": another one may be.
            Ok(response)
                if response.status() == StatusCode::MISDIRECTED_REQUEST
                    && misdirected < MISDIRECTED
                    && request.is_whole() =>
            {
                misdirected += 1;
                fresh = true;
                told.head(response.status().as_u16());
                told.end(None);
            }
            Ok(response) => {
                told.head(response.status().as_u16());
                return Ok((response, sent));
            }
            Err(error)
                if matches!(error.kind(), Pool::Unprocessed | Pool::Refused)
                    && replays < REPLAYS
                    && request.can_be_sent() =>
            {
                replays += 1;
                fresh = error.kind() == Pool::Unprocessed;
                told.end(Some(&failure::of_pool(&error)));
            }
            Err(error) => return Err(failure::of_pool(&error)),
        }
    }
}

/// As JavaScript reads it: the reason, and names and values of headers in turn, a line each.
fn head_of(parts: &http::response::Parts) -> Head {
    let reason = match parts.extensions.get::<hyper::ext::ReasonPhrase>() {
        Some(reason) => reason.as_bytes().iter().map(|&byte| char::from(byte)).collect::<String>().into(),
        // HTTP/2 has none.
        None if parts.version == Version::HTTP_2 => "".into(),
        None => std::borrow::Cow::Borrowed(parts.status.canonical_reason().unwrap_or_default()),
    };
    let mut text = String::with_capacity(512);
    text.push_str(&reason);
    for (name, value) in &parts.headers {
        text.push('\n');
        text.push_str(name.as_str());
        text.push('\n');
        text.push_str(&header_text(value));
    }
    Head { status: parts.status.as_u16(), text }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether it is most likely wanted as text.
fn is_textual(media_type: &str) -> bool {
    media_type.starts_with("text/") || media_type.ends_with("json")
}

/// Reads the end of a body that nobody wants, if it comes soon.
fn discard(client: &Client, mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    client.tasks.spawn("discard", async move {
        let mut left = DISCARDED;
        let rest = async {
            while let Some(Ok(frame)) = body.frame().await {
                let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                    return;
                };
                left = less;
            }
        };
        // Dropped after the limit: the stream is reset or the socket closed.
        let _ = timeout(DISCARDED_FOR, rest).await;
    });
}
