//! When a call is tried again at the server's word, and with which key.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::Mode;

fn limited(headers: Value) -> Value {
    json!({ "kind": "status", "status": 429, "headers": headers })
}

/// How long two requests lay apart.
fn gap(site: &Site) -> Duration {
    let requests = site.upstream.requests();
    let [.., first, second] = &requests[..] else { unreachable!() };
    Duration::from_secs_f64((second.at - first.at) / 1000.0)
}

#[tokio::test]
async fn retry_after_is_waited_for_in_seconds_milliseconds_and_as_a_date() {
    for way in WAYS {
        let site = Site::new(way);
        for (headers, ms) in [
            (json!({ "retry-after": "0.2" }), 200),
            (json!({ "retry-after-ms": "150" }), 150),
            (json!({ "retry-after-ms": "100", "retry-after": "3600" }), 100),
            (json!({ "retry-after-ms": "nonsense", "retry-after": "0.2" }), 200),
        ] {
            site.once(limited(headers.clone()));
            assert_eq!(tell(&site.chat().await), "ok after no,yes", "{way:?} {headers}");
            // The upstream's stamps are whole milliseconds.
            assert!(gap(&site) >= Duration::from_millis(ms - 2), "{headers} {:?}", gap(&site));
        }
    }
    let site = Site::new(Way::H1);
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    site.once(limited(json!({ "retry-after": date })));
    assert_eq!(tell(&site.stream(Mode::Text).await.result), "ok after no,yes");
    assert!(
        gap(&site) >= Duration::from_millis(500),
        "a date has no parts of a second, and a busy machine has lost some"
    );
}

#[tokio::test]
async fn nonsense_in_retry_after_is_a_back_off_and_a_time_that_has_passed_is_now() {
    let site = Site::new(Way::H1);
    let past = "Tue, 14 Nov 2023 22:13:10 GMT";
    let nonsense = ["soon", "-5", "-0.5", "NaN", "inf", "1e400", "", "Tue, 99 Nov 2023 22:13:10 GMT"];
    for said in nonsense.into_iter().chain([past, "0"]) {
        for name in ["retry-after", "retry-after-ms"] {
            site.once(limited(json!({ name: said })));
            let result = site.chat().await;
            assert_eq!(tell(&result), "ok after no,yes", "{name} {said}");
        }
    }
    // A back-off that would be too late says which of them are one.
    let never = json!({ "retry": { "baseDelay": 2_000_000_000, "maxDelay": 2_000_000_000 }, "timeouts": { "total": 20_000 } });
    let site = Site::with(Way::H1, json!({}), never);
    for said in nonsense {
        site.once(limited(json!({ "retry-after": said })));
        assert_eq!(tell(&site.chat().await), "RateLimit 429 retryable, billed no, after no", "{said}");
    }
    for said in [past, "0"] {
        site.once(limited(json!({ "retry-after": said })));
        assert_eq!(tell(&site.chat().await), "ok after no,yes", "{said}");
    }
}

/// Of two that contradict each other the finer one counts, unless it is nonsense; and a date by the clock of whoever said it.
#[tokio::test]
async fn headers_that_contradict_each_other_or_our_clock_are_a_sensible_wait() {
    let date = "Sat, 01 Jan 2000 00:00:00 GMT";
    for way in WAYS {
        let site = Site::with(way, json!({}), json!({ "retry": { "maxRetryAfter": 5000 } }));
        for (headers, ms) in [
            (json!({ "retry-after-ms": "60", "retry-after": "31536000" }), 60),
            (json!({ "retry-after-ms": "1e300", "retry-after": "0.06" }), 60),
            (json!({ "retry-after-ms": "-1", "retry-after": "0.06" }), 60),
            (json!({ "date": date, "retry-after": "Sat, 01 Jan 2000 00:00:01 GMT" }), 1000),
        ] {
            site.once(limited(headers.clone()));
            assert_eq!(tell(&site.chat().await), "ok after no,yes", "{way:?} {headers}");
            assert!(gap(&site) >= Duration::from_millis(ms - 2), "{way:?} {headers} {:?}", gap(&site));
        }
    }
}

