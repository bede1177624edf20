//! Clients of one name: what they share, what each keeps for itself, and who may have the name.

use std::fs::File;
use std::sync::Arc;

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Answer, Call, Client, Endpoint};
use trunkline::config::Environment;
use trunkline::error::Error;
use trunkline::mock::MockUpstream;
use trunkline::policy::money::Period;
use trunkline::pool::Tasks;

const OK: &str = "ok after yes";

/// Two clients of one name and of one upstream, each with a pool of its own.
struct Pair {
    upstream: MockUpstream,
    tasks: Tasks,
    one: Arc<Client>,
    other: Arc<Client>,
}

impl Pair {
    fn new(name: &str, options: Value) -> Self {
        let upstream = start(json!({ "http2": false }));
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let options = merge(json!({ "name": name, "retry": false }), options);
        let [one, other] = [(); 2].map(|()| {
            let client = client_of(&upstream.url(), options.clone(), &tasks);
            client.events().listen(true);
            client
        });
        Self { upstream, tasks, one, other }
    }

    fn fault(&self, fault: Value, times: usize) {
        self.upstream.fault(
            serde_json::from_value(fault).unwrap(),
            serde_json::from_value(json!({ "times": times })).unwrap(),
        );
    }

    fn seen(&self) -> usize {
        self.upstream.requests().len()
    }
}

fn call(client: &Arc<Client>, body: Value) -> impl Future<Output = Result<Answer, Error>> + Send + 'static {
    let call = Call {
        endpoint: Endpoint::Chat,
        body: body.to_string(),
        options: client.call_options(None).unwrap(),
    };
    client.call(call)
}

async fn ask(client: &Arc<Client>) -> String {
    tell(&call(client, request()).await)
}

fn metrics(client: &Client) -> Value {
    serde_json::to_value(client.metrics()).unwrap()
}

