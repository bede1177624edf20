//! What becomes of a stream that breaks, over real sockets: unseen, it begins again without a word; seen, it fails, begins again and says
//! so, or is gone on with, as the caller's `recover` has it. Whatever is spoken, whoever follows the signals ends with the whole answer once.

use crate::routes::*;
use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Endpoint, Mode};
use trunkline::error::{Error, Kind};

const PROTOCOLS: [&str; 3] = ["openai", "anthropic", "gemini"];
/// White space of all kinds, characters of one to four bytes, and what JSON escapes.
const TEXT: &str = "One,  two\n\n\tdrei → \u{3000}vier 🎺🎺 \"five\"\\n \u{e9}\u{301}n  sechs\r\nEnd. ";

/// What somebody has who reads the chunks as they come, and begins again where they say so. How often that was, too.
fn followed(streamed: &Streamed) -> (String, usize) {
    let (mut text, mut restarts) = (String::new(), 0);
    for chunk in &streamed.chunks {
        if chunk["trunkline"]["restart"] == true {
            assert_eq!(chunk["choices"], json!([]), "nothing is said with it");
            (text, restarts) = (String::new(), restarts + 1);
        }
        text.push_str(content_of(chunk).unwrap_or_default());
    }
    (text, restarts)
}

fn recovering(how: &str) -> Value {
    json!({ "recover": how })
}

/// All of the answer but its end.
fn cut() -> Value {
    json!({ "kind": "cut", "afterTokens": 10_000 })
}

fn stalled() -> Value {
    json!({ "kind": "stall", "afterTokens": 3, "for": 60_000 })
}

/// One target for each of these protocols, of which the last ones take a prefill.
fn prefilled(protocols: &[&str], takes: &[bool], more: Value) -> Routed {
    let targets: Vec<_> = (0..protocols.len())
        .map(|n| {
            let name = ["a", "b", "c"][n];
            json!({ "provider": name, "model": format!("m-{name}"), "supportsPrefill": takes[n] })
        })
        .collect();
    Routed::speaking(Way::H1, protocols, merge(json!({ "routes": { "m": targets } }), more))
}

/// What the upstream is asked that goes on from here.
fn going_on_from(text: &str) -> Value {
    let mut messages = request()["messages"].as_array().unwrap().clone();
    messages.push(json!({ "role": "assistant", "content": text }));
    json!({ "messages": messages })
}

fn told(error: &Error) -> Value {
    serde_json::from_str(&error.to_json()).unwrap()
}

fn partial_of(error: &Error) -> String {
    let Kind::StreamInterrupted { partial, .. } = &error.kind else { panic!("{error:?}") };
    said(&serde_json::from_str(partial).unwrap()).to_owned()
}

/// `TEXT` in two, at each of its characters.
fn splits() -> impl Iterator<Item = (&'static str, &'static str)> {
    TEXT.char_indices().map(|(at, _)| TEXT.split_at(at)).filter(|(before, _)| !before.is_empty())
}

#[tokio::test]
async fn unseen_a_broken_stream_begins_again_without_a_word() {
    let impatient = json!({ "timeouts": { "firstByte": 500, "idle": 150 } });
    for first in PROTOCOLS {
        for second in PROTOCOLS {
            let site = Routed::speaking(Way::H1, &[first, second], impatient.clone());
            site.reply(0, json!({}), json!(TEXT));
            site.reply(1, json!({}), json!(TEXT));
            for (fault, end) in [
                (cut(), "ok after maybe,maybe,maybe,yes; seen 3,1; a/m-a > b/m-b ERR_STREAM_INTERRUPTED"),
                (stalled(), "ok after maybe,yes; seen 1,1; a/m-a > b/m-b ERR_STREAM_INTERRUPTED"),
            ] {
                for (times, once) in [(OFTEN, false), (1, true)] {
                    site.fault(0, fault.clone(), json!({ "times": times }));
                    let before = site.seen();
                    let streamed = site.stream(Mode::Whole, &request(), json!({})).await;
                    assert_eq!(said(&body_of(streamed.result.as_ref().unwrap())), TEXT);
                    let told = site.told(&streamed.result, &before);
                    if once && fault == cut() {
                        assert_eq!(told, "ok after maybe,yes; seen 2,0", "{first} {second}");
                    } else {
                        assert_eq!(told, end, "{first} {second} {fault}");
                    }
                    site.upstreams[0].reset();
                    site.reply(0, json!({}), json!(TEXT));
                    site.upstreams[1].reset();
                    site.reply(1, json!({}), json!(TEXT));
                }
            }
            // None of them was a prefill.
            site.fault(0, cut(), json!({ "times": OFTEN }));
            let call = site.make(Endpoint::Chat, &request(), json!({}));
            assert!(stream(&site.client, call, Mode::Whole).await.result.is_ok());
            for body in [site.bodies(0), site.bodies(1)].concat() {
                let list = if body.get("contents").is_some() { "contents" } else { "messages" };
                assert_eq!(body[list].as_array().unwrap().len(), 1, "{body}");
            }
        }
    }
}