#[tokio::test]
async fn a_year_of_retry_after_is_told_and_waited_for_by_nobody() {
    for way in WAYS {
        let site = Site::new(way);
        for said in ["31536000", "1e15", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            site.once(limited(json!({ "retry-after": said })));
            let result = site.chat().await;
            assert_eq!(tell(&result), "RateLimit 429 retryable, billed no, after no", "{way:?} {said}");
            let told: Value = serde_json::from_str(&result.unwrap_err().to_json()).unwrap();
            assert!(told["retryAfter"].as_u64().unwrap() >= 31_536_000_000, "{way:?} {told}");
            // Whoever comes next does not pay for it.
            assert_eq!(tell(&site.chat().await), "ok after yes", "{way:?} {said}");
        }
        assert_eq!(site.metrics()["queue"]["turns"]["count"], 0, "{way:?}");
    }
}

/// Limits that no provider can mean. A call that believed one would wait longer than it is let here.
#[tokio::test]
async fn limits_that_contradict_themselves_make_nobody_wait_long() {
    let openai = |limit: &str, remaining: &str, reset: &str| {
        json!({
            "x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": remaining,
            "x-ratelimit-reset-requests": reset,
        })
    };
    let anthropic = |limit: &str, remaining: &str, reset: &str| {
        json!({
            "anthropic-ratelimit-requests-limit": limit, "anthropic-ratelimit-requests-remaining": remaining,
            "anthropic-ratelimit-requests-reset": reset,
        })
    };
    for headers in [
        openai("0", "0", "1s"),
        openai("-5", "-5", "1s"),
        openai("NaN", "inf", "1s"),
        openai("10", "1000000", "1s"),
        openai("10", "0", "31536000"),
        openai("10", "0", "-1s"),
        openai("10", "0", "never"),
        openai("10", "0", "0s"),
        anthropic("10", "0", "1970-01-01T00:00:00Z"),
        anthropic("10", "0", "9999-12-31T23:59:59Z"),
        anthropic("10", "0", "2026-02-30T00:00:00Z"),
        // Two that speak of the same, and do not agree.
        merge(openai("1000", "1000", "0s"), anthropic("10", "0", "9999-12-31T23:59:59Z")),
        merge(openai("1000", "999", "1ms"), json!({ "retry-after": "31536000" })),
    ] {
        let site = Site::with(Way::H1, json!({}), json!({ "timeouts": { "queue": 3000 } }));
        site.says(json!({ "content": "x", "headers": headers.clone() }));
        for n in 0..5 {
            assert_eq!(tell(&site.chat().await), "ok after yes", "{n} {headers}");
        }
        // Nor where they come with a refusal.
        site.once(merge(limited(headers.clone()), json!({ "headers": { "retry-after": "soon" } })));
        assert_eq!(tell(&site.chat().await), "ok after no,yes", "{headers}");
    }
}

#[tokio::test]
async fn a_retry_after_beyond_the_cap_is_told_and_not_waited_for() {
    for way in WAYS {
        let site = Site::with(way, json!({}), json!({ "retry": { "maxRetryAfter": 1000 } }));
        for headers in [json!({ "retry-after": "2" }), json!({ "retry-after-ms": "2000" })] {
            site.once(limited(headers));
            let before = site.seen();
            let result = site.chat().await;
            assert_eq!(tell(&result), "RateLimit 429 retryable, billed no, after no", "{way:?}");
            assert_eq!(site.seen(), before + 1);
            let json: Value = serde_json::from_str(&result.unwrap_err().to_json()).unwrap();
            assert_eq!(json["retryAfter"], 2000);
        }
    }
}

