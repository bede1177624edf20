//! The option of how many calls run at once.

use std::num::NonZeroUsize;

use super::section::Section;
use crate::error::Error;
use crate::policy::adaptive::MaxConcurrency;

/// `max` of the section `concurrency`: a number of calls, or 'adaptive'. Nothing given is no limit by number.
pub(super) fn parse_max(section: &mut Section) -> Result<Option<MaxConcurrency>, Error> {
    if section.take_word("max", "adaptive") {
        return Ok(Some(MaxConcurrency::Adaptive));
    }
    let max = section.integer("max", "a positive integer, or 'adaptive'", |number| {
        usize::try_from(number).ok().and_then(NonZeroUsize::new)
    })?;
    Ok(max.map(MaxConcurrency::Fixed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn max(options: Value) -> Result<Option<MaxConcurrency>, String> {
        let mut top = Section::top("options", json!({ "concurrency": options })).unwrap();
        let mut section = top.section("concurrency").unwrap().unwrap();
        let max = parse_max(&mut section).map_err(|error| error.message.clone())?;
        section.finish().map_err(|error| error.message.clone())?;
        Ok(max)
    }

    #[test]
    fn a_limit_is_a_number_or_found() {
        assert_eq!(max(json!({})), Ok(None));
        assert_eq!(max(json!({"max": "adaptive"})), Ok(Some(MaxConcurrency::Adaptive)));
        let fifty = const { NonZeroUsize::new(50).unwrap() };
        assert_eq!(max(json!({"max": 50})), Ok(Some(MaxConcurrency::Fixed(fifty))));
    }

    #[test]
    fn any_other_limit_is_refused() {
        let wanted = "concurrency.max: must be a positive integer, or 'adaptive', got";
        for (given, got) in [
            (json!(0), "0"),
            (json!(-3), "-3"),
            (json!(2.5), "2.5"),
            (json!("auto"), "a string"),
            (json!(null), "null"),
        ] {
            assert_eq!(max(json!({ "max": given })), Err(format!("{wanted} {got}")));
        }
    }
}
