//! One object of options: its members are taken one by one, and what is left over is a mistake.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::Error;

/// JavaScript's values that JSON has not (functions, NaN, …) come as an object of this one member, which says what they are.
pub(super) const KIND: &str = "\u{0}kind";

/// A function has its number beside its kind, where JavaScript can be asked to call it.
const FUNCTION: &str = "function";

/// An object whose order counts comes as one of this one member: an array of names and values. JSON's own objects have no order here.
const ENTRIES: &str = "\u{0}entries";

/// Longer waits are mistakes of unit: 2³¹−1 ms, the longest of JavaScript's timers, about 24 days.
const LONGEST_MS: f64 = 2_147_483_647.0;

/// An object of options and its path.
#[derive(Debug)]
pub(super) struct Section {
    path: String,
    members: Map<String, Value>,
    known: Vec<&'static str>,
}

/// Options that stand in a section, and are looked for beside it: other clients have them there.
pub(super) const INSIDE: [(&str, &[&str]); 9] = [
    ("retry", &["maxRetries", "strategy", "baseDelay", "maxDelay", "maxRetryAfter", "statuses", "budget"]),
    ("concurrency", &["max", "maxQueue", "agingInterval"]),
    (
        "rateLimit",
        &[
            "requestsPerSecond",
            "requestsPerMinute",
            "tokensPerMinute",
            "minInterval",
            "burst",
            "reservoir",
            "learn",
            "weights",
        ],
    ),
    ("circuitBreaker", &["failureThreshold", "failureRatio", "minimumCalls", "window", "recoveryTimeout"]),
    ("hedge", &["maxHedges"]),
    ("cache", &["maxBytes", "ttl", "when", "coalesce", "control"]),
    ("budget", &["limit", "perModel", "perTenant", "alertAt", "onExceeded"]),
    ("timeouts", &["connect", "queue", "firstByte", "idle", "total"]),
    (
        "pool",
        &[
            "maxConnections",
            "maxConnectionsPerOrigin",
            "maxIdleConnections",
            "idleTimeout",
            "maxAge",
            "http2",
            "maxStreamsPerConnection",
            "lanes",
            "dnsTtl",
            "tls",
            "proxy",
            "noProxy",
            "socketPath",
        ],
    ),
];

impl Section {
    /// The outermost object; `name` is only its name in an error.
    pub(super) fn top(name: &str, value: Value) -> Result<Self, Error> {
        match value {
            Value::Object(members) if !members.contains_key(KIND) => {
                Ok(Self { path: String::new(), members, known: Vec::new() })
            }
            other => Err(Error::config(format!("{name}: must be an object, got {}", kind_of(&other)))),
        }
    }

    /// An object that stands at this path.
    pub(super) fn of(path: String, value: Value) -> Result<Self, Error> {
        match value {
            Value::Object(members) if !members.contains_key(KIND) => {
                Ok(Self { path, members, known: Vec::new() })
            }
            other => Err(Error::config(format!("{path}: must be an object, got {}", kind_of(&other)))),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn error(&self, name: &str, what: impl std::fmt::Display) -> Error {
        Error::config(format!("{}: {what}", self.at(name)))
    }

    pub(super) fn section(&mut self, name: &'static str) -> Result<Option<Self>, Error> {
        self.section_or(name, "an object")
    }

    /// The same, where something else was taken before; `wanted` says both.
    pub(super) fn section_or(&mut self, name: &'static str, wanted: &str) -> Result<Option<Self>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(members)) if !members.contains_key(KIND) => {
                Ok(Some(Self { path: self.at(name), members, known: Vec::new() }))
            }
            Some(other) => Err(self.wrong(name, wanted, &other)),
        }
    }

    /// An object whose names are the caller's: each with its path and value, in the order in which they are listed.
    pub(super) fn entries(&mut self, name: &'static str) -> Result<Option<Vec<Entry>>, Error> {
        let Some(section) = self.section(name)? else {
            return Ok(None);
        };
        let Self { path, mut members, .. } = section;
        let listed = match members.remove(ENTRIES) {
            Some(Value::Array(pairs)) => pairs.into_iter().filter_map(pair).collect(),
            _ => members.into_iter().collect::<Vec<_>>(),
        };
        let entries =
            listed.into_iter().map(|(name, value)| Entry { path: format!("{path}.{name}"), name, value });
        Ok(Some(entries.collect()))
    }

