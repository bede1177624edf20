//! The five limits of time, each by its name, and what they leave alone.

use std::time::{Duration, Instant};

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Endpoint, Mode};
use trunkline::error::Error;

/// Phase, limit and billing of a timeout.
#[track_caller]
fn timeout(error: &Error) -> (String, u64, String) {
    let json: Value = serde_json::from_str(&error.to_json()).unwrap();
    assert_eq!((&json["code"], &json["retryable"]), (&json!("ERR_TIMEOUT"), &json!(true)), "{json}");
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    (text("phase"), json["limit"].as_u64().unwrap(), text("billed"))
}

fn limits(more: Value) -> Value {
    json!({ "timeouts": more })
}

/// A port that takes connections and says nothing.
fn mute() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address.to_string())
}

#[tokio::test]
async fn connect_covers_the_tls_handshake_and_is_tried_again() {
    let (_listener, address) = mute();
    let tasks = trunkline::pool::Tasks::new(tokio::runtime::Handle::current());
    let client = client_of(&format!("https://{address}"), limits(json!({ "connect": 30 })), &tasks);
    let options = client.call_options(None).unwrap();
    let call = trunkline::client::Call { endpoint: Endpoint::Chat, body: request().to_string(), options };
    let error = client.call(call).await.unwrap_err();
    assert_eq!(timeout(&error), ("connect".into(), 30, "no".into()));
    assert_eq!(error.attempts.len(), 3);
}

#[tokio::test]
async fn queue_ends_the_wait_for_a_place_and_is_not_tried_again() {
    for way in WAYS {
        let pool = json!({ "maxConnections": 1, "maxStreamsPerConnection": 1 });
        let site = Site::with(way, json!({}), json!({ "pool": pool, "timeouts": { "queue": 30 } }));
        site.once(json!({ "kind": "silence" }));
        // On a busy machine a connection alone takes longer.
        let patient = || limits(json!({ "queue": 60_000 }));
        let (client, call) = (site.client.clone(), site.make(Endpoint::Chat, &request(), patient()));
        let holder = tokio::spawn(async move { client.call(call).await });
        until("the place is taken", || site.seen() == 1).await;
        let error = site.chat().await.unwrap_err();
        assert_eq!(timeout(&error), ("queue".into(), 30, "no".into()), "{way:?}");
        assert_eq!((error.attempts.len(), site.seen()), (1, 1));
        holder.abort();
        site.chat_with(patient()).await.unwrap();
    }
}

