//! Files and batches as OpenAI has them, and Anthropic's message batches: held in memory, worked through when they are made, and shown as if that
//! had taken its time.

mod held;

use std::{collections::HashSet, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::held::{Batch, File, Held, Outcome};
use super::{
    answer::{Answer, Rendered},
    endpoints::{self, Asked},
    options::{MockBatches, millis},
    refusal::Refusal,
    request::{HeadOf, Request},
    route::{Protocol, Route},
    upstream::Upstream,
};

const LINES: HeaderValue = HeaderValue::from_static("application/jsonl");
/// The most requests of a batch, by protocol.
const MOST: [usize; 2] = [50_000, 100_000];
const LONGEST_ID: usize = 64;
const PAGE: usize = 20;

/// What an upstream has of files and batches, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Store {
    held: Mutex<Held>,
}

impl Store {
    pub(super) fn clear(&self) {
        *self.held.lock() = Held::default();
    }
}

impl Upstream {
    /// The answer to what is asked of files and batches.
    pub(super) async fn batches(&self, request: &Request<'_>, route: &Route<'_>) -> Result<Answer, Refusal> {
        let path = request.endpoint();
        let missing = || Refusal::NoSuchPath(format!("{} {path}", request.method));
        let options = &self.options.batches;
        if !options.enabled {
            return Err(missing());
        }
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let parts = if parts.first() == Some(&"messages") { &parts[1..] } else { &parts[..] };
        let is_post = request.method == "POST";
        match (parts, is_post) {
            (["files"], true) => self.keep_file(request),
            (["files"], false) => Ok(self.list(request, |held| held.files.iter().map(File::json).collect())),
            (["files", id], false) => self.file(id).map(|file| whole(&file.json())),
            (["files", id, "content"], false) => {
                self.file(id).map(|file| Answer::new(LINES, Rendered::whole(file.text, 0)))
            }
            (["batches"], true) => self.make_batch(request, route.protocol).await,
            (["batches"], false) => Ok(self.list(request, |held| {
                let own = held.batches.iter().filter(|batch| batch.protocol == route.protocol);
                own.map(Batch::json).collect()
            })),
            (["batches", id], false) => self.batch(id, |batch| Ok(whole(&batch.json()))),
            (["batches", id, "cancel"], true) => self.batch(id, |batch| {
                if !batch.is_over() {
                    batch.cancelled.get_or_insert_with(Instant::now);
                }
                Ok(whole(&batch.json()))
            }),
            (["batches", id, "results"], false) => self.batch(id, |batch| match batch.is_over() {
                true => Ok(Answer::new(LINES, Rendered::whole(batch.lines(|_| true), 0))),
                false => Err(missing()),
            }),
            _ => Err(missing()),
        }
    }

    fn keep_file(&self, request: &Request<'_>) -> Result<Answer, Refusal> {
        let wrong = |what: &str| Refusal::from(what.to_owned());
        let kind = request.header("content-type").unwrap_or_default().into_owned();
        let boundary =
            kind.split_once("boundary=").map(|(_, boundary)| boundary.trim_matches('"').to_owned());
        let boundary =
            boundary.ok_or_else(|| wrong("the body must be multipart/form-data with a boundary"))?;
        let text = std::str::from_utf8(request.body).map_err(|_| wrong("the file must be UTF-8"))?;
        let (mut purpose, mut file) = (None, None);
        for part in text.split(&format!("--{boundary}")) {
            let Some((head, body)) = part.split_once("\r\n\r\n") else { continue };
            let body = body.strip_suffix("\r\n").unwrap_or(body);
            let of = |name: &str| {
                let (_, rest) = head.split_once(&format!(" {name}=\""))?;
                Some(rest.split('"').next().unwrap_or_default().to_owned())
            };
            match of("name").as_deref() {
                Some("purpose") => purpose = Some(body.to_owned()),
                Some("file") => file = Some((of("filename").unwrap_or_default(), body.to_owned())),
                _ => {}
            }
        }
        if purpose.as_deref() != Some("batch") {
            return Err(wrong("purpose: this stand-in has files for batches alone"));
        }
        let (name, text) = file.ok_or_else(|| wrong("file: is missing"))?;
        let mut held = self.store.held.lock();
        let file = File::new(held.files.len(), name, "batch", text);
        let answer = whole(&file.json());
        held.files.push(file);
        Ok(answer)
    }

