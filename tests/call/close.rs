//! The end of a client, and pools that two of them share.

use std::sync::Arc;

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Call, Client, Endpoint, Mode};
use trunkline::config::Environment;
use trunkline::pool::Tasks;

#[tokio::test]
async fn a_closed_client_refuses_and_its_sockets_are_gone() {
    for way in WAYS {
        let site = Site::new(way);
        site.works().await;
        site.client.begin_close();
        assert_eq!(tell(&site.chat().await), "Closed, billed no, after ", "{way:?}");
        assert_eq!(tell(&site.stream(Mode::Text).await.result), "Closed, billed no, after ");
        assert_eq!(site.client.warm(1, None).await.unwrap_err().name_and_code().1, "ERR_CLOSED");
        site.client.finish_close().await;
        until("no socket left", || site.upstream.connections().open == 0).await;
        until("no task left", || site.tasks.running() == 0).await;
        let metrics = site.metrics();
        assert_eq!(metrics["requests"]["started"], 3, "what was refused was never begun");
        assert_eq!(metrics["pool"]["closed"]["shutdown"], metrics["pool"]["opened"]);
        site.client.finish_close().await;
    }
}

#[tokio::test]
async fn what_is_under_way_at_a_close_ends_well_and_the_close_waits_for_it() {
    for way in WAYS {
        let site = Site::new(way);
        site.once(json!({ "kind": "slow", "perToken": 2 }));
        let (client, call) = (site.client.clone(), site.make(Endpoint::Chat, &request(), json!({})));
        let streaming = tokio::spawn(async move { stream(&client, call, Mode::Text).await });
        until("it has begun", || site.metrics()["bytes"]["received"] != 0).await;
        site.client.finish_close().await;
        assert_eq!(site.metrics()["pool"]["connections"]["active"], 0);
        let streamed = streaming.await.unwrap();
        assert_eq!(tell(&streamed.result), "ok after yes", "{way:?}");
    }
}

#[tokio::test]
async fn what_waits_at_a_close_is_refused() {
    let site = Site::with(Way::H1, json!({}), json!({ "pool": { "maxConnections": 1 } }));
    site.once(json!({ "kind": "silence", "for": 100 }));
    let call = || {
        let (client, call) = (site.client.clone(), site.make(Endpoint::Chat, &request(), json!({})));
        tokio::spawn(async move { tell(&client.call(call).await) })
    };
    let first = call();
    until("the place is taken", || site.seen() == 1).await;
    let second = call();
    until("another waits", || site.metrics()["pool"]["origins"][0]["waiting"] == 1).await;
    site.client.finish_close().await;
    assert_eq!(first.await.unwrap(), "ok after yes");
    assert_eq!(second.await.unwrap(), "Closed, billed no, after no");
}

/// Two clients of one upstream.
fn two(url: &str, tasks: &Tasks, first: Value, second: Value) -> (Arc<Client>, Arc<Client>) {
    let made = |options| {
        let base = json!({ "baseURL": format!("{url}/v1"), "apiKey": KEY });
        Arc::new(
            Client::new(
                merge(base, options),
                &Environment::default(),
                tasks,
                Box::new(|_| {}),
                Box::new(|| {}),
            )
            .unwrap(),
        )
    };
    (made(first), made(second))
}

async fn chat(client: &Arc<Client>) -> Value {
    let options = client.call_options(None).unwrap();
    let call = Call { endpoint: Endpoint::Chat, body: request().to_string(), options };
    meta_of(&client.call(call).await.unwrap())
}

