//! Requests and answers through each translation and back, by the corpus in `tests/golden/round_trips`.
//!
//! The way back is the stand-in's own: [`as_openai`] was written from the documentation of the providers and not from the
//! translation, and its servers refuse what the providers refuse.
//!
//! - `requests-*.json`: requests in OpenAI's shape. For each protocol what is `dropped` (told to the caller), where it is
//!   `refused`, or what members of it `becomes` others (null: none), as is documented; a request
//!   of which nothing is said comes back as it was.
//! - `answers-*.json`: replies of the stand-in, which has to say the same in the three protocols.

use std::fs;
use std::path::PathBuf;

use crate::support::{Site, Way, body_of, merge};
use serde_json::{Map, Value, json};
use trunkline::client::{Endpoint, Mode};
use trunkline::mock::as_openai;
use trunkline::protocol::{anthropic, gemini, translate::Inexpressible};

/// Of the models whose words differ least from OpenAI's; cases for others name theirs.
const CLAUDE: &str = "claude-sonnet-4-5";
const GEMINI: &str = "gemini-2.5-flash";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Anthropic,
    Gemini,
}

const TARGETS: [Target; 2] = [Target::Anthropic, Target::Gemini];

/// A request in a provider's words.
struct Said {
    path: String,
    body: Value,
    dropped: Vec<String>,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// What a case expects of this protocol.
    fn of(self, case: &Value) -> &Value {
        &case[self.name()]
    }

    fn model(self, case: &Value) -> &str {
        let usual = if self == Self::Anthropic { CLAUDE } else { GEMINI };
        self.of(case)["model"].as_str().unwrap_or(usual)
    }

