//! What a call takes of the limits of rate: reserved before it goes, settled after, and returned once where it never went.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trunkline::client::{Endpoint, Mode};

const DAY: u32 = 86_400_000;

/// Calls that have been sent, each with the same body.
fn sent(site: &Site) -> u64 {
    site.metrics()["bytes"]["sent"].as_u64().unwrap() / request().to_string().len() as u64
}

/// How many more calls go before one finds nothing left.
async fn left(site: &Site, body: &Value) -> u64 {
    for went in 0.. {
        let call = site.make(Endpoint::Chat, body, json!({ "timeouts": { "queue": 500 } }));
        let end = tell(&site.client.call(call).await);
        if end == "Timeout queue retryable, billed no, after no" {
            return went;
        }
        // A connection may turn out to have been closed meanwhile: what was not sent on it goes on another.
        assert!(matches!(&*end, "ok after yes" | "ok after no,yes"), "{end}");
    }
    unreachable!()
}

/// A stock that is not filled up again counts to the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reservation_is_returned_once_whatever_is_cancelled() {
    const AMOUNT: u64 = 700;
    for way in [Way::H1, Way::H2c] {
        let options = json!({
            "rateLimit": { "reservoir": { "amount": AMOUNT, "interval": DAY } },
            "concurrency": { "max": 12 },
            // So that those with a turn wait for a connection, and are cancelled there as well.
            "pool": { "maxConnections": 2, "maxStreamsPerConnection": 2 },
        });
        let site = Arc::new(Site::with(way, json!({}), options));
        let mut calls = JoinSet::new();
        for n in 0..1500 {
            while calls.len() >= 40 {
                calls.join_next().await.unwrap().unwrap();
            }
            if n % 9 == 0 {
                let faults = [
                    json!({ "kind": "status", "status": 500 }),
                    json!({ "kind": "reset", "after": "request" }),
                    json!({ "kind": "silence", "for": 20 }),
                    json!({ "kind": "goaway", "lastStream": "refused" }),
                ];
                site.once(fastrand::choice(faults).unwrap());
            }
            let site = site.clone();
            let patience = Duration::from_micros(fastrand::u64(0..2500));
            calls.spawn(async move {
                let _ = tokio::time::timeout(patience, site.chat()).await;
            });
        }
        while calls.join_next().await.is_some() {}
        site.upstream.reset();
        site.quiet().await;
        let before = sent(&site);
        assert!(before > 20, "{way:?}: {before} were sent, which shows nothing");
        assert_eq!(before + left(&site, &request()).await, AMOUNT, "{way:?}");
    }
}