#[tokio::test]
async fn seen_a_broken_stream_fails_with_what_had_come_unless_the_caller_says_otherwise() {
    for protocol in PROTOCOLS {
        let site = Routed::speaking(Way::H2c, &[protocol, "openai"], json!({}));
        site.reply(0, json!({}), json!(TEXT));
        for options in [json!({}), recovering("none")] {
            site.fault(0, cut(), json!({}));
            let before = site.seen();
            let streamed = site.stream(Mode::Objects, &request(), options).await;
            assert_eq!(
                site.told(&streamed.result, &before),
                "StreamInterrupted retryable, billed maybe, after maybe; seen 1,0"
            );
            assert_eq!(
                (followed(&streamed), partial_of(&streamed.result.unwrap_err())),
                ((TEXT.to_owned(), 0), TEXT.to_owned())
            );
        }
    }
}

#[tokio::test]
async fn a_restart_is_told_once_before_the_first_content_that_follows() {
    let impatient = json!({ "timeouts": { "firstByte": 500, "idle": 150 } });
    for way in WAYS {
        for (protocols, fault, end) in [
            (["openai", "openai"], cut(), "ok after maybe,yes; seen 2,0"),
            (["anthropic", "openai"], cut(), "ok after maybe,yes; seen 2,0"),
            (["gemini", "openai"], cut(), "ok after maybe,yes; seen 2,0"),
            (
                ["openai", "anthropic"],
                stalled(),
                "ok after maybe,yes; seen 1,1; a/m-a > b/m-b ERR_STREAM_INTERRUPTED",
            ),
            (
                ["anthropic", "gemini"],
                stalled(),
                "ok after maybe,yes; seen 1,1; a/m-a > b/m-b ERR_STREAM_INTERRUPTED",
            ),
            (
                ["gemini", "openai"],
                stalled(),
                "ok after maybe,yes; seen 1,1; a/m-a > b/m-b ERR_STREAM_INTERRUPTED",
            ),
        ] {
            let site = Routed::speaking(way, &protocols, impatient.clone());
            site.reply(0, json!({}), json!(TEXT));
            site.reply(1, json!({}), json!("Another one, from the beginning."));
            site.fault(0, fault.clone(), json!({}));
            let before = site.seen();
            let streamed = site.stream(Mode::Objects, &request(), recovering("restart")).await;
            assert_eq!(site.told(&streamed.result, &before), end, "{way:?} {protocols:?} {fault}");
            let whole = if end.contains('>') { "Another one, from the beginning." } else { TEXT };
            assert_eq!(followed(&streamed), (whole.to_owned(), 1), "{way:?} {protocols:?} {fault}");
            assert_eq!(said(&body_of(&streamed.result.unwrap())), whole);
            // Nothing of the second answer comes before the signal, and what it is of is said with it.
            let at = streamed.chunks.iter().position(|chunk| chunk["trunkline"]["restart"] == true).unwrap();
            let (signal, next) = (&streamed.chunks[at], &streamed.chunks[at + 1]);
            assert_eq!((&signal["id"], &signal["model"]), (&next["id"], &next["model"]));
            assert!(
                streamed.chunks[..at].iter().all(|chunk| chunk["id"] != next["id"] || !end.contains('>'))
            );
        }
    }
}

