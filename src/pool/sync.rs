//! The atomics of what is tested under loom: `tests/loom` has its own in place of these.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicU8, Ordering};