#[tokio::test]
async fn a_call_that_finds_no_connection_or_an_open_circuit_returns_what_it_reserved() {
    let options = json!({
        "rateLimit": { "reservoir": { "amount": 10, "interval": DAY } },
        "circuitBreaker": { "failureThreshold": 1, "recoveryTimeout": 300 },
        "pool": { "maxConnections": 1 },
        "retry": false,
    });
    let site = Arc::new(Site::with(Way::H1, json!({ "latency": 40 }), options));
    let start = || {
        let site = site.clone();
        tokio::spawn(async move { tell(&site.chat().await) })
    };
    site.once(json!({ "kind": "silence", "for": 60_000 }));
    let holder = start();
    until("the connection is taken", || site.seen() == 1).await;
    for _ in 0..20 {
        let end = tell(&site.chat_with(json!({ "timeouts": { "queue": 5 } })).await);
        assert_eq!(end, "Timeout queue retryable, billed no, after no");
    }
    holder.abort();
    site.quiet().await;
    site.chat().await.unwrap();
    // It opens while others wait for their turn, and is open for those who come after.
    site.once(json!({ "kind": "status", "status": 500 }));
    let failing = start();
    until("it was asked", || site.seen() == 3).await;
    failing.await.unwrap();
    let mut refused = 0;
    while tell(&site.chat().await).starts_with("CircuitOpen") {
        refused += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(refused > 0);
    // Of ten the silent one, the one after it, the failed one and the probe were sent.
    assert_eq!(left(&site, &request()).await, 6);
}

#[tokio::test]
async fn a_circuit_that_opens_while_calls_wait_for_their_turn_returns_what_they_got() {
    let options = json!({
        "rateLimit": { "reservoir": { "amount": 10, "interval": DAY } },
        "circuitBreaker": { "failureThreshold": 1, "recoveryTimeout": 600 },
        "concurrency": { "max": 1 },
        "retry": false,
    });
    let site = Arc::new(Site::with(Way::H1, json!({ "latency": 40 }), options));
    site.once(json!({ "kind": "status", "status": 500 }));
    let mut calls = JoinSet::new();
    for _ in 0..7 {
        let site = site.clone();
        calls.spawn(async move { tell(&site.chat().await) });
    }
    let ends = calls.join_all().await;
    assert_eq!(ends.iter().filter(|end| end.starts_with("CircuitOpen")).count(), 6, "{ends:?}");
    assert_eq!(site.seen(), 1);
    while tell(&site.chat().await).starts_with("CircuitOpen") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(left(&site, &request()).await, 8);
}

#[tokio::test]
async fn tokens_are_reserved_by_their_estimate_and_settled_by_their_usage() {
    // A thousand may go at once.
    let limits = json!({ "rateLimit": { "tokensPerMinute": 60_000 } });
    let used = |tokens: u64| json!({ "content": "x", "usage": { "prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens } });
    let costly = with(json!({ "max_tokens": 850 }));
    for way in [Way::H1, Way::H2c] {
        let site = Arc::new(Site::with(way, json!({}), limits.clone()));
        let chat = |body: &Value| site.client.call(site.make(Endpoint::Chat, body, json!({})));
        // Reserved: while one is under way there is no room for another.
        site.once(json!({ "kind": "silence", "for": 60_000 }));
        let holder = tokio::spawn(chat(&costly));
        until("it is under way", || site.seen() == 1).await;
        let short = site.make(Endpoint::Chat, &costly, json!({ "timeouts": { "queue": 20 } }));
        assert!(tell(&site.client.call(short).await).starts_with("Timeout queue"), "{way:?}");
        holder.abort();
        // Settled: of six that are estimated at some 870, and use 10, none waits.
        let site = Arc::new(Site::with(way, json!({}), limits.clone()));
        let waited = || site.metrics()["queue"]["turns"]["count"].as_u64().unwrap();
        site.says(used(10));
        for n in 0..6 {
            let end = match n % 2 {
                0 => site.client.call(site.make(Endpoint::Chat, &costly, json!({}))).await,
                _ => site.stream_with(Mode::Whole, &costly, json!({})).await.result,
            };
            assert_eq!(tell(&end), "ok after yes");
        }
        assert_eq!(waited(), 0, "{way:?}");
        // And what was used beyond its estimate is owed.
        site.says(used(59_000));
        let cheap = with(json!({ "max_tokens": 1 }));
        assert!(site.client.call(site.make(Endpoint::Chat, &cheap, json!({}))).await.is_ok());
        let short = site.make(Endpoint::Chat, &cheap, json!({ "timeouts": { "queue": 20 } }));
        assert!(tell(&site.client.call(short).await).starts_with("Timeout queue"), "{way:?}");
    }
}

#[tokio::test]
async fn a_call_counts_by_the_weight_of_its_model() {
    let options = json!({
        "rateLimit": { "reservoir": { "amount": 12, "interval": DAY }, "weights": { "m": 4, "tiny": 0.5 } },
    });
    for (model, calls) in [("m", 3), ("tiny", 24), ("another", 12)] {
        let site = Site::with(Way::H1, json!({}), options.clone());
        assert_eq!(left(&site, &with(json!({ "model": model }))).await, calls, "{model}");
    }
}
