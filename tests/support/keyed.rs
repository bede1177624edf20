//! A client of one provider with keys of every kind, in each protocol.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline::client::{Answer, Call, Client, Endpoint};
use trunkline::config::Environment;
use trunkline::error::Error;
use trunkline::mock::{FaultScope, MockFault, MockUpstream};
use trunkline::pool::Tasks;

use super::support::{alone, merge, request, start};

pub const PROTOCOLS: [&str; 3] = ["openai", "anthropic", "gemini"];

/// What a function of keys answers: by its number, and how often any was asked before.
pub type Give = Box<dyn Fn(u32, usize) -> Result<String, String> + Send>;

/// In the place of an answer: the test gives it itself.
pub const LATER: &str = "later";

pub struct Keyed {
    pub upstream: MockUpstream,
    pub client: Arc<Client>,
    /// How often a key was asked for.
    pub asked: Arc<AtomicUsize>,
}

/// A key that is this function of the caller's.
pub fn function(number: u32) -> Value {
    json!({ "\u{0}kind": "a function", "function": number })
}

/// Where a client of this protocol finds the stand-in.
pub fn base(upstream: &MockUpstream, protocol: &str) -> String {
    format!("{}{}", upstream.url(), if protocol == "openai" { "/v1" } else { "" })
}

impl Keyed {
    pub fn new(protocol: &str, keys: Value) -> Self {
        Self::with(protocol, keys, json!({}), json!({}))
    }

    /// With further options of the upstream and of the client.
    pub fn with(protocol: &str, keys: Value, upstream: Value, client: Value) -> Self {
        Self::giving(protocol, keys, upstream, client, Box::new(|_, _| Err("nobody asks".into())))
    }

    pub fn giving(protocol: &str, keys: Value, upstream: Value, client: Value, give: Give) -> Self {
        let upstream = start(upstream);
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let (questions, mut asks) = mpsc::unbounded_channel();
        let mut provider = json!({ "baseURL": base(&upstream, protocol), "protocol": protocol });
        if !keys.is_null() {
            provider["apiKey"] = keys;
        }
        let options = json!({
            "providers": { "p": provider },
            "retry": { "maxRetries": 0 },
            "circuitBreaker": false,
            // Whoever waits for a key that rests fails by this.
            "timeouts": { "total": 20_000 },
            "pool": { "idleTimeout": alone(), "http2": "prior-knowledge" },
        });
        let ask = Box::new(move |number: u32| {
            let _ = questions.send(number);
        });
        let client =
            Client::new(merge(options, client), &Environment::default(), &tasks, ask, Box::new(|| {}));
        let client = Arc::new(client.unwrap());
        let (asked, answers) = (Arc::new(AtomicUsize::new(0)), Arc::downgrade(&client));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Some(number) = asks.recv().await {
                let before = count.fetch_add(1, Ordering::SeqCst);
                let (Some(client), key) = (answers.upgrade(), give(number, before)) else { return };
                if key.as_ref().is_err_and(|error| error == LATER) {
                    continue;
                }
                client.set_key(number, key.as_deref().map_err(|error| &**error));
            }
        });
        Self { upstream, client, asked }
    }

    pub fn fault(&self, fault: Value, scope: Value) {
        let fault = serde_json::from_value::<MockFault>(fault).unwrap();
        self.upstream.fault(fault, serde_json::from_value::<FaultScope>(scope).unwrap());
    }

    pub async fn chat(&self) -> Result<Answer, Error> {
        self.call(json!({})).await
    }

    pub async fn call(&self, options: Value) -> Result<Answer, Error> {
        let options = self.client.call_options(Some(options)).unwrap();
        let body = merge(request(), json!({ "max_tokens": 9 })).to_string();
        self.client.call(Call { endpoint: Endpoint::Chat, body, options }).await
    }

    /// So many calls at once.
    pub async fn chats(&self, calls: usize) -> Vec<Result<Answer, Error>> {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..calls {
            let options = self.client.call_options(None).unwrap();
            let body = merge(request(), json!({ "max_tokens": 9 })).to_string();
            running.spawn(self.client.call(Call { endpoint: Endpoint::Chat, body, options }));
        }
        running.join_all().await
    }

    /// The keys of all requests that came, in order.
    pub fn used(&self) -> Vec<String> {
        self.upstream.requests().iter().map(key_of).collect()
    }

    /// How many requests came with this key.
    pub fn uses(&self, key: &str) -> usize {
        self.used().iter().filter(|used| *used == key).count()
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn metrics(&self) -> Value {
        serde_json::to_value(self.client.metrics()).unwrap()
    }
}

/// The key of a request, wherever its protocol has it; empty for none.
pub fn key_of(request: &trunkline::mock::RecordedRequest) -> String {
    let header = |name: &str| request.headers.get(name).cloned();
    let bearer = header("authorization").map(|key| key.trim_start_matches("Bearer ").to_owned());
    bearer.or_else(|| header("x-api-key")).or_else(|| header("x-goog-api-key")).unwrap_or_default()
}
