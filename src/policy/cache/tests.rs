use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const WHOM: [&[u8]; 1] = [b"a"];

fn key_in(
    kind: Kind,
    tenant: Option<&str>,
    headers: &[(&'static str, &'static str)],
    text: &str,
) -> Option<Key> {
    let pairs =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let headers: HeaderMap = pairs.collect();
    key_of(kind, tenant, WHOM, &headers, Members::of(text).unwrap())
}

fn key(text: &str) -> Key {
    key_in(Kind::Chat, None, &[], text).unwrap()
}

#[test]
fn what_says_the_same_has_one_key_however_it_is_written() {
    let plain =
        r#"{"model":"m","messages":[{"role":"user","content":"é\n\"/"}],"temperature":0,"top_p":0.5,"x":[]}"#;
    for same in [
        r#"{"temperature":0,"x":[],"top_p":0.5,"messages":[{"content":"é\n\"/","role":"user"}],"model":"m"}"#,
        "\n{ \"model\" :\t\"m\" , \"messages\" : [ { \"role\":\"user\" , \"content\":\"\\u00e9\\n\\u0022\\/\" } ] ,\r\n \"temperature\" : 0.0 , \"top_p\":5e-1, \"x\" : [ ] } ",
        r#"{"model":"m","messages":[{"role":"user","content":"\u00E9\u000a\"/"}],"temperature":-0.0e5,"top_p":0.500,"x":[]}"#,
        r#"{"model":"other","model":"m","messages":[{"role":"no","role":"user","content":"é\n\"/"}],"temperature":0,"top_p":50E-2,"x":[]}"#,
        r#"{"stream":true,"model":"m","messages":[{"role":"user","content":"é\n\"/"}],"temperature":0,"top_p":0.5,"x":[]}"#,
    ] {
        assert_eq!(key(plain), key(same), "{same}");
    }
}

