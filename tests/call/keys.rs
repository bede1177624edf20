//! The keys of a provider: in turn, resting where they are refused or limited, given by functions, put in the place of others.

use crate::keyed::*;
use crate::support::{meta_of, tell, until};
use serde_json::{Value, json};
use trunkline::client::{Answer, Call, Endpoint};
use trunkline::error::Error;

fn attempts(answer: &Result<Answer, Error>) -> Vec<Value> {
    let attempts = match answer {
        Ok(answer) => meta_of(answer)["attempts"].take(),
        Err(error) => serde_json::from_str::<Value>(&error.to_json()).unwrap()["attempts"].take(),
    };
    // Gemini says with a 400 that a key is wrong.
    let status = |attempt: &Value| match attempt["error"].as_str() {
        Some("ERR_AUTHENTICATION") => json!(401),
        _ => attempt["status"].clone(),
    };
    attempts.as_array().unwrap().iter().map(status).collect()
}

fn limited(retry_after: Option<&str>) -> Value {
    let headers = retry_after.map_or(json!({}), |wait| json!({ "retry-after": wait }));
    json!({ "kind": "status", "status": 429, "headers": headers })
}

#[tokio::test]
async fn keys_take_turns_and_have_equal_shares() {
    for protocol in PROTOCOLS {
        let site = Keyed::new(protocol, json!(["k1", "k2", "k3"]));
        for _ in 0..6 {
            site.chat().await.unwrap();
        }
        assert_eq!(site.used(), ["k1", "k2", "k3", "k1", "k2", "k3"], "{protocol}");
        assert!(site.chats(90).await.iter().all(Result::is_ok));
        assert_eq!(["k1", "k2", "k3"].map(|key| site.uses(key)), [32; 3], "{protocol}");
    }
}

#[tokio::test]
async fn a_limited_key_rests_while_the_others_work_and_no_call_fails_or_waits() {
    for protocol in PROTOCOLS {
        // Beyond the deadline of the calls; or nothing, which means five seconds.
        for wait in [Some("300"), None] {
            let site = Keyed::new(protocol, json!(["k1", "k2", "k3"]));
            site.fault(limited(wait), json!({ "key": "k2", "times": 1 }));
            let statuses = [site.chat().await, site.chat().await, site.chat().await];
            let statuses: Vec<_> = statuses.iter().map(attempts).collect();
            assert_eq!(json!(statuses), json!([[200], [429, 200], [200]]), "{protocol} {wait:?}");
            let met = site.uses("k2");
            assert!(site.chats(60).await.iter().all(|answer| attempts(answer) == [200]), "{protocol}");
            assert_eq!((met, site.uses("k2")), (1, 1), "{protocol} {wait:?}");
            assert_eq!(site.uses("k1") + site.uses("k3"), 63);
        }
    }
}

#[tokio::test]
async fn many_calls_that_meet_a_limited_key_at_once_all_go_on_with_others() {
    for protocol in PROTOCOLS {
        let site = Keyed::new(protocol, json!(["k1", "k2", "k3", "k4"]));
        for key in ["k1", "k3", "k4"] {
            site.fault(limited(Some("300")), json!({ "key": key, "times": 1000 }));
        }
        assert!(site.chats(100).await.iter().all(Result::is_ok), "{protocol}");
        assert_eq!(site.uses("k2"), 100);
        let before = site.used().len();
        assert!(site.chats(20).await.iter().all(Result::is_ok));
        assert_eq!(site.used().len(), before + 20, "those that rest are not tried");
    }
}

#[tokio::test]
async fn another_key_comes_before_any_retry_and_counts_as_none() {
    for protocol in PROTOCOLS {
        let keys: Vec<_> = (1..=6).map(|key| format!("k{key}")).collect();
        // A back-off would outlast the call.
        let retry = json!({ "retry": { "maxRetries": 1, "baseDelay": 60_000, "maxDelay": 60_000 } });
        let site = Keyed::with(protocol, json!(keys), json!({}), retry);
        for key in &keys[..5] {
            site.fault(limited(None), json!({ "key": key }));
        }
        let answer = site.chat().await;
        assert_eq!(json!(attempts(&answer)), json!([429, 429, 429, 429, 429, 200]), "{protocol}");
    }
}

