//! Origins that no proxy is used for: what `NO_PROXY` says.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::super::Origin;

/// A list of hosts, as `NO_PROXY` has it. The rules are curl's (by hyper-util's matcher), and two that Node's users know: an
/// entry may have a port, and `*.a.example` is another way to write `.a.example`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NoProxy(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rule {
    /// `*`, a domain (itself and all below it), an IP address or a network.
    host: String,
    /// None for any.
    port: Option<u16>,
}

/// An entry that names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProxyError;

impl NoProxy {
    /// The value of the environment variable, of entries between commas or blanks. One that is no rule is passed over, as by
    /// every other program that reads it.
    pub fn lenient(list: &str) -> Self {
        let entries = list.split([',', ' ', '\t']);
        Self(entries.filter_map(|entry| Rule::parse(entry).ok()).collect())
    }

    /// # Errors
    /// An entry is no rule.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, NoProxyError> {
        entries.into_iter().map(Rule::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an origin is connected to straight.
    pub fn contains(&self, origin: &Origin) -> bool {
        let for_port = self.0.iter().filter(|rule| rule.port.is_none_or(|port| port == origin.port));
        let hosts: Vec<_> = for_port.map(|rule| rule.host.as_str()).collect();
        // The matcher's `*` leaves addresses out, curl's does not.
        if hosts.contains(&"*") {
            return true;
        }
        let Ok(uri) = origin.to_string().parse::<Uri>() else { return false };
        // The matcher is asked for a proxy of everything, so that what it lets pass is what the list holds. Made anew each time,
        // since that costs microseconds and a connect milliseconds.
        let all = Matcher::builder().all("http://proxy.invalid").no(hosts.join(",")).build();
        all.intercept(&uri).is_none()
    }
}

impl Rule {
    fn parse(entry: &str) -> Result<Self, NoProxyError> {
        let (host, port) = split_port(entry.trim())?;
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let known = host == "*" || is_network(host) || is_domain(host);
        if known { Ok(Self { host: host.to_ascii_lowercase(), port }) } else { Err(NoProxyError) }
    }
}

/// `a.example:8080`, `[::1]:8080`; the colons of a bare IPv6 address are its own.
fn split_port(entry: &str) -> Result<(&str, Option<u16>), NoProxyError> {
    let (host, port) = match entry.strip_prefix('[') {
        Some(six) => six.split_once(']').ok_or(NoProxyError)?,
        None if is_network(entry) => (entry, ""),
        None => entry.find(':').map_or((entry, ""), |colon| entry.split_at(colon)),
    };
    match port.strip_prefix(':') {
        Some(port) => port.parse().map(|port| (host, Some(port))).map_err(|_| NoProxyError),
        None if port.is_empty() => Ok((host, None)),
        None => Err(NoProxyError),
    }
}

/// An IP address, or a network such as `10.0.0.0/8`.
fn is_network(host: &str) -> bool {
    let (address, bits) = host.split_once('/').unwrap_or((host, "0"));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    bits.parse::<u8>().is_ok_and(|bits| bits <= if address.is_ipv4() { 32 } else { 128 })
}

fn is_domain(host: &str) -> bool {
    let is_part_of_one = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    host.bytes().all(is_part_of_one) && host.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

impl std::fmt::Display for NoProxyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a host name, IP address, network or '*'")
    }
}

impl std::error::Error for NoProxyError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(list: &str, url: &str) -> bool {
        NoProxy::lenient(list).contains(&Origin::of(&url.parse().unwrap()).unwrap())
    }

    #[test]
    fn an_entry_matches_as_curl_has_it() {
        let table = [
            ("", "http://a.example", false),
            ("*", "http://a.example", true),
            ("b.example, *", "http://a.example", true),
            ("*", "http://127.0.0.1", true),
            ("*:8080", "http://[::1]:8080", true),
            ("*:8080", "http://a.example", false),
            ("a.example", "http://a.example", true),
            ("A.EXAMPLE", "https://a.Example", true),
            (".a.example", "http://a.example", true),
            ("a.example", "http://x.y.a.example", true),
            ("*.a.example", "http://x.a.example", true),
            ("a.example", "http://nota.example", false),
            ("b.example a.example", "http://a.example", true),
            ("a.example:8080", "http://a.example:8080", true),
            ("a.example:8080", "http://a.example", false),
            ("a.example:443", "https://a.example", true),
            ("127.0.0.1", "http://127.0.0.1:9", true),
            ("127.0.0.1:8", "http://127.0.0.1:9", false),
            ("127.0.0.0/8", "http://127.1.2.3", true),
            ("127.0.0.0/8", "http://128.1.2.3", false),
            ("localhost", "http://127.0.0.1", false),
            ("::1", "http://[::1]:9", true),
            ("[::1]", "http://[::1]:9", true),
            ("[::1]:9", "http://[::1]:9", true),
            ("[::1]:8", "http://[::1]:9", false),
            ("fe80::/10", "http://[fe80::1]", true),
            ("http://a.example,,?,b.example", "http://b.example", true),
            ("http://a.example", "http://a.example", false),
        ];
        for (list, url, expected) in table {
            assert_eq!(passes(list, url), expected, "{list:?} {url}");
        }
    }

    #[test]
    fn what_names_no_host_is_refused_where_it_is_an_option() {
        for bad in [
            "",
            " ",
            "http://a.example",
            "a.example/x",
            "10.0.0.0/33",
            "a b",
            "[::1",
            "a:b",
            "a:99999",
            ".",
            "**",
        ] {
            assert_eq!(NoProxy::of([bad]), Err(NoProxyError), "{bad:?}");
        }
        assert!(NoProxy::of(["*", "a.example", ".b", "10.0.0.0/8", "::1", "[::1]:80", "c:80"]).is_ok());
    }
}
