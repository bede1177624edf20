//! What is said to providers' batch endpoints, and what they say.
//!
//! Sources: OpenAI's API reference (Files, Batch; the guide "Batch API") and Anthropic's ("Message Batches", the guide "Batch processing").

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::log::Plan;
use crate::client::{BatchDesk, BatchTarget, Client, ErrandReply, Load};
use crate::config::CallOptions;
use crate::error::{Error, Kind};
use crate::protocol::dialect::Protocol;
use crate::protocol::json::{Text, quote};
use std::sync::Arc;

/// A provider's batches, as one client asks for them.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) client: &'a Arc<Client>,
    pub(super) options: &'a CallOptions,
    pub(super) target: &'a BatchTarget,
}

/// How a batch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Running {
        state: String,
        completed: u64,
        failed: u64,
    },
    /// Its results are where these paths say.
    Over {
        state: String,
        results: Vec<String>,
    },
    /// Nothing of it was processed. `passes`: there is too much under way already, which passes.
    Refused {
        code: String,
        message: String,
        passes: bool,
    },
    /// Nobody knows it.
    Gone,
}

/// What a batch says of a request.
#[derive(Debug)]
pub(super) enum Verdict<'a> {
    Answered {
        status: u16,
        request_id: Option<String>,
        body: &'a str,
    },
    /// `again`: the same request may fare better.
    Failed {
        status: u16,
        request_id: Option<String>,
        body: &'a str,
        again: bool,
    },
    /// It was not processed.
    Unasked {
        code: String,
        message: String,
    },
}

/// OpenAI's list of files, or batches, is looked through so far back.
const PAGES: usize = 20;
/// Clocks may differ by so many seconds.
const SKEW: u64 = 300;

