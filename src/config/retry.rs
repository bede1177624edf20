//! `retry`.

use super::circuit_breaker;
use super::section::{self, Section};
use crate::error::Error;
use crate::policy::backoff::Strategy;
use crate::policy::judge::RetryPolicy;

pub(super) fn parse_retry(section: &mut Section, mut retry: RetryPolicy) -> Result<RetryPolicy, Error> {
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
