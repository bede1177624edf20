//! Turns: who may be under way, and that none is ever lost.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/client.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::*;
use tokio::task::JoinSet;
use trunkline::client::Endpoint;

fn waiting(site: &Site) -> u64 {
    let metrics = serde_json::to_value(site.client.metrics()).unwrap();
    metrics["queue"]["depth"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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