#[tokio::test]
async fn several_breaks_in_a_row_are_several_restarts_but_only_where_something_was_seen() {
    let site = Routed::of(Way::H2c, 2, json!({}));
    site.reply(0, json!({}), json!("Half of it."));
    site.reply(1, json!({}), json!(TEXT));
    // Seen, unseen, seen; and on the other target unseen before it goes well.
    site.fault(0, cut(), json!({}));
    site.fault(0, json!({ "kind": "cut", "afterTokens": 0 }), json!({}));
    site.fault(0, cut(), json!({}));
    site.fault(1, json!({ "kind": "status", "status": 500 }), json!({}));
    let before = site.seen();
    let streamed = site.stream(Mode::Objects, &request(), recovering("restart")).await;
    assert_eq!(followed(&streamed), (TEXT.to_owned(), 2));
    let end = "ok after maybe,maybe,maybe,maybe,yes; seen 3,2; a/m-a > b/m-b ERR_STREAM_INTERRUPTED";
    assert_eq!(site.told(&streamed.result, &before), end);
    assert_eq!(answered_by(&streamed.result.unwrap()), "b/m-b");
}

#[tokio::test]
async fn whatever_fails_after_the_break_it_is_the_stream_that_broke_for_its_reader() {
    for (how, then, code) in [
        ("restart", json!({ "kind": "status", "status": 500 }), 500),
        ("restart", json!({ "kind": "status", "status": 422 }), 422),
        ("continue", json!({ "kind": "status", "status": 403 }), 403),
        ("continue", json!({ "kind": "reset", "after": "request" }), 0),
    ] {
        let site = prefilled(&["openai", "openai"], &[false, true], json!({ "retry": { "maxRetries": 0 } }));
        site.reply(0, json!({}), json!("Half of "));
        site.fault(0, cut(), json!({}));
        site.fault(1, then.clone(), json!({ "times": OFTEN }));
        let streamed = site.stream(Mode::Objects, &request(), recovering(how)).await;
        let error = streamed.result.unwrap_err();
        assert_eq!(partial_of(&error), "Half of ", "{how} {then}");
        let json = told(&error);
        assert_eq!(
            (&json["name"], &json["provider"], &json["billed"]),
            (&json!("StreamInterruptedError"), &json!("b"), &json!("maybe"))
        );
        assert_eq!(error.attempts.len(), 2, "{how} {then}");
        assert_eq!(error.attempts[1].status.unwrap_or_default(), code);
        assert!(
            error.message.starts_with('b') && error.message.contains("a part of the answer"),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn wherever_it_breaks_a_text_is_gone_on_with_and_no_character_is_lost_or_doubled() {
    for protocol in PROTOCOLS {
        let site = prefilled(&["openai", protocol], &[false, true], json!({ "retry": { "maxRetries": 0 } }));
        for (before, after) in splits() {
            let prefill = before.trim_end();
            let space = &before[prefill.len()..];
            // With the white space that the prefill could not end in, or without: models do both. One that begins with white space of
            // its own cannot be told from one that begins with ours.
            let mut ways = vec![format!("{space}{after}")];
            if !after.starts_with(char::is_whitespace) {
                ways.push(after.to_owned());
            }
            for rest in ways {
                for chunks in [1, 7, rest.chars().count().max(1)] {
                    site.reset();
                    site.reply(0, json!({}), json!({ "content": before, "chunks": 5 }));
                    site.fault(0, cut(), json!({}));
                    let usage = json!({ "prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13 });
                    site.reply(
                        1,
                        if prefill.is_empty() { json!({}) } else { going_on_from(prefill) },
                        json!({ "content": rest, "chunks": chunks, "usage": usage }),
                    );
                    let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
                    assert_eq!(
                        followed(&streamed),
                        (TEXT.to_owned(), 0),
                        "{protocol} {before:?} {rest:?} {chunks}"
                    );
                    let answer = streamed.result.unwrap();
                    assert_eq!(said(&body_of(&answer)), TEXT, "{protocol} {before:?} {rest:?} {chunks}");
                    assert_eq!(body_of(&answer)["choices"][0]["finish_reason"], "stop");
                    assert_eq!(meta_of(&answer)["usage"]["completion_tokens"], 4);
                    assert_eq!(answered_by(&answer), "b/m-b");
                    assert_eq!(
                        (site.seen(), site.failovers()),
                        (vec![1, 1], vec!["a/m-a > b/m-b ERR_STREAM_INTERRUPTED".to_owned()])
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_text_that_breaks_again_and_again_is_gone_on_with_from_where_it_is() {
    for protocol in PROTOCOLS {
        let site = prefilled(&[protocol], &[true], json!({}));
        let parts = ["One, ", "two,\n\n", "three. "];
        site.reply(0, json!({}), json!(parts[0]));
        site.reply(0, going_on_from("One,"), json!(" two,\n\n"));
        site.reply(0, going_on_from("One, two,"), json!("\n\nthree. "));
        site.fault(0, cut(), json!({ "times": 2 }));
        let before = site.seen();
        let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
        assert_eq!(site.told(&streamed.result, &before), "ok after maybe,maybe,yes; seen 3", "{protocol}");
        assert_eq!(
            (followed(&streamed).0, said(&body_of(&streamed.result.unwrap())).to_owned()),
            (parts.concat(), parts.concat())
        );
    }
}

#[tokio::test]
async fn a_continuation_that_breaks_within_its_white_space_doubles_none() {
    let site = prefilled(&["openai", "openai"], &[false, true], json!({}));
    site.reply(0, json!({}), json!("One,\n\n"));
    site.reply(1, going_on_from("One,"), json!({ "content": "\n\ntwo", "chunks": 5 }));
    site.fault(0, cut(), json!({}));
    // After one line feed, which the reader has already, and after the other.
    site.fault(1, json!({ "kind": "cut", "afterTokens": 1 }), json!({}));
    site.fault(1, json!({ "kind": "cut", "afterTokens": 2 }), json!({}));
    let before = site.seen();
    let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
    assert_eq!(followed(&streamed).0, "One,\n\ntwo");
    let end = "ok after maybe,maybe,maybe,yes; seen 1,3; a/m-a > b/m-b ERR_STREAM_INTERRUPTED";
    assert_eq!(site.told(&streamed.result, &before), end);
}

#[tokio::test]
async fn only_targets_that_take_a_prefill_are_asked_to_go_on() {
    let lost = "StreamInterrupted retryable, billed maybe, after maybe; seen";
    for (takes, end) in [
        (
            [false, false, true],
            "ok after maybe,yes; seen 1,0,1; a/m-a > c/m-c ERR_STREAM_INTERRUPTED".to_owned(),
        ),
        ([false, false, false], format!("{lost} 1,0,0")),
    ] {
        let site = prefilled(&["openai"; 3], &takes, json!({}));
        site.reply(0, json!({}), json!("One,"));
        site.reply(2, going_on_from("One,"), json!(" two"));
        site.fault(0, cut(), json!({}));
        let before = site.seen();
        let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
        assert_eq!(site.told(&streamed.result, &before), end, "{takes:?}");
    }
    // If nobody says so, it is as the providers have it.
    for (protocol, model, goes_on) in [
        ("anthropic", "claude-sonnet-4-5", true),
        ("anthropic", "claude-opus-4-6", false),
        ("gemini", "gemini-2.5-pro", true),
        ("openai", "gpt-5", false),
    ] {
        let targets = json!([{ "provider": "a" }, { "provider": "b", "model": model }]);
        let site = Routed::speaking(Way::H1, &["openai", protocol], json!({ "routes": { "m": targets } }));
        site.reply(0, json!({}), json!("One,"));
        site.reply(1, going_on_from("One,"), json!(" two"));
        site.fault(0, cut(), json!({}));
        let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
        assert_eq!(
            (streamed.result.is_ok(), site.seen()),
            (goes_on, vec![1, usize::from(goes_on)]),
            "{model}"
        );
        assert_eq!(followed(&streamed).0, if goes_on { "One, two" } else { "One," });
    }
}

#[tokio::test]
async fn a_stall_is_gone_on_with_by_the_next_target_at_once() {
    let site = prefilled(
        &["openai", "anthropic"],
        &[true, true],
        json!({ "timeouts": { "firstByte": 5_000, "idle": 150 } }),
    );
    site.reply(0, json!({}), json!({ "content": "One, two, three", "chunks": 5 }));
    site.fault(0, stalled(), json!({ "times": OFTEN }));
    site.reply(1, going_on_from("One, two,"), json!(" and three"));
    let before = site.seen();
    let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
    assert_eq!(
        site.told(&streamed.result, &before),
        "ok after maybe,yes; seen 1,1; a/m-a > b/m-b ERR_STREAM_INTERRUPTED"
    );
    assert_eq!(followed(&streamed).0, "One, two, and three");
}

#[tokio::test]
async fn what_is_no_plain_text_is_not_gone_on_with() {
    let call = json!({ "function": { "name": "f", "arguments": "{\"a\":1}" } });
    for answer in [json!({ "toolCalls": [call] }), json!({ "content": "One", "toolCalls": [call] })] {
        for protocol in PROTOCOLS {
            let site = prefilled(&[protocol, "openai"], &[true, true], json!({}));
            site.reply(0, json!({}), answer.clone());
            site.fault(0, cut(), json!({}));
            let tools = with(json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] }));
            let before = site.seen();
            let streamed = site.stream(Mode::Objects, &tools, recovering("continue")).await;
            let end = "StreamInterrupted retryable, billed maybe, after maybe; seen 1,0";
            assert_eq!(site.told(&streamed.result, &before), end, "{protocol} {answer}");
            let Kind::StreamInterrupted { partial, .. } = &streamed.result.unwrap_err().kind else {
                panic!()
            };
            let partial: Value = serde_json::from_str(partial).unwrap();
            assert_eq!(
                partial["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "f",
                "{protocol}"
            );
        }
    }
    // Nor one of several.
    let site = prefilled(&["openai", "openai"], &[true, true], json!({}));
    site.fault(0, cut(), json!({}));
    let streamed = site.stream(Mode::Objects, &with(json!({ "n": 2 })), recovering("continue")).await;
    assert_eq!((streamed.result.is_err(), site.seen()), (true, vec![1, 0]));
}

#[tokio::test]
async fn a_target_that_refuses_the_prefill_is_given_up_and_its_refusal_is_not_the_callers() {
    for protocol in PROTOCOLS {
        for number in [400, 422, 501] {
            let site = prefilled(&["openai", protocol, "openai"], &[false, true, true], json!({}));
            let refuse = json!({ "kind": "status", "status": number });
            site.reply(0, json!({}), json!("One,"));
            site.reply(2, going_on_from("One,"), json!(" two"));
            site.fault(0, cut(), json!({ "times": 2 }));
            site.fault(1, refuse.clone(), json!({ "times": OFTEN }));
            let before = site.seen();
            let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
            assert!(
                site.told(&streamed.result, &before).starts_with("ok after maybe,"),
                "{protocol} {number}"
            );
            assert_eq!(
                (followed(&streamed).0.as_str(), site.seen()),
                ("One, two", vec![1, 1, 1]),
                "{protocol} {number}"
            );
            // With nobody left, it is the stream that broke.
            site.fault(2, refuse.clone(), json!({ "times": OFTEN }));
            let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
            let error = streamed.result.unwrap_err();
            assert_eq!(
                (partial_of(&error).as_str(), error.attempts.len()),
                ("One,", 3),
                "{protocol} {number}"
            );
        }
    }
    // The one that broke may be the one that refuses.
    let site = prefilled(&["anthropic"], &[true], json!({}));
    site.reply(0, json!({}), json!("One,"));
    site.fault(0, cut(), json!({}));
    site.fault(0, json!({ "kind": "status", "status": 400 }), json!({}));
    let error = site.stream(Mode::Objects, &request(), recovering("continue")).await.result.unwrap_err();
    assert_eq!((partial_of(&error).as_str(), site.seen()), ("One,", vec![2]));
}

#[tokio::test]
async fn who_begins_with_white_space_alone_is_asked_anew() {
    let site = prefilled(&["openai", "openai"], &[false, true], json!({}));
    site.reply(0, json!({}), json!("\n\n"));
    site.reply(1, json!({}), json!("\n\nOne"));
    site.fault(0, cut(), json!({ "times": OFTEN }));
    let before = site.seen();
    let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
    // The white space is said again, which is nothing new.
    let end = "ok after maybe,maybe,maybe,yes; seen 3,1; a/m-a > b/m-b ERR_CONNECTION";
    assert_eq!((followed(&streamed).0, site.told(&streamed.result, &before)), ("\n\nOne".into(), end.into()));
    assert_eq!(site.bodies(1)[0]["messages"], request()["messages"]);
}

#[tokio::test]
async fn another_key_goes_on_from_the_same_place() {
    let keys = json!({ "providers": { "a": { "apiKey": ["one", "two", "three"] } } });
    let site = prefilled(&["openai"], &[true], keys);
    site.reply(0, json!({}), json!("One,"));
    site.reply(0, going_on_from("One,"), json!(" two"));
    site.fault(0, cut(), json!({}));
    site.fault(0, json!({ "kind": "status", "status": 429 }), json!({ "times": 2 }));
    let before = site.seen();
    let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
    assert_eq!(site.told(&streamed.result, &before), "ok after maybe,no,no,yes; seen 4");
    assert_eq!(followed(&streamed).0, "One, two");
    let last = |body: &Value| body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    assert_eq!(site.bodies(0).iter().map(last).collect::<Vec<_>>(), ["hello", "One,", "One,", "One,"]);
}

#[tokio::test]
async fn a_text_that_lacked_but_its_end_gets_it() {
    for protocol in PROTOCOLS {
        let site = prefilled(&["openai", protocol], &[false, true], json!({ "retry": { "maxRetries": 0 } }));
        site.reply(0, json!({}), json!(TEXT));
        site.reply(1, going_on_from(TEXT.trim_end()), json!({ "content": "", "finishReason": "stop" }));
        site.fault(0, cut(), json!({}));
        let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
        assert_eq!(followed(&streamed).0, TEXT, "{protocol}");
        assert_eq!(said(&body_of(&streamed.result.unwrap())), TEXT, "{protocol}");
    }
}

/// Whoever reads the text alone, or lines, gets the same.
#[tokio::test]
async fn in_every_form_of_reading_a_text_is_gone_on_with() {
    for mode in [Mode::Text, Mode::Lines] {
        let site =
            prefilled(&["openai", "anthropic"], &[false, true], json!({ "retry": { "maxRetries": 0 } }));
        let (before, after) = TEXT.split_at(TEXT.find("drei").unwrap());
        site.reply(0, json!({}), json!(before));
        site.reply(1, going_on_from(before.trim_end()), json!(format!("\n\n\t{after}")));
        site.fault(0, cut(), json!({}));
        let streamed = site.stream(mode, &request(), recovering("continue")).await;
        assert_eq!(said(&body_of(&streamed.result.unwrap())), TEXT, "{mode:?}");
        let text: String = match mode {
            Mode::Text => streamed.text,
            _ => streamed
                .text
                .lines()
                .map(|line| content_of(&serde_json::from_str(line).unwrap()).unwrap_or_default().to_owned())
                .collect(),
        };
        assert_eq!(text, TEXT, "{mode:?}");
    }
}

#[tokio::test]
async fn usage_and_model_are_those_of_whoever_brought_the_end() {
    let site = prefilled(&["openai", "gemini"], &[true, true], json!({}));
    let usage =
        |tokens: u64| json!({ "prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1 });
    site.reply(0, json!({}), json!({ "content": "One,", "usage": usage(3) }));
    site.reply(0, going_on_from("One,"), json!({ "content": " two,", "usage": usage(5) }));
    site.reply(0, going_on_from("One, two,"), json!({ "content": " three,", "usage": usage(7) }));
    site.reply(1, going_on_from("One, two, three,"), json!({ "content": " four", "usage": usage(9) }));
    site.fault(0, cut(), json!({ "times": 3 }));
    let before = site.seen();
    let streamed = site.stream(Mode::Objects, &request(), recovering("continue")).await;
    let end = "ok after maybe,maybe,maybe,yes; seen 3,1; a/m-a > b/m-b ERR_STREAM_INTERRUPTED";
    assert_eq!(
        (site.told(&streamed.result, &before), followed(&streamed).0),
        (end.into(), "One, two, three, four".into())
    );
    let answer = streamed.result.unwrap();
    assert_eq!(answered_by(&answer), "b/m-b");
    assert_eq!(meta_of(&answer)["usage"]["prompt_tokens"], 9);
    assert_eq!(site.metrics()["tokens"]["input"], 9);
}
