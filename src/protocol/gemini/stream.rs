//! An answer in events, as OpenAI's chunks. Each event is a whole GenerateContentResponse with what is new.

use super::error::error_json;
use super::reason::reason;
use super::said::{Extra, Place, Said, logprobs};
use super::shape::{Candidate, Response};
use super::usage::Usage;
use super::{Context, write};
use crate::protocol::json::quote;
use crate::protocol::translate::{Malformed, Next};

/// More candidates than this are not believed.
const MAX_CANDIDATES: usize = 1024;

/// What is held of an answer for its last chunk (parts without a name, sources): 64 MiB, as an answer may have.
const MAX_HELD: usize = 64 * 1024 * 1024;

/// The events of one stream, as OpenAI chunks.
///
/// Gemini says no word at the end: the stream is over with its body, and was whole if each choice had a finish reason then.
/// A reason is no end by itself. Some servers have said `STOP` with every event, and some relays say it before the first
/// content; so it is held until [`Events::finish`], and counts only if nothing came after it. [`Next::Done`] comes only of
/// relays that send `[DONE]`.
#[derive(Debug)]
pub struct Events {
    choices: usize,
    created: u64,
    /// Quoted; from the first event that says it.
    id: Option<String>,
    model: String,
    model_is_said: bool,
    candidates: Vec<State>,
    usage: Usage,
    finished: bool,
}

#[derive(Debug, Default)]
struct State {
    index: usize,
    began: bool,
    calls: usize,
    ended: Option<Ended>,
    extra: Extra,
}

/// Why a choice ended, if nothing comes after it.
#[derive(Debug)]
struct Ended {
    /// Gemini's reason.
    native: String,
    /// Whether it is one for the whole prompt, which means the same whatever it is called.
    blocked: bool,
}

impl Events {
    pub fn new(context: &Context, created: u64) -> Self {
        Self {
            choices: context.choices.max(1),
            created,
            id: None,
            model: quote(&context.model),
            model_is_said: false,
            candidates: Vec::new(),
            usage: Usage::default(),
            finished: false,
        }
    }

