//! An exchange that several calls share. None of them owns it: whoever leaves takes only its share away, and with the last share it is cancelled.
//!
//! It is made as the call that began it wants it. So a call takes part only where it would have been made in the same way and at least as urgently;
//! what differs begins an exchange of its own, and those who come later share that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::tape::Live;
use crate::client::outlet::Outlet;
use crate::client::record::{Record, Shown};
use crate::config::{CallOptions, Recover, Wire};
use crate::error::{Error, Kind};
use crate::policy::cache::Key;
use crate::policy::judge::RetryPolicy;
use crate::policy::timeouts::GivenTimeouts;
use crate::pool::Priority;
use crate::telemetry::Seat;

/// The exchanges under way, by what they ask for.
#[derive(Debug, Default)]
pub(super) struct Flights {
    table: Mutex<HashMap<Key, Arc<Flight>>>,
}

/// One exchange.
pub(in crate::client) struct Flight {
    key: Key,
    manner: Manner,
    /// How many calls take part; changed under the table's lock.
    shares: Mutex<usize>,
    deadline: Mutex<Deadline>,
    state: watch::Sender<State>,
    /// What is known of the exchange so far.
    pub(in crate::client) shown: Shown,
    /// Who is asked, for the calls that wait.
    pub(in crate::client) seat: Seat,
    /// Of a stream.
    pub(in crate::client) live: Option<Arc<Live>>,
    task: OnceLock<AbortHandle>,
}

#[derive(Debug)]
struct Deadline {
    /// When the last of those who take part is out of time.
    at: Instant,
    /// Whether it was, and the exchange with it.
    is_over: bool,
}

/// How a call is made, but for its own deadline.
#[derive(Debug, Clone, PartialEq)]
struct Manner {
    priority: Priority,
    timeouts: GivenTimeouts,
    retry: RetryPolicy,
    recover: Recover,
    wire: Wire,
}

#[derive(Debug, Clone)]
enum State {
    /// It may yet turn out that nobody can be sent it.
    Preparing,
    /// It is refused, and was nothing that counts.
    Refused(Error),
    Begun,
    Ended(Arc<Landed>),
}

/// What an exchange has come to.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) record: Record,
    pub(super) result: Result<bytes::Bytes, Error>,
}

/// A call's part in an exchange.
#[derive(Debug)]
pub(super) struct Share {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    /// Whether another call began it.
    pub(super) is_follower: bool,
    state: watch::Receiver<State>,
    deadline: Instant,
}

/// Why a share has no more to wait for, though the exchange may go on.
#[derive(Debug)]
pub(super) struct OutOfTime {
    /// What is known of the exchange.
    pub(super) record: Option<Record>,
}

impl Flights {
    /// The exchange of this key, if a call of these options can take part in it.
    pub(super) fn join(
        self: &Arc<Self>,
        key: &Key,
        options: &CallOptions,
        deadline: Instant,
    ) -> Option<Share> {
        let table = self.table.lock();
        let flight = table.get(key).filter(|flight| flight.manner.serves(options))?.clone();
        {
            let mut shares = flight.shares.lock();
            let mut last = flight.deadline.lock();
            // With none left it is being cancelled.
            if *shares == 0 || last.is_over {
                return None;
            }
            *shares += 1;
            last.at = deadline.max(last.at);
        }
        drop(table);
        Some(Share::new(self.clone(), flight, true, deadline))
    }

    /// Another exchange; `is_open`: which calls that come later can share. The caller begins it.
    pub(super) fn lead(
        self: &Arc<Self>,
        key: Key,
        options: &CallOptions,
        deadline: Instant,
        is_stream: bool,
        is_open: bool,
    ) -> Share {
        let flight = Arc::new(Flight {
            key,
            manner: Manner::of(options),
            shares: Mutex::new(1),
            deadline: Mutex::new(Deadline { at: deadline, is_over: false }),
            state: watch::Sender::new(State::Preparing),
            shown: Shown::default(),
            seat: Seat::default(),
            live: is_stream.then(|| Arc::new(Live::new())),
            task: OnceLock::new(),
        });
        let replaced = is_open.then(|| self.table.lock().insert(key, flight.clone()));
        drop(replaced);
        Share::new(self.clone(), flight, false, deadline)
    }

    /// Nobody takes part in it any more who does not already.
    fn close(table: &mut HashMap<Key, Arc<Flight>>, flight: &Arc<Flight>) {
        if let Entry::Occupied(entry) = table.entry(flight.key)
            && Arc::ptr_eq(entry.get(), flight)
        {
            entry.remove();
        }
    }
}

