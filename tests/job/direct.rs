use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use trunkline::error::Kind;
use trunkline::job::{Control, End, Runner, Stage};

use crate::ends::*;
use crate::support::*;

fn failing(status: u16) -> Site {
    let site = Site::with(Way::H1, json!({}), json!({ "retry": { "maxRetries": 0 } }));
    site.fault(json!({ "kind": "status", "status": status }), json!({ "times": 1_000_000 }));
    site
}

#[tokio::test]
async fn every_line_of_any_source_is_settled_once_in_any_sink() {
    let site = Site::new(Way::H2c);
    let (mut lines, results, control) = (Lines::of(500), Results::default(), Control::default());
    lines.0.insert(250, bad(501));
    let end = direct(&site, 32).run(&mut lines, &results, &control).await.unwrap();
    assert!(matches!(end, End::Done), "{end:?}");
    let told = results.told();
    assert_eq!(told.iter().map(|(line, ..)| *line).collect::<Vec<_>>(), (1..=501).collect::<Vec<_>>());
    for (line, is_good, told) in &told[..500] {
        assert_eq!((*is_good, &told["custom_id"]), (true, &json!(format!("id-{line}"))));
        assert_eq!(told["response"]["status_code"], 200);
    }
    assert_eq!((told[500].1, &told[500].2["error"]["code"]), (false, &json!("invalid_json")));
    assert_eq!((site.seen(), results.begun.load(Ordering::SeqCst)), (500, 500));
    let progress = control.progress();
    assert_eq!((progress.succeeded, progress.failed, progress.in_flight), (500, 1, 0));
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_may_be_and_each_was_begun_before() {
    let site = Site::with(Way::H2c, json!({ "latency": 20 }), json!({}));
    let (mut lines, results, control) = (Lines::of(60), Results::default(), Control::default());
    let runner = direct(&site, 7);
    let watch = async {
        let mut most = 0;
        while control.progress().succeeded < 60 {
            let begun = results.begun.load(Ordering::SeqCst);
            assert!(site.seen() as u64 <= begun, "a call went out that was not begun");
            most = most.max(begun - control.progress().succeeded);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        most
    };
    let (end, most) = tokio::join!(runner.run(&mut lines, &results, &control), watch);
    assert!(matches!(end.unwrap(), End::Done));
    assert!(most <= 7, "{most}");
}

#[tokio::test]
async fn a_sink_that_has_no_room_ends_the_job_with_its_error() {
    let site = Site::new(Way::H2c);
    let (mut lines, control) = (Lines::of(500), Control::default());
    let results = Results { room: Some(20), ..Results::default() };
    let error = direct(&site, 4).run(&mut lines, &results, &control).await.unwrap_err();
    assert_eq!(error.message, "no room");
    assert!(site.seen() <= 25, "{}", site.seen());
}

#[tokio::test]
async fn a_refusal_that_is_the_lines_own_fails_that_line_alone() {
    let site = failing(422);
    let (mut lines, results, control) = (Lines::of(3), Results::default(), Control::default());
    let end = direct(&site, 2).run(&mut lines, &results, &control).await.unwrap();
    assert!(matches!(end, End::Done));
    for (_, is_good, told) in results.told() {
        assert_eq!(
            (is_good, &told["response"]["status_code"], &told["error"]),
            (false, &json!(422), &json!(null))
        );
    }
}

#[tokio::test]
async fn a_provider_that_asks_for_patience_fails_no_line_and_has_no_more_than_there_is() {
    let site = failing(429);
    let (mut lines, results, control) = (Lines::of(50), Results::default(), Control::default());
    let mut runner = direct(&site, 3);
    runner.patience = Duration::from_millis(1);
    let end = runner.run(&mut lines, &results, &control).await.unwrap();
    let End::Ended { error } = end else { panic!("{end:?}") };
    assert!(matches!(error.kind, Kind::Api(_)));
    assert!(results.told().is_empty() && site.seen() <= 6);
}

#[tokio::test]
async fn what_waits_is_left_when_the_job_is_to_end() {
    let site = failing(429);
    let (mut lines, results, control) = (Lines::of(50), Results::default(), Control::default());
    let runner = direct(&site, 3);
    let stop = async {
        while control.progress().waiting.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        control.stop(Stage::Stopping);
    };
    let (end, ()) = tokio::join!(runner.run(&mut lines, &results, &control), stop);
    assert!(matches!(end.unwrap(), End::Stopped));
    assert_eq!((results.told().len(), control.progress().in_flight), (0, 0));
}

#[tokio::test]
async fn calls_that_do_not_end_have_their_grace_and_are_counted() {
    let site = Site::new(Way::H1);
    site.fault(json!({ "kind": "silence", "for": 60_000 }), json!({ "times": 1_000 }));
    let (mut lines, results, control) = (Lines::of(9), Results::default(), Control::default());
    let mut runner = direct(&site, 3);
    runner.grace = Duration::from_millis(10);
    let stop = async {
        while site.seen() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        control.stop(Stage::Stopping);
    };
    let (end, ()) = tokio::join!(runner.run(&mut lines, &results, &control), stop);
    assert!(matches!(end.unwrap(), End::Stopped));
    assert_eq!((site.seen(), control.progress().in_flight), (3, 3));
}
