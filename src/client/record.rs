//! What is known of a call: its attempts, its times, the connection it ended on. Becomes the `meta` that JavaScript sees.

mod counted;
mod meta;
mod rivals;
mod shared;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use serde_json::value::RawValue;
use tokio::time::Instant;

pub(super) use self::shared::{FarRecord, Shown, Source};

use self::rivals::Lost;
use super::money::{Bill, Charge, Hold};
use super::provider::Provider;
use super::witness::{Told, Witness};
use crate::error::{Attempt, Billed, Error};
use crate::policy::money::Usd;
use crate::pool::{Lease, Phases, Protocol};
use crate::protocol::openai::Usage;
use crate::telemetry::{Counters, Row, Seat};

/// What is a record's own, and no copy's: it is given back once.
#[derive(Debug)]
pub(super) struct Own<T>(pub(super) Option<T>);

impl<T> Clone for Own<T> {
    fn clone(&self) -> Self {
        Self(None)
    }
}

/// The record of one call.
#[derive(Debug, Clone)]
pub(super) struct Record {
    started: Instant,
    /// When the attempt under way began, if one is.
    attempt: Option<Instant>,
    /// When the attempt under way ended, if it has.
    ends: Option<Instant>,
    /// When the one that went well ended.
    ended: Option<Instant>,
    /// What its request asks for, once that went out.
    sent: Option<(Method, Uri)>,
    /// Who is asked, or was last.
    provider: Arc<str>,
    /// What the caller asks for.
    wanted: Arc<str>,
    /// What the target calls the model that is asked, by what name its limits are known, and the one that answered.
    asked: Arc<str>,
    limits: Arc<str>,
    pub(super) model: Arc<str>,
    /// What the attempt took of both kinds, once it is known.
    pub(super) tokens: Option<u64>,
    pub(super) attempts: Vec<Attempt>,
    /// Attempts that raced the one under way, and lost.
    lost: Option<Lost>,
    /// Attempts that were made because one before had failed.
    pub(super) retries: u32,
    queued: Duration,
    phases: Phases,
    pub(super) first_byte: Option<Duration>,
    connection: Option<(u64, Protocol, bool)>,
    /// Whether the answer of the attempt under way, or of the last one, came from a cassette.
    pub(super) is_replayed: bool,
    status: u16,
    headers: HeaderMap,
    pub(super) usage: Option<Box<RawValue>>,
    /// How the answer was served, where it says so.
    pub(super) tier: Option<Box<str>>,
    /// Of the attempt under way, once its request went out. Before the hold: what was spent is known when that is given back.
    bill: Own<Bill>,
    /// What the call has spoken for at this target.
    pub(super) hold: Own<Hold>,
    /// What all attempts that have ended came to.
    spent: Charge,
    /// What of the request the target has no words for.
    dropped: Vec<Cow<'static, str>>,
    /// Who is told, and of which attempt.
    witness: Option<Arc<Witness>>,
    number: u32,
    source: Source,
    /// Where several calls wait for it.
    shown: Option<Shown>,
    /// What is counted of the target that is asked, or was last.
    row: Option<Arc<Row>>,
    /// Where the call is told of that row, in case its caller leaves.
    seat: Option<Seat>,
    /// Tokens of the answer, once they are known.
    output: Option<u64>,
}

/// Under which name the limits of a model are known: each of several keys has its own.
pub(super) fn limits_of(model: &Arc<str>, key: usize) -> Arc<str> {
    match key {
        0 => model.clone(),
        n => format!("{model} (key {})", n + 1).into(),
    }
}

impl Record {
    pub(super) fn new(started: Instant, model: &str, witness: Option<Arc<Witness>>) -> Self {
        Self { attempts: Vec::with_capacity(1), witness, ..Self::of(started, model.into()) }
    }

