//! The stand-in upstream over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "mock/anthropic.rs"]
mod anthropic;
#[path = "mock/anthropic_refused.rs"]
mod anthropic_refused;
#[path = "mock/begun.rs"]
mod begun;
#[path = "mock/client.rs"]
mod client;
#[path = "mock/farewell.rs"]
mod farewell;
#[path = "mock/faults.rs"]
mod faults;
#[path = "mock/gate.rs"]
mod gate;
#[path = "mock/gemini.rs"]
mod gemini;
#[path = "mock/gemini_refused.rs"]
mod gemini_refused;
#[path = "mock/view.rs"]
mod view;

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::Instant,
};
use trunkline::mock::{Asker, Matcher, MockAnswer, MockOptions, MockUpstream, RecordedRequest};

use client::{BOTH, Client, Protocol, address, chat, read, start, stream, tls, tls_connector};

fn answer(value: Value) -> MockAnswer {
    serde_json::from_value(value).unwrap()
}

fn fields(value: Value) -> Matcher {
    let Value::Object(fields) = value else { unreachable!() };
    Matcher::Fields(fields)
}

#[tokio::test]
async fn a_chat_is_answered_in_openais_shape_with_and_without_v1() {
    let upstream = start(json!({}));
    for protocol in BOTH {
        let mut client = Client::connect(&upstream, protocol).await;
        for path in ["/v1/chat/completions", "/chat/completions"] {
            let response = client.send("POST", path, chat("12345678").to_string()).await.unwrap();
            assert_eq!(response.headers()["content-type"], "application/json");
            let body: Value = serde_json::from_str(&read(response).await.text).unwrap();
            assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("m")));
            assert_eq!(body["choices"][0]["finish_reason"], "stop");
            assert_eq!(body["usage"]["prompt_tokens"], 2);
            let tokens = body["usage"]["completion_tokens"].as_u64().unwrap();
            assert!((36..=44).contains(&tokens));
            assert_eq!(body["usage"]["total_tokens"], tokens + 2);
        }
    }
}

#[tokio::test]
async fn answers_follow_from_the_seed_and_the_prompt() {
    let text = async |seed: u64, prompt: &str| {
        let upstream = start(json!({ "seed": seed }));
        let mut client = Client::connect(&upstream, Protocol::H1).await;
        client.json(&chat(prompt)).await.pointer("/choices/0/message/content").unwrap().to_string()
    };
    assert_eq!(text(1, "a").await, text(1, "a").await);
    assert_ne!(text(1, "a").await, text(1, "b").await);
    assert_ne!(text(1, "a").await, text(2, "a").await);
}

#[tokio::test]
async fn a_stream_carries_the_text_of_the_unary_answer_a_token_at_a_time() {
    for (protocol, record) in
        [(Protocol::H1, true), (Protocol::H2, true), (Protocol::H1, false), (Protocol::H2, false)]
    {
        let upstream = start(json!({ "record": record }));
        let mut client = Client::connect(&upstream, protocol).await;
        let unary = client.json(&chat("x")).await;
        let mut request = stream("x");
        request["stream_options"] = json!({ "include_usage": true });
        let response = client.chat(&request).await.unwrap();
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        let body = read(response).await;
        let (text, deltas) = body.content();
        assert_eq!(unary["choices"][0]["message"]["content"], text);
        assert_eq!(unary["usage"]["completion_tokens"], deltas);
        assert!(body.is_done() && body.error.is_none());
        let events = body.events();
        let usage: Value = serde_json::from_str(events[events.len() - 2]).unwrap();
        assert_eq!((&usage["usage"], &usage["choices"]), (&unary["usage"], &json!([])));
        assert!(events[0].contains("\"role\":\"assistant\""));
        assert!(!client.text(&stream("x")).await.text.contains("\"usage\""));
    }
}

#[tokio::test]
async fn several_choices_are_several() {
    let upstream = start(json!({}));
    let mut client = Client::connect(&upstream, Protocol::H1).await;
    let mut request = chat("x");
    request["n"] = 3.into();
    let body = client.json(&request).await;
    let choices = body["choices"].as_array().unwrap();
    let texts: HashSet<_> = choices.iter().map(|choice| choice["message"]["content"].to_string()).collect();
    assert_eq!((choices.len(), texts.len()), (3, 3));
    request["stream"] = true.into();
    let streamed = client.text(&request).await;
    assert_eq!(streamed.text.matches("\"finish_reason\":\"stop\"").count(), 3);
}

