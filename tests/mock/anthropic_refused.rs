//! What the stand-in refuses as Anthropic does.

use serde_json::{Value, json};

use super::{
    anthropic::send,
    client::{spoilt, start},
};

/// A request with all that there is, to be spoilt in one place.
fn full() -> Value {
    json!({
        "model": "m", "max_tokens": 2000, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stream": false,
        "stop_sequences": ["END"], "metadata": { "user_id": "u" }, "service_tier": "auto",
        "system": [{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral", "ttl": "1h" } }],
        "tools": [
            { "name": "look", "description": "Looks.", "input_schema": { "type": "object", "properties": {} } },
            { "type": "web_search_20250305", "name": "web_search", "max_uses": 5 },
        ],
        "tool_choice": { "type": "tool", "name": "look", "disable_parallel_tool_use": true },
        "thinking": { "type": "disabled" },
        "output_config": { "effort": "low", "format": { "type": "json_schema", "schema": {
            "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": false,
        } } },
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "What is this?" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "QUJD" } },
                { "type": "image", "source": { "type": "url", "url": "https://x.test/a.png" } },
                { "type": "document", "title": "d", "source": { "type": "base64", "media_type": "application/pdf", "data": "QUJD" } },
            ] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "Hm.", "signature": "s" },
                { "type": "text", "text": "Let me look." },
                { "type": "tool_use", "id": "t1", "name": "look", "input": { "a": 1 } },
                { "type": "tool_use", "id": "t2", "name": "look", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": "seen" },
                { "type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [{ "type": "text", "text": "no" }] },
                { "type": "text", "text": "And?" },
            ] },
            { "role": "assistant", "content": "It is" },
        ],
    })
}

