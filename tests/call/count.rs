//! What is counted, and that it agrees with what the upstream saw.

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Endpoint, Mode};

fn counts(site: &Site) -> Value {
    let mut counts = site.metrics()["requests"].take();
    counts.as_object_mut().unwrap().retain(|_, count| *count != 0);
    counts
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_it_counts() {
    let site = Site::new(Way::H1);
    for (endpoint, body) in [
        (Endpoint::Get("no slash".into()), json!({})),
        (Endpoint::Post("/a b".into()), json!({})),
        (Endpoint::Chat, json!({})),
    ] {
        site.client.call(site.make(endpoint, &body, json!({}))).await.unwrap_err();
    }
    assert_eq!(counts(&site), json!({}));
}

#[tokio::test]
async fn figures_agree_with_what_the_upstream_saw() {
    for way in WAYS {
        let site = Site::new(way);
        let usage = json!({ "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10 });
        site.says(json!({ "content": "one two", "usage": usage }));
        for _ in 0..3 {
            site.chat().await.unwrap();
            site.stream(Mode::Objects).await.result.unwrap();
        }
        site.fault(json!({ "kind": "status", "status": 500 }), json!({ "times": 4 }));
        assert!(site.chat().await.is_err());
        site.chat().await.unwrap();
        drop(site.chat());
        let silent = async {
            site.once(json!({ "kind": "silence" }));
            tokio::select! {
                biased;
                () = until("it is there", || site.seen() == 12) => {}
                _ = site.chat() => unreachable!(),
            }
        };
        silent.await;
        let expected = json!({ "started": 9, "succeeded": 7, "failed": 1, "aborted": 1, "retried": 3 });
        assert_eq!(counts(&site), expected, "{way:?}");
        let metrics = site.metrics();
        let tokens = &metrics["tokens"];
        assert_eq!((&tokens["input"], &tokens["output"]), (&json!(49), &json!(21)));
        let requests = site.upstream.requests();
        let sent: usize =
            requests.iter().map(|r| r.headers["content-length"].parse::<usize>().unwrap()).sum();
        assert_eq!(metrics["bytes"]["sent"], sent);
        assert_eq!((metrics["latency"]["count"].as_u64(), requests.len()), (Some(8), 12));
        assert_eq!(metrics["pool"]["opened"], site.upstream.connections().opened);
        // A connection that was there already counts as reused by its first request, too.
        let used: std::collections::HashSet<_> = requests.iter().map(|request| request.connection).collect();
        let reused = metrics["pool"]["reused"].as_u64().unwrap() as usize;
        assert!((requests.len() - used.len()..requests.len()).contains(&reused), "{reused}");
    }
}

#[tokio::test]
async fn every_byte_of_a_body_counts_that_of_an_error_and_of_a_cut_answer_included() {
    for way in WAYS {
        let site = Site::new(way);
        let body = |text: &str| json!({ "raw": { "body": text, "contentType": "application/json" } });
        site.says(body("[1,2,3,4]"));
        site.post(json!({})).await.unwrap();
        site.once(json!({ "kind": "status", "status": 400, "body": "0123456789" }));
        site.post(json!({})).await.unwrap_err();
        assert_eq!(site.metrics()["bytes"]["received"], 9 + 10, "{way:?}");
        site.once(json!({ "kind": "cut", "afterTokens": 1 }));
        site.post(json!({})).await.unwrap_err();
        assert_eq!(site.metrics()["bytes"]["received"], 9 + 10 + 4, "{way:?}");
    }
}
