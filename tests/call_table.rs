//! The table of outcomes, row by row, over real sockets: what the caller gets in the end, how often the upstream was asked, and
//! what each attempt may have cost.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/client.rs"]
mod support;

use serde_json::{Value, json};
use support::*;
use trunkline::client::{Endpoint, Mode};

/// More often than any call tries.
const OFTEN: u32 = 20;

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Chat,
    Stream,
    Embed,
    /// Not safe to repeat.
    Post,
    /// Safe to repeat by its key.
    PostWithKey,
    /// As `Post`, its answer as events.
    Events,
}

const FORMS: [Form; 6] = [Form::Chat, Form::Stream, Form::Embed, Form::Post, Form::PostWithKey, Form::Events];

impl Form {
    fn is_safe(self) -> bool {
        !matches!(self, Self::Post | Self::Events)
    }

    /// The end, and how often the upstream was asked.
    async fn end(self, site: &Site) -> String {
        let before = site.seen();
        let result = match self {
            Self::Chat => site.chat().await,
            Self::Stream => site.stream(Mode::Objects).await.result,
            Self::Embed => site.embed(json!("a")).await,
            Self::Post => site.post(json!({})).await,
            Self::PostWithKey => site.post(json!({ "idempotencyKey": "k" })).await,
            Self::Events => {
                let body = with(json!({ "stream": true }));
                let call = site.make(Endpoint::Post("/chat/completions".into()), &body, json!({}));
                stream(&site.client, call, Mode::Lines).await.result
            }
        };
        format!("{}; {} seen", tell(&result), site.seen() - before)
    }
}

/// Walks a row: `once` is the end where the fault is met once, `always` where it does not go away, and `unsafe_` that of a call
/// which is not safe to repeat.
async fn row(ways: &[Way], fault: Value, once: &str, always: &str, unsafe_: &str) {
    for &way in ways {
        let site = Site::new(way);
        for form in FORMS {
            for (times, safe) in [(1, once), (OFTEN, always)] {
                site.fault(fault.clone(), json!({ "times": times }));
                let expected = if form.is_safe() { safe } else { unsafe_ };
                assert_eq!(form.end(&site).await, expected, "{way:?} {form:?} {times} {fault}");
                site.upstream.reset();
            }
        }
        site.quiet().await;
        site.works().await;
    }
}

fn status(status: u16, body: Value) -> Value {
    match body {
        Value::Null => json!({ "kind": "status", "status": status }),
        body => json!({ "kind": "status", "status": status, "body": body }),
    }
}

#[tokio::test]
async fn what_the_server_failed_at_is_tried_again() {
    for number in [500, 502, 503, 504, 520, 522, 524, 526, 529] {
        row(
            &WAYS,
            status(number, Value::Null),
            "ok after maybe,yes; 2 seen",
            &format!("InternalServer {number} retryable, billed maybe, after maybe,maybe,maybe; 3 seen"),
            &format!("InternalServer {number} retryable, billed maybe, after maybe; 1 seen"),
        )
        .await;
    }
    for (number, name) in [(408, "API"), (409, "Conflict"), (429, "RateLimit")] {
        row(
            &WAYS,
            status(number, Value::Null),
            "ok after no,yes; 2 seen",
            &format!("{name} {number} retryable, billed no, after no,no,no; 3 seen"),
            &format!("{name} {number} retryable, billed no, after no; 1 seen"),
        )
        .await;
    }
}

#[tokio::test]
async fn what_the_caller_got_wrong_is_never_tried_again() {
    let error = |code: &str| json!({ "error": { "code": code, "message": "no" } });
    for (number, body, name) in [
        (400, Value::Null, "BadRequest"),
        (400, error("context_length_exceeded"), "ContextLength"),
        (413, error("context_length_exceeded"), "ContextLength"),
        (400, error("content_filter"), "ContentFilter"),
        (
            400,
            json!({ "error": { "message": "Your credit balance is too low to access the API." } }),
            "RateLimit",
        ),
        (401, Value::Null, "Authentication"),
        (402, Value::Null, "RateLimit"),
        (403, Value::Null, "PermissionDenied"),
        (404, error("model_not_found"), "NotFound"),
        (422, Value::Null, "UnprocessableEntity"),
        (429, error("insufficient_quota"), "RateLimit"),
        (301, Value::Null, "API"),
        (410, Value::Null, "API"),
        (418, json!("<html>"), "API"),
    ] {
        let end = format!("{name} {number}, billed no, after no; 1 seen");
        row(&WAYS, status(number, body), &end, &end, &end).await;
    }
    for number in [501, 505] {
        let end = format!("InternalServer {number} retryable, billed maybe, after maybe; 1 seen");
        row(&WAYS, status(number, Value::Null), &end, &end, &end).await;
    }
}

