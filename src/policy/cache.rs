//! What may be answered from memory, and what may be kept there.
//!
//! | file | idea |
//! |---|---|
//! | `canonical` | one form for all the ways in which a JSON text can be written |
//! | `key` | what two calls have in common that one answer serves |
//! | `control` | what a caller says of it, by the names of RFC 9111 |
//! | `store` | the answers that are kept, bounded in bytes |

mod canonical;
mod control;
mod key;
mod store;

use std::time::Duration;

use serde::Deserialize;

pub use self::control::Control;
pub use self::key::{Digest, Key};
pub use self::store::{Store, StoreFigures};
use crate::protocol::json::{Members, Text};

/// The settings of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// Of all answers that are kept, with what is kept beside them. 0: none is kept, and identical calls share all the same. Default 64 MiB.
    pub max_bytes: u64,
    /// Whether the `Cache-Control` among the headers of a call is meant for us. Default false: it is the provider's.
    pub obeys_header: bool,
    pub rules: CacheRules,
}

/// How one call goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheRules {
    /// For how long its answer is kept. Default 1 h.
    pub ttl: Duration,
    pub when: When,
    /// Whether it shares an exchange with identical calls. Default true.
    pub coalesce: bool,
    pub control: Control,
}

/// Which requests may be answered by what another was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum When {
    /// Those that are made to have one answer.
    #[default]
    Deterministic,
    All,
}

/// What is asked for. Answers of one kind serve no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Chat,
    Stream,
    Embeddings,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024 * 1024, obeys_header: false, rules: CacheRules::default() }
    }
}

impl Default for CacheRules {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3600),
            when: When::default(),
            coalesce: true,
            control: Control::default(),
        }
    }
}

impl When {
    /// Whether a request may be answered by what another was answered. One that is to leave a trace at the provider (`store`) is made every
    /// time, and one that looks into the web has another answer tomorrow.
    pub fn covers(self, kind: Kind, request: &Members<'_>) -> bool {
        if self == Self::All || kind == Kind::Embeddings {
            return true;
        }
        let is_given = |name| request.raw(name).is_some_and(|value| value != "null");
        let is_cold = request.value::<f64>("temperature") == Some(0.0);
        let is_one = request.raw("n").is_none_or(|n| n == "null") || request.value::<f64>("n") == Some(1.0);
        (is_cold || request.value::<i64>("seed").is_some())
            && is_one
            && request.value::<bool>("store") != Some(true)
            && !is_given("web_search_options")
    }
}

/// Whether a good answer is whole, and so may be given again. A length that was reached, a filter that cut in, and every reason of which
/// nobody knows what it means are none to keep it.
pub fn is_whole(kind: Kind, answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Chat<'a> {
        #[serde(borrow)]
        choices: Vec<Choice<'a>>,
    }
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow)]
        finish_reason: Option<Text<'a>>,
    }
    #[derive(Deserialize)]
    struct Embeddings {
        data: Vec<serde::de::IgnoredAny>,
    }
    let ended = |choice: &Choice<'_>| {
        let reason = choice.finish_reason.as_ref().map(|reason| &*reason.0);
        matches!(reason, Some("stop" | "tool_calls" | "function_call"))
    };
    match kind {
        Kind::Chat | Kind::Stream => serde_json::from_slice::<Chat<'_>>(answer)
            .is_ok_and(|chat| !chat.choices.is_empty() && chat.choices.iter().all(ended)),
        Kind::Embeddings => {
            serde_json::from_slice::<Embeddings>(answer).is_ok_and(|answer| !answer.data.is_empty())
        }
    }
}

/// The key of a request; None where it cannot be brought into one form (it is nested absurdly deep).
///
/// All of the body counts but `stream`, which only says what the kind says already; so do the headers of the call but those that say nothing
/// of the answer, the tenant, and `whom`: everybody who may answer.
pub fn key_of<'a>(
    kind: Kind,
    tenant: Option<&str>,
    whom: impl IntoIterator<Item = &'a [u8]>,
    headers: &http::HeaderMap,
    request: Members<'_>,
) -> Option<Key> {
    let mut digest = Digest::new("call");
    digest.part(&[kind as u8]);
    digest.option(tenant.map(str::as_bytes));
    digest.list(whom);
    let mut told: Vec<_> = headers.iter().filter(|(name, _)| counts(name.as_str())).collect();
    told.sort_by_key(|(name, _)| name.as_str());
    digest.list(told.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]));
    let pairs = request.into_pairs().into_iter().filter(|(name, _)| name != "stream");
    digest.part(&canonical::object(pairs)?);
    Some(digest.finish())
}

/// Whether a header of a call may make its answer another one: credentials may, and what switches features on. The names of a request, of a trace
/// and of an intent do not, nor does what is said of caches.
fn counts(name: &str) -> bool {
    !matches!(
        name,
        "cache-control"
            | "idempotency-key"
            | "traceparent"
            | "tracestate"
            | "baggage"
            | "x-request-id"
            | "x-client-request-id"
            | "x-correlation-id"
    )
}

#[cfg(test)]
mod tests;
