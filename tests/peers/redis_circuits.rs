//! Circuits that several clients keep together through a real Redis.

use std::sync::Arc;

use crate::shared::*;
use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Call, Client, Endpoint};
use trunkline::config::Environment;
use trunkline::mock::{FaultScope, MockFault, MockUpstream};
use trunkline::pool::Tasks;

async fn chat(client: &Arc<Client>) -> Result<(), &'static str> {
    let call = Call {
        endpoint: Endpoint::Chat,
        body: request().to_string(),
        options: client.call_options(None).unwrap(),
    };
    client.call(call).await.map(drop).map_err(|error| error.name_and_code().1)
}

fn state(client: &Client) -> Value {
    serde_json::to_value(client.metrics()).unwrap()["circuits"]["default/m"]["state"].clone()
}

fn fails(upstream: &MockUpstream, times: usize) {
    let fault: MockFault = serde_json::from_value(json!({ "kind": "status", "status": 500 })).unwrap();
    upstream.fault(fault, serde_json::from_value::<FaultScope>(json!({ "times": times })).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_finds_open_or_closed_is_so_for_the_others() {
    let Some(redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let options = json!({
        "circuitBreaker": { "failureThreshold": 3, "recoveryTimeout": 3000 },
        "retry": { "maxRetries": 0 },
    });
    let clients = [(); 3].map(|()| sharing(&upstream, &redis, options.clone()));
    fails(&upstream, 3);
    for _ in 0..3 {
        assert_eq!(chat(&clients[0]).await, Err("ERR_INTERNAL_SERVER"));
    }
    assert_eq!(chat(&clients[0]).await, Err("ERR_CIRCUIT_OPEN"));
    until("the others have heard", || clients.iter().all(|client| state(client) == "open")).await;
    for client in &clients {
        assert_eq!(chat(client).await, Err("ERR_CIRCUIT_OPEN"));
    }
    assert_eq!(upstream.requests().len(), 3);
    // One probe of all, which fails: it is open again for everybody.
    until("its time is over", || clients.iter().all(|client| state(client) == "half-open")).await;
    fails(&upstream, 1);
    let mut ends = Vec::new();
    for client in &clients {
        ends.push(chat(client).await.unwrap_err());
    }
    assert_eq!(ends, ["ERR_INTERNAL_SERVER", "ERR_CIRCUIT_OPEN", "ERR_CIRCUIT_OPEN"]);
    assert_eq!(upstream.requests().len(), 4);
    until("all have heard", || clients.iter().all(|client| state(client) == "open")).await;
    // And one that does not: it is closed for all of those who have it open.
    until("its time is over", || clients.iter().all(|client| state(client) == "half-open")).await;
    assert_eq!(chat(&clients[1]).await, Ok(()));
    until("all have heard", || clients.iter().all(|client| state(client) == "closed")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_a_later_client_of_a_name_brings_is_kept_together_as_well() {
    let Some(redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let client = |provider: &str, more: Value| {
        let options = json!({
            "providers": { provider: { "baseURL": format!("{}/v1", upstream.url()), "apiKey": KEY } },
            "circuitBreaker": { "failureThreshold": 3, "recoveryTimeout": 60_000 },
            "retry": { "maxRetries": 0 },
            "shared": { "redis": url(&redis) },
            "pool": { "idleTimeout": alone() },
        });
        let (options, environment) = (merge(options, more), Environment::default());
        let made = Client::new(options, &environment, &tasks, Box::new(|_| {}), Box::new(|| {}));
        Arc::new(made.unwrap())
    };
    let [first, later] = ["a", "b"].map(|provider| client(provider, json!({ "name": "late" })));
    let elsewhere = client("b", json!({}));
    fails(&upstream, 3);
    for _ in 0..3 {
        assert_eq!(chat(&later).await, Err("ERR_INTERNAL_SERVER"));
    }
    let heard = || {
        let metrics = serde_json::to_value(elsewhere.metrics()).unwrap();
        metrics["circuits"]["b/m"]["state"] == "open"
    };
    until("the other has heard", heard).await;
    assert_eq!(chat(&elsewhere).await, Err("ERR_CIRCUIT_OPEN"));
    assert_eq!(chat(&first).await, Ok(()));
}
