//! One gate: who has a turn, and who waits for one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::shared::Bell;
use crate::policy::learn::Learned;
use crate::policy::lease::{Lent, Question, Reply, Standing};
use crate::policy::rate::{Cost, Left};
use crate::policy::schedule::{CLASSES, Place};
use crate::policy::turns::{Held, Next, Turns, Used};
use crate::pool::{Priority, Tasks, Tenant};

/// How an attempt waits for its turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) model: &'a Arc<str>,
    pub(super) tenant: Option<&'a Tenant>,
    pub(super) priority: Priority,
    /// When its call came: one that is tried again keeps its age.
    pub(super) since: Instant,
    pub(super) cost: Cost,
    pub(super) until: Instant,
}

/// Why there is no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// So many wait already.
    Full(usize),
    /// None came in time.
    Late,
    /// The limits are shared, and whoever lends of them is not there.
    Unshared,
}

/// Turns, and those who wait for them. One that [is open](Self::is_open) has none to give: calls pass without asking.
pub(super) struct Gate {
    turns: Mutex<Turns<oneshot::Sender<GateTurn>>>,
    /// Whether nothing is limited, so that nobody need ask.
    open: AtomicBool,
    /// Whether each call is to be counted as it goes.
    counts_the_gone: bool,
    alarm: Mutex<Option<Instant>>,
    /// Rung where something is to be asked of whoever lends.
    lender: Option<Arc<Bell>>,
    tasks: Tasks,
}

#[derive(Debug)]
pub(super) struct GateTurn {
    gate: Arc<Gate>,
    /// Until it is given back.
    held: Option<Held>,
    used: Used,
}

impl Gate {
    pub(super) fn new(turns: Turns<oneshot::Sender<GateTurn>>, tasks: &Tasks) -> Self {
        Self {
            open: AtomicBool::new(turns.is_open()),
            counts_the_gone: turns.counts_the_gone(),
            turns: Mutex::new(turns),
            alarm: Mutex::new(None),
            lender: None,
            tasks: tasks.clone(),
        }
    }

    /// The same, under limits that others share.
    pub(super) fn sharing(self, lent: Lent, lender: &Arc<Bell>) -> Self {
        let turns = self.turns.into_inner().sharing(lent);
        Self { turns: Mutex::new(turns), lender: Some(lender.clone()), ..self }
    }

    /// A turn without waiting, if there is one.
    pub(super) fn go(self: &Arc<Self>, ask: &Ask<'_>) -> Option<GateTurn> {
        let now = Instant::now();
        let held = {
            let mut turns = self.turns.lock();
            let held = turns.go(ask.cost, now)?;
            self.ring(&turns, now);
            held
        };
        Some(self.turn(held))
    }

    /// Whether there is one.
    pub(super) fn is_free(&self, cost: Cost) -> bool {
        self.is_open() || self.turns.lock().is_free(cost, Instant::now())
    }

