//! The tables of `generateContent` and the embedding methods: the protocol buffers of
//! `google.ai.generativelanguage.v1beta` ("Generating content" and "Embeddings" in Gemini's API reference).

use crate::mock::shape::{Field, Message, Shape, message, optional};

pub(super) static GENERATE: Shape = Shape::Message(&GENERATE_CONTENT);
pub(super) static EMBED: Shape = Shape::Message(&EMBED_CONTENT);
pub(super) static BATCH_EMBED: Shape = Shape::Message(&message(&[
    optional("model", Shape::Text),
    optional("requests", Shape::List(&Shape::Message(&EMBED_CONTENT))),
]));

static GENERATE_CONTENT: Message = message(&[
    optional("model", Shape::Text),
    optional("contents", Shape::List(&Shape::Message(&CONTENT))),
    optional("systemInstruction", Shape::Message(&CONTENT)),
    optional("tools", Shape::List(&Shape::Message(&TOOL))),
    optional("toolConfig", Shape::Message(&TOOL_CONFIG)),
    optional("safetySettings", Shape::List(&Shape::Message(&SAFETY_SETTING))),
    optional("generationConfig", Shape::Message(&GENERATION_CONFIG)),
    optional("cachedContent", Shape::Text),
    optional("serviceTier", Shape::Text),
    optional("store", Shape::Flag),
]);

static EMBED_CONTENT: Message = message(&[
    optional("model", Shape::Text),
    optional("content", Shape::Message(&CONTENT)),
    optional(
        "taskType",
        Shape::Word(
            "TaskType",
            &[
                "TASK_TYPE_UNSPECIFIED",
                "RETRIEVAL_QUERY",
                "RETRIEVAL_DOCUMENT",
                "SEMANTIC_SIMILARITY",
                "CLASSIFICATION",
                "CLUSTERING",
                "QUESTION_ANSWERING",
                "FACT_VERIFICATION",
                "CODE_RETRIEVAL_QUERY",
            ],
        ),
    ),
    optional("title", Shape::Text),
    optional("outputDimensionality", Shape::Whole),
]);

static CONTENT: Message =
    message(&[optional("parts", Shape::List(&Shape::Message(&PART))), optional("role", Shape::Text)]);

/// The members of a part of which there has to be exactly one.
pub(super) const DATA: [&str; 7] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
];

static PART: Message = message(&[
    optional("text", Shape::Text),
    optional("inlineData", Shape::Message(&BLOB)),
    optional("fileData", Shape::Message(&FILE_DATA)),
    optional("functionCall", Shape::Message(&FUNCTION_CALL)),
    optional("functionResponse", Shape::Message(&FUNCTION_RESPONSE)),
    optional("executableCode", Shape::Object),
    optional("codeExecutionResult", Shape::Object),
    optional("thought", Shape::Flag),
    optional("thoughtSignature", Shape::Bytes),
    optional("partMetadata", Shape::Object),
    optional("videoMetadata", Shape::Object),
    optional("mediaResolution", Shape::Object),
]);

static BLOB: Message = message(&[
    optional("mimeType", Shape::Text),
    optional("data", Shape::Bytes),
    optional("displayName", Shape::Text),
]);
static FILE_DATA: Message = message(&[
    optional("mimeType", Shape::Text),
    optional("fileUri", Shape::Text),
    optional("displayName", Shape::Text),
]);
static FUNCTION_CALL: Message =
    message(&[optional("id", Shape::Text), optional("name", Shape::Text), optional("args", Shape::Object)]);
static FUNCTION_RESPONSE: Message = message(&[
    optional("id", Shape::Text),
    optional("name", Shape::Text),
    optional("response", Shape::Object),
    optional("parts", Shape::List(&Shape::Object)),
    optional("willContinue", Shape::Flag),
    optional("scheduling", Shape::Text),
]);

static TOOL: Message = message(&[
    optional("functionDeclarations", Shape::List(&Shape::Message(&FUNCTION_DECLARATION))),
    optional("googleSearch", Shape::Object),
    optional("googleSearchRetrieval", Shape::Object),
    optional("codeExecution", Shape::Object),
    optional("urlContext", Shape::Object),
    optional("computerUse", Shape::Object),
    optional("fileSearch", Shape::Object),
    optional("googleMaps", Shape::Object),
    optional("mcpServers", Shape::List(&Shape::Object)),
]);

