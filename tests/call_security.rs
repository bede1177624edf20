//! Keys, prompts and answers appear in no error, log or figure.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/keyed.rs"]
mod keyed;
#[path = "support/client.rs"]
mod support;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock};

use keyed::{Keyed, PROTOCOLS, base, function};

use serde_json::{Value, json};
use support::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use trunkline::client::{Call, Client, Endpoint, Mode};
use trunkline::config::{ClientConfig, Environment, parse_keys};
use trunkline::error::Error;
use trunkline::mock::MockUpstream;
use trunkline::pool::Tasks;
use trunkline::protocol::dialect::Protocol;

const PROMPT: &str = "pRoMpT-of-the-caller";
const ANSWER: &str = "aNsWeR-of-the-model";
const HEADER: &str = "hEaDeR-of-the-caller";

/// Keeps all that is traced, at every level, by whomever.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line(&mut self.0.lock().unwrap()));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut log = self.0.lock().unwrap();
        let _ = write!(log, "\n{} {}", event.metadata().level(), event.metadata().target());
        event.record(&mut Line(&mut log));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// That of this process.
fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        tracing::subscriber::set_global_default(log.clone()).unwrap();
        log
    })
}

#[track_caller]
fn clean(what: &str, text: &str) {
    for secret in [KEY, PROMPT, ANSWER, HEADER, "pRoMpT", "aNsWeR"] {
        if let Some(at) = text.find(secret) {
            let from = text[..at].rfind('\n').unwrap_or(0);
            panic!("{what} holds {secret}: {}", &text[from..text.len().min(at + 200)]);
        }
    }
}

#[track_caller]
fn clean_error(what: &str, error: &Error) {
    clean(what, &error.to_string());
    clean(what, &format!("{error:?} {error:#?}"));
    let mut json: Value = serde_json::from_str(&error.to_json()).unwrap();
    // What the provider said is for the caller, in the places that are named for it.
    let members = json.as_object_mut().unwrap();
    members.remove("body");
    members.remove("partial");
    clean(what, &json.to_string());
}

#[tokio::test]
async fn nothing_of_a_key_a_prompt_or_an_answer_is_in_an_error_a_trace_or_a_figure() {
    let log = log();
    let echo = json!({ "error": {
        "message": format!("Incorrect key {KEY} for {PROMPT}: {ANSWER}"), "code": format!("bad {PROMPT}"), "type": null,
    } });
    let faults = [
        json!({ "kind": "status", "status": 401, "body": echo }),
        json!({ "kind": "status", "status": 400, "body": echo }),
        json!({ "kind": "status", "status": 500, "body": format!("{KEY} {PROMPT}") }),
        json!({ "kind": "status", "status": 429, "body": json!([PROMPT]) }),
        json!({ "kind": "error-in-stream", "afterTokens": 0, "body": echo }),
        json!({ "kind": "error-in-stream", "afterTokens": 2, "body": echo }),
        json!({ "kind": "cut", "afterTokens": 2 }),
        json!({ "kind": "cut", "afterTokens": 2, "clean": true }),
        json!({ "kind": "malformed", "atEvent": 3 }),
        json!({ "kind": "bad-utf8" }),
        json!({ "kind": "wrong-length", "by": -7 }),
        json!({ "kind": "stall", "afterTokens": 2, "for": 60_000 }),
        json!({ "kind": "garbage" }),
        json!({ "kind": "reset", "after": "request" }),
    ];
    let options = json!({ "retry": { "maxRetries": 1 }, "timeouts": { "idle": 50 } });
    for way in WAYS {
        let site = Site::with(way, json!({}), options.clone());
        site.says(json!({ "content": format!("a b {ANSWER} c d e {ANSWER}"), "chunks": 6 }));
        let body = with(json!({ "messages": [{ "role": "user", "content": PROMPT }], "user": PROMPT }));
        let own = json!({ "headers": { "x-mine": HEADER }, "idempotencyKey": HEADER });
        for fault in &faults {
            site.fault(fault.clone(), json!({ "times": 10 }));
            let made = |endpoint| site.make(endpoint, &body, own.clone());
            let mut ends = vec![
                site.client.call(made(Endpoint::Chat)).await,
                site.client.call(made(Endpoint::Post("/chat/completions".into()))).await,
            ];
            for mode in [Mode::Objects, Mode::Text, Mode::Whole] {
                ends.push(stream(&site.client, made(Endpoint::Chat), mode).await.result);
            }
            for error in ends.iter().filter_map(|end| end.as_ref().err()) {
                clean_error(&format!("{way:?} {fault}"), error);
            }
            site.upstream.reset();
            site.says(json!({ "content": format!("a b {ANSWER} c d e {ANSWER}"), "chunks": 6 }));
        }
        site.client.call(site.make(Endpoint::Chat, &body, own)).await.unwrap();
        clean("the figures", &site.metrics().to_string());
        clean("the client", &format!("{:?}", site.client));
        site.client.finish_close().await;
    }
    clean("the log", &log.0.lock().unwrap());
    let log = log.0.lock().unwrap();
    assert!(log.contains("trunkline::") && log.contains(" h2::"), "the log is one");
}

