//! The options of routes: what the name of a model in a request means.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::ProviderConfig;
use super::section::{Entry, Section, kind_of, nearest};
use crate::error::Error;
use crate::policy::route::Strategy;

/// Where a name leads.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// One at least, unless there is `select`.
    pub targets: Vec<TargetConfig>,
    pub strategy: Strategy,
    /// Whether what one target will not have is asked of the next. Default false.
    pub on_content_filter: bool,
    /// A function of the caller's, by its number. It is called in JavaScript before a call crosses, and gives the name of the route, or of the
    /// model, that is asked for instead.
    pub select: Option<u32>,
}

/// A model of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetConfig {
    /// The index of its provider.
    pub provider: usize,
    /// None for the name that the request has.
    pub model: Option<Arc<str>>,
    /// Of its share in a weighted route; 0 for a fall-back alone. Default 1.
    pub weight: f64,
    /// None where nothing is said of it.
    pub max_input_tokens: Option<u64>,
    /// Whether it goes on with an answer that was begun; None where nothing is said of it.
    pub supports_prefill: Option<bool>,
}

const STRATEGIES: [(&str, Strategy); 5] = [
    ("ordered", Strategy::Ordered),
    ("weighted", Strategy::Weighted),
    ("least-busy", Strategy::LeastBusy),
    ("lowest-latency", Strategy::LowestLatency),
    ("lowest-cost", Strategy::LowestCost),
];

pub(super) fn parse_routes(
    top: &mut Section,
    providers: &[ProviderConfig],
) -> Result<BTreeMap<Arc<str>, RouteConfig>, Error> {
    let entries = top.entries("routes")?.unwrap_or_default();
    entries.into_iter().map(|entry| parse_entry(entry, providers)).collect()
}

fn parse_entry(entry: Entry, providers: &[ProviderConfig]) -> Result<(Arc<str>, RouteConfig), Error> {
    let Entry { name, path, value } = entry;
    if name.is_empty() {
        return Err(Error::config("routes: a name must not be empty"));
    }
    let route = match value {
        Value::Array(targets) => RouteConfig::of(parse_targets(&path, targets, providers)?),
        Value::Object(members)
            if ["targets", "strategy", "onContentFilter", "select"]
                .iter()
                .any(|it| members.contains_key(*it)) =>
        {
            parse_route(Section::of(path, Value::Object(members))?, providers)?
        }
        Value::Object(members) => {
            let target = Section::of(path, Value::Object(members))?;
            RouteConfig::of(vec![parse_target(target, providers)?])
        }
        other => {
            let wanted = "must be a target, an array of targets or an object with targets";
            return Err(Error::config(format!("{path}: {wanted}, got {}", kind_of(&other))));
        }
    };
    Ok((name.into(), route))
}

impl RouteConfig {
    fn of(targets: Vec<TargetConfig>) -> Self {
        Self { targets, strategy: Strategy::default(), on_content_filter: false, select: None }
    }
}

fn parse_route(mut given: Section, providers: &[ProviderConfig]) -> Result<RouteConfig, Error> {
    let path = format!("{}.targets", given.path());
    let strategy = given.one_of("strategy", &STRATEGIES)?.unwrap_or_default();
    let ways = [("fail", false), ("next", true)];
    let on_content_filter = given.one_of("onContentFilter", &ways)?.unwrap_or_default();
    let select = given.take_function("select");
    if let Some(other) = given.value("select") {
        return Err(given.error("select", format!("must be a function, got {}", kind_of(&other))));
    }
    let targets = match given.list("targets")? {
        Some(targets) => parse_targets(&path, targets, providers)?,
        None if select.is_some() => Vec::new(),
        None => return Err(given.error("targets", "must be given, unless there is select")),
    };
    if strategy == Strategy::Weighted
        && !targets.is_empty()
        && targets.iter().all(|target| target.weight == 0.0)
    {
        return Err(given.error("targets", "must have a weight above 0 among them"));
    }
    given.finish()?;
    Ok(RouteConfig { targets, strategy, on_content_filter, select })
}

fn parse_targets(
    path: &str,
    targets: Vec<Value>,
    providers: &[ProviderConfig],
) -> Result<Vec<TargetConfig>, Error> {
    if targets.is_empty() {
        return Err(Error::config(format!("{path}: must not be empty")));
    }
    let numbered = (0..).zip(targets);
    numbered
        .map(|(n, target): (usize, _)| {
            let path = format!("{path}[{n}]");
            if !target.is_object() {
                let wanted = "must be an object with provider and model";
                return Err(Error::config(format!("{path}: {wanted}, got {}", kind_of(&target))));
            }
            parse_target(Section::of(path, target)?, providers)
        })
        .collect()
}

fn parse_target(mut given: Section, providers: &[ProviderConfig]) -> Result<TargetConfig, Error> {
    let Some(name) = given.string("provider")? else {
        return Err(given.error("provider", "must be given"));
    };
    let names = || providers.iter().map(|provider| &*provider.name);
    let Some(provider) = names().position(|known| known == name) else {
        let all = names().collect::<Vec<_>>().join(", ");
        let meant = nearest(&name, names()).map_or(String::new(), |near| format!("; did you mean {near}?"));
        // What was given is left out: it may be a key or a URL that was put in the wrong place.
        return Err(given.error("provider", format!("is no provider; there are {all}{meant}")));
    };
    let model = given.string("model")?;
    if model.as_deref() == Some("") {
        return Err(given.error("model", "must not be empty"));
    }
    let weight =
        given.number("weight", "a number of 0 or more", |weight| weight >= 0.0 && weight.is_finite())?;
    let max_input_tokens = given.positive("maxInputTokens")?;
    let supports_prefill = given.boolean("supportsPrefill")?;
    given.finish()?;
    Ok(TargetConfig {
        provider,
        model: model.map(Into::into),
        weight: weight.unwrap_or(1.0),
        max_input_tokens: max_input_tokens.map(|max| u64::try_from(max.get()).unwrap_or(u64::MAX)),
        supports_prefill,
    })
}

#[cfg(test)]
mod tests;
