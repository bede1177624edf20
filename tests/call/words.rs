//! What errors say: where it happened, in words that help, and nothing of a key or a query.

use crate::support::*;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use trunkline::client::{Endpoint, Mode};
use trunkline::error::Error;
use trunkline::pool::Tasks;

/// A chat to `url` that fails, and why.
async fn failure(url: &str, options: Value) -> Error {
    failure_of(url, options, &request()).await
}

async fn failure_of(url: &str, options: Value, request: &Value) -> Error {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let client = client_of(url, merge(json!({ "retry": false }), options), &tasks);
    let call = trunkline::client::Call {
        endpoint: Endpoint::Chat,
        body: request.to_string(),
        options: client.call_options(None).unwrap(),
    };
    client.call(call).await.unwrap_err()
}

async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn an_error_of_connecting_names_what_was_connected_to() {
    let nobody = nobody().await;
    let refused = failure(&format!("http://{nobody}"), json!({})).await;
    assert_eq!(refused.message, format!("default: no connection to {nobody}: connection refused"));
    assert!(refused.cause.as_deref().unwrap().contains("refused"));

    let unknown = failure("https://no-such-host.invalid:8443", json!({})).await;
    assert_eq!(unknown.message, "default: the host name no-such-host.invalid was not resolved");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = silent.local_addr().unwrap();
    let late = failure(&format!("https://{place}"), json!({ "timeouts": { "connect": 30 } })).await;
    assert_eq!(late.message, format!("default: no connection to {place} within timeouts.connect (30 ms)"));

    let proxy = json!({ "pool": { "proxy": format!("http://user:SeCrEt@{nobody}") } });
    let proxied = failure("http://a.example", proxy).await;
    assert_eq!(
        proxied.message,
        format!("default: no connection through the proxy http://{nobody}: connection refused")
    );
    assert!(!proxied.to_json().contains("SeCrEt"));
}

