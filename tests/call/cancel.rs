//! Calls that are dropped at any moment leave nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trunkline::client::{Endpoint, Mode};

const CALLS: u64 = 3000;
/// Calls under way together: far more than there are places.
const SIDE_BY_SIDE: usize = 60;

#[expect(clippy::print_stdout, reason = "shown where the test fails")]
fn seed() -> u64 {
    let given = std::env::var("TRUNKLINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("TRUNKLINE_SEED={seed}");
    seed
}

/// Everything that can go wrong or well, and how long it takes.
fn meet(site: &Site, random: &mut fastrand::Rng) {
    let tokens = random.u32(0..30);
    let faults = [
        json!({ "kind": "status", "status": 500 }),
        json!({ "kind": "status", "status": 429, "headers": { "retry-after-ms": "3" } }),
        json!({ "kind": "reset", "after": "request" }),
        json!({ "kind": "reset", "after": tokens }),
        json!({ "kind": "silence", "for": random.u32(0..20) }),
        json!({ "kind": "stall", "afterTokens": tokens, "for": random.u32(0..20) }),
        json!({ "kind": "slow", "firstToken": 2, "perToken": 0.1 }),
        json!({ "kind": "cut", "afterTokens": tokens }),
        json!({ "kind": "goaway", "lastStream": "refused" }),
        json!({ "kind": "goaway", "lastStream": "processed" }),
        json!({ "kind": "close-idle" }),
        json!({ "kind": "garbage" }),
    ];
    site.once(random.choice(faults).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_dropped_at_random_moments_leave_nothing_and_each_counts_once() {
    let seed = seed();
    for (number, way) in (0..).zip(WAYS) {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(number));
        let pool = json!({ "maxConnections": 4, "maxStreamsPerConnection": 3 });
        let options = json!({ "pool": pool, "timeouts": { "idle": 10, "firstByte": 15, "queue": 200 } });
        let site = Arc::new(Site::with(way, json!({}), options));
        let rest = site.tasks.running();
        let dropped = Arc::new(AtomicU64::new(0));
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            while calls.len() >= SIDE_BY_SIDE {
                calls.join_next().await.unwrap().unwrap();
            }
            if random.u8(..) < 80 {
                meet(&site, &mut random);
            }
            let form = random.u8(0..5);
            // Many at once or after a moment, some never.
            let patience = match random.u8(0..4) {
                0 => Duration::ZERO,
                1 => Duration::from_micros(random.u64(0..2000)),
                2 => Duration::from_micros(random.u64(0..30_000)),
                _ => Duration::from_secs(60),
            };
            let (site, dropped) = (site.clone(), dropped.clone());
            calls.spawn(async move {
                let body = with(json!({ "stream": form > 2 }));
                let call = |endpoint| site.make(endpoint, &body, json!({}));
                let running = async {
                    let _ = match form {
                        0 => site.chat().await,
                        1 => site.post(json!({})).await,
                        2 => site.stream(Mode::Whole).await.result,
                        3 => site.stream(Mode::Objects).await.result,
                        _ => {
                            stream(
                                &site.client,
                                call(Endpoint::Post("/chat/completions".into())),
                                Mode::Lines,
                            )
                            .await
                            .result
                        }
                    };
                };
                if tokio::time::timeout(patience, running).await.is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
        site.upstream.reset();
        site.quiet().await;
        let requests = site.metrics()["requests"].clone();
        let count = |name: &str| requests[name].as_u64().unwrap();
        let (ended, aborted) = (count("succeeded") + count("failed"), count("aborted"));
        assert_eq!(count("started"), CALLS, "{way:?} {requests}");
        assert_eq!(
            (ended + aborted, aborted),
            (CALLS, dropped.load(Ordering::Relaxed)),
            "{way:?} {requests}"
        );
        assert!(count("succeeded") > 100 && aborted > 100, "{way:?} {requests}");
        site.works().await;
        // The reaper, and a few tasks of each open connection.
        let tasks = || {
            let open = site.metrics()["pool"]["connections"]["idle"].as_u64().unwrap() as usize;
            site.tasks.running() <= rest + 3 * open
        };
        until("no task left of what is over", tasks).await;
        site.client.finish_close().await;
        let upstream = &site.upstream;
        until("no socket left", || upstream.connections().open == 0).await;
        until("no task left", || site.tasks.running() == 0).await;
    }
}

#[tokio::test]
async fn a_dropped_call_gives_its_place_to_the_next_in_line() {
    for way in WAYS {
        let options = json!({ "pool": { "maxConnections": 1, "maxStreamsPerConnection": 1 } });
        let site = Site::with(way, json!({}), options);
        for round in 1..=20 {
            site.once(json!({ "kind": "silence" }));
            let before = site.seen();
            let holder = {
                let (client, call) = (site.client.clone(), site.make(Endpoint::Chat, &request(), json!({})));
                tokio::spawn(async move { client.call(call).await })
            };
            until("the place is taken", || site.seen() > before).await;
            let next = site.chat();
            tokio::pin!(next);
            assert!(futures_pending(next.as_mut()).await, "{way:?} {round}");
            holder.abort();
            next.await.unwrap();
        }
        assert_eq!(site.metrics()["requests"]["aborted"], 20);
        site.quiet().await;
    }
}

/// Whether a future, polled once, is not ready.
async fn futures_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn a_call_that_was_never_polled_never_was() {
    let site = Site::new(Way::H1);
    drop(site.chat());
    drop(site.stream(Mode::Text));
    assert_eq!((site.metrics()["requests"]["started"].clone(), site.seen()), (json!(0), 0));
}

#[tokio::test]
async fn a_call_dropped_while_it_waits_to_try_again_or_for_a_key_counts_as_aborted() {
    let site = Site::with(Way::H1, json!({}), json!({ "apiKey": { "\u{0}kind": "a function" } }));
    let counts = || site.metrics()["requests"].clone();
    {
        let waiting = site.chat();
        tokio::pin!(waiting);
        assert!(futures_pending(waiting.as_mut()).await);
        assert_eq!(counts()["inFlight"], 1);
    }
    site.client.set_key(0, Ok("k"));
    site.once(json!({ "kind": "status", "status": 503, "headers": { "retry-after": "50" } }));
    {
        let waiting = site.chat();
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            _ = &mut waiting => unreachable!(),
            () = until("it waits to try again", || counts()["retried"] == 1) => {}
        }
    }
    let counts: Value = counts();
    assert_eq!((&counts["aborted"], &counts["inFlight"]), (&json!(2), &json!(0)));
    site.works().await;
}