    fn file(&self, id: &str) -> Result<File, Refusal> {
        let held = self.store.held.lock();
        let found = held.files.iter().find(|file| file.id == id).cloned();
        // Those of results are made when they are asked for.
        let made = || {
            held.batches.iter().filter(|batch| batch.is_over()).find_map(|batch| {
                let [output, errors] = batch.files();
                let is_output = output.as_deref() == Some(id);
                (is_output || errors.as_deref() == Some(id)).then(|| batch.file(id, is_output))
            })
        };
        found.or_else(made).ok_or_else(|| Refusal::Status(StatusCode::NOT_FOUND))
    }

    fn batch<T>(&self, id: &str, then: impl FnOnce(&mut Batch) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut held = self.store.held.lock();
        let batch = held.batches.iter_mut().find(|batch| batch.id == id);
        then(batch.ok_or(Refusal::Status(StatusCode::NOT_FOUND))?)
    }

    /// The newest first, in pages.
    fn list(&self, request: &Request<'_>, all: impl FnOnce(&Held) -> Vec<Value>) -> Answer {
        let mut all = all(&self.store.held.lock());
        all.reverse();
        let query = |name: &str| {
            let (_, query) = request.path.split_once('?')?;
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(own, _)| *own == name))
                .map(|(_, value)| value)
        };
        let after = query("after").or_else(|| query("after_id"));
        let from =
            after.and_then(|after| all.iter().position(|one| one["id"] == after)).map_or(0, |at| at + 1);
        let limit = query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE);
        let has_more = all.len() > from + limit;
        let page: Vec<_> = all.into_iter().skip(from).take(limit).collect();
        whole(&json!({ "object": "list", "data": page, "has_more": has_more }))
    }

    async fn make_batch(&self, request: &Request<'_>, protocol: Protocol) -> Result<Answer, Refusal> {
        let body: Value =
            serde_json::from_slice(request.body).map_err(|error| Refusal::Unreadable(error.to_string()))?;
        let (endpoint, input, asked) = match protocol {
            Protocol::Anthropic => ("/v1/messages".to_owned(), String::new(), anthropic_requests(&body)?),
            _ => {
                let endpoint = body["endpoint"].as_str().unwrap_or_default().to_owned();
                if !matches!(&*endpoint, "/v1/chat/completions" | "/v1/embeddings") {
                    return Err(format!("Invalid value: '{endpoint}' for endpoint").into());
                }
                if body["completion_window"] != "24h" {
                    return Err("completion_window: must be '24h'".to_owned().into());
                }
                let input = body["input_file_id"].as_str().unwrap_or_default().to_owned();
                let file = self.file(&input)?;
                let asked = openai_requests(&file.text, &endpoint);
                (endpoint, input, asked)
            }
        };
        let MockBatches { delay, expire_every, fail_every, ref refuse, .. } = self.options.batches;
        let mut refused = refuse
            .as_ref()
            .map(|code| json!({ "code": code, "message": "refused by this stand-in's options" }));
        let mut results = Vec::new();
        match asked {
            Err(error) => refused = Some(error),
            Ok(_) if refused.is_some() => {}
            Ok(asked) => {
                for (at, (custom_id, body)) in asked.into_iter().enumerate() {
                    let is_nth = |every: Option<u32>| {
                        every.is_some_and(|every| (at + 1).is_multiple_of(every.max(1) as usize))
                    };
                    let (status, body) = match (is_nth(expire_every), is_nth(fail_every)) {
                        (true, _) => (StatusCode::OK, String::new()),
                        (_, true) => {
                            let refusal = Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR);
                            text(protocol.refuse(&refusal, 0))
                        }
                        _ => self.one(&endpoint, &body, protocol).await,
                    };
                    results.push(Outcome { custom_id, status, expired: body.is_empty(), body });
                }
            }
        }
        let mut held = self.store.held.lock();
        let number = held.batches.len() + 1;
        let batch = Batch {
            id: if protocol == Protocol::Anthropic {
                format!("msgbatch_{number:08}")
            } else {
                format!("batch_{number:08}")
            },
            protocol,
            endpoint,
            input,
            metadata: body["metadata"].clone(),
            created: SystemTime::now(),
            made: Instant::now(),
            takes: millis(delay),
            cancelled: None,
            results,
            refused,
        };
        let answer = whole(&batch.json());
        held.batches.push(batch);
        Ok(answer)
    }

    /// One request of a batch, as it would be answered by itself.
    async fn one(&self, path: &str, body: &Value, protocol: Protocol) -> (StatusCode, String) {
        let body = body.to_string();
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
        let request = Request {
            method: "POST",
            path,
            head: HeadOf::H2(&headers, None),
            body: body.as_bytes(),
            connection: 0,
            stream: None,
        };
        let route = Route::of("POST", path);
        let read = endpoints::read(&request, &route);
        let view = match &read {
            Some(Err(refusal)) => return text(protocol.refuse(refusal, 0)),
            Some(Ok(view)) => Some(view),
            None => None,
        };
        let asked = Asked { request: &request, route: &route, view };
        let rule = self.rule_for(&asked, &request.record()).await;
        let answer = match &rule {
            Some(rule) => self.endpoints.said(&rule.answer, &asked),
            None => self.endpoints.by_default(&asked),
        };
        text(answer.unwrap_or_else(|refusal| protocol.refuse(&refusal, 0)))
    }
}