#[tokio::test]
async fn embeddings_are_the_same_unit_vectors_each_time_in_numbers_and_base64() {
    let upstream = start(json!({}));
    let mut client = Client::connect(&upstream, Protocol::H2).await;
    let mut embed = async |body: Value| {
        let response = client.send("POST", "/v1/embeddings", body.to_string()).await.unwrap();
        serde_json::from_str::<Value>(&read(response).await.text).unwrap()
    };
    let two = embed(json!({ "model": "e", "input": ["a", "b"] })).await;
    let one = embed(json!({ "model": "e", "input": "a" })).await;
    assert_eq!(two["data"][0]["embedding"], one["data"][0]["embedding"]);
    assert_ne!(two["data"][0]["embedding"], two["data"][1]["embedding"]);
    assert_eq!(two["data"][0]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(two["usage"], json!({ "prompt_tokens": 2, "total_tokens": 2 }));
    let wide =
        embed(json!({ "model": "e", "input": "a", "dimensions": 3, "encoding_format": "base64" })).await;
    assert_eq!(wide["data"][0]["embedding"].as_str().unwrap().len(), 16);
    assert!(embed(json!({ "model": "e" })).await["error"]["message"].as_str().unwrap().contains("input"));
}

#[tokio::test]
async fn models_are_listed_and_anything_else_is_not_found() {
    let upstream = start(json!({}));
    for protocol in BOTH {
        let mut client = Client::connect(&upstream, protocol).await;
        let models = read(client.send("GET", "/v1/models", String::new()).await.unwrap()).await;
        assert!(models.text.contains(r#""object":"list""#));
        let lost = client.send("GET", "/v1/nowhere", String::new()).await.unwrap();
        assert_eq!(lost.status(), 404);
        assert!(read(lost).await.text.contains("\"error\""));
        let broken = client.send("POST", "/v1/chat/completions", "{".into()).await.unwrap();
        assert_eq!(broken.status(), 400);
    }
}

#[tokio::test]
async fn request_ids_are_unique() {
    let upstream = start(json!({}));
    let mut client = Client::connect(&upstream, Protocol::H1).await;
    let mut ids = HashSet::new();
    for _ in 0..20 {
        let response = client.chat(&chat("x")).await.unwrap();
        ids.insert(response.headers()["x-request-id"].to_str().unwrap().to_owned());
        read(response).await;
    }
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn the_last_reply_that_matches_wins() {
    let upstream = start(json!({}));
    upstream.reply(fields(json!({ "model": "m" })), "first".into());
    upstream.reply(fields(json!({ "messages": [{ "content": "hello" }] })), "second".into());
    upstream.reply(fields(json!({ "model": "other" })), "third".into());
    let mut client = Client::connect(&upstream, Protocol::H1).await;
    let mut said = async |body: Value| client.json(&body).await["choices"][0]["message"]["content"].clone();
    assert_eq!(said(chat("x")).await, "first");
    assert_eq!(said(chat("hello")).await, "second");
    upstream.reset();
    assert_ne!(said(chat("hello")).await, "second");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_reply_says_content_tools_usage_finish_reason_chunks_and_headers() {
    let upstream = start(json!({}));
    let call = json!({ "function": { "name": "look", "arguments": "{\"where\":\"under the bed\"}" } });
    upstream.reply(
        fields(json!({})),
        answer(json!({
            "content": "one two three four", "chunks": 2, "toolCalls": [call], "finishReason": "length",
            "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 }, "headers": { "x-a": "b" },
        })),
    );
    let mut client = Client::connect(&upstream, Protocol::H1).await;
    let unary = client.json(&chat("x")).await;
    assert_eq!(unary["usage"]["total_tokens"], 3);
    assert_eq!(unary["choices"][0]["finish_reason"], "length");
    let function = &unary["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(function["arguments"], call["function"]["arguments"]);
    let response = client.chat(&stream("x")).await.unwrap();
    assert_eq!(response.headers()["x-a"], "b");
    let body = read(response).await;
    assert_eq!(body.content(), ("one two three four".to_owned(), 2));
    let deltas = body.events().into_iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    let arguments: Vec<_> = deltas
        .filter_map(|event| {
            let call = event.pointer("/choices/0/delta/tool_calls/0/function/arguments")?;
            call.as_str().map(str::to_owned)
        })
        .collect();
    assert!(arguments.len() > 2);
    assert_eq!(arguments.concat(), call["function"]["arguments"].as_str().unwrap());
}

#[tokio::test]
async fn a_path_can_be_given_json_or_raw_bytes_and_a_status() {
    let upstream = start(json!({}));
    upstream.reply(Matcher::Path("/v1/files".into()), answer(json!({ "json": { "files": [] } })));
    upstream.reply(
        Matcher::Path("/page".into()),
        answer(json!({ "raw": { "body": "<html>", "contentType": "text/html" }, "status": 502 })),
    );
    upstream.reply(Matcher::Path("/none".into()), answer(json!({ "raw": { "body": "" }, "status": 204 })));
    for protocol in BOTH {
        let mut client = Client::connect(&upstream, protocol).await;
        let files = client.send("GET", "/files?limit=2", String::new()).await.unwrap();
        assert_eq!(read(files).await.text, r#"{"files":[]}"#);
        let page = client.send("POST", "/v1/page", "x".into()).await.unwrap();
        assert_eq!(
            (page.status().as_u16(), &page.headers()["content-type"]),
            (502, &"text/html".parse().unwrap())
        );
        assert_eq!(read(page).await.text, "<html>");
        let none = client.send("GET", "/none", String::new()).await.unwrap();
        assert_eq!((none.status().as_u16(), read(none).await.text.as_str()), (204, ""));
    }
}

struct AskOdd;

impl Asker for AskOdd {
    fn ask(&self, id: u32, request: &RecordedRequest) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        if id == 7 {
            let _ = sender.send(request.body["model"] == "m");
        }
        receiver
    }
}

#[tokio::test]
async fn a_function_is_asked_and_one_that_does_not_answer_matches_nothing() {
    let upstream = start(json!({}));
    upstream.reply(Matcher::Ask(7), "asked".into());
    upstream.reply(Matcher::Ask(8), "never".into());
    let mut client = Client::connect(&upstream, Protocol::H2).await;
    assert_ne!(client.json(&chat("x")).await["choices"][0]["message"]["content"], "asked");
    upstream.set_asker(Arc::new(AskOdd));
    assert_eq!(client.json(&chat("x")).await["choices"][0]["message"]["content"], "asked");
}

#[tokio::test]
async fn requests_are_recorded_in_the_shape_of_the_typings() {
    let upstream = start(json!({}));
    let mut h1 = Client::connect(&upstream, Protocol::H1).await;
    h1.json(&chat("x")).await;
    let mut h2 = Client::connect(&upstream, Protocol::H2).await;
    h2.json(&chat("y")).await;
    h2.send("POST", "/v1/chat/completions?a=b", "no json".into()).await.unwrap();
    let requests = serde_json::to_value(upstream.requests()).unwrap();
    let keys: Vec<_> = requests[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["at", "body", "connection", "headers", "method", "path", "stream"]);
    assert_eq!((&requests[0]["connection"], &requests[0]["stream"]), (&json!(1), &Value::Null));
    assert_eq!(requests[0]["body"], chat("x"));
    assert_eq!(requests[0]["headers"]["content-type"], "application/json");
    assert_eq!((&requests[2]["connection"], &requests[2]["stream"]), (&json!(2), &json!(2)));
    assert_eq!(
        (&requests[2]["body"], &requests[2]["path"]),
        (&json!("no json"), &json!("/v1/chat/completions?a=b"))
    );
    assert_eq!(requests[2]["headers"]["host"], "mock");
    assert!(requests[2]["at"].as_f64() >= requests[0]["at"].as_f64());
}

#[tokio::test]
async fn nothing_is_recorded_when_told_so() {
    let upstream = start(json!({ "record": false }));
    Client::connect(&upstream, Protocol::H1).await.json(&chat("x")).await;
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_body_in_chunks_and_a_pipelined_request_are_read() {
    let upstream = start(json!({}));
    let mut socket = TcpStream::connect(address(&upstream)).await.unwrap();
    let body = chat("x").to_string();
    let (one, two) = body.split_at(10);
    let chunked = "POST /chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    let next = "GET /models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(format!("{chunked}{chunks}{next}").as_bytes()).await.unwrap();
    let mut got = String::new();
    socket.read_to_string(&mut got).await.unwrap();
    assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(upstream.requests()[0].body, chat("x"));
}

#[tokio::test]
async fn what_is_no_http_is_turned_away_and_nobody_else_notices() {
    let upstream = start(json!({}));
    let mut client = Client::connect(&upstream, Protocol::H2).await;
    let mut socket = TcpStream::connect(address(&upstream)).await.unwrap();
    socket.write_all(b"\x16\x03\x01 this is TLS, or is it\r\n\r\n").await.unwrap();
    let mut got = String::new();
    socket.read_to_string(&mut got).await.unwrap();
    assert!(got.starts_with("HTTP/1.1 400"));
    client.json(&chat("x")).await;
}

#[tokio::test]
async fn tls_is_trusted_by_its_authority_alone_and_offers_both_protocols() {
    let upstream = start(json!({ "tls": true }));
    assert!(upstream.url().starts_with("https://127.0.0.1:"));
    let stream = tls(&upstream, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    Client::over(stream, Protocol::H2).await.unwrap().json(&chat("x")).await;
    for alpn in [&["http/1.1"][..], &[]] {
        let stream = tls(&upstream, alpn).await.unwrap();
        Client::over(stream, Protocol::H1).await.unwrap().json(&chat("x")).await;
    }
    let h1_only = start(json!({ "tls": true, "http2": false }));
    let stream = tls(&h1_only, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(upstream.ca(), h1_only.ca());
    assert_eq!(start(json!({})).ca(), None);
}

#[tokio::test]
async fn a_second_handshake_resumes_the_session() {
    let upstream = start(json!({ "tls": true }));
    let connector = tls_connector(&upstream, &["http/1.1"]);
    for _ in 0..2 {
        let socket = TcpStream::connect(address(&upstream)).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        let stream = connector.connect(name, socket).await.unwrap();
        // The ticket comes with the first bytes that are read.
        Client::over(stream, Protocol::H1).await.unwrap().json(&chat("x")).await;
    }
    assert_eq!(upstream.connections().handshakes_resumed, 1);
}

#[tokio::test]
async fn connections_are_counted_as_they_open_and_close() {
    let upstream = start(json!({}));
    let mut one = Client::connect(&upstream, Protocol::H1).await;
    let mut two = Client::connect(&upstream, Protocol::H2).await;
    one.json(&chat("x")).await;
    two.json(&chat("x")).await;
    let counts = upstream.connections();
    assert_eq!((counts.opened, counts.open, counts.closed), (2, 2, 0));
    assert!(serde_json::to_value(counts).unwrap()["opened"].is_u64());
    drop(one);
    while upstream.connections().closed < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    two.json(&chat("x")).await;
}

#[tokio::test]
async fn close_ends_every_connection_and_frees_the_port() {
    let upstream = start(json!({}));
    let mut one = Client::connect(&upstream, Protocol::H1).await;
    let mut two = Client::connect(&upstream, Protocol::H2).await;
    two.json(&chat("x")).await;
    client::fault(&upstream, json!({ "kind": "silence" }));
    let asked = tokio::spawn(async move { one.chat(&chat("x")).await.is_err() });
    while upstream.requests().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    upstream.close();
    upstream.closed().await;
    assert!(asked.await.unwrap());
    assert_eq!(upstream.connections().open, 0);
    let port: u16 = address(&upstream).rsplit_once(':').unwrap().1.parse().unwrap();
    let again = start(json!({ "port": port }));
    Client::connect(&again, Protocol::H1).await.json(&chat("x")).await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes() {
    let upstream = start(json!({}));
    let (closed, other) = (upstream.closed(), upstream.clone());
    drop(upstream);
    Client::connect(&other, Protocol::H1).await.json(&chat("x")).await;
    drop(other);
    closed.await;
}

#[tokio::test]
async fn latency_comes_before_the_head_and_the_pace_before_each_token() {
    for protocol in BOTH {
        let upstream = start(json!({ "latency": 40, "tokensPerSecond": 1000 }));
        let mut client = Client::connect(&upstream, protocol).await;
        let begin = Instant::now();
        let response = client.chat(&stream("x")).await.unwrap();
        let head = begin.elapsed();
        assert!(head >= Duration::from_millis(36));
        let body = read(response).await;
        assert!(begin.elapsed() >= Duration::from_millis(36 + body.content().1 as u64 - 1));
        assert!(body.is_done());
    }
}

#[tokio::test]
async fn a_round_trip_is_paid_by_the_connection_each_handshake_and_each_exchange() {
    let trip = Duration::from_millis(20);
    let upstream = start(json!({ "roundTrip": 20, "tls": true }));
    let begin = Instant::now();
    let stream = tls(&upstream, &["h2"]).await.unwrap();
    assert!(begin.elapsed() >= 2 * trip, "one for TCP, one for TLS 1.3");
    let mut client = Client::over(stream, Protocol::H2).await.unwrap();
    for _ in 0..2 {
        let begin = Instant::now();
        client.json(&chat("x")).await;
        assert!(begin.elapsed() >= trip);
    }
    // Exchanges side by side share the way: here a hundred, whose answers would not fit the time one by one.
    let many = start(json!({ "roundTrip": 20 }));
    let mut client = Client::connect(&many, Protocol::H2).await;
    let big = "x".repeat(200_000);
    many.reply(fields(json!({})), big.as_str().into());
    assert_eq!(client.json(&chat("x")).await["choices"][0]["message"]["content"], big.as_str());
    drop(client);
    while many.connections().open > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn beyond_the_rate_limit_it_is_429_with_the_time_to_come_back() {
    let limit = json!({ "requestsPerSecond": 1, "burst": 2, "tokensPerMinute": 100_000 });
    let upstream = start(json!({ "rateLimit": limit }));
    let mut client = Client::connect(&upstream, Protocol::H1).await;
    for left in ["1", "0"] {
        let response = client.chat(&chat("x")).await.unwrap();
        assert_eq!(response.headers()["x-ratelimit-limit-requests"], "2");
        assert_eq!(response.headers()["x-ratelimit-remaining-requests"], left);
        assert!(response.headers().contains_key("x-ratelimit-reset-tokens"));
        read(response).await;
    }
    let response = client.chat(&chat("x")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    let ms: u64 = response.headers()["retry-after-ms"].to_str().unwrap().parse().unwrap();
    assert!(read(response).await.text.contains("rate_limit_exceeded"));
    tokio::time::sleep(Duration::from_millis(ms)).await;
    assert_eq!(client.chat(&chat("x")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_which_is_announced_from_a_second_on() {
    for protocol in BOTH {
        let upstream = start(json!({ "keepAliveTimeout": 30 }));
        let mut client = Client::connect(&upstream, protocol).await;
        let response = client.chat(&chat("x")).await.unwrap();
        assert!(!response.headers().contains_key("keep-alive"));
        read(response).await;
        client.ended().await;
    }
    let upstream = start(json!({ "keepAliveTimeout": 2500 }));
    let mut client = Client::connect(&upstream, Protocol::H1).await;
    assert_eq!(client.chat(&chat("x")).await.unwrap().headers()["keep-alive"], "timeout=2");
}

#[tokio::test]
async fn a_connection_ends_after_its_requests_without_announcing_it() {
    for protocol in BOTH {
        let upstream = start(json!({ "requestsPerConnection": 2 }));
        let mut client = Client::connect(&upstream, protocol).await;
        client.json(&chat("x")).await;
        let response = client.chat(&chat("x")).await.unwrap();
        assert!(!response.headers().contains_key("connection"));
        assert!(read(response).await.error.is_none());
        client.ended().await;
        assert_eq!(upstream.requests().len(), 2);
    }
}

#[tokio::test]
async fn the_limit_on_streams_is_announced() {
    let upstream = start(json!({ "maxConcurrentStreams": 3 }));
    let socket = TcpStream::connect(address(&upstream)).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://mock/models").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(sender.current_max_send_streams(), 3);
    connection.abort();
}

#[test]
fn options_that_mean_nothing_are_refused_by_name() {
    let unknown = serde_json::from_value::<MockOptions>(json!({ "latancy": 1 })).unwrap_err();
    assert!(unknown.to_string().contains("latancy"));
    let negative: MockOptions = serde_json::from_value(json!({ "latency": -1 })).unwrap();
    assert!(MockUpstream::start(negative).unwrap_err().to_string().contains("latency"));
    let unknown = serde_json::from_value::<MockAnswer>(json!({ "contents": "x" })).unwrap_err();
    assert!(unknown.to_string().contains("contents"));
}
