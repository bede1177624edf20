//! A chat that comes as chunks. It ends well only if it says so itself: a finish reason for every choice, or `[DONE]`.

use std::sync::Arc;

use bytes::Bytes;

use super::Client;
use super::call::{self, Answer, Call, Consume, Life};
use super::exchange::{Failed, FailedAttempt, Response, api_failed, failed, invalid};
use super::journey::{self, Accepted};
use super::memory::{Live, Question};
use super::outlet::{Mode, Outlet, Piece};
use super::pass::Pass;
use super::reader::Reader;
use super::record::Record;
use super::recovery::Recovery;
use super::whole::unix_seconds;
use super::witness::Arrival;
use crate::error::{Billed, ConnectionPhase, Error, Kind, TimeoutPhase};
use crate::policy::judge::Failure;
use crate::protocol::dialect;
use crate::protocol::openai::{Chunk, Completion, Refrain, Refused, Said, Usage, Verse};
use crate::protocol::sse::{Decoder, Event, TooLong};
use crate::protocol::translate::{Malformed, Next};

/// Makes a chat whose answer comes as chunks, into `outlet`. The answer's text is the whole completion.
pub(super) async fn run(
    client: &Arc<Client>,
    call: Call,
    outlet: Arc<Outlet>,
    arrived: Arrival,
) -> Result<Answer, Error> {
    let accepted = journey::accept(&call, arrived)?;
    match Question::of(client, &call, &accepted, true)? {
        Some(question) => question.stream(client, call, accepted, outlet).await,
        None => run_accepted(client, call, accepted, Sink::Own(outlet)).await,
    }
}

/// Makes one that is not answered from memory.
pub(super) async fn run_accepted(
    client: &Client,
    call: Call,
    accepted: Accepted,
    sink: Sink,
) -> Result<Answer, Error> {
    let asked = accepted.asked.clone().unwrap_or_default();
    let mut chunks = Chunks {
        sink,
        choices: asked.choices,
        shows_usage: asked.include_usage,
        recovery: Recovery::new(call.options.recover),
        ..Chunks::default()
    };
    call::run(client, call, &accepted, &mut chunks).await
}

/// Makes a chat that is handed over as a whole, but comes as chunks: a stall is seen early, and proxies see that it is alive.
pub(super) async fn run_as_whole(client: &Client, call: Call, accepted: Accepted) -> Result<Answer, Error> {
    run_accepted(client, call, accepted, Sink::default()).await
}

/// Where the pieces go.
#[derive(Debug)]
pub(super) enum Sink {
    /// To the one who asked.
    Own(Arc<Outlet>),
    /// To all who share the exchange.
    Shared(Arc<Live>),
}

impl Default for Sink {
    /// To nobody: the whole is all that is wanted.
    fn default() -> Self {
        let outlet = Outlet::default();
        outlet.choose(Mode::Whole);
        Self::Own(Arc::new(outlet))
    }
}

impl Sink {
    async fn room(&self) {
        match self {
            Self::Own(outlet) => outlet.room().await,
            Self::Shared(live) => live.room().await,
        }
    }

    fn push(&self, piece: Piece<'_>) -> Result<(), Stop> {
        match self {
            Self::Own(outlet) => outlet.push(piece),
            Self::Shared(live) => {
                live.push(piece).map_err(|_| Stop::TooLong("the chunks have more than 64 MiB"))?;
            }
        }
        Ok(())
    }

    /// As of [`Outlet::rewind`].
    fn rewind(&self) -> bool {
        match self {
            Self::Own(outlet) => outlet.rewind(),
            Self::Shared(live) => live.rewind(),
        }
    }
}

/// Takes the chunks of one attempt in.
#[derive(Debug, Default)]
struct Chunks {
    sink: Sink,
    /// How many choices were asked for.
    choices: usize,
    /// Whether the caller asked for the usage chunk; if only we did, it is not handed over.
    shows_usage: bool,
    /// Where another protocol is spoken.
    translation: Option<dialect::Events>,
    completion: Completion,
    recovery: Recovery,
    /// What of the answer its reader had seen when it last broke, as JSON.
    seen: Option<String>,
    /// What each chunk of an attempt says anew.
    refrain: Refrain,
    /// Whether a chunk has said something: from then on, a repetition would be seen.
    spoke: bool,
    /// Chunks that said nothing, held back until one does, so that an attempt which ends before is never seen.
    held: Vec<String>,
    held_bytes: usize,
    done: bool,
}

/// What may be held back: 1 MiB.
const MAX_HELD: usize = 1024 * 1024;

/// Why reading stops before the end.
enum Stop {
    /// What came after it is unknown.
    Malformed(&'static str),
    /// The provider's own error.
    Error(String),
    /// More than an answer may have.
    TooLong(&'static str),
}

impl From<TooLong> for Stop {
    fn from(_: TooLong) -> Self {
        Self::TooLong("an event has more than 16 MiB")
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::BadIndex => Self::Malformed("a chunk with an absurd index"),
            Refused::TooLong => Self::TooLong("the answer has more than 64 MiB"),
        }
    }
}

impl Consume for Chunks {
    const STREAMED: bool = true;

