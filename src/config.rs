//! Options, parsed once into types that cannot be wrong. A mistake is an error that begins with the option's path:
//! `pool.maxConnections: must be a positive integer, got -1`.

mod alerts;
mod budget;
mod cache;
mod call;
mod cassette;
mod circuit_breaker;
mod concurrency;
mod hedge;
mod pool_options;
mod pricing;
mod providers;
mod rate;
mod route;
mod routes;
mod secret;
mod section;
mod shared;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

pub use self::budget::BudgetConfig;
pub use self::call::{CallKind, CallOptions, Recover, Wire};
pub use self::cassette::{CassetteMode, CassetteOptions};
pub use self::providers::{Key, ProviderConfig};
pub use self::routes::{RouteConfig, TargetConfig};
pub use self::secret::{Hidden, is_credential};
use self::section::Section;
pub use self::shared::{OnUnavailable, SharedConfig};
use crate::error::Error;
use crate::policy::adaptive::MaxConcurrency;
use crate::policy::alerts::AlertPolicy;
use crate::policy::backoff::Strategy;
use crate::policy::breaker::BreakerPolicy;
use crate::policy::cache::CachePolicy;
use crate::policy::hedge::HedgePolicy;
use crate::policy::judge::RetryPolicy;
use crate::policy::money::Prices;
use crate::policy::rate::RateLimits;
use crate::policy::timeouts::{GivenTimeouts, Timeouts};
use crate::pool::{self, Checkout, Origin};
use crate::protocol::dialect::Protocol;

/// What a client is made of.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// In the order in which they are listed; never empty. The first is asked for models that have no route.
    pub providers: Vec<ProviderConfig>,
    /// By the name of the model that a request asks for.
    pub routes: BTreeMap<Arc<str>, RouteConfig>,
    /// Where neither a call nor a provider has its own.
    pub timeouts: Timeouts,
    pub retry: RetryPolicy,
    /// None for no circuits.
    pub breaker: Option<BreakerPolicy>,
    /// None for no hedging.
    pub hedge: Option<HedgePolicy>,
    /// None for no alerts.
    pub alerts: Option<AlertPolicy>,
    /// None where nothing is kept or shared.
    pub cache: Option<CachePolicy>,
    pub pricing: Prices,
    /// None for no limit of what is spent.
    pub budget: Option<BudgetConfig>,
    /// None where nothing is shared with other processes.
    pub shared: Option<SharedConfig>,
    /// The number of the cassette that answers in place of the network.
    pub cassette: Option<u32>,
    pub pool: pool::Config,
    /// Calls at once of each tenant. None for as many as come.
    pub tenant_calls: Option<NonZeroUsize>,
}

/// How many calls run at once, and who may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// None for as many as the pool has sockets for.
    pub at_once: Option<MaxConcurrency>,
    /// Calls that may wait; one more is refused at once. Default 10 000.
    pub max: usize,
    /// A call that has waited such a span for each priority between has a share of the turns of the more urgent. Default 5 s.
    pub aging: Duration,
}

/// The URL that paths are appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    pub origin: Origin,
    /// Without a slash at its end; empty for none.
    pub path: String,
}

/// What JavaScript read from the environment. It is not read here: `getenv` would race with JavaScript's writes.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Environment {
    /// The name and the value of the first that is not empty of `TRUNKLINE_BASE_URL` and `OPENAI_BASE_URL`.
    pub base_url: Option<(String, String)>,
    /// The same of `TRUNKLINE_API_KEY` and `OPENAI_API_KEY`.
    pub api_key: Option<(String, String)>,
    /// The same for the protocol of Anthropic: the second is `ANTHROPIC_BASE_URL`, `ANTHROPIC_API_KEY`.
    pub anthropic_base_url: Option<(String, String)>,
    pub anthropic_api_key: Option<(String, String)>,
    /// The same for that of Gemini: the second is `GOOGLE_GEMINI_BASE_URL`, `GEMINI_API_KEY`.
    pub gemini_base_url: Option<(String, String)>,
    pub gemini_api_key: Option<(String, String)>,
    /// `NODE_EXTRA_CA_CERTS`.
    pub extra_ca_certs: Option<String>,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub ssl_cert_file: Option<String>,
    pub ssl_cert_dir: Option<String>,
    /// The name and the value of the first that is set of `https_proxy`, `HTTPS_PROXY`, `all_proxy` and `ALL_PROXY`.
    pub https_proxy: Option<(String, String)>,
    /// The same for `http:` origins, from `http_proxy` on.
    pub http_proxy: Option<(String, String)>,
    /// `no_proxy` or `NO_PROXY`.
    pub no_proxy: Option<String>,
}