#[test]
fn each_escape_says_what_it_stands_for_and_each_number_its_value() {
    let same = [
        [r#"{"a":"\"\\\/\n\t\r\b\f"}"#, r#"{"a":"\u0022\u005c/\u000a\u0009\u000D\u0008\u000c"}"#],
        [r#"{"a":"1\n2\u00e93\n"}"#, "{\"a\":\"1\\n2é3\\u000a\"}"],
        [r#"{"\n":7}"#, r#"{"\u000a":7.0}"#],
        [
            r#"{"a":[7,10,123456789,1234567890,100000000]}"#,
            r#"{"a":[70e-1,1e1,123456789.0,123456789e1,1e8]}"#,
        ],
    ];
    for [one, two] in same {
        assert_eq!(key(one), key(two), "{one} {two}");
    }
    for [one, two] in
        [[r#"{"a":10}"#, r#"{"a":100}"#], [r#"{"a":"\n"}"#, r#"{"a":"n"}"#], [r#"{"a":1}"#, r#"{"a":"1"}"#]]
    {
        assert_ne!(key(one), key(two), "{one} {two}");
    }
}

#[test]
fn what_says_anything_else_has_another_key() {
    let texts = [
        r#"{}"#,
        r#"{"a":null}"#,
        r#"{"a":false}"#,
        r#"{"a":true}"#,
        r#"{"a":0}"#,
        r#"{"a":"0"}"#,
        r#"{"a":""}"#,
        r#"{"a":[]}"#,
        r#"{"a":{}}"#,
        r#"{"a":[0]}"#,
        r#"{"a":[[0]]}"#,
        r#"{"a":[0,0]}"#,
        r#"{"a":[[],[]]}"#,
        r#"{"a":[[[]]]}"#,
        r#"{"a":[1,2]}"#,
        r#"{"a":[2,1]}"#,
        r#"{"a":[12]}"#,
        r#"{"a":1}"#,
        r#"{"a":-1}"#,
        r#"{"a":10}"#,
        r#"{"a":0.1}"#,
        r#"{"a":9007199254740993}"#,
        r#"{"a":9007199254740992}"#,
        r#"{"a":1e400}"#,
        r#"{"a":1e401}"#,
        r#"{"a":1e99999999999999999999}"#,
        r#"{"b":1}"#,
        r#"{"a":{"b":1}}"#,
        r#"{"a":{"b":{}},"c":1}"#,
        r#"{"a":{"b":{},"c":1}}"#,
        r#"{"a":"e\u0301"}"#,
        r#"{"a":"é"}"#,
        r#"{"a":" "}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\\ud800"}"#,
        r#"{"a":"\u0000"}"#,
        r#"{"A":1}"#,
        r#"{"user":"one"}"#,
        r#"{"user":"two"}"#,
        r#"{"stream_options":{"include_usage":true}}"#,
    ];
    let mut keys = std::collections::HashMap::new();
    for text in texts {
        let before = keys.insert(key(text), text);
        assert_eq!(before, None, "{text}");
    }
}

#[test]
fn an_answer_serves_one_kind_one_tenant_one_choice_of_providers_and_the_same_headers() {
    let text = r#"{"model":"m"}"#;
    let of_whom = |whom: &[&'static [u8]]| {
        let whom = whom.iter().copied();
        key_of(Kind::Chat, None, whom, &HeaderMap::new(), Members::of(text).unwrap()).unwrap()
    };
    let mut keys = vec![
        key(text),
        key_in(Kind::Stream, None, &[], text).unwrap(),
        key_in(Kind::Embeddings, None, &[], text).unwrap(),
        key_in(Kind::Chat, Some(""), &[], text).unwrap(),
        key_in(Kind::Chat, Some("a"), &[], text).unwrap(),
        key_in(Kind::Chat, None, &[("authorization", "Bearer a")], text).unwrap(),
        key_in(Kind::Chat, None, &[("authorization", "Bearer b")], text).unwrap(),
        key_in(Kind::Chat, None, &[("x-feature", "Bearer b")], text).unwrap(),
        key_in(Kind::Chat, None, &[("x-feature", ""), ("x-other", "")], text).unwrap(),
        of_whom(&[]),
        of_whom(&[b"b"]),
        of_whom(&[b"a", b"b"]),
        of_whom(&[b"b", b"a"]),
        of_whom(&[b"ab"]),
    ];
    let all = keys.len();
    keys.sort_by_key(|key| key.as_bytes().to_vec());
    keys.dedup();
    assert_eq!(keys.len(), all);
    let unheard = [("idempotency-key", "k"), ("traceparent", "00-1"), ("cache-control", "no-cache")];
    assert_eq!(key_in(Kind::Chat, None, &unheard, text).unwrap(), key(text));
    let [one, two] = [("x-a", "1"), ("x-b", "2")];
    assert_eq!(key_in(Kind::Chat, None, &[one, two], text), key_in(Kind::Chat, None, &[two, one], text));
}

#[test]
fn what_is_nested_absurdly_deep_has_no_key() {
    let nested = |depth: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(key_in(Kind::Chat, None, &[], &nested(100)).is_some());
    assert!(key_in(Kind::Chat, None, &[], &nested(100_000)).is_none());
}

#[test]
fn only_what_is_made_to_have_one_answer_is_given_it_again() {
    let covers = |when: When, kind: Kind, request: Value| {
        let text = request.to_string();
        when.covers(kind, &Members::of(&text).unwrap())
    };
    let deterministic = |request: Value| covers(When::Deterministic, Kind::Chat, request);
    for good in [
        json!({"temperature": 0}),
        json!({"temperature": 0.0, "n": 1}),
        json!({"temperature": 0, "n": null, "store": false, "tools": [{}]}),
        json!({"seed": 7}),
        json!({"seed": 0, "temperature": 1.5}),
    ] {
        assert!(deterministic(good.clone()), "{good}");
    }
    for bad in [
        json!({}),
        json!({"temperature": null}),
        json!({"temperature": 0.01}),
        json!({"temperature": "0"}),
        json!({"temperature": 0, "n": 2}),
        json!({"temperature": 0, "n": "1"}),
        json!({"seed": null}),
        json!({"seed": "7"}),
        json!({"temperature": 0, "store": true}),
        json!({"temperature": 0, "web_search_options": {}}),
    ] {
        assert!(!deterministic(bad.clone()), "{bad}");
        assert!(covers(When::All, Kind::Stream, bad));
    }
    assert!(covers(When::Deterministic, Kind::Embeddings, json!({"input": "a"})));
}

#[test]
fn only_whole_answers_are_kept() {
    let chat = |reasons: &[Value]| {
        let choices: Vec<_> = reasons.iter().map(|reason| json!({"finish_reason": reason})).collect();
        is_whole(Kind::Chat, json!({ "choices": choices }).to_string().as_bytes())
    };
    assert!(chat(&[json!("stop")]) && chat(&[json!("tool_calls"), json!("function_call")]));
    for bad in ["length", "content_filter", "insufficient_system_resource", "error", ""] {
        assert!(!chat(&[json!("stop"), json!(bad)]), "{bad}");
    }
    assert!(!chat(&[]) && !chat(&[json!(null)]) && !chat(&[json!(1)]));
    assert!(!is_whole(Kind::Stream, b"{}") && !is_whole(Kind::Chat, b"no"));
    assert!(is_whole(Kind::Embeddings, br#"{"data":[{}]}"#));
    assert!(!is_whole(Kind::Embeddings, br#"{"data":[]}"#) && !is_whole(Kind::Embeddings, b"null"));
}

/// A value, as many ways as there are to write it.
fn written(value: &Value, style: &mut impl FnMut(u32) -> u32, out: &mut String) {
    const SPACES: [&str; 4] = ["", " ", "\n\t", "\r\n  "];
    let space = |style: &mut dyn FnMut(u32) -> u32, out: &mut String| out.push_str(SPACES[style(4) as usize]);
    space(style, out);
    match value {
        Value::Null | Value::Bool(_) => out.push_str(&value.to_string()),
        Value::Number(number) => match (number.as_i64(), style(4)) {
            (Some(n), 1) => out.push_str(&format!("{n}.0")),
            (Some(n), 2) => out.push_str(&format!("{n}E+00")),
            (Some(n), 3) if n != 0 => out.push_str(&format!("{n}000e-3")),
            _ => out.push_str(&value.to_string()),
        },
        Value::String(text) => quoted(text, style, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                written(item, style, out);
            }
            space(style, out);
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for at in (1..members.len()).rev() {
                members.swap(at, style(at as u32 + 1) as usize);
            }
            out.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                space(style, out);
                quoted(name, style, out);
                space(style, out);
                out.push(':');
                written(member, style, out);
            }
            space(style, out);
            out.push('}');
        }
    }
    space(style, out);
}

fn quoted(text: &str, style: &mut impl FnMut(u32) -> u32, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if style(3) == 0 {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&if style(2) == 0 {
                    format!("\\u{unit:04x}")
                } else {
                    format!("\\u{unit:04X}")
                });
            }
        } else {
            let plain = Value::from(c.to_string()).to_string();
            out.push_str(&plain[1..plain.len() - 1]);
        }
    }
    out.push('"');
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        prop_oneof![Just(0.1), Just(0.5), Just(-2.25), Just(1e300)].prop_map(Value::from),
        "[a-c\"\\\\/é\n😀\u{0}]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members_of(inner).prop_map(Value::Object),
        ]
    })
}

fn members_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = serde_json::Map<String, Value>> {
    proptest::collection::btree_map("[a-c\"é😀]{0,2}", value, 0..4)
        .prop_map(|members| members.into_iter().collect())
}

/// Whether two values say the same: numbers by their value.
fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => one.as_f64() == two.as_f64(),
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|((a, one), (b, two))| a == b && same(one, two))
        }
        _ => one == two,
    }
}

