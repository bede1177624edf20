//! The options of one call: what differs from its client's.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::secret::{Hidden, is_credential};
use super::section::{self, Section};
use super::{ClientConfig, ProviderConfig, cache, parse_headers, parse_retry, parse_timeouts, visible_ascii};
use crate::error::Error;
use crate::policy::cache::CacheRules;
use crate::policy::judge::RetryPolicy;
use crate::policy::timeouts::{GivenTimeouts, Timeouts};
use crate::pool::{Priority, Tenant};

/// How one call goes.
#[derive(Debug, Clone)]
pub struct CallOptions {
    pub headers: Hidden<HeaderMap>,
    /// Whether there are credentials among them: such a call goes to one provider.
    pub has_credentials: bool,
    /// Where the call says something; else its provider does, or the client.
    pub timeouts: GivenTimeouts,
    /// Of every attempt and wait together.
    pub total: Duration,
    pub retry: RetryPolicy,
    pub priority: Priority,
    pub tenant: Option<Tenant>,
    /// By its name; None for what the model leads to.
    pub provider: Option<String>,
    /// Whether a key makes the repetition of any call safe.
    pub idempotent: bool,
    /// How long small deltas of a stream may be gathered.
    pub flush_interval: Duration,
    pub recover: Recover,
    pub wire: Wire,
    /// None where it is not answered from memory, and its answer not kept.
    pub cache: Option<CacheRules>,
}

/// What becomes of a stream that breaks after its reader has seen a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recover {
    /// It fails.
    #[default]
    None,
    /// Another attempt begins anew, and says so.
    Restart,
    /// Another attempt goes on where it broke.
    Continue,
}

/// How an answer that is handed over as a whole comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wire {
    /// As a stream where it may be long.
    #[default]
    Auto,
    Stream,
    Unary,
}

/// What the options are of; each has some that the others have not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    Whole,
    Stream,
    /// For each of its calls.
    Batch,
}

/// Of the name of a tenant, which stands in the metrics.
const LONGEST_TENANT: usize = 256;

const FLUSH_INTERVAL: Duration = Duration::from_millis(5);
/// Beyond it, a stream would look as if it stood still.
const LONGEST_FLUSH_INTERVAL: Duration = Duration::from_secs(1);

impl CallOptions {
    /// What the client says, where a call says nothing.
    pub fn of(client: &ClientConfig) -> Self {
        Self {
            headers: Hidden::default(),
            has_credentials: false,
            timeouts: GivenTimeouts::default(),
            total: client.timeouts.total,
            provider: None,
            retry: client.retry.clone(),
            priority: Priority::default(),
            tenant: None,
            idempotent: false,
            flush_interval: FLUSH_INTERVAL,
            recover: Recover::default(),
            wire: Wire::default(),
            cache: client.cache.map(|policy| policy.rules),
        }
    }

    /// The timeouts at a provider: its own, where the call says nothing.
    pub fn timeouts_at(&self, provider: &ProviderConfig) -> Timeouts {
        self.timeouts.over(provider.timeouts)
    }

    /// Parses the options of a call.
    pub fn parse(options: Value, kind: CallKind, client: &ClientConfig) -> Result<Self, Error> {
        let mut call = Self::of(client);
        let mut top = Section::top("options", options)?;
        top.taken_before(match kind {
            CallKind::Whole | CallKind::Stream => &["signal"],
            CallKind::Batch => &["concurrency", "onProgress", "failFast", "signal"],
        });
        call.headers = Hidden(parse_headers(&mut top)?);
        call.has_credentials = call.headers.keys().any(is_credential);
        call.cache = cache::parse_call_cache(&mut top, client.cache.as_ref(), &mut call.headers)?;
        call.timeouts = parse_timeouts(&mut top)?;
        call.total = call.timeouts.total.unwrap_or(client.timeouts.total);
        call.provider = top.string("provider")?;
        call.retry = parse_retry(&mut top, client.retry.clone())?;
        if call.retry.budget != client.retry.budget {
            return Err(Error::config("retry.budget: is the client's, and cannot be given with a call"));
        }
        let priorities = Priority::ALL.map(|priority| (priority.as_str(), priority));
        if let Some(priority) = top.one_of("priority", &priorities)? {
            call.priority = priority;
        }
        if let Some(tenant) = top.string("tenant")? {
            if tenant.is_empty() || tenant.len() > LONGEST_TENANT {
                let error = format!("must have 1 to {LONGEST_TENANT} bytes, got {}", tenant.len());
                return Err(top.error("tenant", error));
            }
            call.tenant = Some(Tenant::new(&tenant));
        }
        // One key for many calls would give all of them the first one's answer.
        if kind != CallKind::Batch
            && let Some(key) = top.string("idempotencyKey")?
        {
            let value = visible_ascii(&key)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| top.error("idempotencyKey", "must be visible ASCII, and not empty"))?;
            call.headers.insert(HeaderName::from_static("idempotency-key"), value);
            call.idempotent = true;
        }
        for name in ["flushInterval", "recover"] {
            if kind != CallKind::Stream && top.holds(name) {
                return Err(top.error(name, "is an option of streams, which this is not"));
            }
        }
        if kind == CallKind::Stream && top.holds("wire") {
            return Err(
                top.error("wire", "is an option of calls whose answer comes whole, which this is not")
            );
        }
        if kind == CallKind::Stream {
            let ways =
                [("none", Recover::None), ("restart", Recover::Restart), ("continue", Recover::Continue)];
            call.recover = top.one_of("recover", &ways)?.unwrap_or_default();
        } else {
            let ways = [("auto", Wire::Auto), ("stream", Wire::Stream), ("unary", Wire::Unary)];
            call.wire = top.one_of("wire", &ways)?.unwrap_or_default();
        }
        if kind == CallKind::Stream
            && let Some(interval) = top.duration("flushInterval")?
        {
            if interval > LONGEST_FLUSH_INTERVAL {
                let most = LONGEST_FLUSH_INTERVAL.as_millis();
                let got = section::shown(interval);
                return Err(top.error("flushInterval", format!("must be at most {most} ms, got {got}")));
            }
            call.flush_interval = interval;
        }
        top.finish()?;
        Ok(call)
    }
}