/// Its values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl ClientConfig {
    /// Parses the options of a client.
    ///
    /// # Errors
    /// The first mistake found, with its path.
    pub fn parse(options: Value, environment: &Environment) -> Result<Self, Error> {
        let mut top = Section::top("options", options)?;
        top.taken_before(&["hooks", "logger", "logLevel"]);
        let timeouts = parse_timeouts(&mut top)?.over(Timeouts::default());
        let rate = rate::parse_rate(&mut top, &RateLimits::default())?;
        let queue = parse_concurrency(&mut top, QueueLimits::default())?;
        let defaults = Defaults { timeouts, rate, queue };
        let drafts = providers::parse_providers(&mut top, environment, &defaults)?;
        let retry = parse_retry(&mut top, RetryPolicy::default())?;
        let breaker = circuit_breaker::parse_circuit_breaker(&mut top)?;
        let mut pool =
            pool_options::parse_pool(&mut top, environment, &providers::on_the_common_way(&drafts))?;
        let tenant_calls = pool_options::parse_tenants(&mut top, &mut pool)?;
        let providers = providers::settle(drafts, environment, &mut pool)?;
        let routes = routes::parse_routes(&mut top, &providers)?;
        let pricing = pricing::parse_pricing(&mut top)?;
        let budget = budget::parse_budget(&mut top)?;
        let hedge = hedge::parse_hedge(&mut top)?;
        let alerts = alerts::parse_alerts(&mut top)?;
        let cache = cache::parse_cache(&mut top)?;
        let shared = shared::parse_shared(&mut top)?;
        if shared.is_some() && budget.as_ref().is_some_and(|budget| budget.state.is_some()) {
            return Err(Error::config(
                "budget.state: cannot be given beside shared, which keeps budgets in Redis",
            ));
        }
        let cassette = cassette::parse_cassette(&mut top)?;
        top.finish()?;
        Ok(Self {
            providers,
            routes,
            timeouts,
            retry,
            breaker,
            hedge,
            alerts,
            cache,
            pricing,
            budget,
            shared,
            cassette,
            tenant_calls,
            pool,
        })
    }

    /// Who is asked for models that have no route.
    pub fn default_provider(&self) -> &ProviderConfig {
        // There is one at least: `providers` that name none are refused.
        &self.providers[0]
    }
}

/// What holds for a provider that has none of its own.
#[derive(Debug)]
struct Defaults {
    timeouts: Timeouts,
    rate: RateLimits,
    queue: QueueLimits,
}

impl Default for QueueLimits {
    fn default() -> Self {
        let Checkout { max_waiting: max, aging, .. } = Checkout::default();
        Self { at_once: None, max, aging }
    }
}

impl BaseUrl {
    fn parse(url: &str) -> Result<Self, &'static str> {
        const WANTED: &str = "must be an absolute http or https URL";
        // The URL itself is not repeated: it may hold a password.
        let uri: Uri = url.trim().parse().map_err(|_| WANTED)?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must have no user or password; keys go to apiKey or headers");
        }
        let origin = Origin::of(&uri).map_err(|_| WANTED)?;
        if uri.query().is_some() {
            return Err("must have no query");
        }
        // The parser drops it.
        if url.contains('#') {
            return Err("must have no fragment");
        }
        Ok(Self { origin, path: uri.path().trim_end_matches('/').to_owned() })
    }
}

/// A value of ASCII, without controls. `HeaderValue::from_str` takes UTF-8 as well, which servers read as they please.
fn visible_ascii(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok().filter(|_| text.bytes().all(|byte| matches!(byte, b' '..=b'~')))
}

