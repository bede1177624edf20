//! Answers that several machines keep together, in Redis: looked for where this process has none, and no exchange is under way. What is found is kept
//! here as well.
//!
//! An answer is JSON, under a key that is a hash (`policy/cache/key.rs`), for as long as it is kept; its age is by Redis' clock. What cannot be read, or not
//! in time, is as good as none.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Kept, Tape};
use crate::client::record::{FarRecord, Record};
use crate::client::shared::Shared;
use crate::policy::cache::Key;
use crate::telemetry::Counters;

/// Of another version nothing is read.
const VERSION: u32 = 1;
/// Larger answers are kept by each process alone.
const LARGEST: usize = 1024 * 1024;
/// An answer that takes longer to come is asked for where it comes from.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Serialize, Deserialize)]
struct Far<'a> {
    version: u32,
    /// Milliseconds.
    ttl: u64,
    record: FarRecord,
    #[serde(borrow)]
    body: Cow<'a, str>,
    tape: Option<Cow<'a, Tape>>,
}

/// What others have kept: with its time, and how old it is.
pub(super) async fn recall(
    shared: &Shared,
    counters: &Counters,
    key: &Key,
) -> Option<(Kept, Duration, Duration)> {
    let (text, left) = tokio::time::timeout(PATIENCE, shared.recall(&name_of(key))).await.ok()??;
    let far: Far<'_> = serde_json::from_str(&text).ok()?;
    let (ttl, left) = (Duration::from_millis(far.ttl), Duration::from_millis(left));
    if far.version != VERSION || left > ttl {
        return None;
    }
    let body = Bytes::from(far.body.into_owned().into_bytes());
    let tape = far.tape.map(|tape| Arc::new(tape.into_owned()));
    Some((Kept { record: Record::of_far(far.record, counters)?, body, tape }, ttl, ttl - left))
}

/// Keeps an answer for the others.
pub(super) async fn remember(shared: &Shared, key: &Key, kept: &Kept, ttl: Duration) {
    let Ok(body) = std::str::from_utf8(&kept.body) else { return };
    if kept.bytes() > LARGEST {
        return;
    }
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).min(i64::MAX as u64);
    let tape = kept.tape.as_deref().map(Cow::Borrowed);
    let far = Far { version: VERSION, ttl, record: kept.record.far(), body: body.into(), tape };
    if ttl > 0
        && let Ok(text) = serde_json::to_string(&far)
    {
        shared.remember(&name_of(key), &text, ttl).await;
    }
}

fn name_of(key: &Key) -> String {
    key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
