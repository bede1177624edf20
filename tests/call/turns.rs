//! Turns: who may be under way, and that none is ever lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trunkline::client::{Endpoint, Mode};

fn waiting(site: &Site) -> u64 {
    let metrics = serde_json::to_value(site.client.metrics()).unwrap();
    metrics["queue"]["depth"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

/// Holds every turn there is: so many calls get one, and the next waits.
async fn has_turns(site: &Arc<Site>, turns: usize) {
    // What was sent before its caller left may still arrive.
    let mut before = site.seen();
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if std::mem::replace(&mut before, site.seen()) == before {
            break;
        }
    }
    site.fault(json!({ "kind": "silence", "for": 60_000 }), json!({ "times": turns }));
    let mut calls = JoinSet::new();
    for _ in 0..=turns {
        let site = site.clone();
        calls.spawn(async move { site.chat().await });
    }
    until("one waits", || waiting(site) == 1).await;
    until("the others are served", || site.seen() == before + turns).await;
    calls.shutdown().await;
    until("nobody waits", || waiting(site) == 0).await;
    site.upstream.reset();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_leave_at_any_moment_take_no_turn_with_them() {
    const TURNS: usize = 3;
    for way in [Way::H1, Way::H2c] {
        let options =
            json!({ "concurrency": { "max": TURNS }, "rateLimit": { "requestsPerSecond": 20_000 } });
        let site = Arc::new(Site::with(way, json!({}), options));
        has_turns(&site, TURNS).await;
        let mut calls = JoinSet::new();
        for _ in 0..6000 {
            while calls.len() >= 50 {
                calls.join_next().await.unwrap().unwrap();
            }
            let site = site.clone();
            let patience = Duration::from_micros(fastrand::u64(0..4000));
            let priority = fastrand::choice(["critical", "interactive", "batch", "background"]).unwrap();
            calls.spawn(async move {
                let _ = tokio::time::timeout(patience, site.chat_with(json!({ "priority": priority }))).await;
            });
        }
        while calls.join_next().await.is_some() {}
        until("nobody waits", || waiting(&site) == 0).await;
        has_turns(&site, TURNS).await;
        assert_eq!(tell(&site.chat().await), "ok after yes");
    }
}

#[tokio::test]
async fn a_retry_after_holds_its_model_up_and_no_other() {
    for status in [429, 529] {
        let site = Site::with(Way::H1, json!({}), json!({ "retry": false }));
        site.once(json!({ "kind": "status", "status": status, "headers": { "retry-after-ms": "300" } }));
        assert!(site.chat().await.is_err());
        let started = Instant::now();
        let other = site.make(Endpoint::Chat, &with(json!({ "model": "other" })), json!({}));
        assert_eq!(tell(&site.client.call(other).await), "ok after yes");
        let free = site.upstream.requests().last().unwrap().at;
        assert_eq!(tell(&site.chat().await), "ok after yes");
        assert!(started.elapsed() >= Duration::from_millis(200), "{status} {:?}", started.elapsed());
        let requests = site.upstream.requests();
        assert!(requests[1].at <= free && requests[2].at - requests[0].at >= 298.0, "{status}");
    }
}

#[tokio::test]
async fn what_is_learned_of_one_model_holds_no_other_up() {
    for way in [Way::H1, Way::H2c] {
        let site = Site::with(way, json!({}), json!({ "retry": false }));
        site.says(json!({ "content": "x", "headers": {
            "x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60s",
        } }));
        let ask = |model: &str| {
            let options = json!({ "timeouts": { "queue": 500 } });
            site.client.call(site.make(Endpoint::Chat, &with(json!({ "model": model })), options))
        };
        for model in ["a", "b", "c"] {
            assert_eq!(tell(&ask(model).await), "ok after yes", "{way:?} {model}");
        }
        for model in ["a", "b", "c"] {
            let end = tell(&ask(model).await);
            assert_eq!(end, "Timeout queue retryable, billed no, after no", "{way:?} {model}");
        }
    }
}

#[tokio::test]
async fn a_retry_after_that_nobody_waits_for_holds_nobody_up() {
    let site = Site::with(Way::H1, json!({}), json!({ "retry": { "maxRetryAfter": 1000 } }));
    site.once(json!({ "kind": "status", "status": 429, "headers": { "retry-after": "31536000" } }));
    assert!(site.chat().await.is_err());
    assert_eq!(tell(&site.chat().await), "ok after yes");
}

/// Refused as one that has no credit, which more patience does not bring.
fn broke() -> Value {
    let body = json!({ "error": { "code": "insufficient_quota" } });
    json!({ "kind": "status", "status": 429, "headers": { "retry-after-ms": "30000" }, "body": body })
}

#[tokio::test]
async fn a_refusal_for_want_of_credit_holds_nobody_up() {
    let site = Site::with(Way::H1, json!({}), json!({ "retry": false, "timeouts": { "queue": 5000 } }));
    site.once(broke());
    assert!(site.chat().await.is_err());
    assert_eq!(tell(&site.chat().await), "ok after yes");
}

#[tokio::test]
async fn adaptive_concurrency_is_cut_by_refusals_as_too_much_and_not_for_want_of_credit() {
    let options = json!({ "retry": false, "concurrency": { "max": "adaptive" } });
    let site = Arc::new(Site::with(Way::H1, json!({}), options));
    site.fault(broke(), json!({ "times": 5 }));
    for _ in 0..5 {
        assert!(site.chat().await.is_err());
    }
    has_turns(&site, 20).await;
    site.once(json!({ "kind": "status", "status": 429 }));
    assert!(site.chat().await.is_err());
    has_turns(&site, 14).await;
}

#[tokio::test]
async fn a_stream_that_is_the_probe_closes_the_circuit_with_its_first_content_and_counts_when_it_breaks() {
    let breaker = json!({ "failureThreshold": 1, "recoveryTimeout": 20 });
    let site = Site::with(Way::H1, json!({}), json!({ "retry": false, "circuitBreaker": breaker }));
    let site = Arc::new(site);
    let state = |site: &Site| site.metrics()["circuits"]["default/m"]["state"].clone();
    site.once(json!({ "kind": "status", "status": 500 }));
    assert!(site.chat().await.is_err());
    until("a probe may go", || state(&site) == "half-open").await;

    site.once(json!({ "kind": "stall", "afterTokens": 1, "for": 60_000 }));
    let mut long = JoinSet::new();
    let probe = site.clone();
    long.spawn(async move { probe.stream(Mode::Text).await });
    until("the probe has shown that the target answers", || state(&site) == "closed").await;
    assert_eq!(tell(&site.chat().await), "ok after yes");
    assert!(long.try_join_next().is_none(), "the stream has not ended");
    long.shutdown().await;
    assert_eq!(state(&site), "closed");

    site.once(json!({ "kind": "cut", "afterTokens": 1 }));
    assert!(site.stream(Mode::Text).await.result.is_err());
    assert_ne!(state(&site), "closed");
}

#[tokio::test]
async fn the_figures_say_what_is_left_of_learned_and_set_limits_and_how_often_there_was_too_little() {
    let upstream = json!({ "rateLimit": { "requestsPerSecond": 0.1, "burst": 10 } });
    let options =
        json!({ "retry": false, "rateLimit": { "reservoir": { "amount": 100, "interval": 3_600_000 } } });
    let site = Site::with(Way::H1, upstream, options);
    let began =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let nothing =
        json!({ "requestsRemaining": 100, "tokensRemaining": null, "resetAt": null, "throttled": 0 });
    assert_eq!(site.metrics()["limits"], json!({ "default": nothing }));
    for _ in 0..3 {
        assert_eq!(tell(&site.chat().await), "ok after yes");
    }
    let limits = site.metrics()["limits"].clone();
    let (all, model) = (&limits["default"], &limits["default/m"]);
    assert_eq!((&all["requestsRemaining"], &model["requestsRemaining"]), (&json!(97), &json!(7)));
    assert_eq!((&all["tokensRemaining"], &model["tokensRemaining"]), (&json!(null), &json!(null)));
    // Three calls of one in ten seconds are there again in half a minute, and the stock in an hour.
    let reset = |row: &Value| row["resetAt"].as_u64().unwrap() - began;
    assert!((20_000..120_000).contains(&reset(model)), "{limits}");
    assert!((3_500_000..3_700_000).contains(&reset(all)), "{limits}");

    site.once(json!({ "kind": "status", "status": 429, "headers": { "retry-after": "50" } }));
    assert!(site.chat().await.is_err());
    site.once(json!({ "kind": "status", "status": 529 }));
    let other = site.make(Endpoint::Chat, &with(json!({ "model": "other" })), json!({}));
    assert!(site.client.call(other).await.is_err());
    let limits = site.metrics()["limits"].clone();
    assert_eq!(
        (&limits["default/m"]["requestsRemaining"], &limits["default/m"]["throttled"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        (&limits["default/other"]["throttled"], &limits["default"]["throttled"]),
        (&json!(1), &json!(2))
    );
}

/// All that there is to send on stalls, comes free at the same time, and finds many that had their turns long before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_waited_for_a_connection_leave_at_the_rate_and_not_all_at_once() {
    const PLACES: usize = 20;
    const CALLS: usize = 150;
    let (rate, burst) = (50.0, 5.0);
    for (way, pool) in [
        (Way::H1, json!({ "maxConnections": PLACES })),
        (Way::H2c, json!({ "maxConnections": 2, "maxStreamsPerConnection": PLACES / 2 })),
    ] {
        let options = json!({ "rateLimit": { "requestsPerSecond": rate, "burst": burst }, "pool": pool, "retry": false });
        let site = Arc::new(Site::with(way, json!({}), options));
        site.fault(json!({ "kind": "silence", "for": 2000 }), json!({ "times": PLACES }));
        let mut calls = JoinSet::new();
        for n in 0..CALLS {
            let call = site.make(Endpoint::Chat, &with(json!({ "user": n.to_string() })), json!({}));
            calls.spawn(site.client.call(call));
        }
        while let Some(end) = calls.join_next().await {
            end.unwrap().unwrap();
        }
        let seen: Vec<_> = site.upstream.requests().iter().map(|request| request.at).collect();
        assert_eq!(seen.len(), CALLS);
        // On a busy machine what left in half a second may arrive together. All that had their turns when places came free are twice as many.
        for (first, from) in seen.iter().enumerate() {
            for (last, to) in seen.iter().enumerate().skip(first) {
                let most = burst + rate * ((to - from) / 1000.0 + 0.5);
                let count = last - first + 1;
                assert!(count as f64 <= most, "{way:?}: {count} in {} ms, where {most} may", to - from);
            }
        }
    }
}

/// Whoever waits longest for the one connection got its turn long before others behind it, who have not gone either.
#[tokio::test]
async fn where_connections_are_fewer_than_turns_the_oldest_call_still_goes_first() {
    for (way, pool) in [
        (Way::H1, json!({ "maxConnections": 1 })),
        (Way::H2c, json!({ "maxConnections": 1, "maxStreamsPerConnection": 1 })),
    ] {
        let options = json!({ "rateLimit": { "requestsPerSecond": 200, "burst": 1 }, "pool": pool });
        let site = Site::with(way, json!({ "latency": 20 }), options);
        let mut calls = JoinSet::new();
        for n in 0..40 {
            let call = site.make(Endpoint::Chat, &with(json!({ "user": n.to_string() })), json!({}));
            calls.spawn(site.client.call(call));
        }
        while let Some(end) = calls.join_next().await {
            end.unwrap().unwrap();
        }
        let seen = site.upstream.requests().into_iter().map(|request| request.body["user"].clone());
        assert!(seen.eq((0..40).map(|n| json!(n.to_string()))), "{way:?}");
    }
}

#[tokio::test]
async fn a_tenant_has_so_many_calls_at_once_and_those_that_wait_hold_no_other_up() {
    let options = json!({ "tenants": { "maxConcurrent": 2 }, "concurrency": { "max": 3 } });
    for way in [Way::H1, Way::H2c] {
        let site = Arc::new(Site::with(way, json!({}), options.clone()));
        site.fault(json!({ "kind": "silence", "for": 60_000 }), json!({ "times": 2 }));
        let mut calls = JoinSet::new();
        let call = |calls: &mut JoinSet<String>, tenant: &str, priority: &str| {
            let (site, options) = (site.clone(), json!({ "tenant": tenant, "priority": priority }));
            calls.spawn(async move { tell(&site.chat_with(options).await) });
        };
        call(&mut calls, "x", "background");
        call(&mut calls, "x", "background");
        until("both are served", || site.seen() == 2).await;
        let mut later = JoinSet::new();
        for priority in ["critical", "interactive"] {
            call(&mut later, "x", priority);
        }
        until("the others wait", || waiting(&site) == 2).await;
        // One turn of the provider's is left, which none of those waits with.
        for options in [json!({ "tenant": "y" }), json!({})] {
            assert_eq!(tell(&site.chat_with(options).await), "ok after yes", "{way:?}");
        }
        assert_eq!((site.seen(), waiting(&site)), (4, 2));
        // Whoever leaves gives its turn back.
        calls.shutdown().await;
        for ended in later.join_all().await {
            assert_eq!(ended, "ok after yes", "{way:?}");
        }
        assert_eq!(waiting(&site), 0);
    }
}
