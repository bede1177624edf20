//! What all connections of one upstream share, and how it comes to an answer: limit, fault, a test's reply, or
//! the default one.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::StatusCode;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use super::{
    Asker,
    answer::{Answer, JSON, Rendered},
    embeddings,
    faults::Faults,
    limit::Limit,
    openai::{self, Chat},
    options::{MockOptions, millis},
    request::{ChatAsk, ModelAsk, Request, endpoint},
    script::{Pace, Script},
    shapes::{Connections, Matcher, MockAnswer, RecordedRequest, holds_fields},
    text,
};

const RECORDED: usize = 10_000;
/// Answers kept rendered; when there are more, all are forgotten, which costs less than knowing the oldest.
const RENDERED: usize = 1024;
/// Larger ones are not kept.
const RENDERED_BYTES: usize = 64 * 1024;
/// Default texts when nothing is recorded, so that each is rendered once.
const FAST_TEXTS: u64 = 64;

pub(super) struct Upstream {
    pub(super) options: MockOptions,
    pub(super) counts: Counts,
    pub(super) faults: Mutex<Faults>,
    rules: RwLock<Arc<Vec<Arc<Rule>>>>,
    /// False while there are neither rules nor faults: what the fast way looks at.
    special: AtomicBool,
    limit: Option<Mutex<Limit>>,
    recorded: Mutex<VecDeque<RecordedRequest>>,
    asker: RwLock<Option<Arc<dyn Asker>>>,
    rendered: Mutex<HashMap<Key, Rendered>>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) resumed: AtomicU64,
    requests: AtomicU64,
}

#[derive(Debug)]
struct Rule {
    matcher: Matcher,
    answer: MockAnswer,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    seed: u64,
    stream: bool,
    choices: u32,
    model: Box<str>,
}

impl Upstream {
    pub(super) fn new(options: MockOptions) -> Self {
        let limit = options.rate_limit.as_ref().and_then(|limit| Limit::new(limit, Instant::now()));
        Self {
            options,
            counts: Counts::default(),
            faults: Mutex::default(),
            rules: RwLock::default(),
            special: AtomicBool::new(false),
            limit: limit.map(Mutex::new),
            recorded: Mutex::default(),
            asker: RwLock::default(),
            rendered: Mutex::default(),
        }
    }

    pub(super) fn add_rule(&self, matcher: Matcher, answer: MockAnswer) {
        Arc::make_mut(&mut self.rules.write()).push(Arc::new(Rule { matcher, answer }));
        self.look_again();
    }

    /// To be called whenever rules or faults have changed.
    pub(super) fn look_again(&self) {
        let special = !self.faults.lock().is_empty() || !self.rules.read().is_empty();
        self.special.store(special, Relaxed);
    }

    pub(super) fn set_asker(&self, asker: Arc<dyn Asker>) {
        *self.asker.write() = Some(asker);
    }

    pub(super) fn recorded(&self) -> Vec<RecordedRequest> {
        self.recorded.lock().iter().cloned().collect()
    }

    pub(super) fn connections(&self) -> Connections {
        // In this order: a connection that closes in between must not be counted as closed but not opened.
        let closed = self.counts.closed.load(Relaxed);
        let opened = self.counts.opened.load(Relaxed).max(closed);
        Connections {
            opened,
            open: opened - closed,
            closed,
            handshakes_resumed: self.counts.resumed.load(Relaxed),
        }
    }

    pub(super) fn reset(&self) {
        *self.rules.write() = Arc::default();
        self.faults.lock().clear();
        self.recorded.lock().clear();
        self.look_again();
    }

    /// What is done about a request.
    pub(super) async fn answer(&self, request: Request<'_>) -> Script {
        let number = self.counts.requests.fetch_add(1, Relaxed) + 1;
        let special = self.special.load(Relaxed);
        let record = (special || self.options.record).then(|| request.record());
        if let Some(record) = record.as_ref().filter(|_| self.options.record) {
            self.remember(record.clone());
        }
        let mut answer = match &record {
            Some(record) if special => self.by_rule(&request, record).await,
            _ => None,
        }
        .unwrap_or_else(|| self.by_default(&request));

        // What is turned away for the limit meets no fault: that waits for the next request.
        if let Some(limit) = self.limit.as_ref().filter(|_| request.method == "POST") {
            let prompt =
                serde_json::from_slice::<ChatAsk<'_>>(request.body).map_or(1, |ask| ask.prompt().tokens());
            match limit.lock().admit(prompt + answer.body.tokens, Instant::now()) {
                Ok(fields) => answer.headers.0.extend(fields),
                Err(fields) => {
                    let text = "Rate limit reached, try again later.";
                    let mut refusal = openai::error(StatusCode::TOO_MANY_REQUESTS, text);
                    refusal.headers.0 = fields;
                    return Script::new(refusal, self.latency(number), number, None, None);
                }
            }
        }
        let fault = match special {
            true => {
                let model = serde_json::from_slice::<ModelAsk<'_>>(request.body).unwrap_or_default();
                self.faults.lock().take_for_request(model.name())
            }
            false => None,
        };
        let pace =
            self.options.tokens_per_second.map(|rate| Pace { first: Duration::ZERO, each: 1.0 / rate });
        Script::new(answer, self.latency(number), number, pace, fault)
    }

