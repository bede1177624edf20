//! The options of answers that are kept and exchanges that are shared.

use http::HeaderMap;
use http::header::CACHE_CONTROL;

use super::section::Section;
use crate::error::Error;
use crate::policy::cache::{CachePolicy, CacheRules, Control, When};

/// `cache` of a client: off unless given.
pub(super) fn parse_cache(top: &mut Section) -> Result<Option<CachePolicy>, Error> {
    if top.take_false("cache") {
        return Ok(None);
    }
    let Some(mut given) = top.section_or("cache", "an object or false")? else {
        return Ok(None);
    };
    let mut policy = CachePolicy::default();
    if let Some(most) = given.count("maxBytes")? {
        policy.max_bytes = most as u64;
    }
    if let Some(obeys) = given.boolean("control")? {
        policy.obeys_header = obeys;
    }
    parse_rules(&mut given, &mut policy.rules)?;
    given.finish()?;
    Ok(Some(policy))
}

/// `cache` of a call, and what its `Cache-Control` says if that is meant for us; then it is not sent on.
pub(super) fn parse_call_cache(
    top: &mut Section,
    client: Option<&CachePolicy>,
    headers: &mut HeaderMap,
) -> Result<Option<CacheRules>, Error> {
    let mut rules = client.map(|policy| policy.rules);
    if client.is_some_and(|policy| policy.obeys_header)
        && let Some(header) = headers.remove(CACHE_CONTROL)
        && let Some(rules) = &mut rules
    {
        // What is no text is no directive.
        rules.control = Control::of_header(header.to_str().unwrap_or_default());
    }
    if top.take_false("cache") {
        return Ok(None);
    }
    let Some(mut given) = top.section_or("cache", "an object or false")? else {
        return Ok(rules);
    };
    let Some(rules) = &mut rules else {
        return Err(top.error(
            "cache",
            "the client has none; it is switched on by the option of this name of the client",
        ));
    };
    if given.holds("maxBytes") {
        return Err(given.error("maxBytes", "is the client's, and cannot be given with a call"));
    }
    parse_rules(&mut given, rules)?;
    if let Some(control) = given.string("control")? {
        let wanted = "must be of no-store, no-cache, max-age=SECONDS, min-fresh=SECONDS, only-if-cached, with commas between";
        rules.control = Control::parse(&control).map_err(|_| given.error("control", wanted))?;
    }
    given.finish()?;
    Ok(Some(*rules))
}

