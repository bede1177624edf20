//! What an HTTP/1.1 server says of how long it keeps a connection: `Keep-Alive: timeout=5, max=100`.
//!
//! No RFC requires the header to hold (it comes from RFC 2068, section 19.7.1.1); servers that send it mean it. Parameters that are
//! nonsense are as none.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// A socket is given up this much before the server says that it will: the server's clock began when it wrote, and a request is on
/// its way for a while. Half of what it says, where that is less.
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hint {
    /// How long the socket may rest.
    pub(super) rest: Option<Duration>,
    /// Whether this was the last response on it.
    pub(super) is_last: bool,
}

impl Hint {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut hint = Self::default();
        // Looked up before it is iterated: most answers have none.
        if !headers.contains_key(&KEEP_ALIVE) {
            return hint;
        }
        let values = headers.get_all(&KEEP_ALIVE).iter().filter_map(|value| value.to_str().ok());
        for parameter in values.flat_map(|value| value.split(',')) {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let Ok(number) = value.trim().trim_matches('"').parse::<u32>() else { continue };
            match name.trim() {
                name if name.eq_ignore_ascii_case("timeout") => {
                    let told = Duration::from_secs(u64::from(number));
                    hint.rest = Some(told - MARGIN.min(told / 2));
                    hint.is_last |= number == 0;
                }
                name if name.eq_ignore_ascii_case("max") => hint.is_last |= number == 0,
                _ => {}
            }
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(values: &[&str]) -> Hint {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEEP_ALIVE, value.parse().unwrap());
        }
        Hint::of(&headers)
    }

    fn resting(ms: u64) -> Hint {
        Hint { rest: Some(Duration::from_millis(ms)), is_last: false }
    }

    #[test]
    fn what_the_server_says_less_a_margin() {
        assert_eq!(hint(&["timeout=60, max=100"]), resting(58_000));
        assert_eq!(hint(&["timeout=1"]), resting(500));
        assert_eq!(hint(&["max=7", "Timeout = \"5\""]), resting(3_000));
        assert_eq!(hint(&[]), Hint::default());
    }

    #[test]
    fn the_last_response_is_known_as_the_last() {
        assert!(hint(&["timeout=5, max=0"]).is_last);
        assert!(hint(&["timeout=0"]).is_last);
        assert!(!hint(&["timeout=5, max=1"]).is_last);
    }

    #[test]
    fn nonsense_is_as_nothing() {
        for nonsense in [
            "",
            "timeout",
            "timeout=",
            "timeout=-5",
            "timeout=soon",
            "=5",
            "max=1e9",
            ",,=,",
            "timeout=99999999999999",
        ] {
            assert_eq!(hint(&[nonsense]), Hint::default(), "{nonsense}");
        }
    }
}