    async fn consume(
        &mut self,
        life: &Life<'_>,
        response: Response,
        record: &mut Record,
        pass: &mut Pass,
    ) -> Result<Bytes, Failed> {
        let ended = self.read(life, response, record, pass).await;
        if ended.is_err()
            && let Some(usage) = self.usage_so_far()
        {
            record.reported(usage);
        }
        ended
    }

    fn prefill(&self) -> Option<&str> {
        self.recovery.prefill()
    }

    /// Whatever the attempts after it met: to the reader, it is the stream that broke.
    fn lost(&mut self, last: Error) -> Error {
        let is_its_own = matches!(
            last.kind,
            Kind::StreamInterrupted { .. }
                | Kind::Closed
                | Kind::CassetteMiss { .. }
                | Kind::Timeout { phase: TimeoutPhase::Total, .. }
        );
        match self.seen.take() {
            Some(seen) if !is_its_own => {
                let message = format!("{}; a part of the answer had come before", last.message);
                interrupted(last, seen, message)
            }
            _ => last,
        }
    }
}

impl Chunks {
    async fn read(
        &mut self,
        life: &Life<'_>,
        response: Response,
        record: &mut Record,
        pass: &mut Pass,
    ) -> Result<Bytes, Failed> {
        if self.recovery.begin() {
            self.completion.go_on();
        } else {
            self.completion = Completion::default();
        }
        (self.spoke, self.done) = (false, false);
        self.translation = life.outgoing.reply.events(unix_seconds);
        self.refrain.forget();
        self.held.clear();
        self.held_bytes = 0;
        let mut reader = Reader::of(life, response, record).await?;
        let mut decoder = Decoder::new();
        // What is gone on with was another attempt's.
        let (before, mut knows_prompt) = (self.completion.size(), false);
        while !self.done {
            // Only what the caller has room for is read.
            self.sink.room().await;
            let bytes = match reader.next(life.client).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) if self.ends() => break,
                Ok(None) => return Err(self.broken(cut("the stream ended before its answer did"))),
                // Whatever breaks after the last finish reason broke nothing.
                Err(_) if self.is_finished() => break,
                Err(failure) => return Err(self.broken(failure)),
            };
            match decoder.feed(&bytes, |event| self.event(&event)) {
                Ok(()) => {}
                Err(Stop::Malformed(what)) => return Err(self.broken(malformed(what))),
                Err(Stop::TooLong(what)) => return Err(self.broken(invalid(what))),
                Err(Stop::Error(body)) => return Err(self.broken(api_failed(life, None, record, body))),
            }
            record.heard(self.completion.size().saturating_sub(before));
            if self.spoke {
                reader.spoke(life, record, pass);
                // Some say at the beginning what went in: whoever leaves in the middle is charged for that.
                if !std::mem::replace(&mut knows_prompt, true)
                    && let Some(usage) = self.usage_so_far()
                {
                    record.reported(usage);
                }
            }
        }
        reader.finish(life.client).await;
        self.settle(life.client, record);
        Ok(self.completion.to_json().into())
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), Stop> {
        if self.done || event.data.is_empty() {
            return Ok(());
        }
        if self.translation.is_some() {
            return self.foreign(event);
        }
        if event.name == b"error" {
            return Err(Stop::Error(String::from_utf8_lossy(event.data).into_owned()));
        }
        if event.data == b"[DONE]" {
            if !self.spoke {
                return Err(Stop::Malformed("an end before any content"));
            }
            self.done = true;
            return Ok(());
        }
        let json =
            std::str::from_utf8(event.data).map_err(|_| Stop::Malformed("an event that is not UTF-8"))?;
        self.chunk(json)
    }

    /// An event of another protocol, which may be several chunks, or none.
    fn foreign(&mut self, event: &Event<'_>) -> Result<(), Stop> {
        let Some(translation) = &mut self.translation else { return Ok(()) };
        let mut chunks = Vec::new();
        let next = translation.event(event.name, event.data, &mut chunks);
        chunks.iter().try_for_each(|chunk| self.chunk(chunk))?;
        match next.map_err(|Malformed(what)| Stop::Malformed(what))? {
            Next::More => {}
            Next::Done => self.done = true,
            Next::Error(body) => return Err(Stop::Error(body)),
        }
        Ok(())
    }

    fn chunk(&mut self, json: &str) -> Result<(), Stop> {
        let json = &*self.recovery.join(json);
        if self.spoke
            && let Some(Verse { text, span, index }) = self.refrain.verse(json)
            && self.completion.say(index, &text)?
        {
            let text = if index == 0 { &*text } else { "" };
            return self.sink.push(Piece { json: &one_line(json), text, span: Some((span.start, span.end)) });
        }
        let chunk = Chunk::of(json).map_err(|_| Stop::Malformed("an event that is no chunk"))?;
        if chunk.error.is_some_and(|error| error.get() != "null") {
            return Err(Stop::Error(json.to_owned()));
        }
        self.completion.add(&chunk)?;
        self.refrain.note(&chunk, json);
        match chunk.said(json) {
            Said::UsageOnly if !self.shows_usage => {}
            Said::Nothing if !self.spoke => {
                self.held_bytes += json.len();
                if self.held_bytes > MAX_HELD {
                    return Err(Stop::TooLong("more than 1 MiB of chunks say nothing"));
                }
                self.held.push(one_line(json).into_owned());
            }
            _ => {
                if !std::mem::replace(&mut self.spoke, true) && self.recovery.take_restart() {
                    let restart = chunk.restart();
                    self.sink.push(Piece { json: &restart, text: "", span: None })?;
                }
                for json in self.held.drain(..) {
                    self.sink.push(Piece { json: &json, text: "", span: None })?;
                }
                let span = chunk.content_span(json).map(|span| (span.start, span.end));
                self.sink.push(Piece { json: &one_line(json), text: chunk.text(), span })?;
            }
        }
        Ok(())
    }

    /// Whether the body may end here.
    fn ends(&mut self) -> bool {
        if let Some(translation) = &mut self.translation {
            let mut chunks = Vec::new();
            translation.finish(&mut chunks);
            if chunks.iter().try_for_each(|chunk| self.chunk(chunk)).is_err() {
                return false;
            }
        }
        self.is_finished()
    }

    fn is_finished(&self) -> bool {
        self.completion.is_finished(self.choices)
    }

    /// What a failure in the middle means, by whether anybody has seen a part of the answer.
    fn broken(&mut self, failure: Failed) -> Failed {
        if !self.spoke {
            return failure;
        }
        let FailedAttempt { failure, error } = *failure;
        // What is too long once is too long again.
        let is_lost = matches!(failure, Failure::InvalidResponse);
        let partial = self.completion.to_json();
        let unseen = self.sink.rewind();
        self.seen = (!unseen).then(|| partial.clone());
        let goes_on = unseen || (!is_lost && self.recovery.prepare(&self.completion));
        let failure = match (goes_on, failure) {
            (false, _) => Failure::CutSeen,
            // A provider that stalls is as silent as one that never spoke.
            (true, Failure::Silence) => Failure::Silence,
            // Nothing broke: there is too much of it.
            (true, Failure::InvalidResponse) => return failed(failure, error),
            (true, _) => Failure::CutUnseen,
        };
        let message = format!("the stream broke after a part of the answer: {}", error.message);
        failed(failure, interrupted(error, partial, message))
    }

    /// What is known by now of the tokens.
    fn usage_so_far(&self) -> Option<Usage> {
        match self.completion.usage() {
            Some(usage) => Usage::of(usage),
            None => self.translation.as_ref()?.usage().and_then(|usage| serde_json::from_str(&usage).ok()),
        }
    }

    fn settle(&self, client: &Client, record: &mut Record) {
        record.tier = self.completion.tier().map(Into::into);
        if let Some(model) = self.completion.model() {
            record.model = model.into();
        }
        let Some(usage) = self.completion.usage().filter(|usage| usage.get() != "null") else {
            return;
        };
        if let Some(usage) = Usage::of(usage) {
            client.counters.tokens(usage.prompt_tokens, usage.completion_tokens);
            record.tokens = Some(usage.total());
            record.reported(usage);
        }
        record.usage = Some(usage.to_owned());
    }
}

