//! Files and batches, and how they are told of.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::mock::{limit::rfc3339, route::Protocol};

#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) files: Vec<File>,
    pub(super) batches: Vec<Batch>,
}

#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) purpose: &'static str,
    pub(super) created: u64,
    pub(super) text: String,
}

#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) id: String,
    pub(super) protocol: Protocol,
    pub(super) endpoint: String,
    pub(super) input: String,
    pub(super) metadata: Value,
    pub(super) created: SystemTime,
    pub(super) made: Instant,
    pub(super) takes: Duration,
    pub(super) cancelled: Option<Instant>,
    pub(super) results: Vec<Outcome>,
    /// Why it was not begun.
    pub(super) refused: Option<Value>,
}

#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) custom_id: String,
    pub(super) status: StatusCode,
    /// JSON; empty where it expired.
    pub(super) body: String,
    pub(super) expired: bool,
}

impl File {
    pub(super) fn new(number: usize, name: String, purpose: &'static str, text: String) -> Self {
        let id = format!("file-{:08}", number + 1);
        Self { id, name, purpose, created: seconds(SystemTime::now()), text }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "file", "bytes": self.text.len(), "created_at": self.created, "filename": self.name,
            "purpose": self.purpose, "status": "processed",
        })
    }
}

impl Batch {
    pub(super) fn is_over(&self) -> bool {
        self.refused.is_some() || self.cancelled.is_some() || self.made.elapsed() >= self.takes
    }

    /// How many of its requests are through.
    fn through(&self) -> usize {
        let until = self.cancelled.map_or_else(|| self.made.elapsed(), |at| at.duration_since(self.made));
        if until >= self.takes {
            return self.results.len();
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let through = (self.results.len() as f64 * until.as_secs_f64() / self.takes.as_secs_f64()) as usize;
        through
    }

    /// What became of each: its status; None where it was not reached.
    fn outcomes(&self) -> impl Iterator<Item = (&Outcome, bool)> {
        let through = self.through();
        self.results.iter().enumerate().map(move |(at, outcome)| (outcome, at < through))
    }

    fn count(&self, which: impl Fn(&Outcome, bool) -> bool) -> usize {
        self.outcomes().filter(|(outcome, reached)| which(outcome, *reached)).count()
    }

    fn is_good(outcome: &Outcome, reached: bool) -> bool {
        reached && !outcome.expired && outcome.status.is_success()
    }

    /// The ids of its output and of its errors, as far as there are any.
    pub(super) fn files(&self) -> [Option<String>; 2] {
        let good = self.count(Self::is_good);
        let id = |what: &str| Some(format!("file-{what}-{}", self.id));
        let has = self.is_over() && self.refused.is_none();
        [
            (has && good > 0).then(|| id("output")).flatten(),
            (has && good < self.results.len()).then(|| id("errors")).flatten(),
        ]
    }

    pub(super) fn file(&self, id: &str, is_output: bool) -> File {
        let text = self.lines(|is_good| is_good == is_output);
        File {
            id: id.to_owned(),
            name: format!("{id}.jsonl"),
            purpose: "batch_output",
            created: seconds(self.created),
            text,
        }
    }

    /// Its results, in the reverse order: nobody is to rely on theirs.
    pub(super) fn lines(&self, wanted: impl Fn(bool) -> bool) -> String {
        let all: Vec<_> = self.outcomes().collect();
        let mut out = String::new();
        for (outcome, reached) in all.into_iter().rev() {
            if wanted(Self::is_good(outcome, reached)) {
                out.push_str(&self.line(outcome, reached).to_string());
                out.push('\n');
            }
        }
        out
    }

    fn line(&self, outcome: &Outcome, reached: bool) -> Value {
        let id = &outcome.custom_id;
        let body = || serde_json::from_str::<Value>(&outcome.body).unwrap_or_default();
        let never = !reached || outcome.expired;
        if self.protocol == Protocol::Anthropic {
            let result = match (never, reached) {
                (true, false) => json!({ "type": "canceled" }),
                (true, true) => json!({ "type": "expired" }),
                _ if outcome.status.is_success() => json!({ "type": "succeeded", "message": body() }),
                _ => json!({ "type": "errored", "error": body() }),
            };
            return json!({ "custom_id": id, "result": result });
        }
        let response = json!({ "status_code": outcome.status.as_u16(), "request_id": format!("req_{id}"), "body": body() });
        let error = |code: &str, message: &str| json!({ "code": code, "message": message });
        let error = match (never, reached) {
            (true, false) => {
                error("batch_cancelled", "This batch was cancelled before this request executed.")
            }
            (true, true) => error(
                "batch_expired",
                "This request could not be executed before the completion window expired.",
            ),
            _ => Value::Null,
        };
        let response = if never { Value::Null } else { response };
        json!({ "id": format!("batch_req_{id}"), "custom_id": id, "response": response, "error": error })
    }

    pub(super) fn json(&self) -> Value {
        let expired = self.count(|outcome, reached| reached && outcome.expired);
        let good = self.count(Self::is_good);
        let bad = self.count(|outcome, reached| reached && !outcome.expired && !outcome.status.is_success());
        let left = self.results.len() - good - bad - expired;
        let over = self.is_over();
        if self.protocol == Protocol::Anthropic {
            let counts = match (over, self.cancelled.is_some()) {
                (false, _) => {
                    json!({ "processing": self.results.len(), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0 })
                }
                _ => {
                    json!({ "processing": 0, "succeeded": good, "errored": bad, "canceled": left, "expired": expired })
                }
            };
            return json!({
                "id": self.id, "type": "message_batch", "processing_status": if over { "ended" } else { "in_progress" },
                "request_counts": counts, "created_at": rfc3339(self.created), "ended_at": over.then(|| rfc3339(SystemTime::now())),
                "expires_at": rfc3339(self.created + Duration::from_secs(86_400)), "archived_at": null,
                "cancel_initiated_at": null,
                "results_url": over.then(|| format!("https://api.anthropic.com/v1/messages/batches/{}/results", self.id)),
            });
        }
        let status = match (&self.refused, self.cancelled) {
            (Some(_), _) => "failed",
            (_, Some(_)) => "cancelled",
            _ if !over => "in_progress",
            _ if expired > 0 => "expired",
            _ => "completed",
        };
        let [output, errors] = self.files();
        json!({
            "id": self.id, "object": "batch", "endpoint": self.endpoint, "input_file_id": self.input, "completion_window": "24h",
            "status": status, "output_file_id": output, "error_file_id": errors, "created_at": seconds(self.created),
            "errors": self.refused.as_ref().map(|error| json!({ "object": "list", "data": [error] })),
            "request_counts": { "total": self.results.len(), "completed": good, "failed": bad }, "metadata": self.metadata,
        })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