#[tokio::test]
async fn where_all_are_limited_the_first_to_wake_is_waited_for() {
    for protocol in PROTOCOLS {
        let site = Keyed::with(
            protocol,
            json!(["k1", "k2", "k3"]),
            json!({}),
            json!({ "retry": { "maxRetries": 1 } }),
        );
        for (key, wait) in [("k1", "300"), ("k2", "0.05"), ("k3", "300")] {
            let headers = json!({ "retry-after-ms": wait.parse::<f64>().unwrap() * 1000.0 });
            let headers = json!({ "retry-after-ms": headers["retry-after-ms"].to_string() });
            let fault = json!({ "kind": "status", "status": 429, "headers": headers });
            site.fault(fault, json!({ "key": key }));
        }
        let answer = site.chat().await;
        assert_eq!(json!(attempts(&answer)), json!([429, 429, 429, 200]), "{protocol}");
        assert_eq!(site.used(), ["k1", "k2", "k3", "k2"]);
    }
}

#[tokio::test]
async fn a_revoked_key_rests() {
    for protocol in PROTOCOLS {
        let known = json!({ "keys": { "k1": {}, "k2": { "revoked": true }, "k3": {} } });
        let site = Keyed::with(protocol, json!(["k1", "k2", "k3"]), known, json!({}));
        for _ in 0..12 {
            site.chat().await.unwrap();
        }
        assert_eq!(["k1", "k2", "k3"].map(|key| site.uses(key)), [6, 1, 6], "{protocol}");

        let site = Keyed::new(protocol, json!(["k1", "k2"]));
        site.fault(json!({ "kind": "status", "status": 403 }), json!({ "key": "k1" }));
        assert_eq!(json!(attempts(&site.chat().await)), json!([403, 200]), "{protocol}");
        assert!(site.chats(10).await.iter().all(Result::is_ok));
        assert_eq!(site.uses("k1"), 1);
    }
}

/// What a provider says when the credit of a key is gone.
fn no_credit(protocol: &str) -> Vec<Value> {
    let body = |status: u16, body: Value| json!({ "kind": "status", "status": status, "body": body });
    match protocol {
        "openai" => vec![
            body(
                429,
                json!({ "error": { "message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota" } }),
            ),
            json!({ "kind": "status", "status": 402 }),
            body(
                402,
                json!({ "error": { "message": "Insufficient Balance", "code": "invalid_request_error" } }),
            ),
        ],
        "anthropic" => vec![
            body(
                400,
                json!({ "type": "error", "error": { "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits." } }),
            ),
            json!({ "kind": "status", "status": 402 }),
        ],
        _ => vec![body(
            429,
            json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED",
            "message": "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing." } }),
        )],
    }
}

#[tokio::test]
async fn a_key_without_credit_rests_longest() {
    for protocol in PROTOCOLS {
        for fault in no_credit(protocol) {
            let site = Keyed::new(protocol, json!(["poor", "revoked", "limited"]));
            site.fault(fault.clone(), json!({ "key": "poor" }));
            site.fault(json!({ "kind": "status", "status": 403 }), json!({ "key": "revoked" }));
            site.fault(limited(None), json!({ "key": "limited" }));
            assert_eq!(attempts(&site.chat().await).len(), 3, "{protocol} {fault}");
            // All rest: the one that wakes first is used all the same.
            site.chat().await.unwrap();
            assert_eq!(site.used()[3], "limited", "{protocol} {fault}");

            let site = Keyed::new(protocol, json!(["poor", "revoked"]));
            site.fault(fault.clone(), json!({ "key": "poor" }));
            site.fault(json!({ "kind": "status", "status": 403 }), json!({ "key": "revoked" }));
            assert_eq!(attempts(&site.chat().await).len(), 2);
            site.chat().await.unwrap();
            assert_eq!(site.used()[2], "revoked", "{protocol} {fault}");
        }
    }
}