    fn of(started: Instant, asked: Arc<str>) -> Self {
        Self {
            provider: asked.clone(),
            wanted: asked.clone(),
            limits: asked.clone(),
            dropped: Vec::new(),
            started,
            attempt: None,
            ends: None,
            ended: None,
            sent: None,
            model: asked.clone(),
            asked,
            tokens: None,
            attempts: Vec::new(),
            lost: None,
            retries: 0,
            queued: Duration::ZERO,
            phases: Phases::default(),
            first_byte: None,
            connection: None,
            is_replayed: false,
            status: 0,
            headers: HeaderMap::new(),
            usage: None,
            witness: None,
            number: 0,
            source: Source::default(),
            shown: None,
            tier: None,
            bill: Own(None),
            hold: Own(None),
            spent: Charge::default(),
            row: None,
            seat: None,
            output: None,
        }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// What the caller asks for.
    pub(super) fn wanted(&self) -> &Arc<str> {
        &self.wanted
    }

    /// Who is asked, or was last.
    pub(super) fn provider(&self) -> &Arc<str> {
        &self.provider
    }

    /// What the target is asked for.
    pub(super) fn model_asked(&self) -> &Arc<str> {
        &self.asked
    }

    /// Under which name the limits of that are known.
    pub(super) fn limited_as(&self) -> &Arc<str> {
        &self.limits
    }

    /// Attempts are at this target from now on.
    pub(super) fn aim(
        &mut self,
        counters: &Counters,
        provider: &Arc<str>,
        model: Arc<str>,
        dropped: &[Cow<'static, str>],
    ) {
        let row = counters.rows.of(provider, &model);
        if let Some(seat) = &self.seat {
            seat.take(&row);
        }
        self.row = Some(row);
        self.provider = provider.clone();
        self.limits = model.clone();
        self.model = model.clone();
        self.asked = model;
        self.usage = None;
        self.tier = None;
        // Of the one before, nothing is said of this one.
        self.status = 0;
        self.headers.clear();
        self.dropped = dropped.to_vec();
        self.show();
    }

    /// It waited for its turn.
    pub(super) fn waited(&mut self, time: Duration) {
        self.queued += time;
    }

    /// When the attempt under way began.
    pub(super) fn attempt_began(&self) -> Instant {
        self.attempt.unwrap_or(self.started)
    }

    /// The attempt under way ends now: the clock is read once for all who want to know.
    pub(super) fn attempt_ends(&mut self) -> Instant {
        *self.ends.get_or_insert_with(Instant::now)
    }

    /// `key`: the number of the one that it has, among all that its provider has had.
    pub(super) fn begin_attempt(&mut self, key: usize) {
        self.limits = limits_of(&self.asked, key);
        self.first_byte = None;
        self.attempt = Some(Instant::now());
        self.ends = None;
        self.sent = None;
        self.tokens = None;
        self.output = None;
        self.is_replayed = false;
        self.status = 0;
        self.headers.clear();
        self.show();
    }

    /// Whoever is told of the call is told of this attempt from now on.
    pub(super) fn tell_of_attempt(&mut self, provider: &Provider) {
        if let Some(witness) = &self.witness {
            self.number = witness.next();
            let (model, origin) = (&*self.asked, provider.origin().to_string());
            let protocol = Some(provider.protocol().as_str());
            self.tell(|| Told::Attempt { provider: provider.name(), model, protocol, origin });
        }
    }

    /// Tells of the attempt under way, if anybody wants to know.
    pub(super) fn tell<'a>(&self, told: impl FnOnce() -> Told<'a>) {
        if let Some(witness) = &self.witness {
            witness.tell(self.number, self.started, told());
        }
    }

    /// Whoever is to be asked before the attempt under way, and which one it is.
    pub(super) fn asked_before(&self) -> Option<(&Witness, u32)> {
        self.witness.as_deref().filter(|witness| witness.asks()).map(|witness| (witness, self.number))
    }

    /// Whether anybody wants to know of the call.
    pub(super) fn is_witnessed(&self) -> bool {
        self.witness.is_some()
    }

    /// The request goes out: from now on it may be billed.
    pub(super) fn sent(&mut self, asks: (Method, Uri), bill: Bill) {
        self.sent = Some(asks);
        self.bill.0 = Some(bill);
        self.show();
    }

    /// So many bytes of the answer's text have come.
    pub(super) fn heard(&mut self, bytes: usize) {
        if let Some(bill) = &mut self.bill.0 {
            bill.heard(bytes);
        }
    }

    /// What the provider has reported by now.
    pub(super) fn reported(&mut self, usage: Usage) {
        self.output = Some(usage.completion_tokens);
        if let Some(bill) = &mut self.bill.0 {
            bill.reported(usage);
        }
    }

    /// Method and path of the last request; without its query, which may hold a key.
    pub(super) fn asked(&self) -> Option<(&Method, &str)> {
        self.sent.as_ref().map(|(method, uri)| (method, uri.path()))
    }

    /// For how long the attempt under way has been without an answer.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.sent.as_ref()?;
        self.attempt.filter(|_| self.status == 0).map(|began| began.elapsed())
    }