/// The keys that a provider is given in place of those it had.
pub fn parse_keys(keys: Value, protocol: Protocol) -> Result<Vec<Key>, Error> {
    providers::keys_of("key".to_owned(), keys, protocol)
}

/// Headers that belong to the connection or to the body, and so to the pool.
const OURS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What `hooks.beforeAttempt` makes of the headers of an attempt.
pub fn parse_hook_headers(headers: Value) -> Result<HeaderMap, Error> {
    let given = serde_json::Map::from_iter([("headers".to_owned(), headers)]);
    parse_headers(&mut Section::of("hooks.beforeAttempt".to_owned(), given.into())?)
}

fn parse_headers(section: &mut Section) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let Some(given) = section.section("headers")? else {
        return Ok(headers);
    };
    let path = given.path().to_owned();
    for (name, value) in given.into_entries() {
        let at = format!("{path}.{name}");
        let header: HeaderName =
            name.parse().map_err(|_| Error::config(format!("{at}: is no name of a header")))?;
        if OURS.contains(&header.as_str()) {
            return Err(Error::config(format!("{at}: is set by the connection, and cannot be given")));
        }
        let Value::String(mut text) = value else {
            return Err(Error::config(format!("{at}: must be a string, got {}", section::kind_of(&value))));
        };
        // Latin-1, as `Headers` has it. A line break would split the request, and is refused with the other controls.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
        let is_latin = text.chars().all(|c| u8::try_from(u32::from(c)).map(|byte| bytes.push(byte)).is_ok());
        let is_secret = secret::is_credential(&header);
        let value = match (is_latin, is_secret) {
            (false, _) => None,
            (true, false) => HeaderValue::from_bytes(&bytes).ok(),
            (true, true) => secret::secret_value(bytes),
        };
        if is_secret {
            text.zeroize();
        }
        let value = value.ok_or_else(|| {
            Error::config(format!(
                "{at}: must hold no line breaks, control characters or characters beyond Latin-1"
            ))
        })?;
        headers.insert(header, value);
    }
    Ok(headers)
}

fn parse_concurrency(top: &mut Section, mut queue: QueueLimits) -> Result<QueueLimits, Error> {
    let Some(mut given) = top.section("concurrency")? else {
        return Ok(queue);
    };
    if let Some(max) = concurrency::parse_max(&mut given)? {
        queue.at_once = Some(max);
    }
    if let Some(max) = given.count("maxQueue")? {
        queue.max = max;
    }
    if let Some(aging) = given.duration("agingInterval")? {
        queue.aging = aging;
    }
    given.finish()?;
    Ok(queue)
}

fn parse_timeouts(section: &mut Section) -> Result<GivenTimeouts, Error> {
    let mut timeouts = GivenTimeouts::default();
    let Some(mut given) = section.section("timeouts")? else {
        return Ok(timeouts);
    };
    let fields = [
        ("connect", &mut timeouts.connect),
        ("queue", &mut timeouts.queue),
        ("firstByte", &mut timeouts.first_byte),
        ("idle", &mut timeouts.idle),
        ("total", &mut timeouts.total),
    ];
    for (name, field) in fields {
        *field = given.duration(name)?;
    }
    given.finish()?;
    Ok(timeouts)
}

