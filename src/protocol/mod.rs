//! What bytes mean: encode a request, decode an answer, name an error. No I/O in here: bytes in, values out.
//!
//! `json` and `read` are what the protocols are written with: JSON as text, and a request read member by member with the path of each.

pub mod anthropic;
pub mod dialect;
pub mod gemini;
pub mod json;
pub mod openai;
mod read;
pub mod sse;
pub mod translate;
