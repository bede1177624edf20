//! How a stream ends, and what its reader has by then.

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Mode, Outlet};

const CUT: &str = "Connection receive retryable, billed maybe, after maybe,maybe,maybe";
const INTERRUPTED: &str = "StreamInterrupted retryable, billed maybe, after maybe";
const INTERRUPTED_THRICE: &str = "StreamInterrupted retryable, billed maybe, after maybe,maybe,maybe";
const READERS: [Mode; 3] = [Mode::Objects, Mode::Text, Mode::Lines];

fn chunk(index: u32, text: &str) -> Value {
    json!({ "id": "c", "model": "m", "choices": [{ "index": index, "delta": { "content": text } }] })
}

fn finish(index: u32) -> Value {
    json!({ "id": "c", "choices": [{ "index": index, "delta": {}, "finish_reason": "stop" }] })
}

fn role() -> Value {
    json!({ "id": "c", "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" } }] })
}

fn events(data: &[Value]) -> String {
    data.iter().map(|data| format!("data: {data}\n\n")).collect()
}

fn partial(error: &trunkline::error::Error) -> Value {
    let json: Value = serde_json::from_str(&error.to_json()).unwrap();
    serde_json::from_str(json["partial"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_finish_reason_and_the_end_of_the_body_are_an_end_without_done() {
    for way in WAYS {
        let site = Site::new(way);
        site.fault(json!({ "kind": "no-done" }), json!({ "times": 10 }));
        for mode in [Mode::Whole, Mode::Objects, Mode::Text, Mode::Lines] {
            let streamed = site.stream(mode).await;
            let answer = streamed.result.unwrap();
            assert_eq!(body_of(&answer)["choices"][0]["finish_reason"], "stop");
            assert!(meta_of(&answer)["usage"]["total_tokens"].as_u64().unwrap() > 0, "the usage that came");
        }
        assert_eq!(site.seen(), 4);
        site.streams(&events(&[chunk(0, "a"), finish(0)]));
        assert_eq!(tell(&site.stream(Mode::Text).await.result), "ok after yes", "{way:?}");
        // What breaks after the finish reason breaks nothing.
        site.once(json!({ "kind": "wrong-length", "by": 10 }));
        assert_eq!(tell(&site.stream(Mode::Text).await.result), "ok after yes", "{way:?}");
        site.upstream.reset();
        site.works().await;
    }
}

#[tokio::test]
async fn done_after_content_is_an_end_without_finish_reason_and_done_alone_is_a_cut() {
    for way in WAYS {
        let site = Site::new(way);
        site.streams(&format!("{}data: [DONE]\n\n", events(&[role(), chunk(0, "a")])));
        let streamed = site.stream(Mode::Objects).await;
        assert_eq!((streamed.text.as_str(), tell(&streamed.result)), ("a", "ok after yes".into()), "{way:?}");
        for alone in
            ["data: [DONE]\n\n".to_owned(), format!("{}data: [DONE]\n\n", events(&[role()])), String::new()]
        {
            site.streams(&alone);
            let streamed = site.stream(Mode::Objects).await;
            assert_eq!(tell(&streamed.result), CUT, "{way:?} {alone}");
            assert!(streamed.raw.is_empty(), "an attempt that said nothing was never seen");
        }
    }
}

#[tokio::test]
async fn a_clean_end_without_finish_reason_is_a_cut() {
    for way in WAYS {
        for body in [
            events(&[role(), chunk(0, "a")]),
            events(&[chunk(0, "a"), finish(1)]),
            // Half an event is none.
            format!("{}data: {}", events(&[chunk(0, "a")]), finish(0)),
            events(&[json!({ "choices": [{ "delta": { "content": "a" }, "finish_reason": "" }] })]),
        ] {
            let site = Site::new(way);
            site.streams(&body);
            assert_eq!(tell(&site.stream(Mode::Text).await.result), INTERRUPTED, "{way:?} {body}");
            assert_eq!(tell(&site.stream(Mode::Whole).await.result), INTERRUPTED_THRICE, "{way:?} {body}");
        }
    }
}

#[tokio::test]
async fn what_breaks_before_content_is_tried_again_and_nobody_sees_it() {
    for way in WAYS {
        let reference = Site::new(way).stream(Mode::Objects).await;
        for fault in [
            json!({ "kind": "cut", "afterTokens": 0 }),
            json!({ "kind": "cut", "afterTokens": 0, "clean": true }),
            json!({ "kind": "reset", "after": "headers" }),
            json!({ "kind": "reset", "after": 0 }),
            json!({ "kind": "malformed", "atEvent": 1 }),
            json!({ "kind": "malformed", "atEvent": 2 }),
            json!({ "kind": "error-in-stream", "afterTokens": 0, "body": { "error": { "type": "server_error" } } }),
        ] {
            for mode in [Mode::Objects, Mode::Whole] {
                let site = Site::new(way);
                site.fault(fault.clone(), json!({ "times": 2 }));
                let streamed = site.stream(mode).await;
                assert_eq!(tell(&streamed.result), "ok after maybe,maybe,yes", "{way:?} {fault}");
                assert_eq!(site.seen(), 3);
                let expected = body_of(reference.result.as_ref().unwrap());
                assert_eq!(body_of(&streamed.result.unwrap()), expected);
                if mode == Mode::Objects {
                    assert_eq!(streamed.chunks, reference.chunks, "{way:?} {fault}");
                }
                site.quiet().await;
            }
        }
    }
}

#[tokio::test]
async fn what_breaks_after_content_is_tried_again_only_while_nobody_has_seen_it() {
    for way in WAYS {
        let reference = body_of(&Site::new(way).stream(Mode::Whole).await.result.unwrap());
        for fault in [
            json!({ "kind": "cut", "afterTokens": 5 }),
            json!({ "kind": "cut", "afterTokens": 5, "clean": true }),
            json!({ "kind": "reset", "after": 5 }),
            json!({ "kind": "malformed", "atEvent": 7 }),
            json!({ "kind": "error-in-stream", "afterTokens": 5, "body": { "error": { "code": 400 } } }),
        ] {
            let site = Site::new(way);
            site.once(fault.clone());
            let streamed = site.stream(Mode::Whole).await;
            assert_eq!(tell(&streamed.result), "ok after maybe,yes", "{way:?} {fault}");
            assert_eq!(body_of(&streamed.result.unwrap()), reference, "from the start, and none of it twice");
            for mode in READERS {
                site.once(fault.clone());
                let before = site.seen();
                let streamed = site.stream(mode).await;
                assert_eq!(tell(&streamed.result), INTERRUPTED, "{way:?} {fault} {mode:?}");
                assert_eq!(site.seen(), before + 1);
                let partial = partial(&streamed.result.unwrap_err());
                assert_eq!(partial["object"], "chat.completion");
                assert!(said(&reference).starts_with(said(&partial)) && !said(&partial).is_empty());
                if mode != Mode::Lines {
                    assert_eq!(streamed.text, said(&partial), "the reader has what the error says");
                }
                assert_eq!(partial["choices"][0]["finish_reason"], Value::Null);
            }
            site.quiet().await;
            site.works().await;
        }
    }
}

#[tokio::test]
async fn a_reader_who_comes_late_sees_the_attempt_that_went_well() {
    let site = Site::new(Way::H1);
    site.once(json!({ "kind": "cut", "afterTokens": 5 }));
    let outlet = std::sync::Arc::new(Outlet::default());
    let call = site.make(trunkline::client::Endpoint::Chat, &request(), json!({}));
    let answer = site.client.stream(call, outlet.clone()).await.unwrap();
    outlet.choose(Mode::Text);
    assert_eq!(outlet.take().unwrap().text, said(&body_of(&answer)));
}

#[tokio::test]
async fn a_reader_of_texts_has_seen_nothing_of_a_stream_without_text() {
    let site = Site::new(Way::H1);
    let call = json!({ "index": 0, "id": "x", "function": { "name": "f", "arguments": "{}" } });
    let calls = json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }] });
    site.streams(&events(&[role(), calls]));
    assert_eq!(tell(&site.stream(Mode::Text).await.result), INTERRUPTED_THRICE);
    assert_eq!(tell(&site.stream(Mode::Objects).await.result), INTERRUPTED);
}