#[tokio::test]
async fn x_should_retry_wins() {
    let answer = |status: u16, word: &str, code: &str| json!({ "kind": "status", "status": status, "headers": { "x-should-retry": word }, "body": { "error": { "code": code } } });
    for way in WAYS {
        let site = Site::new(way);
        for (fault, end) in [
            (answer(500, "false", ""), "InternalServer 500 retryable, billed maybe, after maybe"),
            (answer(429, "false", ""), "RateLimit 429 retryable, billed no, after no"),
            (answer(400, "true", ""), "ok after no,yes"),
            (answer(429, "true", "insufficient_quota"), "ok after no,yes"),
            (answer(404, "perhaps", ""), "NotFound 404, billed no, after no"),
        ] {
            site.once(fault.clone());
            assert_eq!(tell(&site.chat().await), end, "{way:?} {fault}");
        }
        // But what is not safe to repeat stays so.
        site.once(answer(500, "true", ""));
        assert_eq!(
            tell(&site.post(json!({})).await),
            "InternalServer 500 retryable, billed maybe, after maybe"
        );
    }
}

#[tokio::test]
async fn the_callers_own_settings_of_retries_hold() {
    let site = Site::new(Way::H1);
    let lasting = json!({ "kind": "status", "status": 500 });
    for (options, seen) in [
        (json!({ "retry": false }), 1),
        (json!({ "retry": { "maxRetries": 0 } }), 1),
        (json!({ "retry": { "maxRetries": 4, "strategy": "immediate" } }), 5),
        (json!({ "retry": { "statuses": [503] } }), 1),
    ] {
        site.fault(lasting.clone(), json!({ "times": 20 }));
        site.chat_with(options.clone()).await.unwrap_err();
        assert_eq!(site.seen(), seen, "{options}");
        site.upstream.reset();
    }
    site.once(json!({ "kind": "status", "status": 404 }));
    site.chat_with(json!({ "retry": { "statuses": [404] } })).await.unwrap();
}

/// A client whose key is a function, which is answered with `key-1`, `key-2` and so on.
fn asking(way: Way, options: Value) -> (Site, tokio::task::JoinHandle<()>) {
    let site = Site::with(way, json!({}), merge(json!({ "apiKey": { "\u{0}kind": "a function" } }), options));
    let (client, asked) = (site.client.clone(), site.asked.clone());
    let answering = tokio::spawn(async move {
        for number in 1.. {
            until("the key is asked for", || asked.load(Ordering::SeqCst) >= number).await;
            client.set_key(0, Ok(&format!("key-{number}")));
        }
    });
    (site, answering)
}

fn keys(site: &Site) -> Vec<String> {
    let requests = site.upstream.requests();
    requests.iter().map(|request| request.headers["authorization"].replace("Bearer ", "")).collect()
}

#[tokio::test]
async fn a_key_is_asked_for_once_however_many_calls_wait_for_it() {
    for way in WAYS {
        let (site, answering) = asking(way, json!({}));
        let calls: tokio::task::JoinSet<_> = (0..50)
            .map(|_| {
                let (client, call) = (
                    site.client.clone(),
                    site.make(trunkline::client::Endpoint::Chat, &request(), json!({})),
                );
                async move { client.call(call).await.unwrap() }
            })
            .collect();
        calls.join_all().await;
        assert_eq!(site.asked.load(Ordering::SeqCst), 1, "{way:?}");
        assert!(keys(&site).iter().all(|key| key == "key-1"));
        answering.abort();
    }
}

#[tokio::test]
async fn a_refused_key_is_asked_for_again_once() {
    for way in WAYS {
        let (site, answering) = asking(way, json!({ "retry": false }));
        site.once(json!({ "kind": "status", "status": 401 }));
        assert_eq!(tell(&site.post(json!({})).await), "ok after no,yes", "{way:?}");
        assert_eq!(keys(&site), ["key-1", "key-2"]);
        site.fault(json!({ "kind": "status", "status": 401 }), json!({ "times": 2 }));
        assert_eq!(tell(&site.chat().await), "Authentication 401, billed no, after no,no");
        assert_eq!(keys(&site)[2..], ["key-2", "key-3"]);
        answering.abort();
    }
}

