//! What became of a line, as a line of the output or of the errors: OpenAI's batch format.

use std::io::Write;

use ring::digest::{Digest, SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::hex;
use super::item::BadLine;
use super::marks::MOST_LINES;
use crate::client::Answer;
use crate::error::{Error, Kind};
use crate::policy::money::Usd;
use crate::protocol::json::Text;
use crate::protocol::openai::Usage;

/// A result on its way to where results are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub line: u64,
    /// Whether it belongs to the output, and not to the errors.
    pub is_good: bool,
    /// One line of JSON, with its end.
    pub text: Vec<u8>,
    /// What it has cost.
    pub spending: Spending,
}

/// What is in the `id` of every result: which job it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobId(pub(super) String);

/// What an answer came to, beside itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spending {
    /// In and out.
    pub tokens: [u64; 2],
    pub usd: Usd,
}

const BEGIN: &str = r#"{"id":"trunkline_"#;

impl JobId {
    /// Of a job whose input is no file.
    pub fn named(name: &str) -> Self {
        Self::of(&digest(&SHA256, name.as_bytes()))
    }

    pub(super) fn of(digest: &Digest) -> Self {
        Self(hex(&digest.as_ref()[..8]))
    }

    /// The answer to a line, and what it has cost.
    pub(super) fn answered(&self, line: u64, custom_id: &str, answer: &Answer) -> (Settled, Spending) {
        let meta = Meta::of(&answer.meta);
        let mut text = self.begin(line, Some(custom_id), answer.body.len());
        response(&mut text, meta.status, meta.request_id.as_deref());
        one_line(&mut text, &answer.body);
        text.extend_from_slice(b"},\"error\":null}\n");
        (Settled { line, is_good: true, text, spending: meta.spending }, meta.spending)
    }

    /// What a provider has said of a line in a batch of its own.
    pub(super) fn told(
        &self,
        line: u64,
        custom_id: &str,
        is_good: bool,
        (status, request_id): (u16, Option<&str>),
        body: &[u8],
    ) -> Settled {
        let mut text = self.begin(line, Some(custom_id), body.len());
        response(&mut text, status, request_id);
        one_line(&mut text, body);
        text.extend_from_slice(b"},\"error\":null}\n");
        // Counted when its batch is gathered.
        Settled { line, is_good, text, spending: Spending::default() }
    }

    pub(super) fn failed(&self, line: u64, custom_id: &str, error: &Error) -> Settled {
        let text = match &error.kind {
            Kind::Api(api) => {
                let mut text = self.begin(line, Some(custom_id), api.body.len());
                response(&mut text, api.status, error.request_id.as_deref());
                match serde_json::from_str::<&RawValue>(&api.body) {
                    Ok(body) => one_line(&mut text, body.get().as_bytes()),
                    Err(_) => json(&mut text, &api.body),
                }
                text.extend_from_slice(b"},\"error\":null}\n");
                text
            }
            _ => self.error(line, Some(custom_id), error.name_and_code().1, &error.message),
        };
        Settled { line, is_good: false, text, spending: Spending::default() }
    }

    pub(super) fn bad(&self, bad: &BadLine) -> Settled {
        let text = self.error(bad.line, bad.custom_id.as_deref(), bad.code, &bad.message);
        Settled { line: bad.line, is_good: false, text, spending: Spending::default() }
    }

    pub(super) fn error(&self, line: u64, custom_id: Option<&str>, code: &str, message: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Told<'a> {
            code: &'a str,
            message: &'a str,
        }
        let mut text = self.begin(line, custom_id, message.len());
        text.extend_from_slice(b"\"response\":null,\"error\":");
        json(&mut text, &Told { code, message });
        text.extend_from_slice(b"}\n");
        text
    }

    fn begin(&self, line: u64, custom_id: Option<&str>, room: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(room + 256);
        // A vector takes whatever is written to it.
        let _ = write!(text, r#"{BEGIN}{}_{line}","custom_id":"#, self.0);
        json(&mut text, &custom_id);
        text.push(b',');
        text
    }
}

fn response(text: &mut Vec<u8>, status: u16, request_id: Option<&str>) {
    let _ = write!(text, r#""response":{{"status_code":{status},"request_id":"#);
    // OpenAI's is never null, and neither are its readers'.
    json(text, request_id.unwrap_or_default());
    text.extend_from_slice(br#","body":"#);
}

fn json<T: Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) {
    // Types of strings and numbers always have a text.
    let _ = serde_json::to_writer(text, value);
}

/// JSON without the ends of lines, which between its values mean nothing and within its strings cannot be.
fn one_line(text: &mut Vec<u8>, json: &[u8]) {
    let from = text.len();
    text.extend_from_slice(json);
    for byte in &mut text[from..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// A line of a file of results.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) job: JobId,
    pub(super) line: u64,
    pub(super) custom_id: Option<String>,
}

impl Known {
    /// None for what no job of ours has written, or not to its end. `whole`: the text is read to its end, and not only looked at.
    pub(super) fn of(text: &[u8], whole: bool) -> Option<Self> {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(rename = "error", borrow)]
            _error: &'a RawValue,
        }
        if !text.ends_with(b"}") || (whole && serde_json::from_slice::<Whole<'_>>(text).is_err()) {
            return None;
        }
        let rest = text.strip_prefix(BEGIN.as_bytes())?;
        let (job, rest) = rest.split_at_checked(16)?;
        let job = JobId(std::str::from_utf8(job).ok()?.to_owned());
        let rest = rest.strip_prefix(b"_")?;
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let (number, rest) = rest.split_at(digits);
        let line = std::str::from_utf8(number).ok()?.parse().ok().filter(|line| *line < MOST_LINES)?;
        let rest = rest.strip_prefix(br#"","custom_id":"#)?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Option<String>>();
        let custom_id = values.next()?.ok()?;
        Some(Self { job, line, custom_id })
    }

    /// Whether a text may be the beginning of such a line.
    pub(super) fn may_begin(text: &[u8]) -> bool {
        let known = text.len().min(BEGIN.len());
        text[..known] == BEGIN.as_bytes()[..known]
    }
}

/// What of a call's meta a job needs.
#[derive(Debug, Default)]
struct Meta {
    status: u16,
    request_id: Option<String>,
    spending: Spending,
}

impl Meta {
    /// As `client/record/meta.rs` writes it: a list without names.
    fn of(text: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(text) else { return Self::default() };
        let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(text) else { return Self::default() };
        fn value<'a, T: Deserialize<'a>>(list: &[&'a RawValue], at: usize) -> Option<T> {
            serde_json::from_str(list.get(at)?.get()).ok()
        }
        let headers: Vec<Text<'_>> = value(&list, 3).unwrap_or_default();
        let header = |name| {
            let pair = headers.chunks_exact(2).find(|pair| pair[0].0 == name);
            pair.map(|pair| pair[1].0.clone().into_owned())
        };
        let usage = list.get(7).and_then(|usage| Usage::of(usage)).unwrap_or_default();
        let dollars: Option<f64> = value(&list, 10).unwrap_or_default();
        Self {
            status: value(&list, 2).unwrap_or_default(),
            request_id: header("x-request-id").or_else(|| header("request-id")),
            spending: Spending {
                tokens: [usage.prompt_tokens, usage.completion_tokens],
                usd: Usd::from_dollars(dollars.unwrap_or_default()),
            },
        }
    }
}
