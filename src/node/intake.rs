//! How calls reach the runtime: JavaScript's thread leaves what begins a call, and a task of the runtime begins all that is there. So the
//! call's future, which is large, is made, used and freed by one thread, in memory that is still in its cache; JavaScript's thread pays for a
//! small box, and wakes the runtime once for many calls.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;

use crate::pool::Tasks;

/// How many begin in one turn. A worker of tokio's has places for 256 tasks; those that find none go to the end of all workers' queue, behind
/// calls that came after them.
const AT_ONCE: usize = 64;

/// Begins a call. It must not block, since others are behind it.
type Begin = Box<dyn FnOnce(&Tasks) + Send>;

/// Calls of the whole process that are to begin, in the order in which they were made.
#[derive(Clone, Default)]
pub(super) struct Intake(Arc<Inner>);

#[derive(Default)]
struct Inner {
    begins: Mutex<Vec<Begin>>,
    bell: AtomicWaker,
}

impl Intake {
    /// Runs for as long as the runtime does.
    pub(super) fn start(tasks: &Tasks) -> Self {
        let intake = Self::default();
        let Self(inner) = intake.clone();
        let own = tasks.clone();
        let mut begins = Vec::new().into_iter();
        let turns = poll_fn(move |cx| {
            // Before the look: what comes after it wakes the task again.
            inner.bell.register(cx.waker());
            let goes_on = begins.len() > 0;
            if !goes_on {
                begins = std::mem::take(&mut *inner.begins.lock()).into_iter();
            }
            let are_many = begins.len() > 1;
            for begin in begins.by_ref().take(AT_ONCE) {
                // One that panics tells its own caller, and is no matter of the next.
                let _ = catch_unwind(AssertUnwindSafe(|| begin(&own)));
            }
            // A worker of tokio's runs what was spawned last before all else: nothing, so that calls begin in their order.
            if are_many {
                own.handle().spawn(async {});
            }
            // The next turn is behind those that were begun in this one. It is not asked for by tokio's `yield_now`, since a worker looks for I/O
            // before it goes on with whoever yields so, which is a call of the system.
            // Those that were put behind the ones of a turn that goes on rang before it.
            if goes_on || begins.len() > 0 {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        });
        tasks.spawn("intake", turns);
        intake
    }

    /// From any thread.
    pub(super) fn put(&self, begin: impl FnOnce(&Tasks) + Send + 'static) {
        let begin = Box::new(begin);
        let mut begins = self.0.begins.lock();
        begins.push(begin);
        let is_first = begins.len() == 1;
        drop(begins);
        if is_first {
            self.0.bell.wake();
        }
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("waiting", &self.0.begins.lock().len()).finish()
    }
}
