//! Where a call may go: a model of a provider, or several in the order in which they are tried.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::provider::Provider;
use crate::config::{ClientConfig, RouteConfig, TargetConfig};
use crate::error::Error;
use crate::policy::route::{self, Load, Request, Strategy};
use crate::protocol::anthropic;
use crate::protocol::dialect::Protocol;

/// A model of a provider.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) provider: Arc<Provider>,
    /// None for the name that the request has.
    pub(super) model: Option<Arc<str>>,
    pub(super) max_input_tokens: Option<u64>,
    supports_prefill: Option<bool>,
    /// None where nobody chooses by it.
    pub(super) load: Option<Arc<Load>>,
}

/// What a name leads to.
#[derive(Debug)]
struct Route {
    targets: Vec<Target>,
    strategy: Strategy,
    on_content_filter: bool,
    choices: Vec<route::Target>,
}

/// What the names of models lead to.
#[derive(Debug)]
pub(super) struct Targets {
    routes: HashMap<Arc<str>, Route>,
    /// One for each provider, the default one first: with the model that a request names.
    plain: Vec<Target>,
}

/// What a call's model leads to.
enum Named<'a> {
    Route(&'a Route),
    /// A provider, with the model that the request names.
    Plain(&'a [Target]),
}

/// The targets of one call, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Path<'a> {
    targets: &'a [Target],
    /// None for the order in which they stand.
    order: Option<Vec<usize>>,
    /// Whether what one will not have is asked of others.
    pub(super) on_content_filter: bool,
}

impl Target {
    /// What it calls the model, where the request has `asked`.
    pub(super) fn model_for(&self, asked: &Arc<str>) -> Arc<str> {
        self.model.as_ref().unwrap_or(asked).clone()
    }

    /// Whether it goes on with an answer that was begun. If nobody says so, it is what the providers' documentation has: OpenAI's models begin
    /// anew, and some of Anthropic's refuse.
    pub(super) fn takes_prefill(&self, asked: &Arc<str>) -> bool {
        self.supports_prefill.unwrap_or_else(|| match self.provider.protocol() {
            Protocol::OpenAi => false,
            Protocol::Anthropic => anthropic::takes_prefill(&self.model_for(asked)),
            Protocol::Gemini => true,
        })
    }

    /// As events have it: `provider/model`.
    pub(super) fn label(&self, asked: &Arc<str>) -> String {
        let model = self.model.as_ref().unwrap_or(asked);
        if model.is_empty() {
            self.provider.name().to_string()
        } else {
            format!("{}/{model}", self.provider.name())
        }
    }
}

impl Targets {
    pub(super) fn new(config: &ClientConfig, providers: &[Arc<Provider>]) -> Self {
        let loads = Mutex::new(HashMap::<_, Arc<Load>>::new());
        let load = |target: &TargetConfig, name: &Arc<str>| {
            let model = target.model.as_ref().unwrap_or(name).clone();
            let mut loads = loads.lock();
            loads.entry((target.provider, model)).or_default().clone()
        };
        let pricing = &config.pricing;
        let price = |target: &Target, name: &Arc<str>| {
            let (provider, model) = (&target.provider, target.model_for(name));
            pricing.find(provider.name(), provider.ledger.vendor(), &model, &model, SystemTime::now())
        };
        let route = |(name, config): (&Arc<str>, &RouteConfig)| {
            let made = |target: &TargetConfig| {
                // Their index was found when the options were read.
                let provider = providers.get(target.provider)?.clone();
                let load = Some(load(target, name));
                let TargetConfig { ref model, max_input_tokens, supports_prefill, .. } = *target;
                Some(Target { provider, model: model.clone(), max_input_tokens, supports_prefill, load })
            };
            let targets: Vec<_> = config.targets.iter().filter_map(made).collect();
            let choice = |(target, given): (&Target, &TargetConfig)| route::Target {
                weight: given.weight,
                price: price(target, name),
                load: target.load.clone().unwrap_or_default(),
            };
            let choices = targets.iter().zip(&config.targets).map(choice).collect();
            let route = Route {
                targets,
                strategy: config.strategy,
                on_content_filter: config.on_content_filter,
                choices,
            };
            (name.clone(), route)
        };
        let plain = providers.iter().map(|provider| Target {
            provider: provider.clone(),
            model: None,
            max_input_tokens: None,
            supports_prefill: None,
            load: None,
        });
        let routes = config.routes.iter().filter(|(_, route)| !route.targets.is_empty()).map(route).collect();
        Self { routes, plain: plain.collect() }
    }