impl Desk<'_> {
    async fn get(&self, path: &str) -> Result<Value, Error> {
        self.target.ask(self.client, self.options, (path, false), &Load::None).await
    }

    /// Uploads a file of requests, and gives its id.
    pub(super) async fn upload(&self, load: &Load) -> Result<String, Error> {
        id_of(&self.target.ask(self.client, self.options, ("/files", true), load).await?)
    }

    /// A file that was uploaded, where its answer was not heard.
    pub(super) async fn find_file(&self, plan: &Plan) -> Result<Option<String>, Error> {
        let found = self.find("/files?purpose=batch&order=desc&limit=100", |file| {
            file["filename"] == *plan.name && file["status"] != "error"
        });
        found.await
    }

    /// Asks for a batch, and gives its id.
    pub(super) async fn create(&self, plan: &Plan, file: Option<&str>, load: Load) -> Result<String, Error> {
        let (path, load) = match self.target.desk {
            BatchDesk::Files => {
                // 24h is the one window that there is.
                let (file, url, name) =
                    (quote(file.unwrap_or_default()), quote(&plan.url), quote(&plan.name));
                let body = format!(
                    r#"{{"input_file_id":{file},"endpoint":{url},"completion_window":"24h","metadata":{{"trunkline":{name}}}}}"#
                );
                ("/batches", Load::Json(body))
            }
            BatchDesk::Messages => ("/messages/batches", load),
        };
        id_of(&self.target.ask(self.client, self.options, (path, true), &load).await?)
    }

    /// A batch that was asked for, where the answer was not heard. OpenAI's is known by its file. Anthropic's tell nothing of their requests
    /// before they are over: what was made since then and has as many is taken for it, `not` those that are known, until its results say.
    pub(super) async fn find_batch(
        &self,
        plan: &Plan,
        file: Option<&str>,
        since: u64,
        not: &[String],
    ) -> Result<Option<String>, Error> {
        let is_new = |batch: &Value| !not.iter().any(|known| batch["id"] == **known);
        match self.target.desk {
            BatchDesk::Files => {
                let is_its = |batch: &Value| file.is_some_and(|file| batch["input_file_id"] == *file);
                self.find("/batches?limit=100", |batch| is_its(batch) && is_new(batch)).await
            }
            BatchDesk::Messages => {
                let is_its = |batch: &Value| {
                    let counts = ["processing", "succeeded", "errored", "canceled", "expired"];
                    let count: u64 =
                        counts.iter().filter_map(|name| batch["request_counts"][name].as_u64()).sum();
                    let made = batch["created_at"].as_str().and_then(seconds_of);
                    count == plan.requests && made.is_some_and(|made| made + SKEW >= since)
                };
                self.find("/messages/batches?limit=100", |batch| is_its(batch) && is_new(batch)).await
            }
        }
    }

    async fn find(&self, path: &str, is_it: impl Fn(&Value) -> bool) -> Result<Option<String>, Error> {
        let cursor = if self.target.desk == BatchDesk::Files { "after" } else { "after_id" };
        let mut next = path.to_owned();
        for _ in 0..PAGES {
            let page = self.get(&next).await?;
            let all = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(found) = all.iter().find(|one| is_it(one)) {
                return id_of(found).map(Some);
            }
            let last = all.last().and_then(|last| last["id"].as_str()).filter(|id| is_id(id));
            let Some(last) = last.filter(|_| page["has_more"] == true) else { return Ok(None) };
            next = format!("{path}&{cursor}={last}");
        }
        Ok(None)
    }

    pub(super) async fn look(&self, batch: &str) -> Result<Standing, Error> {
        let batch = match self.get(&self.path_of(batch)).await {
            Ok(batch) => batch,
            Err(error) if is_missing(&error) => return Ok(Standing::Gone),
            Err(error) => return Err(error),
        };
        let count = |name: &str| batch["request_counts"][name].as_u64().unwrap_or_default();
        match self.target.desk {
            BatchDesk::Files => {
                let state = batch["status"].as_str().unwrap_or_default().to_owned();
                match &*state {
                    "completed" | "expired" | "cancelled" => {
                        let files = ["output_file_id", "error_file_id"];
                        let ids = files.iter().filter_map(|name| batch[name].as_str()).filter(|id| is_id(id));
                        let results = ids.map(|id| format!("/files/{id}/content")).collect();
                        Ok(Standing::Over { state, results })
                    }
                    "failed" => Ok(refused(&batch["errors"]["data"])),
                    _ => Ok(Standing::Running {
                        state,
                        completed: count("completed"),
                        failed: count("failed"),
                    }),
                }
            }
            BatchDesk::Messages => {
                let state = batch["processing_status"].as_str().unwrap_or_default().to_owned();
                if state != "ended" {
                    let failed = count("errored") + count("canceled") + count("expired");
                    return Ok(Standing::Running { state, completed: count("succeeded"), failed });
                }
                // Not `results_url`: that is an address of the provider's choosing, and the key goes along. This is where it is by the reference.
                let id = batch["id"].as_str().filter(|id| is_id(id)).unwrap_or_default();
                Ok(Standing::Over { state, results: vec![format!("/messages/batches/{id}/results")] })
            }
        }
    }

    /// A file of results; None where it is gone.
    pub(super) async fn results(&self, path: &str) -> Result<Option<ErrandReply>, Error> {
        match self.target.open(self.client, self.options, (path, false), &Load::None).await {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has it ended; what is answered by then stays answered.
    pub(super) async fn cancel(&self, batch: &str) -> Result<(), Error> {
        let path = format!("{}/cancel", self.path_of(batch));
        match self.target.ask(self.client, self.options, (&path, true), &Load::None).await {
            Ok(_) => Ok(()),
            // It has ended, or is gone.
            Err(error) if matches!(&error.kind, Kind::Api(api) if matches!(api.status, 400 | 404 | 409)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn path_of(&self, batch: &str) -> String {
        match self.target.desk {
            BatchDesk::Files => format!("/batches/{batch}"),
            BatchDesk::Messages => format!("/messages/batches/{batch}"),
        }
    }
}

/// Whether the provider knows no such thing.
fn is_missing(error: &Error) -> bool {
    matches!(&error.kind, Kind::Api(api) if matches!(api.status, 404 | 410))
}

fn id_of(made: &Value) -> Result<String, Error> {
    let id = made["id"].as_str().filter(|id| is_id(id));
    id.map(str::to_owned).ok_or_else(|| {
        let mut error = Error::new(Kind::InvalidResponse, "the answer has no id");
        error.retryable = true;
        error
    })
}

/// Ids go into paths.
fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 256
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Why a whole batch was not begun.
fn refused(errors: &Value) -> Standing {
    let first = &errors[0];
    let text = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
    let code =
        Some(text("code")).filter(|code| !code.is_empty()).unwrap_or_else(|| "batch_failed".to_owned());
    // Tokens of batches that are under way together are limited for each model.
    let passes = code == "token_limit_exceeded" || code.contains("rate_limit");
    Standing::Refused { message: text("message"), code, passes }
}

/// One line of results: the id of its request, and what became of it. None for what is no such line.
pub(super) fn verdict(desk: BatchDesk, text: &str) -> Option<(String, Verdict<'_>)> {
    match desk {
        BatchDesk::Files => {
            let OpenAi { custom_id, response, error } = serde_json::from_str(text).ok()?;
            let verdict = match (response, error) {
                (Some(Response { status_code, request_id, body }), _) => {
                    let (status, request_id) = (status_code, request_id.map(|id| id.0.into_owned()));
                    let body = body.map_or("null", RawValue::get);
                    match status {
                        200..=299 => Verdict::Answered { status, request_id, body },
                        _ => Verdict::Failed { status, request_id, body, again: may_pass(status) },
                    }
                }
                (None, error) => {
                    let Told { code, message } = error.unwrap_or_default();
                    Verdict::Unasked {
                        code: owned(code, "batch_failed"),
                        message: owned(message, "no answer"),
                    }
                }
            };
            Some((custom_id.0.into_owned(), verdict))
        }
        BatchDesk::Messages => {
            let Anthropic { custom_id, result } = serde_json::from_str(text).ok()?;
            let verdict = match &*result.kind.0 {
                "succeeded" => {
                    Verdict::Answered { status: 200, request_id: None, body: result.message?.get() }
                }
                "errored" => {
                    let body = result.error.map_or("null", RawValue::get);
                    let fields =
                        Protocol::Anthropic.error_fields(&serde_json::from_str(body).unwrap_or_default());
                    let status = fields.implied_status();
                    Verdict::Failed { status, request_id: None, body, again: may_pass(status) }
                }
                other => Verdict::Unasked {
                    code: format!("batch_{other}"),
                    message: "the batch has ended before this request was processed".to_owned(),
                },
            };
            Some((custom_id.0.into_owned(), verdict))
        }
    }
}

/// What providers answer in such cases is not charged, and may pass.
fn may_pass(status: u16) -> bool {
    matches!(status, 0 | 408 | 409 | 429) || status >= 500
}

fn owned(text: Option<Text<'_>>, other: &str) -> String {
    text.map_or_else(|| other.to_owned(), |text| text.0.into_owned())
}

#[derive(Deserialize)]
struct OpenAi<'a> {
    #[serde(borrow)]
    custom_id: Text<'a>,
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    #[serde(borrow, default)]
    error: Option<Told<'a>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(default)]
    status_code: u16,
    #[serde(borrow, default)]
    request_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Told<'a> {
    #[serde(borrow, default)]
    code: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Anthropic<'a> {
    #[serde(borrow)]
    custom_id: Text<'a>,
    #[serde(borrow)]
    result: Outcome<'a>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// `2024-08-20T18:37:24.100435Z` as seconds since 1970.
fn seconds_of(text: &str) -> Option<u64> {
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let (hour, minute, second) = (part(11..13)?, part(14..16)?, part(17..19)?);
    // Days since 1970 by Howard Hinnant's algorithm, whose years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_anthropic_are_seconds() {
        assert_eq!(seconds_of("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds_of("2024-08-20T18:37:24.100435Z"), Some(1_724_179_044));
        assert_eq!(seconds_of("2024-02-29T23:59:59Z"), Some(1_709_251_199));
        assert_eq!(seconds_of("soon"), None);
    }

    #[test]
    fn what_may_be_asked_again_is_told_from_what_may_not() {
        let again = |desk, text: &str| match verdict(desk, text).unwrap().1 {
            Verdict::Failed { again, .. } => again,
            Verdict::Unasked { .. } => true,
            Verdict::Answered { .. } => panic!("{text}"),
        };
        let openai = |status: u16| {
            format!(
                r#"{{"id":"x","custom_id":"a","response":{{"status_code":{status},"request_id":"r","body":{{}}}},"error":null}}"#
            )
        };
        assert!(!again(BatchDesk::Files, &openai(400)) && again(BatchDesk::Files, &openai(500)));
        let expired =
            r#"{"custom_id":"a","response":null,"error":{"code":"batch_expired","message":"late"}}"#;
        assert!(again(BatchDesk::Files, expired));
        let anthropic = |kind: &str| {
            format!(
                r#"{{"custom_id":"a","result":{{"type":"errored","error":{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}}}}}"#
            )
        };
        assert!(!again(BatchDesk::Messages, &anthropic("invalid_request_error")));
        assert!(again(BatchDesk::Messages, &anthropic("overloaded_error")));
        assert!(again(BatchDesk::Messages, r#"{"custom_id":"a","result":{"type":"expired"}}"#));
        assert!(verdict(BatchDesk::Files, "[]").is_none());
    }
}
