//! The rate limit: two token buckets, and how a provider tells of them.

use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};

use super::options::RateLimit;

#[derive(Debug)]
pub(super) struct Limit {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    capacity: f64,
    level: f64,
    per_second: f64,
    filled: Instant,
}

type Fields = Vec<(HeaderName, HeaderValue)>;

impl Limit {
    pub(super) fn new(options: &RateLimit, now: Instant) -> Option<Self> {
        let bucket =
            |capacity: f64, per_second| Bucket { capacity, level: capacity, per_second, filled: now };
        let requests =
            options.requests_per_second.map(|rate| bucket(options.burst.unwrap_or(rate).max(1.0), rate));
        let tokens = options.tokens_per_minute.map(|rate| bucket(rate, rate / 60.0));
        (requests.is_some() || tokens.is_some()).then_some(Self { requests, tokens })
    }

    /// Lets a request of so many tokens in, or not; the header fields are for the answer.
    pub(super) fn admit(&mut self, tokens: u64, now: Instant) -> Result<Fields, Fields> {
        #[expect(clippy::cast_precision_loss, reason = "no prompt has 2^52 tokens")]
        let tokens = tokens as f64;
        let mut wait = Duration::ZERO;
        for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                wait = wait.max(bucket.wait(amount, now));
            }
        }
        if wait.is_zero() {
            for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
                if let Some(bucket) = bucket {
                    bucket.level -= amount.min(bucket.capacity);
                }
            }
            return Ok(self.fields());
        }
        // Rounded up, for a client that comes back a moment too early is turned away again.
        let ms = wait.as_millis() + 1;
        let mut fields = self.fields();
        fields.push((HeaderName::from_static("retry-after-ms"), number(ms)));
        fields.push((HeaderName::from_static("retry-after"), number(ms.div_ceil(1000))));
        Err(fields)
    }

    fn fields(&self) -> Fields {
        let mut fields = Vec::with_capacity(8);
        if let Some(bucket) = &self.requests {
            let names = [
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ];
            bucket.tell(names, &mut fields);
        }
        if let Some(bucket) = &self.tokens {
            let names =
                ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
            bucket.tell(names, &mut fields);
        }
        fields
    }
}

impl Bucket {
    /// How long until it holds `amount`; one that is more than it can hold waits until it is full.
    fn wait(&mut self, amount: f64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.capacity);
        self.filled = now;
        let missing = amount.min(self.capacity) - self.level;
        // Less than a nanosecond's worth is an error of rounding.
        if missing <= self.per_second * 1e-9 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(Duration::MAX)
    }

    fn tell(&self, [limit, remaining, reset]: [&'static str; 3], fields: &mut Fields) {
        let full =
            Duration::try_from_secs_f64((self.capacity - self.level) / self.per_second).unwrap_or_default();
        fields.push((HeaderName::from_static(limit), number(self.capacity.floor())));
        fields.push((HeaderName::from_static(remaining), number(self.level.floor().max(0.0))));
        fields.push((HeaderName::from_static(reset), number(go_duration(full))));
    }
}

/// A duration as OpenAI writes it: `12ms`, `1.5s`, `6m0s`.
fn go_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}s", f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0),
        _ => format!("{}m{}s", ms / 60_000, ms % 60_000 / 1000),
    }
}

fn number(value: impl ToString) -> HeaderValue {
    HeaderValue::try_from(value.to_string()).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_beyond_the_burst_is_told_when_to_come_back_and_is_let_in_then() {
        let start = Instant::now();
        let options = RateLimit { requests_per_second: Some(2.0), ..RateLimit::default() };
        let mut limit = Limit::new(&options, start).unwrap();
        assert!(limit.admit(1, start).is_ok() && limit.admit(1, start).is_ok());
        let refused = limit.admit(1, start).unwrap_err();
        let ms = refused.iter().find(|(name, _)| name == "retry-after-ms").unwrap();
        assert_eq!(ms.1, "501");
        assert!(limit.admit(1, start + Duration::from_millis(499)).is_err());
        assert!(limit.admit(1, start + Duration::from_millis(501)).is_ok());
    }

    #[test]
    fn durations_are_written_as_openai_does() {
        let written = [12, 1500, 360_000].map(|ms| go_duration(Duration::from_millis(ms)));
        assert_eq!(written, ["12ms", "1.5s", "6m0s"]);
    }
}
