//! A client against the stand-in upstream, over each way that there is to it.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use trunkline::client::{Answer, Call, Client, Endpoint, Mode, Outlet};
use trunkline::config::Environment;
use trunkline::error::{Error, Kind};
use trunkline::mock::{FaultScope, Matcher, MockAnswer, MockFault, MockOptions, MockUpstream};
use trunkline::pool::Tasks;

pub const KEY: &str = "sk-SeCrEtKeY0123456789";
/// Longer than any test should take; a broken promise ends there.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the upstream is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    H1,
    /// HTTP/2 in plain text.
    H2c,
    /// HTTP/2 over TLS.
    H2,
}

pub const WAYS: [Way; 3] = [Way::H1, Way::H2c, Way::H2];

/// An upstream and a client of it, whose sockets nobody shares.
pub struct Site {
    pub upstream: MockUpstream,
    pub client: Arc<Client>,
    pub tasks: Tasks,
    /// How often the key was asked for.
    pub asked: Arc<AtomicUsize>,
}

/// What came of a stream.
#[derive(Debug)]
pub struct Streamed {
    pub result: Result<Answer, Error>,
    /// The deliveries as they were.
    pub raw: Vec<String>,
    /// In the mode of objects, the chunks.
    pub chunks: Vec<Value>,
    pub text: String,
}

/// Puts the members of `more` into `base`, deeply.
pub fn merge(mut base: Value, more: Value) -> Value {
    match (&mut base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (name, value) in more {
                let old = base.remove(&name).unwrap_or(Value::Null);
                base.insert(name, merge(old, value));
            }
        }
        (base, more) => *base = more,
    }
    base
}

/// An idle timeout that no other client has, so that none shares its pool: a runtime ends with its test, and its sockets with it. Short
/// enough that the reaper, which looks in each quarter of it, is soon gone.
pub fn alone() -> u64 {
    static NEXT: AtomicUsize = AtomicUsize::new(8_000);
    NEXT.fetch_add(1, Ordering::Relaxed) as u64
}

pub fn request() -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] })
}

pub fn with(more: Value) -> Value {
    merge(request(), more)
}

pub fn start(options: Value) -> MockUpstream {
    MockUpstream::start(serde_json::from_value::<MockOptions>(options).unwrap()).unwrap()
}

pub fn client_of(url: &str, options: Value, tasks: &Tasks) -> Arc<Client> {
    let base = json!({
        "baseURL": format!("{url}/v1"),
        "apiKey": KEY,
        "retry": { "baseDelay": 1, "maxDelay": 5 },
        // Many failures in a row are what these tests are about.
        "circuitBreaker": false,
        "pool": { "idleTimeout": alone() },
    });
    Arc::new(
        Client::new(merge(base, options), &Environment::default(), tasks, Box::new(|_| {}), Box::new(|| {}))
            .unwrap(),
    )
}

impl Site {
    pub fn new(way: Way) -> Self {
        Self::with(way, json!({}), json!({}))
    }

    /// With further options of the upstream and of the client.
    pub fn with(way: Way, upstream: Value, client: Value) -> Self {
        let upstream = start(merge(json!({ "tls": way == Way::H2, "http2": way != Way::H1 }), upstream));
        let pool = match way {
            Way::H1 => json!({}),
            Way::H2c => json!({ "http2": "prior-knowledge" }),
            Way::H2 => json!({ "tls": { "ca": upstream.ca().unwrap() } }),
        };
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let base = json!({
            "baseURL": format!("{}/v1", upstream.url()),
            "apiKey": KEY,
            "retry": { "baseDelay": 1, "maxDelay": 5 },
            // Many failures in a row are what these tests are about.
            "circuitBreaker": false,
            "pool": merge(json!({ "idleTimeout": alone() }), pool),
        });
        let ask = Box::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let client =
            Client::new(merge(base, client), &Environment::default(), &tasks, ask, Box::new(|| {})).unwrap();
        Self { upstream, client: Arc::new(client), tasks, asked }
    }