fn parse_retry(section: &mut Section, mut retry: RetryPolicy) -> Result<RetryPolicy, Error> {
    if section.take_false("retry") {
        return Ok(RetryPolicy::none());
    }
    let Some(mut given) = section.section_or("retry", "an object or false")? else {
        return Ok(retry);
    };
    retry.budget = circuit_breaker::parse_retry_budget(&mut given)?.unwrap_or(retry.budget);
    if let Some(max) = given.count("maxRetries")? {
        retry.max_retries = u32::try_from(max).unwrap_or(u32::MAX);
    }
    let strategies = [
        ("exponential", Strategy::Exponential),
        ("linear", Strategy::Linear),
        ("immediate", Strategy::Immediate),
    ];
    if let Some(strategy) = given.one_of("strategy", &strategies)? {
        retry.backoff.strategy = strategy;
    }
    if let Some(base) = given.duration("baseDelay")? {
        retry.backoff.base = base;
    }
    if let Some(max) = given.duration("maxDelay")? {
        retry.backoff.max = max;
    }
    if retry.backoff.base > retry.backoff.max {
        let [base, max] = [retry.backoff.base, retry.backoff.max].map(section::shown);
        let error = format!("must not be above retry.maxDelay ({max} ms), got {base}");
        return Err(given.error("baseDelay", error));
    }
    if let Some(max) = given.duration("maxRetryAfter")? {
        retry.max_retry_after = max;
    }
    if let Some(statuses) = given.list("statuses")? {
        retry.statuses = statuses
            .iter()
            .map(|status| {
                let number = status.as_u64().and_then(|number| u16::try_from(number).ok());
                number.filter(|status| (400..600).contains(status)).ok_or_else(|| {
                    let kind = section::kind_of(status);
                    given.error("statuses", format!("must hold statuses from 400 to 599, got {kind}"))
                })
            })
            .collect::<Result<_, _>>()?;
    }
    given.finish()?;
    Ok(retry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::num::NonZeroUsize;

    fn parse(options: Value) -> Result<ClientConfig, Error> {
        ClientConfig::parse(options, &Environment::default())
    }

    fn mistake(options: Value) -> String {
        parse(options).unwrap_err().message.clone()
    }

    #[test]
    fn nothing_given_is_the_documented_defaults() {
        let config = parse(json!({})).unwrap();
        let provider = config.default_provider();
        assert_eq!(provider.base.origin.to_string(), "https://api.openai.com");
        assert_eq!((provider.base.path.as_str(), &*provider.name), ("/v1", "default"));
        assert_eq!(config.pool, pool::Config::default());
        assert_eq!(config.timeouts, Timeouts::default());
        assert_eq!(config.retry, RetryPolicy::default());
    }

    /// In figures, as index.d.ts and the README have them.
    #[test]
    fn the_defaults_are_the_figures_that_are_documented() {
        let config = parse(json!({ "alerts": {} })).unwrap();
        let ms = |time: Duration| time.as_millis();
        let Timeouts { connect, queue, first_byte, idle, total } = config.timeouts;
        assert_eq!(
            [connect, queue, first_byte, idle, total].map(ms),
            [10_000, 30_000, 60_000, 30_000, 600_000]
        );
        let RetryPolicy { max_retries, backoff, max_retry_after, statuses, budget } = config.retry;
        assert_eq!((max_retries, backoff.strategy), (2, Strategy::Exponential));
        assert_eq!([backoff.base, backoff.max, max_retry_after].map(ms), [500, 8000, 60_000]);
        let asked_again: Vec<u16> =
            [408, 409, 429, 500, 502, 503, 504].into_iter().chain(520..=526).chain([529]).collect();
        assert_eq!(statuses, asked_again);
        assert_eq!((budget.ratio, budget.min_per_second), (0.2, 10.0));
        let BreakerPolicy { failure_threshold, failure_ratio, minimum_calls, window, recovery } =
            config.breaker.unwrap();
        assert_eq!((failure_threshold, failure_ratio, minimum_calls), (5, 0.5, 20));
        assert_eq!([window, recovery].map(ms), [10_000, 10_000]);
        let AlertPolicy { error_rate, retry_rate, p99, window } = config.alerts.unwrap();
        assert_eq!((error_rate, retry_rate), (Some(0.01), Some(0.03)));
        assert_eq!((p99.map(ms), ms(window)), (Some(500), 60_000));
        let QueueLimits { at_once, max, aging } = config.providers[0].queue;
        assert_eq!((at_once, max, ms(aging)), (None, 10_000, 5000));
    }

    #[test]
    fn the_environment_is_what_javascript_passes_in() {
        let environment = Environment {
            base_url: Some(("OPENAI_BASE_URL".into(), "http://127.0.0.1:9/v2/".into())),
            api_key: Some(("OPENAI_API_KEY".into(), "k".into())),
            ..Environment::default()
        };
        let config = ClientConfig::parse(json!({}), &environment).unwrap();
        let provider = config.default_provider();
        assert_eq!(
            (provider.base.origin.to_string().as_str(), provider.base.path.as_str()),
            ("http://127.0.0.1:9", "/v2")
        );
        assert!(matches!(*provider.keys, [Key::Fixed(_)]));
        let own = ClientConfig::parse(json!({"baseURL": "http://a.example"}), &environment).unwrap();
        assert_eq!(own.default_provider().base.path, "");
    }

    #[test]
    fn a_mistake_names_the_path_and_the_kind() {
        let table = [
            (json!(7), "options: must be an object, got a number (7)"),
            (
                json!({"pool": {"maxConnections": -1}}),
                "pool.maxConnections: must be a positive integer, got -1",
            ),
            (
                json!({"pool": {"maxConnections": 0}}),
                "pool.maxConnections: must be a positive integer, got 0",
            ),
            (
                json!({"pool": {"maxConnections": 1.5}}),
                "pool.maxConnections: must be a positive integer, got 1.5",
            ),
            (
                json!({"pool": {"maxConnections": "9"}}),
                "pool.maxConnections: must be a positive integer, got a string",
            ),
            (json!({"pool": []}), "pool: must be an object, got an array"),
            (
                json!({"pool": {"maxConnection": 9}}),
                "pool.maxConnection: is not an option; did you mean pool.maxConnections?",
            ),
            (json!({"timeout": {}}), "timeout: is not an option; did you mean timeouts?"),
            (
                json!({"timeouts": {"total": 0}}),
                "timeouts.total: must be a positive number of milliseconds, got 0",
            ),
            (
                json!({"timeouts": {"total": {"\u{0}kind": "a function"}}}),
                "timeouts.total: must be a positive number of milliseconds, got a function",
            ),
            (
                json!({"retry": {"strategy": "fast"}}),
                "retry.strategy: must be one of 'exponential', 'linear', 'immediate', got 'fast'",
            ),
            (
                json!({"retry": {"statuses": [500, 99]}}),
                "retry.statuses: must hold statuses from 400 to 599, got a number (99)",
            ),
            (json!({"retry": true}), "retry: must be an object or false, got a boolean"),
            (
                json!({"retry": {"baseDelay": 10, "maxDelay": 5}}),
                "retry.baseDelay: must not be above retry.maxDelay (5 ms), got 10",
            ),
            (
                json!({"retry": {"maxDelay": 0.5}}),
                "retry.baseDelay: must not be above retry.maxDelay (0.5 ms), got 500",
            ),
            (json!({"baseURL": "nope"}), "baseURL: must be an absolute http or https URL"),
            (
                json!({"baseURL": "https://user:pw@a.example"}),
                "baseURL: must have no user or password; keys go to apiKey or headers",
            ),
            (json!({"baseURL": "https://a.example/v1#x"}), "baseURL: must have no fragment"),
            (json!({"apiKey": 5}), "apiKey: must be a string or a function, got a number (5)"),
            (json!({"apiKey": "sk-é"}), "apiKey: must be visible ASCII without line breaks"),
            (json!({"apiKey": ""}), "apiKey: must not be empty"),
            (json!({"apiKey": "a\nb"}), "apiKey: must be visible ASCII without line breaks"),
            (
                json!({"headers": {"x-a": "b\r\nc: d"}}),
                "headers.x-a: must hold no line breaks, control characters or characters beyond Latin-1",
            ),
            (json!({"headers": {"x a": "b"}}), "headers.x a: is no name of a header"),
            (
                json!({"headers": {"Host": "b"}}),
                "headers.Host: is set by the connection, and cannot be given",
            ),
            (json!({"headers": {"x-a": 1}}), "headers.x-a: must be a string, got a number (1)"),
            (
                json!({"pool": {"tls": {"ca": "nope"}}}),
                "pool.tls.ca: must be PEM text with at least one certificate, and is not",
            ),
            (
                json!({"pool": {"maxConnections": 5, "maxIdleConnections": 6}}),
                "pool.maxIdleConnections: must not be above pool.maxConnections (5), got 6",
            ),
            (
                json!({"pool": {"dnsTtl": -1}}),
                "pool.dnsTtl: must be a number of milliseconds, 0 or more, got -1",
            ),
            (
                json!({"pool": {"dnsTtl": "30s"}}),
                "pool.dnsTtl: must be a number of milliseconds, 0 or more, got a string",
            ),
            (
                json!({"pool": {"dnsTtl": 3_000_000_000_u64}}),
                "pool.dnsTtl: must be at most 2147483647 ms, got 3000000000",
            ),
            (json!({"pool": {"dnsTTL": 1}}), "pool.dnsTTL: is not an option; did you mean pool.dnsTtl?"),
            (
                json!({"pool": {"lanes": {"streaming": {"maxConnections": 0}}}}),
                "pool.lanes.streaming.maxConnections: must be a positive integer, got 0",
            ),
            (
                json!({"pool": {"lanes": {"unary": {"maxConnections": 101}}}}),
                "pool.lanes.unary.maxConnections: must not be above pool.maxConnectionsPerOrigin (100), got 101",
            ),
            (
                json!({"pool": {"lanes": {"streaming": {"maxConnections": 100}}}}),
                "pool.lanes: must leave each lane a connection of pool.maxConnectionsPerOrigin (100)",
            ),
            (
                json!({"pool": {"lanes": {"streaming": {"maxConnections": 60}, "unary": {"maxConnections": 41}}}}),
                "pool.lanes: must not be above pool.maxConnectionsPerOrigin (100) together, got 60 + 41",
            ),
            (
                json!({"pool": {"lanes": {"batch": {}}}}),
                "pool.lanes.batch: is not an option; there are streaming, unary",
            ),
            (
                json!({"tenants": {"maxConnections": 201}}),
                "tenants.maxConnections: must not be above pool.maxConnections (200), got 201",
            ),
            (
                json!({"tenants": {"maxConcurrent": 0.5}}),
                "tenants.maxConcurrent: must be a positive integer, got 0.5",
            ),
            (json!({"tenants": {"maxTenants": 0}}), "tenants.maxTenants: must be a positive integer, got 0"),
            (
                json!({"concurrency": {"agingInterval": 0}}),
                "concurrency.agingInterval: must be a positive number of milliseconds, got 0",
            ),
            (
                json!({"concurrency": {"maxQueue": -1}}),
                "concurrency.maxQueue: must be an integer of 0 or more, got -1",
            ),
        ];
        for (options, message) in table {
            assert_eq!(mistake(options.clone()), message, "{options}");
        }
    }

    #[test]
    fn an_unknown_option_is_told_where_it_would_be_one() {
        let table = [
            ("maxRetries", "maxRetries: is not an option; did you mean retry.maxRetries?"),
            ("maxConnections", "maxConnections: is not an option; did you mean pool.maxConnections?"),
            ("baseUrl", "baseUrl: is not an option; did you mean baseURL?"),
            ("timeuots", "timeuots: is not an option; did you mean timeouts?"),
        ];
        for (name, message) in table {
            assert_eq!(mistake(json!({ name: 1 })), message);
        }
        let none = mistake(json!({"foo": 1}));
        let names: Vec<_> = none.split_once("; there are ").unwrap().1.split(", ").collect();
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(names.len(), once.len(), "{none}");
    }

    #[test]
    fn what_is_looked_for_beside_a_section_is_in_it() {
        for (section, names) in section::INSIDE {
            for name in names {
                let error = mistake(json!({ section: { *name: {"\u{0}kind": "a symbol"} } }));
                assert!(error.starts_with(&format!("{section}.{name}: must ")), "{error}");
            }
        }
    }

    #[test]
    fn a_mistake_of_the_environment_names_its_variable() {
        let of = |base: Option<&str>, key: Option<&str>| {
            let environment = Environment {
                base_url: base.map(|url| ("OPENAI_BASE_URL".into(), url.into())),
                api_key: key.map(|key| ("TRUNKLINE_API_KEY".into(), key.into())),
                ..Environment::default()
            };
            ClientConfig::parse(json!({}), &environment).unwrap_err().message.clone()
        };
        assert_eq!(of(Some("nope"), None), "OPENAI_BASE_URL: must be an absolute http or https URL");
        assert_eq!(of(None, Some("é")), "TRUNKLINE_API_KEY: must be visible ASCII without line breaks");
    }

    #[test]
    fn each_kind_of_call_has_its_options() {
        let client = parse(json!({})).unwrap();
        let mistake = |kind, options| CallOptions::parse(options, kind, &client).unwrap_err().message.clone();
        let flush = |interval: u32| json!({ "flushInterval": interval });
        let stream = CallOptions::parse(flush(1000), CallKind::Stream, &client).unwrap();
        assert_eq!(stream.flush_interval, Duration::from_secs(1));
        assert_eq!(
            mistake(CallKind::Stream, flush(1001)),
            "flushInterval: must be at most 1000 ms, got 1001"
        );
        for kind in [CallKind::Whole, CallKind::Batch] {
            assert_eq!(mistake(kind, flush(5)), "flushInterval: is an option of streams, which this is not");
        }
        let there_are = |kind| mistake(kind, json!({"xyz": 1}));
        let same = "headers, cache, timeouts, provider, retry, priority, tenant";
        assert_eq!(
            [CallKind::Whole, CallKind::Stream, CallKind::Batch].map(there_are),
            [
                format!("xyz: is not an option; there are signal, {same}, idempotencyKey, wire"),
                format!(
                    "xyz: is not an option; there are signal, {same}, idempotencyKey, recover, flushInterval"
                ),
                format!(
                    "xyz: is not an option; there are concurrency, onProgress, failFast, signal, {same}, wire"
                ),
            ]
        );
        let slip = mistake(CallKind::Batch, json!({"concurency": 5}));
        assert_eq!(slip, "concurency: is not an option; did you mean concurrency?");
        let key = json!({"idempotencyKey": "é"});
        assert_eq!(mistake(CallKind::Whole, key), "idempotencyKey: must be visible ASCII, and not empty");
    }

    #[test]
    fn an_error_never_repeats_a_key() {
        assert!(!mistake(json!({"apiKey": "sk-secret\u{7}"})).contains("secret"));
        assert!(!format!("{:?}", parse(json!({"apiKey": "sk-secret"})).unwrap()).contains("secret"));
    }

    #[test]
    fn a_smaller_total_makes_the_limits_below_it_smaller() {
        let pool = parse(json!({"pool": {"maxConnections": 9}})).unwrap().pool;
        assert_eq!((pool.max_connections_per_origin.get(), pool.max_idle_connections), (9, 5));
    }

    #[test]
    fn a_dns_ttl_may_be_zero() {
        let ttl = |ttl: Value| parse(json!({"pool": {"dnsTtl": ttl}})).unwrap().pool.dns_ttl.as_micros();
        assert_eq!([ttl(json!(0)), ttl(json!(0.5)), ttl(json!(60_000))], [0, 500, 60_000_000]);
    }

    #[test]
    fn a_lane_has_what_the_other_leaves() {
        let lanes = |lanes| {
            let options = json!({"pool": {"maxConnections": 50, "lanes": lanes}});
            parse(options).unwrap().pool.lanes.map(|lanes| (lanes.streaming.get(), lanes.unary.get()))
        };
        assert_eq!(lanes(json!({"streaming": {"maxConnections": 20}})), Some((20, 30)));
        assert_eq!(lanes(json!({"unary": {"maxConnections": 1}})), Some((49, 1)));
        let both = json!({"streaming": {"maxConnections": 5}, "unary": {"maxConnections": 6}});
        assert_eq!(lanes(both), Some((5, 6)));
        assert_eq!(lanes(json!({"streaming": {}, "unary": {}})), None);
        assert_eq!(lanes(json!({})), None);
    }

    #[test]
    fn a_nonzero_is_what_the_type_says() {
        assert_eq!(
            parse(json!({"pool": {"maxStreamsPerConnection": 4}})).unwrap().pool.max_streams_per_connection,
            const { NonZeroUsize::new(4).unwrap() }
        );
    }
}
