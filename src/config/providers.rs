//! The options of providers: one at the top, or several by name.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::pool_options::{has_own_route, parse_own_pool};
use super::secret::{Hidden, secret_value, wipe};
use super::section::{Entry, Section, function_of, kind_of};
use super::{
    BaseUrl, Defaults, Environment, QueueLimits, parse_concurrency, parse_headers, parse_timeouts, rate,
};
use crate::error::Error;
use crate::policy::keys::MAX_KEYS;
use crate::policy::rate::RateLimits;
use crate::policy::timeouts::{GivenTimeouts, Timeouts};
use crate::pool::{self, Origin};
use crate::protocol::dialect::Protocol;

/// The name of the one provider that there is without `providers`.
pub const DEFAULT: &str = "default";

/// Of the name of a provider, which stands in errors, events and metrics.
const LONGEST_NAME: usize = 64;

/// Whom calls are sent to.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    pub name: Arc<str>,
    pub protocol: Protocol,
    pub base: BaseUrl,
    /// Used in turn. One at least, [`MAX_KEYS`] at most; the only one may be [`Key::None`].
    pub keys: Vec<Key>,
    pub headers: Hidden<HeaderMap>,
    /// Parameters of every request, encoded and joined: `api-version=2024-10-21`. Empty for none.
    pub query: Hidden<String>,
    /// The three of this provider, where it is silent the client's.
    pub timeouts: Timeouts,
    pub rate: RateLimits,
    pub queue: QueueLimits,
}

/// Where the key of a provider comes from.
#[derive(Clone)]
pub enum Key {
    /// No key is sent.
    None,
    /// As the value of its header.
    Fixed(HeaderValue),
    /// A function of the caller's, by its number: asked when a key is first needed, and again when one is refused.
    Asked(u32),
}

/// A provider whose options of the pool are still to be read: they build on the client's.
#[derive(Debug)]
pub(super) struct Draft {
    provider: ProviderConfig,
    pool: Option<Section>,
}

impl Protocol {
    /// Of the provider whose protocol it is. As its own libraries have it: OpenAI's has the version in it, the others' have it in the paths.
    pub fn default_base(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com",
            Self::Gemini => "https://generativelanguage.googleapis.com",
        }
    }

    /// The header that has the key.
    pub fn key_header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::OpenAi => "authorization",
            Self::Anthropic => "x-api-key",
            Self::Gemini => "x-goog-api-key",
        })
    }

    /// A key as the value of that header, marked sensitive, and zeroed once nobody has it any more: see [`secret_value`].
    pub fn key_value(self, key: &str) -> Result<HeaderValue, &'static str> {
        let key = key.trim();
        if key.is_empty() {
            return Err("must not be empty");
        }
        let before = match self {
            Self::OpenAi => "Bearer ",
            Self::Anthropic | Self::Gemini => "",
        };
        // Of its length from the first: a text that grew would leave its beginning behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(before.len() + key.len()));
        bytes.extend_from_slice(before.as_bytes());
        bytes.extend_from_slice(key.as_bytes());
        // Servers read what is beyond ASCII as they please.
        let is_visible = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
        is_visible.then(|| secret_value(bytes)).flatten().ok_or("must be visible ASCII without line breaks")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Fixed(_) => f.write_str("Fixed(…)"),
            Self::Asked(function) => f.debug_tuple("Asked").field(function).finish(),
        }
    }
}

/// `providers` or, without it, the one that is described at the top.
pub(super) fn parse_providers(
    top: &mut Section,
    environment: &Environment,
    defaults: &Defaults,
) -> Result<Vec<Draft>, Error> {
    let Some(entries) = top.entries("providers")? else {
        return Ok(vec![Draft { provider: parse_only(top, environment, defaults)?, pool: None }]);
    };
    for name in ["baseURL", "apiKey", "protocol", "headers"] {
        if top.holds(name) {
            return Err(top.error(name, "must not be given with providers, each of which has its own"));
        }
    }
    if entries.is_empty() {
        return Err(top.error("providers", "must name at least one provider"));
    }
    entries.into_iter().map(|entry| parse_one(entry, defaults)).collect()
}