    pub fn fault(&self, fault: Value, scope: Value) {
        let fault = serde_json::from_value::<MockFault>(fault).unwrap();
        self.upstream.fault(fault, serde_json::from_value::<FaultScope>(scope).unwrap());
    }

    /// The next request meets the fault.
    pub fn once(&self, fault: Value) {
        self.fault(fault, json!({}));
    }

    /// What every chat is answered with.
    pub fn says(&self, answer: Value) {
        let answer = serde_json::from_value::<MockAnswer>(answer).unwrap();
        self.upstream.reply(Matcher::Fields(serde_json::Map::new()), answer);
    }

    /// A stream of these events, as they are.
    pub fn streams(&self, body: &str) {
        self.says(json!({ "raw": { "body": body, "contentType": "text/event-stream" } }));
    }

    pub fn seen(&self) -> usize {
        self.upstream.requests().len()
    }

    pub fn make(&self, endpoint: Endpoint, body: &Value, options: Value) -> Call {
        let options = (options != json!({})).then_some(options);
        Call { endpoint, body: body.to_string(), options: self.client.call_options(options).unwrap() }
    }

    pub async fn chat(&self) -> Result<Answer, Error> {
        self.chat_with(json!({})).await
    }

    pub async fn chat_with(&self, options: Value) -> Result<Answer, Error> {
        self.client.call(self.make(Endpoint::Chat, &request(), options)).await
    }

    /// The same to the same path, but as any other endpoint.
    pub async fn post(&self, options: Value) -> Result<Answer, Error> {
        self.client.call(self.make(Endpoint::Post("/chat/completions".into()), &request(), options)).await
    }

    pub async fn embed(&self, input: Value) -> Result<Answer, Error> {
        let body = json!({ "model": "e", "input": input });
        self.client.call(self.make(Endpoint::Embeddings, &body, json!({}))).await
    }

    pub async fn stream(&self, mode: Mode) -> Streamed {
        self.stream_with(mode, &request(), json!({})).await
    }

    pub async fn stream_with(&self, mode: Mode, body: &Value, options: Value) -> Streamed {
        stream(&self.client, self.make(Endpoint::Chat, body, options), mode).await
    }

    pub fn metrics(&self) -> Value {
        serde_json::to_value(self.client.metrics()).unwrap()
    }

    /// Calls work, over whatever connections there are now.
    pub async fn works(&self) {
        for _ in 0..3 {
            self.chat().await.unwrap();
        }
    }

    /// Waits until nothing is in flight, and everything taken has come back.
    pub async fn quiet(&self) {
        until("all given back", || {
            let now = self.metrics();
            let pool = &now["pool"];
            let waiting = pool["origins"].as_array().unwrap().iter();
            waiting.map(|origin| origin["waiting"].as_u64().unwrap()).sum::<u64>() == 0
                && now["requests"]["inFlight"] == 0
                && pool["connections"]["active"] == 0
                && pool["connections"]["connecting"] == 0
                && pool["streams"]["active"] == 0
        })
        .await;
    }
}

/// Makes a stream, and reads it as it comes.
pub async fn stream(client: &Arc<Client>, call: Call, mode: Mode) -> Streamed {
    let told = Arc::new(Notify::new());
    let tell = told.clone();
    let outlet = Arc::new(Outlet::new(Box::new(move |_| tell.notify_one())));
    assert!(outlet.choose(mode));
    let mut raw = Vec::new();
    let mut drain = || {
        while let Some(delivery) = outlet.take() {
            outlet.read(delivery.bytes);
            raw.push(delivery.text);
        }
    };
    let result = {
        let running = client.stream(call, outlet.clone());
        tokio::pin!(running);
        loop {
            tokio::select! {
                biased;
                result = &mut running => break result,
                () = told.notified() => drain(),
            }
        }
    };
    drain();
    let chunks = if mode == Mode::Objects { decode(&raw) } else { Vec::new() };
    let text = match mode {
        Mode::Objects => chunks.iter().filter_map(content_of).collect(),
        _ => raw.concat(),
    };
    Streamed { result, raw, chunks, text }
}

