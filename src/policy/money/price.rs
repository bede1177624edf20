//! What tokens cost, by their kind.

use super::amount::Usd;

/// Tokens of one request, by kind. What is cached or written to a cache is not in `input`, and what was thought is not in `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: u64,
    pub cached: u64,
    /// Written to a cache, by how long they are kept there.
    pub cache_write: u64,
    pub cache_write_hour: u64,
    pub audio: u64,
    pub output: u64,
    pub reasoning: u64,
}

/// What a token of each kind costs, in picodollars. As dollars for a million tokens, a whole number of them is a millionth of a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    pub input: u64,
    pub cached: u64,
    pub cache_write: u64,
    pub cache_write_hour: u64,
    pub audio: u64,
    pub output: u64,
    pub reasoning: u64,
}

/// As prices are listed: in dollars for a million tokens. A kind without a price of its own costs as much as the one that it is a kind of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Listed {
    pub input: f64,
    pub output: f64,
    pub cached_input: Option<f64>,
    pub cache_write: Option<f64>,
    pub cache_write_hour: Option<f64>,
    pub audio_input: Option<f64>,
    pub reasoning: Option<f64>,
}

/// What a model costs: one price, and another for the whole of a request whose prompt is longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    pub base: Price,
    /// From how many tokens on, exclusively, and how much all of them cost then.
    pub above: Option<(u64, Price)>,
}

/// Of picodollars a token, in a dollar for a million.
const PICOS: f64 = 1e6;

impl Tokens {
    /// All that went in.
    pub fn prompt(&self) -> u64 {
        [self.input, self.cached, self.cache_write, self.cache_write_hour, self.audio]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// All that came out.
    pub fn answer(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }

    pub fn total(&self) -> u64 {
        self.prompt().saturating_add(self.answer())
    }
}

impl From<Listed> for Price {
    fn from(listed: Listed) -> Self {
        let Listed { input, output, cached_input, cache_write, cache_write_hour, audio_input, reasoning } =
            listed;
        // The nearest whole number is what was written, whatever binary fraction it came as; the cast saturates.
        let picos = |dollars: f64| (dollars * PICOS).round() as u64;
        Self {
            input: picos(input),
            cached: picos(cached_input.unwrap_or(input)),
            cache_write: picos(cache_write.unwrap_or(input)),
            cache_write_hour: picos(cache_write_hour.or(cache_write).unwrap_or(input)),
            audio: picos(audio_input.unwrap_or(input)),
            output: picos(output),
            reasoning: picos(reasoning.unwrap_or(output)),
        }
    }
}

impl Price {
    pub fn of(&self, tokens: &Tokens) -> Usd {
        [
            (tokens.input, self.input),
            (tokens.cached, self.cached),
            (tokens.cache_write, self.cache_write),
            (tokens.cache_write_hour, self.cache_write_hour),
            (tokens.audio, self.audio),
            (tokens.output, self.output),
            (tokens.reasoning, self.reasoning),
        ]
        .into_iter()
        .map(|(tokens, picos)| Usd::of_tokens(tokens, picos))
        .sum()
    }
}

impl Price {
    /// What providers take for what they may answer within a day (OpenAI and Anthropic, "50%" of every kind).
    fn half(&self) -> Self {
        let half = |picos: u64| picos.div_ceil(2);
        Self {
            input: half(self.input),
            cached: half(self.cached),
            cache_write: half(self.cache_write),
            cache_write_hour: half(self.cache_write_hour),
            audio: half(self.audio),
            output: half(self.output),
            reasoning: half(self.reasoning),
        }
    }
}

impl Tariff {
    #[must_use]
    pub fn half(&self) -> Self {
        Self { base: self.base.half(), above: self.above.map(|(above, price)| (above, price.half())) }
    }

    pub fn flat(price: Price) -> Self {
        Self { base: price, above: None }
    }

    pub fn of(&self, tokens: &Tokens) -> Usd {
        self.price(tokens.prompt()).of(tokens)
    }

    /// What each token of a request with so long a prompt costs.
    pub fn price(&self, prompt: u64) -> &Price {
        match &self.above {
            Some((above, price)) if prompt > *above => price,
            _ => &self.base,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_without_a_price_costs_as_much_as_what_it_is_a_kind_of() {
        let price = Price::from(Listed { input: 2.5, output: 10.0, ..Listed::default() });
        assert_eq!([price.input, price.cached, price.cache_write, price.audio], [2_500_000; 4]);
        assert_eq!([price.output, price.reasoning], [10_000_000; 2]);
        let written = Listed { input: 1.0, output: 5.0, cache_write: Some(1.25), ..Listed::default() };
        assert_eq!(Price::from(written).cache_write_hour, 1_250_000);
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let price = Price::from(Listed {
            input: 3.0,
            output: 15.0,
            cached_input: Some(0.3),
            cache_write: Some(3.75),
            cache_write_hour: Some(6.0),
            audio_input: Some(7.0),
            reasoning: Some(20.0),
        });
        let tokens = Tokens {
            input: 100,
            cached: 1000,
            cache_write: 10,
            cache_write_hour: 20,
            audio: 3,
            output: 50,
            reasoning: 7,
        };
        assert_eq!(price.of(&tokens), Usd::from_dollars(0.001_668_5));
        assert_eq!((tokens.prompt(), tokens.answer(), tokens.total()), (1133, 57, 1190));
    }

    #[test]
    fn a_longer_prompt_makes_the_whole_request_dearer() {
        let listed = |input, output| Price::from(Listed { input, output, ..Listed::default() });
        let tariff = Tariff { base: listed(1.0, 2.0), above: Some((200, listed(2.0, 3.0))) };
        let tokens = |input| Tokens { input, output: 10, ..Tokens::default() };
        assert_eq!(tariff.of(&tokens(200)).picos(), 220_000_000);
        assert_eq!(tariff.of(&tokens(201)).picos(), 432_000_000);
    }
}