#[tokio::test]
async fn what_the_provider_refuses_is_refused_with_the_place_of_it() {
    let upstream = start(json!({}));
    assert_eq!(send(&upstream, &full()).await.0, 200);
    let none = None::<Value>;
    let text = |text: &str| json!([{ "type": "text", "text": text }]);
    let table = [
        ("/max_tokens", none.clone(), "max_tokens: Field required"),
        ("/model", none.clone(), "model: Field required"),
        ("/messages", none.clone(), "messages: Field required"),
        ("/max_tokens", Some(json!("100")), "max_tokens: Input should be a valid integer"),
        ("/max_tokens", Some(json!(-1)), "max_tokens: Input should be greater than or equal to 0"),
        ("/max_completion_tokens", Some(json!(5)), "max_completion_tokens: Extra inputs are not permitted"),
        ("/seed", Some(json!(5)), "seed: Extra inputs are not permitted"),
        ("/stop", Some(json!("x")), "stop: Extra inputs are not permitted"),
        ("/temperature", Some(json!(1.5)), "temperature: range: 0..1"),
        ("/temperature", Some(json!("hot")), "temperature: Input should be a valid number"),
        ("/stop_sequences", Some(json!("END")), "stop_sequences: Input should be a valid list"),
        (
            "/stop_sequences/0",
            Some(json!(" ")),
            "stop_sequences.0: each stop sequence must contain non-whitespace",
        ),
        ("/service_tier", Some(json!("flex")), "service_tier: Input should be 'auto' or 'standard_only'"),
        ("/metadata/user", Some(json!("u")), "metadata.user: Extra inputs are not permitted"),
        ("/system/0/text", Some(json!("")), "system: text content blocks must be non-empty"),
        ("/system/0/cache_control/ttl", Some(json!("2h")), "cache_control.ttl: Input should be '5m' or '1h'"),
        ("/output_config/effort", Some(json!("minimal")), "output_config.effort: Input should be 'low'"),
        (
            "/output_config/format/type",
            Some(json!("json_object")),
            "output_config.format.type: Input should be 'json_schema'",
        ),
        (
            "/output_config/format/schema/additionalProperties",
            none.clone(),
            "'additionalProperties' must be explicitly set to false",
        ),
        (
            "/thinking",
            Some(json!({ "type": "enabled", "budget_tokens": 100 })),
            "budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            "/thinking",
            Some(json!({ "type": "enabled", "budget_tokens": 4000 })),
            "must be greater than `thinking.budget_tokens`",
        ),
        ("/thinking", Some(json!({ "type": "adaptive" })), "may only be set to 1 when thinking is enabled"),
        (
            "/thinking",
            Some(json!({ "type": "on" })),
            "thinking: Input tag 'on' found using 'type' does not match any of the expected tags: 'enabled', 'disabled', 'adaptive'",
        ),
        ("/tools/0/input_schema", none.clone(), "tools.0.custom.input_schema: Field required"),
        ("/tools/0/input_schema/type", none.clone(), "tools.0.custom.input_schema.type: Field required"),
        ("/tools/0/name", Some(json!("a b")), "tools.0.custom.name: String should match pattern"),
        ("/tools/0/parameters", Some(json!({})), "tools.0.custom.parameters: Extra inputs are not permitted"),
        ("/tools/0/strict", Some(json!(true)), "tools.0.custom.input_schema: For 'object' type"),
        (
            "/tools/1",
            Some(json!({ "type": "function", "function": {} })),
            "tools.1: Input tag 'function' found using 'type'",
        ),
        (
            "/tools/1",
            Some(json!({ "name": "look", "input_schema": { "type": "object" } })),
            "Tool names must be unique",
        ),
        ("/tool_choice", Some(json!("auto")), "tool_choice: Input should be a valid dictionary"),
        ("/tool_choice/type", Some(json!("required")), "tool_choice: Input tag 'required'"),
        ("/tool_choice/name", Some(json!("dance")), "Tool 'dance' not found in provided tools"),
        ("/tools", none.clone(), "tool_choice: may only be specified while providing `tools`"),
        ("/messages", Some(json!([])), "messages: at least one message is required"),
        ("/messages/0/role", Some(json!("assistant")), "first message must use the \"user\" role"),
        ("/messages/0/role", Some(json!("tool")), "messages.0.role: Input should be 'user' or 'assistant'"),
        ("/messages/3/role", Some(json!("developer")), "messages.3.role: Input should be"),
        (
            "/messages/-",
            Some(json!({ "role": "system", "content": "x" })),
            "messages.4.role: a `system` message must follow a `user` message",
        ),
        ("/messages/0/name", Some(json!("Bob")), "messages.0.name: Extra inputs are not permitted"),
        ("/messages/0/content", Some(json!(null)), "messages.0.content: Input should be a valid"),
        ("/messages/0/content", Some(json!("")), "messages.0: all messages must have non-empty content"),
        (
            "/messages/0/content",
            Some(text("")),
            "messages.0.content.0: text content blocks must be non-empty",
        ),
        (
            "/messages/0/content",
            Some(text(" \n")),
            "messages.0.content.0: text content blocks must contain non-whitespace text",
        ),
        ("/messages/0/content/0/text", none.clone(), "messages.0.content.0.text.text: Field required"),
        ("/messages/0/content/0/type", none.clone(), "messages.0.content.0.type: Field required"),
        (
            "/messages/0/content/0/type",
            Some(json!("image_url")),
            "messages.0.content.0: Input tag 'image_url'",
        ),
        (
            "/messages/0/content/1/source/media_type",
            Some(json!("image/bmp")),
            "messages.0.content.1.image.source.base64.media_type: Input should be 'image/jpeg'",
        ),
        (
            "/messages/0/content/1/source/data",
            Some(json!("*")),
            "messages.0.content.1.image.source.base64.data: invalid base64 data",
        ),
        (
            "/messages/0/content/1/source/data",
            Some(json!("data:image/png;base64,QUJD")),
            "invalid base64 data",
        ),
        ("/messages/0/content/2/source/url", Some(json!("http://x.test/a")), "Only HTTPS URLs are supported"),
        (
            "/messages/0/content/2/source/detail",
            Some(json!("low")),
            "messages.0.content.2.image.source.url.detail: Extra inputs are not permitted",
        ),
        (
            "/messages/1/content/0/signature",
            none.clone(),
            "messages.1.content.0.thinking.signature: Field required",
        ),
        (
            "/messages/1/content/2/input",
            Some(json!("{\"a\":1}")),
            "messages.1.content.2.tool_use.input: Input should be a valid dictionary",
        ),
        (
            "/messages/1/content/2/id",
            Some(json!("a:b")),
            "messages.1.content.2.tool_use.id: String should match pattern",
        ),
        ("/messages/1/content/3/id", Some(json!("t1")), "messages.1: `tool_use` ids must be unique"),
        (
            "/messages/1/content/2",
            Some(json!({ "type": "image", "source": { "type": "file", "file_id": "f" } })),
            "`image` blocks can only be in `user` messages",
        ),
        (
            "/messages/0/content/0",
            Some(json!({ "type": "tool_use", "id": "x", "name": "y", "input": {} })),
            "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages",
        ),
        (
            "/messages/2/content/1",
            none.clone(),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t2",
        ),
        (
            "/messages/2/content/0/tool_use_id",
            Some(json!("t9")),
            "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t9",
        ),
        ("/messages/2/content/1/tool_use_id", Some(json!("t1")), "each tool_use must have a single result"),
        (
            "/messages/2/content/0/content",
            Some(json!({ "a": 1 })),
            "messages.2.content.0.tool_result.content: Input should be a valid",
        ),
        ("/messages/2/content/1/content/0/text", Some(json!("")), "text content blocks must be non-empty"),
        (
            "/messages/3/content",
            Some(json!("It is ")),
            "final assistant content cannot end with trailing whitespace",
        ),
    ];
    for (pointer, value, message) in table {
        let body = spoilt(full(), pointer, value);
        let (status, got) = send(&upstream, &body).await;
        let got: Value = serde_json::from_str(&got.text).unwrap();
        assert_eq!(
            (status, &got["error"]["type"]),
            (400, &json!("invalid_request_error")),
            "{pointer}: {got}"
        );
        assert!(got["error"]["message"].as_str().unwrap().contains(message), "{pointer}: {got}");
    }
}

#[tokio::test]
async fn results_come_before_all_else_in_the_very_next_message() {
    let upstream = start(json!({}));
    let late = spoilt(full(), "/messages/2/content/0", Some(json!({ "type": "text", "text": "Well." })));
    let result = json!({ "type": "tool_result", "tool_use_id": "t1", "content": "seen" });
    let late = spoilt(late, "/messages/2/content/2", Some(result.clone()));
    let (status, got) = send(&upstream, &late).await;
    assert_eq!(status, 400);
    assert!(got.text.contains("without `tool_result` blocks immediately after: t1, t2"), "{}", got.text);
    let none = spoilt(full(), "/messages/3", None);
    let none = spoilt(none, "/messages/2", None);
    assert!(send(&upstream, &none).await.1.text.contains("messages.1: `tool_use` ids were found"));
}
