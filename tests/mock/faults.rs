//! Each fault does on the wire what its name says.

use std::{error::Error, time::Duration};

use h2::Reason;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use trunkline::mock::{FaultScope, MockFault, MockUpstream};

use crate::client::{BOTH, Client, Protocol, address, chat, fault, read, start, stream, tls};

/// The reason of the RST_STREAM behind an error.
fn reset_reason(error: &hyper::Error) -> Option<Reason> {
    error
        .source()?
        .downcast_ref::<h2::Error>()
        .filter(|error| error.is_reset() && error.is_remote())?
        .reason()
}

fn is_tcp_reset(error: &hyper::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

async fn with(protocol: Protocol, what: Value) -> (MockUpstream, Client) {
    let upstream = start(json!({}));
    fault(&upstream, what);
    let client = Client::connect(&upstream, protocol).await;
    (upstream, client)
}

/// All that a client of bare sockets gets for a request in plain text.
async fn raw(upstream: &MockUpstream, body: &Value) -> Vec<u8> {
    let mut socket = TcpStream::connect(address(upstream)).await.unwrap();
    let body = body.to_string();
    let head =
        format!("POST /chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    let mut got = Vec::new();
    let _ = timeout(Duration::from_millis(300), socket.read_to_end(&mut got)).await;
    got
}

#[tokio::test]
async fn a_status_comes_with_its_body_and_headers_and_then_all_is_well() {
    for protocol in BOTH {
        let what = json!({ "kind": "status", "status": 503, "body": { "error": "busy" }, "headers": { "retry-after": "2" } });
        let (_upstream, mut client) = with(protocol, what).await;
        let response = client.chat(&chat("x")).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (503, &"2".parse().unwrap())
        );
        assert_eq!(read(response).await.text, r#"{"error":"busy"}"#);
        assert_eq!(client.chat(&chat("x")).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_status_without_a_body_has_the_providers_usual_one() {
    let (_upstream, mut client) = with(Protocol::H1, json!({ "kind": "status", "status": 429 })).await;
    let body = client.json(&chat("x")).await;
    assert_eq!(body["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn a_reset_after_accept_resets_the_socket() {
    let upstream = start(json!({}));
    fault(&upstream, json!({ "kind": "reset", "after": "accept" }));
    // It may come before the connection is noticed to stand.
    let error = match TcpStream::connect(address(&upstream)).await {
        Ok(mut socket) => socket.read(&mut [0]).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(Client::connect(&upstream, Protocol::H1).await.chat(&chat("x")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_reset_after_the_request_comes_before_any_answer() {
    let (upstream, mut client) = with(Protocol::H1, json!({ "kind": "reset" })).await;
    assert!(is_tcp_reset(&client.chat(&chat("x")).await.unwrap_err()));
    assert_eq!(upstream.requests().len(), 1);

    let (_upstream, mut client) = with(Protocol::H2, json!({ "kind": "reset", "after": "request" })).await;
    assert_eq!(reset_reason(&client.chat(&chat("x")).await.unwrap_err()), Some(Reason::CANCEL));
    assert_eq!(client.chat(&chat("x")).await.unwrap().status(), 200, "other streams live");
}

#[tokio::test]
async fn a_reset_after_the_head_or_some_tokens_comes_after_them() {
    for (after, tokens) in [(json!("headers"), 0), (json!(3), 3)] {
        for protocol in BOTH {
            let (_upstream, mut client) = with(protocol, json!({ "kind": "reset", "after": after })).await;
            let response = client.chat(&stream("x")).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = read(response).await;
            assert_eq!(body.content().1, tokens);
            let error = body.error.unwrap();
            match protocol {
                Protocol::H1 => assert!(is_tcp_reset(&error), "{error:?}"),
                Protocol::H2 => assert_eq!(reset_reason(&error), Some(Reason::CANCEL)),
            }
        }
    }
}

#[tokio::test]
async fn a_reset_reaches_the_client_through_tls_and_a_wide_area() {
    let upstream = start(json!({ "tls": true, "http2": false, "roundTrip": 4 }));
    fault(&upstream, json!({ "kind": "reset", "after": 2 }));
    let mut client = Client::over(tls(&upstream, &[]).await.unwrap(), Protocol::H1).await.unwrap();
    let body = client.text(&stream("x")).await;
    assert_eq!(body.content().1, 2);
    assert!(is_tcp_reset(&body.error.unwrap()));
}

#[tokio::test]
async fn silence_lasts_for_its_time_or_for_ever() {
    for protocol in BOTH {
        let (_upstream, mut client) = with(protocol, json!({ "kind": "silence", "for": 30 })).await;
        let start = Instant::now();
        assert_eq!(client.chat(&chat("x")).await.unwrap().status(), 200);
        assert!(start.elapsed() >= Duration::from_millis(30));

        let (upstream, mut client) = with(protocol, json!({ "kind": "silence" })).await;
        assert!(timeout(Duration::from_millis(50), client.chat(&chat("x"))).await.is_err());
        assert_eq!(upstream.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_silent_upstream_is_seen_to_leave() {
    for protocol in BOTH {
        let (upstream, mut client) = with(protocol, json!({ "kind": "silence" })).await;
        let _ = timeout(Duration::from_millis(30), client.chat(&chat("x"))).await;
        assert_eq!(upstream.connections().open, 1);
        drop(client);
        while upstream.connections().open > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_stall_pauses_after_its_tokens_and_goes_on_to_the_end() {
    for protocol in BOTH {
        for request in [chat("x"), stream("x")] {
            let (_upstream, mut client) =
                with(protocol, json!({ "kind": "stall", "afterTokens": 2, "for": 40 })).await;
            let start = Instant::now();
            let response = client.chat(&request).await.unwrap();
            let body = read(response).await;
            assert!(start.elapsed() >= Duration::from_millis(40));
            assert!(body.error.is_none());
            assert!(body.is_done() || serde_json::from_str::<Value>(&body.text).is_ok());
        }
    }
}

#[tokio::test]
async fn slow_holds_back_the_first_token_and_each_further_one() {
    for protocol in BOTH {
        let (_upstream, mut client) =
            with(protocol, json!({ "kind": "slow", "firstToken": 20, "perToken": 2 })).await;
        let start = Instant::now();
        let body = client.text(&stream("x")).await;
        let tokens = u32::try_from(body.content().1).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20) + Duration::from_millis(2) * (tokens - 1));
        assert!(body.is_done());
    }
}

#[tokio::test]
async fn a_cut_breaks_the_body_off_after_its_tokens() {
    for protocol in BOTH {
        for (tokens, request) in [(5, stream("x")), (0, stream("x")), (0, chat("x"))] {
            let (_upstream, mut client) =
                with(protocol, json!({ "kind": "cut", "afterTokens": tokens })).await;
            let body = client.text(&request).await;
            assert_eq!(body.content().1, tokens);
            assert!(!body.is_done() && !body.text.is_empty());
            let error = body.error.unwrap();
            match protocol {
                Protocol::H1 => assert!(!is_tcp_reset(&error)),
                Protocol::H2 => assert_eq!(reset_reason(&error), Some(Reason::INTERNAL_ERROR)),
            }
        }
    }
}

#[tokio::test]
async fn a_clean_cut_ends_the_body_as_if_that_were_all() {
    for protocol in BOTH {
        for request in [stream("x"), chat("x")] {
            let what = json!({ "kind": "cut", "afterTokens": 5, "clean": true });
            let (_upstream, mut client) = with(protocol, what).await;
            let body = client.text(&request).await;
            assert!(body.error.is_none());
            assert!(!body.text.contains("finish_reason\":\"stop") && !body.is_done());
            assert!(serde_json::from_str::<Value>(&body.text).is_err());
        }
    }
}

#[tokio::test]
async fn one_event_is_malformed_and_the_others_are_not() {
    for protocol in BOTH {
        let (_upstream, mut client) = with(protocol, json!({ "kind": "malformed", "atEvent": 3 })).await;
        let body = client.text(&stream("x")).await;
        let events = body.events();
        let broken: Vec<_> = (1..)
            .zip(&events)
            .filter(|(_, event)| **event != "[DONE]" && serde_json::from_str::<Value>(event).is_err())
            .collect();
        assert_eq!((broken.len(), broken[0].0), (1, 3));
        assert!(body.is_done() && body.error.is_none());

        let (_upstream, mut client) = with(protocol, json!({ "kind": "malformed", "atEvent": 1 })).await;
        let body = client.text(&chat("x")).await;
        assert!(body.error.is_none() && serde_json::from_str::<Value>(&body.text).is_err());
    }
}

#[tokio::test]
async fn no_done_leaves_out_done_alone() {
    for protocol in BOTH {
        let (_upstream, mut client) = with(protocol, json!({ "kind": "no-done" })).await;
        let body = client.text(&stream("x")).await;
        assert!(!body.is_done() && body.error.is_none() && body.text.contains("\"finish_reason\":\"stop\""));
    }
}

#[tokio::test]
async fn an_error_in_a_stream_comes_after_its_tokens_and_is_the_last_event() {
    for protocol in BOTH {
        let what = json!({ "kind": "error-in-stream", "afterTokens": 4, "body": { "error": { "message": "gone" } } });
        let (_upstream, mut client) = with(protocol, what.clone()).await;
        let body = client.text(&stream("x")).await;
        assert_eq!(body.content().1, 4);
        assert_eq!(body.events().last(), Some(&r#"{"error":{"message":"gone"}}"#));
        assert!(body.error.is_none());

        let (_upstream, mut client) = with(protocol, what).await;
        assert_eq!(client.json(&chat("x")).await["error"]["message"], "gone");
    }
}

#[tokio::test]
async fn goaway_answers_and_ends_the_connection() {
    for protocol in BOTH {
        let (_upstream, mut client) = with(protocol, json!({ "kind": "goaway" })).await;
        let response = client.chat(&chat("x")).await.unwrap();
        assert_eq!(response.headers().contains_key("connection"), protocol == Protocol::H1);
        assert!(read(response).await.error.is_none());
        client.ended().await;
    }
}

#[tokio::test]
async fn goaway_can_refuse_the_request() {
    let (_upstream, mut client) =
        with(Protocol::H2, json!({ "kind": "goaway", "lastStream": "refused" })).await;
    let error = client.chat(&chat("x")).await.unwrap_err();
    assert_eq!(reset_reason(&error), Some(Reason::REFUSED_STREAM));
    client.ended().await;

    let (_upstream, mut client) =
        with(Protocol::H1, json!({ "kind": "goaway", "lastStream": "refused" })).await;
    assert!(client.chat(&chat("x")).await.unwrap_err().is_incomplete_message());
}

#[tokio::test]
async fn close_idle_closes_after_a_whole_answer_without_announcing_it() {
    for protocol in BOTH {
        let (upstream, mut client) = with(protocol, json!({ "kind": "close-idle" })).await;
        let response = client.chat(&chat("x")).await.unwrap();
        assert!(!response.headers().contains_key("connection"));
        assert!(read(response).await.error.is_none());
        client.ended().await;
        assert_eq!(upstream.connections().opened, 1);
    }
}

#[tokio::test]
async fn a_length_that_is_too_long_ends_in_the_middle_and_one_too_short_leaves_garbage() {
    for protocol in BOTH {
        let (_upstream, mut client) = with(protocol, json!({ "kind": "wrong-length", "by": 10 })).await;
        assert!(client.text(&chat("x")).await.error.is_some());
    }
    let (_upstream, mut client) = with(Protocol::H1, json!({ "kind": "wrong-length", "by": -10 })).await;
    let body = client.text(&chat("x")).await;
    assert!(body.error.is_none() && serde_json::from_str::<Value>(&body.text).is_err());
    let (_upstream, mut client) = with(Protocol::H2, json!({ "kind": "wrong-length", "by": -10 })).await;
    assert!(client.text(&chat("x")).await.error.is_some());
}

#[tokio::test]
async fn bad_utf8_breaks_one_byte_within_a_text() {
    for request in [chat("x"), stream("x")] {
        let upstream = start(json!({}));
        let good = raw(&upstream, &request).await;
        fault(&upstream, json!({ "kind": "bad-utf8" }));
        let bad = raw(&upstream, &request).await;
        assert!(String::from_utf8(good).is_ok() && String::from_utf8(bad.clone()).is_err());
        assert!(String::from_utf8_lossy(&bad).contains("\"content\":\"\u{fffd}"));
    }
}

#[tokio::test]
async fn garbage_is_no_http() {
    for protocol in BOTH {
        let (upstream, mut client) = with(protocol, json!({ "kind": "garbage" })).await;
        assert!(client.chat(&chat("x")).await.is_err());
        client.ended().await;
        while upstream.connections().open > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let upstream = start(json!({}));
    fault(&upstream, json!({ "kind": "garbage" }));
    assert!(!raw(&upstream, &chat("x")).await.starts_with(b"HTTP"));
}

#[tokio::test]
async fn a_fault_is_met_as_often_as_asked_for_and_by_its_model_alone() {
    let upstream = start(json!({}));
    let what: MockFault = serde_json::from_value(json!({ "kind": "status", "status": 500 })).unwrap();
    let scope: FaultScope = serde_json::from_value(json!({ "times": 2, "model": "m" })).unwrap();
    upstream.fault(what.clone(), scope);
    let mut client = Client::connect(&upstream, Protocol::H2).await;
    let mut seen = Vec::new();
    for model in ["other", "m", "other", "m", "m"] {
        let mut body = chat("x");
        body["model"] = model.into();
        seen.push(client.chat(&body).await.unwrap().status().as_u16());
    }
    assert_eq!(seen, [200, 500, 200, 500, 200]);

    upstream.fault(what, serde_json::from_value(json!({ "for": 150 })).unwrap());
    assert_eq!(client.chat(&chat("x")).await.unwrap().status(), 500);
    assert_eq!(client.chat(&chat("x")).await.unwrap().status(), 500);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(client.chat(&chat("x")).await.unwrap().status(), 200);
}

#[test]
fn a_wrong_shape_is_refused_with_the_name_of_the_field() {
    let refused = |text: &str| serde_json::from_str::<MockFault>(text).unwrap_err().to_string();
    assert!(refused(r#"{"kind":"cut"}"#).contains("afterTokens"));
    assert!(refused(r#"{"kind":"no-done","x":1}"#).contains('x'));
    assert!(refused(r#"{"kind":"explode"}"#).contains("explode"));
    assert!(refused(r#"{"kind":"status","status":42}"#).contains("status"));
    assert!(refused(r#"{"kind":"reset","after":"lunch"}"#).contains("after"));
    assert!(refused(r#"{"kind":"status","status":500,"headers":{"a b":"c"}}"#).contains("a b"));
}
