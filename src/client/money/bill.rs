//! What one attempt comes to. It is opened when the request goes out. Whoever drops it unsettled, be it because the caller has left, leaves it
//! to be estimated: the provider has the request, and charges for it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::{Ledger, Money, guess};
use crate::policy::money::{Entry, Tokens, Usd};
use crate::protocol::openai::Usage;

#[must_use]
#[derive(Debug)]
pub(in crate::client) struct Bill {
    /// None once it was settled.
    open: Option<Open>,
    /// Bytes of the answer's text that have come.
    heard: usize,
    /// What the provider has reported so far; not the last word of it, unless the answer is whole.
    usage: Option<Usage>,
}

#[derive(Debug)]
struct Open {
    money: Arc<Money>,
    ledger: Arc<Ledger>,
    /// What the target was asked for.
    model: Arc<str>,
    tenant: Option<Arc<str>>,
    /// As it was handed over.
    request: Bytes,
    /// Whether tokens that nobody reports are estimated: of what is no chat, nobody knows whether it has any.
    is_model_call: bool,
}

/// What an attempt, or several of them, came to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::client) struct Charge {
    cost: Usd,
    is_any: bool,
    is_unpriced: bool,
    pub(in crate::client) is_estimated: bool,
}

impl Bill {
    pub(in crate::client) fn open(
        money: &Arc<Money>,
        ledger: &Arc<Ledger>,
        model: &Arc<str>,
        tenant: Option<&Arc<str>>,
        request: &Bytes,
        is_model_call: bool,
    ) -> Self {
        let open = Open {
            money: money.clone(),
            ledger: ledger.clone(),
            model: model.clone(),
            tenant: tenant.cloned(),
            request: request.clone(),
            is_model_call,
        };
        Self { open: Some(open), heard: 0, usage: None }
    }

    /// So much of the answer's text has come by now.
    pub(in crate::client) fn heard(&mut self, bytes: usize) {
        self.heard = bytes;
    }

    /// What the provider reports.
    pub(in crate::client) fn reported(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// The answer is whole. `tier`: how it was served, where the provider says so. Gives the usage too, where that had to be estimated.
    pub(in crate::client) fn pay(
        mut self,
        answered: &Arc<str>,
        tier: Option<&str>,
    ) -> (Charge, Option<Usage>) {
        let Some(open) = self.open.take() else { return Default::default() };
        match self.usage {
            Some(usage) => (open.charge(answered, tier, usage, false), None),
            None if open.is_model_call => {
                let usage = open.estimate(None, self.heard);
                (open.charge(answered, tier, usage, true), Some(usage))
            }
            None => Default::default(),
        }
    }

    /// Nothing was charged: the request was not processed, or the answer is an error.
    pub(in crate::client) fn void(mut self) {
        self.open = None;
    }

    /// It was processed, as far as anybody knows, and broke off.
    pub(in crate::client) fn give_up(mut self) -> Charge {
        self.close()
    }

    fn close(&mut self) -> Charge {
        let Some(open) = self.open.take() else { return Charge::default() };
        if !open.is_model_call && self.usage.is_none() {
            return Charge::default();
        }
        let usage = open.estimate(self.usage, self.heard);
        let model = open.model.clone();
        open.charge(&model, None, usage, true)
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

impl Open {
    /// The usage of an answer of which so much has come. What was reported in its course is known, and its end was not yet.
    fn estimate(&self, usage: Option<Usage>, heard: usize) -> Usage {
        let mut usage = usage
            .unwrap_or_else(|| Usage { prompt_tokens: guess::prompt(&self.request), ..Usage::default() });
        usage.completion_tokens = usage.completion_tokens.max(guess::answer(heard));
        usage
    }

    fn charge(&self, answered: &Arc<str>, tier: Option<&str>, usage: Usage, is_estimated: bool) -> Charge {
        let tokens = tokens_of(&usage);
        // Prices are of the standard tier. What is served otherwise has others, under a name of its own.
        let tier = tier.filter(|tier| !matches!(*tier, "default" | "standard" | "auto" | ""));
        let names = tier.map(|tier| [&self.model, answered].map(|name| format!("{name} ({tier})").into()));
        let [model, answered] = names.as_ref().map_or([&self.model, answered], |[one, two]| [one, two]);
        let now = SystemTime::now();
        let cost = self.ledger.charge(model, answered, tokens, is_estimated, now);
        let entry = Entry { tokens, cost, is_estimated };
        self.money.charge(&self.ledger.provider, &self.model, self.tenant.as_ref(), &entry, now);
        Charge { cost: cost.unwrap_or_default(), is_any: true, is_unpriced: cost.is_none(), is_estimated }
    }
}

impl Charge {
    /// Of what was answered from memory, or by the exchange of another call.
    pub(in crate::client) fn nothing() -> Self {
        Self { is_any: true, ..Self::default() }
    }

    /// As it is kept elsewhere: picodollars, which may be more than JSON's numbers are read as.
    pub(in crate::client) fn far(&self) -> (String, bool, bool, bool) {
        (self.cost.picos().to_string(), self.is_any, self.is_unpriced, self.is_estimated)
    }

    pub(in crate::client) fn of_far(
        (cost, is_any, is_unpriced, is_estimated): (String, bool, bool, bool),
    ) -> Self {
        let cost = cost.parse().map_or(Usd::ZERO, Usd::from_picos);
        Self { cost, is_any, is_unpriced, is_estimated }
    }

    pub(in crate::client) fn add(&mut self, other: Self) {
        self.cost = self.cost.plus(other.cost);
        self.is_any |= other.is_any;
        self.is_unpriced |= other.is_unpriced;
        self.is_estimated |= other.is_estimated;
    }

    /// None where a part of it has no price, or nothing of it could have one.
    pub(in crate::client) fn cost(&self) -> Option<Usd> {
        (self.is_any && !self.is_unpriced).then_some(self.cost)
    }
}

/// The kinds apart. No part is more than the whole that it is of, whatever a provider says.
pub(super) fn tokens_of(usage: &Usage) -> Tokens {
    let mut left = usage.prompt_tokens;
    let mut take = |part: u64| {
        let part = part.min(left);
        left -= part;
        part
    };
    let cached = take(usage.cached);
    let written = take(usage.cache_write);
    let audio = take(usage.audio);
    let cache_write_hour = usage.cache_write_hour.min(written);
    let reasoning = usage.reasoning.min(usage.completion_tokens);
    Tokens {
        input: left,
        cached,
        cache_write: written - cache_write_hour,
        cache_write_hour,
        audio,
        output: usage.completion_tokens - reasoning,
        reasoning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_add_up_to_what_was_reported_whatever_a_provider_says() {
        for usage in [
            Usage {
                prompt_tokens: 100,
                completion_tokens: 50,
                cached: 30,
                reasoning: 20,
                ..Usage::default()
            },
            Usage {
                prompt_tokens: 10,
                cached: 300,
                cache_write: 7,
                audio: 9,
                reasoning: 5,
                ..Usage::default()
            },
            Usage { prompt_tokens: 50, cache_write: 20, cache_write_hour: 90, audio: 40, ..Usage::default() },
        ] {
            let tokens = tokens_of(&usage);
            let sums = (tokens.prompt(), tokens.answer());
            assert_eq!(sums, (usage.prompt_tokens, usage.completion_tokens), "{usage:?}");
        }
    }
}