/// The origins of providers that are reached in the client's way.
pub(super) fn on_the_common_way(drafts: &[Draft]) -> Vec<&Origin> {
    let common = drafts.iter().filter(|draft| !draft.pool.as_ref().is_some_and(has_own_route));
    common.map(|draft| &draft.provider.base.origin).collect()
}

/// The providers, and into `pool` what their origins have of their own.
pub(super) fn settle(
    drafts: Vec<Draft>,
    environment: &Environment,
    pool: &mut pool::Config,
) -> Result<Vec<ProviderConfig>, Error> {
    let mut settled: Vec<(ProviderConfig, pool::Config)> = Vec::with_capacity(drafts.len());
    for Draft { provider, pool: given } in drafts {
        let origin = &provider.base.origin;
        let mut own = pool.clone();
        if let Some(given) = given {
            parse_own_pool(given, environment, origin, &mut own)?;
        }
        // Calls of one origin share its sockets, whichever provider they are of.
        let other = settled.iter().find(|(other, settings)| other.base.origin == *origin && *settings != own);
        if let Some((other, _)) = other {
            let [name, other] = [&provider.name, &other.name];
            let error =
                format!("must be as providers.{other}.pool: both are at {origin}, and share its sockets");
            return Err(Error::config(format!("providers.{name}.pool: {error}")));
        }
        settled.push((provider, own));
    }
    let common = pool.clone();
    for (provider, own) in &settled {
        if *own != common {
            pool.set_for(provider.base.origin.clone(), own.clone());
        }
    }
    Ok(settled.into_iter().map(|(provider, _)| provider).collect())
}

const PROTOCOLS: [(&str, Protocol); 3] =
    [("openai", Protocol::OpenAi), ("anthropic", Protocol::Anthropic), ("gemini", Protocol::Gemini)];

/// The one at the top.
fn parse_only(
    top: &mut Section,
    environment: &Environment,
    defaults: &Defaults,
) -> Result<ProviderConfig, Error> {
    let protocol = top.one_of("protocol", &PROTOCOLS)?.unwrap_or_default();
    let [named_base, named_key] = environment.of(protocol);
    let base = match (top.string("baseURL")?, named_base) {
        (Some(url), _) => BaseUrl::parse(&url).map_err(|error| top.error("baseURL", error))?,
        (None, Some((name, url))) => {
            BaseUrl::parse(url).map_err(|error| Error::config(format!("{name}: {error}")))?
        }
        (None, None) => BaseUrl::parse(protocol.default_base()).map_err(Error::config)?,
    };
    let key = match top.take_function("apiKey") {
        Some(function) => Some(Key::Asked(function)),
        None => match top.string_or("apiKey", "a string or a function")? {
            Some(key) => {
                let key = Zeroizing::new(key);
                Some(protocol.key_value(&key).map(Key::Fixed).map_err(|error| top.error("apiKey", error))?)
            }
            None => None,
        },
    };
    let key = match (key, named_key) {
        (Some(key), _) => key,
        (None, Some((name, key))) if !key.trim().is_empty() => {
            let value = protocol.key_value(key);
            Key::Fixed(value.map_err(|error| Error::config(format!("{name}: {error}")))?)
        }
        (None, _) => Key::None,
    };
    Ok(ProviderConfig {
        name: DEFAULT.into(),
        protocol,
        base,
        keys: vec![key],
        headers: Hidden(parse_headers(top)?),
        query: Hidden::default(),
        timeouts: defaults.timeouts,
        rate: defaults.rate.clone(),
        queue: defaults.queue,
    })
}

/// One of several. The environment is not asked for its key: that would go to whoever stands in its `baseURL`.
fn parse_one(entry: Entry, defaults: &Defaults) -> Result<Draft, Error> {
    let Entry { name, path, value } = entry;
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        let error = format!("a name must have 1 to {LONGEST_NAME} bytes, and no control characters");
        return Err(Error::config(format!("providers: {error}")));
    }
    let mut given = Section::of(path, value)?;
    let Some(url) = given.string("baseURL")? else {
        return Err(given.error("baseURL", "must be given"));
    };
    let base = BaseUrl::parse(&url).map_err(|error| given.error("baseURL", error))?;
    let protocol = given.one_of("protocol", &PROTOCOLS)?.unwrap_or_default();
    let provider = ProviderConfig {
        name: name.into(),
        protocol,
        base,
        keys: parse_keys(&mut given, protocol)?,
        headers: Hidden(parse_headers(&mut given)?),
        query: Hidden(parse_query(&mut given)?),
        timeouts: parse_own_timeouts(&mut given)?.over(defaults.timeouts),
        rate: rate::parse_rate(&mut given, &defaults.rate)?,
        queue: parse_concurrency(&mut given, defaults.queue)?,
    };
    let pool = given.section("pool")?;
    given.finish()?;
    Ok(Draft { provider, pool })
}

