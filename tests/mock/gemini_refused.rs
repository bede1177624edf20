//! What the stand-in refuses as Gemini does.

use serde_json::{Value, json};

use super::{
    client::{spoilt, start},
    gemini::{WHOLE, send},
};

/// A request with all that there is, to be spoilt in one place.
fn full() -> Value {
    json!({
        "systemInstruction": { "parts": [{ "text": "Be brief." }] },
        "generationConfig": {
            "temperature": 1.5, "topP": 0.9, "topK": 5, "maxOutputTokens": 100, "stopSequences": ["END"], "candidateCount": 1,
            "seed": 7, "presencePenalty": 0.5, "responseLogprobs": true, "logprobs": 3, "responseMimeType": "application/json",
            "responseJsonSchema": { "type": "object", "additionalProperties": false }, "thinkingConfig": { "thinkingBudget": 0 },
        },
        "safetySettings": [{ "category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE" }],
        "tools": [{ "functionDeclarations": [
            { "name": "look", "description": "Looks.", "parameters": { "type": "object", "properties": {
                "a": { "type": "string", "enum": ["x", "y"] }, "b": { "type": "array", "items": { "type": "integer" } },
            }, "required": ["a"] } },
            { "name": "dance", "parametersJsonSchema": { "type": "object", "properties": {}, "$defs": {} } },
        ] }],
        "toolConfig": { "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["look"] } },
        "contents": [
            { "role": "user", "parts": [
                { "text": "What is this?" },
                { "inline_data": { "mime_type": "image/png", "data": "QUJD" } },
                { "fileData": { "fileUri": "https://x.test/a.png" } },
            ] },
            { "role": "model", "parts": [
                { "text": "Hm.", "thought": true },
                { "functionCall": { "name": "look", "args": { "a": "x" } }, "thoughtSignature": "QUJD" },
                { "functionCall": { "id": "2", "name": "dance" } },
            ] },
            { "role": "user", "parts": [
                { "functionResponse": { "name": "look", "response": { "output": "seen" } } },
                { "functionResponse": { "id": "2", "name": "dance", "response": {} } },
            ] },
        ],
    })
}

#[tokio::test]
async fn what_the_provider_refuses_is_refused_with_the_place_of_it() {
    let upstream = start(json!({}));
    let (status, got) = send(&upstream, WHOLE, &full()).await;
    assert_eq!(status, 200, "{}", got.text);
    let none = None::<Value>;
    let table = [
        ("/contents", none.clone(), "* GenerateContentRequest.contents: contents is not specified"),
        ("/contents", Some(json!("x")), "Invalid value at 'contents' (a list), \"x\""),
        ("/model_name", Some(json!("x")), "Unknown name \"model_name\": Cannot find field."),
        (
            "/contents/0/parts/0/type",
            Some(json!("text")),
            "Unknown name \"type\" at 'contents[0].parts[0]': Cannot find field.",
        ),
        (
            "/contents/0/content",
            Some(json!("x")),
            "Unknown name \"content\" at 'contents[0]': Cannot find field.",
        ),
        (
            "/contents/0/parts/0/text",
            Some(json!(5)),
            "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 5",
        ),
        (
            "/contents/0/parts/0/text",
            Some(json!("")),
            "contents[0].parts[0].text: it has an empty text parameter",
        ),
        (
            "/contents/0/parts/0",
            Some(json!({})),
            "contents[0].parts[0].data: required oneof field 'data' must have one initialized field",
        ),
        (
            "/contents/0/parts/1/text",
            Some(json!("x")),
            "contents[0].parts[1].data: oneof field 'data' is already set.",
        ),
        ("/contents/0/parts", Some(json!([])), "contents[0].parts: contents.parts must not be empty."),
        (
            "/contents/0/parts/1/inline_data/data",
            Some(json!("*")),
            "'contents[0].parts[1].inline_data.data' (TYPE_BYTES), Base64 decoding failed",
        ),
        (
            "/contents/0/parts/1/inline_data/mime_type",
            none.clone(),
            "contents[0].parts[1].inline_data.mime_type: must not be empty",
        ),
        (
            "/contents/0/parts/2/fileData/fileUri",
            none.clone(),
            "contents[0].parts[2].file_data.file_uri: must not be empty",
        ),
        (
            "/contents/0/role",
            Some(json!("assistant")),
            "Please use a valid role: user, model. (contents[0].role)",
        ),
        ("/contents/1/role", none.clone(), "Please use a valid role: user, model. (contents[1].role)"),
        (
            "/contents/2/role",
            Some(json!("function")),
            "Please use a valid role: user, model. (contents[2].role)",
        ),
        ("/contents/0", none.clone(), "function call turn comes immediately after a user turn"),
        ("/contents/1", none.clone(), "function response turn comes immediately after a function call turn"),
        ("/contents/2", none.clone(), "Please ensure that multiturn requests end with a user role"),
        (
            "/contents/2/parts/1",
            none.clone(),
            "the number of function response parts is equal to the number of function call parts",
        ),
        (
            "/contents/2/parts/0/functionResponse/name",
            Some(json!("sing")),
            "\"sing\" has none. (contents[2])",
        ),
        ("/contents/2/parts/1/functionResponse/id", Some(json!("9")), "\"dance\" has none. (contents[2])"),
        (
            "/contents/2/parts/0/functionResponse/response",
            Some(json!("seen")),
            "Invalid value at 'contents[2].parts[0].function_response.response' (an object)",
        ),
        (
            "/contents/2/parts/0/functionResponse/response",
            none.clone(),
            "function_response.response: must be set",
        ),
        (
            "/contents/1/parts/1/functionCall/args",
            Some(json!("{}")),
            "Invalid value at 'contents[1].parts[1].function_call.args'",
        ),
        (
            "/contents/1/parts/1/functionCall/arguments",
            Some(json!({})),
            "Unknown name \"arguments\" at 'contents[1].parts[1].function_call'",
        ),
        (
            "/contents/1/parts/1/thoughtSignature",
            Some(json!("no base64!")),
            "thought_signature' (TYPE_BYTES)",
        ),
        (
            "/systemInstruction/parts/0",
            Some(json!({ "fileData": { "fileUri": "x" } })),
            "system_instruction.parts: must be texts",
        ),
        ("/systemInstruction", Some(json!("Be brief.")), "Invalid value at 'system_instruction' (an object)"),
        (
            "/generationConfig/temperature",
            Some(json!(2.5)),
            "generation_config.temperature: temperature must be in the range [0.0, 2.0]",
        ),
        ("/generationConfig/topP", Some(json!(2)), "generation_config.top_p"),
        ("/generationConfig/topK", Some(json!(0)), "generation_config.top_k"),
        ("/generationConfig/maxOutputTokens", Some(json!(0)), "generation_config.max_output_tokens"),
        (
            "/generationConfig/maxOutputTokens",
            Some(json!(1.5)),
            "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32), 1.5",
        ),
        (
            "/generationConfig/max_tokens",
            Some(json!(5)),
            "Unknown name \"max_tokens\" at 'generation_config'",
        ),
        ("/generationConfig/candidateCount", Some(json!(9)), "candidate_count must be in the range [1, 8]"),
        ("/generationConfig/seed", Some(json!(5_000_000_000_u64)), "generation_config.seed"),
        ("/generationConfig/presencePenalty", Some(json!(2)), "generation_config.presence_penalty"),
        (
            "/generationConfig/stopSequences",
            Some(json!(["1", "2", "3", "4", "5", "6"])),
            "must have at most 5 stop sequences",
        ),
        (
            "/generationConfig/stopSequences",
            Some(json!("END")),
            "Invalid value at 'generation_config.stop_sequences' (a list)",
        ),
        (
            "/generationConfig/responseLogprobs",
            none.clone(),
            "generation_config.logprobs: response_logprobs must be true",
        ),
        (
            "/generationConfig/responseMimeType",
            Some(json!("text/html")),
            "generation_config.response_mime_type: allowed mimetypes",
        ),
        (
            "/generationConfig/responseMimeType",
            none.clone(),
            "response_mime_type: must be `application/json`",
        ),
        (
            "/generationConfig/responseSchema",
            Some(json!({ "type": "STRING" })),
            "only one of response_schema and response_json_schema",
        ),
        (
            "/generationConfig/thinkingConfig/thinkingLevel",
            Some(json!("LOW")),
            "You can only set one of thinking budget and thinking level",
        ),
        (
            "/generationConfig/responseModalities",
            Some(json!(["SMELL"])),
            "generation_config.response_modalities[0]' (type.googleapis.com/google.ai.generativelanguage.v1beta.GenerationConfig.Modality)",
        ),
        ("/safetySettings/0/threshold", Some(json!("ALL")), "HarmBlockThreshold), \"ALL\""),
        (
            "/safetySettings/-",
            Some(json!({ "category": "HARM_CATEGORY_HARASSMENT" })),
            "safety_settings[1]: only one safety setting",
        ),
        ("/tools/0/type", Some(json!("function")), "Unknown name \"type\" at 'tools[0]'"),
        ("/tools/0", Some(json!({})), "tools[0].tool_type: required one_of"),
        (
            "/tools/0/functionDeclarations/0/name",
            Some(json!("1 look")),
            "tools[0].function_declarations[0].name: Invalid function name",
        ),
        (
            "/tools/0/functionDeclarations/0/strict",
            Some(json!(true)),
            "Unknown name \"strict\" at 'tools[0].function_declarations[0]'",
        ),
        (
            "/tools/0/functionDeclarations/1/name",
            Some(json!("look")),
            "Duplicate function declaration found: look",
        ),
        (
            "/tools/0/functionDeclarations/1/parameters",
            Some(json!({ "type": "OBJECT" })),
            "only one of parameters and parameters_json_schema",
        ),
        (
            "/tools/0/functionDeclarations/0/parameters/additionalProperties",
            Some(json!(false)),
            "Unknown name \"additionalProperties\" at 'tools[0].function_declarations[0].parameters'",
        ),
        (
            "/tools/0/functionDeclarations/0/parameters/properties",
            Some(json!({})),
            "parameters.properties: should be non-empty for OBJECT type",
        ),
        (
            "/tools/0/functionDeclarations/0/parameters/properties/a/const",
            Some(json!("x")),
            "Unknown name \"const\" at 'tools[0].function_declarations[0].parameters.properties[0].value'",
        ),
        (
            "/tools/0/functionDeclarations/0/parameters/properties/a/type",
            Some(json!(["string", "null"])),
            "is not repeating, cannot start list",
        ),
        (
            "/tools/0/functionDeclarations/0/parameters/properties/a/type",
            Some(json!("INTEGER")),
            "properties[a].enum: only allowed for STRING type",
        ),
        (
            "/tools/0/functionDeclarations/0/parameters/properties/b/items",
            none.clone(),
            "properties[b].items: missing field.",
        ),
        (
            "/tools/0/functionDeclarations/0/parameters/required",
            Some(json!(["z"])),
            "parameters.required[0]: property is not defined",
        ),
        (
            "/tools/0/functionDeclarations/0/parameters/properties/a/format",
            Some(json!("uri")),
            "format: only enum and date-time are supported for STRING type",
        ),
        (
            "/toolConfig/functionCallingConfig/mode",
            Some(json!("required")),
            "(type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode)",
        ),
        (
            "/toolConfig/functionCallingConfig/mode",
            Some(json!("AUTO")),
            "allowed_function_names: should only be set when the mode is ANY",
        ),
        (
            "/toolConfig/functionCallingConfig/allowedFunctionNames",
            Some(json!(["sing"])),
            "\"sing\" is no declared function",
        ),
        ("/tools", none.clone(), "Function calling config is set without function_declarations."),
    ];
    for (pointer, value, message) in table {
        let body = spoilt(full(), pointer, value);
        let (status, got) = send(&upstream, WHOLE, &body).await;
        let got: Value = serde_json::from_str(&got.text).unwrap();
        assert_eq!((status, &got["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{pointer}: {got}");
        assert!(got["error"]["message"].as_str().unwrap().contains(message), "{pointer}: {got}");
    }
}
