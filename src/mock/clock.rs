//! Waiting for a moment, to a tenth of a millisecond or so. tokio's timers round up to the next millisecond: two
//! of them in each round trip would be a tenth of a short one, and count against whoever is measured.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tokio::time::{Instant, sleep_until};

/// tokio waits until so long before the moment, this clock for the rest.
const REST: Duration = Duration::from_millis(2);

/// Waits for a moment. Dropping it is fine at any time.
pub(super) async fn until(moment: Instant) {
    if let Some(nearly) = moment.checked_sub(REST).filter(|nearly| *nearly > Instant::now()) {
        sleep_until(nearly).await;
    }
    match clock() {
        Some(clock) => Alarm { clock, moment: moment.into_std(), set: None }.await,
        None => sleep_until(moment).await,
    }
}

#[derive(Default)]
struct Clock {
    /// What is due within [`REST`], and no more.
    alarms: Mutex<Alarms>,
    sooner: Condvar,
}

#[derive(Default)]
struct Alarms {
    count: u64,
    /// By moment and number, for two may be for the same moment.
    waiting: BTreeMap<(std::time::Instant, u64), Waker>,
}

struct Alarm {
    clock: &'static Clock,
    moment: std::time::Instant,
    /// The waker that is waiting.
    set: Option<Waker>,
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::time::Instant::now() >= self.moment {
            return Poll::Ready(());
        }
        // Polled for other reasons much more often than for this one.
        if self.set.as_ref().is_none_or(|set| !set.will_wake(cx.waker())) {
            self.set = Some(cx.waker().clone());
            self.clock.set(self.moment, cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Clock {
    fn set(&self, moment: std::time::Instant, waker: Waker) {
        let mut alarms = self.alarms.lock();
        alarms.count += 1;
        let key = (moment, alarms.count);
        let is_first = alarms.waiting.first_key_value().is_none_or(|((first, _), _)| moment < *first);
        alarms.waiting.insert(key, waker);
        if is_first {
            self.sooner.notify_one();
        }
    }

    fn run(&self) {
        let mut alarms = self.alarms.lock();
        loop {
            let now = std::time::Instant::now();
            match alarms.waiting.first_entry() {
                None => self.sooner.wait(&mut alarms),
                Some(first) if first.key().0 > now => {
                    let moment = first.key().0;
                    self.sooner.wait_until(&mut alarms, moment);
                }
                Some(first) => {
                    let waker = first.remove();
                    // Whoever wakes may set the next alarm at once.
                    parking_lot::MutexGuard::unlocked(&mut alarms, || waker.wake());
                }
            }
        }
    }
}

/// The clock of the process, or `None` where no thread can be had for it.
fn clock() -> Option<&'static Clock> {
    static CLOCK: OnceLock<Option<&'static Clock>> = OnceLock::new();
    let start = || {
        // Once in a process, for all its time.
        let clock: &'static Clock = Box::leak(Box::default());
        thread::Builder::new().name("trunkline-clock".to_owned()).spawn(|| clock.run()).ok().map(|_| clock)
    };
    *CLOCK.get_or_init(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn moments_come_and_never_early() {
        let start = Instant::now();
        let wait = async |ms: u64| {
            until(start + Duration::from_millis(ms)).await;
            assert!(start.elapsed() >= Duration::from_millis(ms));
        };
        tokio::join!(wait(7), wait(1), wait(4), wait(1));
    }
}
