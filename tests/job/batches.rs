use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline::error::Kind;

use crate::file::{Folder, line};
use crate::support::*;

fn fast(more: Value) -> Value {
    json!({ "providerBatch": merge(json!({ "interval": 10 }), more) })
}

/// What was posted to a path, as the stand-in has recorded it.
fn posted(site: &Site, path: &str) -> Vec<Value> {
    let all = site.upstream.requests().into_iter();
    all.filter(|request| request.method == "POST" && request.path.ends_with(path))
        .map(|request| request.body)
        .collect()
}

/// The requests of a file as it was uploaded.
fn requests_of(upload: &Value) -> Vec<Value> {
    upload.as_str().unwrap().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn of_model(id: &str, model: &str) -> String {
    let mut line: Value = serde_json::from_str(&line(id)).unwrap();
    line["body"]["model"] = model.into();
    line.to_string()
}

fn vectors(id: &str, inputs: usize) -> String {
    let body = json!({ "model": "embed", "input": vec!["a"; inputs] });
    json!({ "custom_id": id, "method": "POST", "url": "/v1/embeddings", "body": body }).to_string()
}

#[tokio::test]
async fn each_batch_is_of_one_model_and_endpoint_and_no_larger_than_it_may_be() {
    let site = Site::new(Way::H1);
    let mut lines: Vec<_> =
        (0..60).map(|n| of_model(&format!("chat-{n}"), if n % 3 == 0 { "one" } else { "other" })).collect();
    lines.extend((0..26).map(|n| vectors(&format!("vectors-{n}"), 2000)));
    lines.push(vectors("split", 2100));
    let folder = Folder::new("parts", &lines.join("\n"));
    let summary = folder.run(&site, fast(json!({ "maxRequests": 30 }))).await.unwrap();
    assert_eq!((summary.status, summary.progress.succeeded, summary.progress.failed), ("done", 87, 0));
    let uploads: Vec<_> = posted(&site, "/files").iter().map(requests_of).collect();
    let mut counts = Vec::new();
    for requests in &uploads {
        let kinds: BTreeSet<_> =
            requests.iter().map(|one| (one["url"].to_string(), one["body"]["model"].to_string())).collect();
        assert_eq!(kinds.len(), 1, "{kinds:?}");
        counts.push((requests[0]["body"]["model"].as_str().unwrap(), requests.len()));
    }
    counts.sort_unstable();
    // 50,000 inputs of embeddings are the most of a batch.
    assert_eq!(counts, [("embed", 1), ("embed", 25), ("one", 20), ("other", 10), ("other", 30)]);
    let names: BTreeSet<_> = folder
        .results("out.jsonl")
        .iter()
        .map(|told| told["custom_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 87);
    // One request has 2,048 inputs at most, and a call with more is split.
    assert_eq!(posted(&site, "/embeddings").len(), 2);
}

#[tokio::test]
async fn bytes_decide_where_requests_are_large_and_what_no_batch_takes_is_a_call() {
    let site = Site::new(Way::H1);
    let long = |id: &str, bytes: usize| {
        let mut line: Value = serde_json::from_str(&line(id)).unwrap();
        line["body"]["messages"][0]["content"] = "x".repeat(bytes).into();
        line.to_string()
    };
    let mut lines: Vec<_> = (0..10).map(|n| long(&format!("id-{n}"), 3000)).collect();
    lines.push(long("huge", 30_000));
    let folder = Folder::new("bytes", &lines.join("\n"));
    let summary = folder.run(&site, fast(json!({ "maxBytes": 16_384 }))).await.unwrap();
    assert_eq!((summary.status, summary.progress.succeeded), ("done", 11));
    let uploads = posted(&site, "/files");
    assert!(uploads.iter().all(|upload| upload.as_str().unwrap().len() <= 16_384));
    assert_eq!(uploads.iter().map(|upload| requests_of(upload).len()).sum::<usize>(), 10);
    let calls = posted(&site, "/chat/completions");
    assert_eq!(calls.len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_lost_on_its_way_makes_nothing_twice() {
    for protocol in ["openai", "anthropic"] {
        let site = Site::with(Way::H1, json!({}), json!({ "protocol": protocol }));
        // The provider has it, and nobody hears of that.
        site.once(json!({ "kind": "reset", "after": "headers" }));
        let lines: Vec<_> = (0..5).map(|n| line(&format!("id-{n}"))).collect();
        let folder = Folder::new(&format!("lost-{protocol}"), &lines.join("\n"));
        let summary = folder.run(&site, fast(json!({}))).await.unwrap();
        assert_eq!((summary.status, summary.progress.succeeded), ("done", 5), "{protocol}");
        let uploads = posted(&site, "/files").len();
        assert_eq!(uploads, usize::from(protocol == "openai"));
        assert_eq!(posted(&site, "/batches").len(), 1, "{protocol}");
        assert!(posted(&site, "/chat/completions").is_empty() && posted(&site, "/messages").is_empty());
    }
}

#[tokio::test]
async fn a_key_that_is_refused_ends_the_job_and_what_was_made_is_gone_on_with() {
    let site = Site::with(Way::H1, json!({ "keys": { "good": {} } }), json!({ "apiKey": "bad" }));
    let folder = Folder::new("key", &line("a"));
    let summary = folder.run(&site, fast(json!({}))).await.unwrap();
    assert_eq!(summary.status, "ended");
    assert!(summary.error.unwrap().contains("ERR_AUTHENTICATION"));
    assert!(folder.0.join("out.jsonl.job.batches").exists());
    let without = folder.run(&site, json!({})).await.unwrap_err();
    assert!(matches!(without.kind, Kind::Job { reason: "batches" }), "{without:?}");
}

#[tokio::test]
async fn batches_and_a_queue_are_not_for_one_job() {
    let files = json!({ "input": "a", "output": "b", "queue": { "job": "j" }, "providerBatch": true });
    let refused = trunkline::config::JobOptions::parse(files).unwrap_err();
    assert!(
        refused.message.starts_with("providerBatch: must be left out of a job with a queue"),
        "{refused:?}"
    );
}