    /// Whatever it is.
    pub(super) fn value(&mut self, name: &'static str) -> Option<Value> {
        self.take(name)
    }

    pub(super) fn string(&mut self, name: &'static str) -> Result<Option<String>, Error> {
        self.string_or(name, "a string")
    }

    /// The same, where something else was taken before; `wanted` says both.
    pub(super) fn string_or(&mut self, name: &'static str, wanted: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, wanted, &other)),
        }
    }

    /// A string or an array of strings.
    pub(super) fn strings(&mut self, name: &'static str) -> Result<Option<Vec<String>>, Error> {
        let wanted = "a string or an array of strings";
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(self.wrong(name, wanted, &other)),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(self.wrong(name, wanted, &other)),
        }
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(name, "a boolean", &other)),
        }
    }

    pub(super) fn list(&mut self, name: &'static str) -> Result<Option<Vec<Value>>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong(name, "an array", &other)),
        }
    }

    /// An integer of 1 or more.
    pub(super) fn positive(&mut self, name: &'static str) -> Result<Option<NonZeroUsize>, Error> {
        self.integer(name, "a positive integer", |number| {
            usize::try_from(number).ok().and_then(NonZeroUsize::new)
        })
    }

    /// An integer of 0 or more.
    pub(super) fn count(&mut self, name: &'static str) -> Result<Option<usize>, Error> {
        self.integer(name, "an integer of 0 or more", |number| usize::try_from(number).ok())
    }

    /// A number that `is_good`; `wanted` says which are.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        wanted: &str,
        is_good: impl FnOnce(f64) -> bool,
    ) -> Result<Option<f64>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if is_good(number) => Ok(Some(number)),
            Some(_) => Err(self.wrong_number(name, wanted, &value)),
            None => Err(self.wrong(name, wanted, &value)),
        }
    }

    /// Milliseconds, more than 0.
    pub(super) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, Error> {
        self.milliseconds(name, "a positive number of milliseconds", |ms| ms > 0.0)
    }

    /// Milliseconds, 0 or more.
    pub(super) fn duration_or_zero(&mut self, name: &'static str) -> Result<Option<Duration>, Error> {
        self.milliseconds(name, "a number of milliseconds, 0 or more", |ms| ms >= 0.0)
    }

    /// A finite number above 0.
    pub(super) fn positive_number(&mut self, name: &'static str) -> Result<Option<f64>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        self.above_zero(name, &value).map(Some)
    }

    /// The same of a value whose name the caller chose.
    pub(super) fn above_zero(&self, name: &str, value: &Value) -> Result<f64, Error> {
        const WANTED: &str = "a number above 0";
        match value.as_f64() {
            Some(number) if number > 0.0 && number.is_finite() => Ok(number),
            Some(_) => Err(self.wrong_number(name, WANTED, value)),
            None => Err(self.wrong(name, WANTED, value)),
        }
    }

    pub(super) fn one_of<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        if let Value::String(text) = &value
            && let Some((_, choice)) = choices.iter().find(|(choice, _)| choice == text)
        {
            return Ok(Some(*choice));
        }
        let names: Vec<_> = choices.iter().map(|(choice, _)| format!("'{choice}'")).collect();
        let got = value.as_str().map_or_else(|| kind_of(&value), |text| format!("'{text}'"));
        Err(self.error(name, format!("must be one of {}, got {got}", names.join(", "))))
    }

    /// Takes a member that is `false`; leaves any other.
    pub(super) fn take_false(&mut self, name: &'static str) -> bool {
        self.take_if(name, |value| *value == Value::Bool(false))
    }

    /// Takes a member that is `true`; leaves any other.
    pub(super) fn take_true(&mut self, name: &'static str) -> bool {
        self.take_if(name, |value| *value == Value::Bool(true))
    }

    /// Takes a member that is this word; leaves any other.
    pub(super) fn take_word(&mut self, name: &'static str, word: &str) -> bool {
        self.take_if(name, |value| *value == word)
    }

    /// Takes a member that is a function in JavaScript, by its number; leaves any other.
    pub(super) fn take_function(&mut self, name: &'static str) -> Option<u32> {
        self.know(name);
        let function = self.members.get(name).and_then(function_of)?;
        self.members.remove(name);
        Some(function)
    }

    /// Options that JavaScript has taken already: to be named among those that there are.
    pub(super) fn taken_before(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    pub(super) fn holds(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// All members, whatever their names.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (String, Value)> {
        self.members.into_iter()
    }

    /// The same, where the section is still needed for errors.
    pub(super) fn take_all(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.members)
    }

    /// What has not been taken is unknown; a near miss names the right option.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Some(unknown) = self.members.keys().next() else {
            return Ok(());
        };
        let nearest = nearest(unknown, self.known.iter().copied());
        let inside = INSIDE
            .iter()
            .find(|(section, names)| self.known.contains(section) && names.contains(&unknown.as_str()));
        Err(match (inside, nearest) {
            (Some((section, _)), _) => {
                let at = self.at(section);
                self.error(unknown, format!("is not an option; did you mean {at}.{unknown}?"))
            }
            (None, Some(known)) => {
                self.error(unknown, format!("is not an option; did you mean {}?", self.at(known)))
            }
            (None, None) => {
                self.error(unknown, format!("is not an option; there are {}", self.known.join(", ")))
            }
        })
    }

    /// Milliseconds that are good; `wanted` says which are.
    pub(super) fn milliseconds(
        &mut self,
        name: &'static str,
        wanted: &str,
        is_good: impl FnOnce(f64) -> bool,
    ) -> Result<Option<Duration>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let Some(ms) = value.as_f64() else {
            return Err(self.wrong(name, wanted, &value));
        };
        if ms > LONGEST_MS {
            return Err(self.error(name, format!("must be at most {LONGEST_MS} ms, got {ms}")));
        }
        if !is_good(ms) {
            return Err(self.wrong_number(name, wanted, &value));
        }
        Ok(Some(Duration::from_secs_f64(ms / 1000.0)))
    }

    /// An integer that converts; `wanted` says which do.
    pub(super) fn integer<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        convert: impl FnOnce(u64) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        // JavaScript has one kind of number: 5.0 is an integer.
        let number = value.as_u64().or_else(|| {
            let number = value.as_f64()?;
            (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
        });
        match number.and_then(convert) {
            Some(value) => Ok(Some(value)),
            None if value.is_number() => Err(self.wrong_number(name, wanted, &value)),
            None => Err(self.wrong(name, wanted, &value)),
        }
    }

    fn take_if(&mut self, name: &'static str, wanted: impl FnOnce(&Value) -> bool) -> bool {
        self.know(name);
        if self.members.get(name).is_some_and(wanted) {
            self.members.remove(name);
            return true;
        }
        false
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.know(name);
        self.members.remove(name)
    }

    /// Once, however often it is asked for.
    fn know(&mut self, name: &'static str) {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn wrong(&self, name: &str, wanted: &str, got: &Value) -> Error {
        self.error(name, format!("must be {wanted}, got {}", kind_of(got)))
    }

    fn wrong_number(&self, name: &str, wanted: &str, got: &Value) -> Error {
        self.error(name, format!("must be {wanted}, got {got}"))
    }
}

