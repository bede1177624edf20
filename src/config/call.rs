//! The options of one call: what differs from its client's.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::section::Section;
use super::{ClientConfig, parse_headers, parse_retry, parse_timeouts};
use crate::error::Error;
use crate::policy::judge::RetryPolicy;
use crate::policy::timeouts::Timeouts;
use crate::pool::{Priority, Tenant};

/// How one call goes.
#[derive(Debug, Clone)]
pub struct CallOptions {
    pub headers: HeaderMap,
    pub timeouts: Timeouts,
    pub retry: RetryPolicy,
    pub priority: Priority,
    pub tenant: Option<Tenant>,
    /// Whether a key makes the repetition of any call safe.
    pub idempotent: bool,
    /// How long small deltas of a stream may be gathered.
    pub flush_interval: Duration,
}

/// Of the name of a tenant, which stands in the metrics.
const LONGEST_TENANT: usize = 256;

const FLUSH_INTERVAL: Duration = Duration::from_millis(5);

impl CallOptions {
    /// What the client says, where a call says nothing.
    pub fn of(client: &ClientConfig) -> Self {
        Self {
            headers: HeaderMap::new(),
            timeouts: client.timeouts,
            retry: client.retry.clone(),
            priority: Priority::default(),
            tenant: None,
            idempotent: false,
            flush_interval: FLUSH_INTERVAL,
        }
    }

    /// Parses the options of a call.
    pub fn parse(options: Value, client: &ClientConfig) -> Result<Self, Error> {
        let mut call = Self::of(client);
        let mut top = Section::top("options", options)?;
        call.headers = parse_headers(&mut top)?;
        call.timeouts = parse_timeouts(&mut top, client.timeouts)?;
        call.retry = parse_retry(&mut top, client.retry.clone())?;
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
        if let Some(key) = top.string("idempotencyKey")? {
            let value = HeaderValue::from_str(&key)
                .ok()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| top.error("idempotencyKey", "must be visible ASCII, and not empty"))?;
            call.headers.insert(HeaderName::from_static("idempotency-key"), value);
            call.idempotent = true;
        }
        if let Some(interval) = top.duration("flushInterval")? {
            call.flush_interval = interval.min(Duration::from_secs(1));
        }
        top.finish()?;
        Ok(call)
    }
}