/// The error of a stream of which a part had come.
fn interrupted(mut cause: Error, partial: String, message: String) -> Error {
    let body = match &mut cause.kind {
        Kind::Api(api) => Some(std::mem::take(&mut api.body)),
        _ => None,
    };
    let mut error = Error::new(Kind::StreamInterrupted { partial, body }, message);
    error.cause = cause.cause.take();
    error.retryable = true;
    error.billed = Billed::Maybe;
    error
}

/// The `data` lines of an event are joined by line feeds, which JSON may have between its tokens; a piece handed over as
/// a line must have none. Its length stays, and so do places in it.
fn one_line(json: &str) -> std::borrow::Cow<'_, str> {
    if json.contains('\n') { json.replace('\n', " ").into() } else { json.into() }
}

/// As one that broke, of which it says what is wrong with it.
fn malformed(what: &str) -> Failed {
    let mut failure = cut(what);
    failure.error.message = format!("the answer has {what}");
    failure.error.cause = None;
    failure
}

/// A stream that broke.
pub(super) fn cut(what: &str) -> Failed {
    let mut error = Error::new(Kind::Connection(ConnectionPhase::Receive), "the response broke off");
    error.cause = Some(what.to_owned());
    error.retryable = true;
    error.billed = Billed::Maybe;
    failed(Failure::CutUnseen, error)
}
