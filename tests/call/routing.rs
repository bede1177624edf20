//! The table's column of the next target, row by row, over real sockets: what each upstream is asked, what is told of it, and what the
//! caller gets in the end. What the first upstream is asked by itself is in `call_table`; the order of targets, without sockets, in
//! `policy_route`.
//!
//! | what happened | the tests |
//! |---|---|
//! | DNS, connect, TLS, no slot in time | `what_was_not_sent_…` |
//! | connects that were refused to others just before | `a_target_that_has_just_…` |
//! | reset, 5xx, 408, 409, 429, cut before content | `after_its_retries_…` |
//! | silence, quota, 401, 403, 404, no answer at all, a Retry-After that is too long | `at_once_…` |
//! | context length | `only_a_target_that_takes_more_…` |
//! | content filter | `what_one_provider_will_not_have_…` |
//! | 3xx, other 4xx, 501, 505 | `the_callers_own_mistake_…` |
//! | a stream cut or stalled, seen or not | `call_recover` |
//! | total deadline, aborted | `one_deadline_…`, `an_aborted_call_…` |

use crate::routes::*;
use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::Endpoint;

/// Walks a row: the first target meets the fault for ever, and the second answers; then both meet it, and `lost` is the end, which may be
/// of the second as it is of the first.
async fn row(forms: &[Form], fault: Value, client: Value, saved: &str, lost: &str) {
    for way in WAYS {
        let site = Routed::of(way, 2, client.clone());
        for &form in forms {
            site.fault(0, fault.clone(), json!({ "times": OFTEN }));
            let failed_over = site.metric("failedOver");
            assert_eq!(form.end(&site).await, saved, "{way:?} {form:?} {fault}");
            assert_eq!(site.metric("failedOver"), failed_over + u64::from(saved.contains('>')));
            site.fault(1, fault.clone(), json!({ "times": OFTEN }));
            assert_eq!(form.end(&site).await, lost, "{way:?} {form:?} {fault}");
            site.reset();
        }
        site.quiet().await;
        for form in FORMS {
            assert_eq!(form.end(&site).await, "ok after yes; seen 1,0", "{way:?} {form:?} {fault}");
        }
    }
}

#[tokio::test]
async fn after_its_retries_a_target_is_given_up_for_the_next() {
    let maybe = |billed: &str, code: &str, error: &str| {
        let three = [billed; 3].join(",");
        (
            format!("ok after {three},yes; seen 3,1; a/m-a > b/m-b {code}"),
            format!("{error}, billed {billed}, after {three},{three}; seen 3,3; a/m-a > b/m-b {code}"),
        )
    };
    for number in [500, 503, 529] {
        let error = format!("InternalServer {number} retryable");
        let (saved, lost) = maybe("maybe", "ERR_INTERNAL_SERVER", &error);
        row(&FORMS, status(number, Value::Null), json!({}), &saved, &lost).await;
    }
    for (number, code, error) in [(408, "ERR_API", "API"), (409, "ERR_CONFLICT", "Conflict")] {
        let (saved, lost) = maybe("no", code, &format!("{error} {number} retryable"));
        row(&FORMS, status(number, Value::Null), json!({}), &saved, &lost).await;
    }
    for fault in [
        json!({ "kind": "reset", "after": "request" }),
        json!({ "kind": "reset", "after": "headers" }),
        json!({ "kind": "garbage" }),
    ] {
        let (saved, lost) = maybe("maybe", "ERR_CONNECTION", "Connection receive retryable");
        row(&FORMS, fault, json!({}), &saved, &lost).await;
    }
    // A server that says so is asked again, and one that says nothing as often as any.
    let (saved, lost) = maybe("no", "ERR_BAD_REQUEST", "BadRequest 400");
    let again = json!({ "kind": "status", "status": 400, "headers": { "x-should-retry": "true" } });
    row(&FORMS, again, json!({}), &saved, &lost).await;
    // Before its first content, a cut is nothing else.
    let (saved, lost) = maybe("maybe", "ERR_CONNECTION", "Connection receive retryable");
    for cut in [json!({ "kind": "cut", "afterTokens": 0 }), json!({ "kind": "malformed", "atEvent": 1 })] {
        row(&[Form::Stream, Form::Wire], cut, json!({}), &saved, &lost).await;
    }
}

