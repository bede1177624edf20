//! The table of outcomes, row by row, over real sockets: what the caller gets in the end, how often the upstream was asked, and
//! what each attempt may have cost. The table itself is `row` in `src/policy/judge.rs`, whose tests walk it without sockets. What a
//! row says in more words than a verdict has tests of its own:
//!
//! | what happened | the tests |
//! |---|---|
//! | DNS, connect refused, proxy; connect timeout | here, `pool_proxy`; `call_timeouts` |
//! | TLS | here, `pool_tls` |
//! | no slot before the queue timeout; a full queue | here, `call_timeouts` |
//! | refused unprocessed; nothing written | here, `pool_h2_goaway`, `pool_h2_quota` |
//! | a socket that closes before the answer, reused or fresh | here |
//! | silence | here, `call_timeouts` |
//! | 408, 409, 5xx | here |
//! | 429 and Retry-After; `x-should-retry` | here, `call_retry` |
//! | credit that is gone | here |
//! | 401 | here, `call_retry`; `__test__/keys` |
//! | 403, 404, 421, context length, content filter, 3xx, other 4xx, 501, 505 | here |
//! | an error inside a 200, before content or after; a refusal | `call_answers`, `call_stream` |
//! | an event that does not parse, an end without `[DONE]`, a clean end without finish reason | `call_stream` |
//! | a stream cut or stalled, before content or after, seen or unseen | here, `call_stream`, `call_timeouts` |
//! | the caller does not read | `call_timeouts`, `call_outlet` |
//! | body over the limit, bad JSON, wrong type, bad encoding | here, `call_answers`, `call_limits` |
//! | aborted | `call_cancel`; `__test__/abort` |
//! | total deadline | here, `call_timeouts` |
//! | circuit open; budget of retries spent | here, `call_circuits` |

