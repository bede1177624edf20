//! What a provider speaks, for those who do not care which of the protocols it is.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::json::{Members, Text, quote};
use super::openai::{self, ErrorFields};
use super::translate::{Inexpressible, Malformed, Next};
use super::{anthropic, gemini};

/// What is spoken with a provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    #[default]
    OpenAi,
    /// Messages.
    Anthropic,
    /// generateContent.
    Gemini,
}

/// A request in the words of a protocol.
#[derive(Debug)]
pub struct Said {
    /// Below the base URL, the version included.
    pub path: Cow<'static, str>,
    /// None where it is as it was given.
    pub body: Option<String>,
    /// What of it could not be said, and is left out.
    pub dropped: Vec<Cow<'static, str>>,
    pub reply: Reply,
}

/// How the answer is to be understood.
#[derive(Debug, Clone, Default)]
pub enum Reply {
    /// As it is.
    #[default]
    Same,
    Anthropic(anthropic::Context),
    Gemini(gemini::Context),
    GeminiEmbeddings(gemini::embed::Context),
}

/// A chat that is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'a> {
    /// In OpenAI's shape.
    pub body: &'a str,
    /// What the target calls it; None for what the request says.
    pub model: Option<&'a str>,
    /// What the request says of the model.
    pub asked: &'a str,
    /// How the answer is to come on the wire, and whether the request itself says as a stream.
    pub is_stream: bool,
    pub asks_stream: bool,
    /// What the answer is to begin with, and goes on from.
    pub prefill: Option<&'a str>,
    /// Whether its history may hold answers of other protocols than the target's.
    pub mixed: bool,
}

impl Protocol {
    /// As options have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    pub fn chat(self, chat: Chat<'_>) -> Result<Said, Inexpressible> {
        let begun = chat.prefill.map(|prefill| with_prefill(chat.body, prefill)).transpose()?;
        let body = begun.as_deref().unwrap_or(chat.body);
        let model = chat.model.unwrap_or(chat.asked);
        match self {
            Self::OpenAi => {
                let (cleaned, dropped) = chat.mixed.then(|| openai::without_foreign(body)).flatten().unzip();
                let body = cleaned.as_deref().unwrap_or(body);
                let other = chat.model.map(|model| openai::with_model(body, model)).transpose();
                let other = other.map_err(|_| no_object())?;
                let body = other.as_deref().unwrap_or(body);
                let wired = match (chat.is_stream, chat.asks_stream) {
                    (true, _) => Some(openai::as_stream(body)),
                    (false, true) => Some(openai::as_unary(body)),
                    (false, false) => None,
                };
                let wired = wired.transpose().map_err(|_| no_object())?;
                Ok(Said {
                    path: "/chat/completions".into(),
                    body: wired.or(other).or(cleaned).or(begun),
                    dropped: dropped.unwrap_or_default(),
                    reply: Reply::Same,
                })
            }
            Self::Anthropic => {
                let said = anthropic::request(body, model, chat.is_stream)?;
                Ok(Said {
                    path: anthropic::chat_path(model, chat.is_stream).into(),
                    body: Some(said.body),
                    dropped: said.dropped,
                    reply: Reply::Anthropic(said.context),
                })
            }
            Self::Gemini => {
                let said = gemini::request(body, model, chat.is_stream)?;
                Ok(Said {
                    path: gemini::chat_path(model, chat.is_stream).into(),
                    body: Some(said.body),
                    dropped: said.dropped,
                    reply: Reply::Gemini(said.context),
                })
            }
        }
    }

    /// A request for embeddings.
    pub fn embeddings(self, body: &str, model: Option<&str>, asked: &str) -> Result<Said, Inexpressible> {
        match self {
            Self::OpenAi => {
                let body = model.map(|model| openai::with_model(body, model)).transpose();
                Ok(Said {
                    path: "/embeddings".into(),
                    body: body.map_err(|_| no_object())?,
                    dropped: Vec::new(),
                    reply: Reply::Same,
                })
            }
            Self::Anthropic => Err(Inexpressible {
                path: String::new(),
                message: "cannot be said in Anthropic's protocol, which has no embeddings".to_owned(),
            }),
            Self::Gemini => {
                let model = model.unwrap_or(asked);
                let said = gemini::embed::request(body, model)?;
                Ok(Said {
                    path: gemini::embed::embed_path(model).into(),
                    body: Some(said.body),
                    dropped: said.dropped,
                    reply: Reply::GeminiEmbeddings(said.context),
                })
            }
        }
    }

    /// The most inputs of one request for embeddings; OpenAI's by its API reference ("Create embeddings", `input`).
    pub fn most_inputs(self) -> usize {
        match self {
            Self::OpenAi | Self::Anthropic => 2048,
            Self::Gemini => gemini::embed::MAX_INPUTS,
        }
    }

    /// What an error says of itself.
    pub fn error_fields(self, body: &Value) -> ErrorFields {
        match self {
            Self::OpenAi => ErrorFields::of(body),
            Self::Anthropic => anthropic::error_fields(body),
            Self::Gemini => gemini::error_fields(body),
        }
    }

    /// When an error says to come back, where it says so in its body.
    pub fn retry_delay(self, body: &Value) -> Option<std::time::Duration> {
        match self {
            Self::Gemini => gemini::retry_delay(body),
            Self::OpenAi | Self::Anthropic => None,
        }
    }

    /// The version that its paths begin with where the base URL does not end in one, as its own libraries have it.
    pub fn version(self) -> &'static str {
        match self {
            Self::OpenAi => "",
            Self::Anthropic => "/v1",
            Self::Gemini => "/v1beta",
        }
    }
}