impl Manner {
    fn of(options: &CallOptions) -> Self {
        Self {
            priority: options.priority,
            timeouts: GivenTimeouts { total: None, ..options.timeouts },
            retry: options.retry.clone(),
            recover: options.recover,
            wire: options.wire,
        }
    }

    /// Whether a call of these options would be made in the same way, and no more urgently: none waits behind what is less urgent than itself.
    fn serves(&self, options: &CallOptions) -> bool {
        self.priority <= options.priority
            && self.timeouts == GivenTimeouts { total: None, ..options.timeouts }
            && self.retry == options.retry
            && self.recover == options.recover
            && self.wire == options.wire
    }
}

impl Flight {
    /// When the last of those who wait for it is out of time.
    pub(in crate::client) fn deadline(&self) -> Instant {
        self.deadline.lock().at
    }

    /// Whether nobody has more time than until then. If so, nobody takes part in it any more who would.
    pub(in crate::client) fn is_over(&self, until: Instant) -> bool {
        let mut deadline = self.deadline.lock();
        deadline.is_over = deadline.at <= until;
        deadline.is_over
    }

    /// What is asked for can be sent: from now on it counts.
    pub(in crate::client) fn begins(&self) {
        self.state.send_replace(State::Begun);
    }
}

/// The exchange's own hand on what is shared. If it is dropped before it has landed, nobody waits for it in vain.
#[derive(Debug)]
pub(super) struct Pilot {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    landed: bool,
}

impl Pilot {
    /// It was refused before anything was sent.
    pub(super) fn refuse(mut self, error: Error) {
        self.land_as(State::Refused(error));
    }

    /// It has come to its end.
    pub(super) fn land(mut self, landed: Arc<Landed>) {
        self.land_as(State::Ended(landed));
    }

    fn land_as(&mut self, state: State) {
        self.landed = true;
        Flights::close(&mut self.flights.table.lock(), &self.flight);
        self.flight.state.send_replace(state);
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if !self.landed {
            // Cancelled, and then nobody hears of it; or a panic.
            self.land_as(State::Refused(Error::new(
                Kind::Internal,
                "a bug in trunkline: a shared exchange panicked",
            )));
        }
    }
}

impl Share {
    fn new(flights: Arc<Flights>, flight: Arc<Flight>, is_follower: bool, deadline: Instant) -> Self {
        let state = flight.state.subscribe();
        Self { flights, flight, is_follower, state, deadline }
    }

    pub(super) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// For the one who makes the exchange.
    pub(super) fn pilot(&self) -> Pilot {
        Pilot { flights: self.flights.clone(), flight: self.flight.clone(), landed: false }
    }

    /// The task that makes it, which ends with the last share.
    pub(super) fn made_by(&self, task: AbortHandle) {
        let _ = self.flight.task.set(task);
    }

