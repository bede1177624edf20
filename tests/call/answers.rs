//! Answers that are none, each with the right class, after which the next call works.

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Endpoint, Mode};

const INVALID: &str = "InvalidResponse, billed maybe, after maybe";
const CUT: &str = "Connection receive retryable, billed maybe, after maybe,maybe,maybe";

fn raw(body: &str, content_type: &str) -> Value {
    json!({ "raw": { "body": body, "contentType": content_type } })
}

#[tokio::test]
async fn what_is_no_json_is_no_answer_and_is_not_asked_for_again() {
    for way in WAYS {
        for (answer, words) in [
            (raw("<html>hello</html>", "text/html"), "is not JSON (its type is text/html)"),
            (raw("", "application/json"), "the answer is empty"),
            (raw(" \n", "application/json"), "the answer is empty"),
            (raw("{\"a\":1", "application/json"), "is not JSON"),
            (raw("{} {}", "application/json"), "is not JSON"),
        ] {
            let site = Site::new(way);
            site.says(answer.clone());
            for result in [site.chat().await, site.post(json!({ "idempotencyKey": "k" })).await] {
                assert_eq!(tell(&result), INVALID, "{way:?} {answer}");
                let error = result.unwrap_err();
                assert!(error.message.contains(words), "{}", error.message);
                assert!(error.request_id.is_some());
            }
            assert_eq!(site.seen(), 2);
            site.upstream.reset();
            site.works().await;
        }
    }
}

#[tokio::test]
async fn json_that_is_no_chat_is_no_answer_to_one_and_no_vectors_are_none_to_an_embedding() {
    let site = Site::new(Way::H1);
    for body in ["{\"foo\":1}", "{}", "{\"choices\":null}", "{\"choices\":{}}", "{\"data\":[]}"] {
        site.says(raw(body, "application/json"));
        let chat = site.chat().await;
        assert_eq!(tell(&chat), INVALID, "{body}");
        assert!(chat.unwrap_err().message.contains("no list of choices"));
        assert_eq!(body_of(&site.post(json!({})).await.unwrap()).to_string(), body, "as it is");
    }
    for body in ["{\"foo\":1}", "{\"choices\":[]}", "{\"data\":{}}"] {
        site.says(raw(body, "application/json"));
        assert_eq!(tell(&site.embed(json!("a")).await), INVALID, "{body}");
    }
    site.says(raw("{\"choices\":[]}", "application/json"));
    assert_eq!(body_of(&site.chat().await.unwrap()), json!({ "choices": [] }), "a list of none is one");
    site.upstream.reset();
    site.works().await;
}

#[tokio::test]
async fn a_whole_answer_where_a_stream_was_asked_for_is_none() {
    for way in WAYS {
        let site = Site::new(way);
        for answer in [
            raw("<html>hello</html>", "text/html"),
            raw("", "text/plain"),
            raw("{\"choices\":[]}", "application/json"),
            raw("{\"error\":null}", "application/json"),
            raw("{\"error\":", "application/json"),
        ] {
            site.says(answer.clone());
            assert_eq!(tell(&site.stream(Mode::Objects).await.result), INVALID, "{way:?} {answer}");
        }
        site.upstream.reset();
        site.works().await;
    }
}

#[tokio::test]
async fn a_chat_has_an_answer_and_another_endpoint_may_have_none() {
    for way in WAYS {
        let site = Site::new(way);
        site.says(json!({ "status": 204, "raw": { "body": "" } }));
        assert_eq!(tell(&site.chat().await), INVALID, "{way:?}");
        let answer = site.post(json!({})).await.unwrap();
        assert_eq!(body_of(&answer), Value::Null);
        assert_eq!(meta_of(&answer)["status"], 204);
    }
}

