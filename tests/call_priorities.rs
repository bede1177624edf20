//! Priorities over the real client: of those who wait for a turn the more urgent go first, and nobody waits for ever. Everything
//! here is about order, as the upstream saw it, and not about time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/client.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::*;
use tokio::task::JoinSet;
use trunkline::client::Endpoint;

/// A call that the upstream tells from others by its name.
async fn call(site: &Site, name: &str, priority: &str) {
    let call = site.make(
        Endpoint::Chat,
        &with(json!({ "user": name, "max_tokens": 400 })),
        json!({ "priority": priority }),
    );
    assert_eq!(tell(&site.client.call(call).await), "ok after yes", "{name}");
}

fn waiting(site: &Site) -> u64 {
    let depth = &site.metrics()["queue"]["depth"];
    depth.as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

/// Whose calls the upstream saw, in the order in which they came.
fn order(site: &Site) -> Vec<String> {
    let name = |body: &Value| body["user"].as_str().map(str::to_owned);
    site.upstream.requests().iter().filter_map(|request| name(&request.body)).collect()
}

fn start_call(calls: &mut JoinSet<()>, site: &Arc<Site>, name: String, priority: &'static str) {
    let site = site.clone();
    calls.spawn(async move { call(&site, &name, priority).await });
}

/// So long a request holds its turn where it matters that others come meanwhile.
const SERVICE: f64 = 3.0;

#[tokio::test]
async fn an_interactive_call_goes_next_while_background_work_fills_the_line_and_that_still_moves() {
    for way in [Way::H1, Way::H2c] {
        for limit in [1, 4] {
            let upstream = json!({ "latency": SERVICE });
            let options = json!({ "concurrency": { "max": limit, "agingInterval": 3_600_000 } });
            let site = Arc::new(Site::with(way, upstream, options));
            let mut calls = JoinSet::new();
            for n in 0..120 {
                start_call(&mut calls, &site, format!("b{n}"), "background");
            }
            until("the line is full", || waiting(&site) == 120 - limit).await;
            for n in 0..10 {
                let before = site.seen();
                call(&site, &format!("i{n}"), "interactive").await;
                let order = order(&site);
                let at = order.iter().position(|name| *name == format!("i{n}")).unwrap();
                // Those who had a turn as it came, whether the upstream had read them yet or not: one service time.
                assert!(at <= before + limit as usize, "{way:?} {limit}: after {} others", at - before);
            }
            assert!(waiting(&site) > 0, "the line was full all the time");
            calls.join_all().await;
            let background: Vec<_> = order(&site).into_iter().filter(|name| name.starts_with('b')).collect();
            assert_eq!(background.len(), 120);
            if limit == 1 {
                let arrived: Vec<_> = (0..120).map(|n| format!("b{n}")).collect();
                assert_eq!(background, arrived, "among equals who came first goes first");
            }
        }
    }
}

#[tokio::test]
async fn a_background_call_goes_before_interactive_ones_that_came_two_agings_after_it() {
    const AGING: Duration = Duration::from_millis(60);
    for way in [Way::H1, Way::H2c] {
        let options = json!({ "concurrency": { "max": 1, "agingInterval": AGING.as_millis() as u64 } });
        let site = Arc::new(Site::with(way, json!({ "latency": SERVICE }), options));
        let mut calls = JoinSet::new();
        for n in 0..3 {
            start_call(&mut calls, &site, format!("i{n}"), "interactive");
        }
        until("there is a line", || waiting(&site) == 2).await;
        start_call(&mut calls, &site, "background".into(), "background");
        until("it waits as well", || site.metrics()["queue"]["depth"]["background"] == 1).await;
        let came = Instant::now();
        // Never fewer than two that are more urgent wait beside it, until it has gone, or should have long ago.
        let mut later = None;
        let sent = AtomicUsize::new(3);
        while site.metrics()["queue"]["depth"]["background"] == 1 && came.elapsed() < AGING * 50 {
            if waiting(&site) < 4 {
                let n = sent.fetch_add(1, Ordering::Relaxed);
                if came.elapsed() > AGING * 2 {
                    later.get_or_insert(n);
                }
                start_call(&mut calls, &site, format!("i{n}"), "interactive");
            }
            tokio::task::yield_now().await;
        }
        calls.join_all().await;
        let order = order(&site);
        let place = |name: &str| order.iter().position(|seen| seen == name).unwrap();
        if let Some(later) = later {
            assert!(place("background") < place(&format!("i{later}")), "{way:?}: {order:?}");
        }
        assert!(place("background") > place("i2"), "and not before those who came before it: {order:?}");
    }
}

/// A limit of rate makes calls wait in the same line.
#[tokio::test]
async fn calls_that_a_rate_keeps_wait_by_priority_and_none_is_refused() {
    for limits in [
        json!({ "minInterval": 80 }),
        json!({ "requestsPerSecond": 12, "burst": 1 }),
        json!({ "requestsPerMinute": 720 }),
        json!({ "reservoir": { "amount": 1, "interval": 80 } }),
        // Each is estimated at more than goes at once, and so waits until nothing is owed.
        json!({ "tokensPerMinute": 20_000 }),
    ] {
        let site = Arc::new(Site::with(Way::H1, json!({}), json!({ "rateLimit": limits.clone() })));
        let line = ["background", "batch", "interactive", "critical", "critical", "interactive"];
        let mut is_shown = false;
        for _ in 0..20 {
            call(&site, "first", "critical").await;
            let before = site.seen();
            let mut calls = JoinSet::new();
            for (n, priority) in line.into_iter().enumerate() {
                start_call(&mut calls, &site, format!("{priority}{n}"), priority);
                tokio::task::yield_now().await;
            }
            // On a busy machine the first may have gone before the last came.
            is_shown = waiting(&site) == line.len() as u64;
            calls.join_all().await;
            if is_shown {
                let wanted =
                    ["critical3", "critical4", "interactive2", "interactive5", "batch1", "background0"];
                assert_eq!(order(&site)[before..], wanted, "{limits}");
                break;
            }
        }
        assert!(is_shown, "{limits} kept nobody waiting");
        assert_eq!(site.metrics()["queue"]["refused"], 0);
    }
}
