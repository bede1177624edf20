//! Embeddings: inputs beyond what one request takes are split, and the vectors joined in order.
//!
//! Vectors of two models have nothing to do with each other, so all parts are answered by the same target: if one of them had to go to the
//! next, those that were answered before are asked there again.

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Client;
use super::call::{self, Answer, Call};
use super::journey::{Accepted, Journey};
use super::record::Record;
use super::targets::Path;
use super::whole::{Shape, Whole};
use crate::config::CallOptions;
use crate::error::{Error, Kind};
use crate::protocol::json::Members;
use crate::protocol::openai::Usage;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Parts of one call that are under way together.
const SIDE_BY_SIDE: usize = 4;

/// Makes an embedding call, in parts if it has to be. However many parts, it is one call: it counts once, has one deadline, and
/// tells of all their attempts.
pub(super) async fn run_accepted(client: &Client, call: Call, accepted: Accepted) -> Result<Answer, Error> {
    let request = accepted.request(call.body.len(), false);
    let wanted = call.options.provider.as_deref();
    let path = client.targets.path(accepted.model(), wanted, request, accepted.arrived)?;
    let parts = split(&call.body, most_inputs(&path));
    if parts.is_empty() {
        return call::run(client, call, &accepted, &mut Whole { answer: Shape::Vectors }).await;
    }
    let inputs: Vec<_> = parts.iter().map(|part| part.inputs).collect();
    let options = options(&call, parts.len());
    let parts: Vec<_> = parts.into_iter().map(|part| Bytes::from(part.body)).zip(&options).collect();
    let plan = |part: &(Bytes, _), from: usize| {
        let (body, options) = (part.0.clone(), part.1);
        let journey = Journey::plan(client, &call.endpoint, body, &accepted, options, false)?;
        let journey = journey.along(path.skip(from));
        let first = journey.begin(false)?;
        Ok::<_, Error>((journey, first))
    };
    // What nobody can be sent is refused before it counts.
    parts.iter().try_for_each(|part| plan(part, 0).map(drop))?;

    let mut record = accepted.record();
    let counted = accepted.begin(client, &mut record);
    let ended = async {
        // By which target of the path, and what.
        let mut answers: Vec<(usize, Option<Bytes>)> = vec![(0, None); parts.len()];
        let mut from = 0;
        loop {
            let missing = answers.iter().enumerate();
            let missing = missing.filter(|(_, (by, answer))| answer.is_none() || *by < from);
            // In slices, so that one call of a million inputs does not take the pool for itself.
            let slice: Vec<_> = missing.map(|(part, _)| part).take(SIDE_BY_SIDE).collect();
            if slice.is_empty() {
                break;
            }
            let planned = slice.iter().filter_map(|part| parts.get(*part)).map(|part| plan(part, from));
            let mut journeys = planned.collect::<Result<Vec<_>, Error>>()?;
            let mut records: Vec<_> = slice.iter().map(|_| accepted.record()).collect();
            records.iter_mut().for_each(|part| part.sit_beside(&record));
            let running = journeys.iter_mut().zip(&mut records).map(|((journey, first), record)| async {
                call::live(journey, first.take(), record, &mut Whole { answer: Shape::Vectors }).await
            });
            // The first error ends them all.
            let ended = try_join_all(running).await;
            let by: Vec<_> =
                records.iter().map(|record| from + asked_last(&path.skip(from), record)).collect();
            records.into_iter().for_each(|part| record.absorb(part));
            for ((part, by), body) in slice.into_iter().zip(by).zip(ended?) {
                if let Some(answer) = answers.get_mut(part) {
                    *answer = (by, Some(body));
                }
                from = from.max(by);
            }
        }
        let bodies: Vec<_> = answers.into_iter().filter_map(|(_, body)| body).collect();
        let (body, usage) = join(&bodies, &inputs)?;
        record.usage = Some(usage);
        Ok(body)
    };
    let ended = ended.await;
    call::settle(client, counted, &record, ended)
}

/// A part of a call.
struct Part {
    body: String,
    inputs: usize,
}

/// The most inputs that one request takes, whichever of its targets it goes to.
fn most_inputs(path: &Path<'_>) -> usize {
    let most = path.iter().map(|target| target.provider.protocol().most_inputs()).min();
    most.unwrap_or(usize::MAX)
}

/// Which of the targets the part was sent to last.
fn asked_last(path: &Path<'_>, record: &Record) -> usize {
    let mut targets = path.iter();
    let asked = targets.position(|target| {
        target.provider.name() == record.provider()
            && target.model_for(record.wanted()) == *record.model_asked()
    });
    asked.unwrap_or_default()
}

