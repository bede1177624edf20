//! Requests of every protocol, seen as OpenAI's.

use serde_json::{Value, json};
use trunkline::mock::as_openai;

use super::{
    anthropic::{message, send},
    client::start,
    fields,
    gemini::{self, WHOLE, contents},
};

#[test]
fn a_body_of_openais_comes_back_as_it_is() {
    let body =
        json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "x" }] }], "n": 2 });
    assert_eq!(as_openai("/v1/chat/completions", &body), body);
    let azure = as_openai("/openai/deployments/d/chat/completions?api-version=1", &body);
    assert_eq!((&azure["model"], &azure["messages"]), (&json!("d"), &body["messages"]));
}

#[test]
fn a_message_request_is_a_chat() {
    let anthropic = json!({
        "model": "m", "max_tokens": 9, "stream": true, "stop_sequences": ["END"], "temperature": 0.5, "top_k": 3,
        "metadata": { "user_id": "u" }, "system": "Be brief.",
        "tools": [{ "name": "look", "description": "Looks.", "input_schema": { "type": "object" }, "strict": true }],
        "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
        "output_config": { "effort": "high", "format": { "type": "json_schema", "schema": { "type": "object" } } },
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "What?" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "QUJD" } },
                { "type": "image", "source": { "type": "url", "url": "https://x.test/a.png" } },
            ] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "Hm.", "signature": "s" },
                { "type": "text", "text": "I look." },
                { "type": "tool_use", "id": "t1", "name": "look", "input": { "a": 1 } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": [{ "type": "text", "text": "seen" }] },
                { "type": "text", "text": "And?" },
            ] },
            { "role": "assistant", "content": "It" },
        ],
    });
    let openai = json!({
        "model": "m", "max_tokens": 9, "stream": true, "stop": ["END"], "temperature": 0.5, "top_k": 3, "user": "u",
        "tools": [{ "type": "function", "function": {
            "name": "look", "description": "Looks.", "parameters": { "type": "object" }, "strict": true,
        } }],
        "tool_choice": "required", "parallel_tool_calls": false, "reasoning_effort": "high",
        "response_format": { "type": "json_schema", "json_schema": { "schema": { "type": "object" } } },
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [
                { "type": "text", "text": "What?" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,QUJD" } },
                { "type": "image_url", "image_url": { "url": "https://x.test/a.png" } },
            ] },
            { "role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": [
                { "id": "t1", "type": "function", "function": { "name": "look", "arguments": "{\"a\":1}" } },
            ] },
            { "role": "tool", "tool_call_id": "t1", "content": "seen" },
            { "role": "user", "content": "And?" },
            { "role": "assistant", "content": "It" },
        ],
    });
    assert_eq!(as_openai("/v1/messages", &anthropic), openai);
}

