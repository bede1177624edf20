//! The option `pricing`: what models cost.

use std::collections::BTreeMap;

use super::section::{Entry, Section};
use crate::error::Error;
use crate::policy::route::Price;

/// By the name of a model, or by `provider/model` where providers differ.
pub(super) fn parse_pricing(top: &mut Section) -> Result<BTreeMap<String, Price>, Error> {
    let entries = top.entries("pricing")?.unwrap_or_default();
    entries.into_iter().map(parse_price).collect()
}

fn parse_price(entry: Entry) -> Result<(String, Price), Error> {
    let Entry { name, path, value } = entry;
    let mut given = Section::of(path, value)?;
    let mut dollars = |name| given.number(name, "a number of 0 or more", |price| price >= 0.0);
    let (input, output) = (dollars("input")?, dollars("output")?);
    // Read for what a call has cost, which is told apart by them.
    for name in ["cachedInput", "cacheWrite", "reasoning"] {
        dollars(name)?;
    }
    let missing = |name: &'static str| given.error(name, "must be given, in dollars for a million tokens");
    let input = input.ok_or_else(|| missing("input"))?;
    let output = output.ok_or_else(|| missing("output"))?;
    given.finish()?;
    Ok((name, Price { input, output }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pricing(options: Value) -> Result<BTreeMap<String, Price>, String> {
        let mut top = Section::top("options", options).unwrap();
        let pricing = parse_pricing(&mut top).map_err(|error| error.message.clone())?;
        top.finish().map_err(|error| error.message.clone())?;
        Ok(pricing)
    }

    #[test]
    fn prices_are_dollars_for_a_million_tokens() {
        let given = pricing(json!({"pricing": {"m": {"input": 2.5, "output": 10, "cachedInput": 1}}}));
        assert_eq!(given.unwrap()["m"], Price { input: 2.5, output: 10.0 });
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
    }
}