#[tokio::test]
async fn what_nobody_has_words_for_names_the_place_and_whom_it_was_for() {
    let request = with(json!({ "model": "m", "n": 2 }));
    let two = json!([{ "provider": "default" }, { "provider": "default", "model": "other" }]);
    for routes in [json!({}), json!({ "m": two })] {
        let options = json!({ "protocol": "anthropic", "routes": routes });
        let error = failure_of("http://a.example", options, &request).await;
        assert_eq!(
            error.message,
            "request.n: cannot be said in Anthropic's protocol: more than one answer to a request"
        );
        assert_eq!((error.provider.as_deref(), error.model.as_deref()), (Some("default"), Some("m")));
        assert!(error.attempts.is_empty());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn an_error_of_a_unix_socket_names_its_path() {
    let error = failure("http://a.example", json!({ "pool": { "socketPath": "/no/such.sock" } })).await;
    assert_eq!(error.message, "default: no connection to /no/such.sock: no such file");
}

#[tokio::test]
async fn an_error_of_tls_names_the_host_and_the_option_that_helps() {
    let upstream = start(json!({ "tls": true }));
    let port = upstream.url().rsplit(':').next().unwrap().to_owned();
    let untrusted = failure(&format!("https://localhost:{port}"), json!({})).await;
    assert_eq!(
        untrusted.message,
        format!(
            "default: no TLS session with localhost:{port}: the issuer of its certificate is not trusted; the certificate of \
             an authority of your own is trusted by pool.tls.ca"
        )
    );
}

#[tokio::test]
async fn a_server_of_plain_http_is_said_to_be_one() {
    let upstream = start(json!({}));
    let place = upstream.url().trim_start_matches("http://").to_owned();
    let error = failure(&format!("https://{place}"), json!({})).await;
    assert_eq!(
        error.message,
        format!(
            "default: no TLS session with {place}: what answers there speaks no TLS, most likely plain HTTP"
        )
    );
}

#[tokio::test]
async fn an_error_of_the_api_names_method_and_path_and_no_query() {
    for way in WAYS {
        let site = Site::with(way, json!({}), json!({ "retry": false }));
        // Nobody has given it a name.
        let host = site.upstream.url().split_once("//").unwrap().1.to_owned();
        let not_found =
            json!({ "kind": "status", "status": 404, "body": { "error": { "code": "not_found" } } });
        site.once(not_found.clone());
        let chat = site.chat().await.unwrap_err();
        assert_eq!(chat.message, format!("{host} answered 404 to POST /v1/chat/completions (not_found)"));
        site.once(not_found);
        let get = site.make(Endpoint::Get("/models?key=SeCrEt".into()), &json!({}), json!({}));
        let got = site.client.call(get).await.unwrap_err();
        assert_eq!(got.message, format!("{host} answered 404 to GET /v1/models (not_found)"));
        let long = format!("/{}", "x".repeat(1000));
        site.once(json!({ "kind": "status", "status": 404, "body": "" }));
        let got = site.client.call(site.make(Endpoint::Get(long.clone()), &json!({}), json!({}))).await;
        let shown = format!("{host} answered 404 to GET /v1{}…", &long[..125]);
        assert_eq!(got.unwrap_err().message, shown);
        // What the caller is told of an error inside a good answer is what was answered.
        let overloaded = json!({ "error": { "type": "overloaded_error" } });
        site.once(json!({ "kind": "error-in-stream", "afterTokens": 0, "body": overloaded }));
        let inside = site.stream(Mode::Text).await.result.unwrap_err();
        assert_eq!(
            inside.message,
            format!("{host} answered 200 to POST /v1/chat/completions with an error (overloaded_error)")
        );
    }
}

#[tokio::test]
async fn an_open_circuit_says_whose_it_is_and_what_opened_it() {
    let breaker = json!({ "failureThreshold": 3, "recoveryTimeout": 60_000 });
    let site = Site::with(Way::H1, json!({}), json!({ "retry": false, "circuitBreaker": breaker }));
    let ask =
        |model| site.client.call(site.make(Endpoint::Chat, &with(json!({ "model": model })), json!({})));
    let faults = [json!({ "kind": "status", "status": 500 }), json!({ "kind": "status", "status": 503 })];
    for (model, fault) in ["m", "n"].iter().zip(&faults) {
        for _ in 0..3 {
            site.once(fault.clone());
            ask(*model).await.unwrap_err();
        }
        let open = ask(*model).await.unwrap_err().message.clone();
        let (words, wait) = open.split_once("; it is tried again in ").unwrap();
        assert!(wait.ends_with(" ms"), "{open}");
        let wanted = match *model {
            "m" => "default: the circuit of the model 'm' is open after 3 failures (the last: 500)",
            _ => "default: the circuit of all its models is open after 6 failures (the last: 503)",
        };
        assert_eq!(words, wanted);
    }
    let site = Site::with(
        Way::H1,
        json!({}),
        json!({ "retry": false, "circuitBreaker": { "failureThreshold": 1 } }),
    );
    site.once(json!({ "kind": "reset", "after": "request" }));
    site.chat().await.unwrap_err();
    let open = site.chat().await.unwrap_err().message.clone();
    assert!(open.contains(" is open after 1 failure (the last: ERR_CONNECTION); it is tried"), "{open}");
}

#[tokio::test]
async fn an_event_that_is_no_chunk_is_said_to_be_one() {
    let site = Site::with(Way::H1, json!({}), json!({ "retry": false }));
    for (body, words) in [
        ("data: {\"a\":\n\n", "default: the answer has an event that is no chunk"),
        ("data: [DONE]\n\n", "default: the answer has an end before any content"),
    ] {
        site.streams(body);
        assert_eq!(site.stream(Mode::Text).await.result.unwrap_err().message, words);
    }
}

#[tokio::test]
async fn a_stream_that_an_error_ends_has_the_providers_words_and_no_status() {
    for way in WAYS {
        let site = Site::new(way);
        let said = json!({ "error": { "message": "x", "type": "overloaded_error" } });
        site.once(json!({ "kind": "error-in-stream", "afterTokens": 3, "body": said }));
        let error = site.stream(Mode::Text).await.result.unwrap_err();
        assert_eq!(
            error.message,
            "default: the stream broke after a part of the answer: answered 200 to POST /v1/chat/completions with an error \
             (overloaded_error)"
        );
        let json: Value = serde_json::from_str(&error.to_json()).unwrap();
        assert_eq!(json["name"], "StreamInterruptedError");
        assert_eq!(serde_json::from_str::<Value>(json["body"].as_str().unwrap()).unwrap(), said);
        assert_eq!((&json["status"], &json["attempts"][0]["status"]), (&Value::Null, &json!(200)));
        // One that just broke has no words.
        site.once(json!({ "kind": "cut", "afterTokens": 3 }));
        let cut = site.stream(Mode::Text).await.result.unwrap_err();
        let json: Value = serde_json::from_str(&cut.to_json()).unwrap();
        assert_eq!((&json["name"], &json["body"]), (&json!("StreamInterruptedError"), &Value::Null));
    }
}

#[tokio::test]
async fn a_model_that_is_not_there_is_named_with_where_those_are_that_are() {
    let site = Site::new(Way::H1);
    site.says(json!({ "status": 404, "json": { "error": { "code": "model_not_found", "message": "words of its own" } } }));
    for error in [site.chat().await.unwrap_err(), site.stream(Mode::Text).await.result.unwrap_err()] {
        let told =
            " (model_not_found); this key has no model 'm': line.get('/models') lists those that it has";
        assert!(error.message.ends_with(told), "{}", error.message);
    }
}

#[tokio::test]
async fn an_address_that_is_not_quite_right_is_told_by_what_it_gives() {
    for (status, path, hint) in [
        (404, "/v1/chat/completions", "; paths are appended to baseURL, which has one already"),
        (404, "", "; baseURL has no version in it, such as /v1"),
        (308, "/v1", "; redirects are not followed: baseURL should be the address that it leads to"),
    ] {
        let site = Site::new(Way::H1);
        site.once(json!({ "kind": "status", "status": status }));
        let base = format!("{}{path}", site.upstream.url());
        let error = failure("", json!({ "baseURL": base })).await;
        assert!(error.message.ends_with(hint), "{}", error.message);
    }
    let site = Site::with(Way::H1, json!({}), json!({ "retry": false }));
    site.says(json!({ "raw": { "body": "<html>", "contentType": "text/html" } }));
    for error in [site.chat().await.unwrap_err(), site.stream(Mode::Text).await.result.unwrap_err()] {
        assert!(
            error.message.contains("(its type is text/html); a page is no API's answer"),
            "{}",
            error.message
        );
    }
    let secure = start(json!({ "tls": true }));
    let error = failure(&secure.url().replace("https://", "http://"), json!({})).await;
    assert!(
        error.message.ends_with("; if the server speaks TLS, baseURL begins with https://"),
        "{}",
        error.message
    );
}