    /// One server-sent event, already framed. Pushes zero or more chunks (JSON texts of one line) to `out`.
    pub fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<String>) -> Result<Next, Malformed> {
        let text = std::str::from_utf8(data).map_err(|_| Malformed("an event that is not UTF-8"))?.trim();
        if text.is_empty() {
            return Ok(Next::More);
        }
        if text == "[DONE]" {
            self.finish(out);
            return Ok(Next::Done);
        }
        if text.starts_with('[') {
            // Errors come in an array where the request was not taken for one of a stream.
            return error_json(text).map(Next::Error).ok_or(Malformed("an event that is no object"));
        }
        let response = Response::of(text)?;
        if response.error.is_some() {
            return error_json(text).map(Next::Error).ok_or(Malformed("an error that is none"));
        }
        if self.id.is_none() {
            self.id = response.response_id.as_ref().map(|id| quote(&id.0));
        }
        if let Some(model) = response.model_version.as_ref().filter(|_| !self.model_is_said) {
            self.model = quote(&model.0);
            self.model_is_said = true;
        }
        if let Some(usage) = response.usage_metadata {
            self.usage.update(usage);
        }
        if let Some(why) = response.blocked() {
            for index in 0..self.choices {
                let at = self.state(index)?;
                self.candidates[at].ended = Some(Ended { native: why.to_owned(), blocked: true });
            }
        }
        for (number, candidate) in response.candidates.iter().flatten().enumerate() {
            self.candidate(candidate, number, out)?;
        }
        Ok(Next::More)
    }

    /// The tokens that it has told of by now.
    pub fn usage(&self) -> Option<String> {
        self.usage.to_json()
    }

    /// The end of the body, where it ended as it should: the finish reasons, and the usage. Once; not to be called for a body
    /// that broke off.
    pub fn finish(&mut self, out: &mut Vec<String>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let head = self.head();
        for state in &self.candidates {
            if let Some(ended) = &state.ended {
                out.push(state.last(&head, ended));
            }
        }
        if let Some(usage) = self.usage.to_json() {
            out.push(format!("{head},\"choices\":[],\"usage\":{usage}}}"));
        }
    }

    fn candidate(
        &mut self,
        candidate: &Candidate<'_>,
        number: usize,
        out: &mut Vec<String>,
    ) -> Result<(), Malformed> {
        let said = Said::of(candidate)?;
        let at = self.state(candidate.index.unwrap_or(number))?;
        let head = self.head();
        let id = self.id.as_deref().unwrap_or("");
        let state = &mut self.candidates[at];
        let mut delta = String::from("{");
        if !state.began {
            write::member(&mut delta, "role", "\"assistant\"");
        }
        let place = Place { response: id, candidate: state.index, calls: state.calls };
        said.write_delta(&place, &mut delta);
        delta.push('}');
        state.calls += said.calls();
        state.extra.add(candidate, &said);
        let probabilities = logprobs(candidate.logprobs_result.as_ref());
        if delta != "{}" || probabilities != "null" {
            // What had ended goes on.
            state.ended = None;
            state.began = true;
            out.push(chunk(&head, state.index, &delta, &probabilities, "null", None));
        }
        if let Some(native) = candidate.finish_reason() {
            // What is no answer need not be waited for.
            reason(native, state.calls > 0)?;
            state.ended = Some(Ended { native: native.to_owned(), blocked: false });
        }
        if self.candidates.iter().map(|state| state.extra.size()).sum::<usize>() > MAX_HELD {
            return Err(Malformed("an answer with more than 64 MiB"));
        }
        Ok(())
    }

    /// Where a candidate's state is.
    fn state(&mut self, index: usize) -> Result<usize, Malformed> {
        if let Some(at) = self.candidates.iter().position(|state| state.index == index) {
            return Ok(at);
        }
        if index >= MAX_CANDIDATES {
            return Err(Malformed("a candidate with an absurd index"));
        }
        self.candidates.push(State { index, ..State::default() });
        Ok(self.candidates.len() - 1)
    }

    /// The beginning of each chunk, its object left open.
    fn head(&self) -> String {
        let mut out = String::with_capacity(256);
        out.push('{');
        match &self.id {
            Some(id) => write::member(&mut out, "id", id),
            None => write::text_member(&mut out, "id", &format!("gemini-{}", self.created)),
        }
        write::member(&mut out, "object", "\"chat.completion.chunk\"");
        write::member(&mut out, "created", &self.created.to_string());
        write::member(&mut out, "model", &self.model);
        out
    }
}

impl State {
    /// The chunk with the finish reason.
    fn last(&self, head: &str, ended: &Ended) -> String {
        let reason = if ended.blocked { None } else { reason(&ended.native, self.calls > 0).ok() };
        let (name, exact) = reason.map_or(("content_filter", false), |reason| (reason.name, reason.exact));
        let mut delta = String::from("{");
        if !self.began {
            write::member(&mut delta, "role", "\"assistant\"");
        }
        self.extra.write(&mut delta);
        delta.push('}');
        chunk(head, self.index, &delta, "null", &quote(name), (!exact).then_some(&ended.native))
    }
}

/// A chunk of one choice. `ended`: JSON.
fn chunk(head: &str, index: usize, delta: &str, logprobs: &str, ended: &str, native: Option<&str>) -> String {
    let mut out = String::with_capacity(head.len() + delta.len() + logprobs.len() + 96);
    out.push_str(head);
    out.push_str(",\"choices\":[{\"index\":");
    out.push_str(&index.to_string());
    write::member(&mut out, "delta", delta);
    if logprobs != "null" {
        write::member(&mut out, "logprobs", logprobs);
    }
    write::member(&mut out, "finish_reason", ended);
    if let Some(native) = native {
        write::text_member(&mut out, "native_finish_reason", native);
    }
    out.push_str("}]}");
    out
}