proptest! {
    #[test]
    fn the_way_it_is_written_leaves_the_key_as_it_is(members in members_of(any_value()), styles in proptest::collection::vec(any::<u32>(), 1..64)) {
        let object = Value::Object(members);
        let mut at = 0;
        let mut style = |most: u32| {
            at += 1;
            styles[at % styles.len()].wrapping_add(at as u32) % most
        };
        let mut other = String::new();
        written(&object, &mut style, &mut other);
        prop_assert_eq!(&serde_json::from_str::<Value>(&other).unwrap().as_object().unwrap().len(), &object.as_object().unwrap().len());
        prop_assert_eq!(key(&object.to_string()), key(&other), "{}", other);
    }

    #[test]
    fn two_keys_are_one_exactly_if_both_say_the_same(one in members_of(any_value()), two in members_of(any_value())) {
        let (one, two) = (Value::Object(one), Value::Object(two));
        prop_assert_eq!(key(&one.to_string()) == key(&two.to_string()), same(&one, &two));
    }

    #[test]
    fn any_text_has_a_key_or_none_and_nothing_panics(text in "[\\[\\]{}:,\"\\\\0-9eE.+\\-tfnau \n]{0,40}") {
        if let Ok(members) = Members::of(&text) {
            prop_assert!(key_of(Kind::Chat, None, WHOM, &HeaderMap::new(), members).is_some(), "{}", text);
        }
        let _ = canonical::object([("a".into(), text.as_str())]);
    }
}