#[tokio::test]
async fn what_was_refused_unprocessed_is_sent_again_for_free_before_the_next_target_is_asked() {
    for way in [Way::H2c, Way::H2] {
        let site = Routed::of(way, 2, json!({}));
        for form in FORMS {
            site.fault(0, json!({ "kind": "goaway", "lastStream": "refused" }), json!({ "times": OFTEN }));
            let end = "ok after no,no,no,no,no,no,yes; seen 6,1; a/m-a > b/m-b ERR_CONNECTION";
            assert_eq!(form.end(&site).await, end, "{way:?} {form:?}");
            site.reset();
        }
    }
    for way in WAYS {
        let site = Routed::of(way, 2, json!({}));
        for form in FORMS {
            site.fault(0, status(421, Value::Null), json!({ "times": OFTEN }));
            let end = "ok after no,no,yes; seen 2,1; a/m-a > b/m-b ERR_API";
            assert_eq!(form.end(&site).await, end, "{way:?} {form:?}");
            site.reset();
        }
    }
}

#[tokio::test]
async fn an_error_inside_a_good_answer_is_the_error_that_it_names() {
    for (code, end) in [
        ("model_not_found", "ok after no,yes; seen 1,1; a/m-a > b/m-b ERR_NOT_FOUND"),
        ("insufficient_quota", "ok after no,yes; seen 1,1; a/m-a > b/m-b ERR_RATE_LIMIT"),
        ("invalid_request_error", "BadRequest 400, billed no, after no; seen 1,0"),
        ("content_filter", "ContentFilter 400, billed no, after no; seen 1,0"),
        ("server_error", "ok after maybe,maybe,maybe,yes; seen 3,1; a/m-a > b/m-b ERR_INTERNAL_SERVER"),
    ] {
        for form in [Form::Chat, Form::Stream, Form::Wire] {
            let site = Routed::of(Way::H1, 2, json!({}));
            let body = json!({ "error": { "code": code, "message": "no" } });
            let fault = json!({ "kind": "error-in-stream", "afterTokens": 0, "body": body });
            site.fault(0, fault, json!({ "times": OFTEN }));
            assert_eq!(form.end(&site).await, end, "{form:?} {code}");
        }
    }
}

