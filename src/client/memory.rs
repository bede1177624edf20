//! Answers from memory: what was answered before, or is being answered right now.
//!
//! | file | idea |
//! |---|---|
//! | `far` | answers that several machines keep together |
//! | `flight` | an exchange that several calls share |
//! | `tape` | what a stream says, recorded |
//!
//! A question that may be repeated is looked for among the answers that are kept, then among the exchanges under way; only what is in neither is asked.
//! The exchange is a task of its own, which none of the calls owns. It goes through all that any call goes through (targets, attempts, turns, circuits); the calls
//! that wait for it go through none of that.

mod far;
mod flight;
mod tape;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout_at;

pub(super) use self::flight::Flight;
use self::flight::{Flights, Landed, OutOfTime, Pilot, Share};
pub(super) use self::tape::Live;
use self::tape::Tape;
use super::call::{self, Answer, Call, Counted};
use super::endpoint::Endpoint;
use super::journey::Accepted;
use super::outlet::Outlet;
use super::pools::SharedPool;
use super::record::{Record, Source};
use super::stream::Sink;
use super::{Client, stream, whole};
use crate::config::CallOptions;
use crate::error::{Error, Kind as Failure, TimeoutPhase};
use crate::policy::cache::{self, CachePolicy, CacheRules, Key, Kind, Store};
use crate::protocol::json::Members;
use crate::telemetry::CacheFigures;

/// What a client remembers.
pub(super) struct Memory {
    /// None where nothing is kept.
    store: Option<Store<Kept>>,
    flights: Arc<Flights>,
    most: u64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// An answer that is kept.
struct Kept {
    /// What is said of it, without what was particular to the call that asked for it.
    record: Record,
    body: Bytes,
    /// Of a stream.
    tape: Option<Arc<Tape>>,
}

/// What a call asks for, where it may be answered from memory.
pub(super) struct Question {
    memory: Arc<Memory>,
    key: Key,
    kind: Kind,
    rules: CacheRules,
}

/// Whose size is that of the largest of what it may do; boxed where that is rare.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send + 'a>>;

impl Memory {
    pub(super) fn new(policy: &CachePolicy) -> Self {
        Self {
            store: (policy.max_bytes > 0).then(|| Store::new(policy.max_bytes)),
            flights: Arc::default(),
            most: policy.max_bytes,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(super) fn figures(&self) -> CacheFigures {
        let store = self.store.as_ref().map(Store::figures).unwrap_or_default();
        CacheFigures {
            entries: store.entries,
            bytes: store.bytes,
            max_bytes: self.most,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evicted: store.evicted,
            expired: store.expired,
        }
    }

    fn kept(&self, key: &Key, rules: &CacheRules) -> Option<(Arc<Kept>, Duration)> {
        self.store.as_ref()?.get(key, &rules.control)
    }
}

impl Question {
    /// What a call asks for; None where it is not to be answered from memory.
    pub(super) fn of(
        client: &Client,
        call: &Call,
        accepted: &Accepted,
        is_stream: bool,
    ) -> Result<Option<Self>, Error> {
        let (Some(memory), Some(rules)) = (&client.memory, call.options.cache) else { return Ok(None) };
        // The exchange itself is made by the same functions.
        if accepted.flight.is_some() || (rules.control.no_store && !rules.control.only_if_cached) {
            return Ok(None);
        }
        let kind = match (&call.endpoint, is_stream) {
            (Endpoint::Chat, false) => Kind::Chat,
            (Endpoint::Chat, true) => Kind::Stream,
            (Endpoint::Embeddings, _) => Kind::Embeddings,
            (Endpoint::Post(_) | Endpoint::Get(_), _) => return Ok(None),
        };
        let key = key_of(client, call, accepted, kind, &rules)?;
        match key {
            Some(key) => Ok(Some(Self { memory: memory.clone(), key, kind, rules })),
            None if rules.control.only_if_cached => Err(not_cached()),
            None => Ok(None),
        }
    }

    /// Answers a call whose answer comes whole.
    pub(super) fn answer(self, client: &Arc<Client>, call: Call, accepted: Accepted) -> Answering<'_> {
        Box::pin(self.look(client, call, accepted, None))
    }

    /// Answers one whose answer comes as chunks.
    pub(super) fn stream(
        self,
        client: &Arc<Client>,
        call: Call,
        accepted: Accepted,
        outlet: Arc<Outlet>,
    ) -> Answering<'_> {
        Box::pin(self.look(client, call, accepted, Some(outlet)))
    }