#[tokio::test]
async fn every_choice_needs_its_finish_reason() {
    for way in WAYS {
        let site = Site::new(way);
        let asked = with(json!({ "n": 3 }));
        let streamed = site.stream_with(Mode::Objects, &asked, json!({})).await;
        let whole = body_of(&streamed.result.unwrap());
        let unary = site.make(trunkline::client::Endpoint::Chat, &asked, json!({}));
        let unary = body_of(&site.client.call(unary).await.unwrap());
        for index in 0..3 {
            assert_eq!(whole["choices"][index], unary["choices"][index], "{way:?}");
        }
        assert_eq!(streamed.text, said(&whole), "the text is that of the first choice");
        let two_of_three = [chunk(0, "a"), chunk(2, "c"), chunk(1, "b"), finish(2), finish(0)];
        site.streams(&events(&two_of_three));
        let streamed = site.stream_with(Mode::Text, &asked, json!({})).await;
        assert_eq!((streamed.text.as_str(), tell(&streamed.result)), ("a", INTERRUPTED.into()), "{way:?}");
        let partial = partial(&streamed.result.unwrap_err());
        let texts: Vec<_> =
            (0..3).map(|index| partial["choices"][index]["message"]["content"].clone()).collect();
        assert_eq!(texts, ["a", "b", "c"]);
        // One that never came is missing too.
        site.streams(&events(&[chunk(0, "a"), finish(0)]));
        assert_eq!(tell(&site.stream_with(Mode::Text, &asked, json!({})).await.result), INTERRUPTED);
        site.streams(&events(&[
            chunk(0, "a"),
            chunk(1, "b"),
            chunk(2, "c"),
            finish(1),
            finish(2),
            finish(0),
        ]));
        assert_eq!(tell(&site.stream_with(Mode::Text, &asked, json!({})).await.result), "ok after yes");
    }
}

