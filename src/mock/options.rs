//! What a stand-in upstream is started with.

use std::{collections::BTreeMap, io, time::Duration};

use serde::Deserialize;

/// How a stand-in upstream is started. Times are milliseconds, rates are per second.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MockOptions {
    /// Port on 127.0.0.1; 0, the default, takes any free one.
    pub port: u16,
    /// TLS, with a certificate of the process's own authority ([`ca`](super::MockUpstream::ca)). Default false.
    pub tls: bool,
    /// HTTP/2: over TLS by ALPN, in plain text by prior knowledge. Default true; false speaks HTTP/1.1 alone.
    pub http2: bool,
    /// Seed of every text, vector and jitter. Default 0.
    pub seed: u64,
    /// Pace of each answer; `None`, the default, is full speed. A unary answer takes as long as its tokens would.
    pub tokens_per_second: Option<f64>,
    /// Milliseconds before the head of each answer; above 0 it varies by a seeded 10 % either way.
    pub latency: f64,
    /// Milliseconds that a round trip to this upstream costs, beside what loopback costs.
    pub round_trip: f64,
    pub rate_limit: Option<RateLimit>,
    /// Streams an HTTP/2 client may have open at once on a connection. Default 200.
    pub max_concurrent_streams: Option<u32>,
    /// Milliseconds that a connection may be idle before the server closes it; `None`, the default, is for ever.
    pub keep_alive_timeout: Option<f64>,
    /// Requests that a connection serves before the server closes it; `None`, the default, is any number.
    pub requests_per_connection: Option<u32>,
    /// Whether requests are kept (the last 10,000). Default true; false is the fast way, for benchmarks, where
    /// the default answer is one of 64 instead of one for each prompt.
    pub record: bool,
    /// The keys that are known, each with what holds for it; others are refused. `None`, the default, takes any; only
    /// Anthropic's and Gemini's protocols insist on one then.
    pub keys: Option<BTreeMap<String, MockKey>>,
    /// Whether a chat may end with an assistant's message, to be gone on with. Default true.
    pub prefill: bool,
    /// What holds for single models. One that is not here is taken as well.
    pub models: BTreeMap<String, MockModel>,
    /// Of the batches that it works through: OpenAI's, and Anthropic's.
    pub batches: MockBatches,
}

/// How a stand-in upstream bears with batches.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MockBatches {
    /// False answers 404, as a relay that has none. Default true.
    pub enabled: bool,
    /// Milliseconds until a batch is over. Default 0.
    pub delay: f64,
    /// Every so manieth request of a batch expires.
    pub expire_every: Option<u32>,
    /// Every so manieth request of a batch is answered 500.
    pub fail_every: Option<u32>,
    /// The code with which whole batches fail, before any request of theirs is processed.
    pub refuse: Option<String>,
}

impl Default for MockBatches {
    fn default() -> Self {
        Self { enabled: true, delay: 0.0, expire_every: None, fail_every: None, refuse: None }
    }
}

/// A key that a stand-in upstream knows.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MockKey {
    /// In place of the upstream's own.
    pub rate_limit: Option<RateLimit>,
    /// Refused like one that was never known. Default false.
    pub revoked: bool,
}

/// A model of a stand-in upstream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MockModel {
    /// Longer prompts are refused for their length. Four characters are a token.
    pub max_input_tokens: Option<u64>,
    /// In place of the upstream's own.
    pub prefill: Option<bool>,
}

/// The limits that a stand-in upstream answers 429 beyond.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RateLimit {
    pub requests_per_second: Option<f64>,
    /// Tokens of prompts and answers together.
    pub tokens_per_minute: Option<f64>,
    /// Requests that may come at once. Default: those of one second.
    pub burst: Option<f64>,
}

impl Default for MockOptions {
    fn default() -> Self {
        Self {
            port: 0,
            tls: false,
            http2: true,
            seed: 0,
            tokens_per_second: None,
            latency: 0.0,
            round_trip: 0.0,
            rate_limit: None,
            max_concurrent_streams: None,
            keep_alive_timeout: None,
            requests_per_connection: None,
            record: true,
            keys: None,
            prefill: true,
            models: BTreeMap::new(),
            batches: MockBatches::default(),
        }
    }
}

impl MockOptions {
    /// Refuses numbers that mean nothing, naming the option.
    pub(super) fn validate(&self) -> io::Result<()> {
        let not_negative = |name: &str, value: f64| match value >= 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(invalid(format!("{name}: must be 0 or more, got {value}"))),
        };
        let positive = |name: &str, value: Option<f64>| match value {
            Some(value) if !(value > 0.0 && value.is_finite()) => {
                Err(invalid(format!("{name}: must be above 0, got {value}")))
            }
            _ => Ok(()),
        };
        not_negative("latency", self.latency)?;
        not_negative("roundTrip", self.round_trip)?;
        not_negative("batches.delay", self.batches.delay)?;
        positive("tokensPerSecond", self.tokens_per_second)?;
        positive("keepAliveTimeout", self.keep_alive_timeout)?;
        let own = self.rate_limit.iter().map(|limit| ("rateLimit".to_owned(), limit));
        let keys = self.keys.iter().flatten().enumerate();
        // By number and not by name: a key is in no message, not even a test's.
        let of_keys = keys
            .filter_map(|(at, (_, key))| Some((format!("keys[{at}].rateLimit"), key.rate_limit.as_ref()?)));
        for (path, limit) in own.chain(of_keys) {
            positive(&format!("{path}.requestsPerSecond"), limit.requests_per_second)?;
            positive(&format!("{path}.tokensPerMinute"), limit.tokens_per_minute)?;
            positive(&format!("{path}.burst"), limit.burst)?;
        }
        if self.requests_per_connection == Some(0) {
            return Err(invalid("requestsPerConnection: must be above 0, got 0".to_owned()));
        }
        Ok(())
    }
}

/// Milliseconds as they come from outside; what is no time is none.
pub(super) fn millis(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1000.0).unwrap_or_default()
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
