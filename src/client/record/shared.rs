//! What other calls have of a record: those that wait for the same exchange, and those that are given its answer later.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Record;
use crate::client::money::Charge;
use crate::error::header_text;
use crate::telemetry::Counters;

/// What others are shown of an exchange that they wait for.
#[derive(Debug, Clone, Default)]
pub(in crate::client) struct Shown(Arc<Mutex<Option<Box<Record>>>>);

/// How a call came by its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::client) enum Source {
    #[default]
    Provider,
    /// It was kept since an earlier call.
    Memory,
    /// By the exchange of another call, which was under way.
    Another,
}

/// The record of an answer that several machines keep together.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::client) struct FarRecord {
    provider: String,
    model: String,
    wanted: String,
    status: u16,
    headers: Vec<(String, String)>,
    usage: Option<Box<RawValue>>,
    dropped: Vec<String>,
    spent: (String, bool, bool, bool),
}

impl Shown {
    /// How it stood when it was last shown.
    pub(in crate::client) fn last(&self) -> Option<Record> {
        self.0.lock().as_deref().cloned()
    }
}

impl Record {
    /// It is the record of an exchange that several calls wait for.
    pub(in crate::client) fn show_to(&mut self, shown: &Shown) {
        self.shown = Some(shown.clone());
        self.show();
    }

    /// Lets those who wait see how it stands.
    pub(in crate::client) fn show(&self) {
        if let Some(Shown(shown)) = &self.shown {
            *shown.lock() = Some(Box::new(Self { lost: None, shown: None, ..self.clone() }));
        }
    }

    /// The record of one of those who waited for this exchange.
    pub(in crate::client) fn shared(&self, started: Instant, source: Source) -> Self {
        // The attempts are told to all of them, and the retries counted once.
        let retries = if source == Source::Another { 0 } else { self.retries };
        // As is what it cost.
        let spent = if source == Source::Another { Charge::nothing() } else { self.spent };
        Self { started, ended: None, retries, source, spent, witness: None, ..self.clone() }
    }

    /// What is still true when the answer is given to another call: who gave it, what it said of itself, what it took then. In bytes of its own, as
    /// headers are a part of a buffer.
    pub(in crate::client) fn kept(&self) -> Self {
        let own = |(name, value): (&HeaderName, &HeaderValue)| {
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        };
        let of_one_caller = |(name, _): &(&HeaderName, &HeaderValue)| **name != http::header::SET_COOKIE;
        Self {
            provider: self.provider.clone(),
            model: self.model.clone(),
            status: self.status,
            headers: self.headers.iter().filter(of_one_caller).filter_map(own).collect(),
            usage: self.usage.clone(),
            dropped: self.dropped.clone(),
            spent: self.spent,
            row: self.row.clone(),
            ..Self::of(self.started, self.wanted.clone())
        }
    }

    /// What of it machines keep together.
    pub(in crate::client) fn far(&self) -> FarRecord {
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), header_text(value).into_owned())
        };
        FarRecord {
            provider: self.provider.to_string(),
            model: self.model.to_string(),
            wanted: self.wanted.to_string(),
            status: self.status,
            headers: self.headers.iter().map(text).collect(),
            usage: self.usage.clone(),
            dropped: self.dropped.iter().map(|path| path.clone().into_owned()).collect(),
            spent: self.spent.far(),
        }
    }

    /// None where it cannot be one.
    pub(in crate::client) fn of_far(far: FarRecord, counters: &Counters) -> Option<Self> {
        let header = |(name, value): (String, String)| {
            let bytes = value.chars().map(u8::try_from).collect::<Result<Vec<_>, _>>().ok()?;
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&bytes).ok()?))
        };
        let (provider, wanted): (Arc<str>, Arc<str>) = (far.provider.into(), far.wanted.into());
        Some(Self {
            row: Some(counters.rows.of(&provider, &wanted)),
            provider,
            model: far.model.into(),
            status: far.status,
            headers: far.headers.into_iter().map(header).collect::<Option<_>>()?,
            usage: far.usage,
            dropped: far.dropped.into_iter().map(Cow::Owned).collect(),
            spent: Charge::of_far(far.spent),
            ..Self::of(Instant::now(), wanted)
        })
    }

    /// What it takes of memory, but for its own fields.
    pub(in crate::client) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        let dropped = self.dropped.iter().map(|path| path.len() + size_of::<Cow<'_, str>>());
        let usage = self.usage.as_ref().map_or(0, |usage| usage.get().len());
        headers.chain(dropped).sum::<usize>() + usage + self.model.len() + self.wanted.len()
    }

    /// The record of a call whose answer was kept for this long.
    pub(in crate::client) fn recalled(&self, started: Instant, age: Duration) -> Self {
        let mut record = Self { started, source: Source::Memory, spent: Charge::nothing(), ..self.clone() };
        record.headers.insert(http::header::AGE, age.as_secs().into());
        record
    }
}
