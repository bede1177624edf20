//! What is known of a call: its attempts, its times, the connection it ended on. Becomes the `meta` that JavaScript sees.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::money::{Bill, Charge, Hold};
use crate::error::{Attempt, Billed, Error, as_micros, header_text};
use crate::policy::money::Usd;
use crate::pool::{Lease, Phases, Protocol};
use crate::protocol::openai::Usage;

/// Attempts that others hand over, and what they came to.
type Lost = Arc<Mutex<(Vec<Attempt>, Charge)>>;

/// The record of one call.
#[derive(Debug)]
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
    status: u16,
    headers: HeaderMap,
    pub(super) usage: Option<Box<RawValue>>,
    /// How the answer was served, where it says so.
    pub(super) tier: Option<Box<str>>,
    /// Of the attempt under way, once its request went out. Before the hold: what was spent is known when that is given back.
    bill: Option<Bill>,
    /// What the call has spoken for at this target.
    pub(super) hold: Option<Hold>,
    /// What all attempts that have ended came to.
    spent: Charge,
    /// What of the request the target has no words for.
    dropped: Vec<Cow<'static, str>>,
}

/// The `meta` on its way: a list without names, which would cost more to write than what they name. `lib/meta.js` gives them.
#[derive(Serialize)]
struct Meta<'a>(
    /// The provider, the model that answered, the status.
    &'a str,
    &'a str,
    u16,
    /// Names and values of headers in turn.
    Vec<Cow<'a, str>>,
    Attempts<'a>,
    /// Number, protocol, whether it was there already.
    Option<(u64, &'static str, bool)>,
    /// Queued, DNS, connect, TLS, first byte, total.
    [Micros; 6],
    Option<&'a RawValue>,
    /// Paths in the request that its target has no words for.
    &'a [Cow<'static, str>],
    /// What it cost in dollars, and whether some of that, or of the usage, is an estimate.
    Option<Usd>,
    bool,
);

#[derive(Serialize)]
#[serde(untagged)]
enum Attempts<'a> {
    /// One that went well: what it took. All else the meta says.
    Good(Micros),
    All(&'a [Attempt]),
}

