//! The one tokio runtime of the process.
//!
//! It is a static of ours, not napi's: napi shuts its own down when the last environment goes, which races with workers that
//! come and go. Ours is started at the first client and never shut down; the library that holds its code is pinned.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};

use super::intake::Intake;
use super::wire;
use crate::pool::Tasks;

/// One thread serves some 80,000 calls a second, which is more than JavaScript's thread can use; a second one keeps TLS
/// handshakes and large answers from holding up the rest, and is taken where the machine has more than two cores.
fn default_threads() -> usize {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 2) { 2 } else { 1 }
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

static RUNTIME: LazyLock<Option<(Runtime, Tasks, Intake)>> = LazyLock::new(|| {
    wire::pin_library();
    let threads = match THREADS.load(Ordering::Relaxed) {
        0 => default_threads(),
        threads => threads,
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        // For getaddrinfo, of which one may take half a minute for each host that nobody answers for, and the reading of roots.
        .max_blocking_threads(64)
        .thread_name("trunkline")
        .enable_all()
        .build()
        .ok()?;
    let tasks = Tasks::new(runtime.handle().clone());
    let intake = Intake::start(&tasks);
    Some((runtime, tasks, intake))
});

/// The number of threads for the runtime; without effect once it runs. 0: the default.
pub(super) fn set_threads(threads: usize) {
    THREADS.store(threads, Ordering::Relaxed);
}

/// The runtime; None where the system gave no threads for it.
pub(super) fn tasks() -> Option<&'static Tasks> {
    RUNTIME.as_ref().map(|(_, tasks, _)| tasks)
}

/// Where calls are left for it; as [`tasks`].
pub(super) fn intake() -> Option<&'static Intake> {
    RUNTIME.as_ref().map(|(_, _, intake)| intake)
}
