//! What a model takes, by its name. Only where the same words of a request would be an error with one model and are needed by
//! another; whatever else a model refuses, it says itself.
//!
//! Source: platform.claude.com/docs/en/build-with-claude/thinking-troubleshooting (the table by model), …/effort,
//! …/mid-conversation-system-messages and the migration guides of the models.

/// A model as its name tells it. Names that are not Claude's are of servers that speak the protocol with models of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    family: Family,
    /// None where the name has no number.
    version: Option<(u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Opus,
    Sonnet,
    Haiku,
    /// Fable and Mythos: thinking cannot be turned off.
    Fable,
    /// A Claude of another family.
    Claude,
    Foreign,
}

/// How a model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinks {
    Never,
    /// With so many tokens at most.
    WithBudget,
    /// As it sees fit, by an effort.
    ByEffort,
}

/// How a model is told not to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unthinking {
    /// It does not unless it is told to.
    ByItself,
    Disabled,
    /// It thinks between calls of tools, and not before it answers.
    BetweenTools,
    /// It cannot; the lowest effort comes nearest.
    LowestEffort,
}

impl Model {
    pub(super) fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let Some(at) = name.find("claude") else {
            return Self { family: Family::Foreign, version: None };
        };
        let tokens: Vec<&str> = name[at..].split(|char: char| !char.is_ascii_alphanumeric()).collect();
        let has = |word: &str| tokens.contains(&word);
        let family = if has("opus") {
            Family::Opus
        } else if has("sonnet") {
            Family::Sonnet
        } else if has("haiku") {
            Family::Haiku
        } else if has("fable") || has("mythos") {
            Family::Fable
        } else {
            Family::Claude
        };
        // Longer numbers are dates.
        let number = |token: &&str| if token.len() <= 2 { token.parse::<u32>().ok() } else { None };
        let major = tokens.iter().position(|token| number(token).is_some());
        let version = major.and_then(|at| {
            let minor = tokens.get(at + 1).and_then(number).unwrap_or(0);
            Some((number(&tokens[at])?, minor))
        });
        Self { family, version }
    }

    pub(super) fn thinks(self) -> Thinks {
        match self.version {
            Some(version) if version < (3, 7) => Thinks::Never,
            Some(version) if version < (4, 6) => Thinks::WithBudget,
            _ => Thinks::ByEffort,
        }
    }

    pub(super) fn unthinking(self) -> Unthinking {
        match self.family {
            _ if self.thinks() != Thinks::ByEffort => Unthinking::ByItself,
            Family::Fable => Unthinking::LowestEffort,
            Family::Opus if self.is_from(5, 5) => Unthinking::LowestEffort,
            Family::Sonnet if self.is_from(5, 5) => Unthinking::BetweenTools,
            _ => Unthinking::Disabled,
        }
    }

    /// Whether it thinks where nothing is said of it.
    pub(super) fn thinks_by_itself(self) -> bool {
        self.is_from(5, 0)
    }

    /// Whether there is a level of effort between high and max.
    pub(super) fn knows_xhigh(self) -> bool {
        self.version != Some((4, 6))
    }

    /// Whether it can be told how to sample. Models after Opus 4.6 refuse all but the default.
    pub(super) fn samples(self) -> bool {
        match self.family {
            Family::Foreign => true,
            _ => self.version.is_some_and(|version| version <= (4, 6)),
        }
    }

    /// Whether it takes a temperature and a `top_p` together.
    pub(super) fn samples_both_ways(self) -> bool {
        self.version.is_none_or(|version| version < (4, 1))
    }

    /// Whether a system message may stand between the others.
    pub(super) fn hears_system_in_between(self) -> bool {
        match self.family {
            Family::Opus => self.is_from(4, 8),
            Family::Fable => self.is_from(5, 0),
            Family::Sonnet | Family::Haiku => self.is_from(5, 5),
            Family::Claude | Family::Foreign => false,
        }
    }

    /// Whether it writes 4,096 tokens at most.
    pub(super) fn is_brief(self) -> bool {
        self.version.is_some_and(|version| version < (3, 7))
    }

    fn is_from(self, major: u32, minor: u32) -> bool {
        self.version.is_some_and(|version| version >= (major, minor))
    }
}

/// Whether a model goes on from an assistant message at the end of a request. Claude 4.6 and later refuse one; of models that
/// are not Claude's nothing is known.
pub fn takes_prefill(model: &str) -> bool {
    Model::of(model).version.is_some_and(|version| version < (4, 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_family_and_version_with_any_prefix_and_date() {
        for (name, version) in [
            ("claude-opus-4-20250514", Some((4, 0))),
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("anthropic/claude-opus-4.6", Some((4, 6))),
            ("us.anthropic.claude-opus-4-7-v1:0", Some((4, 7))),
            ("claude-haiku-4-5@20251001", Some((4, 5))),
            ("claude-sonnet-5", Some((5, 0))),
            ("claude-mythos-preview", None),
            ("deepseek-v4", None),
        ] {
            assert_eq!(Model::of(name).version, version, "{name}");
        }
    }

    #[test]
    fn each_generation_is_told_to_think_in_its_own_way() {
        for (name, thinks, unthinking) in [
            ("claude-3-5-haiku-20241022", Thinks::Never, Unthinking::ByItself),
            ("claude-haiku-4-5", Thinks::WithBudget, Unthinking::ByItself),
            ("claude-opus-4-6", Thinks::ByEffort, Unthinking::Disabled),
            ("claude-opus-5", Thinks::ByEffort, Unthinking::Disabled),
            ("claude-haiku-5-5", Thinks::ByEffort, Unthinking::Disabled),
            ("claude-sonnet-5-5", Thinks::ByEffort, Unthinking::BetweenTools),
            ("claude-opus-5-5", Thinks::ByEffort, Unthinking::LowestEffort),
            ("claude-fable-5-1", Thinks::ByEffort, Unthinking::LowestEffort),
            ("some-model", Thinks::ByEffort, Unthinking::Disabled),
        ] {
            let model = Model::of(name);
            assert_eq!((model.thinks(), model.unthinking()), (thinks, unthinking), "{name}");
        }
    }

    #[test]
    fn a_system_message_stays_in_between_only_where_that_is_known_to_be_heard() {
        for name in ["claude-opus-4-8", "claude-opus-5", "claude-sonnet-5-5", "claude-fable-5-1"] {
            assert!(Model::of(name).hears_system_in_between(), "{name}");
        }
        for name in
            ["claude-opus-4-7", "claude-sonnet-5", "claude-haiku-4-5", "claude-mythos-preview", "other"]
        {
            assert!(!Model::of(name).hears_system_in_between(), "{name}");
        }
    }

    #[test]
    fn only_what_is_known_to_take_a_prefill_is_said_to() {
        assert!(takes_prefill("claude-sonnet-4-5"));
        for name in ["claude-opus-4-6", "claude-sonnet-5-5", "claude-mythos-preview", "other"] {
            assert!(!takes_prefill(name), "{name}");
        }
    }
}
