//! `reasoning_effort` in the words that the model takes: an effort, or a budget of tokens.
//!
//! | asked | 3.7 to 4.5 | 4.6 and later |
//! | --- | --- | --- |
//! | none | nothing: they do not think by themselves | `disabled`; `between_tools`, or effort low with notice, where that is an error |
//! | minimal, low | 2,048 tokens | adaptive, effort low |
//! | medium | 8,192 tokens | adaptive, effort medium |
//! | high | 15,000 tokens | adaptive, effort high |
//! | xhigh, max | 15,000 tokens | adaptive, the same effort; 4.6 has no xhigh: high, with notice |
//!
//! A budget is at most half of `max_tokens`, since the answer comes out of the same; where that is less than the 1,024 tokens
//! that the API asks for, there is no thinking, with notice. With the default of `max_tokens`, the budget is added to it.

use std::borrow::Cow;

use super::model::{Model, Thinks, Unthinking};
use crate::protocol::read::{At, text};
use crate::protocol::translate::Inexpressible;

/// The least that the API takes as a budget.
const MIN_BUDGET: u64 = 1_024;

/// What is said of thinking. All None: nothing.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    /// The `thinking` member.
    pub(super) config: Option<Cow<'static, str>>,
    /// `output_config.effort`.
    pub(super) effort: Option<&'static str>,
    /// Tokens to add to the default of `max_tokens`.
    pub(super) budget: u64,
    /// Whether a part of what was asked for could not be said.
    pub(super) dropped: bool,
}

/// `max_tokens`: what the caller gave.
pub(super) fn of_effort(
    raw: &str,
    model: Model,
    max_tokens: Option<u64>,
    path: &At<'_>,
) -> Result<Thinking, Inexpressible> {
    let (effort, budget) = match &*text(raw, path)? {
        "none" => return Ok(off(model)),
        "minimal" | "low" => ("low", 2_048),
        "medium" => ("medium", 8_192),
        "high" => ("high", 15_000),
        "xhigh" => ("xhigh", 15_000),
        "max" => ("max", 15_000),
        _ => return Err(path.wrong("must be none, minimal, low, medium, high, xhigh or max")),
    };
    Ok(match model.thinks() {
        Thinks::Never => Thinking { dropped: true, ..Thinking::default() },
        Thinks::WithBudget => {
            let budget = max_tokens.map_or(budget, |most| budget.min(most / 2));
            if budget < MIN_BUDGET {
                return Ok(Thinking { dropped: true, ..Thinking::default() });
            }
            let config = format!(r#"{{"type":"enabled","budget_tokens":{budget}}}"#);
            Thinking { config: Some(config.into()), budget, ..Thinking::default() }
        }
        Thinks::ByEffort => {
            let dropped = effort == "xhigh" && !model.knows_xhigh();
            Thinking {
                config: Some(r#"{"type":"adaptive"}"#.into()),
                effort: Some(if dropped { "high" } else { effort }),
                budget: 0,
                dropped,
            }
        }
    })
}

/// Whether a `thinking` member says to think.
pub(super) fn is_on(config: &str) -> bool {
    !config.contains(r#""disabled""#) && !config.contains(r#""between_tools""#)
}

fn off(model: Model) -> Thinking {
    let config = |config: &'static str| Thinking { config: Some(config.into()), ..Thinking::default() };
    match model.unthinking() {
        Unthinking::ByItself => Thinking::default(),
        Unthinking::Disabled => config(r#"{"type":"disabled"}"#),
        Unthinking::BetweenTools => config(r#"{"type":"between_tools"}"#),
        Unthinking::LowestEffort => Thinking { effort: Some("low"), dropped: true, ..Thinking::default() },
    }
}