/// A member of an object whose names are the caller's.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) value: Value,
}

fn pair(pair: Value) -> Option<(String, Value)> {
    match pair {
        Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([Value::String(name), value]) => Some((name, value)),
            _ => None,
        },
        _ => None,
    }
}

/// The number of a function: of all that are among the options of a client, it is the how-manieth. JavaScript has them in this order.
pub(super) fn function_of(value: &Value) -> Option<u32> {
    value.get(KIND).filter(|kind| *kind == "a function")?;
    let number = value.get(FUNCTION).and_then(Value::as_u64).unwrap_or_default();
    u32::try_from(number).ok()
}

/// The nearest of some names, if it is near enough to have been meant.
pub(super) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    names
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &name), known))
        .min_by_key(|(distance, _)| *distance)
        // A slip changes little of a word, also of a short one.
        .filter(|(distance, known)| *distance <= (1 + known.len() / 4).min((name.len() / 3).max(1)))
        .map(|(_, known)| known)
}

/// Milliseconds as they were given, for an error.
pub(super) fn shown(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// The kind of a value, for an error. Texts are not repeated: they may be secrets.
pub(super) fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => format!("a number ({number})"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(members) => match members.get(KIND) {
            Some(Value::String(kind)) => kind.clone(),
            _ => "an object".to_owned(),
        },
    }
}