#[tokio::test]
async fn no_key_of_any_kind_is_in_anything_that_is_told_in_any_protocol() {
    let log = log();
    for protocol in PROTOCOLS {
        // The first is revoked, the second limited, the third the function's, which is refused at first.
        let [one, two, old, new] = ["-1", "-2", "-old", "-new"].map(|end| format!("{KEY}{end}"));
        let known = json!({ "keys": { &two: {}, &new: {} } });
        let secrets = json!({ "authorization-of-mine": KEY, "x-mine": HEADER, "x-auth-token": KEY });
        let more = json!({
            "providers": { "p": { "headers": secrets, "query": { "key-of-mine": KEY } } },
            "retry": { "maxRetries": 1, "baseDelay": 1, "maxDelay": 1 }, "alerts": {}, "hedge": { "delay": 20 },
        });
        let answer = new.clone();
        let give = move |_, before| Ok(if before == 0 { old.clone() } else { answer.clone() });
        let site = Keyed::giving(protocol, json!([one, two, function(0)]), known, more, Box::new(give));
        let connections = Arc::new(Mutex::new(String::new()));
        let told = connections.clone();
        let _listener = site.client.listen(Box::new(move |inbox| {
            let _ = write!(told.lock().unwrap(), "{:?}", inbox.take());
        }));
        site.client.events().listen(true);

        let own =
            json!({ "headers": { "x-goog-user-key": KEY, "x-mine": HEADER }, "retry": { "maxRetries": 2 } });
        for fault in [
            json!({ "kind": "status", "status": 429, "headers": { "retry-after-ms": "1" } }),
            json!({ "kind": "status", "status": 403 }),
            json!({ "kind": "status", "status": 402, "body": { "error": { "message": format!("no credit for {KEY}") } } }),
            json!({ "kind": "reset", "after": "headers" }),
            json!({ "kind": "silence", "for": 100 }),
        ] {
            site.fault(fault.clone(), json!({ "times": 4 }));
            for _ in 0..4 {
                match site.call(own.clone()).await {
                    Ok(answer) => clean(
                        "the meta",
                        &format!("{answer:?}")[format!("{answer:?}").find("meta").unwrap()..],
                    ),
                    Err(error) => clean_error(&format!("{protocol} {fault}"), &error),
                }
            }
        }
        let (events, _) = site.client.events().take();
        assert!(!events.is_empty());
        clean("the events", &format!("{events:?} {}", serde_json::to_string(&events).unwrap()));
        clean("the figures", &site.metrics().to_string());
        clean("the client", &format!("{:?} {:#?}", site.client, site.client));
        clean("the call", &format!("{:?}", chat_of(&site.client, own.clone())));
        clean("the call's options", &format!("{:?}", site.client.call_options(Some(own)).unwrap()));
        for keys in bad_keys() {
            clean_error("a rotation", &site.client.rotate_key("p", keys).unwrap_err());
        }
        clean_error("a rotation", &site.client.rotate_key(KEY, json!(KEY)).unwrap_err());
        site.client.rotate_key("p", json!([KEY, function(1)])).unwrap();
        clean("the client", &format!("{:?}", site.client));
        site.client.finish_close().await;
        let connections = connections.lock().unwrap();
        assert!(connections.contains("Opened"), "{connections}");
        clean("the connections", &connections);
    }
    clean("the log", &log.0.lock().unwrap());
}

/// What is no key, though there is one in it.
fn bad_keys() -> Vec<Value> {
    let long: Vec<_> = (0..65).map(|_| KEY).collect();
    vec![
        json!(format!("{KEY}\n\u{7}")),
        json!([KEY, format!("{KEY}\r\nx: y")]),
        json!([KEY, { "key": KEY }]),
        json!([[KEY], KEY]),
        json!({ "apiKey": KEY }),
        json!([KEY, format!("{KEY}ü")]),
        json!(long),
    ]
}