    fn say(self, case: &Value, stream: bool) -> Result<Said, Inexpressible> {
        let (asked, model) = (case["request"].to_string(), self.model(case));
        let (path, body, dropped) = match self {
            Self::Anthropic => {
                let said = anthropic::request(&asked, model, stream)?;
                (format!("/v1{}", anthropic::chat_path(model, stream)), said.body, said.dropped)
            }
            Self::Gemini => {
                let said = gemini::request(&asked, model, stream)?;
                (format!("/v1beta{}", gemini::chat_path(model, stream)), said.body, said.dropped)
            }
        };
        let body = serde_json::from_str(&body).unwrap();
        Ok(Said { path, body, dropped: dropped.into_iter().map(String::from).collect() })
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/round_trips")
}

/// The cases of all files of a kind.
fn corpus(kind: &str) -> Vec<Value> {
    let mut files: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let is_kind = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(kind);
    files
        .into_iter()
        .filter(is_kind)
        .flat_map(|path| {
            let cases: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            cases
        })
        .collect()
}

/// What both sides of a comparison are brought to: the same request, said in one of the ways that OpenAI has for it.
///
/// - what is null, empty or the default says nothing; the model and the way of the answer are the target's matter
/// - `max_completion_tokens` is `max_tokens`; a stop is a list of one; a format's schema is what counts of it
/// - system and developer messages are one, at the beginning, and messages of one role in a row are one message
/// - contents are lists of parts, empty texts left out; what a tool answered is a text, or the object that the text holds
/// - arguments are JSON, without white space or an order of members; ids have no characters that one provider has not
fn plain(target: Target, request: &Value) -> Value {
    let mut out = Map::new();
    for (name, value) in request.as_object().unwrap() {
        let says_nothing = match name.as_str() {
            "model" | "stream" | "stream_options" => true,
            _ if value.is_null() => true,
            "n" => *value == 1,
            "store" | "logprobs" => *value == false,
            "parallel_tool_calls" => *value == true,
            "presence_penalty" | "frequency_penalty" | "top_logprobs" => value.as_f64() == Some(0.0),
            "response_format" => value["type"] == "text",
            "tool_choice" => *value == "auto" || request["tools"].as_array().is_none_or(Vec::is_empty),
            "modalities" => *value == json!(["text"]),
            _ => *value == json!([]) || *value == json!({}),
        };
        if says_nothing {
            continue;
        }
        let (name, value) = match (name.as_str(), value) {
            ("max_tokens", _) if !request["max_completion_tokens"].is_null() => continue,
            ("max_completion_tokens", value) => ("max_tokens", value.clone()),
            ("stop", Value::String(stop)) => ("stop", json!([stop])),
            ("response_format", format) if format["type"] == "json_schema" => {
                (name.as_str(), json!({ "type": "json_schema", "schema": format["json_schema"]["schema"] }))
            }
            ("messages", list) => (name.as_str(), messages(target, list)),
            ("tools", list) => {
                (name.as_str(), list.as_array().unwrap().iter().map(|it| tool(target, it)).collect())
            }
            (name, value) => (name, value.clone()),
        };
        out.insert(name.to_owned(), value);
    }
    out.into()
}

fn messages(target: Target, list: &Value) -> Value {
    let (mut system, mut turns) = (Vec::new(), Vec::<Value>::new());
    for message in list.as_array().unwrap() {
        let role = message["role"].as_str().unwrap();
        let mut parts = parts(target, &message["content"]);
        if message["content"].is_null() && message["refusal"].is_string() {
            parts.push(json!({ "type": "text", "text": message["refusal"] }));
        }
        let calls: Vec<_> = message["tool_calls"].as_array().into_iter().flatten().map(call).collect();
        match role {
            "system" | "developer" => system.append(&mut parts),
            "tool" => turns.push(json!({
                "role": role, "id": id(&message["tool_call_id"]), "content": result(parts),
            })),
            _ => {
                if parts.is_empty() && calls.is_empty() && message["reasoning_content"].is_null() {
                    continue;
                }
                if turns.last().is_none_or(|last| last["role"] != role) {
                    turns.push(json!({ "role": role, "content": [], "tool_calls": [], "reasoning": "" }));
                }
                let last = turns.last_mut().unwrap();
                last["content"].as_array_mut().unwrap().append(&mut parts);
                last["tool_calls"].as_array_mut().unwrap().extend(calls);
                let thought = message["reasoning_content"].as_str().unwrap_or_default();
                last["reasoning"] = format!("{}{thought}", last["reasoning"].as_str().unwrap()).into();
            }
        }
    }
    json!({ "system": system, "turns": turns })
}

fn parts(target: Target, content: &Value) -> Vec<Value> {
    let text = |text: &Value| json!({ "type": "text", "text": text });
    let all: Vec<Value> = match content {
        Value::String(_) => vec![text(content)],
        Value::Array(parts) => parts.clone(),
        _ => Vec::new(),
    };
    all.into_iter()
        .map(|part| match part["type"].as_str() {
            Some("text") => text(&part["text"]),
            Some("refusal") => text(&part["refusal"]),
            Some("image_url") => json!({ "type": "image_url", "url": part["image_url"]["url"] }),
            Some("video_url") => json!({ "type": "file", "data": part["video_url"]["url"] }),
            Some("file") => {
                let file = &part["file"];
                let data = if file["file_data"].is_null() { &file["file_id"] } else { &file["file_data"] };
                let is_image = data.as_str().is_some_and(|data| data.starts_with("data:image/"));
                match is_image {
                    true => json!({ "type": "image_url", "url": data }),
                    // Gemini has no name for a file.
                    false if target == Target::Gemini => json!({ "type": "file", "data": data }),
                    false => json!({ "type": "file", "data": data, "filename": file["filename"] }),
                }
            }
            _ => part,
        })
        .filter(|part| part["type"] != "text" || part["text"].as_str().is_some_and(|text| !text.is_empty()))
        .collect()
}

fn result(parts: Vec<Value>) -> Value {
    if parts.iter().any(|part| part["type"] != "text") {
        return parts.into();
    }
    let text: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
    match serde_json::from_str::<Map<String, Value>>(&text) {
        Ok(object) => object.into(),
        Err(_) => text.into(),
    }
}

fn call(call: &Value) -> Value {
    let arguments = call["function"]["arguments"].as_str().unwrap_or_default().trim();
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    json!({ "id": id(&call["id"]), "name": call["function"]["name"], "arguments": arguments })
}

fn id(id: &Value) -> Value {
    let known = |char: char| if char.is_ascii_alphanumeric() || char == '-' { char } else { '_' };
    id.as_str().unwrap().chars().map(known).collect::<String>().into()
}

fn tool(target: Target, tool: &Value) -> Value {
    let mut tool = tool.clone();
    if let Some(function) = tool["function"].as_object_mut() {
        function.retain(|_, value| !value.is_null());
        // A mode of all calls in Gemini, and the default anywhere.
        if target == Target::Gemini || function.get("strict") == Some(&json!(false)) {
            function.remove("strict");
        }
        if target == Target::Anthropic {
            let schema = function.entry("parameters").or_insert(json!({ "properties": {} }));
            schema.as_object_mut().unwrap().entry("type").or_insert("object".into());
        }
    }
    tool
}

/// Takes what stands at a path of the kind `messages[0].content[1].image_url.detail` out of a request.
fn take_out(request: &mut Value, path: &str) {
    let pointer: String =
        path.replace('[', ".").replace(']', "").split('.').map(|step| format!("/{step}")).collect();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match request.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(name)),
        // The rest keep their places until all has been told.
        Some(Value::Array(items)) => {
            items[name.parse::<usize>().unwrap()] = json!({ "type": "text", "text": "" })
        }
        _ => panic!("nothing stands at {path}"),
    }
}

