//! The pool against a model of it: whatever happens, in whatever order, what it promises holds after every step.
//!
//! The same cases each time, so that a change is what makes one fail. `LONG=1` runs fifty times as many, and others each time; `CASES=…` so
//! many; `SEED=…` those of a seed. A case that fails is cut short and printed as a list of what happened.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic, and says what it did")]
#![allow(unreachable_pub, reason = "its files are all of one test")]

mod books;
mod laws;
mod ops;
mod order;
mod quiet;
mod world;

use std::cell::Cell;
use std::time::Duration;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use tokio::time::Instant;

use self::books::{Model, Verdict};
use self::ops::{Ask, Case};
use self::quiet::Quiet;

const CASES: u32 = 550;

#[test]
fn the_pool_keeps_its_promises_whatever_happens() {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let is_long = std::env::var_os("LONG").is_some();
    let cases = number("CASES").map_or(CASES * if is_long { 50 } else { 1 }, |cases| cases as u32);
    let seed = number("SEED").unwrap_or_else(|| if is_long { fastrand::u64(..) } else { 1 });
    let mut runner = TestRunner::new(Config {
        cases,
        // A case that is kept becomes a test with a name.
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_shrink_time: 30_000,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    });
    let steps = Cell::new(0);
    let ended = runner.run(&ops::cases(), |case| {
        steps.set(steps.get() + case.steps.len());
        run(&case).map_err(TestCaseError::fail)
    });
    match ended {
        Ok(()) => println!("{} steps in {cases} cases", steps.get()),
        Err(TestError::Fail(_, case)) => {
            let (why, case) = cut(case);
            panic!("SEED={seed}\n{why}\n\n{case:?}");
        }
        Err(error) => panic!("SEED={seed} {error}"),
    }
    assert!(steps.get() >= 100_000 || number("CASES").is_some(), "only {} steps", steps.get());
}

/// Leaves out whatever need not happen, in ever smaller pieces. proptest leaves out one step after the other, and gives up early.
fn cut(mut case: Case) -> (String, Case) {
    let mut why = run(&case).expect_err("it failed just now");
    let mut piece = case.steps.len() / 2;
    while piece > 0 {
        let mut at = 0;
        let mut is_shorter = false;
        while at < case.steps.len() {
            let mut shorter = case.clone();
            shorter.steps.drain(at..(at + piece).min(shorter.steps.len()));
            match run(&shorter) {
                Ok(()) => at += piece,
                Err(other) => (why, case, is_shorter) = (other, shorter, true),
            }
        }
        if !is_shorter || piece > 1 {
            piece /= 2;
        }
    }
    (why, case)
}

fn run(case: &Case) -> Verdict {
    fastrand::seed(case.seed);
    let (runtime, quiet) = Quiet::runtime();
    runtime.block_on(async {
        let start = Instant::now();
        let mut model = Model::new(case, start);
        for (number, step) in case.steps.iter().enumerate() {
            model.apply(&step.op, &quiet, start).await;
            if !step.at_once {
                settle(&mut model, &quiet).await.map_err(|why| format!("after step {number}: {why}"))?;
            }
        }
        settle(&mut model, &quiet).await?;
        if case.seed.is_multiple_of(2) {
            recover(&mut model, &quiet).await.map_err(|why| format!("in the end: {why}"))?;
            all_places_are_there(&mut model, &quiet, start).await.map_err(|why| format!("at last: {why}"))?;
        }
        close(model, &quiet).await.map_err(|why| format!("at the close: {why}"))
    })
}

/// Everything that can happen now happens; then the laws must hold.
async fn settle(model: &mut Model, quiet: &Quiet) -> Verdict {
    quiet.wait().await;
    model.book().await?;
    model.check()?;
    model.next_step();
    Ok(())
}

/// Nothing goes wrong any more, and everybody gives back what they have: whoever waits patiently is served.
async fn recover(model: &mut Model, quiet: &Quiet) -> Verdict {
    let mut left = usize::MAX;
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_secs(10) {
        model.heal();
        settle(model, quiet).await?;
        while !model.leases.is_empty() {
            model.send(0);
        }
        settle(model, quiet).await?;
        if model.knobs.stubborn {
            // What was sent on a socket that never comes through its end, only a caller's patience ends.
            model.abort_hopeless_calls();
        }
        let now = model.waiters.len() + model.calls.len();
        if now == 0 {
            return Ok(());
        }
        if now < left {
            (left, since) = (now, Instant::now());
        }
        model.sleep(20).await;
    }
    Err(format!("{} wait, {} calls run", model.waiters.len(), model.calls.len()))
}

/// What is not used is forgotten, and after that each origin has all its places.
async fn all_places_are_there(model: &mut Model, quiet: &Quiet, start: Instant) -> Verdict {
    let rest = 2 * model.knobs.idle_timeout + 20_000;
    for _ in 0..4 {
        model.sleep(rest / 4).await;
        settle(model, quiet).await?;
    }
    let now = model.pool.snapshot();
    if !now.origins.is_empty() {
        return Err(format!("not forgotten: {:#?}", now.origins));
    }
    let places = model.knobs.all.min(model.knobs.by_origin);
    let places = model.knobs.lanes.map_or(places, |(_, unary)| places.min(unary));
    for _ in 0..places {
        let patient = Ask { patience: 1_000, ..Ask::default() };
        model.checkout(&patient, start);
    }
    settle(model, quiet).await?;
    if model.leases.len() != places {
        return Err(format!("{} of {places} places", model.leases.len()));
    }
    Ok(())
}

/// Nothing is left.
async fn close(mut model: Model, quiet: &Quiet) -> Verdict {
    model.seen.closed = true;
    model.seen.closed_for_good = true;
    {
        // h2 ends no connection on which a request still waits to be let out, even if its caller has gone: a server that lowered its
        // limit must raise it again.
        let mut world = model.world.lock();
        for at in world.live() {
            world.settings(at, 100);
        }
    }
    model.pool.close();
    settle(&mut model, quiet).await?;
    if !model.waiters.is_empty() || !model.warming.is_empty() {
        return Err(format!("{} still wait, {} warm", model.waiters.len(), model.warming.len()));
    }
    model.leases.clear();
    model.seen.aborted = true;
    for call in model.calls.drain(..) {
        call.abort();
    }
    settle(&mut model, quiet).await?;
    // What does not shut down by itself has a second for it.
    model.sleep(if model.knobs.stubborn { 2_500 } else { 0 }).await;
    settle(&mut model, quiet).await?;
    if tokio::time::timeout(Duration::from_secs(5), model.pool.closed()).await.is_err() {
        return Err("the pool does not say that it is closed".into());
    }
    let left = (model.net.open(), model.net.held.lock().unwrap().all, model.tasks.running());
    if left != (0, 0, 0) {
        return Err(format!("left are sockets, sockets or connects, tasks: {left:?}"));
    }
    Ok(())
}