/// A refusal makes a key rest, and a target whose only key rests is asked last: each refusal meets a client of its own.
#[tokio::test]
async fn at_once_where_asking_again_is_no_use() {
    let once = |billed: &str, code: &str| {
        (
            format!("ok after {billed},yes; seen 1,1; a/m-a > b/m-b {code}"),
            format!("billed {billed}, after {billed},{billed}; seen 1,1; a/m-a > b/m-b {code}"),
        )
    };
    let limited = |headers: Value| json!({ "kind": "status", "status": 429, "headers": headers });
    for (fault, code, error) in [
        (coded(429, "insufficient_quota"), "ERR_RATE_LIMIT", "RateLimit 429"),
        (status(402, Value::Null), "ERR_RATE_LIMIT", "RateLimit 402"),
        (status(401, Value::Null), "ERR_AUTHENTICATION", "Authentication 401"),
        (status(403, Value::Null), "ERR_PERMISSION_DENIED", "PermissionDenied 403"),
        (coded(404, "model_not_found"), "ERR_NOT_FOUND", "NotFound 404"),
        // Above the cap of a minute, and above what is left until the deadline.
        (limited(json!({ "retry-after": "61" })), "ERR_RATE_LIMIT", "RateLimit 429 retryable"),
        (limited(json!({ "retry-after-ms": "59000" })), "ERR_RATE_LIMIT", "RateLimit 429 retryable"),
        (limited(json!({ "x-should-retry": "false" })), "ERR_RATE_LIMIT", "RateLimit 429 retryable"),
    ] {
        let (saved, lost) = once("no", code);
        for way in [Way::H1, Way::H2c] {
            for form in FORMS {
                let client = json!({ "timeouts": { "total": 50_000 } });
                let site = Routed::of(way, 2, client.clone());
                site.fault(0, fault.clone(), json!({ "times": OFTEN }));
                assert_eq!(form.end(&site).await, saved, "{way:?} {form:?} {fault}");
                let site = Routed::of(way, 2, client);
                site.fault(0, fault.clone(), json!({ "times": OFTEN }));
                site.fault(1, fault.clone(), json!({ "times": OFTEN }));
                assert_eq!(form.end(&site).await, format!("{error}, {lost}"), "{way:?} {form:?} {fault}");
            }
        }
    }
    let impatient = json!({ "timeouts": { "firstByte": 150, "idle": 150 } });
    let (saved, lost) = once("maybe", "ERR_TIMEOUT");
    let lost = format!("Timeout firstByte retryable, {lost}");
    for fault in [json!({ "kind": "silence" }), json!({ "kind": "stall", "afterTokens": 0, "for": 60_000 })] {
        for way in [Way::H1, Way::H2c] {
            let site = Routed::of(way, 2, impatient.clone());
            for form in [Form::Stream, Form::Wire] {
                site.fault(0, fault.clone(), json!({ "times": OFTEN }));
                assert_eq!(form.end(&site).await, saved, "{way:?} {form:?} {fault}");
                site.fault(1, fault.clone(), json!({ "times": OFTEN }));
                assert_eq!(form.end(&site).await, lost, "{way:?} {form:?} {fault}");
                site.reset();
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_asked_of_the_next() {
    let saved = "ok after maybe,yes; seen 1,1; a/m-a > b/m-b ERR_INVALID_RESPONSE";
    let lost =
        "InvalidResponse, billed maybe, after maybe,maybe; seen 1,1; a/m-a > b/m-b ERR_INVALID_RESPONSE";
    let raw = json!({ "raw": { "body": "{", "contentType": "application/json" } });
    for way in WAYS {
        let site = Routed::of(way, 2, json!({}));
        for form in FORMS {
            site.reply(0, json!({}), raw.clone());
            assert_eq!(form.end(&site).await, saved, "{way:?} {form:?}");
            site.reply(1, json!({}), raw.clone());
            assert_eq!(form.end(&site).await, lost, "{way:?} {form:?}");
            site.reset();
        }
    }
}

#[tokio::test]
async fn what_was_not_sent_is_sent_to_the_next() {
    let tls = start(json!({ "tls": true }));
    for (url, retries, forms, saved) in [
        ("http://127.0.0.1:1", 2, &FORMS[..], "ok after no,no,no,yes"),
        // Some resolvers take seconds to say so.
        ("http://no-such-host.invalid", 0, &[Form::Chat], "ok after no,yes"),
        // Nobody trusts it, and it will not be another one.
        (tls.url().as_str(), 2, &FORMS, "ok after no,yes"),
    ] {
        let client = json!({ "providers": { "a": { "baseURL": url } }, "retry": { "maxRetries": retries } });
        for form in forms {
            // What refuses connects is left alone for ever longer: each has a client of its own.
            let site = Routed::of(Way::H1, 2, client.clone());
            let saved = format!("{saved}; seen 0,1; a/m-a > b/m-b ERR_CONNECTION");
            assert_eq!(form.end(&site).await, saved, "{url} {form:?}");
        }
    }
}

#[tokio::test]
async fn a_target_that_has_just_taken_no_connection_is_not_waited_for_where_there_is_another() {
    let site = Routed::of(Way::H1, 2, json!({ "providers": { "a": { "baseURL": "http://127.0.0.1:1" } } }));
    // The first calls learn it the long way; each doubles the time for which nobody asks it again.
    let mut ends = Vec::new();
    while ends.last().is_none_or(|end| end != "ok after no,yes; seen 0,1; a/m-a > b/m-b ERR_CONNECTION") {
        assert!(ends.len() < 20, "{ends:?}");
        ends.push(Form::Chat.end(&site).await);
    }
    // With nowhere else to go, it is waited for.
    let alone = Form::Chat.result(&site, json!({ "provider": "a", "timeouts": { "queue": 60_000 } })).await;
    let message = alone.unwrap_err().message.clone();
    assert!(message.contains("no connection to 127.0.0.1:1") && !message.contains("moment ago"), "{message}");
}

#[tokio::test]
async fn a_call_that_finds_no_turn_or_slot_in_time_is_sent_to_the_next() {
    for way in WAYS {
        for taken in [
            json!({ "concurrency": { "max": 1 } }),
            json!({ "pool": { "maxConnectionsPerOrigin": 1, "maxStreamsPerConnection": 1 } }),
        ] {
            let a = merge(json!({ "timeouts": { "queue": 15 } }), taken.clone());
            let site = Routed::of(way, 2, json!({ "providers": { "a": a } }));
            let patient = || json!({ "timeouts": { "queue": 60_000 } });
            Form::Chat.result(&site, patient()).await.unwrap();
            site.fault(0, json!({ "kind": "silence" }), json!({}));
            let (client, call) = (site.client.clone(), site.make(Endpoint::Chat, &request(), patient()));
            let before = site.seen()[0];
            let holder = tokio::spawn(async move { client.call(call).await });
            until("the place is taken", || site.seen()[0] == before + 1).await;
            for form in FORMS {
                let end = "ok after no,yes; seen 0,1; a/m-a > b/m-b ERR_TIMEOUT";
                assert_eq!(form.end(&site).await, end, "{way:?} {form:?} {taken}");
            }
            holder.abort();
            site.quiet().await;
            assert_eq!(Form::Chat.end(&site).await, "ok after yes; seen 1,0", "{way:?} {taken}");
        }
    }
}

#[tokio::test]
async fn the_callers_own_mistake_goes_to_nobody_else() {
    for (number, error, billed) in [
        (301, "API 301", "no"),
        (400, "BadRequest 400", "no"),
        (410, "API 410", "no"),
        (413, "API 413", "no"),
        (422, "UnprocessableEntity 422", "no"),
        (501, "InternalServer 501 retryable", "maybe"),
        (505, "InternalServer 505 retryable", "maybe"),
    ] {
        let end = format!("{error}, billed {billed}, after {billed}; seen 1,0");
        row(&FORMS, status(number, Value::Null), json!({}), &end, &end).await;
    }
}

#[tokio::test]
async fn a_retry_after_within_the_cap_is_waited_for() {
    let soon = json!({ "kind": "status", "status": 429, "headers": { "retry-after-ms": "30" } });
    for way in WAYS {
        for form in FORMS {
            let site = Routed::of(way, 2, json!({}));
            site.fault(0, soon.clone(), json!({ "times": 2 }));
            assert_eq!(form.end(&site).await, "ok after no,no,yes; seen 3,0", "{way:?} {form:?}");
            let site = Routed::of(way, 2, json!({}));
            site.fault(0, soon.clone(), json!({ "times": OFTEN }));
            let end = "ok after no,no,no,yes; seen 3,1; a/m-a > b/m-b ERR_RATE_LIMIT";
            assert_eq!(form.end(&site).await, end, "{way:?} {form:?}");
        }
    }
}

#[tokio::test]
async fn other_keys_come_before_the_next_target() {
    let keys = json!({ "providers": { "a": { "apiKey": ["one", "two", "three"] } } });
    for (fault, code) in [
        (coded(429, "insufficient_quota"), "ERR_RATE_LIMIT"),
        (status(401, Value::Null), "ERR_AUTHENTICATION"),
        (status(403, Value::Null), "ERR_PERMISSION_DENIED"),
    ] {
        for form in FORMS {
            let site = Routed::of(Way::H1, 2, keys.clone());
            site.fault(0, fault.clone(), json!({ "times": 2 }));
            assert_eq!(form.end(&site).await, "ok after no,no,yes; seen 3,0", "{form:?} {fault}");
            let site = Routed::of(Way::H1, 2, keys.clone());
            site.fault(0, fault.clone(), json!({ "times": OFTEN }));
            let end = format!("ok after no,no,no,yes; seen 3,1; a/m-a > b/m-b {code}");
            assert_eq!(form.end(&site).await, end, "{form:?} {fault}");
            // All of them rest now, and the provider is asked last.
            assert_eq!(form.end(&site).await, "ok after yes; seen 0,1", "{form:?} {fault}");
        }
    }
}

#[tokio::test]
async fn only_a_target_that_takes_more_is_asked_what_was_too_long() {
    let targets = |sizes: [Option<u64>; 3]| {
        let target = |(name, size): (&str, Option<u64>)| {
            let target = json!({ "provider": name, "model": format!("m-{name}") });
            size.map_or(target.clone(), |size| merge(target, json!({ "maxInputTokens": size })))
        };
        let targets: Vec<_> = ["a", "b", "c"].into_iter().zip(sizes).map(target).collect();
        json!({ "routes": { "m": targets } })
    };
    let long = || coded(400, "context_length_exceeded");
    let lost = "ContextLength 400, billed no, after no; seen 1,0,0";
    for (sizes, end) in [
        ([Some(8_000), Some(8_000), Some(4_000)], lost),
        ([None, None, None], lost),
        (
            [Some(8_000), Some(4_000), Some(16_000)],
            "ok after no,yes; seen 1,0,1; a/m-a > c/m-c ERR_CONTEXT_LENGTH",
        ),
        ([Some(8_000), None, Some(16_000)], "ok after no,yes; seen 1,1,0; a/m-a > b/m-b ERR_CONTEXT_LENGTH"),
    ] {
        for form in [Form::Chat, Form::Stream, Form::Wire] {
            let site = Routed::of(Way::H1, 3, targets(sizes));
            site.fault(0, long(), json!({}));
            assert_eq!(form.end(&site).await, end, "{form:?} {sizes:?}");
        }
    }
    // Too long for the first is too long for whatever takes less, whoever fails in between.
    let site = Routed::of(Way::H1, 3, targets([Some(8_000), Some(16_000), Some(4_000)]));
    site.fault(0, long(), json!({}));
    site.fault(1, status(403, Value::Null), json!({}));
    let end = "PermissionDenied 403, billed no, after no,no; seen 1,1,0; a/m-a > b/m-b ERR_CONTEXT_LENGTH";
    assert_eq!(Form::Chat.end(&site).await, end);
}

#[tokio::test]
async fn what_one_provider_will_not_have_is_asked_of_others_only_where_the_route_says_so() {
    let targets = json!([{ "provider": "a", "model": "m-a" }, { "provider": "b", "model": "m-b" }]);
    for (says, end) in [
        ("fail", "ContentFilter 400, billed no, after no; seen 1,0"),
        ("next", "ok after no,yes; seen 1,1; a/m-a > b/m-b ERR_CONTENT_FILTER"),
    ] {
        let route = json!({ "targets": targets, "onContentFilter": says });
        let site = Routed::of(Way::H2c, 2, json!({ "routes": { "m": route } }));
        for form in [Form::Chat, Form::Stream, Form::Wire] {
            site.fault(0, coded(400, "content_filter"), json!({}));
            assert_eq!(form.end(&site).await, end, "{form:?} {says}");
        }
    }
}

#[tokio::test]
async fn three_targets_are_asked_in_turn_and_the_last_error_is_told() {
    for way in WAYS {
        let site = Routed::of(way, 3, json!({ "retry": { "maxRetries": 0 } }));
        site.fault(0, status(503, Value::Null), json!({ "times": OFTEN }));
        site.fault(1, status(404, Value::Null), json!({ "times": OFTEN }));
        let ways = "a/m-a > b/m-b ERR_INTERNAL_SERVER; b/m-b > c/m-c ERR_NOT_FOUND";
        for form in [Form::Chat, Form::Stream, Form::Wire, Form::Embed] {
            assert_eq!(
                form.end(&site).await,
                format!("ok after maybe,no,yes; seen 1,1,1; {ways}"),
                "{form:?}"
            );
        }
        site.fault(2, status(403, Value::Null), json!({ "times": OFTEN }));
        let error = Form::Chat.result(&site, json!({})).await.unwrap_err();
        let json: Value = serde_json::from_str(&error.to_json()).unwrap();
        assert_eq!((&json["provider"], &json["model"]), (&json!("c"), &json!("m-c")));
        assert!(
            error.message.starts_with("c answered 403 to POST /v1/chat/completions"),
            "{}",
            error.message
        );
        let of_the_first = (&json["billed"], &json["retryable"]);
        assert_eq!(of_the_first, (&json!("maybe"), &json!(true)), "it may be back soon");
        let attempts: Vec<_> =
            error.attempts.iter().map(|one| (&*one.provider, &*one.model, one.status)).collect();
        assert_eq!(attempts, [("a", "m-a", Some(503)), ("b", "m-b", Some(404)), ("c", "m-c", Some(403))]);
    }
}

#[tokio::test]
async fn who_answers_in_the_end_is_reported_and_counted() {
    for (protocols, model) in
        [(["openai", "openai"], "m-b"), (["openai", "anthropic"], "m-b"), (["openai", "gemini"], "m-b")]
    {
        let site = Routed::speaking(Way::H1, &protocols, json!({ "retry": { "maxRetries": 0 } }));
        site.reply(1, json!({}), json!({ "content": "from b", "usage": { "prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12 } }));
        site.fault(0, status(500, Value::Null), json!({ "times": OFTEN }));
        for form in [Form::Chat, Form::Stream, Form::Wire] {
            let before = site.metrics()["tokens"].clone();
            let answer = form.result(&site, json!({})).await.unwrap();
            assert_eq!(answered_by(&answer), format!("b/{model}"), "{protocols:?} {form:?}");
            assert_eq!(said(&body_of(&answer)), "from b");
            let meta = meta_of(&answer);
            assert_eq!(
                (&meta["usage"]["prompt_tokens"], &meta["usage"]["completion_tokens"]),
                (&json!(7), &json!(5))
            );
            let after = site.metrics()["tokens"].clone();
            let more = |name: &str| after[name].as_u64().unwrap() - before[name].as_u64().unwrap();
            assert_eq!((more("input"), more("output")), (7, 5), "{protocols:?} {form:?}");
            assert_eq!(meta["status"], 200);
        }
        assert!(site.bodies(0).iter().all(|body| body["model"] == "m-a"));
    }
}

#[tokio::test]
async fn one_deadline_holds_for_all_targets() {
    for way in [Way::H1, Way::H2c] {
        let site = Routed::of(way, 2, json!({ "retry": { "maxRetries": 0 }, "timeouts": { "total": 300 } }));
        for (form, fault) in [
            (Form::Chat, status(503, Value::Null)),
            (Form::Stream, json!({ "kind": "reset", "after": "request" })),
            (Form::Wire, status(503, Value::Null)),
            (Form::Embed, status(503, Value::Null)),
        ] {
            site.fault(0, fault.clone(), json!({}));
            site.fault(1, json!({ "kind": "silence" }), json!({}));
            let error = form.result(&site, json!({})).await.unwrap_err();
            assert_eq!((error.provider.as_deref(), error.attempts.len()), (Some("b"), 2), "{way:?} {form:?}");
            let end = tell(&Err(error));
            assert_eq!(end, "Timeout total retryable, billed maybe, after maybe,maybe", "{way:?} {form:?}");
            site.reset();
        }
        site.quiet().await;
    }
}

#[tokio::test]
async fn an_aborted_call_goes_to_nobody_else_and_gives_all_back() {
    for way in WAYS {
        let site = Routed::of(way, 2, json!({ "retry": { "maxRetries": 0 } }));
        site.fault(0, status(503, Value::Null), json!({ "times": OFTEN }));
        site.fault(1, json!({ "kind": "silence" }), json!({ "times": OFTEN }));
        for n in 1..=3 {
            let (client, call) = (site.client.clone(), site.make(Endpoint::Chat, &request(), json!({})));
            let running = tokio::spawn(async move { client.call(call).await });
            until("the second is asked", || site.seen()[1] == n).await;
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        }
        site.quiet().await;
        assert_eq!((site.seen(), site.metric("inFlight")), (vec![3, 3], 0), "{way:?}");
        site.reset();
        assert_eq!(Form::Chat.end(&site).await, "ok after yes; seen 1,0", "{way:?}");
    }
}
