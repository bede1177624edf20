//! Embeddings: however many requests it takes, it is one call.

use std::collections::BTreeSet;

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::Endpoint;
use trunkline::error::Billed;

/// What OpenAI takes in one request.
const MOST: usize = 2048;

fn inputs(count: usize) -> Value {
    (0..count).map(|n| format!("text {n}")).collect()
}

fn requests(metrics: &Value) -> (u64, u64, u64, u64) {
    let count = |name: &str| metrics["requests"][name].as_u64().unwrap();
    (count("started"), count("succeeded"), count("failed"), count("aborted"))
}

#[tokio::test]
async fn long_inputs_are_split_and_joined_in_order() {
    for way in WAYS {
        let site = Site::new(way);
        let count = 5 * MOST + 7;
        let answer = site.embed(inputs(count)).await.unwrap();
        let (body, meta) = (body_of(&answer), meta_of(&answer));
        let data = body["data"].as_array().unwrap();
        assert_eq!(data.len(), count, "{way:?}");
        assert!(data.iter().enumerate().all(|(at, vector)| vector["index"] == at));
        for at in [0, 1, MOST - 1, MOST, 3 * MOST + 5, count - 1] {
            let alone = body_of(&site.embed(json!(format!("text {at}"))).await.unwrap());
            assert_eq!(data[at]["embedding"], alone["data"][0]["embedding"], "{at}");
        }
        let sizes: Vec<_> =
            site.upstream.requests().iter().map(|r| r.body["input"].as_array().map_or(1, Vec::len)).collect();
        assert_eq!(sizes[..6].iter().sum::<usize>(), count);
        assert!(sizes.iter().all(|size| *size <= MOST));
        assert_eq!(meta["attempts"].as_array().unwrap().len(), 6, "those of every part");
        assert_eq!(meta["usage"], body["usage"]);
        let metrics = site.metrics();
        assert_eq!(requests(&metrics), (7, 7, 0, 0), "one call, and six of one text");
        let tokens = body["usage"]["prompt_tokens"].as_u64().unwrap();
        assert!(metrics["tokens"]["input"].as_u64().unwrap() > tokens);
    }
}

#[tokio::test]
async fn a_part_that_fails_is_tried_again_alone_and_told_of() {
    let site = Site::new(Way::H2c);
    site.once(json!({ "kind": "status", "status": 500 }));
    let answer = site.embed(inputs(3 * MOST)).await.unwrap();
    assert_eq!(body_of(&answer)["data"].as_array().unwrap().len(), 3 * MOST);
    let meta = meta_of(&answer);
    let mut billed: Vec<_> = meta["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["billed"].as_str().unwrap())
        .collect();
    billed.sort_unstable();
    assert_eq!((billed, site.seen()), (vec!["maybe", "yes", "yes", "yes"], 4));
}

#[tokio::test]
async fn a_part_that_fails_for_good_fails_the_call_once_and_says_what_was_billed() {
    let site = Site::new(Way::H2c);
    // The first four go well, the last is refused.
    site.upstream.reply(
        trunkline::mock::Matcher::Fields(json!({ "input": ["text 8192"] }).as_object().unwrap().clone()),
        serde_json::from_value(json!({ "status": 400, "json": { "error": { "code": "bad" } } })).unwrap(),
    );
    let error = site.embed(inputs(4 * MOST + 1)).await.unwrap_err();
    assert_eq!(error.name_and_code().0, "BadRequestError");
    assert_eq!((error.attempts.len(), error.billed), (5, Billed::Yes));
    assert_eq!(requests(&site.metrics()), (1, 0, 1, 0));
    site.quiet().await;
}

#[tokio::test]
async fn total_is_the_limit_of_the_whole_call() {
    let site = Site::with(Way::H2c, json!({ "latency": 150 }), json!({ "timeouts": { "total": 400 } }));
    // Four at a time: five slices of 150 ms would each be well in time.
    let error = site.embed(inputs(17 * MOST)).await.unwrap_err();
    let json: Value = serde_json::from_str(&error.to_json()).unwrap();
    assert_eq!((&json["phase"], &json["limit"], &json["model"]), (&json!("total"), &json!(400), &json!("e")));
    assert_eq!(requests(&site.metrics()), (1, 0, 1, 0));
    assert!(site.seen() < 17);
}

#[tokio::test]
async fn each_part_has_an_idempotency_key_of_its_own() {
    let site = Site::new(Way::H1);
    let body = json!({ "model": "e", "input": inputs(2 * MOST) });
    let call = site.make(Endpoint::Embeddings, &body, json!({ "idempotencyKey": "k" }));
    site.client.call(call).await.unwrap();
    let keys: BTreeSet<_> =
        site.upstream.requests().iter().map(|request| request.headers["idempotency-key"].clone()).collect();
    assert_eq!(keys, ["k-1", "k-2"].map(str::to_owned).into());
    site.upstream.reset();
    let body = json!({ "model": "e", "input": "a" });
    let call = site.make(Endpoint::Embeddings, &body, json!({ "idempotencyKey": "k" }));
    site.client.call(call).await.unwrap();
    assert_eq!(site.upstream.requests()[0].headers["idempotency-key"], "k");
}

#[tokio::test]
async fn a_part_with_a_vector_too_few_is_no_answer() {
    let site = Site::new(Way::H1);
    let few = json!({ "object": "list", "model": "e", "data": [{ "index": 0, "embedding": [1] }] });
    site.upstream.reply(
        trunkline::mock::Matcher::Path("/embeddings".into()),
        serde_json::from_value(json!({ "json": few })).unwrap(),
    );
    let error = site.embed(inputs(MOST + 1)).await.unwrap_err();
    assert_eq!((error.name_and_code().0, error.billed), ("InvalidResponseError", Billed::Yes));
}

#[tokio::test]
async fn one_input_in_tokens_is_not_split() {
    let site = Site::new(Way::H1);
    site.embed(json!(vec![7; MOST + 1])).await.unwrap();
    assert_eq!(site.seen(), 1);
    site.embed(json!(vec![[7, 8]; MOST + 1])).await.unwrap();
    assert_eq!(site.seen(), 3);
}
