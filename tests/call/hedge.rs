//! Hedging over real sockets: a call that waits too long for its first byte gets a rival, and the caller one answer.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use trunkline::client::{Client, Endpoint, Mode};
use trunkline::pool::Tasks;

/// Each call may be hedged, from its beginning on.
fn hedging(more: Value) -> Value {
    merge(json!({ "hedge": { "delay": 20, "budget": 1 } }), more)
}

/// The code and the bill of each attempt.
fn attempts(answer: &trunkline::client::Answer) -> Vec<String> {
    let meta = meta_of(answer);
    let attempts = meta["attempts"].as_array().unwrap().iter();
    attempts
        .map(|one| format!("{} {}", one["error"].as_str().unwrap_or("ok"), one["billed"].as_str().unwrap()))
        .collect()
}

const SILENCE: &str = r#"{ "kind": "silence" }"#;
/// The head comes at once, and the rest after a minute.
const THINKS: &str = r#"{ "kind": "slow", "firstToken": 60000 }"#;

#[tokio::test]
async fn a_rival_answers_where_the_first_is_silent_and_the_loser_may_be_billed() {
    for way in WAYS {
        let site = Site::with(way, json!({}), hedging(json!({})));
        for fault in [SILENCE, THINKS] {
            site.once(serde_json::from_str(fault).unwrap());
            let streamed = site.stream(Mode::Objects).await;
            let answer = streamed.result.unwrap();
            assert_eq!(attempts(&answer), ["ERR_HEDGED maybe", "ok yes"], "{way:?} {fault}");
            assert_eq!(streamed.text, said(&body_of(&answer)), "the answer is there once");
        }
        site.once(serde_json::from_str(SILENCE).unwrap());
        let answer = site.chat().await.unwrap();
        assert_eq!(attempts(&answer), ["ERR_HEDGED maybe", "ok yes"], "{way:?}");
        site.once(serde_json::from_str(SILENCE).unwrap());
        assert_eq!(attempts(&site.embed(json!("a")).await.unwrap()), ["ERR_HEDGED maybe", "ok yes"]);
        assert_eq!(site.seen(), 8);
        site.quiet().await;
        let metrics = site.metrics();
        assert_eq!((&metrics["requests"]["hedged"], &metrics["requests"]["retried"]), (&json!(4), &json!(0)));
    }
}

#[tokio::test]
async fn a_first_that_answers_after_all_wins_and_its_rival_is_cancelled() {
    let site = Site::with(Way::H2c, json!({}), hedging(json!({})));
    site.once(json!({ "kind": "silence", "for": 200 }));
    site.once(serde_json::from_str(SILENCE).unwrap());
    let answer = site.chat().await.unwrap();
    assert_eq!(attempts(&answer), ["ERR_HEDGED maybe", "ok yes"]);
    assert_eq!(site.seen(), 2);
    site.quiet().await;
}

#[tokio::test]
async fn there_are_no_more_rivals_than_were_allowed() {
    let options = json!({ "hedge": { "maxHedges": 3 }, "timeouts": { "total": 1000 } });
    let site = Site::with(Way::H2c, json!({}), hedging(options));
    // What pays for them.
    for _ in 0..9 {
        site.chat().await.unwrap();
    }
    site.upstream.reset();
    site.fault(serde_json::from_str(SILENCE).unwrap(), json!({ "times": 20 }));
    let lost = site.chat().await;
    // Of those under way at the deadline, one is what the deadline ended.
    assert_eq!(tell(&lost), "Timeout total retryable, billed maybe, after maybe,maybe,maybe,maybe");
    assert_eq!(site.seen(), 4);
    site.quiet().await;
}

#[tokio::test]
async fn without_budget_there_is_no_rival() {
    let site = Site::with(Way::H1, json!({}), json!({ "hedge": { "delay": 1, "budget": 0.1 } }));
    for n in 1..=20 {
        site.once(json!({ "kind": "silence", "for": 40 }));
        site.chat().await.unwrap();
        assert_eq!(site.seen(), n + n / 10);
    }
}

#[tokio::test]
async fn what_is_not_safe_to_repeat_has_no_rival() {
    let site = Site::with(Way::H1, json!({}), hedging(json!({})));
    let slow = || site.once(json!({ "kind": "silence", "for": 100 }));
    slow();
    assert_eq!(tell(&site.post(json!({})).await), "ok after yes");
    slow();
    let answer = site.post(json!({ "idempotencyKey": "k" })).await.unwrap();
    assert_eq!(attempts(&answer), ["ERR_HEDGED maybe", "ok yes"]);
    assert_eq!(site.seen(), 3);
}