/// The text of a chunk of the first choice.
pub fn content_of(chunk: &Value) -> Option<&str> {
    let choice = chunk.pointer("/choices/0").filter(|choice| choice["index"] == 0)?;
    choice.pointer("/delta/content")?.as_str()
}

/// Undoes the pattern encoding of an outlet's objects, as its documentation has it.
pub fn decode(deliveries: &[String]) -> Vec<Value> {
    let mut pattern = Value::Null;
    let mut chunks = Vec::new();
    for delivery in deliveries {
        for element in serde_json::from_str::<Vec<Value>>(delivery).unwrap() {
            chunks.push(match element {
                Value::Array(mut one) => {
                    assert_eq!(one.len(), 1);
                    pattern = one.remove(0);
                    pattern.clone()
                }
                Value::String(text) => {
                    let mut chunk = pattern.clone();
                    *chunk.pointer_mut("/choices/0/delta/content").unwrap() = text.into();
                    chunk
                }
                chunk => chunk,
            });
        }
    }
    chunks
}

pub fn body_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// The meta with its names, as `lib/meta.js` gives them.
pub fn meta_of(answer: &Answer) -> Value {
    let Value::Array(list) = serde_json::from_slice(&answer.meta).unwrap() else { panic!("a list") };
    let [provider, model, status, headers, tries, connection, times, usage, dropped, source, cost, estimated] =
        list.try_into().unwrap();
    let attempts = match tries {
        Value::Array(_) => tries,
        took => json!([{
            "provider": provider, "model": model, "status": status, "error": null, "duration": took, "billed": "yes",
        }]),
    };
    let connection = connection.as_array().map(|c| json!({"id": c[0], "protocol": c[1], "reused": c[2]}));
    let names = ["queued", "dns", "connect", "tls", "firstByte", "total"];
    let timings: Map<String, Value> =
        names.into_iter().map(str::to_owned).zip(times.as_array().unwrap().iter().cloned()).collect();
    json!({
        "provider": provider, "model": model, "status": status, "headers": headers, "attempts": attempts,
        "connection": connection, "timings": timings, "usage": usage, "dropped": dropped,
        "cached": source == 1, "coalesced": source == 2,
        "cost": cost, "usageEstimated": estimated,
    })
}

/// The text of the first choice of a completion.
pub fn said(completion: &Value) -> &str {
    completion.pointer("/choices/0/message/content").unwrap().as_str().unwrap()
}

/// An end in words: `ok after maybe,yes`, or
/// `InternalServerError 500 retryable, billed maybe, after maybe,maybe`.
pub fn tell(result: &Result<Answer, Error>) -> String {
    let billed = |attempts: &Value| {
        let attempts = attempts.as_array().unwrap();
        attempts.iter().map(|a| a["billed"].as_str().unwrap()).collect::<Vec<_>>().join(",")
    };
    match result {
        Ok(answer) => format!("ok after {}", billed(&meta_of(answer)["attempts"])),
        Err(error) => {
            let json: Value = serde_json::from_str(&error.to_json()).unwrap();
            let detail = match &error.kind {
                Kind::Api(api) => format!(" {}", api.status),
                Kind::Connection(_) | Kind::Timeout { .. } => format!(" {}", json["phase"].as_str().unwrap()),
                _ => String::new(),
            };
            let name = json["name"].as_str().unwrap().trim_end_matches("Error");
            let retryable = if error.retryable { " retryable" } else { "" };
            let own = json["billed"].as_str().unwrap();
            format!("{name}{detail}{retryable}, billed {own}, after {}", billed(&json["attempts"]))
        }
    }
}

/// Waits for what nothing tells.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let patient = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, patient).await.is_ok(), "never: {what}");
}