/// What a case's request has to come back as.
fn expected(target: Target, case: &Value, dropped: &[String]) -> Value {
    let mut request = case["request"].clone();
    for path in dropped {
        // A system message that moved up is told by its role, which it keeps.
        if !path.ends_with("].role") {
            take_out(&mut request, path);
        }
    }
    let becomes = target.of(case)["becomes"].clone();
    for (name, value) in becomes.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    plain(target, &request)
}

/// What is the same for every request: Anthropic wants a limit, and gets one where none was asked for.
fn seen(target: Target, said: &Said, asks_limit: bool) -> Value {
    let mut seen = as_openai(&said.path, &said.body);
    if target == Target::Anthropic && !asks_limit {
        let limit = seen.as_object_mut().unwrap().remove("max_tokens");
        assert!(limit.is_some_and(|limit| limit.as_u64().unwrap() >= 4_096));
    }
    plain(target, &seen)
}

fn check(target: Target, case: &Value) -> Result<(), String> {
    let side = target.of(case);
    let said = match (target.say(case, false), side.get("refused")) {
        (Ok(said), None) => said,
        (Err(refused), Some(place)) if *place == *refused.path => return Ok(()),
        (Ok(said), Some(place)) => return Err(format!("is not refused at {place}: {}", said.body)),
        (Err(refused), _) => return Err(format!("is refused: {refused:?}")),
    };
    let mut dropped: Vec<_> = side["dropped"].as_array().into_iter().flatten().collect();
    // Where they stood is lost with the corpus's own order.
    dropped.sort_by_key(|path| path.as_str());
    let mut told: Vec<_> = said.dropped.iter().collect();
    told.sort();
    if told != dropped {
        return Err(format!("drops {:?}", said.dropped));
    }
    let request = &case["request"];
    let asks_limit = ["max_tokens", "max_completion_tokens"].iter().any(|name| !request[*name].is_null());
    let (have, want) = (seen(target, &said, asks_limit), expected(target, case, &said.dropped));
    if have == want { Ok(()) } else { Err(format!("comes back as\n  {have}\nnot as\n  {want}")) }
}

