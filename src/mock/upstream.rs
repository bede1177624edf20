//! What all connections of one upstream share, and how it comes to an answer: what is turned away, a test's reply or
//! the default one, and the fault that it meets.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use super::{
    Asker,
    answer::Answer,
    batches::Store,
    endpoints::{self, Asked, Endpoints},
    faults::{Faults, MockFault},
    gate::{Gate, prompt},
    options::{MockOptions, millis},
    refusal::Refusal,
    request::{ChatAsk, ModelAsk, Request, endpoint},
    route::{Endpoint, Protocol, Route},
    script::{Pace, Script, Told},
    shapes::{Connections, Matcher, MockAnswer, RecordedRequest, holds_fields},
    text,
    view::as_openai,
};

const RECORDED: usize = 10_000;

pub(super) struct Upstream {
    pub(super) options: MockOptions,
    pub(super) counts: Counts,
    pub(super) faults: Mutex<Faults>,
    rules: RwLock<Arc<Vec<Arc<Rule>>>>,
    /// False while there are neither rules nor faults: what the fast way looks at.
    special: AtomicBool,
    gate: Gate,
    pub(super) endpoints: Endpoints,
    pub(super) store: Store,
    recorded: Mutex<VecDeque<RecordedRequest>>,
    asker: RwLock<Option<Arc<dyn Asker>>>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) resumed: AtomicU64,
    requests: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Rule {
    matcher: Matcher,
    pub(super) answer: MockAnswer,
}

impl Upstream {
    pub(super) fn new(options: MockOptions) -> Self {
        Self {
            gate: Gate::new(&options),
            endpoints: Endpoints::new(options.seed, !options.record),
            options,
            counts: Counts::default(),
            faults: Mutex::default(),
            rules: RwLock::default(),
            special: AtomicBool::new(false),
            store: Store::default(),
            recorded: Mutex::default(),
            asker: RwLock::default(),
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
        self.store.clear();
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
        let route = Route::of(request.method, request.path);
        let latency = self.latency(number);
        let told = Told { request: number, protocol: route.protocol, latency };
        let answer = match self.find(number, &request, &route, record.as_ref().filter(|_| special)).await {
            Ok(answer) => answer,
            // What is turned away meets no fault: that waits for the next request.
            Err(refusal) => return Script::new(route.protocol.refuse(&refusal, number), told, None, None),
        };
        let fault = special.then(|| self.fault_for(&request, &route)).flatten();
        let pace =
            self.options.tokens_per_second.map(|rate| Pace { first: Duration::ZERO, each: 1.0 / rate });
        Script::new(answer, told, pace, fault)
    }

    /// The answer of the first rule that matches, or of the endpoint.
    async fn find(
        &self,
        number: u64,
        request: &Request<'_>,
        route: &Route<'_>,
        record: Option<&RecordedRequest>,
    ) -> Result<Answer, Refusal> {
        let pass = self.gate.enter(request, route)?;
        let read = endpoints::read(request, route);
        let asked = Asked { request, route, view: read.as_ref().and_then(|read| read.as_ref().ok()) };
        let rule = match record {
            Some(record) => self.rule_for(&asked, record).await,
            None => None,
        };
        let is_exact = rule.as_ref().is_some_and(|rule| rule.answer.is_exact());
        if let Some(Err(refusal)) = read.as_ref().filter(|_| !is_exact) {
            return Err(refusal.clone());
        }
        if !is_exact && route.is_chat() && self.gate.minds_chats() {
            match asked.view {
                Some(view) => self.gate.judge(view)?,
                None => self.gate.judge(&as_openai(request.path, &request.json()))?,
            }
        }
        let answer = match &rule {
            Some(rule) => self.endpoints.said(&rule.answer, &asked),
            None if route.endpoint == Endpoint::Batches => self.batches(request, route).await,
            None => self.endpoints.by_default(&asked),
        };
        // That there is no such path is an answer, and meets limits and faults as any other.
        let mut answer = answer.unwrap_or_else(|refusal| route.protocol.refuse(&refusal, number));
        if request.method == "POST" {
            let prompt = || match asked.view {
                Some(view) => prompt(view).tokens(),
                None => {
                    serde_json::from_slice::<ChatAsk<'_>>(request.body).map_or(1, |ask| ask.prompt().tokens())
                }
            };
            let levels = pass.spend(|| prompt() + answer.body.tokens, route.protocol)?;
            answer
                .headers
                .0
                .extend(levels.into_iter().flat_map(|levels| route.protocol.limit_fields(&levels, None)));
        }
        Ok(answer)
    }

    fn fault_for(&self, request: &Request<'_>, route: &Route<'_>) -> Option<MockFault> {
        let body = serde_json::from_slice::<ModelAsk<'_>>(request.body).unwrap_or_default();
        let model =
            route.model.as_deref().filter(|_| route.protocol == Protocol::Gemini || body.name().is_none());
        let key = route.protocol.key(request);
        self.faults.lock().take_for_request(model.or(body.name()), key.as_deref())
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

    pub(super) async fn rule_for(&self, asked: &Asked<'_>, record: &RecordedRequest) -> Option<Arc<Rule>> {
        let rules = self.rules.read().clone();
        for rule in rules.iter().rev() {
            let matches = match &rule.matcher {
                Matcher::Path(path) => endpoint(path) == asked.request.endpoint(),
                // Fields of a chat's request must not put a chat's answer at another endpoint.
                Matcher::Fields(fields) => {
                    let holds =
                        |body: &Value| matches!(body, Value::Object(body) if holds_fields(body, fields));
                    let own =
                        || asked.view.cloned().unwrap_or_else(|| as_openai(asked.request.path, &record.body));
                    (rule.answer.is_exact() || asked.route.is_chat())
                        && (holds(&record.body) || holds(&own()))
                }
                Matcher::Ask(id) => {
                    let answered = self.asker.read().clone().map(|asker| asker.ask(*id, record));
                    match answered {
                        Some(reply) => reply.await.unwrap_or(false),
                        None => false,
                    }
                }
            };
            if matches {
                return Some(rule.clone());
            }
        }
        None
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("options", &self.options)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
