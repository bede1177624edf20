//! Knows when nothing can happen any more before time passes.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use tokio::runtime::{Builder, Runtime};

#[derive(Clone, Default)]
pub struct Quiet(Arc<Mutex<Option<Waker>>>);

impl Quiet {
    /// A runtime of one thread and a paused clock, which tells when it would go to sleep.
    pub fn runtime() -> (Runtime, Self) {
        let quiet = Self::default();
        let told = quiet.clone();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .on_thread_park(move || {
                if let Some(waiting) = told.0.lock().unwrap().take() {
                    waiting.wake();
                }
            })
            .build()
            .unwrap();
        (runtime, quiet)
    }

    /// Until no task can run. Moves no clock.
    pub async fn wait(&self) {
        // Twice: between the two, tokio fires the timers that are due.
        for _ in 0..2 {
            let mut waits = false;
            poll_fn(|cx| {
                if waits && self.0.lock().unwrap().is_none() {
                    return Poll::Ready(());
                }
                waits = true;
                *self.0.lock().unwrap() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
    }
}