#[tokio::test]
async fn clients_of_equal_settings_share_sockets_and_one_that_closes_leaves_the_other_well() {
    for http2 in ["never", "prior-knowledge"] {
        let upstream = start(json!({}));
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let options = json!({ "pool": { "idleTimeout": alone(), "http2": http2 } });
        // Keys and retries are a client's own.
        let other = merge(options.clone(), json!({ "apiKey": "another", "retry": false }));
        let (first, second) = two(&upstream.url(), &tasks, options, other);
        for _ in 0..5 {
            assert_eq!(chat(&first).await["connection"]["id"], 1);
            assert_eq!(chat(&second).await["connection"]["id"], 1);
        }
        let keys: std::collections::BTreeSet<_> =
            upstream.requests().iter().map(|request| request.headers["authorization"].clone()).collect();
        assert_eq!(keys.len(), 2, "each sent its own key");
        assert_eq!(upstream.connections().opened, 1);
        first.finish_close().await;
        assert_eq!(chat(&second).await["connection"]["reused"], true);
        assert_eq!(upstream.connections().opened, 1, "{http2}");
        second.finish_close().await;
        until("no socket left", || upstream.connections().open == 0).await;
        until("no task left", || tasks.running() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_the_other_well_and_the_last_takes_the_sockets() {
    let upstream = start(json!({}));
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let options = json!({ "pool": { "idleTimeout": alone() } });
    let (first, second) = two(&upstream.url(), &tasks, options.clone(), options);
    chat(&first).await;
    drop(first);
    chat(&second).await;
    assert_eq!(upstream.connections().opened, 1);
    drop(second);
    until("no socket left", || upstream.connections().open == 0).await;
    until("no task left", || tasks.running() == 0).await;
}

#[tokio::test]
async fn clients_of_other_settings_share_nothing() {
    let upstream = start(json!({}));
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let options = |age: u64| json!({ "pool": { "idleTimeout": age } });
    let (first, second) = two(&upstream.url(), &tasks, options(alone()), options(alone()));
    chat(&first).await;
    chat(&second).await;
    assert_eq!(upstream.connections().opened, 2);
    first.finish_close().await;
    second.finish_close().await;
}

#[tokio::test]
async fn a_client_of_the_same_settings_after_a_close_has_a_pool_of_its_own() {
    let upstream = start(json!({}));
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let options = json!({ "pool": { "idleTimeout": alone() } });
    let (first, _unused) =
        two(&upstream.url(), &tasks, options.clone(), json!({ "pool": { "idleTimeout": alone() } }));
    chat(&first).await;
    first.finish_close().await;
    let (again, _unused) =
        two(&upstream.url(), &tasks, options, json!({ "pool": { "idleTimeout": alone() } }));
    assert_eq!(chat(&again).await["connection"], json!({ "id": 1, "protocol": "h1", "reused": false }));
    again.finish_close().await;
}

#[tokio::test]
async fn connections_opened_ahead_serve_the_first_calls() {
    for way in WAYS {
        let site = Site::new(way);
        site.client.warm(3, None).await.unwrap();
        let opened = if way == Way::H1 { 3 } else { 1 };
        assert_eq!(site.metrics()["pool"]["opened"], opened, "{way:?}");
        let answer = site.chat().await.unwrap();
        assert_eq!(meta_of(&answer)["connection"]["reused"], true);
        // The upstream takes them in when it comes to it.
        until("the upstream has them", || site.upstream.connections().opened == opened).await;
    }
}

#[tokio::test]
async fn at_the_beginning_of_a_close_what_rests_closes_unless_it_is_shared() {
    for shared in [false, true] {
        let ours = alone();
        let site = Site::with(Way::H1, json!({}), json!({ "pool": { "idleTimeout": ours } }));
        let theirs = if shared { ours } else { alone() };
        let options = json!({ "pool": { "idleTimeout": theirs } });
        let other = client_of(&site.upstream.url(), options, &site.tasks);
        site.client.warm(3, None).await.unwrap();
        site.once(json!({ "kind": "silence", "for": 50 }));
        let client = site.client.clone();
        let call = site.make(Endpoint::Chat, &request(), json!({}));
        let running = tokio::spawn(async move { tell(&client.call(call).await) });
        until("it runs", || site.seen() == 1).await;
        site.client.begin_close();
        if !shared {
            until("two rest no more", || site.metrics()["pool"]["closed"]["shutdown"] == 2).await;
        }
        assert_eq!(running.await.unwrap(), "ok after yes");
        site.client.finish_close().await;
        let closed = site.metrics()["pool"]["closed"]["shutdown"].as_u64();
        assert_eq!(closed, Some(if shared { 0 } else { 3 }));
        other.finish_close().await;
    }
}