    fn remember(&self, record: RecordedRequest) {
        let mut recorded = self.recorded.lock();
        if recorded.len() >= RECORDED {
            recorded.pop_front();
        }
        recorded.push_back(record);
    }

    /// The option's milliseconds, a tenth more or less.
    fn latency(&self, number: u64) -> Duration {
        if self.options.latency <= 0.0 {
            return Duration::ZERO;
        }
        let sway = f64::from(u32::try_from(text::mix(self.options.seed, number) >> 32).unwrap_or(0))
            / f64::from(u32::MAX);
        millis(self.options.latency * (0.9 + 0.2 * sway))
    }

    async fn by_rule(&self, request: &Request<'_>, record: &RecordedRequest) -> Option<Answer> {
        let rules = self.rules.read().clone();
        for rule in rules.iter().rev() {
            let said = &rule.answer;
            let matches = match &rule.matcher {
                Matcher::Path(path) => endpoint(path) == request.endpoint(),
                // Fields of a chat's request must not put a chat's answer at another endpoint.
                Matcher::Fields(fields) => {
                    let fits = said.json.is_some() || said.raw.is_some() || request.endpoint() == CHAT;
                    fits && matches!(&record.body, Value::Object(body) if holds_fields(body, fields))
                }
                Matcher::Ask(id) => {
                    let asked = self.asker.read().clone().map(|asker| asker.ask(*id, record));
                    match asked {
                        Some(reply) => reply.await.unwrap_or(false),
                        None => false,
                    }
                }
            };
            if matches {
                return Some(self.said(said, request));
            }
        }
        None
    }

    /// A test's own answer.
    fn said(&self, said: &MockAnswer, request: &Request<'_>) -> Answer {
        let mut answer = match (&said.raw, &said.json) {
            (Some(raw), _) => {
                let content_type = raw.content_type.as_deref().unwrap_or("text/plain; charset=utf-8");
                let content_type = content_type.try_into().unwrap_or(JSON);
                Answer::new(content_type, Rendered::whole(raw.body.clone(), 0))
            }
            (None, Some(json)) => Answer::json(StatusCode::OK, json.to_string()),
            (None, None) => self.chat(request, Some(said)),
        };
        answer.status = said.status.map_or(answer.status, |status| status.0);
        answer.headers.0.extend(said.headers.0.iter().cloned());
        answer
    }

    /// The endpoints that there are. Another provider's come in here.
    fn by_default(&self, request: &Request<'_>) -> Answer {
        match (request.method, request.endpoint()) {
            ("POST", CHAT) => self.chat(request, None),
            ("POST", "/embeddings") => embeddings::answer(request.body, self.options.seed),
            ("GET", "/models") => openai::models(),
            (method, _) => {
                openai::error(StatusCode::NOT_FOUND, &format!("Invalid URL ({method} {})", request.path))
            }
        }
    }

    fn chat(&self, request: &Request<'_>, said: Option<&MockAnswer>) -> Answer {
        let body = if request.body.is_empty() { b"{}" } else { request.body };
        let ask: ChatAsk<'_> = match serde_json::from_slice(body) {
            Ok(ask) => ask,
            Err(error) => {
                return openai::error(StatusCode::BAD_REQUEST, &format!("the body cannot be read: {error}"));
            }
        };
        let mut hash = ask.prompt().hash;
        if !self.options.record {
            hash %= FAST_TEXTS;
        }
        let seed = text::mix(self.options.seed, hash);
        let chat = Chat { model: ask.model(), choices: ask.choices(), seed, said };
        let render = || {
            if ask.streams() { chat.stream() } else { chat.unary() }
        };
        let rendered = match said {
            Some(_) => render(),
            None => {
                let key =
                    Key { seed, stream: ask.streams(), choices: chat.choices, model: chat.model.into() };
                self.rendered(key, render)
            }
        };
        openai::finish(rendered, &ask, &chat)
    }

    fn rendered(&self, key: Key, render: impl FnOnce() -> Rendered) -> Rendered {
        let mut kept = self.rendered.lock();
        if let Some(rendered) = kept.get(&key) {
            return rendered.clone();
        }
        let rendered = render();
        if rendered.bytes.len() > RENDERED_BYTES {
            return rendered;
        }
        if kept.len() >= RENDERED {
            kept.clear();
        }
        kept.insert(key, rendered.clone());
        rendered
    }
}

const CHAT: &str = "/chat/completions";

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("options", &self.options)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
