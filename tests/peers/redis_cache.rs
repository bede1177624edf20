//! Answers that several clients keep together in a real Redis.

use std::sync::Arc;

use crate::shared::*;
use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Answer, Call, Client, Endpoint, Mode};
use trunkline::error::Error;

fn call(client: &Client, content: &str) -> Call {
    let body = merge(
        with(json!({ "temperature": 0 })),
        json!({ "messages": [{ "role": "user", "content": content }] }),
    );
    Call { endpoint: Endpoint::Chat, body: body.to_string(), options: client.call_options(None).unwrap() }
}

async fn ask(client: &Arc<Client>, content: &str) -> Result<Answer, Error> {
    client.call(call(client, content)).await
}

fn cached(answer: &Answer) -> Value {
    meta_of(answer)["cached"].clone()
}

/// Changes what is kept, whoever did.
async fn each_answer(redis: &crate::peer::Peer, change: impl Fn(&str) -> redis::Cmd) {
    let mut connection =
        redis::Client::open(url(redis)).unwrap().get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("{trunkline}:answer:*").query_async(&mut connection).await.unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        change(&key).exec_async(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn what_one_was_answered_another_is_given_whole_or_as_a_stream() {
    let Some(redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let clients = [(); 2].map(|()| sharing(&upstream, &redis, json!({ "cache": {} })));
    let first = ask(&clients[0], "a").await.unwrap();
    let streamed = stream(&clients[0], call(&clients[0], "b"), Mode::Objects).await;
    assert_eq!(upstream.requests().len(), 2);
    for _ in 0..2 {
        let again = ask(&clients[1], "a").await.unwrap();
        assert_eq!((again.body.clone(), cached(&again)), (first.body.clone(), json!(true)));
        let [one, other] = [meta_of(&first), meta_of(&again)];
        for same in ["provider", "model", "status", "usage", "dropped"] {
            assert_eq!(one[same], other[same], "{same}");
        }
        let again = stream(&clients[1], call(&clients[1], "b"), Mode::Objects).await;
        assert_eq!((again.chunks, again.text), (streamed.chunks.clone(), streamed.text.clone()));
        assert_eq!(cached(&again.result.unwrap()), true);
    }
    assert_eq!(upstream.requests().len(), 2);
    assert!(!String::from_utf8_lossy(&first.body).is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_there_is_asked_for_again() {
    let Some(mut redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let fresh = || sharing(&upstream, &redis, json!({ "cache": {} }));
    let clients: Vec<_> = (0..4).map(|_| fresh()).collect();
    ask(&clients[0], "a").await.unwrap();
    each_answer(&redis, |key| redis::cmd("SET").arg(key).arg("{\"version\":1").arg("KEEPTTL").clone()).await;
    assert_eq!(cached(&ask(&clients[1], "a").await.unwrap()), false);
    each_answer(&redis, |key| redis::cmd("PERSIST").arg(key).clone()).await;
    // Without an end to its time it is none of ours.
    assert_eq!(cached(&ask(&clients[2], "a").await.unwrap()), false);
    redis.stop().await;
    assert_eq!(cached(&ask(&clients[3], "a").await.unwrap()), false);
    assert_eq!(upstream.requests().len(), 4);
}
