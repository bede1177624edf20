//! The option `pricing`: what models cost.

use std::collections::BTreeMap;

use serde_json::Value;

use super::section::{Entry, Section};
use crate::error::Error;
use crate::policy::money::{Given, Listed, Price, Prices, Tariff};

/// By the name of a model, or by `provider/model` where providers differ: a price, or the name of a model of the built-in table that costs the
/// same.
pub(super) fn parse_pricing(top: &mut Section) -> Result<Prices, Error> {
    let entries = top.entries("pricing")?.unwrap_or_default();
    entries.into_iter().map(parse_entry).collect::<Result<BTreeMap<_, _>, _>>().map(Prices::new)
}

fn parse_entry(entry: Entry) -> Result<(String, Given), Error> {
    let Entry { name, path, value } = entry;
    if let Value::String(model) = &value {
        // A name of a model is no secret.
        let given = Given::of_table(model).ok_or_else(|| {
            let what = "must be a price, or a model of the built-in table";
            Error::config(format!("{path}: {what}, which has no {model:?}"))
        })?;
        return Ok((name, given));
    }
    let mut given = Section::of(path, value)?;
    let base = parse_price(&mut given)?;
    let above = match given.section("above")? {
        None => None,
        Some(mut above) => {
            let tokens = above.count("tokens")?;
            let tokens = tokens.ok_or_else(|| above.error("tokens", "must be given"))?;
            let price = parse_price(&mut above)?;
            above.finish()?;
            Some((tokens as u64, price))
        }
    };
    given.finish()?;
    Ok((name, Given::Price(Tariff { base, above })))
}

fn parse_price(given: &mut Section) -> Result<Price, Error> {
    let mut dollars = |name| given.number(name, "a number of 0 or more", |price| price >= 0.0);
    let (input, output) = (dollars("input")?, dollars("output")?);
    let (cached_input, cache_write) = (dollars("cachedInput")?, dollars("cacheWrite")?);
    let (cache_write_hour, audio_input) = (dollars("cacheWriteHour")?, dollars("audioInput")?);
    let reasoning = dollars("reasoning")?;
    let missing = |name: &'static str| given.error(name, "must be given, in dollars for a million tokens");
    let input = input.ok_or_else(|| missing("input"))?;
    let output = output.ok_or_else(|| missing("output"))?;
    Ok(Listed { input, output, cached_input, cache_write, cache_write_hour, audio_input, reasoning }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::money::Tokens;
    use serde_json::json;
    use std::time::SystemTime;

    fn pricing(options: Value) -> Result<Prices, String> {
        let mut top = Section::top("options", options).unwrap();
        let pricing = parse_pricing(&mut top).map_err(|error| error.message.clone())?;
        top.finish().map_err(|error| error.message.clone())?;
        Ok(pricing)
    }

    #[test]
    fn prices_are_dollars_for_a_million_tokens() {
        let above = json!({"tokens": 200, "input": 5, "output": 20});
        let given = pricing(json!({"pricing": {
            "m": {"input": 2.5, "output": 10, "cachedInput": 1, "above": above},
            "deployed": "gpt-4o-mini",
        }}));
        let given = given.unwrap();
        let cost = |model: &str, input| {
            let tokens = Tokens { input, cached: 100, ..Tokens::default() };
            let tariff = given.find("p", None, model, model, SystemTime::now()).unwrap();
            tariff.of(&tokens).picos()
        };
        assert_eq!((cost("m", 100), cost("m", 101)), (350_000_000, 1_005_000_000));
        assert_eq!(cost("deployed", 100), 22_500_000);
    }

    #[test]
    fn mistakes_name_the_path() {
        let mistake = |price: Value| pricing(json!({"pricing": {"m": price}})).unwrap_err();
        assert_eq!(
            mistake(json!({"input": 1})),
            "pricing.m.output: must be given, in dollars for a million tokens"
        );
        assert_eq!(
            mistake(json!({"input": -1, "output": 1})),
            "pricing.m.input: must be a number of 0 or more, got -1"
        );
        assert!(
            mistake(json!({"input": 1, "output": 1, "outputs": 1}))
                .starts_with("pricing.m.outputs: is not an option")
        );
        assert_eq!(mistake(json!(7)), "pricing.m: must be an object, got a number (7)");
        assert_eq!(
            mistake(json!("gpt-nine")),
            "pricing.m: must be a price, or a model of the built-in table, which has no \"gpt-nine\""
        );
        assert_eq!(
            mistake(json!({"input": 1, "output": 1, "above": {"input": 2, "output": 2}})),
            "pricing.m.above.tokens: must be given"
        );
    }
}