    /// Whether the attempt under way may be billed.
    pub(super) fn is_sent(&self) -> bool {
        self.attempt.is_some() && self.sent.is_some()
    }

    pub(super) fn leased(&mut self, lease: &Lease) {
        let waited = lease.waited();
        let phases = lease.phases().unwrap_or_default();
        // The wait for a connection of one's own is told by its phases.
        self.queued += waited.saturating_sub(phases.total());
        self.phases = phases;
        self.connection = Some((lease.connection_id(), lease.protocol(), lease.is_reused()));
        self.tell(|| Told::sent(lease));
    }

    /// It has no connection: its answer comes from a cassette.
    pub(super) fn replayed(&mut self) {
        self.is_replayed = true;
        self.phases = Phases::default();
        self.connection = None;
    }

    pub(super) fn answered(&mut self, status: u16, headers: HeaderMap, after: Duration) {
        self.status = status;
        self.headers = headers;
        self.first_byte = Some(after);
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        ["x-request-id", "request-id"]
            .iter()
            .find_map(|name| self.headers.get(*name))
            .and_then(|value| value.to_str().ok())
    }

    /// Ends the attempt under way, if one is.
    pub(super) fn end_attempt(&mut self, error: Option<&Error>) {
        let Some(begun) = self.attempt.take() else { return };
        let now = self.ends.take().unwrap_or_else(Instant::now);
        self.take_lost();
        self.ended = error.is_none().then_some(now);
        let billed = error.map_or(Billed::Yes, |error| error.billed);
        self.settle_bill(billed);
        self.push_attempt(now - begun, error.map(|error| error.name_and_code().1), billed);
        self.show();
    }

    fn settle_bill(&mut self, billed: Billed) {
        let Some(bill) = self.bill.0.take() else { return };
        match billed {
            Billed::Yes => {
                let (charge, estimate) = bill.pay(&self.model, self.tier.as_deref());
                self.spent.add(charge);
                if let Some(usage) = estimate {
                    self.usage = usage.to_raw();
                }
            }
            Billed::No => bill.void(),
            // No provider is known to charge for an answer that is an error.
            Billed::Maybe if self.status >= 400 => bill.void(),
            Billed::Maybe => self.spent.add(bill.give_up()),
        }
    }

    fn push_attempt(&mut self, duration: Duration, error: Option<&'static str>, billed: Billed) {
        let status = (self.status > 0).then_some(self.status);
        self.tell(|| Told::AttemptEnd { status, error, billed });
        self.attempts.push(Attempt {
            provider: self.provider.clone(),
            model: self.model.clone(),
            status,
            error,
            duration,
            billed,
        });
    }

    /// What the call has taken.
    pub(super) fn total(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now) - self.started
    }

    /// Ends an attempt that nobody waits for any more.
    fn abandon(&mut self, why: &'static str) {
        let billed = if self.sent.is_some() { Billed::Maybe } else { Billed::No };
        let Some(begun) = self.attempt.take() else { return };
        if let Some(bill) = self.bill.0.take() {
            self.spent.add(bill.give_up());
        }
        self.push_attempt(begun.elapsed(), Some(why), billed);
    }

    /// What the call has cost; None where a part of it has no price.
    pub(super) fn cost(&self) -> Option<Usd> {
        self.spent.cost()
    }

    /// Completes an error by what is known of the call.
    pub(super) fn complete(&self, mut error: Error) -> Error {
        error.provider = Some(self.provider.clone());
        error.model = (!self.model.is_empty()).then(|| self.model.clone());
        error.request_id = self.request_id().map(str::to_owned);
        error.attempts.clone_from(&self.attempts);
        if self.is_witnessed() {
            error.meta = String::from_utf8(self.to_json()).ok();
        }
        // Another attempt may have been billed though the last one was not; one that went well was.
        let any = |billed| self.attempts.iter().any(|attempt| attempt.billed == billed);
        if any(Billed::Yes) {
            error.billed = Billed::Yes;
        } else if any(Billed::Maybe) {
            error.billed = Billed::Maybe;
        }
        error
    }
}