fn parse_keys(given: &mut Section, protocol: Protocol) -> Result<Vec<Key>, Error> {
    match given.value("apiKey") {
        None => Ok(vec![Key::None]),
        Some(keys) => keys_of(format!("{}.apiKey", given.path()), keys, protocol),
    }
}

/// One key or several, from the option at `path`.
pub(super) fn keys_of(path: String, keys: Value, protocol: Protocol) -> Result<Vec<Key>, Error> {
    const ONE: &str = "a string or a function";
    let one = |path: String, value: Value, wanted: &str| {
        let error = |error: String| Error::config(format!("{path}: {error}"));
        match (function_of(&value), value) {
            (Some(function), _) => Ok(Key::Asked(function)),
            (None, Value::String(key)) => {
                let key = Zeroizing::new(key);
                protocol.key_value(&key).map(Key::Fixed).map_err(|what| error(what.to_owned()))
            }
            (None, mut other) => {
                let got = kind_of(&other);
                // It may be a key all the same.
                wipe(&mut other);
                Err(error(format!("must be {wanted}, got {got}")))
            }
        }
    };
    match keys {
        Value::Array(keys) if keys.is_empty() => Err(Error::config(format!("{path}: must not be empty"))),
        Value::Array(mut keys) if keys.len() > MAX_KEYS => {
            keys.iter_mut().for_each(wipe);
            Err(Error::config(format!("{path}: must hold at most {MAX_KEYS} keys, got {}", keys.len())))
        }
        Value::Array(mut keys) => {
            let taken = keys.iter_mut().map(Value::take).enumerate();
            let made = taken.map(|(n, key)| one(format!("{path}[{n}]"), key, ONE)).collect();
            // Those behind one that is wrong.
            keys.iter_mut().for_each(wipe);
            made
        }
        key => one(path, key, &format!("{ONE}, or an array of them")).map(|key| vec![key]),
    }
}

/// All but the deadline, which holds for a call wherever it goes.
fn parse_own_timeouts(given: &mut Section) -> Result<GivenTimeouts, Error> {
    let timeouts = parse_timeouts(given)?;
    if timeouts.total.is_some() {
        let path = given.path();
        let error = "is of a call, whichever providers it goes to; give timeouts.total";
        return Err(Error::config(format!("{path}.timeouts.total: {error}")));
    }
    Ok(timeouts)
}

/// What a parameter keeps as it is: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn parse_query(given: &mut Section) -> Result<String, Error> {
    let mut query = String::new();
    for Entry { name, path, value } in given.entries("query")?.unwrap_or_default() {
        let Value::String(value) = value else {
            return Err(Error::config(format!("{path}: must be a string, got {}", kind_of(&value))));
        };
        let [name, value] = [&name, &value].map(|text| utf8_percent_encode(text, ESCAPED));
        let joint = if query.is_empty() { "" } else { "&" };
        query.push_str(&format!("{joint}{name}={value}"));
    }
    Ok(query)
}

/// A name and a value.
type Variable = (String, String);

impl Environment {
    /// The base URL and the key of the one provider at the top, with the names of their variables.
    fn of(&self, protocol: Protocol) -> [Option<&Variable>; 2] {
        let (base, key) = match protocol {
            Protocol::OpenAi => (&self.base_url, &self.api_key),
            Protocol::Anthropic => (&self.anthropic_base_url, &self.anthropic_api_key),
            Protocol::Gemini => (&self.gemini_base_url, &self.gemini_api_key),
        };
        [base.as_ref(), key.as_ref()]
    }
}

#[cfg(test)]
mod tests;
