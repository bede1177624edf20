//! Circuits over the real client: what opens them, what does not, and whose place a probe holds.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Endpoint, Mode};

const OPEN: &str = "CircuitOpen retryable, billed no, after no";
/// In milliseconds.
const RECOVERY: u64 = 200;

fn site(way: Way, more: Value) -> Arc<Site> {
    let breaker = json!({ "failureThreshold": 3, "recoveryTimeout": RECOVERY });
    Arc::new(Site::with(way, json!({}), merge(json!({ "retry": false, "circuitBreaker": breaker }), more)))
}

fn state(site: &Site, name: &str) -> Value {
    site.metrics()["circuits"][name]["state"].clone()
}

async fn ask(site: &Site, model: &str) -> String {
    let call = site.make(Endpoint::Chat, &with(json!({ "model": model })), json!({}));
    tell(&site.client.call(call).await)
}

/// Waits until the circuit lets a probe go, and says how it ended.
async fn after_recovery(site: &Site, model: &str) -> String {
    loop {
        let end = ask(site, model).await;
        if end != OPEN {
            return end;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_socket_that_closes_after_its_rest_is_nobodys_failure_and_a_stream_that_is_reset_is_the_targets() {
    for way in WAYS {
        // Half of all attempts fail, and none after another.
        let more = json!({ "retry": { "maxRetries": 1, "budget": { "ratio": 1, "minPerSecond": 1000 } },
            "circuitBreaker": { "minimumCalls": 10, "failureRatio": 0.4, "recoveryTimeout": 60_000 } });
        let site = site(way, more);
        assert_eq!(ask(&site, "m").await, "ok after yes");
        for _ in 0..20 {
            site.fault(json!({ "kind": "reset", "after": "request" }), json!({ "times": 1 }));
            let ended = ask(&site, "m").await;
            assert!(way != Way::H1 || ended == "ok after maybe,yes", "{ended}");
        }
        assert_eq!(state(&site, "default/m"), if way == Way::H1 { "closed" } else { "open" }, "{way:?}");
    }
}

#[tokio::test]
async fn failures_of_the_target_open_it_whatever_their_kind() {
    for way in WAYS {
        for fault in [
            json!({ "kind": "status", "status": 500 }),
            json!({ "kind": "status", "status": 529 }),
            json!({ "kind": "reset", "after": "request" }),
            json!({ "kind": "garbage" }),
            json!({ "kind": "cut", "afterTokens": 0 }),
            json!({ "kind": "cut", "afterTokens": 5 }),
            json!({ "kind": "malformed", "atEvent": 2 }),
            json!({ "kind": "stall", "afterTokens": 2, "for": 60_000 }),
            json!({ "kind": "silence", "for": 60_000 }),
        ] {
            // A minute: it is open for as long as it is looked at.
            let options = json!({ "timeouts": { "firstByte": 30, "idle": 30 }, "circuitBreaker": { "recoveryTimeout": 60_000 } });
            let site = site(way, options);
            site.fault(fault.clone(), json!({ "times": 3 }));
            for n in 0..3 {
                assert_ne!(state(&site, "default/m"), "open", "{way:?} {fault} after {n}");
                assert!(site.stream(Mode::Objects).await.result.is_err());
            }
            assert_eq!(state(&site, "default/m"), "open", "{way:?} {fault}");
            let before = site.seen();
            assert_eq!(tell(&site.stream(Mode::Objects).await.result), OPEN);
            assert_eq!(site.seen(), before, "nothing is sent");
        }
    }
}

#[tokio::test]
async fn a_target_that_is_silent_until_the_deadline_opens_it_though_whole_answers_may_think() {
    for way in WAYS {
        let options = |first_byte: u32| json!({ "timeouts": { "firstByte": first_byte, "total": 60 } });
        let silent = json!({ "kind": "silence", "for": 60_000 });
        let patient = site(way, options(10_000));
        let site = site(way, options(20));
        for site in [&patient, &site] {
            site.fault(silent.clone(), json!({ "times": 3 }));
            for _ in 0..3 {
                let end = tell(&site.chat().await);
                assert_eq!(end, "Timeout total retryable, billed maybe, after maybe");
            }
        }
        assert_eq!(state(&site, "default/m"), "open", "{way:?}");
        assert_eq!(state(&patient, "default/m"), "closed", "{way:?}: it was not given its time");
    }
}

#[tokio::test]
async fn mistakes_of_the_caller_limits_and_aborts_open_none() {
    for way in WAYS {
        let site = site(way, json!({}));
        for status in [400, 401, 402, 403, 404, 408, 409, 422, 429] {
            site.fault(json!({ "kind": "status", "status": status }), json!({ "times": 4 }));
            for _ in 0..4 {
                assert!(site.chat().await.is_err());
            }
            site.upstream.reset();
        }
        for _ in 0..5 {
            site.once(json!({ "kind": "silence" }));
            let running = site.client.call(site.make(Endpoint::Chat, &request(), json!({})));
            let before = site.seen();
            let running = tokio::spawn(running);
            until("it is under way", || site.seen() > before).await;
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        }
        site.quiet().await;
        assert_eq!(ask(&site, "m").await, "ok after yes", "{way:?}");
        assert_eq!((state(&site, "default/m"), state(&site, "default")), (json!("closed"), json!("closed")));
    }
}

#[tokio::test]
async fn a_model_that_fails_leaves_the_others_of_its_provider_alone() {
    let site = site(Way::H1, json!({}));
    site.fault(json!({ "kind": "status", "status": 500 }), json!({ "times": 1000, "model": "bad" }));
    assert_eq!(ask(&site, "good").await, "ok after yes");
    for _ in 0..3 {
        assert!(ask(&site, "bad").await.starts_with("InternalServer"));
    }
    assert_eq!(ask(&site, "bad").await, OPEN);
    assert_eq!(ask(&site, "good").await, "ok after yes");
    assert_eq!((state(&site, "default/bad"), state(&site, "default")), (json!("open"), json!("closed")));
}

#[tokio::test]
async fn a_provider_whose_models_all_fail_is_open_for_any_model() {
    let site = site(Way::H1, json!({ "circuitBreaker": { "recoveryTimeout": 60_000 } }));
    site.fault(json!({ "kind": "status", "status": 500 }), json!({ "times": 1000 }));
    for model in ["a", "b"] {
        for _ in 0..3 {
            ask(&site, model).await;
        }
    }
    assert_eq!(state(&site, "default"), "open");
    let before = site.seen();
    assert_eq!(ask(&site, "never seen before").await, OPEN);
    assert_eq!(site.seen(), before);
}

#[tokio::test]
async fn one_probe_goes_however_many_call_and_one_that_is_cancelled_gives_its_place_back() {
    for way in [Way::H1, Way::H2c] {
        let site = site(way, json!({}));
        site.fault(json!({ "kind": "status", "status": 500 }), json!({ "times": 3 }));
        for _ in 0..3 {
            ask(&site, "m").await;
        }
        let before = site.seen();
        for round in 1..=3 {
            // The probe is silent, and meanwhile nobody else goes.
            site.once(json!({ "kind": "silence", "for": 60_000 }));
            let probe = tokio::spawn({
                let site = site.clone();
                async move { after_recovery(&site, "m").await }
            });
            until("a probe goes", || site.seen() == before + round).await;
            for _ in 0..20 {
                assert_eq!(ask(&site, "m").await, OPEN, "{way:?}");
            }
            assert_eq!(site.seen(), before + round);
            assert_eq!(state(&site, "default/m"), "half-open");
            probe.abort();
            assert!(probe.await.unwrap_err().is_cancelled());
        }
        // The next takes the place at once: nothing failed, so there is no further wait to be had.
        assert_eq!(ask(&site, "m").await, "ok after yes", "{way:?}");
        assert_eq!(ask(&site, "m").await, "ok after yes", "and closed it");
    }
}

#[tokio::test]
async fn a_probe_that_fails_opens_it_anew_and_one_that_is_answered_at_all_closes_it() {
    for way in [Way::H1, Way::H2c] {
        let site = site(way, json!({}));
        site.fault(json!({ "kind": "status", "status": 500 }), json!({ "times": 4 }));
        for _ in 0..3 {
            ask(&site, "m").await;
        }
        assert!(after_recovery(&site, "m").await.starts_with("InternalServer 500"));
        assert_eq!(site.seen(), 4, "{way:?}");
        assert_eq!(ask(&site, "m").await, OPEN, "{way:?}");
        // A mistake of the caller's: somebody is there to tell of it.
        site.once(json!({ "kind": "status", "status": 400 }));
        assert!(after_recovery(&site, "m").await.starts_with("BadRequest 400"));
        assert_eq!(state(&site, "default/m"), "closed");
        assert_eq!(ask(&site, "m").await, "ok after yes", "{way:?}");
    }
}

#[tokio::test]
async fn an_open_circuit_says_when_to_come_back_and_a_call_that_does_goes() {
    let site = site(Way::H1, json!({}));
    site.fault(json!({ "kind": "status", "status": 500 }), json!({ "times": 3 }));
    for _ in 0..3 {
        ask(&site, "m").await;
    }
    let error = site.chat().await.unwrap_err();
    let told: Value = serde_json::from_str(&error.to_json()).unwrap();
    let wait = told["retryAfter"].as_u64().unwrap();
    assert!((1..=RECOVERY).contains(&wait), "{told}");
    // The promise is about a time that passes.
    tokio::time::sleep(Duration::from_millis(wait + 1)).await;
    assert_eq!(ask(&site, "m").await, "ok after yes");
}
