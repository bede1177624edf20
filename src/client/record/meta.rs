//! The `meta` of a call, as it crosses to JavaScript.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Record;
use crate::error::{Attempt, as_micros, header_text};
use crate::policy::money::Usd;
use crate::pool::Phases;

/// The `meta` on its way: a list without names, which would cost more to write than what they name. `lib/meta.js` gives them.
#[derive(Serialize)]
struct Meta<'a>(
    /// The provider, the model that answered, the status.
    &'a str,
    &'a str,
    u16,
    Headers<'a>,
    Attempts<'a>,
    /// Number, protocol, whether it was there already.
    Option<(u64, &'static str, bool)>,
    /// Queued, DNS, connect, TLS, first byte, total.
    [Micros; 6],
    Option<&'a RawValue>,
    /// Paths in the request that its target has no words for.
    &'a [Cow<'static, str>],
    /// Where the answer came from: 0 the provider, 1 memory, 2 the exchange of another call.
    u8,
    /// What it cost in dollars, and whether some of that, or of the usage, is an estimate.
    Option<Usd>,
    bool,
);

/// Names and values in turn.
struct Headers<'a>(&'a HeaderMap);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (name, value) in self.0 {
            list.serialize_element(name.as_str())?;
            list.serialize_element(&*header_text(value))?;
        }
        list.end()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Attempts<'a> {
    /// One that went well: what it took. All else the meta says.
    Good(Micros),
    All(&'a [Attempt]),
}

#[derive(Serialize)]
struct Micros(#[serde(serialize_with = "as_micros")] Duration);

impl Record {
    /// The text of the `meta`. What it costs is paid here, off JavaScript's thread.
    pub(in crate::client) fn to_json(&self) -> Vec<u8> {
        let Phases { dns, connect, tls, .. } = self.phases;
        let first_byte = self.first_byte.unwrap_or_default();
        let times = [self.queued, dns, connect, tls, first_byte, self.total()];
        let meta = Meta(
            &self.provider,
            &self.model,
            self.status,
            Headers(&self.headers),
            match &self.attempts[..] {
                [only] if only.error.is_none() => Attempts::Good(Micros(only.duration)),
                all => Attempts::All(all),
            },
            self.connection.map(|(id, protocol, reused)| (id, protocol.as_str(), reused)),
            times.map(Micros),
            self.usage.as_deref(),
            &self.dropped,
            self.source as u8,
            self.spent.cost(),
            self.spent.is_estimated,
        );
        // Roomy enough for most, so that it grows but rarely.
        let mut text = Vec::with_capacity(1024);
        // A type of strings, numbers and checked raw values always has a text.
        let _ = serde_json::to_writer(&mut text, &meta);
        text
    }
}