#[tokio::test]
async fn where_all_are_refused_the_error_is_the_last_ones_with_the_attempts_of_all() {
    for protocol in PROTOCOLS {
        let site = Keyed::new(protocol, json!(["k1", "k2", "k3"]));
        for (key, status) in [("k1", 401), ("k2", 429), ("k3", 403)] {
            site.fault(json!({ "kind": "status", "status": status }), json!({ "key": key }));
        }
        let ended = site.chat().await;
        assert_eq!(tell(&ended), "PermissionDenied 403, billed no, after no,no,no", "{protocol}");
        assert_eq!(json!(attempts(&ended)), json!([401, 429, 403]), "{protocol}");
        site.chat().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_not_to_be_repeated_goes_on_with_another_key_only_where_it_was_not_processed() {
    let site = Keyed::new("openai", json!(["k1", "k2"]));
    let post = async || {
        let options = site.client.call_options(None).unwrap();
        let endpoint = Endpoint::Post("/chat/completions".into());
        let body = crate::support::request().to_string();
        site.client.call(Call { endpoint, body, options }).await
    };
    site.fault(json!({ "kind": "status", "status": 401 }), json!({ "key": "k1" }));
    assert_eq!(json!(attempts(&post().await)), json!([401, 200]));
}

#[tokio::test]
async fn each_key_has_limits_of_its_own() {
    for protocol in ["openai", "anthropic"] {
        let slow = json!({ "rateLimit": { "requestsPerSecond": 0.01, "burst": 3 } });
        let keys = json!({ "keys": { "k1": slow, "k2": { "rateLimit": { "requestsPerSecond": 100_000 } }, "k3": {} } });
        let site = Keyed::with(protocol, json!(["k1", "k2", "k3"]), keys, json!({}));
        // Of the first key three may go within minutes. Nobody waits for it, nor meets its limit.
        for _ in 0..24 {
            assert_eq!(json!(attempts(&site.chat().await)), json!([200]), "{protocol}");
        }
        let limits = &site.metrics()["limits"];
        let rows: Vec<_> = limits.as_object().unwrap().keys().cloned().collect();
        assert_eq!(rows, ["p", "p/m", "p/m (key 2)"], "{protocol}");
        // What is left of the first is not lost to the others.
        assert!((1..=3).contains(&site.uses("k1")), "{protocol}: {:?}", site.used());
        assert!(limits["p/m"]["requestsRemaining"].as_u64().unwrap() < 3, "{protocol}: {limits}");
        assert_ne!(limits["p/m (key 2)"]["requestsRemaining"], 0, "{protocol}: {limits}");
        assert_eq!(limits["p"]["throttled"], limits["p/m"]["throttled"]);
        assert_eq!(limits["p/m (key 2)"]["throttled"], 0);
    }
}

#[tokio::test]
async fn a_limited_key_does_not_lower_an_adaptive_limit_for_long_nor_open_a_circuit() {
    let more = json!({ "concurrency": { "max": "adaptive" }, "circuitBreaker": { "failureThreshold": 1 } });
    let site = Keyed::with("openai", json!(["k1", "k2"]), json!({}), more);
    site.fault(limited(Some("300")), json!({ "key": "k1", "times": 1000 }));
    assert!(site.chats(50).await.iter().all(Result::is_ok));
    let metrics = site.metrics();
    assert!(metrics["circuits"].as_object().unwrap().values().all(|circuit| circuit["state"] == "closed"));
    assert_eq!(metrics["requests"]["succeeded"], 50);
}

#[tokio::test]
async fn a_function_is_asked_again_after_a_401_once_and_shared_by_all_who_wait() {
    for protocol in PROTOCOLS {
        let known = json!({ "keys": { "new": {} } });
        let give = |_, before: usize| Ok(["old", "new"][before].to_owned());
        let site = Keyed::giving(protocol, function(0), known, json!({}), Box::new(give));
        let ends = site.chats(30).await;
        assert!(ends.iter().all(|end| json!(attempts(end)) == json!([401, 200])), "{protocol}");
        assert_eq!((site.asked(), site.uses("old"), site.uses("new")), (2, 30, 30), "{protocol}");
        site.chat().await.unwrap();
        assert_eq!(site.asked(), 2);
    }
}

#[tokio::test]
async fn a_function_whose_new_key_is_refused_too_is_not_asked_a_third_time() {
    for protocol in PROTOCOLS {
        for keys in [function(0), json!([function(0)])] {
            let give = |_, before| Ok(format!("k{before}"));
            let site = Keyed::giving(protocol, keys, json!({ "keys": {} }), json!({}), Box::new(give));
            let ended = site.chat().await;
            assert_eq!(tell(&ended), "Authentication 401, billed no, after no,no", "{protocol}");
            assert_eq!((site.asked(), site.used()), (2, vec!["k0".to_owned(), "k1".to_owned()]));
        }
    }
}

#[tokio::test]
async fn a_function_among_several_keys_is_asked_again_while_the_others_work() {
    for protocol in PROTOCOLS {
        let known = json!({ "keys": { "new": {}, "fixed": {} } });
        let give = |_, before: usize| Ok(["old", "new"][before].to_owned());
        let site = Keyed::giving(protocol, json!([function(0), "fixed"]), known, json!({}), Box::new(give));
        let ends = site.chats(20).await;
        assert!(ends.iter().all(Result::is_ok), "{protocol}");
        // What is new does not rest, though what it replaces was to rest for a minute.
        while site.uses("new") < 3 {
            assert_eq!(json!(attempts(&site.chat().await)), json!([200]), "{protocol}");
        }
        assert_eq!(site.asked(), 2, "{protocol}");
        assert!(site.uses("fixed") >= 3);
    }
}

#[tokio::test]
async fn where_every_other_key_is_refused_a_functions_new_one_is_waited_for() {
    for protocol in PROTOCOLS {
        let known = json!({ "keys": { "new": {} } });
        let give = |_, before: usize| Ok(["old", "new"][before].to_owned());
        let keys = json!([function(0), "revoked-1", "revoked-2"]);
        let site = Keyed::giving(protocol, keys, known, json!({}), Box::new(give));
        let ended = site.chat().await;
        assert_eq!(json!(attempts(&ended)), json!([401, 401, 401, 200]), "{protocol}");
        assert_eq!(
            (site.used(), site.asked()),
            (["old", "revoked-1", "revoked-2", "new"].map(str::to_owned).into(), 2)
        );
    }
}

#[tokio::test]
async fn a_function_that_repeats_its_refused_key_does_not_wake_it() {
    for protocol in PROTOCOLS {
        let known = json!({ "keys": { "fixed": {} } });
        let give = |_, _| Ok("old".to_owned());
        let site = Keyed::giving(protocol, json!([function(0), "fixed"]), known, json!({}), Box::new(give));
        for _ in 0..10 {
            site.chat().await.unwrap();
        }
        assert_eq!((site.uses("old"), site.uses("fixed"), site.asked()), (1, 10, 2), "{protocol}");
    }
}

#[tokio::test]
async fn a_function_that_fails_leaves_the_other_keys() {
    for protocol in PROTOCOLS {
        let give =
            |number, _| if number == 0 { Err("the vault is sealed".into()) } else { Ok("given".into()) };
        let keys = json!([function(0), "fixed", function(1)]);
        let site = Keyed::giving(protocol, keys, json!({}), json!({}), Box::new(give));
        assert!(site.chats(30).await.iter().all(Result::is_ok), "{protocol}");
        assert_eq!(site.uses("fixed") + site.uses("given"), 30);
        // Not by each call.
        assert_eq!(site.asked(), 2, "{protocol}");

        let give = |_, _| Err("the vault is sealed".into());
        let keys = json!([function(0), function(1)]);
        let site = Keyed::giving(protocol, keys, json!({}), json!({}), Box::new(give));
        let error = site.chat().await.unwrap_err();
        assert_eq!(error.message, "apiKey: the function gave no key");
        assert_eq!(error.cause.as_deref(), Some("the vault is sealed"));
    }
}

#[tokio::test]
async fn after_a_rotation_new_calls_have_the_new_key_and_running_ones_the_old_and_no_connection_goes() {
    for protocol in PROTOCOLS {
        let site = Keyed::with(protocol, json!("old"), json!({}), json!({ "retry": { "maxRetries": 1 } }));
        site.chat().await.unwrap();
        // It fails with the old key, and is repeated with it after the rotation.
        let again = json!({ "kind": "status", "status": 503, "headers": { "retry-after": "1" } });
        site.fault(again, json!({}));
        let running = site.client.call(Call {
            endpoint: Endpoint::Chat,
            body: crate::support::with(json!({ "max_tokens": 9 })).to_string(),
            options: site.client.call_options(None).unwrap(),
        });
        let running = tokio::spawn(running);
        until("the first attempt", || site.used().len() == 2).await;
        site.client.rotate_key("p", json!(["new-1", "new-2"])).unwrap();
        site.chat().await.unwrap();
        site.chat().await.unwrap();
        assert_eq!(json!(attempts(&running.await.unwrap())), json!([503, 200]), "{protocol}");
        assert_eq!(site.used(), ["old", "old", "new-1", "new-2", "old"], "{protocol}");
        let connections = site.upstream.connections();
        assert_eq!((connections.opened, connections.closed), (1, 0), "{protocol}");
    }
}

#[tokio::test]
async fn a_function_that_was_asked_before_a_rotation_is_heard_after_it() {
    for protocol in PROTOCOLS {
        let give = |_, _| Err(LATER.to_owned());
        let site = Keyed::giving(protocol, function(7), json!({}), json!({}), Box::new(give));
        let (client, options) = (site.client.clone(), site.client.call_options(None).unwrap());
        let body = crate::support::with(json!({ "max_tokens": 9 })).to_string();
        let waiting = tokio::spawn(client.call(Call { endpoint: Endpoint::Chat, body, options }));
        until("the question", || site.asked() == 1).await;
        for keys in [json!("new"), function(8)] {
            site.client.rotate_key("p", keys).unwrap();
        }
        site.client.set_key(7, Ok("old"));
        waiting.await.unwrap().unwrap();
        assert_eq!(site.used(), ["old"], "{protocol}");
        // Nobody waits for it any more.
        site.client.set_key(7, Ok("old"));
        site.client.set_key(99, Ok("of nobody's"));
    }
}

#[tokio::test]
async fn a_provider_without_a_key_may_be_given_one_and_functions_take_the_place_of_keys() {
    for protocol in PROTOCOLS {
        let give = |number, _| Ok(format!("given-{number}"));
        let site = Keyed::giving(protocol, Value::Null, json!({}), json!({}), Box::new(give));
        let first = site.chat().await;
        // Only OpenAI's protocol is spoken without one.
        assert_eq!(first.is_ok(), protocol == "openai");
        assert_eq!(site.used(), [""]);
        for (keys, then) in [
            (json!("one"), "one"),
            (function(0), "given-0"),
            (function(1), "given-1"),
            (json!(["two"]), "two"),
        ] {
            site.client.rotate_key("p", keys).unwrap();
            site.chat().await.unwrap();
            assert_eq!(site.used().last().unwrap(), then, "{protocol}");
        }
        assert_eq!(site.asked(), 2);
    }
}

#[tokio::test]
async fn what_is_no_key_is_refused_with_its_place_and_the_old_ones_stay() {
    let site = Keyed::new("openai", json!(["k1", "k2"]));
    let many: Vec<_> = (0..65).map(|n| format!("k{n}")).collect();
    for (keys, message) in [
        (json!(5), "key: must be a string or a function, or an array of them, got a number (5)"),
        (Value::Null, "key: must be a string or a function, or an array of them, got null"),
        (json!({ "key": "k" }), "key: must be a string or a function, or an array of them, got an object"),
        (json!(""), "key: must not be empty"),
        (json!(" \t"), "key: must not be empty"),
        (json!("a\nb"), "key: must be visible ASCII without line breaks"),
        (json!("ключ"), "key: must be visible ASCII without line breaks"),
        (json!([]), "key: must not be empty"),
        (json!(["k", ""]), "key[1]: must not be empty"),
        (json!(["k", "k", ["k"]]), "key[2]: must be a string or a function, got an array"),
        (json!(["k", "a\u{7f}"]), "key[1]: must be visible ASCII without line breaks"),
        (json!(many), "key: must hold at most 64 keys, got 65"),
    ] {
        let error = site.client.rotate_key("p", keys).unwrap_err();
        assert_eq!((error.name_and_code().1, &*error.message), ("ERR_CONFIG", message));
    }
    let error = site.client.rotate_key("sk-in-the-wrong-place", json!("k")).unwrap_err();
    assert_eq!(error.message, "provider: is no provider; there are p");
    site.chat().await.unwrap();
    site.chat().await.unwrap();
    assert_eq!(site.used(), ["k1", "k2"]);
}

#[tokio::test]
async fn of_a_thousand_calls_across_rotations_none_fails() {
    for protocol in PROTOCOLS {
        let give = |_, _| Ok("given".to_owned());
        let site = Keyed::giving(protocol, json!("k0"), json!({}), json!({}), Box::new(give));
        let mut failed = 0;
        for round in 0..20 {
            let keys = match round % 3 {
                0 => json!(format!("k{round}")),
                1 => json!([format!("a{round}"), format!("b{round}")]),
                _ => json!([function(round), "beside"]),
            };
            let running = site.chats(50);
            let rotated = async {
                tokio::task::yield_now().await;
                site.client.rotate_key("p", keys).unwrap();
            };
            let (ends, ()) = tokio::join!(running, rotated);
            failed += ends.iter().filter(|end| attempts(end) != [200]).count();
        }
        assert_eq!((failed, site.used().len()), (0, 1000), "{protocol}");
        assert_eq!(site.upstream.connections().closed, 0);
    }
}
