//! The tables of `POST /v1/messages`: "Create a Message" in Anthropic's API reference, and the types of its SDKs.

use crate::mock::shape::{Message, Shape, message, nullable, optional, required};

pub(super) static REQUEST: Shape = Shape::Message(&ASK);
/// The same for one that names a beta, which may bring fields of its own.
pub(super) static BETA_REQUEST: Shape = Shape::Message(&Message { fields: ASK.fields, open: true });
pub(super) static TOOL: Shape = Shape::Message(&CUSTOM_TOOL);

static ASK: Message = message(&[
    required("model", Shape::Text),
    required("messages", Shape::List(&Shape::Message(&MESSAGE))),
    required("max_tokens", Shape::Whole),
    optional("system", Shape::TextOr(&Shape::List(&Shape::Tagged(&[("text", &TEXT)])))),
    optional("stop_sequences", Shape::List(&Shape::Text)),
    optional("stream", Shape::Flag),
    optional("temperature", Shape::Number),
    optional("top_p", Shape::Number),
    optional("top_k", Shape::Whole),
    optional("metadata", Shape::Message(&METADATA)),
    // Told apart in `request`, for a type that is missing is one too.
    optional("tools", Shape::List(&Shape::Object)),
    optional("tool_choice", Shape::Tagged(TOOL_CHOICES)),
    optional("thinking", Shape::Tagged(THINKING_KINDS)),
    optional("output_config", Shape::Message(&OUTPUT_CONFIG)),
    optional("service_tier", Shape::Word("service_tier", &["auto", "standard_only"])),
    nullable("cache_control", CACHE_CONTROL),
    nullable("container", Shape::Any),
    nullable("inference_geo", Shape::Text),
]);

static MESSAGE: Message = message(&[
    required("role", Shape::Word("role", &["user", "assistant", "system"])),
    required("content", Shape::TextOr(&Shape::List(&Shape::Tagged(BLOCKS)))),
]);

static BLOCKS: &[(&str, &Message)] = &[
    ("text", &TEXT),
    ("image", &IMAGE),
    ("document", &DOCUMENT),
    ("search_result", &SEARCH_RESULT),
    ("thinking", &THINKING),
    ("redacted_thinking", &REDACTED_THINKING),
    ("tool_use", &TOOL_USE),
    ("tool_result", &TOOL_RESULT),
    ("server_tool_use", &SERVER_SIDE),
    ("web_search_tool_result", &SERVER_SIDE),
    ("web_fetch_tool_result", &SERVER_SIDE),
    ("code_execution_tool_result", &SERVER_SIDE),
    ("bash_code_execution_tool_result", &SERVER_SIDE),
    ("text_editor_code_execution_tool_result", &SERVER_SIDE),
    ("tool_search_tool_result", &SERVER_SIDE),
    ("container_upload", &SERVER_SIDE),
];

const CACHE_CONTROL: Shape = Shape::Message(&CACHE);

static CACHE: Message = message(&[
    required("type", Shape::Word("type", &["ephemeral"])),
    optional("ttl", Shape::Word("ttl", &["5m", "1h"])),
]);

static TEXT: Message = message(&[
    required("text", Shape::Text),
    nullable("cache_control", CACHE_CONTROL),
    nullable("citations", Shape::List(&Shape::Object)),
]);

static IMAGE: Message = message(&[
    required(
        "source",
        Shape::Tagged(&[("base64", &IMAGE_DATA), ("url", &URL_SOURCE), ("file", &FILE_SOURCE)]),
    ),
    nullable("cache_control", CACHE_CONTROL),
    nullable("transformations", Shape::Object),
]);

static IMAGE_DATA: Message = message(&[
    required(
        "media_type",
        Shape::Word("media_type", &["image/jpeg", "image/png", "image/gif", "image/webp"]),
    ),
    required("data", Shape::Bytes),
]);

static URL_SOURCE: Message = message(&[required("url", Shape::Text)]);
static FILE_SOURCE: Message = message(&[required("file_id", Shape::Text)]);

static DOCUMENT: Message = message(&[
    required(
        "source",
        Shape::Tagged(&[
            ("base64", &PDF_DATA),
            ("text", &PLAIN_DATA),
            ("content", &CONTENT_SOURCE),
            ("url", &URL_SOURCE),
            ("file", &FILE_SOURCE),
        ]),
    ),
    nullable("cache_control", CACHE_CONTROL),
    nullable("citations", Shape::Message(&CITATIONS)),
    nullable("context", Shape::Text),
    nullable("title", Shape::Text),
]);