    async fn look(
        self,
        client: &Arc<Client>,
        call: Call,
        accepted: Accepted,
        outlet: Option<Arc<Outlet>>,
    ) -> Result<Answer, Error> {
        let Self { memory, key, rules, .. } = &self;
        let deadline = accepted.arrived + call.options.total;
        if let Some((kept, age)) = memory.kept(key, rules) {
            return self.recall(client, &call.options, &accepted, &kept, age, outlet).await;
        }
        if rules.control.only_if_cached {
            if let Some((kept, age)) = self.recall_afar(client).await {
                return self.recall(client, &call.options, &accepted, &kept, age, outlet).await;
            }
            memory.misses.fetch_add(1, Ordering::Relaxed);
            return Err(not_cached());
        }
        // Whoever wants no answer that is there already wants none that is on its way either.
        // Nor does anybody share a request whose headers a function of its caller's makes.
        let is_own = accepted.witness.as_ref().is_some_and(|witness| witness.asks());
        let coalesce = rules.coalesce && !is_own;
        let shares = coalesce && !rules.control.no_cache;
        let join = || shares.then(|| memory.flights.join(key, &call.options, deadline)).flatten();
        let mut joined = join();
        if joined.is_none() && client.shared.is_some() {
            if let Some((kept, age)) = self.recall_afar(client).await {
                return self.recall(client, &call.options, &accepted, &kept, age, outlet).await;
            }
            // One may have begun meanwhile.
            joined = join();
        }
        let options = call.options.clone();
        let share = match joined {
            Some(share) => share,
            None => {
                // One may have ended since.
                if let Some((kept, age)) = memory.kept(key, rules) {
                    return self.recall(client, &options, &accepted, &kept, age, outlet).await;
                }
                memory.misses.fetch_add(1, Ordering::Relaxed);
                let is_stream = self.kind == Kind::Stream;
                let share = memory.flights.lead(*key, &options, deadline, is_stream, coalesce);
                let accepted = Accepted { flight: Some(share.flight().clone()), ..accepted.clone() };
                let exchange = self.exchange(client.clone(), call, accepted, share.pilot());
                share.made_by(client.tasks.spawn("exchange", exchange));
                share
            }
        };
        shared(client, &options, &accepted, share, outlet).await
    }

    /// What others have kept, where that is shared; from now on it is kept here, too.
    async fn recall_afar(&self, client: &Client) -> Option<(Arc<Kept>, Duration)> {
        let Self { memory, key, rules, .. } = self;
        let (shared, store) = client.shared.as_ref().zip(memory.store.as_ref())?;
        if rules.control.no_cache {
            return None;
        }
        let (kept, ttl, age) = far::recall(shared, &client.counters, key).await?;
        let bytes = kept.bytes();
        store.put_aged(*key, kept, bytes, (ttl, age));
        memory.kept(key, rules)
    }

    /// Gives an answer that is kept.
    async fn recall(
        &self,
        client: &Client,
        options: &CallOptions,
        accepted: &Accepted,
        kept: &Kept,
        age: Duration,
        outlet: Option<Arc<Outlet>>,
    ) -> Result<Answer, Error> {
        self.memory.hits.fetch_add(1, Ordering::Relaxed);
        let counted = Counted::Call(client.counters.begin(accepted.arrived));
        client.counters.cached();
        client.money.saved(kept.record.cost());
        let record = kept.record.recalled(accepted.arrived, age);
        let mut ended = Ok(kept.body.clone());
        if let (Some(tape), Some(outlet)) = (&kept.tape, outlet) {
            // It may take its reader longer than it has.
            let in_time = timeout_at(accepted.arrived + options.total, tape.play(&outlet)).await;
            ended = ended.and_then(|body| {
                in_time.map_or_else(|_| Err(call::out_of_time(options, &record)), |()| Ok(body))
            });
        }
        call::settle(client, counted, &record, ended)
    }

