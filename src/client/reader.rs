//! The body of an answer that comes as server-sent events, under its time limits.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Client;
use super::body::{Body, BodyError};
use super::call::Life;
use super::exchange::{Failed, MAX_BODY, Response, api_failed, collect, invalid, silence};
use super::pass::Pass;
use super::record::Record;
use super::whole::{check_encoding, page_of};
use super::witness::Told;
use crate::error::TimeoutPhase;

/// How long what follows the last event of a stream may take, so that its socket can be used again.
const TRAILING_LIMIT: Duration = Duration::from_secs(1);

/// The body of a stream.
#[derive(Debug)]
pub(super) struct Reader {
    begun: VecDeque<Bytes>,
    body: Body,
    first_byte_limit: Duration,
    idle_limit: Duration,
    sent: Instant,
    /// Whether a piece that says something has come: the idle limit holds from then on.
    spoke: bool,
    /// Rings when a limit may be over. It is not set anew for each piece, but when it rings.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    /// A reader of an answer that is a stream of events; an error for one that is not.
    pub(super) async fn of(life: &Life<'_>, response: Response, record: &Record) -> Result<Self, Failed> {
        check_encoding(record.headers())?;
        if let Some(other) = other_media_type(record.headers()) {
            return Err(not_a_stream(life, response, record, &other).await);
        }
        let Response { begun, body, sent, first_byte_limit, idle_limit } = response;
        Ok(Self { begun, body, first_byte_limit, idle_limit, sent, spoke: false, alarm: None })
    }

    /// The next bytes; None at the end of the body. While nobody asks, no limit runs.
    pub(super) async fn next(&mut self, client: &Client) -> Result<Option<Bytes>, Failed> {
        if let Some(bytes) = self.begun.pop_front() {
            return Ok(Some(bytes));
        }
        loop {
            match self.frame().await? {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.failed()),
                Some(Ok(frame)) => {
                    // Trailers say nothing that anyone waits for.
                    let Ok(data) = frame.into_data() else { continue };
                    client.counters.received(data.len());
                    return Ok(Some(data));
                }
            }
        }
    }

    async fn frame(&mut self) -> Result<Option<Result<Frame<Bytes>, BodyError>>, Failed> {
        // Once there is something to wait for.
        let mut until = None;
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
                return Poll::Ready(Some(frame));
            }
            let until = *until.get_or_insert_with(|| match self.spoke {
                true => Instant::now() + self.idle_limit,
                false => self.sent + self.first_byte_limit,
            });
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if alarm.deadline() > until {
                alarm.as_mut().reset(until);
            }
            while alarm.as_mut().poll(cx).is_ready() {
                if alarm.deadline() >= until {
                    return Poll::Ready(None);
                }
                alarm.as_mut().reset(until);
            }
            Poll::Pending
        });
        let (phase, limit) = match self.spoke {
            true => (TimeoutPhase::Idle, self.idle_limit),
            false => (TimeoutPhase::FirstByte, self.first_byte_limit),
        };
        frame.await.ok_or_else(|| silence(phase, limit))
    }

    /// A piece has come that says something.
    pub(super) fn spoke(&mut self, life: &Life<'_>, record: &mut Record, pass: &mut Pass) {
        if !std::mem::replace(&mut self.spoke, true) {
            let after = self.sent.elapsed();
            record.first_byte = Some(after);
            record.count_first_byte(&life.client.counters, after);
            pass.spoke(life, record);
            let status = record.status();
            record.tell(|| Told::FirstByte { status });
        }
    }

    /// The last event has come. What little follows is read in the background, since only a body that was read to its
    /// end leaves its socket usable.
    pub(super) async fn finish(mut self, client: &Client) {
        let at_once = poll_fn(|cx| {
            loop {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Pending => return Poll::Ready(false),
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(None | Some(Err(_))) => return Poll::Ready(true),
                }
            }
        });
        if at_once.await {
            return;
        }
        let is_recorded = self.body.is_recorded();
        let rest = async move {
            let rest = async { while let Some(Ok(_)) = self.body.frame().await {} };
            // Dropped after the limit: the stream is reset or the socket closed.
            let _ = tokio::time::timeout(TRAILING_LIMIT, rest).await;
        };
        if is_recorded {
            rest.await;
        } else {
            client.tasks.spawn("trailing", rest);
        }
    }
}

/// The media type, if it is one that is no stream of events. A server that names none is believed.
fn other_media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (media_type != "text/event-stream").then_some(media_type)
}

/// A JSON body may be an error inside a 200; anything else is no answer.
async fn not_a_stream(life: &Life<'_>, response: Response, record: &Record, media_type: &str) -> Failed {
    let named = media_type.chars().take(64).collect::<String>();
    let refused =
        invalid(format!("the answer is not a stream of events (its type is {named}){}", page_of(&named)));
    if !media_type.contains("json") {
        return refused;
    }
    let Ok(body) = collect(life.client, response, MAX_BODY).await else {
        return refused;
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(value) if value.get("error").is_some_and(|error| !error.is_null()) => {
            api_failed(life, None, record, text)
        }
        _ => refused,
    }
}
