//! What every server between the client and its upstream has to go through, whichever it is.

use serde_json::{Value, json};
use trunkline::client::Endpoint;
use trunkline::mock::MockUpstream;

use crate::load::*;
use crate::peer::*;
use crate::support::{Site, tell, with};

pub(crate) const AMBIGUOUS: &str = "Connection receive retryable, billed maybe, after maybe";

/// What has been idle for a second is closed by the server: no call that may be repeated fails, and one that may not ends as `once` has it.
pub(crate) async fn closed_after_a_second(peer: &Peer, upstream: &MockUpstream, once: &[&str]) {
    let (repeated, unrepeated) = tokio::join!(
        around_a_second(peer, upstream, json!({})),
        around_a_second(peer, upstream, json!({ "retry": false })),
    );
    for (front, (ends, closed)) in repeated {
        ends.are_well();
        assert!(closed > 0, "{front:?}");
    }
    for (front, (ends, _)) in unrepeated {
        if front.is_h2() {
            // A GOAWAY says what was not processed.
            ends.are_well();
        } else {
            ends.are(once);
        }
    }
}

/// A connection takes four streams; `refusals`: how many the server has refused so far, where it says so.
pub(crate) async fn four_streams_each(peer: &Peer, upstream: &MockUpstream, refusals: impl Fn() -> usize) {
    for front in FRONTS {
        let site = peer.site(front, upstream, json!({ "retry": false }));
        // What the first connection takes is not known before its streams are there.
        volley(&site, 200).await.are(&["ok after yes", "ok after no,yes"]);
        let refused = refusals();
        volley(&site, 200).await.are(&["ok after yes"]);
        assert_eq!(refusals(), refused);
        let opened = site.metrics()["pool"]["opened"].as_u64().unwrap();
        assert!(opened >= 2 && (opened <= 50 || !front.is_h2()), "{front:?} {opened}");
    }
}

/// Bodies that the server denies by their length. The last one is refused while most of it is still to be sent.
pub(crate) async fn too_large(site: &Site, front: Front) {
    for size in [2_000, 200_000, 10_000_000] {
        let body = with(json!({ "messages": [{ "role": "user", "content": "x".repeat(size) }] }));
        for _ in 0..3 {
            let result = site.client.call(site.make(Endpoint::Chat, &body, json!({}))).await;
            assert_eq!(tell(&result), "API 413, billed no, after no", "{front:?} {size}");
            assert_eq!(chat(site, json!({})).await, "ok after yes", "{front:?} {size}");
        }
    }
    site.quiet().await;
}

/// The server is told to read its configuration anew while calls run.
pub(crate) async fn reloaded(peer: &Peer, upstream: &MockUpstream, reload: impl AsyncFn()) {
    for front in FRONTS {
        let site = peer.site(front, upstream, json!({}));
        let (streams, ends) = through(&site, reload()).await;
        streams.are(&["ok after yes"]);
        ends.are_well();
        let site = peer.site(front, upstream, json!({ "retry": false }));
        let (streams, ends) = through(&site, reload()).await;
        streams.are(&["ok after yes"]);
        if front.is_h2() {
            ends.are_well();
        } else {
            ends.are(&["ok after yes", "ok after no,yes", AMBIGUOUS]);
        }
    }
}

/// The server ends while calls run that may be repeated, and comes back.
pub(crate) async fn restarted_under_patience(peer: &mut Peer, upstream: &MockUpstream, front: Front) {
    let patient = json!({ "retry": { "maxRetries": 20, "baseDelay": 50, "maxDelay": 1000 } });
    let site = peer.site(front, upstream, patient);
    restarted(&site, peer).await.are_well();
}

/// A fault of the upstream, of which a call that is repeated hears nothing, and one that is not hears `end`.
pub(crate) async fn fails_once(site: &Site, front: Front, fault: Value, end: &str) {
    site.once(fault.clone());
    assert_eq!(chat(site, json!({})).await, "ok after maybe,yes", "{front:?} {fault}");
    site.once(fault.clone());
    assert_eq!(chat(site, json!({ "retry": false })).await, end, "{front:?} {fault}");
}

/// A stream that breaks, or stands still, behind the server.
pub(crate) async fn broken_streams(site: &Site, front: Front) {
    let cut = json!({ "kind": "cut", "afterTokens": 3 });
    for fault in [cut, json!({ "kind": "stall", "afterTokens": 3, "for": 5000 })] {
        site.once(fault.clone());
        let end = "StreamInterrupted retryable, billed maybe, after maybe";
        assert_eq!(streamed(site, json!({})).await, end, "{front:?} {fault}");
    }
    volley(site, 10).await.are(&["ok after yes"]);
}

/// The upstream has gone, which the server answers with `status`.
pub(crate) async fn gone(peer: &Peer, upstream: &MockUpstream, status: u16) {
    upstream.close();
    upstream.closed().await;
    let told = format!("InternalServer {status} retryable, billed maybe, after");
    for front in FRONTS {
        let site = peer.site(front, upstream, json!({}));
        for streamed in [false, true] {
            let end = call(&site, streamed, "m", json!({})).await;
            assert_eq!(end, format!("{told} maybe,maybe,maybe"), "{front:?}");
            let end = call(&site, streamed, "m", json!({ "retry": false })).await;
            assert_eq!(end, format!("{told} maybe"), "{front:?}");
        }
    }
}