#[test]
fn a_mistake_among_the_options_does_not_repeat_a_key_that_stands_there() {
    let provider = |more: Value| json!({ "providers": { "p": merge(json!({ "baseURL": "http://h/", "apiKey": KEY, "headers": { "x-key": KEY } }), more) } });
    let mut wrong: Vec<_> = bad_keys().into_iter().map(|keys| provider(json!({ "apiKey": keys }))).collect();
    wrong.extend([
        provider(json!({ "baseURL": format!("http://u:{KEY}@h/") })),
        provider(json!({ "baseURL": format!("http://h/?key={KEY}") })),
        provider(json!({ "headers": { "authorization": format!("{KEY}\n") } })),
        provider(json!({ "headers": [KEY] })),
        provider(json!({ "headers": { "x-mine": [KEY] } })),
        provider(json!({ "query": KEY })),
        provider(json!({ "query": { "key": [KEY] } })),
        merge(provider(json!({})), json!({ "routes": { "m": [{ "provider": KEY }] } })),
        merge(provider(json!({})), json!({ "apiKey": KEY })),
        json!({ "apiKey": [KEY] }),
        json!({ "apiKey": format!("{KEY}\u{0}") }),
    ]);
    for options in wrong {
        let error = ClientConfig::parse(options, &Environment::default()).unwrap_err();
        assert_eq!(error.name_and_code().1, "ERR_CONFIG");
        clean_error("a refusal", &error);
    }
    let variable = |name: &str| Some((name.to_owned(), format!("{KEY}\n{KEY}")));
    let environment = Environment {
        api_key: variable("OPENAI_API_KEY"),
        anthropic_api_key: variable("ANTHROPIC_API_KEY"),
        gemini_api_key: variable("GEMINI_API_KEY"),
        ..Environment::default()
    };
    clean("the environment", &format!("{environment:?}"));
    for protocol in PROTOCOLS {
        let error = ClientConfig::parse(json!({ "protocol": protocol }), &environment).unwrap_err();
        assert!(error.message.contains("API_KEY"), "{error:?}");
        clean_error("a refusal", &error);
    }
    let good = ClientConfig::parse(provider(json!({})), &Environment::default()).unwrap();
    clean("the options", &format!("{good:?} {good:#?}"));
    clean("the keys", &format!("{:?}", parse_keys(json!([KEY]), Protocol::Gemini).unwrap()));
}

/// Two providers at origins of their own, each with a key and headers, and a route to both.
fn two(first: &str, second: &str, more: Value) -> ([MockUpstream; 2], Arc<Client>) {
    let upstreams = [start(json!({})), start(json!({}))];
    let provider = |at: usize, protocol: &str| {
        json!({
            "baseURL": base(&upstreams[at], protocol), "protocol": protocol, "apiKey": format!("{KEY}-of-{at}"),
            "headers": { "x-secret-of-mine": format!("{HEADER}-of-{at}") }, "query": { "q": format!("query-of-{at}") },
        })
    };
    let options = json!({
        "providers": { "a": provider(0, first), "b": provider(1, second) },
        "routes": { "m": { "targets": [{ "provider": "a" }, { "provider": "b" }] } },
        "retry": false, "circuitBreaker": false, "pool": { "idleTimeout": alone() },
    });
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let options = merge(options, more);
    let client = Client::new(options, &Environment::default(), &tasks, Box::new(|_| {}), Box::new(|| {}));
    (upstreams, Arc::new(client.unwrap()))
}

fn chat_of(client: &Client, options: Value) -> Call {
    let body = with(json!({ "max_tokens": 9 })).to_string();
    Call { endpoint: Endpoint::Chat, body, options: client.call_options(Some(options)).unwrap() }
}

fn breaks(upstream: &MockUpstream, status: u16) {
    let fault = json!({ "kind": "status", "status": status });
    upstream.fault(
        serde_json::from_value(fault).unwrap(),
        serde_json::from_value(json!({ "times": 99 })).unwrap(),
    );
}

#[tokio::test]
async fn what_is_one_providers_goes_to_no_other_when_a_call_fails_over() {
    for first in PROTOCOLS {
        for second in PROTOCOLS {
            let ([a, b], client) = two(first, second, json!({}));
            breaks(&a, 500);
            let own = json!({ "headers": { "x-of-the-call": "to both" } });
            client.call(chat_of(&client, own.clone())).await.unwrap();
            stream(&client, chat_of(&client, own), Mode::Objects).await.result.unwrap();
            for (upstream, own, others) in [(&a, "-of-0", "-of-1"), (&b, "-of-1", "-of-0")] {
                assert_eq!(upstream.requests().len(), 2, "{first} {second}");
                for request in upstream.requests() {
                    let all = format!("{request:?}");
                    assert_eq!(
                        (all.matches(own).count(), all.matches(others).count()),
                        (3, 0),
                        "{first} {second}: {all}"
                    );
                    assert!(request.headers["x-of-the-call"] == "to both");
                }
            }
        }
    }
}