    /// Makes the exchange, keeps its answer if it is good, and tells those who wait for it.
    fn exchange(
        &self,
        client: Arc<Client>,
        call: Call,
        accepted: Accepted,
        pilot: Pilot,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let Self { memory, key, kind, rules } = self;
        let (memory, key, kind, rules) = (memory.clone(), *key, *kind, *rules);
        let arrived = accepted.arrived;
        // Others of its name may wait for this when the client is closed.
        let pool = client.common.is_named().then(|| SharedPool::of(&client.config.pool, &client.tasks));
        Box::pin(async move {
            let _pool = pool;
            let Some(flight) = accepted.flight.clone() else { return };
            let ended = match (kind, &flight.live) {
                (Kind::Stream, Some(live)) => {
                    stream::run_accepted(&client, call, accepted, Sink::Shared(live.clone())).await
                }
                _ => whole::run_accepted(&client, call, accepted).await,
            };
            let Some(record) = flight.shown.last() else {
                // What nobody can be sent is refused before it counts.
                return pilot.refuse(
                    ended.err().unwrap_or_else(|| Error::new(Failure::Internal, "no exchange was made")),
                );
            };
            let result = ended.map(|answer| answer.body);
            let is_one_answer = flight.live.as_ref().is_none_or(|live| !live.is_mended());
            if let (Ok(body), Some(store), true) = (&result, &memory.store, is_one_answer)
                && cache::is_whole(kind, body)
            {
                let kept = Kept::of(&record, body, flight.live.as_ref().map(|live| live.tape()));
                let bytes = kept.bytes();
                if let Some(shared) = &client.shared {
                    far::remember(shared, &key, &kept, rules.ttl).await;
                }
                store.put(key, kept, bytes, rules.ttl);
            }
            tracing::trace!(target: "trunkline::memory", ?key, ok = result.is_ok(), took = ?arrived.elapsed());
            // After it is kept: whoever looks finds the one or the other.
            pilot.land(Arc::new(Landed { record, result }));
        })
    }
}

/// Waits for an exchange that others may wait for, too.
async fn shared(
    client: &Client,
    options: &CallOptions,
    accepted: &Accepted,
    mut share: Share,
    outlet: Option<Arc<Outlet>>,
) -> Result<Answer, Error> {
    share.begun().await?;
    let seat = share.flight().seat.clone();
    let counted = Counted::Call(client.counters.begin_at(accepted.arrived, seat));
    let source = if share.is_follower { Source::Another } else { Source::Provider };
    if share.is_follower {
        client.counters.coalesced();
    }
    match share.end(outlet).await {
        Ok(landed) => {
            let record = landed.record.shared(accepted.arrived, source);
            if source == Source::Another && landed.result.is_ok() {
                client.money.saved(landed.record.cost());
            }
            let result = landed.result.clone().map_err(|error| match error.kind {
                // It speaks of the time of the call that began the exchange.
                Failure::Timeout { phase: TimeoutPhase::Total, .. } => {
                    let mut own = call::out_of_time(options, &record);
                    own.billed = error.billed;
                    own
                }
                _ => error,
            });
            call::settle(client, counted, &record, result)
        }
        Err(OutOfTime { record }) => {
            let record = record.unwrap_or_else(|| accepted.record());
            let mut record = record.shared(accepted.arrived, source);
            let error = call::out_of_time(options, &record);
            record.end_attempt(Some(&error));
            call::settle(client, counted, &record, Err(error))
        }
    }
}

impl Kept {
    /// With bytes of its own: what comes from a socket may be a small part of a large buffer, which it would keep.
    fn of(record: &Record, body: &Bytes, tape: Option<Arc<Tape>>) -> Self {
        Self { record: record.kept(), body: Bytes::copy_from_slice(body), tape }
    }

    fn bytes(&self) -> usize {
        let tape = self.tape.as_ref().map_or(0, |tape| tape.bytes());
        size_of::<Self>() + self.body.len() + self.record.bytes() + tape
    }
}

fn key_of(
    client: &Client,
    call: &Call,
    accepted: &Accepted,
    kind: Kind,
    rules: &CacheRules,
) -> Result<Option<Key>, Error> {
    // It was read when it was accepted.
    let Ok(request) = Members::of(&call.body) else { return Ok(None) };
    if !rules.when.covers(kind, &request) {
        return Ok(None);
    }
    let options = &call.options;
    let whom = client.targets.whom(accepted.model(), options.provider.as_deref(), options.has_credentials)?;
    let tenant = options.tenant.as_ref().map(|tenant| &**tenant.name());
    Ok(cache::key_of(kind, tenant, whom, &options.headers, request))
}

/// What `only-if-cached` asks for where nothing is.
fn not_cached() -> Error {
    Error::new(
        Failure::NotCached,
        "no answer is kept for this request, and none was to be asked for (only-if-cached)",
    )
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("most", &self.most)
            .field("flights", &self.flights)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("key", &self.key).field("kind", &self.kind).finish_non_exhaustive()
    }
}
