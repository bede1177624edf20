//! `src/pool/` as a crate of its own. That this compiles is the proof that the pool knows nothing of the rest.
#![deny(unsafe_code)]

#[path = "../../../src/pool/mod.rs"]
pub mod pool;