impl Reply {
    /// A whole answer in OpenAI's shape; None where it is as it came. `created`: the time in seconds since 1970, asked for where one is
    /// needed.
    pub fn answer(&self, body: &str, created: fn() -> u64) -> Result<Option<String>, Malformed> {
        match self {
            Self::Same => Ok(None),
            Self::Anthropic(context) => anthropic::answer(body, context, created()).map(Some),
            Self::Gemini(context) => gemini::answer(body, context, created()).map(Some),
            Self::GeminiEmbeddings(context) => gemini::embed::answer(body, context).map(Some),
        }
    }

    /// The translation of a stream's events; None where they are chunks already. `created`: as above.
    pub fn events(&self, created: fn() -> u64) -> Option<Events> {
        match self {
            Self::Same | Self::GeminiEmbeddings(_) => None,
            Self::Anthropic(context) => {
                Some(Events::Anthropic(Box::new(anthropic::Events::new(context, created()))))
            }
            Self::Gemini(context) => Some(Events::Gemini(Box::new(gemini::Events::new(context, created())))),
        }
    }
}

/// The events of one stream, as OpenAI's chunks.
#[derive(Debug)]
pub enum Events {
    Anthropic(Box<anthropic::Events>),
    Gemini(Box<gemini::Events>),
}

impl Events {
    /// One event; the chunks that it makes go to `out`.
    pub fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<String>) -> Result<Next, Malformed> {
        match self {
            Self::Anthropic(events) => events.event(name, data, out),
            Self::Gemini(events) => events.event(name, data, out),
        }
    }

    /// The tokens that it has told of by now, as OpenAI's `usage`.
    pub fn usage(&self) -> Option<String> {
        match self {
            Self::Anthropic(events) => events.usage(),
            Self::Gemini(events) => events.usage(),
        }
    }

    /// The body has ended.
    pub fn finish(&mut self, out: &mut Vec<String>) {
        match self {
            Self::Anthropic(_) => {}
            Self::Gemini(events) => events.finish(out),
        }
    }
}