#[tokio::test]
async fn many_calls_with_a_refused_key_ask_for_one_new_one() {
    let (site, answering) = asking(Way::H2c, json!({}));
    site.chat().await.unwrap();
    site.fault(json!({ "kind": "status", "status": 401 }), json!({ "times": 20 }));
    let calls: tokio::task::JoinSet<_> = (0..20)
        .map(|_| {
            let (client, call) =
                (site.client.clone(), site.make(trunkline::client::Endpoint::Chat, &request(), json!({})));
            async move { client.call(call).await.is_ok() }
        })
        .collect();
    let went_well = calls.join_all().await;
    let asked = site.asked.load(Ordering::SeqCst);
    // A call that began after the new key was there and met a refusal as well asks for a third.
    assert!((2..=3).contains(&asked), "{asked}");
    assert!(went_well.iter().filter(|well| **well).count() >= 10);
    answering.abort();
}

#[tokio::test]
async fn a_function_that_gives_no_key_fails_the_call_before_anything_is_sent() {
    let site = Site::with(Way::H1, json!({}), json!({ "apiKey": { "\u{0}kind": "a function" } }));
    for (answer, cause) in
        [(Err("the vault is sealed"), "the vault is sealed"), (Ok(" "), "must not be empty")]
    {
        let (client, call) =
            (site.client.clone(), site.make(trunkline::client::Endpoint::Chat, &request(), json!({})));
        let before = site.asked.load(Ordering::SeqCst);
        let running = tokio::spawn(async move { client.call(call).await });
        until("the key is asked for", || site.asked.load(Ordering::SeqCst) > before).await;
        site.client.set_key(0, answer);
        let error = running.await.unwrap().unwrap_err();
        assert_eq!(tell(&Err(error.clone())), "Config, billed no, after ");
        assert_eq!(error.cause.as_deref(), Some(cause));
    }
    assert_eq!(site.seen(), 0);
    assert_eq!(site.metrics()["requests"]["failed"], 2);
}

#[tokio::test]
async fn a_key_among_the_callers_headers_is_the_callers_will() {
    for way in WAYS {
        let site = Site::new(way);
        site.chat_with(json!({ "headers": { "Authorization": "Bearer mine" } })).await.unwrap();
        site.chat().await.unwrap();
        assert_eq!(keys(&site), ["mine", KEY], "{way:?}");
    }
}

#[tokio::test]
async fn back_offs_are_spread_below_their_bound() {
    let site = Site::with(
        Way::H1,
        json!({}),
        json!({ "retry": { "baseDelay": 40, "maxDelay": 40, "maxRetries": 8 } }),
    );
    site.fault(json!({ "kind": "status", "status": 500 }), json!({ "times": 8 }));
    let started = Instant::now();
    site.chat().await.unwrap();
    // Eight even draws from 0 to 40 ms: less than 20 ms together in one of some 10⁷ runs.
    assert!(started.elapsed() >= Duration::from_millis(20));
    assert_eq!(site.seen(), 9);
}

/// The server says what it has processed, and the rest is sent again elsewhere: no retry is needed for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goaway_in_the_middle_of_many_calls_disturbs_none_though_there_are_no_retries() {
    for way in [Way::H2c, Way::H2] {
        for round in 0..20 {
            let site = Arc::new(Site::with(way, json!({}), json!({ "retry": false })));
            site.once(json!({ "kind": "goaway" }));
            let calls: Vec<_> = (0..200)
                .map(|_| {
                    let site = site.clone();
                    tokio::spawn(async move { tell(&site.chat().await) })
                })
                .collect();
            for call in calls {
                let end = call.await.unwrap();
                assert!(end.starts_with("ok"), "{way:?} {round}: {end}");
            }
        }
    }
}