#[tokio::test]
async fn the_usage_chunk_is_asked_for_and_hidden_unless_the_caller_asked() {
    for way in WAYS {
        let site = Site::new(way);
        let own = with(json!({ "stream_options": { "include_usage": true } }));
        for (body, shown) in [(request(), 0), (own, 1)] {
            let streamed = site.stream_with(Mode::Objects, &body, json!({})).await;
            let with_usage = streamed.chunks.iter().filter(|chunk| chunk["usage"].is_object()).count();
            assert_eq!(with_usage, shown, "{way:?}");
            let answer = streamed.result.unwrap();
            let total = body_of(&answer)["usage"]["total_tokens"].as_u64().unwrap();
            assert_eq!(meta_of(&answer)["usage"]["total_tokens"], total);
        }
        let refused = with(json!({ "stream_options": { "include_usage": false } }));
        let answer = site.stream_with(Mode::Whole, &refused, json!({})).await.result.unwrap();
        assert!(body_of(&answer).get("usage").is_none(), "the caller's own options are kept");
        assert!(site.upstream.requests().iter().all(|request| request.body["stream"] == true));
    }
}

#[tokio::test]
async fn a_thought_or_anything_new_is_handed_over_as_it_comes() {
    for delta in [
        json!({ "reasoning_content": "hm" }),
        json!({ "reasoning": "hm" }),
        json!({ "function_call": { "name": "f", "arguments": "" } }),
        json!({ "invented_later": [1] }),
    ] {
        let site = Site::new(Way::H1);
        let thought = json!({ "choices": [{ "index": 0, "delta": delta }] });
        site.streams(&events(&[role(), thought.clone()]));
        let streamed = site.stream(Mode::Objects).await;
        assert_eq!(tell(&streamed.result), INTERRUPTED, "{thought}");
        assert_eq!(streamed.chunks, [role(), thought]);
    }
}

#[tokio::test]
async fn comments_names_and_events_of_several_lines_are_read_by_the_rules() {
    let site = Site::new(Way::H1);
    let lines = ": OPENROUTER PROCESSING\n\nevent: message\nid: 7\ndata: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"a\"}}]}\r\n\r\nretry: 5\n\n";
    site.streams(&format!("\u{feff}{lines}{}data:[DONE]\n\ndata: nonsense\n\n", events(&[finish(0)])));
    let streamed = site.stream(Mode::Lines).await;
    assert_eq!(tell(&streamed.result), "ok after yes");
    assert_eq!(streamed.raw.concat().lines().count(), 2, "a piece is one line");
}
