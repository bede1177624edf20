//! Options, parsed once into types that cannot be wrong. A mistake is an error that begins with the option's path:
//! `pool.maxConnections: must be a positive integer, got -1`.

mod alerts;
mod budget;
mod cache;
mod call;
mod cassette;
mod circuit_breaker;
mod concurrency;
mod export;
mod headers;
mod hedge;
mod job;
mod pool_options;
mod pricing;
mod providers;
mod rate;
mod retry;
mod route;
mod routes;
mod secret;
mod section;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use serde_json::Value;

pub use self::budget::BudgetConfig;
pub use self::call::{CallKind, CallOptions, Recover, Wire};
pub use self::cassette::{CassetteMode, CassetteOptions};
pub use self::export::ExportOptions;
use self::headers::parse_headers;
pub use self::headers::parse_hook_headers;
pub use self::job::{BadLines, JobOptions, ProviderBatch, QueueOptions, WorkOptions};
pub use self::providers::{DEFAULT as DEFAULT_PROVIDER, Key, ProviderConfig};
use self::retry::parse_retry;
pub use self::routes::{RouteConfig, TargetConfig};
pub use self::secret::{Hidden, is_credential};
use self::section::Section;
pub use self::shared::{OnUnavailable, SharedConfig};
use crate::error::Error;
use crate::policy::adaptive::MaxConcurrency;
use crate::policy::alerts::AlertPolicy;
use crate::policy::breaker::BreakerPolicy;
use crate::policy::cache::CachePolicy;
use crate::policy::hedge::HedgePolicy;
use crate::policy::judge::RetryPolicy;
use crate::policy::money::Prices;
use crate::policy::rate::RateLimits;
use crate::policy::timeouts::{GivenTimeouts, Timeouts};
use crate::pool::{self, Checkout, Origin};
use crate::protocol::dialect::Protocol;

/// Characters of the name of a client.
const LONGEST_NAME: usize = 128;

/// What a client is made of.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Of which clients share limits, circuits, budgets and answers. None for one that shares none.
    pub name: Option<Arc<str>>,
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
        let name = parse_name(&mut top)?;
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
            name,
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
        const WANTED: &str = "must be an absolute http or https URL, such as https://api.openai.com/v1";
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

fn parse_name(top: &mut Section) -> Result<Option<Arc<str>>, Error> {
    let Some(name) = top.string("name")? else { return Ok(None) };
    match name.chars().count() {
        1..=LONGEST_NAME => Ok(Some(name.into())),
        count => Err(top.error("name", format!("must have 1 to {LONGEST_NAME} characters, got {count}"))),
    }
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
