//! Records of what happens inside, from `tracing` to whoever logs: bounded, by level, and nothing at all while nobody does.
//!
//! A record with a field `client` is of that client's calls, and goes to its log alone. Others are of what clients share (the pool, the
//! runtime) and go to every log of that level. No event of ours has a key, a header, a prompt, an answer or the query of a URL among its fields.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::pool::Backlog;

/// Records until they are taken: so many, then they are counted and lost.
const ROOM: usize = 1000;
/// Ours alone: the libraries below have events of their own.
const TARGET: &str = "trunkline";

/// Told when there is something to take.
type Wake = Box<dyn Fn(&Arc<Log>) + Send + Sync>;

/// The log of one client.
pub struct Log {
    client: u32,
    /// 0 for off, 1 for errors, up to 5 for everything.
    level: AtomicU8,
    backlog: Backlog<Arc<str>, ROOM>,
    wake: Wake,
}

static LOGS: LazyLock<RwLock<Vec<Weak<Log>>>> = LazyLock::new(RwLock::default);
static IS_INSTALLED: AtomicBool = AtomicBool::new(false);

/// The numbers by which records name clients.
pub fn next_client() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) + 1
}

impl Log {
    /// A log that is off.
    pub fn new(client: u32, wake: Wake) -> Arc<Self> {
        let log = Arc::new(Self { client, level: AtomicU8::new(0), backlog: Backlog::default(), wake });
        LOGS.write().push(Arc::downgrade(&log));
        log
    }

    /// 0 for off, 1 for errors, up to 5 for everything.
    pub fn set_level(&self, level: u8) {
        self.level.store(level, Ordering::Relaxed);
        if level == 0 {
            self.backlog.take();
        } else if !IS_INSTALLED.swap(true, Ordering::Relaxed) {
            // Nobody else is in this library to have installed one.
            let _ = tracing::subscriber::set_global_default(Logs);
        }
        tracing::callsite::rebuild_interest_cache();
    }

    /// Takes what is there, each as JSON, and how many there was no room for since the last time.
    pub fn take(&self) -> (Vec<Arc<str>>, u32) {
        self.backlog.take()
    }

    fn takes(&self, level: Level, client: Option<u64>) -> bool {
        let is_concerned = client.is_none_or(|client| client == u64::from(self.client));
        is_concerned && number_of(level) <= self.level.load(Ordering::Relaxed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        LOGS.write().retain(|log| log.strong_count() > 0);
        // Its level may have been the highest.
        if self.level.load(Ordering::Relaxed) > 0 {
            tracing::callsite::rebuild_interest_cache();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("client", &self.client)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

fn number_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The level of the log that wants most.
fn highest() -> u8 {
    let logs = LOGS.read();
    logs.iter().filter_map(Weak::upgrade).map(|log| log.level.load(Ordering::Relaxed)).max().unwrap_or(0)
}

/// All logs there are, to `tracing`.
#[derive(Debug)]
struct Logs;

impl Subscriber for Logs {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked again whenever a level changes.
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span()
            && metadata.target().starts_with(TARGET)
            && number_of(*metadata.level()) <= highest()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match highest() {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let takes = |log: &Arc<Log>| log.takes(*metadata.level(), fields.client);
        // Outside the lock: whoever is woken may have something to log.
        let logs: Vec<_> = LOGS.read().iter().filter_map(Weak::upgrade).filter(takes).collect();
        if logs.is_empty() {
            return;
        }
        let record = record(metadata, fields);
        for log in logs {
            if log.backlog.put(record.clone()) {
                (log.wake)(&log);
            }
        }
    }

    // Ours has no spans, and those of the libraries are not enabled.

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A record as JavaScript reads it: `{"level":"debug","message":"opened","shared":true,"fields":{"target":"pool","time":…,"connection":1,…}}`.
fn record(metadata: &Metadata<'_>, fields: Fields) -> Arc<str> {
    let Fields { client, message, mut values } = fields;
    let target = metadata.target().strip_prefix(TARGET).unwrap_or_default().trim_start_matches("::");
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    values.insert("target".into(), target.into());
    values.insert("at".into(), (time.as_millis() as u64).into());
    let level = metadata.level().as_str().to_ascii_lowercase();
    let message = message.unwrap_or_else(|| target.to_owned());
    let record = serde_json::json!({
        "level": level, "message": message, "shared": client.is_none(), "fields": values,
    });
    record.to_string().into()
}

/// What an event says.
#[derive(Default)]
struct Fields {
    client: Option<u64>,
    message: Option<String>,
    values: Map<String, Value>,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "client" => self.client = Some(value),
            name => self.put(name, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = Some(value.to_owned()),
            name => self.put(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Fields {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn log(level: u8) -> (Arc<Log>, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let wake = move |_: &Arc<Log>| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let log = Log::new(next_client(), Box::new(wake));
        log.level.store(level, Ordering::Relaxed);
        (log, woken)
    }

    fn told(log: &Log) -> Vec<Value> {
        log.take().0.iter().map(|record| serde_json::from_str(record).unwrap()).collect()
    }

    /// Other tests of this process log as well.
    fn of_test(records: Vec<Value>) -> Vec<Value> {
        records.into_iter().filter(|record| record["fields"]["target"] == "test").collect()
    }

    #[test]
    fn a_clients_records_go_to_its_log_and_shared_ones_to_all_of_that_level() {
        let ((one, _), (other, _)) = (log(4), log(3));
        tracing::subscriber::with_default(Logs, || {
            tracing::debug!(target: "trunkline::test", client = one.client, n = 1, "mine");
            tracing::debug!(target: "trunkline::test", client = other.client, "too fine");
            tracing::info!(target: "trunkline::test", host = "h", good = true, "shared");
            tracing::error!(target: "hyper::test", "of a library");
        });
        let mine = of_test(told(&one));
        assert_eq!(mine.iter().map(|record| &record["message"]).collect::<Vec<_>>(), ["mine", "shared"]);
        assert_eq!(
            (&mine[0]["level"], &mine[0]["fields"]["n"], &mine[0]["shared"]),
            (&"debug".into(), &1.into(), &false.into())
        );
        assert_eq!(mine[1]["fields"]["good"], true);
        assert!(mine[1]["fields"]["at"].as_u64().is_some_and(|at| at > 1_600_000_000_000));
        let others = of_test(told(&other));
        assert_eq!(others.iter().map(|record| &record["message"]).collect::<Vec<_>>(), ["shared"]);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_one_wake_brings_the_rest() {
        let (log, woken) = log(1);
        tracing::subscriber::with_default(Logs, || {
            for n in 0..ROOM + 7 {
                tracing::error!(target: "trunkline::test", client = log.client, n, "many");
            }
        });
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        let (records, lost) = log.take();
        assert_eq!((records.len(), lost), (ROOM, 7));
    }
}
