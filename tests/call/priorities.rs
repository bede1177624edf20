//! Priorities over the real client: of those who wait for a turn the more urgent go first, and nobody waits for ever. Everything
//! here is about order, as the upstream saw it, and not about time.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
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

/// In milliseconds: whoever waits is soon old.
const AGING: u64 = 1;

/// So long a request holds its turn where it matters that others come meanwhile.
const SERVICE: f64 = 3.0;

#[tokio::test]
async fn an_interactive_call_goes_next_while_background_work_fills_the_line_and_that_still_moves() {
    // The backlog is young, or as old as it can be.
    for (way, aging) in [(Way::H1, 3_600_000), (Way::H2c, 3_600_000), (Way::H1, AGING), (Way::H2c, AGING)] {
        for limit in [1, 4] {
            let upstream = json!({ "latency": SERVICE });
            let options = json!({ "concurrency": { "max": limit, "agingInterval": aging } });
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
                // Those who had a turn as it came, whether the upstream had read them yet or not: one service time. And those
                // who got theirs right behind it, on other connections that the upstream may read first.
                let others = limit as usize + (limit as usize - 1);
                assert!(at <= before + others, "{way:?} {limit}: after {} others", at - before);
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
async fn a_background_call_that_is_old_enough_lets_three_interactive_ones_go_before_it_and_no_more() {
    for way in [Way::H1, Way::H2c] {
        let options = json!({ "concurrency": { "max": 1, "agingInterval": AGING } });
        let site = Arc::new(Site::with(way, json!({}), options));
        site.once(json!({ "kind": "silence" }));
        let holder = tokio::spawn(site.client.call(site.make(Endpoint::Chat, &request(), json!({}))));
        until("it has the turn", || site.seen() == 1).await;
        let mut calls = JoinSet::new();
        for (waits, priority, letter) in [(30, "background", 'b'), (60, "interactive", 'i')] {
            for n in 0..30 {
                start_call(&mut calls, &site, format!("{letter}{n}"), priority);
            }
            until("all wait", || waiting(&site) == waits).await;
            tokio::time::sleep(Duration::from_millis(AGING * 4)).await;
        }
        holder.abort();
        calls.join_all().await;
        let (mut background, mut interactive) = (0..30, 0..30);
        for name in order(&site) {
            let place = background.start + interactive.start + 1;
            let is_aged = place % 4 == 0 || interactive.is_empty();
            let (letter, number) = if is_aged { ('b', background.next()) } else { ('i', interactive.next()) };
            assert_eq!(name, format!("{letter}{}", number.unwrap()), "{way:?}: in place {place}");
        }
        assert!(background.is_empty() && interactive.is_empty());
    }
}

#[tokio::test]
async fn whoever_leaves_the_line_makes_room_in_it_at_once() {
    let options = json!({ "concurrency": { "max": 1, "maxQueue": 1 } });
    let site = Arc::new(Site::with(Way::H1, json!({}), options));
    site.once(json!({ "kind": "silence" }));
    let start = || tokio::spawn(site.client.call(site.make(Endpoint::Chat, &request(), json!({}))));
    let holder = start();
    until("it has the turn", || site.seen() == 1).await;
    for _ in 0..5 {
        let waits = start();
        until("it waits", || waiting(&site) == 1).await;
        assert_eq!(tell(&site.chat().await), "QueueFull retryable, billed no, after no");
        waits.abort();
        until("it has left", || waiting(&site) == 0).await;
    }
    assert_eq!(site.metrics()["queue"]["refused"], 5);
    holder.abort();
    assert_eq!(tell(&site.chat().await), "ok after yes");
}

/// It came first, so it is not sent to the end of the line by what the server did.
#[tokio::test]
async fn a_call_that_is_tried_again_keeps_its_age() {
    for way in [Way::H1, Way::H2c] {
        // Slow enough for the first to be back in line before the second is done.
        let options = json!({ "concurrency": { "max": 1 }, "retry": { "strategy": "immediate" } });
        let site = Arc::new(Site::with(way, json!({ "latency": 100 }), options));
        site.chat().await.unwrap();
        site.once(json!({ "kind": "status", "status": 500 }));
        let mut calls = JoinSet::new();
        for (n, name) in ["first", "second", "third"].into_iter().enumerate() {
            let call = site.make(Endpoint::Chat, &with(json!({ "user": name })), json!({}));
            let call = site.client.call(call);
            calls.spawn(async move { assert!(call.await.is_ok()) });
            tokio::task::yield_now().await;
            assert_eq!(waiting(&site), n as u64, "it has a turn or waits for one");
        }
        calls.join_all().await;
        assert_eq!(order(&site), ["first", "second", "first", "third"], "{way:?}");
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
