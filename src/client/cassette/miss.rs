//! What is told of a request that has no recording: the nearest one that has, and where the two part.
//!
//! A message names methods, paths and places in bodies. Of texts it says from which character on they differ, and not what they say;
//! that is in the error's `request` and `nearest`.

use std::path::Path;
use std::sync::Arc;

use http::Uri;
use serde_json::{Value, json};

use super::content::Content;
use super::file::Request;
use crate::error::{Error, Kind};

/// Of the places where two requests differ, a message names so many.
const NAMED: usize = 3;
/// More are not counted.
const COUNTED: usize = 100;
/// Of a text that differs, so many characters are shown in the list of differences.
const EXCERPT: usize = 60;

/// A place in which two requests differ.
#[derive(Debug, PartialEq)]
struct Difference {
    /// `method`, `url`, or a path in the body.
    path: String,
    /// What is there; null where nothing is.
    recorded: Value,
    requested: Value,
}

/// The error of a request that has no recording.
pub(super) fn miss<'a>(
    file: &Path,
    request: &Request,
    recorded: impl Iterator<Item = &'a Arc<Request>>,
) -> Error {
    let mut count = 0;
    let differing = recorded.enumerate().map(|(number, recorded)| {
        count += 1;
        (number, recorded, differences(recorded, request))
    });
    let nearest = differing.min_by_key(|(_, recorded, differences)| {
        let is_other = recorded.method != request.method || path_of(&recorded.url) != path_of(&request.url);
        (is_other, differences.len())
    });
    let mut message =
        format!("no recording of {} {} in {}", request.method, path_of(&request.url), file.display());
    let details = match &nearest {
        None => {
            message.push_str(", which has none at all; record it with the mode 'auto' or 'record'");
            json!({ "nearest": null, "differences": [] })
        }
        Some((number, nearest, differences)) => {
            message.push_str(&format!(
                "; the nearest of {count} is interactions[{number}], {} {}, where ",
                nearest.method,
                path_of(&nearest.url)
            ));
            let named: Vec<_> = differences.iter().take(NAMED).map(said).collect();
            message.push_str(&named.join("; "));
            if differences.len() > NAMED {
                message.push_str(&format!("; and {} places more differ", differences.len() - NAMED));
            }
            let differences: Vec<_> = differences
                .iter()
                .map(|Difference { path, recorded, requested }| {
                    let [recorded, requested] = excerpts(recorded, requested);
                    json!({ "path": path, "recorded": recorded, "requested": requested })
                })
                .collect();
            json!({ "nearest": shown(nearest), "differences": differences })
        }
    };
    let mut details = details;
    details["file"] = file.display().to_string().into();
    details["request"] = shown(request);
    Error::new(Kind::CassetteMiss { details: details.to_string() }, message)
}

fn shown(request: &Request) -> Value {
    json!({ "method": request.method, "url": request.url, "body": request.body.shown() })
}

fn path_of(url: &str) -> String {
    url.parse::<Uri>().map_or_else(|_| url.to_owned(), |uri| uri.path().to_owned())
}

/// Where a request differs from one that was recorded.
fn differences(recorded: &Request, requested: &Request) -> Vec<Difference> {
    let mut found = Vec::new();
    for (path, a, b) in
        [("method", &recorded.method, &requested.method), ("url", &recorded.url, &requested.url)]
    {
        if a != b {
            let (recorded, requested) = (a.as_str().into(), b.as_str().into());
            found.push(Difference { path: path.to_owned(), recorded, requested });
        }
    }
    let [a, b] = [recorded, requested].map(|request| match &request.body {
        Content::Json(json) => serde_json::from_str(json).unwrap_or_default(),
        other => Value::from(other.canonical()),
    });
    compare("body", &a, &b, &mut found);
    found
}

fn compare(path: &str, recorded: &Value, requested: &Value, found: &mut Vec<Difference>) {
    if found.len() >= COUNTED || recorded == requested {
        return;
    }
    match (recorded, requested) {
        (Value::Object(a), Value::Object(b)) => {
            for (name, a) in a {
                compare(&member(path, name), a, b.get(name).unwrap_or(&Value::Null), found);
            }
            for (name, b) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                compare(&member(path, name), &Value::Null, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for at in 0..a.len().max(b.len()) {
                let [a, b] = [a, b].map(|list| list.get(at).unwrap_or(&Value::Null));
                compare(&format!("{path}[{at}]"), a, b, found);
            }
        }
        (a, b) => {
            found.push(Difference { path: path.to_owned(), recorded: a.clone(), requested: b.clone() });
        }
    }
}

fn member(path: &str, name: &str) -> String {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.is_empty()
        && name.len() <= 64;
    if is_plain { format!("{path}.{name}") } else { format!("{path}[…]") }
}

/// A difference in words, without those of a text.
fn said(difference: &Difference) -> String {
    let Difference { path, recorded, requested } = difference;
    if path == "url" {
        return url_said(recorded, requested);
    }
    let is_name = path == "body.model" || path == "method";
    let short = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(name) if is_name && name.len() <= 128 => format!("'{name}'"),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(elements) => format!("an array of {}", elements.len()),
        Value::Object(_) => "an object".to_owned(),
    };
    match (recorded, requested) {
        (Value::String(a), Value::String(b)) if !is_name => {
            format!("{path} differs from character {} on", parting(a, b) + 1)
        }
        (a, b) => format!("{path} has {} and not {}", short(a), short(b)),
    }
}

