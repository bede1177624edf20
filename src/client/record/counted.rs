//! What of a call is counted by provider and model.

use std::sync::Arc;
use std::time::Duration;

use super::{Record, Source};
use crate::error::Error;
use crate::telemetry::{Counters, End, Row, Seat};

impl Record {
    /// It is the record of a call, which is told who is asked.
    pub(in crate::client) fn sit(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }

    /// Of a part of this call.
    pub(in crate::client) fn sit_beside(&mut self, whole: &Self) {
        self.seat.clone_from(&whole.seat);
    }

    /// What is counted of the target that is asked, or was last.
    pub(in crate::client) fn row(&self) -> Option<&Arc<Row>> {
        self.row.as_ref()
    }

    /// How the call ends, for whoever counts.
    pub(in crate::client) fn end(&self, error: Option<&Error>) -> End {
        End { status: self.status, error: error.map(|error| error.name_and_code().1) }
    }

    /// The first byte of an answer has come, or its head.
    pub(in crate::client) fn count_first_byte(&self, counters: &Counters, after: Duration) {
        counters.first_byte(after);
        if let Some(row) = &self.row {
            row.first_byte.time(after);
        }
    }

    /// The answer is whole: how fast it came.
    pub(in crate::client) fn count_pace(&self) {
        if self.source != Source::Provider {
            return;
        }
        let good = self.attempts.iter().rfind(|attempt| attempt.error.is_none());
        if let (Some(row), Some(output @ 1..), Some(attempt)) = (&self.row, self.output, good) {
            // Millionths of tokens a second: of tokens, and of seconds.
            let micros = attempt.duration.as_micros().max(1);
            let pace = u128::from(output).saturating_mul(1_000_000_000_000) / micros;
            row.pace.record(u64::try_from(pace).unwrap_or(u64::MAX));
        }
    }
}