    /// Waits until it is known whether the exchange can be made. It has a deadline itself, and this is over at once.
    pub(super) async fn begun(&mut self) -> Result<(), Error> {
        match self.wait_for(|state| !matches!(state, State::Preparing)).await {
            State::Refused(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits for the end of the exchange, or of one's own time. What comes of a stream goes into `outlet`.
    pub(super) async fn end(mut self, outlet: Option<Arc<Outlet>>) -> Result<Arc<Landed>, OutOfTime> {
        let reader = outlet.and_then(|outlet| Some(self.flight.live.as_ref()?.join(outlet)));
        let deadline = self.deadline;
        let in_time = async {
            match reader {
                Some(reader) => reader.follow(self.landed()).await,
                None => self.landed().await,
            }
        };
        if let Ok(landed) = timeout_at(deadline, in_time).await {
            return Ok(landed);
        }
        if self.flight.deadline() > deadline {
            return Err(OutOfTime { record: self.flight.shown.last() });
        }
        // Nobody has more time, and so it is over for the exchange as well, which knows more of it.
        let landed = self.landed().await;
        match landed.result {
            Err(_) => Ok(landed),
            Ok(_) => Err(OutOfTime { record: Some(landed.record.clone()) }),
        }
    }

    async fn landed(&mut self) -> Arc<Landed> {
        match self.wait_for(|state| matches!(state, State::Refused(_) | State::Ended(_))).await {
            State::Ended(landed) => landed,
            State::Refused(error) => Arc::new(Landed::of(error)),
            // Not waited for.
            State::Preparing | State::Begun => Arc::new(Landed::of(Error::closed())),
        }
    }

    async fn wait_for(&mut self, is_it: impl Fn(&State) -> bool) -> State {
        match self.state.wait_for(is_it).await {
            Ok(state) => state.clone(),
            // The flight is held by this share, and its sender with it.
            Err(_) => State::Refused(Error::closed()),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut table = self.flights.table.lock();
        let left = {
            let mut shares = self.flight.shares.lock();
            *shares -= 1;
            *shares
        };
        if left == 0 {
            Flights::close(&mut table, &self.flight);
            drop(table);
            if let Some(task) = self.flight.task.get() {
                task.abort();
            }
        }
    }
}

impl Landed {
    fn of(error: Error) -> Self {
        Self { record: Record::new(Instant::now(), "", None), result: Err(error) }
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("key", &self.key).field("shares", &self.shares).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientConfig, Environment};
    use crate::policy::cache::Digest;
    use proptest::prelude::*;
    use std::time::Duration;

    fn options() -> CallOptions {
        let client = ClientConfig::parse(serde_json::json!({}), &Environment::default());
        CallOptions::of(&client.unwrap())
    }

    proptest! {
        #[test]
        fn a_share_is_of_a_flight_that_has_not_ended_and_nothing_is_left_of_those_that_have(
            steps in proptest::collection::vec((0..4_u8, any::<prop::sample::Index>()), 1..60),
        ) {
            let (flights, options, key) = (Arc::new(Flights::default()), options(), Digest::new("test").finish());
            let now = Instant::now();
            let mut shares: Vec<Share> = Vec::new();
            let mut pilots: Vec<Pilot> = Vec::new();
            for (step, at) in steps {
                match step {
                    0 | 1 => {
                        let later = now + Duration::from_secs(shares.len() as u64);
                        let share = flights.join(&key, &options, later).unwrap_or_else(|| {
                            let share = flights.lead(key, &options, later, step == 0, true);
                            pilots.push(share.pilot());
                            share
                        });
                        prop_assert!(share.flight.deadline() >= later);
                        prop_assert!(!matches!(*share.state.borrow(), State::Ended(_) | State::Refused(_)));
                        shares.push(share);
                    }
                    2 if !shares.is_empty() => drop(shares.swap_remove(at.index(shares.len()))),
                    3 if !pilots.is_empty() => {
                        let pilot = pilots.swap_remove(at.index(pilots.len()));
                        let flight = pilot.flight.clone();
                        pilot.land(Arc::new(Landed::of(Error::closed())));
                        prop_assert!(matches!(*flight.state.borrow(), State::Ended(_)));
                    }
                    _ => {}
                }
                let open = flights.table.lock().get(&key).cloned();
                let waited_for = open.as_ref().is_none_or(|open| shares.iter().any(|share| Arc::ptr_eq(&share.flight, open)));
                prop_assert!(waited_for, "an exchange is open for which nobody waits");
            }
            drop(shares);
            prop_assert!(flights.table.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn an_exchange_that_dies_is_told_to_those_who_wait() {
        let (flights, options) = (Arc::new(Flights::default()), options());
        let mut share = flights.lead(Digest::new("test").finish(), &options, Instant::now(), false, true);
        drop(share.pilot());
        assert!(matches!(share.begun().await.unwrap_err().kind, Kind::Internal));
    }

    #[test]
    fn one_goes_along_only_with_what_is_made_in_its_way_and_as_urgently() {
        let manner = Manner::of(&options());
        let total = GivenTimeouts { total: Some(Duration::from_secs(1)), ..GivenTimeouts::default() };
        let idle = GivenTimeouts { idle: Some(Duration::from_secs(1)), ..GivenTimeouts::default() };
        for (other, is_served) in [
            (options(), true),
            (CallOptions { priority: Priority::Background, ..options() }, true),
            (CallOptions { timeouts: total, ..options() }, true),
            (CallOptions { priority: Priority::Critical, ..options() }, false),
            (CallOptions { timeouts: idle, ..options() }, false),
            (CallOptions { retry: RetryPolicy::none(), ..options() }, false),
            (CallOptions { recover: Recover::Restart, ..options() }, false),
            (CallOptions { wire: Wire::Stream, ..options() }, false),
        ] {
            assert_eq!(manner.serves(&other), is_served, "{other:?}");
        }
    }
}
