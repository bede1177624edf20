//! Options of calls that were read before: a program mostly says the same few again and again.

use std::sync::Arc;

use crate::config::{CallKind, CallOptions};

/// More would be searched for longer than most take to be read.
const KEPT: usize = 8;
const LONGEST: usize = 256;
/// What may be a credential, which is nobody's to keep, and what no second call says.
const NEVER: [&str; 2] = ["headers", "idempotencyKey"];

/// The options that were read last, by their texts.
#[derive(Debug, Default)]
pub(super) struct Recent {
    kept: Vec<(CallKind, String, Arc<CallOptions>)>,
    /// Which gives way next.
    oldest: usize,
}

impl Recent {
    /// Whether options of this text may be kept.
    pub(super) fn takes(text: &str) -> bool {
        text.len() <= LONGEST && !NEVER.iter().any(|name| text.contains(name))
    }

    pub(super) fn find(&self, kind: CallKind, text: &str) -> Option<Arc<CallOptions>> {
        let found = self.kept.iter().find(|(of, known, _)| *of == kind && known == text);
        found.map(|(.., options)| options.clone())
    }

    pub(super) fn keep(&mut self, kind: CallKind, text: String, options: Arc<CallOptions>) {
        let entry = (kind, text, options);
        if self.kept.len() < KEPT {
            self.kept.push(entry);
        } else {
            self.kept[self.oldest] = entry;
            self.oldest = (self.oldest + 1) % KEPT;
        }
    }
}
