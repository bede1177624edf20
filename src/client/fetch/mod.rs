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
use http::{HeaderMap, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

pub use self::drain::{Drain, Head, Reading, Tell, Whole};
pub use self::request::{FetchBody, FetchRequest};
pub use self::upload::Upload;

use self::decode::Source;
use super::Client;
use crate::error::{Error, header_text};
use crate::pool::{self, Checkout, Kind as Pool};

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
    arrived: Instant,
) -> Result<Fetched, Error> {
    let guard = client.counters.begin(arrived);
    let mut status = StatusCode::OK;
    let ended = exchange(client, request, drain, arrived, &mut status).await;
    drain.end();
    let (is_good, took) = (ended.is_ok() && status.as_u16() < 400, arrived.elapsed());
    guard.settle(is_good, took);
    if let Some(alerts) = &client.alerts {
        alerts.record(is_good, 0, took, Instant::now());
    }
    ended
}

async fn exchange(
    client: &Client,
    request: FetchRequest,
    drain: &Drain,
    arrived: Instant,
    status: &mut StatusCode,
) -> Result<Fetched, Error> {
    let (response, sent) = answer(client, &request, arrived).await?;
    let (parts, body) = response.into_parts();
    client.counters.first_byte(sent.elapsed());
    *status = parts.status;
    let head = head_of(&parts);
    let follows = request.follows && is_redirect(parts.status) && parts.headers.contains_key(LOCATION);
    let is_bodiless =
        request.method == http::Method::HEAD || matches!(parts.status.as_u16(), 204 | 205 | 304);
    if follows || is_bodiless {
        discard(client, body);
        return Ok(Fetched { head: Some(head) });
    }
    drain.set_textual(is_textual(&parts.headers));
    let source = Source::of(body, &parts.headers, client.counters.clone())
        .inspect_err(|_| drain.tell_head(head.clone()))?;
    let is_stream = media_type(&parts.headers) == "text/event-stream";
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
    request: &FetchRequest,
    arrived: Instant,
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
            since: Some(arrived),
            fresh,
            ..provider.checkout(&client.options, &timeouts)
        };
        let lease = client.pool().checkout(&request.origin, how).await;
        let lease = lease.map_err(|error| failure::of_pool(&error))?;
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
            }
            Ok(response) => return Ok((response, sent)),
            Err(error)
                if matches!(error.kind(), Pool::Unprocessed | Pool::Refused)
                    && replays < REPLAYS
                    && request.can_be_sent() =>
            {
                replays += 1;
                fresh = error.kind() == Pool::Unprocessed;
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
fn is_textual(headers: &HeaderMap) -> bool {
    let media_type = media_type(headers);
    media_type.starts_with("text/") || media_type.ends_with("json")
}

/// Reads the end of a body that nobody wants, if it comes soon.
fn discard(client: &Client, mut body: pool::Body) {
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