#[tokio::test]
async fn a_misdirected_request_is_sent_once_more_on_another_connection() {
    for way in WAYS {
        let site = Site::new(way);
        site.works().await;
        site.once(status(421, Value::Null));
        assert_eq!(Form::Post.end(&site).await, "ok after no,yes; 2 seen", "{way:?}");
        let connections: Vec<_> = site.upstream.requests().iter().map(|request| request.connection).collect();
        let [.., first, second] = connections[..] else { unreachable!() };
        assert_ne!(first, second, "{way:?}");
        for form in FORMS {
            site.fault(status(421, Value::Null), json!({ "times": OFTEN }));
            assert_eq!(form.end(&site).await, "API 421, billed no, after no,no; 2 seen", "{way:?} {form:?}");
            site.upstream.reset();
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_tried_again() {
    for fault in [
        json!({ "kind": "reset", "after": "request" }),
        json!({ "kind": "reset", "after": "headers" }),
        json!({ "kind": "garbage" }),
    ] {
        row(
            &WAYS,
            fault,
            "ok after maybe,yes; 2 seen",
            "Connection receive retryable, billed maybe, after maybe,maybe,maybe; 3 seen",
            "Connection receive retryable, billed maybe, after maybe; 1 seen",
        )
        .await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_request_is_tried_again_whatever_the_call() {
    for way in WAYS {
        for form in FORMS {
            let site = Site::new(way);
            site.once(json!({ "kind": "reset", "after": "accept" }));
            let end = form.end(&site).await;
            // Whether the reset is seen before the request is written is the kernel's to say.
            let unsure = "Connection receive retryable, billed maybe, after maybe; 0 seen";
            let ends = [
                "ok after no,yes; 1 seen",
                if form.is_safe() { "ok after maybe,yes; 1 seen" } else { unsure },
            ];
            assert!(ends.contains(&end.as_str()), "{way:?} {form:?} {end}");
        }
    }
}

#[tokio::test]
async fn what_was_refused_unprocessed_is_sent_again_for_free_and_then_as_a_retry() {
    let always = "Connection receive retryable, billed no, after no,no,no,no,no,no; 6 seen";
    for way in [Way::H2c, Way::H2] {
        for form in FORMS {
            let site = Site::with(way, json!({}), json!({ "retry": { "maxRetries": 0 } }));
            site.fault(json!({ "kind": "goaway", "lastStream": "refused" }), json!({ "times": 3 }));
            assert_eq!(form.end(&site).await, "ok after no,no,no,yes; 4 seen", "{way:?} {form:?}");
            let site = Site::new(way);
            site.fault(json!({ "kind": "goaway", "lastStream": "refused" }), json!({ "times": OFTEN }));
            assert_eq!(form.end(&site).await, always, "{way:?} {form:?}");
        }
    }
}

#[tokio::test]
async fn a_goaway_or_a_close_after_the_answer_is_never_seen() {
    for way in WAYS {
        let site = Site::new(way);
        for fault in [json!({ "kind": "goaway", "lastStream": "processed" }), json!({ "kind": "close-idle" })]
        {
            site.fault(fault.clone(), json!({ "times": 100 }));
            for form in FORMS {
                for _ in 0..5 {
                    let end = form.end(&site).await;
                    // A call that is not safe to repeat may meet a socket in the moment of its close, written to but unread.
                    let unlucky = !form.is_safe() && end.contains("receive") && end.contains("after maybe");
                    assert!(end.starts_with("ok after") || unlucky, "{way:?} {form:?} {fault} {end}");
                }
            }
            site.upstream.reset();
        }
    }
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_after_a_delay() {
    for url in ["http://127.0.0.1:1", "https://127.0.0.1:1"] {
        let tasks = trunkline::pool::Tasks::new(tokio::runtime::Handle::current());
        let client = client_of(url, json!({}), &tasks);
        for endpoint in [Endpoint::Chat, Endpoint::Post("/x".into())] {
            let options = client.call_options(None).unwrap();
            let body = request().to_string();
            let result = client.call(trunkline::client::Call { endpoint, body, options }).await;
            assert_eq!(tell(&result), "Connection connect retryable, billed no, after no,no,no", "{url}");
        }
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_and_a_certificate_that_is_not_trusted_say_so() {
    let tasks = trunkline::pool::Tasks::new(tokio::runtime::Handle::current());
    let chat = async |url: &str| {
        let client = client_of(url, json!({}), &tasks);
        let options = client.call_options(None).unwrap();
        let call = trunkline::client::Call { endpoint: Endpoint::Chat, body: request().to_string(), options };
        tell(&client.call(call).await)
    };
    let unknown = chat("http://no-such-host.invalid").await;
    assert_eq!(unknown, "Connection dns retryable, billed no, after no,no,no");
    let upstream = start(json!({ "tls": true }));
    assert_eq!(chat(&upstream.url()).await, "Connection tls, billed no, after no");
}

#[tokio::test]
async fn a_full_queue_is_said_at_once() {
    let options = json!({ "pool": { "maxConnections": 1 }, "concurrency": { "maxQueue": 0 } });
    let site = Site::with(Way::H1, json!({}), options);
    // Its connection has to be made, but nobody is in its way.
    site.chat().await.unwrap();
    site.once(json!({ "kind": "silence" }));
    let (client, call) = (site.client.clone(), site.make(Endpoint::Chat, &request(), json!({})));
    let holder = tokio::spawn(async move { client.call(call).await });
    until("the place is taken", || site.seen() == 2).await;
    assert_eq!(tell(&site.chat().await), "QueueFull retryable, billed no, after no");
    holder.abort();
}
