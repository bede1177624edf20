//! A server that closes its sockets after a short rest or a few requests, as many do: no caller notices.

use std::time::Duration;

use crate::support::*;
use serde_json::json;
use trunkline::client::{Call, Endpoint};
use trunkline::pool::Tasks;

/// With a pool each, so that every call meets a socket that has rested for about as long as it may.
const CALLERS: usize = 20;
/// A second for a server, made shorter: what matters is that the close and the next request fall together.
const REST: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_to_a_server_that_closes_idle_sockets_all_succeed() {
    for (way, calls) in [(Way::H1, 10_000), (Way::H2c, 2000), (Way::H2, 2000)] {
        let upstream = start(json!({
            "tls": way == Way::H2,
            "http2": way != Way::H1,
            "keepAliveTimeout": REST,
            "requestsPerConnection": 5,
        }));
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let pool = match way {
                    Way::H1 => json!({}),
                    Way::H2c => json!({ "http2": "prior-knowledge" }),
                    Way::H2 => json!({ "tls": { "ca": upstream.ca().unwrap() } }),
                };
                let client = client_of(&upstream.url(), json!({ "pool": pool }), &tasks);
                tokio::spawn(async move {
                    let mut ends = Vec::new();
                    for _ in 0..calls / CALLERS {
                        let options = client.call_options(None).unwrap();
                        let body = request().to_string();
                        let call = Call { endpoint: Endpoint::Chat, body, options };
                        ends.push(tell(&client.call(call).await));
                        let rest = REST as f64 * (0.8 + 0.4 * fastrand::f64());
                        tokio::time::sleep(Duration::from_secs_f64(rest / 1000.0)).await;
                    }
                    ends
                })
            })
            .collect();
        let mut again = 0;
        for caller in callers {
            for end in caller.await.unwrap() {
                assert!(end.starts_with("ok after"), "{way:?}: {end}");
                again += usize::from(end.contains("maybe"));
            }
        }
        // For most of the sockets that were closed that is seen before anything is written to them.
        println!("{way:?}: {again} of {calls} calls took a retry");
        assert!(again < calls / 10, "{way:?}: {again}");
    }
}
