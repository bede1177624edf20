//! The one place that spawns: every task is named, counted, and on the runtime that was given.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// Spawns onto one runtime and counts what runs.
#[derive(Clone)]
pub struct Tasks {
    handle: Handle,
    running: Arc<AtomicUsize>,
}

pin_project! {
    /// Not an async block that awaits the future: that would keep a place for it where it was captured and another where it is awaited, and be twice
    /// as large.
    struct Counted<F> {
        #[pin]
        future: F,
        // Dropped last.
        running: Running,
    }
}

struct Running(Arc<AtomicUsize>);

impl Tasks {
    pub fn new(handle: Handle) -> Self {
        Self { handle, running: Arc::default() }
    }

    /// Runs a future to its end, or until it is aborted. `what` names it in traces.
    pub fn spawn<F>(&self, what: &'static str, future: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(self.running.clone());
        tracing::trace!(target: "trunkline::tasks", what, "spawn");
        self.handle.spawn(Counted { future, running }).abort_handle()
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// The runtime, for timers that are made outside of it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().future.poll(cx)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("running", &self.running()).finish_non_exhaustive()
    }
}