#[tokio::test]
async fn a_rival_takes_no_turn_that_others_wait_for() {
    let site = Site::with(Way::H1, json!({}), hedging(json!({ "concurrency": { "max": 1 } })));
    site.once(json!({ "kind": "silence", "for": 100 }));
    assert_eq!(tell(&site.chat().await), "ok after yes");
    assert_eq!(site.seen(), 1);
    assert_eq!(site.metrics()["requests"]["hedged"], 0);
}

#[tokio::test]
async fn the_probe_of_a_circuit_has_no_rival() {
    let breaker = json!({ "failureThreshold": 1, "recoveryTimeout": 1 });
    let site = Site::with(Way::H1, json!({}), hedging(json!({ "circuitBreaker": breaker, "retry": false })));
    site.once(json!({ "kind": "status", "status": 500 }));
    site.once(json!({ "kind": "silence", "for": 100 }));
    assert!(site.chat().await.is_err());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(tell(&site.chat().await), "ok after yes");
    assert_eq!(site.seen(), 2);
}

#[tokio::test]
async fn at_p95_the_slow_ones_are_hedged_once_enough_is_known() {
    let site = Site::with(Way::H1, json!({}), json!({ "hedge": { "delay": "p95", "budget": 1 } }));
    for _ in 0..20 {
        assert_eq!(tell(&site.chat().await), "ok after yes");
    }
    let before = site.seen();
    site.once(serde_json::from_str(SILENCE).unwrap());
    assert_eq!(attempts(&site.chat().await.unwrap()).last().unwrap(), "ok yes");
    assert!(site.seen() > before + 1);
    // Nothing is known of streams.
    site.once(json!({ "kind": "silence", "for": 100 }));
    assert_eq!(tell(&site.stream(Mode::Text).await.result), "ok after yes");
}

#[tokio::test]
async fn a_call_that_is_dropped_in_the_race_takes_both_with_it() {
    for way in WAYS {
        let site = Site::with(way, json!({}), hedging(json!({})));
        site.fault(serde_json::from_str(SILENCE).unwrap(), json!({ "times": 2 }));
        {
            let call = site.chat();
            tokio::pin!(call);
            let both = until("both are under way", || site.seen() == 2);
            tokio::select! {
                _ = &mut call => panic!("nobody answers"),
                () = both => {}
            }
        }
        site.quiet().await;
        assert_eq!(site.metrics()["requests"]["aborted"], 1);
        site.works().await;
    }
}

async fn read_request(socket: &mut TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    assert!(socket.read(&mut buffer).await.unwrap() > 0);
}

async fn answer(mut socket: TcpStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    // Open until the client has done with it.
    let _ = socket.read(&mut [0]).await;
}

/// A server that answers the first of two requests as is said, and then the second, once it has both.
async fn race_of(first: (&'static str, &'static str), second: (&'static str, &'static str)) -> Arc<Client> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut one, _) = listener.accept().await.unwrap();
        read_request(&mut one).await;
        let (mut two, _) = listener.accept().await.unwrap();
        read_request(&mut two).await;
        tokio::spawn(answer(one, first.0, first.1));
        tokio::time::sleep(Duration::from_millis(50)).await;
        tokio::spawn(answer(two, second.0, second.1));
    });
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    client_of(&url, hedging(json!({ "retry": false })), &tasks)
}

async fn chat(client: &Arc<Client>) -> Result<trunkline::client::Answer, trunkline::error::Error> {
    let call = trunkline::client::Call {
        endpoint: Endpoint::Chat,
        body: request().to_string(),
        options: client.call_options(None).unwrap(),
    };
    client.call(call).await
}

const GOOD: (&str, &str) = ("200 OK", r#"{"model":"m","choices":[]}"#);
const BAD: (&str, &str) = ("503 Service Unavailable", "{}");

#[tokio::test]
async fn one_that_fails_while_its_rival_runs_is_no_failure_of_the_call() {
    let client = race_of(BAD, GOOD).await;
    assert_eq!(attempts(&chat(&client).await.unwrap()), ["ERR_INTERNAL_SERVER maybe", "ok yes"]);
}

#[tokio::test]
async fn a_race_in_which_all_fail_tells_of_each() {
    let client = race_of(BAD, BAD).await;
    assert_eq!(tell(&chat(&client).await), "InternalServer 503 retryable, billed maybe, after maybe,maybe");
}
