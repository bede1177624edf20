//! What bytes mean: encode a request, decode an answer, name an error. No I/O in here: bytes in, values out.

pub mod anthropic;
pub mod gemini;
pub mod json;
pub mod openai;
pub mod sse;
pub mod translate;