/// A request whose last message is the beginning of its answer; if it is that already, it gets longer: two messages of one role in a row
/// mean something else, or are refused.
fn with_prefill(body: &str, prefill: &str) -> Result<String, Inexpressible> {
    let members = Members::of(body).map_err(|_| no_object())?;
    let mut messages = members.value::<Vec<&RawValue>>("messages").ok_or_else(|| Inexpressible {
        path: "messages".to_owned(),
        message: "must be an array".to_owned(),
    })?;
    let last = messages.last().and_then(|last| begun(last.get(), prefill));
    if last.is_some() {
        messages.pop();
    }
    let last = last.unwrap_or_else(|| format!(r#"{{"role":"assistant","content":{}}}"#, quote(prefill)));
    let messages: Vec<_> = messages.iter().map(|message| message.get()).chain([&*last]).collect();
    Ok(members.with("messages", &format!("[{}]", messages.join(","))))
}

/// This message with so much more text, if it is the beginning of an answer and nothing but a text.
fn begun(message: &str, prefill: &str) -> Option<String> {
    let message = Members::of(message).ok()?;
    let is_text = message.value::<Text<'_>>("role")?.0 == "assistant" && message.raw("tool_calls").is_none();
    let Text(text) = message.value::<Text<'_>>("content").filter(|_| is_text)?;
    Some(message.with("content", &quote(&format!("{text}{prefill}"))))
}

fn no_object() -> Inexpressible {
    Inexpressible { path: String::new(), message: "must be an object".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

    fn chat(body: &str) -> Chat<'_> {
        Chat {
            body,
            model: None,
            asked: "m",
            is_stream: false,
            asks_stream: false,
            prefill: None,
            mixed: true,
        }
    }

    #[test]
    fn where_request_and_provider_speak_alike_the_text_is_left_as_it_is() {
        let said = Protocol::OpenAi.chat(chat(BODY)).unwrap();
        assert_eq!((said.body, &*said.path), (None, "/chat/completions"));
        let other = Protocol::OpenAi.chat(Chat { model: Some("n"), ..chat(BODY) }).unwrap();
        assert_eq!(other.body.unwrap(), BODY.replace(r#""model":"m""#, r#""model":"n""#));
    }

    #[test]
    fn what_other_protocols_answers_have_is_taken_out_only_where_there_are_others() {
        let body = r#"{"model":"m","messages":[{"role":"assistant","content":"a","thinking_blocks":[1]}]}"#;
        let alone = Protocol::OpenAi.chat(Chat { mixed: false, ..chat(body) }).unwrap();
        assert_eq!((alone.body, alone.dropped.len()), (None, 0));
        let mixed = Protocol::OpenAi.chat(Chat { model: Some("n"), is_stream: true, ..chat(body) }).unwrap();
        let said: Value = serde_json::from_str(&mixed.body.unwrap()).unwrap();
        assert_eq!(said["messages"], json!([{"role": "assistant", "content": "a"}]));
        assert_eq!((&said["model"], &said["stream"]), (&json!("n"), &json!(true)));
        assert_eq!(mixed.dropped, ["messages[0].thinking_blocks"]);
    }

    #[test]
    fn a_prefill_is_the_last_message_whatever_is_spoken() {
        let begun = Chat { prefill: Some("One,\n"), ..chat(BODY) };
        let body = |protocol: Protocol| -> Value {
            serde_json::from_str(&protocol.chat(begun).unwrap().body.unwrap()).unwrap()
        };
        let last = json!({"role": "assistant", "content": "One,\n"});
        assert_eq!(body(Protocol::OpenAi)["messages"][1], last);
        assert_eq!(body(Protocol::Anthropic)["messages"][1]["role"], "assistant");
        assert_eq!(body(Protocol::Gemini)["contents"][1]["role"], "model");
        let empty = Chat { prefill: Some("a"), ..chat(r#"{"model":"m","messages":[ ]}"#) };
        let said = Protocol::OpenAi.chat(empty).unwrap().body.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["messages"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_prefill_of_the_callers_own_gets_longer() {
        let body = |last: Value| {
            let given =
                json!({"model": "m", "messages": [{"role": "user", "content": "hi"}, last]}).to_string();
            let said =
                Protocol::OpenAi.chat(Chat { prefill: Some("b"), ..chat(&given) }).unwrap().body.unwrap();
            let Value::Array(mut messages) = serde_json::from_str::<Value>(&said).unwrap()["messages"].take()
            else {
                panic!("{said}")
            };
            messages.split_off(1)
        };
        let own = json!({"role": "assistant", "name": "n", "content": "a "});
        assert_eq!(body(own), [json!({"role": "assistant", "name": "n", "content": "a b"})]);
        let added = json!({"role": "assistant", "content": "b"});
        for other in [
            json!({"role": "user", "content": "a"}),
            json!({"role": "assistant", "content": "a", "tool_calls": []}),
            json!({"role": "assistant", "content": [{"type": "text", "text": "a"}]}),
        ] {
            assert_eq!(body(other.clone()), [other, added.clone()]);
        }
    }

    #[test]
    fn embeddings_that_a_protocol_has_not_are_said_so() {
        let error = Protocol::Anthropic.embeddings(BODY, None, "m").unwrap_err();
        assert!(error.message.contains("no embeddings"));
        let said = Protocol::OpenAi.embeddings(r#"{"model":"m","input":"a"}"#, Some("n"), "m").unwrap();
        assert_eq!(said.body.unwrap(), r#"{"model":"n","input":"a"}"#);
    }
}