    /// A place among those who wait.
    pub(super) fn join<'a>(
        self: &'a Arc<Self>,
        ask: &Ask<'_>,
        aging: Duration,
        max_waiting: usize,
    ) -> Result<Waiting<'a>, Refused> {
        let (grant, granted) = oneshot::channel();
        let place = {
            let mut turns = self.turns.lock();
            if turns.is_refused() {
                return Err(Refused::Unshared);
            }
            if turns.waiting() >= max_waiting {
                return Err(Refused::Full(max_waiting));
            }
            turns.join(ask.priority as usize, ask.since, aging, ask.cost, grant)
        };
        let waiting = Waiting { gate: self, place, granted, gone: false };
        // It may be the first, whom only time keeps; or something was given back just now.
        self.serve();
        Ok(waiting)
    }

    /// Lets go whoever may, and wakes when time alone will let go the next.
    fn serve(self: &Arc<Self>) {
        let mut going = Vec::new();
        let alarm = {
            let mut turns = self.turns.lock();
            loop {
                match turns.next(Instant::now()) {
                    Next::Go(grant, held) => going.push((grant, held)),
                    Next::At(at) => break Some(at),
                    Next::Nobody | Next::Ask => break None,
                }
            }
        };
        if self.lender.is_some() {
            self.ring(&self.turns.lock(), Instant::now());
        }
        for (grant, held) in going {
            // One whose caller has gone in this moment is given back by its drop, and serves the next.
            drop(grant.send(self.turn(held)));
        }
        if let Some(at) = alarm {
            self.wake_at(at);
        }
    }

    /// Wakes whoever lends, where there is something to ask. Of what is only due later it knows.
    fn ring(&self, turns: &Turns<oneshot::Sender<GateTurn>>, now: Instant) {
        if let Some(lender) = &self.lender
            && let Some(at) = turns.due(now)
        {
            lender.ring(at);
        }
    }

    fn wake_at(self: &Arc<Self>, at: Instant) {
        {
            let mut alarm = self.alarm.lock();
            if alarm.is_some_and(|set| set <= at) {
                return;
            }
            *alarm = Some(at);
        }
        // Weak: nobody waits for a client that has gone.
        let gate: Weak<Self> = Arc::downgrade(self);
        self.tasks.spawn("turns", async move {
            sleep_until(at).await;
            let Some(gate) = gate.upgrade() else { return };
            {
                let mut alarm = gate.alarm.lock();
                if *alarm != Some(at) {
                    // An earlier one was set since, and rang.
                    return;
                }
                *alarm = None;
            }
            gate.serve();
        });
    }

    fn turn(self: &Arc<Self>, held: Held) -> GateTurn {
        GateTurn { gate: self.clone(), held: Some(held), used: Used::Nothing }
    }

    /// Changes what decides, and lets go whoever may go now.
    pub(super) fn with(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Turns<oneshot::Sender<GateTurn>>, Instant),
    ) {
        let waits = {
            let mut turns = self.turns.lock();
            change(&mut turns, Instant::now());
            self.open.store(turns.is_open(), Ordering::Release);
            if self.lender.is_some() {
                self.ring(&turns, Instant::now());
            }
            turns.waiting() > 0
        };
        if waits {
            self.serve();
        }
    }

    /// When whoever lends is to be asked.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.turns.lock().due(now)
    }

    /// What to ask now.
    pub(super) fn question(&self, now: Instant) -> Option<Question> {
        self.turns.lock().question(now)
    }

    /// What is lent; lets go whoever may go now.
    pub(super) fn lend(self: &Arc<Self>, reply: Option<Reply>) {
        self.with(|turns, now| turns.lend(reply, now));
    }

    /// With whom the limits are kept from now on.
    pub(super) fn stand(self: &Arc<Self>, standing: Standing) {
        // Who is dropped is told that nobody lends.
        let mut refused = Vec::new();
        self.with(|turns, _| refused = turns.stand(standing));
    }

    /// Whether nothing is limited.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// What could go now by the limits here.
    pub(super) fn left(&self, now: Instant) -> Left {
        self.turns.lock().rate.left(now)
    }

    pub(super) fn depth(&self) -> [usize; CLASSES] {
        self.turns.lock().depth()
    }
}

impl GateTurn {
    /// Whether the attempt may still go, now that it would. If not, the turn is given back.
    pub(super) fn renew(&mut self, cost: Cost) -> bool {
        let Some(held) = self.held.take() else { return false };
        self.gate.with(|turns, now| self.held = turns.renew(held, cost, now));
        self.held.is_some()
    }

    /// The same where each call is counted as it goes, and otherwise nothing.
    pub(super) fn goes(&mut self, cost: Cost) -> bool {
        !self.gate.counts_the_gone || self.renew(cost)
    }

    /// It goes out: what was reserved is used, even if nothing comes back.
    pub(super) fn sent(&mut self) {
        self.used = Used::Tokens(None);
    }

    pub(super) fn used(&mut self, tokens: u64) {
        self.used = Used::Tokens(Some(tokens));
    }

    /// What the answer says of the limits here.
    pub(super) fn learn(&mut self, learned: &Learned) {
        let held = self.held.as_mut();
        self.gate.with(|turns, now| turns.learn(learned, held, now));
    }

    pub(super) fn answered(&self, first_byte: Option<Duration>, throttled: bool) {
        self.gate.with(|turns, now| turns.answered(first_byte, throttled, now));
    }
}

impl Drop for GateTurn {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let used = self.used;
            self.gate.with(|turns, now| turns.end(held, used, now));
        }
    }
}

/// A place among those who wait.
pub(super) struct Waiting<'a> {
    gate: &'a Arc<Gate>,
    place: Place,
    granted: oneshot::Receiver<GateTurn>,
    /// Whether it was left with a turn.
    gone: bool,
}

impl Waiting<'_> {
    pub(super) async fn turn(mut self, until: Instant) -> Result<GateTurn, Refused> {
        match timeout_at(until, &mut self.granted).await {
            Ok(Ok(turn)) => {
                self.gone = true;
                Ok(turn)
            }
            Ok(Err(_)) => Err(Refused::Unshared),
            Err(_) => Err(Refused::Late),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        self.granted.close();
        // A turn that was granted in the very moment of leaving goes back by its own drop. Who left may have kept others waiting.
        if self.granted.try_recv().is_err() {
            self.gate.with(|turns, _| turns.leave(self.place));
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("open", &self.open).finish_non_exhaustive()
    }
}
