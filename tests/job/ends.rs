//! Sources and sinks in memory.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use trunkline::client::Endpoint;
use trunkline::error::Error;
use trunkline::job::{BadLine, Direct, Item, JobId, Settled, Sink, Source, Taken};

use crate::support::*;

/// Lines as they are handed over.
pub(crate) struct Lines(pub(crate) VecDeque<Taken>);

impl Lines {
    pub(crate) fn of(count: u64) -> Self {
        Self((1..=count).map(|line| Taken::Item(item(line))).collect())
    }
}

pub(crate) fn item(line: u64) -> Item {
    let body = with(json!({ "messages": [{ "role": "user", "content": line.to_string() }] })).to_string();
    Item { line, custom_id: format!("id-{line}").into(), endpoint: Endpoint::Chat, body }
}

pub(crate) fn bad(line: u64) -> Taken {
    Taken::Bad(BadLine {
        line,
        custom_id: None,
        code: "invalid_json",
        message: format!("line {line}: is none"),
    })
}

impl Source for Lines {
    async fn next(&mut self, most: usize) -> Result<Vec<Taken>, Error> {
        let most = most.min(self.0.len());
        Ok(self.0.drain(..most).collect())
    }
}

/// Results as they come.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) begun: AtomicU64,
    pub(crate) settled: Mutex<Vec<Settled>>,
    /// How many it takes; None for all.
    pub(crate) room: Option<usize>,
}

impl Sink for Results {
    fn begin(&self, items: &[Item]) -> Result<(), Error> {
        self.begun.fetch_add(items.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    async fn put(&self, settled: Settled) -> Result<(), Error> {
        let mut all = self.settled.lock();
        if self.room.is_some_and(|room| all.len() >= room) {
            return Err(Error::config("no room"));
        }
        all.push(settled);
        Ok(())
    }
}

impl Results {
    /// Line, whether it is good, and what it says.
    pub(crate) fn told(&self) -> Vec<(u64, bool, Value)> {
        let settled = self.settled.lock();
        let mut told: Vec<_> = settled
            .iter()
            .map(|settled| (settled.line, settled.is_good, serde_json::from_slice(&settled.text).unwrap()))
            .collect();
        told.sort_by_key(|(line, ..)| *line);
        told
    }
}

pub(crate) fn direct(site: &Site, at_once: usize) -> Direct {
    Direct {
        client: site.client.clone(),
        options: site.client.call_options(None).unwrap(),
        witness: None,
        job: JobId::named("a test"),
        at_once: NonZeroUsize::new(at_once).unwrap(),
        tries: NonZeroUsize::new(1).unwrap(),
        patience: Duration::from_secs(60),
        grace: Duration::from_secs(60),
        waits_for_budget: false,
    }
}