use crate::support::*;
use serde_json::{Value, json};
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
    for number in [500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 529] {
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
        (401, Value::Null, "Authentication"),
        (403, Value::Null, "PermissionDenied"),
        (404, error("model_not_found"), "NotFound"),
        (422, Value::Null, "UnprocessableEntity"),
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
async fn credit_that_is_gone_is_never_waited_for() {
    let error = |error: Value| json!({ "error": error });
    for (number, body) in [
        (429, error(json!({ "code": "insufficient_quota" }))),
        (429, error(json!({ "type": "insufficient_quota", "code": null }))),
        (402, Value::Null),
        (402, error(json!({ "code": "insufficient_balance" }))),
        (400, error(json!({ "code": "insufficient_quota" }))),
        // In words alone, as Anthropic says it.
        (400, error(json!({ "message": "Your credit balance is too low to access the API." }))),
    ] {
        let end = format!("RateLimit {number}, billed no, after no; 1 seen");
        let fault = merge(status(number, body), json!({ "headers": { "retry-after-ms": "1" } }));
        row(&WAYS, fault, &end, &end, &end).await;
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

/// Retries that come after a delay come too late here, whatever the jitter draws; what is tried at once is not.
#[tokio::test]
async fn what_is_tried_at_once_and_what_after_a_delay() {
    const DELAY: u64 = 2_000_000_000;
    const UNSEEN: &str = "Connection receive retryable, billed maybe, after maybe; 1 seen";
    let reset = json!({ "kind": "reset", "after": "request" });
    for (way, warm, fault, end) in [
        // A reused socket may have been closed long ago, and says nothing about the server.
        (Way::H1, true, reset.clone(), "ok after maybe,yes; 2 seen"),
        (Way::H1, false, reset, UNSEEN),
        (Way::H2c, true, json!({ "kind": "goaway", "lastStream": "refused" }), "ok after no,yes; 2 seen"),
        (Way::H1, true, status(421, Value::Null), "ok after no,yes; 2 seen"),
        (
            Way::H1,
            true,
            status(500, Value::Null),
            "InternalServer 500 retryable, billed maybe, after maybe; 1 seen",
        ),
        (Way::H1, true, status(429, Value::Null), "RateLimit 429 retryable, billed no, after no; 1 seen"),
        (Way::H1, true, json!({ "kind": "cut", "afterTokens": 0 }), UNSEEN),
        (Way::H2c, true, json!({ "kind": "cut", "afterTokens": 3 }), UNSEEN),
    ] {
        let slow =
            json!({ "retry": { "baseDelay": DELAY, "maxDelay": DELAY }, "timeouts": { "total": 20_000 } });
        let site = Site::with(way, json!({}), slow);
        if warm {
            site.works().await;
        }
        let retried = site.metrics()["requests"]["retried"].as_u64().unwrap();
        site.once(fault.clone());
        assert_eq!(Form::Chat.end(&site).await, end, "{way:?} {warm} {fault}");
        let again = u64::from(end.starts_with("ok"));
        assert_eq!(site.metrics()["requests"]["retried"], retried + again, "{way:?} {fault}");
    }
    // And of what is tried at once only that which was not processed needs no retry.
    for (fault, end) in [
        (json!({ "kind": "reset", "after": "request" }), UNSEEN),
        (json!({ "kind": "goaway", "lastStream": "refused" }), "ok after no,yes; 2 seen"),
    ] {
        let way = if end == UNSEEN { Way::H1 } else { Way::H2c };
        let site = Site::with(way, json!({}), json!({ "retry": { "maxRetries": 0 } }));
        site.works().await;
        site.once(fault.clone());
        assert_eq!(Form::Chat.end(&site).await, end, "{fault}");
    }
}

#[tokio::test]
async fn no_turn_socket_or_stream_before_the_queue_timeout_is_not_tried_again() {
    for way in WAYS {
        for taken in [
            json!({ "concurrency": { "max": 1 } }),
            json!({ "pool": { "maxConnections": 1, "maxStreamsPerConnection": 1 } }),
        ] {
            let options = merge(json!({ "timeouts": { "queue": 15 } }), taken.clone());
            let site = Site::with(way, json!({}), options);
            let patient = || json!({ "timeouts": { "queue": 60_000 } });
            site.chat_with(patient()).await.unwrap();
            site.once(json!({ "kind": "silence" }));
            let (client, call) = (site.client.clone(), site.make(Endpoint::Chat, &request(), patient()));
            let before = site.seen();
            let holder = tokio::spawn(async move { client.call(call).await });
            until("the place is taken", || site.seen() == before + 1).await;
            for form in FORMS {
                let end = "Timeout queue retryable, billed no, after no; 0 seen";
                assert_eq!(form.end(&site).await, end, "{way:?} {form:?} {taken}");
            }
            holder.abort();
            site.quiet().await;
            site.chat_with(patient()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_open_circuit_is_told_at_once_and_nothing_is_sent() {
    for way in WAYS {
        let breaker = json!({ "circuitBreaker": { "failureThreshold": 3, "recoveryTimeout": 60_000 } });
        let site = Site::with(way, json!({}), breaker);
        site.fault(status(500, Value::Null), json!({ "times": OFTEN }));
        // Retries fail as well: those of each model are three in a row.
        assert!(site.chat().await.is_err() && site.embed(json!("a")).await.is_err());
        for form in FORMS {
            let end = "CircuitOpen retryable, billed no, after no; 0 seen";
            assert_eq!(form.end(&site).await, end, "{way:?} {form:?}");
        }
    }
}

#[tokio::test]
async fn where_the_budget_is_spent_nothing_is_tried_again_but_what_was_not_processed() {
    let broke = json!({ "retry": { "budget": { "ratio": 0, "minPerSecond": 0 } } });
    for way in WAYS {
        let site = Site::with(way, json!({}), broke.clone());
        for (fault, end) in [
            (status(500, Value::Null), "InternalServer 500 retryable, billed maybe, after maybe; 1 seen"),
            (status(429, Value::Null), "RateLimit 429 retryable, billed no, after no; 1 seen"),
            (status(421, Value::Null), "ok after no,yes; 2 seen"),
        ] {
            for form in FORMS {
                site.once(fault.clone());
                assert_eq!(form.end(&site).await, end, "{way:?} {form:?} {fault}");
            }
        }
    }
    for form in FORMS {
        let site = Site::with(Way::H2c, json!({}), broke.clone());
        site.fault(json!({ "kind": "goaway", "lastStream": "refused" }), json!({ "times": 3 }));
        assert_eq!(form.end(&site).await, "ok after no,no,no,yes; 4 seen", "{form:?}");
    }
}

#[tokio::test]
async fn silence_is_not_asked_again_and_neither_is_an_answer_that_is_none() {
    for way in WAYS {
        let site = Site::with(way, json!({}), json!({ "timeouts": { "firstByte": 150, "idle": 150 } }));
        let stall = |tokens: u32| json!({ "kind": "stall", "afterTokens": tokens, "for": 60_000 });
        let interrupted = "StreamInterrupted retryable, billed maybe, after maybe";
        for (mode, fault, end) in [
            (
                Mode::Objects,
                json!({ "kind": "silence" }),
                "Timeout firstByte retryable, billed maybe, after maybe",
            ),
            (Mode::Objects, stall(0), "Timeout firstByte retryable, billed maybe, after maybe"),
            (Mode::Whole, stall(0), "Timeout firstByte retryable, billed maybe, after maybe"),
            (Mode::Whole, stall(3), interrupted),
            (Mode::Objects, stall(3), interrupted),
        ] {
            let before = site.seen();
            site.once(fault.clone());
            assert_eq!(tell(&site.stream(mode).await.result), end, "{way:?} {mode:?} {fault}");
            assert_eq!(site.seen(), before + 1, "{way:?} {mode:?} {fault}");
        }
        let invalid = "InvalidResponse, billed maybe, after maybe; 1 seen";
        for headers in [json!({ "content-encoding": "br" }), json!({})] {
            let raw =
                json!({ "raw": { "body": "{", "contentType": "application/json" }, "headers": headers });
            site.says(raw.clone());
            for form in [Form::Chat, Form::Stream, Form::Post] {
                assert_eq!(form.end(&site).await, invalid, "{way:?} {form:?} {raw}");
            }
            site.upstream.reset();
        }
    }
}

#[tokio::test]
async fn the_total_deadline_is_final_for_every_form() {
    for way in WAYS {
        let site = Site::with(way, json!({}), json!({ "timeouts": { "total": 100 } }));
        site.chat_with(json!({ "timeouts": { "total": 60_000 } })).await.unwrap();
        for form in FORMS {
            site.fault(json!({ "kind": "silence" }), json!({ "times": OFTEN }));
            let end = form.end(&site).await;
            assert!(
                end.starts_with("Timeout total retryable, billed maybe, after maybe; "),
                "{way:?} {form:?} {end}"
            );
            site.upstream.reset();
        }
    }
}
