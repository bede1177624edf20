//! JSON as text, laid out for people or for the wire. Its tokens stay as they are: numbers, the order of members, escapes.

/// JSON with a member or an element to a line, as deep as `depth` from its second line on. Wants JSON that is good.
pub(super) fn indent(json: &str, depth: usize) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = depth;
    let mut tokens = Tokens(json).peekable();
    while let Some(token) = tokens.next() {
        match token {
            "{" | "[" => {
                out.push_str(token);
                let empty = matches!(tokens.peek(), Some(&("}" | "]")));
                if empty {
                    out.extend(tokens.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            "}" | "]" => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push_str(token);
            }
            "," => {
                out.push(',');
                line(&mut out, depth);
            }
            ":" => out.push_str(": "),
            token => out.push_str(token),
        }
    }
    out
}

/// JSON without white space between its tokens.
pub(super) fn minify(json: &str) -> String {
    Tokens(json).collect()
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

/// The tokens of JSON: brackets, commas, colons, and whatever stands between.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start_matches([' ', '\t', '\r', '\n']);
        let bytes = rest.as_bytes();
        let end = match bytes.first()? {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            b'"' => end_of_string(bytes),
            _ => bytes.iter().position(|byte| b"{}[],: \t\r\n\"".contains(byte)).unwrap_or(bytes.len()),
        };
        let (token, rest) = rest.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

/// Where the string that stands first ends, its quote included.
fn end_of_string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn layout_changes_white_space_alone() {
        let json = r#"{"b":1.0,"a":[{},[ ],"x, [\"y\\",-1e400],"c":{"é\u00e9":null}}"#;
        let laid_out = indent(json, 1);
        let expected = "{\n    \"b\": 1.0,\n    \"a\": [\n      {},\n      [],\n      \"x, [\\\"y\\\\\",\n      -1e400\n    ],\n    \
             \"c\": {\n      \"é\\u00e9\": null\n    }\n  }";
        assert_eq!(laid_out, expected);
        assert_eq!(minify(&laid_out), json.replace("[ ]", "[]"));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\{}\\[\\],: é]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[a-z\"]{0,4}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_laid_out_is_the_same_document(value in value(), depth in 0_usize..3) {
            let json = value.to_string();
            let laid_out = indent(&json, depth);
            prop_assert_eq!(serde_json::from_str::<Value>(&laid_out).unwrap(), value);
            prop_assert_eq!(minify(&laid_out), json);
        }
    }
}