/// Its query may be of any kind, and is not repeated.
fn url_said(recorded: &Value, requested: &Value) -> String {
    let [a, b] =
        [recorded, requested].map(|url| url.as_str().unwrap_or_default().parse::<Uri>().unwrap_or_default());
    let origin = |uri: &Uri| {
        format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()))
    };
    if origin(&a) != origin(&b) {
        return format!("the origin is {} and not {}", origin(&a), origin(&b));
    }
    if a.path() != b.path() { "the path differs".to_owned() } else { "the query differs".to_owned() }
}

/// After how many characters two texts part.
fn parting(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// Two values as far as there is room for them: of texts, what stands around the place where they part.
fn excerpts(recorded: &Value, requested: &Value) -> [Value; 2] {
    let from = match (recorded, requested) {
        (Value::String(a), Value::String(b)) => parting(a, b).saturating_sub(EXCERPT / 3),
        _ => 0,
    };
    [recorded, requested].map(|value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Array(_) | Value::Object(_) => value.to_string(),
            short => return short.clone(),
        };
        let before = if from > 0 { "…" } else { "" };
        let after = if text.chars().count() > from + EXCERPT { "…" } else { "" };
        let part: String = text.chars().skip(from).take(EXCERPT).collect();
        format!("{before}{part}{after}").into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, body: &Value) -> Arc<Request> {
        Arc::new(Request::new("POST".into(), url.into(), Content::Json(body.to_string())))
    }

    fn of(request: &Request, recorded: &[Arc<Request>]) -> (String, Value) {
        let error = miss(Path::new("/t/x.json"), request, recorded.iter());
        let Kind::CassetteMiss { details } = &error.kind else { panic!("a miss") };
        (error.message.clone(), serde_json::from_str(details).unwrap())
    }

    fn chat(model: &str, temperature: f64, prompt: &str) -> Value {
        json!({ "model": model, "temperature": temperature, "messages": [{ "role": "user", "content": prompt }] })
    }

    const URL: &str = "https://api.test/v1/chat/completions";

    #[test]
    fn the_nearest_is_named_with_the_places_that_differ_and_without_the_prompts() {
        let recorded = [
            request("https://api.test/v1/embeddings", &chat("m", 0.5, "tell me a secret of the house")),
            request(URL, &chat("other", 1.0, "something else")),
            request(URL, &chat("m", 0.5, "tell me a secret of the garden")),
        ];
        let asked = request(URL, &chat("m", 0.7, "tell me a secret of the house"));
        let (message, details) = of(&asked, &recorded);
        assert_eq!(
            message,
            "no recording of POST /v1/chat/completions in /t/x.json; the nearest of 3 is interactions[2], POST \
             /v1/chat/completions, where body.messages[0].content differs from character 25 on; body.temperature has 0.5 \
             and not 0.7"
        );
        assert_eq!(details["differences"][0]["path"], "body.messages[0].content");
        assert_eq!(details["differences"][0]["requested"], "… me a secret of the house");
        assert_eq!(details["request"]["body"]["temperature"], 0.7);
        assert_eq!(details["nearest"]["body"]["temperature"], 0.5);
        assert_eq!(details["file"], "/t/x.json");
    }

    #[test]
    fn another_origin_and_another_model_are_named() {
        let recorded = [request(&URL.replace("api", "proxy"), &chat("m", 1.0, "a"))];
        let (message, _) = of(&request(URL, &chat("n", 1.0, "a")), &recorded);
        assert!(message.ends_with(
            "where the origin is https://proxy.test and not https://api.test; body.model has 'm' and not 'n'"
        ));
        let (message, _) = of(
            &request(&format!("{URL}?a=secret"), &chat("m", 1.0, "a")),
            &[request(URL, &chat("m", 1.0, "a"))],
        );
        assert!(message.ends_with("where the query differs"), "{message}");
    }

    #[test]
    fn a_file_without_recordings_says_how_they_come_about() {
        let (message, details) = of(&request(URL, &json!({})), &[]);
        assert!(message.ends_with("which has none at all; record it with the mode 'auto' or 'record'"));
        assert_eq!(details["nearest"], Value::Null);
    }

    #[test]
    fn many_differences_are_counted_and_long_texts_cut() {
        let [a, b] = ["a", "b"].map(|text| json!({ "list": vec![text.repeat(500); 10] }));
        let (message, details) = of(&request(URL, &b), &[request(URL, &a)]);
        assert!(message.ends_with("and 7 places more differ"), "{message}");
        let excerpt = details["differences"][0]["recorded"].as_str().unwrap();
        assert_eq!(excerpt.chars().count(), EXCERPT + 1);
    }
}