#[test]
fn requests_come_back_as_they_were_but_for_what_is_told() {
    let cases = corpus("requests-");
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let mut names: Vec<_> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "names are unique");
    let wrong: Vec<String> = cases
        .iter()
        .flat_map(|case| TARGETS.map(|target| (case, target)))
        .filter_map(|(case, target)| {
            let what = check(target, case).err()?;
            Some(format!("{} to {} {what}", case["name"], target.name()))
        })
        .collect();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn what_is_said_is_taken_by_a_provider_that_reads_strictly() {
    let upstream = crate::raw::start(json!({}));
    let mut client = crate::raw::Client::connect(&upstream, crate::raw::Protocol::H1).await;
    let headers =
        [("x-api-key", "k"), ("x-goog-api-key", "k"), ("anthropic-version", anthropic::VERSION_HEADER.1)];
    let beta = [headers[0], headers[2], ("anthropic-beta", "x")];
    let mut wrong = Vec::new();
    for case in corpus("requests-") {
        for target in TARGETS {
            let is_refused = target.of(&case)["provider_refuses"].as_str();
            for stream in [false, true] {
                let Ok(said) = target.say(&case, stream) else { continue };
                let headers = if target.of(&case)["beta"] == true { &beta } else { &headers };
                let response =
                    client.send_with("POST", &said.path, headers, said.body.to_string()).await.unwrap();
                let (status, answer) = (response.status(), crate::raw::read(response).await.text);
                let fits = match is_refused {
                    Some(why) => status == 400 && answer.contains(why),
                    None => status == 200,
                };
                if !fits {
                    let (name, target) = (&case["name"], target.name());
                    wrong.push(format!("{name} to {target}: {status} {answer}\n  {}", said.body));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The same upstream by each protocol.
fn sites(case: &Value) -> [Site; 3] {
    ["openai", "anthropic", "gemini"].map(|protocol| {
        let site = Site::with(Way::H1, json!({}), json!({ "protocol": protocol }));
        // Below one base URL each protocol has its own version.
        site.says(case["reply"].clone());
        site
    })
}

/// What is said, apart from the names that each provider has for answers, models and ends.
fn told(answer: &Value) -> Value {
    let choices = answer["choices"].as_array().unwrap().iter().map(|choice| {
        let message = &choice["message"];
        let content = message["content"].as_str().unwrap_or_default();
        json!({
            "index": choice["index"], "finish_reason": choice["finish_reason"], "content": content,
            "tool_calls": message["tool_calls"].as_array().into_iter().flatten().map(call).collect::<Vec<_>>(),
        })
    });
    let usage = &answer["usage"];
    let detail = |name: &str, inner: &str| usage[name][inner].as_u64().unwrap_or(0);
    json!({
        "choices": choices.collect::<Vec<_>>(),
        "usage": [
            &usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"],
            &json!(detail("prompt_tokens_details", "cached_tokens")),
            &json!(detail("completion_tokens_details", "reasoning_tokens")),
        ],
    })
}

#[tokio::test]
async fn answers_are_the_same_from_every_provider_whole_and_gathered() {
    let cases = corpus("answers-");
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let mut first = None;
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] });
        if !case["request"].is_null() {
            body = merge(body, case["request"].clone());
        }
        for (site, protocol) in sites(case).iter().zip(["openai", "anthropic", "gemini"]) {
            if case["without"] == protocol {
                continue;
            }
            let whole = site.client.call(site.make(Endpoint::Chat, &body, json!({}))).await;
            let gathered = site.stream_with(Mode::Objects, &body, json!({})).await.result;
            for (how, answer) in [("whole", whole), ("gathered", gathered)] {
                let have = match &answer {
                    Ok(answer) => told(&body_of(answer)),
                    Err(error) => json!({ "error": error.message }),
                };
                let want = first.get_or_insert_with(|| have.clone());
                if have != *want || answer.is_err() {
                    wrong.push(format!("{} {protocol} {how}:\n  {have}\nnot\n  {want}", case["name"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