/// The requests of a file, or why there is no batch of them.
fn openai_requests(text: &str, endpoint: &str) -> Result<Vec<(String, Value)>, Value> {
    let wrong = |line: usize, code: &str, message: &str| json!({ "code": code, "message": message, "line": line, "param": null });
    let (mut all, mut names, mut models) = (Vec::new(), HashSet::new(), HashSet::new());
    for (at, line) in text.lines().enumerate() {
        let line: Value = serde_json::from_str(line)
            .map_err(|_| wrong(at + 1, "invalid_json_line", "This line is not parseable as valid JSON."))?;
        let id = line["custom_id"].as_str().unwrap_or_default().to_owned();
        if id.is_empty() {
            return Err(wrong(at + 1, "missing_required_parameter", "custom_id is missing"));
        }
        if !names.insert(id.clone()) {
            return Err(wrong(at + 1, "duplicate_custom_id", "The custom_id was used already."));
        }
        if line["method"] != "POST" || line["url"] != endpoint {
            return Err(wrong(at + 1, "mismatched_endpoint", "The URL is not the batch's endpoint."));
        }
        models.insert(line["body"]["model"].as_str().unwrap_or_default().to_owned());
        if models.len() > 1 {
            return Err(wrong(at + 1, "mismatched_model", "All requests of a batch must have one model."));
        }
        all.push((id, line["body"].clone()));
    }
    match all.len() {
        0 => Err(wrong(0, "empty_file", "The file has no requests.")),
        count if count > MOST[0] => Err(wrong(0, "too_many_tasks", "The batch has too many requests.")),
        _ => Ok(all),
    }
}

fn anthropic_requests(body: &Value) -> Result<Result<Vec<(String, Value)>, Value>, Refusal> {
    let requests = body["requests"].as_array().filter(|all| (1..=MOST[1]).contains(&all.len()));
    let requests =
        requests.ok_or_else(|| Refusal::from("requests: List should have at least 1 item".to_owned()))?;
    let mut names = HashSet::new();
    let mut all = Vec::new();
    for (at, request) in requests.iter().enumerate() {
        let id = request["custom_id"].as_str().unwrap_or_default().to_owned();
        let is_good = (1..=LONGEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !is_good {
            return Err(format!(
                "requests.{at}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
            )
            .into());
        }
        if !names.insert(id.clone()) {
            return Err(format!("requests.{at}.custom_id: is used twice").into());
        }
        if !request["params"].is_object() || request["params"]["stream"] == true {
            return Err(format!("requests.{at}.params: must be a request that does not stream").into());
        }
        all.push((id, request["params"].clone()));
    }
    Ok(Ok(all))
}

fn whole(value: &Value) -> Answer {
    Answer::json(StatusCode::OK, value.to_string())
}

/// A whole answer as its status and its text.
fn text(answer: Answer) -> (StatusCode, String) {
    let mut bytes = answer.body.bytes.to_vec();
    answer.tail.iter().for_each(|(_, tail)| bytes.extend_from_slice(tail));
    (answer.status, String::from_utf8_lossy(&bytes).into_owned())
}
