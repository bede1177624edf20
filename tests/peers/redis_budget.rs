//! Budgets that several clients keep together through a real Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::shared::*;
use crate::support::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trunkline::client::{Call, Client, Endpoint};
use trunkline::mock::{Matcher, MockUpstream};
use trunkline::policy::money::Period;

/// An upstream whose answers cost ten cents by [`dear`]: a hundred tokens.
fn upstream() -> MockUpstream {
    let upstream = start(json!({}));
    let answer = json!({ "content": "hi", "usage": { "prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100 } });
    upstream.reply(Matcher::Fields(serde_json::Map::new()), serde_json::from_value(answer).unwrap());
    upstream
}

/// A dollar for a thousand tokens, in or out.
fn dear(budget: Value) -> Value {
    json!({ "pricing": { "m": { "input": 1000, "output": 1000 } }, "budget": budget })
}

/// Speaks for less than six cents.
async fn chat(client: &Arc<Client>) -> Result<(), &'static str> {
    let body = with(json!({ "max_tokens": 40 })).to_string();
    let call = Call { endpoint: Endpoint::Chat, body, options: client.call_options(None).unwrap() };
    client.call(call).await.map(drop).map_err(|error| error.name_and_code().1)
}

fn budget(client: &Client) -> Value {
    serde_json::to_value(client.costs(Period::All)).unwrap()["budget"].clone()
}

/// In cents.
fn spent(client: &Client) -> u64 {
    (budget(client)["spent"].as_f64().unwrap() * 100.0).round() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_has_spent_the_others_cannot() {
    let Some(redis) = redis("").await else { return };
    let upstream = upstream();
    let clients = [(); 2].map(|()| sharing(&upstream, &redis, dear(json!({ "limit": 1 }))));
    clients.iter().for_each(|client| client.events().listen(true));
    for n in 0..10 {
        assert_eq!(chat(&clients[n % 2]).await, Ok(()), "{n}");
    }
    for client in &clients {
        assert_eq!(chat(client).await, Err("ERR_BUDGET_EXCEEDED"));
        // The last one may not have told what it spent when this one asked.
        while spent(client) < 100 {
            assert_eq!(chat(client).await, Err("ERR_BUDGET_EXCEEDED"));
        }
        assert_eq!(spent(client), 100);
    }
    assert_eq!(upstream.requests().len(), 10);
    let shares = clients.iter().flat_map(|client| {
        let (events, _) = client.events().take();
        let told = events.iter().map(|event| serde_json::to_value(event).unwrap());
        told.filter(|event| event["event"] == "budget")
            .map(|event| event["share"].to_string())
            .collect::<Vec<_>>()
    });
    let mut shares: Vec<_> = shares.collect();
    shares.sort();
    assert_eq!(shares, ["0.5", "0.8", "1.0"], "each once, whoever reached it");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_side_by_side_do_not_go_beyond_it_together() {
    let Some(redis) = redis("").await else { return };
    let upstream = upstream();
    let clients: Vec<_> = (0..4).map(|_| sharing(&upstream, &redis, dear(json!({ "limit": 10 })))).collect();
    let mut calls = JoinSet::new();
    for n in 0..400 {
        let client = clients[n % 4].clone();
        calls.spawn(async move {
            // More than it costs.
            let body = with(json!({ "max_tokens": 300 })).to_string();
            let call = Call { endpoint: Endpoint::Chat, body, options: client.call_options(None).unwrap() };
            client.call(call).await.map(drop).map_err(|error| error.name_and_code().1)
        });
    }
    let went = calls.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(went, upstream.requests().len());
    assert!((30..=100).contains(&went), "{went}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_counted_twice_though_redis_goes_and_comes_back() {
    let Some(mut redis) = redis("appendonly yes\nappendfsync always").await else { return };
    let upstream = upstream();
    let options = dear(json!({ "limit": 1_000_000, "window": "month" }));
    let clients: Vec<_> = (0..3).map(|_| sharing(&upstream, &redis, options.clone())).collect();
    let done = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for n in 0..12 {
        let (client, done) = (clients[n % 3].clone(), done.clone());
        calls.spawn(async move {
            for _ in 0..100 {
                chat(&client).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for at in [200, 500, 800] {
        until("so many calls", || done.load(Ordering::Relaxed) >= at).await;
        redis.stop().await;
        until("more calls", || done.load(Ordering::Relaxed) >= at + 100).await;
        redis.restart().await;
    }
    calls.join_all().await;
    assert_eq!(upstream.requests().len(), 1200);
    until("all is told, and once", || clients.iter().all(|client| client.shared_problem().is_none())).await;
    let last = sharing(&upstream, &redis, options);
    let told = || async {
        chat(&last).await.unwrap();
        let calls = upstream.requests().len() as u64;
        (spent(&last), calls * 10)
    };
    let (mut seen, mut wanted) = told().await;
    while seen < wanted {
        // Those who were told last that Redis is back tell it what they owe.
        tokio::task::yield_now().await;
        (seen, wanted) = told().await;
    }
    assert_eq!(seen, wanted);
    drop(clients);
}