/// What a call may have of its own.
fn parse_rules(given: &mut Section, rules: &mut CacheRules) -> Result<(), Error> {
    if let Some(ttl) = given.duration("ttl")? {
        rules.ttl = ttl;
    }
    let whens = [("deterministic", When::Deterministic), ("all", When::All)];
    if let Some(when) = given.one_of("when", &whens)? {
        rules.when = when;
    }
    if let Some(coalesce) = given.boolean("coalesce")? {
        rules.coalesce = coalesce;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn client(options: Value) -> Result<Option<CachePolicy>, String> {
        let mut top = Section::top("options", options).unwrap();
        let policy = parse_cache(&mut top).map_err(|error| error.message.clone())?;
        top.finish().map_err(|error| error.message.clone())?;
        Ok(policy)
    }

    /// The rules of a call with this header, and whether the header is still there.
    fn call(
        policy: Option<CachePolicy>,
        header: &'static str,
        options: Value,
    ) -> Result<(Option<CacheRules>, bool), String> {
        let mut top = Section::top("options", options).unwrap();
        let mut headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(header))]);
        let rules = parse_call_cache(&mut top, policy.as_ref(), &mut headers)
            .map_err(|error| error.message.clone())?;
        top.finish().map_err(|error| error.message.clone())?;
        Ok((rules, !headers.is_empty()))
    }

    #[test]
    fn nothing_is_kept_unless_it_is_asked_for() {
        assert_eq!(client(json!({})), Ok(None));
        assert_eq!(client(json!({"cache": false})), Ok(None));
    }

    /// In figures, as index.d.ts and the documentation have them.
    #[test]
    fn the_defaults_are_the_figures_that_are_documented() {
        let policy = client(json!({"cache": {}})).unwrap().unwrap();
        let CachePolicy { max_bytes, obeys_header, rules } = policy;
        assert_eq!((max_bytes, obeys_header), (67_108_864, false));
        let CacheRules { ttl, when, coalesce, control } = rules;
        assert_eq!((ttl.as_millis(), when, coalesce), (3_600_000, When::Deterministic, true));
        assert_eq!(control, Control::default());
        let all =
            json!({"cache": {"maxBytes": 0, "ttl": 5, "when": "all", "coalesce": false, "control": true}});
        let rules = CacheRules { ttl: Duration::from_millis(5), when: When::All, coalesce: false, control };
        assert_eq!(client(all), Ok(Some(CachePolicy { max_bytes: 0, obeys_header: true, rules })));
    }

    #[test]
    fn a_call_has_what_it_says_and_else_what_its_client_says() {
        let policy = client(json!({"cache": {"ttl": 7}})).unwrap();
        assert_eq!(
            call(policy, "no-store", json!({})),
            Ok((policy.map(|policy| policy.rules), true)),
            "not ours"
        );
        assert_eq!(call(policy, "no-store", json!({"cache": false})), Ok((None, true)));
        let own = json!({"cache": {"when": "all", "control": "no-cache"}});
        let rules = call(policy, "", own).unwrap().0.unwrap();
        assert!(rules.ttl == Duration::from_millis(7) && rules.when == When::All && rules.control.no_cache);
        assert_eq!(call(None, "", json!({})), Ok((None, true)));
        assert_eq!(call(None, "", json!({"cache": false})), Ok((None, true)));
    }

    #[test]
    fn a_header_that_is_meant_for_us_is_obeyed_and_not_sent_on() {
        let policy = client(json!({"cache": {"control": true}})).unwrap();
        let (rules, is_sent) = call(policy, "max-age=9, immutable", json!({})).unwrap();
        assert_eq!((rules.unwrap().control.max_age, is_sent), (Some(Duration::from_secs(9)), false));
        let (rules, is_sent) = call(policy, "no-store", json!({"cache": {"control": "no-cache"}})).unwrap();
        let control = rules.unwrap().control;
        assert!(control.no_cache && !control.no_store && !is_sent, "the option goes before the header");
    }

    #[test]
    fn mistakes_name_the_path() {
        let policy = client(json!({"cache": {}})).unwrap();
        for (given, message) in [
            (json!(true), "cache: must be an object or false, got a boolean"),
            (json!({"maxBytes": -1}), "cache.maxBytes: must be an integer of 0 or more, got -1"),
            (json!({"ttl": 0}), "cache.ttl: must be a positive number of milliseconds, got 0"),
            (json!({"when": "never"}), "cache.when: must be one of 'deterministic', 'all', got 'never'"),
            (json!({"coalesce": 1}), "cache.coalesce: must be a boolean, got a number (1)"),
            (json!({"control": "no-cache"}), "cache.control: must be a boolean, got a string"),
            (json!({"maxbytes": 1}), "cache.maxbytes: is not an option; did you mean cache.maxBytes?"),
        ] {
            assert_eq!(client(json!({ "cache": given })), Err(message.to_owned()));
        }
        let wanted = "cache.control: must be of no-store, no-cache, max-age=SECONDS, min-fresh=SECONDS, only-if-cached, with commas between";
        for (given, message) in [
            (json!({"maxBytes": 1}), "cache.maxBytes: is the client's, and cannot be given with a call"),
            (json!({"control": true}), "cache.control: must be a string, got a boolean"),
            (json!({"control": "no-cash"}), wanted),
            (json!(true), "cache: must be an object or false, got a boolean"),
        ] {
            assert_eq!(call(policy, "", json!({ "cache": given })), Err(message.to_owned()));
        }
        let none = "cache: the client has none; it is switched on by the option of this name of the client";
        assert_eq!(call(None, "", json!({"cache": {}})), Err(none.to_owned()));
    }
}
