//! Money, in whole millionths of a millionth of a dollar: a price of a millionth of a dollar for a million tokens is one of them a token. So
//! every sum is exact, however many calls are in it, and in whatever order they came.

use std::fmt;
use std::iter::Sum;

use serde::{Serialize, Serializer};

/// Of a dollar.
const PER_DOLLAR: u128 = 1_000_000_000_000;

/// US dollars, never below zero. Serializes to dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd(u128);

impl Usd {
    pub const ZERO: Self = Self(0);

    /// So many dollars; what is below zero, or no number, is nothing. Decimals of up to 12 places below a thousand dollars are taken as they are
    /// written, whatever binary fraction they came as.
    pub fn from_dollars(dollars: f64) -> Self {
        // A cast saturates, and makes 0 of what is no number.
        Self((dollars * PER_DOLLAR as f64).round() as u128)
    }

    /// So many tokens, each at so many picodollars.
    pub fn of_tokens(tokens: u64, picos: u64) -> Self {
        Self(u128::from(tokens).saturating_mul(u128::from(picos)))
    }

    pub fn from_picos(picos: u128) -> Self {
        Self(picos)
    }

    pub fn picos(self) -> u128 {
        self.0
    }

    /// The nearest number of dollars that JavaScript has.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / PER_DOLLAR as f64
    }

    /// A part of it, as a share of the whole.
    #[must_use]
    pub fn share(self, share: f64) -> Self {
        Self((self.0 as f64 * share).round() as u128)
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it, which is never below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

/// To the cent where that says something, and else to so many places that it does.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollars = self.dollars();
        let is_cents = self.0.is_multiple_of(PER_DOLLAR / 100);
        let places = if is_cents || dollars >= 0.1 { 2 } else { 6 };
        write!(f, "${dollars:.places$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_taken_as_they_are_written() {
        for (dollars, picos) in [(0.1, 100_000_000_000), (2.5, 2_500_000_000_000), (0.000_001, 1_000_000)] {
            assert_eq!(Usd::from_dollars(dollars), Usd(picos));
            assert_eq!(Usd(picos).dollars(), dollars);
        }
        for nothing in [0.0, -1.0, f64::NAN] {
            assert_eq!(Usd::from_dollars(nothing), Usd::ZERO);
        }
    }

    #[test]
    fn a_text_has_cents_or_what_says_something() {
        for (dollars, text) in
            [(0.0, "$0.00"), (0.05, "$0.05"), (12.345, "$12.35"), (0.0125, "$0.012500"), (1e6, "$1000000.00")]
        {
            assert_eq!(Usd::from_dollars(dollars).to_string(), text);
        }
    }
}