#[derive(Serialize)]
struct Micros(#[serde(serialize_with = "as_micros")] Duration);

/// Under which name the limits of a model are known: each of several keys has its own.
pub(super) fn limits_of(model: &Arc<str>, key: usize) -> Arc<str> {
    match key {
        0 => model.clone(),
        n => format!("{model} (key {})", n + 1).into(),
    }
}

impl Record {
    pub(super) fn new(started: Instant, model: &str) -> Self {
        Self { attempts: Vec::with_capacity(1), ..Self::of(started, model.into()) }
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
            status: 0,
            headers: HeaderMap::new(),
            usage: None,
            tier: None,
            bill: None,
            hold: None,
            spent: Charge::default(),
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
    pub(super) fn aim(&mut self, provider: &Arc<str>, model: Arc<str>, dropped: &[Cow<'static, str>]) {
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
        self.status = 0;
        self.headers.clear();
    }

    /// The request goes out: from now on it may be billed.
    pub(super) fn sent(&mut self, asks: (Method, Uri), bill: Bill) {
        self.sent = Some(asks);
        self.bill = Some(bill);
    }

    /// So many bytes of the answer's text have come.
    pub(super) fn heard(&mut self, bytes: usize) {
        if let Some(bill) = &mut self.bill {
            bill.heard(bytes);
        }
    }

    /// What the provider has reported by now.
    pub(super) fn reported(&mut self, usage: Usage) {
        if let Some(bill) = &mut self.bill {
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
    }

    fn settle_bill(&mut self, billed: Billed) {
        let Some(bill) = self.bill.take() else { return };
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
        self.attempts.push(Attempt {
            provider: self.provider.clone(),
            model: self.model.clone(),
            status: (self.status > 0).then_some(self.status),
            error,
            duration,
            billed,
        });
    }

    /// The attempt under way may get rivals: what becomes of those is told to this record.
    pub(super) fn begin_race(&mut self) {
        self.lost = Some(Lost::default());
    }

    /// The record of another attempt of the same call, which begins then.
    pub(super) fn fork(&self, began: Instant) -> Self {
        Self {
            attempt: Some(began),
            queued: self.queued,
            retries: self.retries,
            provider: self.provider.clone(),
            wanted: self.wanted.clone(),
            limits: self.limits.clone(),
            model: self.asked.clone(),
            dropped: self.dropped.clone(),
            lost: self.lost.clone(),
            ..Self::of(self.started, self.asked.clone())
        }
    }

    /// Goes on as the record of the rival that has decided the race.
    pub(super) fn adopt(&mut self, rival: Option<Self>) {
        if let Some(rival) = rival {
            self.take_lost();
            let attempts = std::mem::take(&mut self.attempts);
            let (hold, mut spent) = (self.hold.take(), self.spent);
            spent.add(rival.spent);
            *self = Self { attempts, hold, spent, ..rival };
        }
    }

    /// Ends the attempt under way: nobody waits for its answer, since another was first.
    pub(super) fn give_up(&mut self) {
        self.abandon("ERR_HEDGED");
    }

    /// Hands over what is known of a rival that did not decide the race.
    pub(super) fn lose(mut self) {
        if let Some(lost) = self.lost.take() {
            let mut lost = lost.lock();
            lost.0.append(&mut self.attempts);
            lost.1.add(self.spent);
        }
    }

    fn take_lost(&mut self) {
        if let Some(lost) = &self.lost {
            let mut lost = lost.lock();
            self.attempts.append(&mut lost.0);
            self.spent.add(std::mem::take(&mut lost.1));
        }
    }

    /// What the call has taken.
    pub(super) fn total(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now) - self.started
    }

    /// Ends an attempt that nobody waits for any more.
    fn abandon(&mut self, why: &'static str) {
        let billed = if self.sent.is_some() { Billed::Maybe } else { Billed::No };
        let Some(begun) = self.attempt.take() else { return };
        if let Some(bill) = self.bill.take() {
            self.spent.add(bill.give_up());
        }
        self.push_attempt(begun.elapsed(), Some(why), billed);
    }

    /// Takes in the record of a part of this call.
    pub(super) fn absorb(&mut self, mut part: Self) {
        part.abandon("ERR_ABORTED");
        let mut attempts = std::mem::take(&mut self.attempts);
        attempts.append(&mut part.attempts);
        let queued = self.queued.max(part.queued);
        let retries = self.retries + part.retries;
        let mut spent = self.spent;
        spent.add(part.spent);
        *self =
            Self { started: self.started, ended: None, attempts, retries, queued, spent, hold: None, ..part };
    }

    /// Completes an error by what is known of the call.
    pub(super) fn complete(&self, mut error: Error) -> Error {
        error.provider = Some(self.provider.clone());
        error.model = (!self.model.is_empty()).then(|| self.model.clone());
        error.request_id = self.request_id().map(str::to_owned);
        error.attempts.clone_from(&self.attempts);
        // Another attempt may have been billed though the last one was not; one that went well was.
        let any = |billed| self.attempts.iter().any(|attempt| attempt.billed == billed);
        if any(Billed::Yes) {
            error.billed = Billed::Yes;
        } else if any(Billed::Maybe) {
            error.billed = Billed::Maybe;
        }
        error
    }

    /// The text of the `meta`. What it costs is paid here, off JavaScript's thread.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let headers = self.headers.iter();
        let headers = headers.flat_map(|(name, value)| [Cow::Borrowed(name.as_str()), header_text(value)]);
        let Phases { dns, connect, tls, .. } = self.phases;
        let first_byte = self.first_byte.unwrap_or_default();
        let times = [self.queued, dns, connect, tls, first_byte, self.total()];
        let meta = Meta(
            &self.provider,
            &self.model,
            self.status,
            headers.collect(),
            match &self.attempts[..] {
                [only] if only.error.is_none() => Attempts::Good(Micros(only.duration)),
                all => Attempts::All(all),
            },
            self.connection.map(|(id, protocol, reused)| (id, protocol.as_str(), reused)),
            times.map(Micros),
            self.usage.as_deref(),
            &self.dropped,
            self.spent.cost(),
            self.spent.is_estimated,
        );
        // Roomy enough for most, so that it grows but rarely.
        let mut text = Vec::with_capacity(1024);
        // A type of strings, numbers and checked raw values always has a text.
        let _ = serde_json::to_writer(&mut text, &meta);
        text
    }
}