static FUNCTION_DECLARATION: Message = message(&[
    optional("name", Shape::Text),
    optional("description", Shape::Text),
    optional("parameters", Shape::Message(&SCHEMA)),
    optional("parametersJsonSchema", Shape::Any),
    optional("response", Shape::Message(&SCHEMA)),
    optional("responseJsonSchema", Shape::Any),
    optional("behavior", Shape::Text),
]);

static SCHEMA: Message = message(&[
    optional(
        "type",
        Shape::Word("Type", &["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"]),
    ),
    optional("format", Shape::Text),
    optional("title", Shape::Text),
    optional("description", Shape::Text),
    optional("nullable", Shape::Flag),
    optional("enum", Shape::List(&Shape::Text)),
    optional("maxItems", Shape::Whole),
    optional("minItems", Shape::Whole),
    optional("properties", Shape::Map(&Shape::Message(&SCHEMA))),
    optional("required", Shape::List(&Shape::Text)),
    optional("minProperties", Shape::Whole),
    optional("maxProperties", Shape::Whole),
    optional("minLength", Shape::Whole),
    optional("maxLength", Shape::Whole),
    optional("pattern", Shape::Text),
    optional("example", Shape::Any),
    optional("anyOf", Shape::List(&Shape::Message(&SCHEMA))),
    optional("propertyOrdering", Shape::List(&Shape::Text)),
    optional("default", Shape::Any),
    optional("items", Shape::Message(&SCHEMA)),
    optional("minimum", Shape::Number),
    optional("maximum", Shape::Number),
]);

static TOOL_CONFIG: Message = message(&[
    optional(
        "functionCallingConfig",
        Shape::Message(&message(&[
            optional(
                "mode",
                Shape::Word(
                    "FunctionCallingConfig.Mode",
                    &["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"],
                ),
            ),
            optional("allowedFunctionNames", Shape::List(&Shape::Text)),
        ])),
    ),
    optional("retrievalConfig", Shape::Object),
    optional("includeServerSideToolInvocations", Shape::Flag),
]);

static SAFETY_SETTING: Message = message(&[
    optional(
        "category",
        Shape::Word(
            "HarmCategory",
            &[
                "HARM_CATEGORY_HARASSMENT",
                "HARM_CATEGORY_HATE_SPEECH",
                "HARM_CATEGORY_SEXUALLY_EXPLICIT",
                "HARM_CATEGORY_DANGEROUS_CONTENT",
                "HARM_CATEGORY_CIVIC_INTEGRITY",
            ],
        ),
    ),
    optional(
        "threshold",
        Shape::Word(
            "SafetySetting.HarmBlockThreshold",
            &[
                "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
                "BLOCK_LOW_AND_ABOVE",
                "BLOCK_MEDIUM_AND_ABOVE",
                "BLOCK_ONLY_HIGH",
                "BLOCK_NONE",
                "OFF",
            ],
        ),
    ),
]);

static GENERATION_CONFIG: Message = message(GENERATION_FIELDS);
static GENERATION_FIELDS: &[Field] = &[
    optional("stopSequences", Shape::List(&Shape::Text)),
    optional("responseMimeType", Shape::Text),
    optional("responseSchema", Shape::Message(&SCHEMA)),
    optional("responseJsonSchema", Shape::Any),
    optional("_responseJsonSchema", Shape::Any),
    optional(
        "responseModalities",
        Shape::List(&Shape::Word(
            "GenerationConfig.Modality",
            &["MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO", "VIDEO"],
        )),
    ),
    optional("candidateCount", Shape::Whole),
    optional("maxOutputTokens", Shape::Whole),
    optional("temperature", Shape::Number),
    optional("topP", Shape::Number),
    optional("topK", Shape::Whole),
    optional("seed", Shape::Whole),
    optional("presencePenalty", Shape::Number),
    optional("frequencyPenalty", Shape::Number),
    optional("responseLogprobs", Shape::Flag),
    optional("logprobs", Shape::Whole),
    optional("enableEnhancedCivicAnswers", Shape::Flag),
    optional("speechConfig", Shape::Object),
    optional(
        "thinkingConfig",
        Shape::Message(&message(&[
            optional("includeThoughts", Shape::Flag),
            optional("thinkingBudget", Shape::Whole),
            optional(
                "thinkingLevel",
                Shape::Word(
                    "ThinkingConfig.ThinkingLevel",
                    &["THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH"],
                ),
            ),
        ])),
    ),
    optional("imageConfig", Shape::Object),
    optional("mediaResolution", Shape::Text),
    optional("audioTranscriptionConfig", Shape::Object),
    optional("responseFormat", Shape::Any),
];
