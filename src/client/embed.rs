//! Embeddings: inputs beyond what one request takes are split, and the vectors joined in order.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Client;
use super::call::{self, Answer, Call};
use super::whole::Whole;
use crate::error::{Error, Kind};
use crate::protocol::json::Members;
use crate::protocol::openai::Usage;

/// The most inputs that OpenAI takes in one request (its API reference, `input` of "Create embeddings").
pub(super) const MAX_INPUTS: usize = 2048;

/// Parts of one call that are under way together.
const SIDE_BY_SIDE: usize = 4;

/// Makes an embedding call, in parts if it has to be.
pub(super) async fn run(client: &Client, call: Call) -> Result<Answer, Error> {
    let accepted = call::accept(&call)?;
    let parts = split(&call.body);
    if parts.is_empty() {
        return call::run(client, call, &accepted, &mut Whole { is_model_answer: true }).await;
    }
    let mut answers = Vec::with_capacity(parts.len());
    // In slices, so that one call of a million inputs does not take the pool for itself.
    for slice in parts.chunks(SIDE_BY_SIDE) {
        let running = slice.iter().map(|body| {
            let part =
                Call { endpoint: call.endpoint.clone(), body: body.clone(), options: call.options.clone() };
            let accepted = &accepted;
            async move { call::run(client, part, accepted, &mut Whole { is_model_answer: true }).await }
        });
        answers.extend(join_all(running).await?);
    }
    join(answers)
}

/// The bodies of the parts; none where one request is enough.
fn split(body: &str) -> Vec<String> {
    let Ok(members) = Members::of(body) else {
        return Vec::new();
    };
    let Some(inputs) = members.value::<Vec<&RawValue>>("input") else {
        return Vec::new();
    };
    // An array of numbers is one input, in tokens.
    let one = inputs.first().is_none_or(|first| first.get().starts_with(|c: char| c.is_ascii_digit()));
    if one || inputs.len() <= MAX_INPUTS {
        return Vec::new();
    }
    inputs
        .chunks(MAX_INPUTS)
        .map(|part| {
            let texts: Vec<_> = part.iter().map(|input| input.get()).collect();
            members.with("input", &format!("[{}]", texts.join(",")))
        })
        .collect()
}

/// Runs futures side by side; the first error ends them all.
async fn join_all<T, F: Future<Output = Result<T, Error>>>(
    futures: impl Iterator<Item = F>,
) -> Result<Vec<T>, Error> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, done) in &mut running {
            if done.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(Ok(value)) => *done = Some(value),
                    std::task::Poll::Ready(Err(error)) => return std::task::Poll::Ready(Err(error)),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(Ok(())) }
    })
    .await?;
    Ok(running.into_iter().filter_map(|(_, done)| done).collect())
}

/// One answer of several, the vectors numbered through.
fn join(answers: Vec<Answer>) -> Result<Answer, Error> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
        #[serde(default)]
        usage: Option<Usage>,
    }
    let invalid = || Error::new(Kind::InvalidResponse, "a part of the answer has no list of vectors");
    let mut vectors: Vec<String> = Vec::new();
    let mut tokens = 0;
    for answer in &answers {
        let text = std::str::from_utf8(&answer.body).map_err(|_| invalid())?;
        let part: Part<'_> = serde_json::from_str(text).map_err(|_| invalid())?;
        tokens += part.usage.unwrap_or_default().prompt_tokens;
        for vector in part.data {
            let index = vectors.len().to_string();
            vectors.push(Members::of(vector.get()).map_err(|_| invalid())?.with("index", &index));
        }
    }
    let last = answers.into_iter().next_back().ok_or_else(invalid)?;
    let text = std::str::from_utf8(&last.body).map_err(|_| invalid())?;
    let whole = Members::of(text).map_err(|_| invalid())?.with("data", &format!("[{}]", vectors.join(",")));
    let usage = format!(r#"{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#);
    let whole = Members::of(&whole).map_err(|_| invalid())?.with("usage", &usage);
    Ok(Answer { body: Bytes::from(whole), meta: last.meta })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_what_is_too_long_is_split() {
        assert!(split(r#"{"model":"m","input":"a"}"#).is_empty());
        assert!(split(&json!({"input": vec!["a"; MAX_INPUTS]}).to_string()).is_empty());
        assert!(
            split(&json!({"input": vec![7; MAX_INPUTS + 1]}).to_string()).is_empty(),
            "tokens are one input"
        );
        let inputs: Vec<_> = (0..MAX_INPUTS + 1).map(|n| n.to_string()).collect();
        let parts = split(&json!({"model": "m", "input": inputs}).to_string());
        let last: Value = serde_json::from_str(&parts[1]).unwrap();
        assert_eq!((parts.len(), last), (2, json!({"model": "m", "input": ["2048"]})));
    }

    #[test]
    fn vectors_are_numbered_through_and_tokens_added_up() {
        let part = |values: &[u32], tokens: u32| {
            let data: Vec<_> = values
                .iter()
                .enumerate()
                .map(|(at, value)| json!({"index": at, "embedding": [value]}))
                .collect();
            let body = json!({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": tokens, "total_tokens": tokens}});
            Answer { body: body.to_string().into(), meta: Vec::new() }
        };
        let joined: Value =
            serde_json::from_slice(&join(vec![part(&[1, 2], 5), part(&[3], 6)]).unwrap().body).unwrap();
        assert_eq!(
            joined,
            json!({"object": "list", "model": "m", "data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [2]}, {"index": 2, "embedding": [3]}], "usage": {"prompt_tokens": 11, "total_tokens": 11}})
        );
    }
}
