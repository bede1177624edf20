//! An answer that comes as one text.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::de::IgnoredAny;

use super::Client;
use super::call::{self, Answer, Call, Consume, Life};
use super::embed;
use super::endpoint::Endpoint;
use super::exchange::{Failed, MAX_BODY, Response, api_failed, collect, invalid};
use super::journey::{self, Accepted};
use super::memory::Question;
use super::pass::Pass;
use super::record::Record;
use super::stream;
use super::witness::Arrival;
use crate::config::Wire;
use crate::error::Error;
use crate::protocol::openai::{self, Native, Usage};
use crate::protocol::translate::Malformed;

/// Makes a call whose answer is one JSON text.
pub(super) async fn run(client: &Arc<Client>, call: Call, arrived: Arrival) -> Result<Answer, Error> {
    let accepted = journey::accept(&call, arrived)?;
    match Question::of(client, &call, &accepted, false)? {
        Some(question) => question.answer(client, call, accepted).await,
        None => run_accepted(client, call, accepted).await,
    }
}

/// Makes one that is not answered from memory.
pub(super) async fn run_accepted(client: &Client, call: Call, accepted: Accepted) -> Result<Answer, Error> {
    let is_chat = call.endpoint == Endpoint::Chat;
    // Boxed where it is rare: a call's future is moved as a whole when its task is made.
    if call.endpoint == Endpoint::Embeddings {
        return Box::pin(embed::run_accepted(client, call, accepted)).await;
    }
    if is_chat && comes_as_stream(call.options.wire, &accepted) {
        return Box::pin(stream::run_as_whole(client, call, accepted)).await;
    }
    let answer = if is_chat { Shape::Chat } else { Shape::Any };
    call::run(client, call, &accepted, &mut Whole { answer }).await
}

/// Anthropic's libraries refuse to ask for more tokens than this but as a stream: at 128,000 an hour they take ten minutes, and networks give up on
/// connections that are silent for so long (`calculateNonstreamingTimeout` in anthropic-sdk-typescript).
const LONG: u64 = 21_333;

fn comes_as_stream(wire: Wire, accepted: &Accepted) -> bool {
    let asked = accepted.asked.as_ref();
    match wire {
        Wire::Stream => true,
        Wire::Unary => false,
        Wire::Auto => asked.and_then(|asked| asked.max_tokens).is_some_and(|most| most > LONG),
    }
}

/// Takes a body in as one JSON text.
pub(super) struct Whole {
    pub(super) answer: Shape,
}

/// What a good answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Choices. As that of vectors it reports a model, usage, and errors inside a 200.
    Chat,
    /// Vectors.
    Vectors,
    /// It is handed over as it is.
    Any,
}

impl Consume for Whole {
    const STREAMED: bool = false;

    async fn consume(
        &mut self,
        life: &Life<'_>,
        response: Response,
        record: &mut Record,
        _: &mut Pass,
    ) -> Result<Bytes, Failed> {
        let client = life.client;
        check_encoding(record.headers())?;
        let body = collect(client, response, MAX_BODY).await?;
        if let Some(first_byte) = record.first_byte {
            record.count_first_byte(&client.counters, first_byte);
        }
        if body.is_empty() && self.answer == Shape::Any && matches!(record.status(), 204 | 205) {
            return Ok(Bytes::from_static(b"null"));
        }
        let text = utf8(&body)?;
        if self.answer == Shape::Any {
            serde_json::from_str::<IgnoredAny>(text).map_err(|_| not_json(text, record.headers()))?;
            note_native(client, text, record);
            return Ok(body);
        }
        let mut answer: openai::Answer<'_> =
            serde_json::from_str(text).map_err(|_| not_json(text, record.headers()))?;
        if answer.error.is_some_and(|error| error.get() != "null") {
            return Err(api_failed(life, None, record, text.to_owned()));
        }
        let reply = &life.outgoing.reply;
        let translated = reply.answer(text, unix_seconds).map_err(|Malformed(what)| invalid(what))?;
        if let Some(text) = &translated {
            answer = serde_json::from_str(text).map_err(|_| invalid("the answer is not JSON"))?;
        }
        match self.answer {
            Shape::Chat if !answer.has_choices() => {
                return Err(invalid("the answer is no chat completion: it has no list of choices"));
            }
            Shape::Vectors if !answer.has_vectors() => {
                return Err(invalid("the answer has no list of vectors (data)"));
            }
            _ => {}
        }
        if let Some(usage) = answer.usage {
            if let Some(usage) = Usage::of(usage) {
                client.counters.tokens(usage.prompt_tokens, usage.completion_tokens);
                record.tokens = Some(usage.total());
                record.reported(usage);
            }
            record.usage = (usage.get() != "null").then(|| usage.to_owned());
        }
        if record.usage.is_none() {
            record.heard(openai::text_bytes(translated.as_deref().unwrap_or(text)));
        }
        record.tier = answer.service_tier.map(|tier| tier.0.into());
        if let Some(model) = answer.model {
            record.model = model.0.into();
        }
        Ok(translated.map_or(body, Bytes::from))
    }
}

/// What an answer that is handed over as it is says of what it took.
fn note_native(client: &Client, text: &str, record: &mut Record) {
    let Some(Native { model, usage: raw, tier }) = openai::native(text) else { return };
    let Some(usage) = Usage::of(&raw).filter(|usage| usage.total() > 0) else { return };
    client.counters.tokens(usage.prompt_tokens, usage.completion_tokens);
    record.tokens = Some(usage.total());
    record.reported(usage);
    record.usage = if raw.get().contains("prompt_tokens") { Some(raw) } else { usage.to_raw() };
    record.tier = tier.map(Into::into);
    if let Some(model) = model {
        record.model = model.into();
    }
}

fn utf8(body: &Bytes) -> Result<&str, Failed> {
    std::str::from_utf8(body).map_err(|_| invalid("the answer is not UTF-8"))
}

/// No encoding was asked for, so none can be undone.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Failed> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            Err(invalid("the answer is compressed, which was not asked for"))
        }
        _ => Ok(()),
    }
}

fn not_json(text: &str, headers: &HeaderMap) -> Failed {
    if text.trim().is_empty() {
        return invalid("the answer is empty");
    }
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).map(str::trim);
    match media_type.filter(|name| name.len() <= 64) {
        Some(name) => invalid(format!("the answer is not JSON (its type is {name}){}", page_of(name))),
        None => invalid("the answer is not JSON"),
    }
}

/// What else is to be said of an answer of this media type, which should be another one.
pub(super) fn page_of(media_type: &str) -> &'static str {
    match media_type {
        "text/html" => "; a page is no API's answer: look at baseURL, and for a proxy or a log-in in between",
        _ => "",
    }
}

/// The time that answers of other protocols are given, which have none.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