#[tokio::test]
async fn first_byte_ends_a_silent_stream_and_is_not_tried_again() {
    for way in WAYS {
        let site = Site::with(way, json!({}), limits(json!({ "firstByte": 40 })));
        for fault in [
            json!({ "kind": "silence" }),
            json!({ "kind": "stall", "afterTokens": 0, "for": 60_000 }),
            json!({ "kind": "slow", "firstToken": 60_000 }),
        ] {
            for mode in [Mode::Objects, Mode::Whole] {
                site.once(fault.clone());
                let before = site.seen();
                let error = site.stream(mode).await.result.unwrap_err();
                assert_eq!(timeout(&error), ("firstByte".into(), 40, "maybe".into()), "{way:?} {fault}");
                assert_eq!(error.attempts.len(), 1);
                // The upstream may hear of it after the caller has given up.
                until("the request is there", || site.seen() > before).await;
                assert_eq!(site.seen(), before + 1);
            }
        }
        site.quiet().await;
        site.works().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_no_stream_may_think_longer_than_first_byte() {
    for way in WAYS {
        let site = Site::with(way, json!({}), limits(json!({ "firstByte": 20, "idle": 20 })));
        site.once(json!({ "kind": "silence", "for": 80 }));
        site.chat().await.unwrap();
    }
}

#[tokio::test]
async fn idle_ends_a_stalled_answer_and_is_not_tried_again() {
    for way in WAYS {
        let site = Site::with(way, json!({}), limits(json!({ "idle": 40 })));
        let stall = json!({ "kind": "stall", "afterTokens": 3, "for": 60_000 });
        site.once(stall.clone());
        let error = site.chat().await.unwrap_err();
        assert_eq!(timeout(&error), ("idle".into(), 40, "maybe".into()), "{way:?}");
        for mode in [Mode::Whole, Mode::Objects, Mode::Text] {
            site.once(stall.clone());
            let error = site.stream(mode).await.result.unwrap_err();
            assert_eq!(error.name_and_code().1, "ERR_STREAM_INTERRUPTED", "{way:?} {mode:?}");
            assert_eq!(error.attempts.len(), 1, "a silent provider stays silent");
            assert!(error.message.contains("timeouts.idle (40 ms)"), "{}", error.message);
        }
        assert_eq!(site.seen(), 4);
        site.works().await;
    }
}

#[tokio::test]
async fn total_covers_every_attempt_and_the_body() {
    for way in WAYS {
        for fault in
            [json!({ "kind": "silence" }), json!({ "kind": "stall", "afterTokens": 2, "for": 60_000 })]
        {
            let site = Site::new(way);
            site.works().await;
            let before = site.seen();
            let short = limits(json!({ "total": 300 }));
            site.once(fault.clone());
            let error = site.chat_with(short.clone()).await.unwrap_err();
            assert_eq!(timeout(&error), ("total".into(), 300, "maybe".into()), "{way:?} {fault}");
            site.once(fault.clone());
            let error = site.stream_with(Mode::Whole, &request(), short).await.result.unwrap_err();
            assert_eq!(timeout(&error), ("total".into(), 300, "maybe".into()), "{way:?} {fault}");
            // A busy upstream may not have come to read the last one.
            assert!(error.attempts.len() == 1 && site.seen() <= before + 2);
            site.quiet().await;
        }
    }
}

#[tokio::test]
async fn total_while_nothing_was_sent_is_not_billed() {
    let options = json!({ "pool": { "maxConnections": 1 }, "timeouts": { "total": 60 } });
    let site = Site::with(Way::H1, json!({}), options);
    site.once(json!({ "kind": "silence" }));
    let (client, call) =
        (site.client.clone(), site.make(Endpoint::Chat, &request(), limits(json!({ "total": 60_000 }))));
    let holder = tokio::spawn(async move { client.call(call).await });
    until("the place is taken", || site.seen() == 1).await;
    let error = site.chat().await.unwrap_err();
    assert_eq!(timeout(&error), ("total".into(), 60, "no".into()));
    assert_eq!(error.attempts.len(), 1, "it waited in the queue");
    holder.abort();
}

/// Wherever a call is when its time is over: it ends there, says so by the one name, and leaves nothing behind.
#[tokio::test]
async fn total_ends_each_phase_of_a_call_by_its_own_name() {
    const TOTAL: u64 = 250;
    let day = 86_400_000;
    let total = |more: Value| merge(limits(json!({ "total": TOTAL })), more);
    let limited = |headers: Value| json!({ "kind": "status", "status": 429, "headers": headers });
    let long = || limits(json!({ "total": 60_000 }));

    // In the TLS handshake: nothing was sent.
    let (_listener, address) = mute();
    let tasks = trunkline::pool::Tasks::new(tokio::runtime::Handle::current());
    let client = client_of(&format!("https://{address}"), total(json!({})), &tasks);
    let options = client.call_options(None).unwrap();
    let call = trunkline::client::Call { endpoint: Endpoint::Chat, body: request().to_string(), options };
    let error = client.call(call).await.unwrap_err();
    assert_eq!((timeout(&error), error.attempts.len()), (("total".into(), TOTAL, "no".into()), 1));

    for way in WAYS {
        let ends = async |site: &Site, billed: &str, attempts: usize, phase: &str| {
            let error = site.chat().await.unwrap_err();
            assert_eq!(timeout(&error), ("total".into(), TOTAL, billed.into()), "{way:?} {phase}");
            assert_eq!(error.attempts.len(), attempts, "{way:?} {phase}");
            site.quiet().await;
            assert_eq!(site.metrics()["queue"]["depth"]["interactive"], 0, "{way:?} {phase}");
        };
        // In the line for a turn that a rate keeps.
        let stock = json!({ "rateLimit": { "reservoir": { "amount": 1, "interval": day } } });
        let site = Site::with(way, json!({}), total(stock));
        site.chat_with(long()).await.unwrap();
        ends(&site, "no", 1, "turn").await;
        // In the line of a model that the server wants nothing of for now.
        let site = Site::with(way, json!({}), total(json!({})));
        site.once(limited(json!({ "retry-after": "20" })));
        site.chat_with(merge(long(), json!({ "retry": false }))).await.unwrap_err();
        ends(&site, "no", 1, "pause").await;
        // In the answer's body.
        let site = Site::with(way, json!({}), total(json!({})));
        site.chat_with(long()).await.unwrap();
        site.once(json!({ "kind": "stall", "afterTokens": 1, "for": 60_000 }));
        ends(&site, "maybe", 1, "body").await;
        // In the second attempt, with what the first has left it.
        site.once(limited(json!({ "retry-after-ms": "10" })));
        site.fault(json!({ "kind": "silence" }), json!({ "times": 2 }));
        let before = site.seen();
        ends(&site, "maybe", 2, "second attempt").await;
        assert!(site.seen() <= before + 2);
        site.upstream.reset();
        site.chat_with(long()).await.unwrap();
    }
}

/// The turn and the connection are one wait with one limit, and an error names the limit and not its rest.
#[tokio::test]
async fn what_the_turn_took_is_taken_from_the_wait_for_a_connection() {
    const QUEUE: u64 = 1000;
    for way in WAYS {
        let options = json!({
            "concurrency": { "max": 2 },
            "pool": { "maxConnections": 1, "maxStreamsPerConnection": 1 },
            "timeouts": { "queue": QUEUE },
        });
        let site = std::sync::Arc::new(Site::with(way, json!({}), options));
        site.works().await;
        site.fault(json!({ "kind": "silence" }), json!({ "times": 10 }));
        let start = |queue: u64| {
            let site = site.clone();
            tokio::spawn(async move { site.chat_with(limits(json!({ "queue": queue }))).await.unwrap_err() })
        };
        let waiting = |calls: u64| site.metrics()["queue"]["depth"]["interactive"] == calls;
        // One has a turn and the connection, one a turn and none, and one neither.
        let before = site.seen();
        let holder = start(QUEUE);
        until("it is under way", || site.seen() == before + 1).await;
        let second = start(QUEUE / 2);
        until("it waits for a connection", || waiting(1)).await;
        let third = start(QUEUE);
        until("it waits for a turn", || waiting(2)).await;
        assert_eq!(timeout(&second.await.unwrap()), ("queue".into(), QUEUE / 2, "no".into()), "{way:?}");
        // Now the third has a turn, and half of its time left for the connection. One that comes now with more than that
        // leaves after it.
        let fourth = start(QUEUE * 3 / 4);
        assert_eq!(timeout(&fourth.await.unwrap()), ("queue".into(), QUEUE * 3 / 4, "no".into()), "{way:?}");
        assert!(third.is_finished(), "{way:?}: its time began anew");
        assert_eq!(timeout(&third.await.unwrap()), ("queue".into(), QUEUE, "no".into()), "{way:?}");
        holder.abort();
    }
}

#[tokio::test]
async fn total_while_the_key_is_awaited_ends_no_attempt_since_none_was_begun() {
    let options = json!({ "apiKey": { "\u{0}kind": "a function" }, "timeouts": { "total": 60 } });
    let site = Site::with(Way::H1, json!({}), options);
    let error = site.chat().await.unwrap_err();
    assert_eq!(timeout(&error), ("total".into(), 60, "no".into()));
    assert_eq!(error.attempts.len(), 0);
    // And after a refusal only the refused attempt is one.
    site.client.set_key(0, Ok("one"));
    site.once(json!({ "kind": "status", "status": 401 }));
    let error = site.chat().await.unwrap_err();
    assert_eq!(timeout(&error), ("total".into(), 60, "no".into()));
    assert_eq!(error.attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(), [Some(401)]);
}

#[tokio::test]
async fn a_wait_that_would_outlast_total_is_not_begun() {
    let site = Site::with(Way::H1, json!({}), limits(json!({ "total": 30_000 })));
    site.once(json!({ "kind": "status", "status": 503, "headers": { "retry-after": "31" } }));
    let started = Instant::now();
    assert_eq!(tell(&site.chat().await), "InternalServer 503 retryable, billed maybe, after maybe");
    assert!(started.elapsed() < Duration::from_secs(30), "it was not waited for");
}

#[tokio::test]
async fn while_the_caller_does_not_read_no_idle_time_passes() {
    for way in WAYS {
        let site = Site::with(way, json!({}), limits(json!({ "idle": 50 })));
        site.says(json!({ "content": "x".repeat(3_000_000), "chunks": 3000 }));
        let outlet = std::sync::Arc::new(trunkline::client::Outlet::default());
        let (client, pieces) = (site.client.clone(), outlet.clone());
        let call = site.make(Endpoint::Chat, &request(), json!({}));
        let running = tokio::spawn(async move { client.stream(call, pieces).await });
        until("it began", || site.seen() == 1).await;
        // The promise is about a time that passes: six times the limit.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!running.is_finished());
        outlet.choose(Mode::Whole);
        let answer = running.await.unwrap().unwrap();
        assert_eq!(said(&body_of(&answer)).len(), 3_000_000, "{way:?}");
    }
}

#[tokio::test]
async fn a_call_has_its_own_limits() {
    let site = Site::with(Way::H1, json!({}), limits(json!({ "firstByte": 60_000 })));
    site.once(json!({ "kind": "silence" }));
    let own = limits(json!({ "firstByte": 30 }));
    let error = site.stream_with(Mode::Text, &request(), own).await.result.unwrap_err();
    assert_eq!(timeout(&error).1, 30);
}