static PDF_DATA: Message = message(&[
    required("media_type", Shape::Word("media_type", &["application/pdf"])),
    required("data", Shape::Bytes),
]);
static PLAIN_DATA: Message = message(&[
    required("media_type", Shape::Word("media_type", &["text/plain"])),
    required("data", Shape::Text),
]);
static CONTENT_SOURCE: Message = message(&[required(
    "content",
    Shape::TextOr(&Shape::List(&Shape::Tagged(&[("text", &TEXT), ("image", &IMAGE)]))),
)]);
static CITATIONS: Message = message(&[optional("enabled", Shape::Flag)]);

static SEARCH_RESULT: Message = message(&[
    required("source", Shape::Text),
    required("title", Shape::Text),
    required("content", Shape::List(&Shape::Tagged(&[("text", &TEXT)]))),
    nullable("citations", Shape::Message(&CITATIONS)),
    nullable("cache_control", CACHE_CONTROL),
]);

static THINKING: Message = message(&[required("thinking", Shape::Text), required("signature", Shape::Text)]);
static REDACTED_THINKING: Message = message(&[required("data", Shape::Text)]);

static TOOL_USE: Message = message(&[
    required("id", Shape::Text),
    required("name", Shape::Text),
    required("input", Shape::Object),
    nullable("cache_control", CACHE_CONTROL),
    optional("caller", Shape::Object),
    nullable("toolset_name", Shape::Text),
]);

static TOOL_RESULT: Message = message(&[
    required("tool_use_id", Shape::Text),
    optional(
        "content",
        Shape::TextOr(&Shape::List(&Shape::Tagged(&[
            ("text", &TEXT),
            ("image", &IMAGE),
            ("document", &DOCUMENT),
            ("search_result", &SEARCH_RESULT),
            ("tool_reference", &SERVER_SIDE),
            ("browser_state", &SERVER_SIDE),
        ]))),
    ),
    optional("is_error", Shape::Flag),
    nullable("cache_control", CACHE_CONTROL),
    nullable("toolset_name", Shape::Text),
]);

/// What the provider's own tools leave in a conversation: sent back as it came.
static SERVER_SIDE: Message = Message { fields: &[], open: true };

static METADATA: Message = message(&[nullable("user_id", Shape::Text)]);

static CUSTOM_TOOL: Message = message(&[
    required("name", Shape::Text),
    required("input_schema", Shape::Object),
    nullable("type", Shape::Word("type", &["custom"])),
    optional("description", Shape::Text),
    nullable("cache_control", CACHE_CONTROL),
    optional("strict", Shape::Flag),
    optional("defer_loading", Shape::Flag),
    nullable("eager_input_streaming", Shape::Flag),
    optional("input_examples", Shape::List(&Shape::Object)),
    optional("allowed_callers", Shape::List(&Shape::Text)),
]);

static TOOL_CHOICES: &[(&str, &Message)] =
    &[("auto", &CHOOSE), ("any", &CHOOSE), ("tool", &CHOOSE_ONE), ("none", &CHOOSE_NONE)];
static CHOOSE: Message = message(&[optional("disable_parallel_tool_use", Shape::Flag)]);
static CHOOSE_ONE: Message =
    message(&[required("name", Shape::Text), optional("disable_parallel_tool_use", Shape::Flag)]);
static CHOOSE_NONE: Message = message(&[]);

static THINKING_KINDS: &[(&str, &Message)] =
    &[("enabled", &THINKING_ON), ("disabled", &CHOOSE_NONE), ("adaptive", &THINKING_ADAPTIVE)];
static THINKING_ON: Message =
    message(&[required("budget_tokens", Shape::Whole), nullable("display", DISPLAY)]);
static THINKING_ADAPTIVE: Message = message(&[nullable("display", DISPLAY)]);
const DISPLAY: Shape = Shape::Word("display", &["summarized", "omitted"]);

static OUTPUT_CONFIG: Message = message(&[
    nullable("effort", Shape::Word("effort", &["low", "medium", "high", "xhigh", "max"])),
    nullable("format", Shape::Message(&JSON_FORMAT)),
]);
static JSON_FORMAT: Message =
    message(&[required("type", Shape::Word("type", &["json_schema"])), required("schema", Shape::Object)]);
