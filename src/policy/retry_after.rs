//! What a server says about when to come back.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// `retry-after-ms` (milliseconds), else `Retry-After` in seconds or as an HTTP date (RFC 9110 §10.2.3). Nonsense is as if
/// nothing was said; a date in the past means now.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    if let Some(ms) = text("retry-after-ms").and_then(number) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let said = text("retry-after")?;
    if let Some(seconds) = number(said) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(said).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// `x-should-retry`: the server's own word on it.
pub fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        retry_after(&headers, now)
    }

    #[test]
    fn seconds_milliseconds_and_dates_are_understood() {
        assert_eq!(said("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(said("retry-after", " 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(said("retry-after-ms", "1250"), Some(Duration::from_millis(1250)));
        assert_eq!(said("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(said("retry-after", "Tue, 14 Nov 2023 22:13:10 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_as_if_nothing_was_said() {
        for nonsense in ["soon", "-1", "NaN", "inf", "1e300", ""] {
            assert_eq!(said("retry-after", nonsense), None, "{nonsense}");
        }
    }
}
