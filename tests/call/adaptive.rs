//! `concurrency.max: 'adaptive'` over the real client: where it begins, what makes it smaller, and that it grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What it begins with.
const INITIAL: usize = 20;

fn site(way: Way, upstream: Value) -> Arc<Site> {
    let options = json!({ "concurrency": { "max": "adaptive" }, "retry": false });
    Arc::new(Site::with(way, upstream, options))
}

/// So many calls are under way when many more want to be.
async fn limit(site: &Arc<Site>) -> usize {
    const MANY: usize = 80;
    let before = site.seen();
    site.fault(json!({ "kind": "silence", "for": 60_000 }), json!({ "times": MANY }));
    let mut calls = JoinSet::new();
    for _ in 0..MANY {
        let site = site.clone();
        calls.spawn(async move { site.chat().await });
    }
    let is_settled = || {
        let now = site.metrics();
        let sum = |depth: &Value| depth.as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
        let for_a_connection = now["pool"]["origins"][0]["waiting"].as_u64().unwrap_or(0);
        let for_a_turn = sum(&now["queue"]["depth"]) - for_a_connection;
        for_a_connection == 0 && site.seen() - before + for_a_turn as usize == MANY
    };
    until("each is under way or waits for its turn", is_settled).await;
    let limit = site.seen() - before;
    calls.shutdown().await;
    site.upstream.reset();
    site.quiet().await;
    limit
}

#[tokio::test]
async fn it_begins_at_twenty_and_a_refusal_makes_it_smaller() {
    for way in [Way::H1, Way::H2c] {
        for status in [429, 529] {
            let site = site(way, json!({}));
            assert_eq!(limit(&site).await, INITIAL, "{way:?}");
            assert_eq!(limit(&site).await, INITIAL, "what was cancelled says nothing");
            for status in [200, 400, 500] {
                let fault = json!({ "kind": "status", "status": status, "body": { "choices": [] } });
                site.once(fault);
                let _ = site.chat().await;
            }
            assert_eq!(limit(&site).await, INITIAL, "nor is a mistake or a failure a refusal");
            site.once(json!({ "kind": "status", "status": status }));
            site.chat().await.unwrap_err();
            assert_eq!(limit(&site).await, INITIAL * 7 / 10, "{way:?} {status}");
        }
    }
}

#[tokio::test]
async fn it_grows_while_latency_holds_and_it_is_in_use() {
    let site = site(Way::H2c, json!({ "latency": 10 }));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..60 {
        let (site, is_over) = (site.clone(), is_over.clone());
        callers.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                site.chat().await.unwrap();
            }
        });
    }
    let streams = || site.metrics()["pool"]["streams"]["active"].as_u64().unwrap() as usize;
    until("more are under way than it began with", || streams() > INITIAL + 5).await;
    is_over.store(true, Ordering::Relaxed);
    callers.join_all().await;
}
