//! A whole answer, as OpenAI's `chat.completion`.

use super::reason::reason;
use super::said::{Extra, Place, Said, logprobs};
use super::shape::{Candidate, Response};
use super::{Context, write};
use crate::protocol::translate::Malformed;

/// A whole answer as OpenAI's chat.completion. `created`: Unix seconds. An error inside (top-level `error`) is not handled here.
pub fn answer(body: &str, context: &Context, created: u64) -> Result<String, Malformed> {
    let response = Response::of(body)?;
    let mut out = String::with_capacity(body.len() + 512);
    let id = response.response_id.as_ref().map_or("", |id| &*id.0);
    let model = response.model_version.as_ref().map_or(&*context.model, |model| &*model.0);
    out.push('{');
    if id.is_empty() {
        write::text_member(&mut out, "id", &format!("gemini-{created}"));
    } else {
        write::text_member(&mut out, "id", id);
    }
    write::member(&mut out, "object", "\"chat.completion\"");
    write::member(&mut out, "created", &created.to_string());
    write::text_member(&mut out, "model", model);
    write::name(&mut out, "choices");
    out.push('[');
    if let Some(why) = response.blocked() {
        for index in 0..context.choices.max(1) {
            write::comma(&mut out);
            blocked(index, why, &mut out);
        }
    } else {
        let candidates = response.candidates.as_deref().unwrap_or_default();
        if candidates.is_empty() {
            return Err(Malformed("an answer without candidates"));
        }
        for (number, candidate) in candidates.iter().enumerate() {
            write::comma(&mut out);
            choice(candidate, number, id, &mut out)?;
        }
    }
    out.push(']');
    if let Some(usage) = response.usage_metadata.and_then(super::usage::Usage::to_json) {
        write::member(&mut out, "usage", &usage);
    }
    out.push('}');
    Ok(out)
}

fn choice(candidate: &Candidate<'_>, number: usize, id: &str, out: &mut String) -> Result<(), Malformed> {
    let said = Said::of(candidate)?;
    let Some(native) = candidate.finish_reason() else {
        return Err(Malformed("a candidate without a finish reason"));
    };
    let ended = reason(native, said.calls() > 0)?;
    let index = candidate.index.unwrap_or(number);
    out.push('{');
    write::member(out, "index", &index.to_string());
    write::member(out, "message", "{\"role\":\"assistant\"");
    said.write_message(&Place { response: id, candidate: index, calls: 0 }, out);
    let mut extra = Extra::default();
    extra.add(candidate, &said);
    extra.write(out);
    out.push('}');
    write::member(out, "logprobs", &logprobs(candidate.logprobs_result.as_ref()));
    write::text_member(out, "finish_reason", ended.name);
    if !ended.exact {
        write::text_member(out, "native_finish_reason", native);
    }
    out.push('}');
    Ok(())
}

/// A choice that a refused prompt leaves.
fn blocked(index: usize, why: &str, out: &mut String) {
    out.push('{');
    write::member(out, "index", &index.to_string());
    write::member(out, "message", r#"{"role":"assistant","content":null,"refusal":null}"#);
    write::member(out, "logprobs", "null");
    write::member(out, "finish_reason", "\"content_filter\"");
    write::text_member(out, "native_finish_reason", why);
    out.push('}');
}