    /// Where a request for this model goes. `provider`: the one that the caller wants, whatever the model's name leads to.
    pub(super) fn path(
        &self,
        model: &str,
        provider: Option<&str>,
        request: Request,
        now: Instant,
    ) -> Result<Path<'_>, Error> {
        let Route { targets, strategy, on_content_filter, choices } = match self.named(model, provider)? {
            Named::Route(route) => route,
            Named::Plain(target) => return Ok(Path::of(target)),
        };
        let mut order = None;
        if targets.len() > 1 {
            let asked: Arc<str> = model.into();
            let unlikely = |at: usize| {
                let target = targets.get(at);
                target.is_some_and(|target| target.provider.is_unlikely(&target.model_for(&asked), now))
            };
            order = Some(route::order(*strategy, choices, request, now, fastrand::u64(..), unlikely));
        }
        Ok(Path { targets, order, on_content_filter: *on_content_filter })
    }

    /// Everybody who may answer such a request, in the order in which they are listed: who is tried first is another question. `is_of_one`: it
    /// keeps to one provider, as of [`Path::keep_to_one_provider`].
    pub(super) fn whom(
        &self,
        model: &str,
        provider: Option<&str>,
        is_of_one: bool,
    ) -> Result<Vec<&[u8]>, Error> {
        let targets = match self.named(model, provider)? {
            Named::Route(route) => &route.targets[..],
            Named::Plain(target) => target,
        };
        let first = targets.first().filter(|_| is_of_one).map(|target| &target.provider);
        let those =
            targets.iter().filter(|target| first.is_none_or(|first| Arc::ptr_eq(&target.provider, first)));
        let parts = those.flat_map(|target| {
            [target.provider.identity().as_bytes(), target.model.as_deref().unwrap_or_default().as_bytes()]
        });
        Ok(parts.collect())
    }

    /// The targets of such a request as they are listed, whoever is tried first now.
    pub(super) fn listed(&self, model: &str, provider: Option<&str>) -> Result<&[Target], Error> {
        Ok(match self.named(model, provider)? {
            Named::Route(route) => &route.targets,
            Named::Plain(target) => target,
        })
    }

    fn named(&self, model: &str, provider: Option<&str>) -> Result<Named<'_>, Error> {
        if let Some(name) = provider {
            let at = self.plain.iter().position(|target| **target.provider.name() == *name);
            let at = at.ok_or_else(|| self.no_such_provider())?;
            return Ok(Named::Plain(&self.plain[at..=at]));
        }
        Ok(match self.routes.get(model) {
            Some(route) => Named::Route(route),
            None => Named::Plain(self.plain.get(..1).unwrap_or_default()),
        })
    }

    pub(super) fn has_route(&self, model: &str) -> bool {
        self.routes.contains_key(model)
    }

    pub(super) fn provider(&self, name: &str) -> Result<&Arc<Provider>, Error> {
        let mut providers = self.providers();
        providers.find(|provider| **provider.name() == *name).ok_or_else(|| self.no_such_provider())
    }

    /// What was given is left out: it may be a key that was put in the wrong place.
    fn no_such_provider(&self) -> Error {
        let names: Vec<_> = self.providers().map(|provider| &**provider.name()).collect();
        Error::config(format!("provider: is no provider; there are {}", names.join(", ")))
    }

    /// The default one first.
    pub(super) fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> + Clone {
        self.plain.iter().map(|target| &target.provider)
    }
}

impl<'a> Path<'a> {
    fn of(targets: &'a [Target]) -> Self {
        Self { targets, order: None, on_content_filter: false }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Target> {
        let targets = self.targets;
        (0..targets.len()).filter_map(move |n| {
            let at = match &self.order {
                None => n,
                Some(order) => *order.get(n)?,
            };
            targets.get(at)
        })
    }

    /// Without the first `n` of them.
    pub(super) fn skip(&self, n: usize) -> Self {
        let rest = self.order.clone().unwrap_or_else(|| (0..self.targets.len()).collect());
        Self { order: Some(rest.into_iter().skip(n).collect()), ..*self }
    }

    /// Leaves those at the provider of the target that stands first, whichever is tried first: credentials that a caller gives with a call
    /// are meant for one provider, and are no other's to see.
    pub(super) fn keep_to_one_provider(&mut self) {
        let Some(first) = self.targets.first() else { return };
        let order = self.order.get_or_insert_with(|| (0..self.targets.len()).collect());
        let is_its = |at: &usize| {
            self.targets.get(*at).is_some_and(|target| Arc::ptr_eq(&target.provider, &first.provider))
        };
        order.retain(is_its);
    }

    pub(super) fn first(&self) -> Option<&'a Target> {
        self.iter().next()
    }

    pub(super) fn has_others(&self) -> bool {
        self.iter().nth(1).is_some()
    }
}
