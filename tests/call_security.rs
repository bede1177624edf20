//! Keys, prompts and answers appear in no error, log or figure.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/client.rs"]
mod support;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use trunkline::client::{Call, Endpoint, Mode};
use trunkline::error::Error;

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
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
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