#[test]
fn a_generate_request_is_a_chat() {
    let gemini = json!({
        "system_instruction": { "parts": [{ "text": "Be brief." }] },
        "generationConfig": {
            "max_output_tokens": 9, "stopSequences": ["END"], "temperature": 0.5, "topK": 3, "candidateCount": 2, "seed": 7,
            "responseMimeType": "application/json", "responseJsonSchema": { "type": "object" },
        },
        "tools": [{ "functionDeclarations": [{ "name": "look", "parametersJsonSchema": { "type": "object" } }] }],
        "toolConfig": { "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["look"] } },
        "contents": [
            { "role": "user", "parts": [
                { "text": "What?" },
                { "inlineData": { "mimeType": "image/png", "data": "QUJD" } },
                { "inlineData": { "mimeType": "audio/wav", "data": "QUJD" } },
                { "fileData": { "fileUri": "https://x.test/a.png", "mimeType": "image/png" } },
            ] },
            { "role": "model", "parts": [
                { "text": "Hm.", "thought": true },
                { "text": "I look." },
                { "functionCall": { "name": "look", "args": { "a": 1 } } },
                { "functionCall": { "id": "own", "name": "look" } },
            ] },
            { "role": "user", "parts": [
                { "functionResponse": { "name": "look", "response": { "output": "seen" } } },
                { "functionResponse": { "id": "own", "name": "look", "response": { "x": 1 } } },
            ] },
        ],
    });
    let openai = json!({
        "model": "g", "stream": true, "max_tokens": 9, "stop": ["END"], "temperature": 0.5, "top_k": 3, "n": 2, "seed": 7,
        "response_format": { "type": "json_schema", "json_schema": { "schema": { "type": "object" } } },
        "tools": [{ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } }],
        "tool_choice": { "type": "function", "function": { "name": "look" } },
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [
                { "type": "text", "text": "What?" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,QUJD" } },
                { "type": "input_audio", "input_audio": { "data": "QUJD", "format": "wav" } },
                { "type": "image_url", "image_url": { "url": "https://x.test/a.png" } },
            ] },
            { "role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": [
                { "id": "call_0", "type": "function", "function": { "name": "look", "arguments": "{\"a\":1}" } },
                { "id": "own", "type": "function", "function": { "name": "look", "arguments": "{}" } },
            ] },
            { "role": "tool", "tool_call_id": "call_0", "content": "seen" },
            { "role": "tool", "tool_call_id": "own", "content": "{\"x\":1}" },
        ],
    });
    assert_eq!(as_openai("/v1beta/models/g:streamGenerateContent?alt=sse", &gemini), openai);
    let embed = json!({ "requests": [{ "content": { "parts": [{ "text": "a" }] } }, { "content": { "parts": [{ "text": "b" }] } }] });
    let openai = json!({ "model": "e", "input": ["a", "b"] });
    assert_eq!(as_openai("/v1beta/models/e:batchEmbedContents", &embed), openai);
}

#[test]
fn a_schema_of_geminis_own_kind_is_json_schema_again() {
    let parameters = json!({ "type": "OBJECT", "properties": {
        "a": { "type": "STRING", "nullable": true }, "b": { "type": "array", "items": { "anyOf": [{ "type": "NUMBER" }] } },
    } });
    let body =
        json!({ "tools": [{ "functionDeclarations": [{ "name": "look", "parameters": parameters }] }] });
    let seen = as_openai(WHOLE, &body);
    let expected = json!({ "type": "object", "properties": {
        "a": { "type": ["string", "null"] }, "b": { "type": "array", "items": { "anyOf": [{ "type": "number" }] } },
    } });
    assert_eq!(seen["tools"][0]["function"]["parameters"], expected);
}

#[test]
fn what_is_no_request_is_seen_without_a_panic() {
    let odd = [
        json!(null),
        json!("x"),
        json!([1]),
        json!({ "messages": 5, "contents": "x", "tools": [1], "system": {} }),
    ];
    for body in odd {
        for path in
            ["/v1/messages", WHOLE, "/v1beta/models/m:batchEmbedContents", "/v1beta/models/m:embedContent"]
        {
            as_openai(path, &body);
        }
    }
}

#[tokio::test]
async fn replies_match_the_same_request_in_any_protocol() {
    let upstream = start(json!({}));
    upstream.reply(fields(json!({ "model": "m" })), "by model".into());
    upstream
        .reply(fields(json!({ "messages": [{ "role": "user", "content": "Bye" }] })), "by message".into());
    upstream
        .reply(fields(json!({ "contents": [{ "parts": [{ "text": "own" }] }] })), "by its own shape".into());
    let anthropic = async |text: &str| {
        let body: Value = serde_json::from_str(&send(&upstream, &message(text)).await.1.text).unwrap();
        body["content"][0]["text"].clone()
    };
    let gemini = async |text: &str| {
        let body: Value =
            serde_json::from_str(&gemini::send(&upstream, WHOLE, &contents(text)).await.1.text).unwrap();
        body["candidates"][0]["content"]["parts"][0]["text"].clone()
    };
    assert_eq!((anthropic("x").await, anthropic("Bye").await), (json!("by model"), json!("by message")));
    assert_eq!((gemini("x").await, gemini("Bye").await), (json!("by model"), json!("by message")));
    assert_eq!(gemini("own").await, "by its own shape");
    // What was sent stays as it was.
    assert_eq!(upstream.requests()[2].body, contents("x"));
}
