//! Who watches a call: what they are told, and what they may change.

use std::sync::Arc;

use crate::support::*;
use parking_lot::Mutex;
use serde_json::{Value, json};
use trunkline::client::{Endpoint, Question, Witness};
use trunkline::error::{Billed, Kind};

/// A witness that keeps what it is told, and answers by a function.
fn witness(answer: fn(&Question) -> Result<Value, String>) -> (Arc<Witness>, Arc<Mutex<Vec<Value>>>) {
    let told = Arc::<Mutex<Vec<Value>>>::default();
    let kept = told.clone();
    let tell = move |text: String| kept.lock().push(serde_json::from_str(&text).unwrap());
    let ask = move |question: Question| {
        let headers = answer(&question);
        question.answer(headers);
    };
    (Arc::new(Witness::new(Some(Box::new(tell)), Some(Box::new(ask)))), told)
}

fn as_they_are(question: &Question) -> Result<Value, String> {
    Ok(question.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
}

fn events(told: &Mutex<Vec<Value>>) -> Vec<(u64, String)> {
    let told = told.lock();
    let event =
        |told: &Value| (told["attempt"].as_u64().unwrap(), told["event"].as_str().unwrap().to_owned());
    told.iter().map(event).collect()
}

const ONE: [&str; 4] = ["attempt", "sent", "firstByte", "attemptEnd"];

#[tokio::test]
async fn each_attempt_is_told_of_in_its_order_and_at_its_time() {
    for way in WAYS {
        let site = Site::new(way);
        site.once(json!({ "kind": "status", "status": 503 }));
        let (witness, told) = witness(as_they_are);
        let call = site.make(Endpoint::Chat, &request(), json!({}));
        site.client.clone().call_arrived(call, site.client.arrival(Some(witness))).await.unwrap();
        let expected = [1, 2].into_iter().flat_map(|n| ONE.map(|event| (n, event.to_owned())));
        assert_eq!(events(&told), expected.collect::<Vec<_>>(), "{way:?}");
        let times: Vec<_> = told.lock().iter().map(|told| told["at"].as_u64().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(told.lock()[3]["error"], "ERR_INTERNAL_SERVER");
        assert_eq!(told.lock()[7]["billed"], "yes");
    }
}

#[tokio::test]
async fn what_the_witness_makes_of_the_headers_is_sent_over_every_protocol() {
    for way in WAYS {
        let site = Site::new(way);
        let (witness, _) = witness(|question| {
            assert!(!question.headers.iter().any(|(name, _)| name == "host" || name == "authorization"));
            Ok(json!({ "x-signature": question.url, "content-type": "application/json" }))
        });
        let call = site.make(Endpoint::Chat, &request(), json!({}));
        site.client.clone().call_arrived(call, site.client.arrival(Some(witness))).await.unwrap();
        let sent = site.upstream.requests().pop().unwrap();
        assert_eq!(sent.headers["x-signature"], format!("{}/v1/chat/completions", site.upstream.url()));
        assert_eq!(sent.headers["authorization"], format!("Bearer {}", KEY));
        assert!(!sent.headers.contains_key("accept"));
    }
}

#[tokio::test]
async fn what_the_witness_refuses_is_neither_sent_nor_tried_again() {
    let site = Site::new(Way::H1);
    let (witness, told) = witness(|_| Err("no credentials".to_owned()));
    let call = site.make(Endpoint::Chat, &request(), json!({}));
    let error = site.client.clone().call_arrived(call, site.client.arrival(Some(witness))).await.unwrap_err();
    assert!(matches!(error.kind, Kind::Hook));
    assert_eq!(error.message, "hooks.beforeAttempt: threw");
    assert_eq!((error.cause.as_deref(), error.billed), (Some("no credentials"), Billed::No));
    assert!(error.meta.is_some(), "what is known of the call comes with it");
    assert_eq!(events(&told), [(1, "attempt".to_owned()), (1, "attemptEnd".to_owned())]);
    assert!(site.upstream.requests().is_empty());
}

#[tokio::test]
async fn a_question_that_nobody_answers_ends_the_call() {
    let site = Site::new(Way::H1);
    // It is dropped at once.
    let witness = Arc::new(Witness::new(None, Some(Box::new(drop))));
    let call = site.make(Endpoint::Chat, &request(), json!({}));
    let error = site.client.clone().call_arrived(call, site.client.arrival(Some(witness))).await.unwrap_err();
    assert!(matches!(error.kind, Kind::Closed));
}