fn waiting(client: &Client) -> u64 {
    metrics(client)["queue"]["depth"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

/// Events of this kind, each by a member of it.
fn told(client: &Client, kind: &str, member: &str) -> Vec<Value> {
    let events = client.events().take().0.into_iter().map(|event| serde_json::to_value(event).unwrap());
    events.filter(|event| event["event"] == kind).map(|event| event[member].clone()).collect()
}

fn made(options: Value, tasks: &Tasks) -> Result<Client, String> {
    let base = json!({ "pool": { "idleTimeout": alone() } });
    Client::new(merge(base, options), &Environment::default(), tasks, Box::new(|_| {}), Box::new(|| {}))
        .map_err(|error| error.message.clone())
}

#[tokio::test]
async fn one_limit_of_calls_at_once_holds_for_all_and_each_counts_its_own_waits() {
    let pair = Pair::new("turns", json!({ "concurrency": { "max": 1 } }));
    pair.fault(json!({ "kind": "silence", "for": 60_000 }), 1);
    let held = tokio::spawn(call(&pair.one, request()));
    until("it is there", || pair.seen() == 1).await;
    let waits = tokio::spawn(call(&pair.other, request()));
    until("it waits", || waiting(&pair.other) == 1).await;
    assert_eq!((waiting(&pair.one), pair.seen()), (1, 1), "the queue is one");
    held.abort();
    assert_eq!(tell(&waits.await.unwrap()), OK);
    let own = |client| metrics(client)["queue"]["turns"]["count"].clone();
    assert_eq!((own(&pair.one), own(&pair.other)), (json!(0), json!(1)));
    assert_eq!(metrics(&pair.one)["requests"]["succeeded"], 0, "calls are counted by whose they are");
}

#[tokio::test]
async fn a_full_queue_refuses_whoever_comes_and_is_counted_there() {
    let pair = Pair::new("full", json!({ "concurrency": { "max": 1, "maxQueue": 0 } }));
    pair.fault(json!({ "kind": "silence", "for": 60_000 }), 1);
    let held = tokio::spawn(call(&pair.one, request()));
    until("it is there", || pair.seen() == 1).await;
    assert_eq!(ask(&pair.other).await, "QueueFull retryable, billed no, after no");
    let refused = |client| metrics(client)["queue"]["refused"].clone();
    assert_eq!((refused(&pair.one), refused(&pair.other)), (json!(0), json!(1)));
    held.abort();
}

#[tokio::test]
async fn calls_of_one_tenant_are_limited_together() {
    let pair = Pair::new("tenants", json!({ "tenants": { "maxConcurrent": 1 } }));
    pair.fault(json!({ "kind": "silence", "for": 60_000 }), 1);
    let of = |client: &Arc<Client>| {
        let options = client.call_options(Some(json!({ "tenant": "t" }))).unwrap();
        tokio::spawn(client.call(Call { endpoint: Endpoint::Chat, body: request().to_string(), options }))
    };
    let held = of(&pair.one);
    until("it is there", || pair.seen() == 1).await;
    let waits = of(&pair.other);
    until("it waits", || waiting(&pair.other) == 1).await;
    held.abort();
    assert_eq!(tell(&waits.await.unwrap()), OK);
}

#[tokio::test]
async fn a_circuit_that_one_opens_refuses_the_other_and_all_are_told() {
    let breaker = json!({ "failureThreshold": 2, "recoveryTimeout": 60_000 });
    let pair = Pair::new("circuits", json!({ "circuitBreaker": breaker }));
    pair.fault(json!({ "kind": "status", "status": 500 }), 2);
    // One failure of each: neither alone would have opened it.
    assert!(ask(&pair.one).await.starts_with("InternalServer"));
    assert!(ask(&pair.other).await.starts_with("InternalServer"));
    assert_eq!(ask(&pair.one).await, "CircuitOpen retryable, billed no, after no");
    assert_eq!(pair.seen(), 2);
    for client in [&pair.one, &pair.other] {
        assert_eq!(told(client, "circuit", "state"), ["open"]);
        assert_eq!(metrics(client)["circuits"]["default/m"]["state"], "open");
    }
}

#[tokio::test]
async fn a_retry_after_that_one_was_told_holds_the_other_up() {
    let pair = Pair::new("pauses", json!({}));
    let headers = json!({ "retry-after": "30" });
    pair.fault(json!({ "kind": "status", "status": 429, "headers": headers }), 1);
    assert!(ask(&pair.one).await.starts_with("RateLimit"));
    let waits = tokio::spawn(call(&pair.other, request()));
    until("it waits", || waiting(&pair.other) == 1).await;
    assert_eq!(pair.seen(), 1);
    waits.abort();
}

#[tokio::test]
async fn an_answer_that_one_keeps_serves_the_other() {
    let pair = Pair::new("answers", json!({ "cache": {} }));
    let cold = || with(json!({ "temperature": 0 }));
    let first = call(&pair.one, cold()).await.unwrap();
    let again = call(&pair.other, cold()).await.unwrap();
    assert_eq!((again.body == first.body, meta_of(&again)["cached"].clone()), (true, json!(true)));
    assert_eq!(pair.seen(), 1);
    let hits = |client| metrics(client)["cache"]["hits"].clone();
    assert_eq!((hits(&pair.one), hits(&pair.other)), (json!(1), json!(1)));
    let cached = |client| metrics(client)["requests"]["cached"].clone();
    assert_eq!((cached(&pair.one), cached(&pair.other)), (json!(0), json!(1)));
}

/// With answers of a hundred tokens, at a dollar for a thousand.
fn dear(name: &str, budget: Value) -> Pair {
    let pricing = json!({ "m": { "input": 1000, "output": 1000 } });
    let pair = Pair::new(name, json!({ "budget": budget, "pricing": pricing }));
    let usage = json!({ "prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100 });
    let answer = json!({ "content": "hi", "usage": usage });
    let answer = serde_json::from_value(answer).unwrap();
    pair.upstream.reply(trunkline::mock::Matcher::Fields(serde_json::Map::new()), answer);
    pair
}

fn short() -> Value {
    with(json!({ "max_tokens": 40 }))
}

#[tokio::test]
async fn a_budget_is_spent_by_all_and_all_are_told() {
    let pair = dear("money", json!({ "limit": 0.2 }));
    for client in [&pair.one, &pair.other] {
        assert_eq!(tell(&call(client, short()).await), OK);
    }
    for client in [&pair.one, &pair.other] {
        assert_eq!(tell(&call(client, short()).await), "BudgetExceeded, billed no, after ");
        assert_eq!(told(client, "budget", "share"), [0.5, 0.8, 1.0]);
        let costs = serde_json::to_value(client.costs(Period::All)).unwrap();
        assert_eq!((&costs["total"], &costs["budget"]["spent"]), (&json!(0.2), &json!(0.2)));
    }
    assert_eq!(pair.seen(), 2);
    // One that comes later has spent nothing since, and can spend nothing.
    let options = json!({ "name": "money", "retry": false, "budget": { "limit": 0.2 },
        "pricing": { "m": { "input": 1000, "output": 1000 } } });
    let late = client_of(&pair.upstream.url(), options, &pair.tasks);
    assert_eq!(tell(&call(&late, short()).await), "BudgetExceeded, billed no, after ");
    assert_eq!(serde_json::to_value(late.savings()).unwrap()["cost"], 0.0);
    assert_eq!(serde_json::to_value(pair.one.savings()).unwrap()["cost"], 0.2);
}

#[tokio::test]
async fn the_last_that_closes_lets_go_of_the_file_of_the_budget_and_of_the_name() {
    let path = std::env::temp_dir().join(format!("trunkline-common-{}.log", std::process::id()));
    let pair = dear("file", json!({ "limit": 1, "state": path }));
    let is_locked = || {
        let lock = File::open(path.with_extension("log.lock")).unwrap();
        lock.try_lock().is_err()
    };
    assert_eq!(tell(&call(&pair.one, short()).await), OK);
    pair.one.finish_close().await;
    assert!(is_locked());
    assert_eq!(tell(&call(&pair.other, short()).await), OK);
    let other = json!({ "name": "file", "circuitBreaker": false, "budget": { "limit": 2 } });
    assert!(made(other.clone(), &pair.tasks).unwrap_err().starts_with("budget: differs"));
    // The first is still held, and the money by it.
    let Pair { one, other: last, tasks, .. } = pair;
    drop(last);
    until("the file is free", || !is_locked()).await;
    made(other, &tasks).unwrap();
    one.finish_close().await;
    for end in ["log", "log.lock"] {
        std::fs::remove_file(path.with_extension(end)).unwrap();
    }
}

#[tokio::test]
async fn other_settings_of_what_is_shared_are_refused_by_their_path() {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let base = json!({
        "name": "settings",
        "providers": { "a": { "baseURL": "http://127.0.0.1:1/v1", "rateLimit": { "requestsPerSecond": 5 } } },
        "cache": { "maxBytes": 1000 },
        "budget": { "limit": 1 },
    });
    let first = made(base.clone(), &tasks).unwrap();
    let table = [
        ("circuitBreaker", json!({ "circuitBreaker": false })),
        ("retry.budget", json!({ "retry": { "budget": { "ratio": 0.5 } } })),
        ("cache", json!({ "cache": false })),
        ("cache.maxBytes", json!({ "cache": { "maxBytes": 1001 } })),
        ("budget", json!({ "budget": { "limit": 2 } })),
        ("pricing", json!({ "pricing": { "m": { "input": 1, "output": 1 } } })),
        ("tenants.maxConcurrent", json!({ "tenants": { "maxConcurrent": 1 } })),
        ("shared", json!({ "shared": { "redis": "redis://127.0.0.1:1" } })),
        ("providers.a.baseURL", json!({ "providers": { "a": { "baseURL": "http://127.0.0.1:2/v1" } } })),
        ("providers.a.protocol", json!({ "providers": { "a": { "protocol": "gemini" } } })),
        (
            "providers.a.rateLimit",
            json!({ "providers": { "a": { "rateLimit": { "requestsPerSecond": 6 } } } }),
        ),
        ("providers.a.concurrency", json!({ "concurrency": { "max": 6 } })),
    ];
    for (path, other) in table {
        let message = made(merge(base.clone(), other), &tasks).unwrap_err();
        let expected = format!(
            "{path}: differs from that of another client named 'settings': what clients of one name share is set alike; give \
             the same, or another name"
        );
        assert_eq!(message, expected);
    }
    // What each has for itself is nobody else's business, and neither are providers of its own.
    let own = json!({
        "providers": { "a": { "apiKey": "k", "headers": { "x-a": "1" } }, "b": { "baseURL": "http://127.0.0.1:3/v1" } },
        "retry": { "maxRetries": 7 }, "timeouts": { "total": 1000 }, "hedge": { "delay": 5 }, "cache": { "ttl": 5 },
    });
    let second = made(merge(base.clone(), own), &tasks).unwrap();
    let of_b = json!({ "providers": { "b": { "baseURL": "http://127.0.0.1:4/v1" } } });
    assert!(
        made(merge(base.clone(), of_b.clone()), &tasks)
            .unwrap_err()
            .starts_with("providers.b.baseURL: differs")
    );
    drop(second);
    assert!(made(merge(base.clone(), json!({ "cache": false })), &tasks).is_err(), "one of them is there");
    drop(first);
    made(merge(base, merge(of_b, json!({ "cache": false }))), &tasks).unwrap();
}

#[tokio::test]
async fn without_a_name_or_with_another_nothing_is_shared() {
    let upstream = start(json!({ "http2": false }));
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let fault = serde_json::from_value(json!({ "kind": "silence", "for": 60_000 })).unwrap();
    upstream.fault(fault, serde_json::from_value(json!({ "times": 1 })).unwrap());
    let limit = json!({ "concurrency": { "max": 1 } });
    let [one, other, named] = [json!({}), json!({}), json!({ "name": "alone" })]
        .map(|name| client_of(&upstream.url(), merge(name, limit.clone()), &tasks));
    let held = tokio::spawn(call(&one, request()));
    until("it is there", || upstream.requests().len() == 1).await;
    assert_eq!((ask(&other).await, ask(&named).await), (OK.into(), OK.into()));
    held.abort();
}

#[tokio::test]
async fn a_name_has_1_to_128_characters() {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    made(json!({ "name": "é".repeat(128) }), &tasks).unwrap();
    for (name, message) in [
        (json!(""), "name: must have 1 to 128 characters, got 0"),
        (json!("n".repeat(129)), "name: must have 1 to 128 characters, got 129"),
        (json!(7), "name: must be a string, got a number (7)"),
    ] {
        assert_eq!(made(json!({ "name": name }), &tasks).unwrap_err(), message);
    }
}
