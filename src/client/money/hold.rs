//! What a call has spoken for of a budget, until it ends.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::{Budget, Ledger, Money, guess};
use crate::error::{Error, Kind};
use crate::policy::money::{Amount, Exceeded, Limits, Standing, Tokens, Unit, Usd};

/// What a call may come to at a target.
#[derive(Debug)]
pub(in crate::client) struct Wish<'a> {
    pub(in crate::client) model: &'a Arc<str>,
    pub(in crate::client) tenant: Option<&'a Arc<str>>,
    /// As it was handed over.
    pub(in crate::client) request: &'a Bytes,
    /// None for what has no text as its answer.
    pub(in crate::client) answer: Option<Answer>,
    /// Of a batch of the provider's, which costs half: how many requests like this one it has.
    pub(in crate::client) batch_of: Option<u64>,
}

/// What the request says of how long its answer may be.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Answer {
    /// Of each choice.
    pub(in crate::client) max_tokens: Option<u64>,
    pub(in crate::client) choices: u64,
}

/// Given back on drop.
#[must_use]
#[derive(Debug)]
pub(in crate::client) struct Hold {
    money: Arc<Money>,
    /// By which the store knows it.
    id: u64,
    limits: Limits,
    amount: Amount,
}

/// Where a request does not say how long its answer may be, and no other was answered yet.
const UNKNOWN_ANSWER: u64 = 256;
/// Answers are seldom so many times as long as the model's are in the mean.
const TIMES_THE_MEAN: f64 = 2.0;

impl Hold {
    pub(super) async fn take(
        money: &Arc<Money>,
        budget: &Budget,
        ledger: &Ledger,
        wish: &Wish<'_>,
    ) -> Result<Option<Self>, Error> {
        let Budget { policy, store } = budget;
        let now = SystemTime::now();
        let mut limits = policy.limits(&ledger.provider, wish.model, wish.tenant);
        let (tariff, mean) = ledger.expect(wish.model, now);
        if tariff.is_none() && policy.blocks && !policy.allows_unpriced && limits.has_usd() {
            let (provider, model) = (&ledger.provider, wish.model);
            return Err(Error::config(format!(
                "pricing: has no price of '{provider}/{model}', so that no budget in dollars can hold it; give one, or set \
                 budget.unpriced to 'allow'"
            )));
        }
        let answer = wish.answer.map_or(0, |answer| {
            let usual =
                mean.map_or(UNKNOWN_ANSWER, |mean| UNKNOWN_ANSWER.max((mean * TIMES_THE_MEAN) as u64));
            answer.max_tokens.unwrap_or(usual).saturating_mul(answer.choices)
        });
        let tokens = Tokens { input: guess::prompt(wish.request), output: answer, ..Tokens::default() };
        let usd = tariff.map_or(Usd::ZERO, |tariff| tariff.of(&tokens));
        let (tokens, usd) = match wish.batch_of {
            None => (tokens, usd),
            Some(requests) => {
                let [input, output] =
                    [tokens.input, tokens.output].map(|tokens| tokens.saturating_mul(requests));
                let usd = Usd::from_picos(usd.picos().saturating_mul(u128::from(requests)) / 2);
                (Tokens { input, output, ..Tokens::default() }, usd)
            }
        };
        let amount = Amount { usd, tokens: tokens.total() };
        let reserved = match store.ask(&limits, amount).await {
            Some(true) => Ok(0),
            Some(false) => Err(store.refusal(policy, &mut limits, amount, now)),
            None => store.reserve(policy, &mut limits, amount, now),
        };
        match reserved {
            Ok(id) => Ok(Some(Self { money: money.clone(), id, limits, amount })),
            Err(exceeded) => {
                if exceeded.is_first {
                    money.tell_used_up(budget, &exceeded.standing);
                }
                Err(error_of(*exceeded, amount.usd, &tokens, wish.answer))
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(budget) = &self.money.budget {
            budget.store.release(self.id, &self.limits, self.amount);
        }
    }
}

/// `usd` and `tokens`: what the call was reckoned at.
fn error_of(exceeded: Exceeded, usd: Usd, tokens: &Tokens, answer: Option<Answer>) -> Error {
    let Exceeded { standing, may_pass_soon, .. } = exceeded;
    let Standing { scope, ref name, unit, limit, spent, reserved, window, .. } = standing;
    let shown = |amount: f64| match unit {
        Unit::Usd => Usd::from_dollars(amount).to_string(),
        Unit::Tokens => format!("{amount} tokens"),
    };
    let of = match name {
        None => String::new(),
        Some(name) => format!(" for the {scope} '{name}'"),
    };
    let mut message =
        format!("the budget of {} a {window}{of} does not suffice: {} spent", shown(limit), shown(spent));
    if reserved > 0.0 {
        message.push_str(&format!(", {} reserved by calls under way", shown(reserved)));
    }
    let Tokens { input, output, .. } = tokens;
    let price = if unit == Unit::Usd { format!("{usd}, ") } else { String::new() };
    message.push_str(&format!("; this call is reckoned at {price}{input} tokens in and {output} out"));
    message.push_str(match answer {
        Some(Answer { max_tokens: Some(_), .. }) => ": lower its max_tokens, or raise the limit",
        Some(_) => ": give it max_tokens, or raise the limit",
        None => ": raise the limit",
    });
    let asked = match unit {
        Unit::Usd => usd.dollars(),
        Unit::Tokens => tokens.total() as f64,
    };
    let mut error = Error::new(Kind::BudgetExceeded { standing: Box::new(standing), asked }, message);
    error.retryable = may_pass_soon;
    error
}
