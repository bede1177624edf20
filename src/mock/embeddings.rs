//! Embeddings: unit vectors that follow from the seed and the input alone.

use std::borrow::Cow;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{answer::Answer, gemini, openai, refusal::Refusal, request::Digest, text};

const DIMENSIONS: usize = 8;
const MAX_DIMENSIONS: usize = 8192;
const MAX_INPUTS: usize = 8192;

#[derive(Deserialize)]
struct Ask<'a> {
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    input: Value,
    #[serde(default)]
    dimensions: Option<usize>,
    /// OpenAI's own SDK asks for `base64` unless told otherwise.
    #[serde(default)]
    encoding_format: Option<Cow<'a, str>>,
}

pub(super) fn answer(body: &[u8], seed: u64) -> Answer {
    let ask: Ask<'_> = match serde_json::from_slice(body) {
        Ok(ask) => ask,
        Err(error) => {
            return openai::error(StatusCode::BAD_REQUEST, &format!("the body cannot be read: {error}"));
        }
    };
    let inputs = match &ask.input {
        // An array of numbers is one input, as tokens.
        Value::Array(items) if !items.iter().all(Value::is_number) => items.iter().collect(),
        one => vec![one],
    };
    let dimensions = ask.dimensions.unwrap_or(DIMENSIONS);
    if inputs.len() > MAX_INPUTS || !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return openai::error(StatusCode::BAD_REQUEST, "input or dimensions: too many, or none");
    }
    let base64 = ask.encoding_format.as_deref() == Some("base64");
    let mut tokens = 0;
    let mut data = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.into_iter().enumerate() {
        let digest = match input {
            Value::String(text) => Digest::of(text),
            other => Digest::of(&other.to_string()),
        };
        tokens += digest.tokens();
        let vector = vector(text::mix(seed, digest.hash), dimensions);
        let embedding = if base64 { Value::String(encode(&vector)) } else { json!(vector) };
        data.push(json!({ "object": "embedding", "index": index, "embedding": embedding }));
    }
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    let body = json!({ "object": "list", "data": data, "model": ask.model, "usage": usage });
    Answer::json(StatusCode::OK, body.to_string())
}

/// Gemini's answer, for a request in OpenAI's shape: one input, or a batch.
pub(super) fn native(view: &Value, seed: u64, is_batch: bool) -> Result<Answer, Refusal> {
    let dimensions = view["dimensions"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(DIMENSIONS);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err("output_dimensionality: too many".to_owned().into());
    }
    let inputs = match &view["input"] {
        Value::Array(inputs) => inputs.iter().collect(),
        one => vec![one],
    };
    let digest = |input: &Value| Digest::of(input.as_str().unwrap_or_default());
    let vectors = inputs.into_iter().map(|input| vector(text::mix(seed, digest(input).hash), dimensions));
    Ok(gemini::embedded(vectors.collect(), is_batch))
}

fn vector(seed: u64, dimensions: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let raw: Vec<f64> = (0..dimensions).map(|_| rng.f64() * 2.0 - 1.0).collect();
    let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    #[expect(clippy::cast_possible_truncation, reason = "embeddings have single precision")]
    raw.iter().map(|x| (x / length) as f32).collect()
}

/// Base64 of the vector's little-endian bytes.
fn encode(vector: &[f32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let number =
            three.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = (number >> (18 - 6 * place)) & 63;
            out.push(if place > three.len() { '=' } else { char::from(ALPHABET[digit as usize]) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one_and_follow_from_the_seed() {
        let one = vector(3, 8);
        assert!((one.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(one, vector(3, 8));
    }

    #[test]
    fn base64_is_that_of_the_little_endian_floats() {
        assert_eq!(encode(&[1.0, -2.5]), "AACAPwAAIMA=");
    }
}