/// The options of the parts. Each has an idempotency key of its own, or a server would take them for repetitions of the first.
fn options(call: &Call, parts: usize) -> Vec<CallOptions> {
    let key = call.options.headers.get(IDEMPOTENCY_KEY);
    let one = |number: usize| {
        let mut options = CallOptions::clone(&call.options);
        if let Some(key) = key {
            let mut own = key.as_bytes().to_vec();
            own.extend_from_slice(format!("-{}", number + 1).as_bytes());
            // A number more leaves it a good value.
            if let Ok(own) = HeaderValue::from_bytes(&own) {
                options.headers.insert(IDEMPOTENCY_KEY, own);
            }
        }
        options
    };
    (0..parts).map(one).collect()
}

/// The parts; none where one request is enough.
fn split(body: &str, most: usize) -> Vec<Part> {
    let Ok(members) = Members::of(body) else {
        return Vec::new();
    };
    let Some(inputs) = members.value::<Vec<&RawValue>>("input") else {
        return Vec::new();
    };
    // An array of numbers is one input, in tokens.
    let one = inputs.first().is_none_or(|first| first.get().starts_with(|c: char| c.is_ascii_digit()));
    if one || inputs.len() <= most {
        return Vec::new();
    }
    inputs
        .chunks(most)
        .map(|part| {
            let texts: Vec<_> = part.iter().map(|input| input.get()).collect();
            Part { body: members.with("input", &format!("[{}]", texts.join(","))), inputs: part.len() }
        })
        .collect()
}

/// One answer of several, the vectors numbered through, and its usage.
fn join(bodies: &[Bytes], inputs: &[usize]) -> Result<(Bytes, Box<RawValue>), Error> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
        #[serde(default)]
        usage: Option<Usage>,
    }
    let invalid =
        || Error::new(Kind::InvalidResponse, "a part of the answer has not one vector for each input");
    let mut vectors: Vec<String> = vec![String::new(); inputs.iter().sum()];
    let (mut tokens, mut from) = (0, 0);
    let mut last = "";
    for (body, inputs) in bodies.iter().zip(inputs) {
        last = std::str::from_utf8(body).map_err(|_| invalid())?;
        let part: Part<'_> = serde_json::from_str(last).map_err(|_| invalid())?;
        tokens += part.usage.unwrap_or_default().prompt_tokens;
        if part.data.len() != *inputs {
            return Err(invalid());
        }
        for (at, vector) in part.data.iter().enumerate() {
            let members = Members::of(vector.get()).map_err(|_| invalid())?;
            // By the number that the server gave it, whatever the order they came in.
            let at = members.value::<usize>("index").unwrap_or(at);
            let slot = vectors.get_mut(from + at).filter(|slot| at < *inputs && slot.is_empty());
            *slot.ok_or_else(invalid)? = members.with("index", &(from + at).to_string());
        }
        from += inputs;
    }
    let whole = Members::of(last).map_err(|_| invalid())?.with("data", &format!("[{}]", vectors.join(",")));
    let usage = format!(r#"{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#);
    let whole = Members::of(&whole).map_err(|_| invalid())?.with("usage", &usage);
    Ok((whole.into(), RawValue::from_string(usage).map_err(|_| invalid())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const MAX_INPUTS: usize = 2048;

    #[test]
    fn only_what_is_too_long_is_split() {
        assert!(split(r#"{"model":"m","input":"a"}"#, MAX_INPUTS).is_empty());
        assert!(split(&json!({"input": vec!["a"; MAX_INPUTS]}).to_string(), MAX_INPUTS).is_empty());
        assert!(
            split(&json!({"input": vec![7; MAX_INPUTS + 1]}).to_string(), MAX_INPUTS).is_empty(),
            "tokens are one input"
        );
        let inputs: Vec<_> = (0..MAX_INPUTS + 1).map(|n| n.to_string()).collect();
        let parts = split(&json!({"model": "m", "input": inputs}).to_string(), MAX_INPUTS);
        let last: Value = serde_json::from_str(&parts[1].body).unwrap();
        assert_eq!((parts.len(), last), (2, json!({"model": "m", "input": ["2048"]})));
    }

    #[test]
    fn vectors_are_numbered_through_and_tokens_added_up() {
        let part = |vectors: &[(usize, u32)], tokens: u32| {
            let data: Vec<_> =
                vectors.iter().map(|(index, value)| json!({"index": index, "embedding": [value]})).collect();
            Bytes::from(json!({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}).to_string())
        };
        let bodies = [part(&[(1, 2), (0, 1)], 5), part(&[(0, 3)], 6)];
        let (joined, usage) = join(&bodies, &[2, 1]).unwrap();
        let joined: Value = serde_json::from_slice(&joined).unwrap();
        assert_eq!(
            joined,
            json!({"object": "list", "model": "m", "data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [2]}, {"index": 2, "embedding": [3]}], "usage": {"prompt_tokens": 11, "total_tokens": 11}})
        );
        assert_eq!(usage.get(), joined["usage"].to_string());
        for wrong in [&[(0, 1)][..], &[(0, 1), (0, 2)], &[(0, 1), (2, 2)], &[(0, 1), (1, 2), (2, 3)]] {
            assert!(join(&[part(wrong, 5), part(&[(0, 3)], 6)], &[2, 1]).is_err(), "{wrong:?}");
        }
    }
}
