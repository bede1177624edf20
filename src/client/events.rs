//! Any other answer that comes as server-sent events: they are handed over as they are, and its end is the end of the body.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::Client;
use super::call::{self, Answer, Call, Consume, Life};
use super::exchange::{Failed, FailedAttempt, Response, failed, invalid};
use super::journey;
use super::outlet::{self, Outlet};
use super::pass::Pass;
use super::reader::Reader;
use super::record::Record;
use super::witness::Arrival;
use crate::error::Error;
use crate::policy::judge::Failure;
use crate::protocol::openai::{self, Usage};
use crate::protocol::sse::{Decoder, Event, TooLong};

/// Makes a call whose answer comes as events, into `outlet`.
pub(super) async fn run(
    client: &Client,
    call: Call,
    outlet: Arc<Outlet>,
    arrived: Arrival,
) -> Result<Answer, Error> {
    let accepted = journey::accept(&call, arrived)?;
    call::run(client, call, &accepted, &mut Events { outlet, told: Told::default() }).await
}

#[derive(Debug)]
struct Events {
    outlet: Arc<Outlet>,
    told: Told,
}

/// What the events of an attempt have told of its model and tokens.
#[derive(Debug, Default)]
struct Told {
    model: Option<Arc<str>>,
    usage: Option<Usage>,
    /// Whether more was told since the last time that anybody looked.
    is_new: bool,
}

/// An event as it crosses the border: `null` where a field was not there.
#[derive(Serialize)]
struct Piece<'a> {
    event: Option<&'a str>,
    id: Option<&'a str>,
    raw: &'a str,
}

enum Stop {
    TooLong,
    NotUtf8,
}

impl From<TooLong> for Stop {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

impl Consume for Events {
    const STREAMED: bool = true;

    async fn consume(
        &mut self,
        life: &Life<'_>,
        response: Response,
        record: &mut Record,
        pass: &mut Pass,
    ) -> Result<Bytes, Failed> {
        self.told = Told::default();
        let mut reader = Reader::of(life, response, record).await?;
        let mut decoder = Decoder::new();
        let mut any = false;
        loop {
            self.outlet.room().await;
            let bytes = match reader.next(life.client).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => {
                    self.settle(life.client, record);
                    return Ok(Bytes::new());
                }
                Err(failure) => return Err(self.broken(failure)),
            };
            let fed = decoder.feed(&bytes, |event| {
                any = true;
                self.event(&event)
            });
            match fed {
                Ok(()) => {}
                Err(Stop::TooLong) => return Err(self.broken(invalid("an event has more than 16 MiB"))),
                Err(Stop::NotUtf8) => return Err(self.broken(invalid("an event is not UTF-8"))),
            }
            if any {
                reader.spoke(life, record, pass);
            }
            // Known by whoever leaves in the middle, too.
            if std::mem::take(&mut self.told.is_new)
                && let Some(usage) = self.told.usage
            {
                record.reported(usage);
            }
        }
    }
}

impl Events {
    fn settle(&self, client: &Client, record: &mut Record) {
        let Told { model, usage: Some(usage), .. } = &self.told else { return };
        client.counters.tokens(usage.prompt_tokens, usage.completion_tokens);
        record.tokens = Some(usage.total());
        record.usage = usage.to_raw();
        if let Some(model) = model {
            record.model = model.clone();
        }
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), Stop> {
        fn text(bytes: &[u8]) -> Result<&str, Stop> {
            std::str::from_utf8(bytes).map_err(|_| Stop::NotUtf8)
        }
        let named = |bytes| text(bytes).map(|text| (!text.is_empty()).then_some(text));
        let piece = Piece { event: named(event.name)?, id: named(event.id)?, raw: text(event.data)? };
        self.told.hear(piece.raw);
        // A type of strings always has a text.
        let json = serde_json::to_string(&piece).unwrap_or_default();
        self.outlet.push(outlet::Piece { json: &json, text: "", span: None });
        Ok(())
    }

    /// A failure after events were handed over is final: nobody knows how to go on.
    fn broken(&self, failure: Failed) -> Failed {
        if self.outlet.rewind() {
            return failure;
        }
        let FailedAttempt { error, .. } = *failure;
        failed(Failure::CutSeen, error)
    }
}

impl Told {
    /// Tokens are told of bit by bit, and counted from the beginning each time.
    fn hear(&mut self, event: &str) {
        let Some(native) = openai::native_event(event) else { return };
        let Some(usage) = Usage::of(&native.usage) else { return };
        self.usage = Some(self.usage.unwrap_or_default().and(usage));
        self.is_new = true;
        if let Some(model) = native.model {
            self.model = Some(model.into());
        }
    }
}
