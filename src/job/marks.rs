//! A set of line numbers, a bit each: ten million lines take little more than a megabyte.

#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    words: Vec<u64>,
    count: u64,
}

/// What no file has so many lines as. A number beyond it was made up, and would be paid for in memory.
pub(super) const MOST_LINES: u64 = 1 << 33;

impl Marks {
    /// Whether it was not there before.
    pub(super) fn insert(&mut self, line: u64) -> bool {
        let (at, bit) = place(line);
        if self.words.len() <= at {
            // In steps, since lines come in their order.
            self.words.resize((at + 1).next_multiple_of(1024), 0);
        }
        let word = &mut self.words[at];
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    pub(super) fn contains(&self, line: u64) -> bool {
        let (at, bit) = place(line);
        self.words.get(at).is_some_and(|word| word & bit != 0)
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }
}

fn place(line: u64) -> (usize, u64) {
    ((line / 64) as usize, 1 << (line % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_in_and_nothing_else() {
        let mut marks = Marks::default();
        for line in [0, 1, 63, 64, 100_000] {
            assert!(marks.insert(line) && !marks.insert(line));
        }
        assert!(
            marks.contains(63) && marks.contains(100_000) && !marks.contains(62) && !marks.contains(1 << 40)
        );
        assert_eq!(marks.len(), 5);
    }
}