#[tokio::test]
async fn a_compressed_answer_is_refused_before_its_body_comes() {
    for way in WAYS {
        let site = Site::new(way);
        site.says(json!({ "content": "x", "headers": { "content-encoding": "gzip" } }));
        assert_eq!(tell(&site.chat().await), INVALID, "{way:?}");
        assert_eq!(tell(&site.stream(Mode::Text).await.result), INVALID, "{way:?}");
        site.upstream.reset();
        site.says(json!({ "content": "x", "headers": { "content-encoding": "identity" } }));
        assert_eq!(said(&body_of(&site.chat().await.unwrap())), "x");
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf8_are_no_answer_and_in_a_stream_a_cut() {
    for way in WAYS {
        let site = Site::new(way);
        site.fault(json!({ "kind": "bad-utf8" }), json!({ "times": 4 }));
        assert_eq!(tell(&site.chat().await), INVALID, "{way:?}");
        assert_eq!(tell(&site.stream(Mode::Text).await.result), CUT, "{way:?}");
        site.works().await;
    }
}

#[tokio::test]
async fn a_length_that_is_wrong_never_makes_a_truncated_answer_a_success() {
    for way in WAYS {
        let site = Site::new(way);
        for by in [1, 1000] {
            site.fault(json!({ "kind": "wrong-length", "by": by }), json!({ "times": 3 }));
            assert_eq!(tell(&site.chat().await), CUT, "{way:?} {by}");
        }
        for by in [-1, -100] {
            site.fault(json!({ "kind": "wrong-length", "by": by }), json!({ "times": 3 }));
            // HTTP/2 checks the length itself, HTTP/1.1 cannot.
            let expected = if way == Way::H1 { INVALID } else { CUT };
            assert_eq!(tell(&site.chat().await), expected, "{way:?} {by}");
            site.upstream.reset();
            // What follows as garbage is nobody's answer.
            for _ in 0..5 {
                let answer = site.chat().await.unwrap();
                assert_eq!(body_of(&answer)["object"], "chat.completion");
            }
        }
    }
}

#[tokio::test]
async fn a_promise_of_four_gigabytes_is_refused_at_once() {
    for way in WAYS {
        let site = Site::new(way);
        site.once(json!({ "kind": "wrong-length", "by": 1_u64 << 32 }));
        let error = site.chat().await.unwrap_err();
        assert!(error.message.contains("more than 67108864 bytes"), "{way:?} {}", error.message);
        // An error is one by its status, whatever its body promises.
        let huge = json!({ "content-length": (1_u64 << 32).to_string() });
        let fault = json!({ "kind": "status", "status": 400, "headers": huge });
        site.once(fault);
        assert_eq!(tell(&site.chat().await), "BadRequest 400, billed no, after no", "{way:?}");
        site.works().await;
    }
}

#[tokio::test]
async fn an_error_is_classed_though_its_body_is_long() {
    for way in WAYS {
        let site = Site::new(way);
        let body = json!({ "error": { "code": "context_length_exceeded", "message": "x".repeat(900_000) } });
        site.once(json!({ "kind": "status", "status": 400, "body": body }));
        let error = site.chat().await.unwrap_err();
        assert_eq!(error.name_and_code().0, "ContextLengthError");
        // Beyond a mebibyte it is not kept, but remains an error.
        site.once(json!({ "kind": "status", "status": 400, "body": "x".repeat(2 << 20) }));
        assert_eq!(tell(&site.chat().await), "BadRequest 400, billed no, after no", "{way:?}");
        site.works().await;
    }
}

#[tokio::test]
async fn noise_on_the_wire_is_a_broken_connection_and_others_are_made() {
    for way in WAYS {
        let site = Site::new(way);
        site.fault(json!({ "kind": "garbage" }), json!({ "times": 3 }));
        assert_eq!(tell(&site.chat().await), CUT, "{way:?}");
        site.once(json!({ "kind": "garbage" }));
        assert_eq!(tell(&site.chat().await), "ok after maybe,yes", "{way:?}");
        site.works().await;
    }
}

#[tokio::test]
async fn an_error_inside_a_good_answer_is_the_error_it_names() {
    for way in WAYS {
        for (error, end) in [
            (
                json!({ "type": "server_error" }),
                "InternalServer 500 retryable, billed maybe, after maybe,maybe,maybe",
            ),
            (
                json!({ "type": "overloaded_error" }),
                "InternalServer 529 retryable, billed maybe, after maybe,maybe,maybe",
            ),
            (json!({ "code": "rate_limit_exceeded" }), "RateLimit 429 retryable, billed no, after no,no,no"),
            (json!({ "type": "insufficient_quota" }), "RateLimit 429, billed no, after no"),
            // As OpenAI says it: the code tells more than the type.
            (
                json!({ "type": "invalid_request_error", "code": "invalid_api_key" }),
                "Authentication 401, billed no, after no",
            ),
            (
                json!({ "type": "invalid_request_error", "code": "model_not_found" }),
                "NotFound 404, billed no, after no",
            ),
            (json!({ "type": "not_found_error" }), "NotFound 404, billed no, after no"),
            (json!({ "type": "permission_error" }), "PermissionDenied 403, billed no, after no"),
            (
                json!({ "type": "invalid_request_error", "code": "context_length_exceeded" }),
                "ContextLength 400, billed no, after no",
            ),
            (json!({ "code": "content_filter" }), "ContentFilter 400, billed no, after no"),
            (json!({ "type": "invalid_request_error" }), "BadRequest 400, billed no, after no"),
            (json!({ "code": 503 }), "InternalServer 503 retryable, billed maybe, after maybe,maybe,maybe"),
            (json!("boom"), "InternalServer 500 retryable, billed maybe, after maybe,maybe,maybe"),
        ] {
            let site = Site::new(way);
            let body = json!({ "error": error });
            site.says(json!({ "json": body }));
            assert_eq!(tell(&site.chat().await), end, "{way:?} {body}");
            assert_eq!(tell(&site.stream(Mode::Objects).await.result), end, "{way:?} {body}");
            site.streams(&format!("data: {body}\n\n"));
            assert_eq!(tell(&site.stream(Mode::Objects).await.result), end, "{way:?} {body}");
            // By the event's name, with the bare fields or with anything at all.
            site.streams(&format!("event: error\ndata: {error}\n\n"));
            assert_eq!(tell(&site.stream(Mode::Text).await.result), end, "{way:?} {error}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    for way in WAYS {
        let site = Site::new(way);
        let message = json!({ "role": "assistant", "content": null, "refusal": "I cannot." });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        let answer = json!({ "id": "x", "model": "m", "choices": [choice], "error": null });
        site.says(json!({ "json": answer }));
        assert_eq!(body_of(&site.chat().await.unwrap()), answer);
        let delta = json!({ "choices": [{ "index": 0, "delta": { "refusal": "I cannot." } }] });
        let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
        site.streams(&format!("data: {delta}\n\ndata: {end}\n\ndata: [DONE]\n\n"));
        let streamed = site.stream(Mode::Objects).await;
        assert_eq!(streamed.chunks, [delta, end]);
        assert_eq!(body_of(&streamed.result.unwrap())["choices"][0]["message"]["refusal"], "I cannot.");
    }
}

#[tokio::test]
async fn any_other_endpoint_answers_with_what_it_has() {
    let site = Site::new(Way::H1);
    let call = site.make(Endpoint::Get("/models?limit=2".into()), &json!({}), json!({}));
    let answer = site.client.call(call).await.unwrap();
    assert_eq!(body_of(&answer)["object"], "list");
    let requests = site.upstream.requests();
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("GET", "/v1/models?limit=2"));
    assert!(!requests[0].headers.contains_key("content-length"));
}
