//! What must hold for any bytes: no panic, and nothing but JSON of one line from what passes. Shared by `tests/fuzz.rs`, which
//! feeds it with damaged golden files in every run of the tests, and by the crate in `fuzz/`, which searches for longer.

use serde_json::Value;
use serde_json::value::RawValue;
use trunkline::config::{ClientConfig, Environment};
use trunkline::mock::as_openai;
use trunkline::protocol::dialect::{Chat, Events, Protocol, Reply};
use trunkline::protocol::openai::{Chunk, Completion, class_of};
use trunkline::protocol::sse::{Decoder, TooLong};
use trunkline::protocol::translate::{Malformed, Next};
use trunkline::protocol::{anthropic, gemini};

const PROTOCOLS: [Protocol; 3] = [Protocol::OpenAi, Protocol::Anthropic, Protocol::Gemini];

/// Of all generations, since each is spoken to in its own way.
const CLAUDES: [&str; 4] = ["claude-3-haiku-20240307", "claude-sonnet-4-5", "claude-opus-5-5", "other"];
const GEMINIS: [&str; 3] = ["gemini-2.0-flash", "gemini-2.5-pro", "gemini-3-flash-preview"];

fn is_json(text: &str) {
    assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "no JSON: {text}");
}

/// The bytes in pieces whose sizes the bytes themselves say.
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some(first) = bytes.first() {
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(*first % 16) + 1));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

type Framed = Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>;

fn framed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Framed {
    let (mut decoder, mut events) = (Decoder::new(), Framed::new());
    for piece in pieces {
        let fed = decoder.feed::<TooLong>(piece, |event| {
            events.push((event.name.to_vec(), event.data.to_vec(), event.id.to_vec()));
            Ok(())
        });
        assert!(fed.is_ok(), "no event is too long");
    }
    events
}

/// Events are the same in any chunking.
pub(crate) fn sse(bytes: &[u8]) {
    let whole = framed([bytes]);
    assert_eq!(framed(pieces(bytes)), whole);
    assert_eq!(framed(bytes.chunks(1)), whole);
}

/// The chunks of a stream of another protocol, and how it ended.
fn chunks<'a>(reply: &Reply, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Option<Next>) {
    struct Stop(Option<Next>);
    impl From<TooLong> for Stop {
        fn from(_: TooLong) -> Self {
            Self(None)
        }
    }
    let mut events: Events = reply.events(|| 0).unwrap();
    let (mut decoder, mut out) = (Decoder::new(), Vec::new());
    for piece in pieces {
        let fed = decoder.feed(piece, |event| match events.event(event.name, event.data, &mut out) {
            Ok(Next::More) => Ok(()),
            Ok(end) => Err(Stop(Some(end))),
            Err(Malformed(_)) => Err(Stop(None)),
        });
        if let Err(Stop(end)) = fed {
            return (out, end);
        }
    }
    events.finish(&mut out);
    (out, Some(Next::More))
}

fn stream(bytes: &[u8], reply: &Reply) {
    let whole = chunks(reply, [bytes]);
    assert_eq!(chunks(reply, pieces(bytes)), whole);
    let mut completion = Completion::default();
    for chunk in &whole.0 {
        assert!(!chunk.contains(['\n', '\r']), "lines: {chunk}");
        let read = Chunk::of(chunk).unwrap_or_else(|error| panic!("{error}: {chunk}"));
        assert!(completion.add(&read).is_ok(), "refused: {chunk}");
    }
    is_json(&completion.to_json());
    if let Some(Next::Error(error)) = whole.1 {
        is_json(&error);
    }
}

pub(crate) fn anthropic_events(bytes: &[u8]) {
    for trimmed in ["", " \n"] {
        stream(bytes, &Reply::Anthropic(anthropic::Context { trimmed: trimmed.to_owned() }));
    }
}

pub(crate) fn gemini_events(bytes: &[u8]) {
    stream(bytes, &Reply::Gemini(gemini::Context { choices: 2, model: "m".to_owned() }));
}

/// Chunks as OpenAI's protocol has them.
pub(crate) fn openai_chunk(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(chunk) = Chunk::of(text) else { return };
    is_json(text);
    is_json(&chunk.restart());
    let _ = chunk.said(text);
    if let Some(span) = chunk.content_span(text) {
        is_json(&text[span]);
    }
    let mut completion = Completion::default();
    for _ in 0..2 {
        let _ = completion.add(&chunk);
    }
    is_json(&completion.to_json());
}

fn request(bytes: &[u8], protocol: Protocol, models: &[&str]) {
    let Ok(body) = std::str::from_utf8(bytes) else { return };
    for model in models {
        for (is_stream, prefill) in [(false, None), (true, Some("One, "))] {
            let chat = Chat {
                body,
                model: Some(model),
                asked: "m",
                is_stream,
                asks_stream: false,
                prefill,
                mixed: true,
            };
            let Ok(said) = protocol.chat(chat) else { continue };
            let made = said.body.as_deref().unwrap_or(body);
            is_json(made);
            if let Ok(made) = serde_json::from_str(made) {
                as_openai(&said.path, &made);
            }
        }
        if let Ok(said) = protocol.embeddings(body, Some(model), "m") {
            is_json(said.body.as_deref().unwrap_or(body));
        }
    }
}

pub(crate) fn openai_request(bytes: &[u8]) {
    request(bytes, Protocol::OpenAi, &["m"]);
}

pub(crate) fn anthropic_request(bytes: &[u8]) {
    request(bytes, Protocol::Anthropic, &CLAUDES);
}

pub(crate) fn gemini_request(bytes: &[u8]) {
    request(bytes, Protocol::Gemini, &GEMINIS);
}

/// Whole answers, embeddings among them.
pub(crate) fn answers(bytes: &[u8]) {
    let Ok(body) = std::str::from_utf8(bytes) else { return };
    let embeddings = Protocol::Gemini.embeddings(r#"{"input":["a","b"]}"#, None, "m").unwrap().reply;
    for reply in [
        Reply::Anthropic(anthropic::Context { trimmed: " ".to_owned() }),
        Reply::Gemini(gemini::Context { choices: 2, model: "m".to_owned() }),
        embeddings,
    ] {
        if let Ok(Some(answer)) = reply.answer(body, || 0) {
            is_json(&answer);
        }
    }
}

/// What errors say of themselves.
pub(crate) fn errors(bytes: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(bytes) else { return };
    for protocol in PROTOCOLS {
        let fields = protocol.error_fields(&body);
        let _ =
            (class_of(400, &fields), class_of(fields.implied_status(), &fields), protocol.retry_delay(&body));
    }
}

/// The options of a client.
pub(crate) fn options(bytes: &[u8]) {
    if let Ok(options) = serde_json::from_slice::<Value>(bytes) {
        let _ = ClientConfig::parse(options, &Environment::default());
    }
}

/// A name, and what must hold.
type Target = (&'static str, fn(&[u8]));

/// All of it.
pub(crate) const ALL: [Target; 10] = [
    ("sse", sse),
    ("anthropic_events", anthropic_events),
    ("gemini_events", gemini_events),
    ("openai_chunk", openai_chunk),
    ("openai_request", openai_request),
    ("anthropic_request", anthropic_request),
    ("gemini_request", gemini_request),
    ("answers", answers),
    ("errors", errors),
    ("options", options),
];