#[tokio::test]
async fn credentials_given_with_a_call_are_seen_by_one_provider_alone() {
    let names = [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "proxy-authorization",
        "x-auth-token",
        "cf-aig-authorization",
    ];
    for protocol in PROTOCOLS {
        for strategy in ["ordered", "weighted", "least-busy", "lowest-latency", "lowest-cost"] {
            let targets =
                json!([{ "provider": "a" }, { "provider": "b" }, { "provider": "a", "model": "other" }]);
            let route = json!({ "routes": { "m": { "targets": targets, "strategy": strategy } } });
            let ([a, b], client) = two("openai", protocol, route);
            for name in names {
                let own = json!({ "headers": { name: "the caller's own" } });
                for _ in 0..4 {
                    client.call(chat_of(&client, own.clone())).await.unwrap();
                }
                // Its provider fails: the call does too, after the other model there.
                breaks(&a, 500);
                let error = client.call(chat_of(&client, own.clone())).await.unwrap_err();
                assert_eq!(error.attempts.len(), 2, "{strategy} {name}");
                let ended = stream(&client, chat_of(&client, own.clone()), Mode::Objects).await.result;
                assert_eq!(ended.unwrap_err().attempts.len(), 2);
                assert_eq!((a.requests().len(), b.requests().len()), (8, 0), "{strategy} {name}");
                assert!(a.requests().iter().all(|request| request.headers[name] == "the caller's own"));
                a.reset();
                // Said to be another's, they go there.
                let there = merge(own, json!({ "provider": "b" }));
                let _ = client.call(chat_of(&client, there)).await;
                assert_eq!((a.requests().len(), b.requests().len()), (0, 1), "{strategy} {name}");
                b.reset();
            }
            breaks(&a, 500);
            client.call(chat_of(&client, json!({ "headers": { "x-trace": "t" } }))).await.unwrap();
            assert_eq!(b.requests().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_request_that_is_no_object_is_refused_without_repeating_it() {
    let site = Site::new(Way::H1);
    for body in [json!(PROMPT), json!([PROMPT]), json!({ "model": [PROMPT] }), json!({ "model": "" })] {
        let error = site.client.call(site.make(Endpoint::Chat, &body, json!({}))).await.unwrap_err();
        clean_error("a refusal", &error);
    }
    let options = site.client.call_options(None).unwrap();
    let body = format!("{{\"model\":\"m\",\"messages\":{PROMPT}");
    let error = site.client.call(Call { endpoint: Endpoint::Chat, body, options }).await.unwrap_err();
    clean_error("a refusal", &error);
    assert_eq!(site.seen(), 0);
}

#[tokio::test]
async fn a_path_cannot_lead_the_key_elsewhere_nor_split_the_request() {
    let site = Site::new(Way::H1);
    let climbing = ["/../../x", "/x/..", "/%2e%2E/x", "/./x", "/..\\x"];
    let other =
        ["https://evil.example/", "models", "@evil.example/", "", "/a b", "/a\r\nx: y", "/a\u{0}", "/a#b"];
    for path in climbing.into_iter().chain(other) {
        let call = site.make(Endpoint::Get(path.into()), &json!({}), json!({}));
        let error = site.client.call(call).await.unwrap_err();
        assert_eq!(error.name_and_code().1, "ERR_CONFIG", "{path}");
    }
    assert_eq!(site.seen(), 0);
    for path in ["//evil.example/", "/..x", "/x?y=@evil.example", "/x?y=/../z"] {
        let call = site.make(Endpoint::Get(path.into()), &json!({}), json!({}));
        assert_eq!(site.client.call(call).await.unwrap_err().name_and_code().1, "ERR_NOT_FOUND");
    }
    assert!(site.upstream.requests().iter().all(|request| request.path.starts_with("/v1/")));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let site = Site::new(Way::H1);
    let other = Site::new(Way::H1);
    let location = format!("{}/v1/chat/completions", other.upstream.url());
    site.once(json!({ "kind": "status", "status": 307, "headers": { "location": location } }));
    assert_eq!(tell(&site.chat().await), "API 307, billed no, after no");
    assert_eq!((site.seen(), other.seen()), (1, 0));
}
