//! Identical calls in flight share one exchange, which none of them owns. The upstream says each byte when the test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use trunkline::client::{Answer, Call, Client, Endpoint, Mode, Outlet};
use trunkline::error::Error;
use trunkline::pool::Tasks;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// What is said on all connections.
#[derive(Debug, Clone)]
enum Say {
    Head(&'static str, &'static str),
    Text(String),
    Hang,
}

/// An upstream that says what it is told to, to all who have asked, and a client of it.
struct Stage {
    url: String,
    client: Arc<Client>,
    tasks: Tasks,
    /// Requests, and those whose connection the client gave up.
    seen: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    say: broadcast::Sender<Say>,
}

type Ended = JoinHandle<Result<Answer, Error>>;

impl Stage {
    async fn new(options: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, left) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (say, _) = broadcast::channel(1 << 16);
        let (count, gone, said) = (seen.clone(), left.clone(), say.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket, count.clone(), gone.clone(), said.clone()));
            }
        });
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let options = merge(json!({ "cache": {}, "retry": false }), options);
        Self { client: client_of(&url, options, &tasks), url, tasks, seen, left, say }
    }

    fn call(&self, body: &Value, options: Value) -> Call {
        let options = (options != json!({})).then_some(options);
        Call {
            endpoint: Endpoint::Chat,
            body: body.to_string(),
            options: self.client.call_options(options).unwrap(),
        }
    }

    fn chat(&self, options: Value) -> Ended {
        tokio::spawn(self.client.call(self.call(&cold(), options)))
    }

    fn stream(&self, mode: Mode, options: Value) -> JoinHandle<Streamed> {
        let (client, call) = (self.client.clone(), self.call(&cold(), options));
        tokio::spawn(async move { stream(&client, call, mode).await })
    }

    fn request_figure(&self, name: &str) -> u64 {
        self.metrics()["requests"][name].as_u64().unwrap()
    }

    fn metrics(&self) -> Value {
        serde_json::to_value(self.client.metrics()).unwrap()
    }

    /// So many calls are under way, of which so many wait for the exchange of another.
    async fn wait(&self, in_flight: u64, coalesced: u64) {
        until("all have joined", || {
            self.request_figure("inFlight") == in_flight && self.request_figure("coalesced") == coalesced
        })
        .await;
    }

    async fn asked(&self, requests: usize) {
        until("asked", || self.seen.load(Ordering::SeqCst) >= requests).await;
        assert_eq!(self.seen.load(Ordering::SeqCst), requests);
    }

    fn says(&self, what: Say) {
        self.say.send(what).unwrap();
    }

    fn answers(&self, text: &str) {
        self.says(Say::Head("200 OK", JSON));
        self.says(Say::Text(completion(text)));
        self.says(Say::Hang);
    }

    fn chunk(&self, text: &str) {
        let chunk =
            json!({ "id": "c", "model": "m", "choices": [{ "index": 0, "delta": { "content": text } }] });
        self.says(Say::Text(format!("data: {chunk}\n\n")));
    }

    fn finishes(&self) {
        let last = json!({ "id": "c", "model": "m", "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
        self.says(Say::Text(format!("data: {last}\n\ndata: [DONE]\n\n")));
        self.says(Say::Hang);
    }

    /// Nothing is left of what ran.
    async fn quiet(&self) {
        until("nothing runs", || {
            let metrics = self.metrics();
            metrics["requests"]["inFlight"] == 0 && metrics["pool"]["connections"]["active"] == 0
        })
        .await;
    }
}

async fn answer(
    mut socket: TcpStream,
    seen: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    say: broadcast::Sender<Say>,
) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let is_whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length =
            head.to_ascii_lowercase().split_once("content-length: ").map(|(_, rest)| rest.to_owned());
        let length = length.and_then(|rest| rest.lines().next()?.parse::<usize>().ok()).unwrap_or(0);
        body.len() >= length
    };
    while !is_whole(&request) {
        match socket.read(&mut piece).await {
            Ok(n) if n > 0 => request.extend_from_slice(&piece[..n]),
            _ => return,
        }
    }
    let mut said = say.subscribe();
    seen.fetch_add(1, Ordering::SeqCst);
    loop {
        let text = tokio::select! {
            what = said.recv() => match what.unwrap() {
                Say::Head(status, kind) => format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {kind}\r\n\r\n"),
                Say::Text(text) => text,
                Say::Hang => return,
            },
            _ = socket.read(&mut piece) => {
                left.fetch_add(1, Ordering::SeqCst);
                return;
            }
        };
        let _ = socket.write_all(text.as_bytes()).await;
    }
}

fn cold() -> Value {
    with(json!({ "temperature": 0 }))
}

fn completion(text: &str) -> String {
    let choice =
        json!({ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" });
    json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 } }).to_string()
}

#[tokio::test]
async fn identical_calls_share_one_exchange_and_all_are_answered() {
    let stage = Stage::new(json!({})).await;
    let calls: Vec<_> = (0..10).map(|_| stage.chat(json!({}))).collect();
    stage.wait(10, 9).await;
    stage.asked(1).await;
    stage.answers("hello");
    let mut followers = 0;
    for call in calls {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(said(&body_of(&answer)), "hello");
        let meta = meta_of(&answer);
        assert_eq!((&meta["cached"], meta["attempts"].as_array().unwrap().len()), (&json!(false), 1));
        followers += usize::from(meta["coalesced"] == true);
    }
    assert_eq!((followers, stage.seen.load(Ordering::SeqCst)), (9, 1));
    let metrics = stage.metrics();
    assert_eq!((&metrics["requests"]["succeeded"], &metrics["tokens"]["output"]), (&json!(10), &json!(2)));
    assert_eq!(meta_of(&stage.chat(json!({})).await.unwrap().unwrap())["cached"], true);
    stage.quiet().await;
}

#[tokio::test]
async fn an_abort_takes_one_share_away_whoever_began_and_the_last_cancels_the_exchange() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        for survivor in [false, true] {
            let stage = Stage::new(json!({})).await;
            let mut calls = Vec::new();
            for n in 0..3 {
                calls.push(Some(stage.chat(json!({}))));
                stage.wait(n + 1, n).await;
            }
            stage.asked(1).await;
            let leaving = if survivor { &order[..2] } else { &order[..] };
            for (gone, at) in leaving.iter().enumerate() {
                assert_eq!(stage.left.load(Ordering::SeqCst), 0, "{order:?}: somebody still waits");
                calls[*at].take().unwrap().abort();
                stage.wait(2 - gone as u64, 2).await;
            }
            if survivor {
                stage.answers("for you");
                let answer = calls[order[2]].take().unwrap().await.unwrap().unwrap();
                assert_eq!(said(&body_of(&answer)), "for you");
            } else {
                until("cancelled", || stage.left.load(Ordering::SeqCst) == 1).await;
            }
            stage.quiet().await;
            assert_eq!(stage.request_figure("aborted"), leaving.len() as u64);
            // Nothing is left behind that a call like it would wait for.
            if !survivor {
                let next = stage.chat(json!({}));
                stage.asked(2).await;
                stage.answers("anew");
                assert_eq!(said(&body_of(&next.await.unwrap().unwrap())), "anew");
            }
        }
    }
}

#[tokio::test]
async fn an_exchange_of_clients_of_one_name_goes_on_when_the_client_that_began_it_closes() {
    let stage = Stage::new(json!({ "name": "flights" })).await;
    let options = json!({ "name": "flights", "cache": {}, "retry": false });
    let other = client_of(&stage.url, options, &stage.tasks);
    let began = stage.chat(json!({}));
    stage.asked(1).await;
    let joined = tokio::spawn(other.call(stage.call(&cold(), json!({}))));
    let coalesced = || serde_json::to_value(other.metrics()).unwrap()["requests"]["coalesced"] == 1;
    until("it has joined", coalesced).await;
    began.abort();
    stage.client.finish_close().await;
    stage.answers("hello");
    let answer = joined.await.unwrap().unwrap();
    assert_eq!((said(&body_of(&answer)), &meta_of(&answer)["coalesced"]), ("hello", &json!(true)));
    other.finish_close().await;
    until("no task left", || stage.tasks.running() == 0).await;
    stage.asked(1).await;
}

#[tokio::test]
async fn a_failure_is_told_to_all_with_the_same_attempts_and_is_not_kept() {
    let stage = Stage::new(json!({ "retry": { "maxRetries": 1 } })).await;
    let calls: Vec<_> = (0..3).map(|_| stage.chat(json!({}))).collect();
    stage.wait(3, 2).await;
    for attempt in 1..=2 {
        stage.asked(attempt).await;
        stage.says(Say::Head("500 Oh", JSON));
        stage.says(Say::Text("{}".into()));
        stage.says(Say::Hang);
    }
    for call in calls {
        let error = call.await.unwrap();
        assert_eq!(tell(&error), "InternalServer 500 retryable, billed maybe, after maybe,maybe");
    }
    let requests = stage.metrics()["requests"].clone();
    assert_eq!((&requests["failed"], &requests["retried"]), (&json!(3), &json!(1)));
    let next = stage.chat(json!({}));
    stage.asked(3).await;
    stage.answers("well");
    assert_eq!(said(&body_of(&next.await.unwrap().unwrap())), "well");
}

#[tokio::test]
async fn each_has_its_own_deadline() {
    // The one that came later has less time, and then more.
    for (first, second) in [(60_000, 1_000), (1_000, 60_000)] {
        let stage = Stage::new(json!({})).await;
        let total = |ms: u64| json!({ "timeouts": { "total": ms } });
        let one = stage.chat(total(first));
        until("begun", || stage.request_figure("inFlight") == 1).await;
        let two = stage.chat(total(second));
        let (patient, hasty) = if first > second { (one, two) } else { (two, one) };
        let late = hasty.await.unwrap();
        assert_eq!(tell(&late), "Timeout total retryable, billed maybe, after maybe");
        assert_eq!(stage.left.load(Ordering::SeqCst), 0, "the other still waits");
        stage.asked(1).await;
        stage.answers("in time");
        assert_eq!(tell(&patient.await.unwrap()), "ok after yes");
        stage.quiet().await;
    }
}

#[tokio::test]
async fn whoever_is_out_of_time_is_told_of_its_own_limit() {
    let stage = Stage::new(json!({})).await;
    let total = |ms: u64| json!({ "timeouts": { "total": ms } });
    let one = stage.chat(total(700));
    until("begun", || stage.request_figure("inFlight") == 1).await;
    let two = stage.chat(total(1_400));
    for (call, limit) in [(one, 700), (two, 1_400)] {
        let error = call.await.unwrap();
        assert_eq!(tell(&error), "Timeout total retryable, billed maybe, after maybe");
        let json: Value = serde_json::from_str(&error.unwrap_err().to_json()).unwrap();
        assert_eq!(json["limit"], limit);
    }
    stage.quiet().await;
}

#[tokio::test]
async fn at_the_last_deadline_the_exchange_itself_tells_what_became_of_it() {
    let stage = Stage::new(json!({ "timeouts": { "total": 500 } })).await;
    let calls: Vec<_> = (0..3).map(|_| stage.chat(json!({}))).collect();
    for call in calls {
        assert_eq!(tell(&call.await.unwrap()), "Timeout total retryable, billed maybe, after maybe");
    }
    until("cancelled", || stage.left.load(Ordering::SeqCst) == 1).await;
    stage.quiet().await;
}

#[tokio::test]
async fn what_is_made_in_another_way_or_more_urgently_is_made_by_itself() {
    for other in [
        json!({ "priority": "critical" }),
        json!({ "timeouts": { "idle": 1_234 } }),
        json!({ "retry": { "maxRetries": 7 } }),
        json!({ "wire": "unary" }),
        json!({ "cache": { "coalesce": false } }),
        json!({ "cache": { "control": "no-cache" } }),
        json!({ "cache": false }),
        json!({ "tenant": "t" }),
    ] {
        let stage = Stage::new(json!({})).await;
        let options = if other.get("wire").is_some() { CallKindOf::Whole } else { CallKindOf::Any };
        let one = stage.chat(json!({}));
        stage.asked(1).await;
        let two = match options {
            CallKindOf::Any => stage.chat(other.clone()),
            CallKindOf::Whole => {
                let parsed =
                    stage.client.call_options_of(trunkline::config::CallKind::Whole, Some(other.clone()));
                let call =
                    Call { endpoint: Endpoint::Chat, body: cold().to_string(), options: parsed.unwrap() };
                tokio::spawn(stage.client.call(call))
            }
        };
        stage.asked(2).await;
        stage.answers("both");
        assert_eq!(stage.request_figure("coalesced"), 0, "{other}");
        for call in [one, two] {
            assert_eq!(said(&body_of(&call.await.unwrap().unwrap())), "both", "{other}");
        }
    }
    // What is less urgent goes along.
    let stage = Stage::new(json!({})).await;
    let calls = [stage.chat(json!({})), stage.chat(json!({ "priority": "background" }))];
    stage.wait(2, 1).await;
    stage.asked(1).await;
    stage.answers("both");
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

enum CallKindOf {
    Any,
    Whole,
}

#[tokio::test]
async fn whoever_joins_a_stream_gets_what_has_come_and_then_what_comes() {
    let stage = Stage::new(json!({})).await;
    let first = stage.stream(Mode::Objects, json!({}));
    stage.asked(1).await;
    stage.says(Say::Head("200 OK", EVENTS));
    stage.chunk("one");
    stage.chunk(" two");
    let modes = [Mode::Objects, Mode::Text, Mode::Whole, Mode::Lines];
    let followers: Vec<_> = modes.map(|mode| stage.stream(mode, json!({}))).into();
    stage.wait(5, 4).await;
    stage.chunk(" \"three\"");
    let late = stage.stream(Mode::Text, json!({}));
    stage.wait(6, 5).await;
    stage.finishes();
    let first = first.await.unwrap();
    let whole = body_of(first.result.as_ref().unwrap());
    assert_eq!(said(&whole), "one two \"three\"");
    for (mode, follower) in modes.into_iter().zip(followers) {
        let follower = follower.await.unwrap();
        assert_eq!(body_of(&follower.result.unwrap()), whole);
        match mode {
            Mode::Objects => assert_eq!(follower.chunks, first.chunks),
            Mode::Text => assert_eq!(follower.text, "one two \"three\""),
            Mode::Lines => assert_eq!(follower.text.lines().count(), first.chunks.len()),
            _ => assert_eq!(follower.text, ""),
        }
    }
    assert_eq!(late.await.unwrap().text, "one two \"three\"");
    let again = stage.stream(Mode::Objects, json!({})).await.unwrap();
    assert_eq!((again.chunks, stage.seen.load(Ordering::SeqCst)), (first.chunks, 1));
    stage.quiet().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_no_other_up_and_alone_holds_the_upstream() {
    let stage = Stage::new(json!({})).await;
    let (idle, call) = (Arc::new(Outlet::default()), stage.call(&cold(), json!({})));
    idle.choose(Mode::Text);
    let slow = tokio::spawn(stage.client.stream(call, idle.clone()));
    stage.asked(1).await;
    stage.says(Say::Head("200 OK", EVENTS));
    let mut expected = 0;
    let say = |expected: &mut usize| {
        for _ in 0..40 {
            stage.chunk(&"x".repeat(4096));
            *expected += 4096;
        }
    };
    say(&mut expected);
    until("it is full", || format!("{idle:?}").contains("unread: 65536")).await;
    // Nobody else reads: nor is the upstream read, however much it says.
    let received = || stage.metrics()["bytes"]["received"].as_u64().unwrap();
    for _ in 0..20 {
        say(&mut expected);
    }
    assert!(received() < 1_000_000, "{} of {expected} bytes were read", received());
    let fast = stage.stream(Mode::Text, json!({}));
    stage.wait(2, 1).await;
    stage.finishes();
    let fast = fast.await.unwrap();
    assert_eq!((fast.text.len(), fast.result.is_ok()), (expected, true));
    assert!(!slow.is_finished(), "it has not read to the end");
    // It finds the rest where it is.
    let mut text = String::new();
    while text.len() < expected {
        match idle.take() {
            Some(delivery) => {
                text.push_str(&delivery.text);
                idle.read(delivery.bytes);
            }
            None => tokio::task::yield_now().await,
        }
    }
    assert_eq!(text.len(), expected);
    slow.await.unwrap().unwrap();
    stage.quiet().await;
}

#[tokio::test]
async fn a_reader_that_leaves_a_stream_leaves_it_to_the_others_and_the_last_cancels_it() {
    for leader_leaves in [true, false] {
        let stage = Stage::new(json!({})).await;
        let leader = stage.stream(Mode::Text, json!({}));
        stage.asked(1).await;
        let follower = stage.stream(Mode::Text, json!({}));
        stage.wait(2, 1).await;
        stage.says(Say::Head("200 OK", EVENTS));
        stage.chunk("one");
        let (gone, stays) = if leader_leaves { (leader, follower) } else { (follower, leader) };
        gone.abort();
        stage.wait(1, 1).await;
        stage.chunk(" two");
        if leader_leaves {
            stage.finishes();
            assert_eq!(stays.await.unwrap().text, "one two");
        } else {
            assert_eq!(stage.left.load(Ordering::SeqCst), 0);
            stays.abort();
            until("cancelled", || stage.left.load(Ordering::SeqCst) == 1).await;
        }
        stage.quiet().await;
    }
}

#[tokio::test]
async fn a_stream_that_breaks_before_anybody_saw_it_begins_anew_for_all_and_else_fails_for_all() {
    for seen in [false, true] {
        let stage = Stage::new(json!({ "retry": { "maxRetries": 1 } })).await;
        let whole = stage.stream(Mode::Whole, json!({}));
        stage.asked(1).await;
        let mode = if seen { Mode::Text } else { Mode::Whole };
        let reader = stage.stream(mode, json!({}));
        stage.wait(2, 1).await;
        stage.says(Say::Head("200 OK", EVENTS));
        stage.chunk("half");
        stage.says(Say::Hang);
        if seen {
            for call in [whole, reader] {
                let broken = call.await.unwrap().result;
                assert_eq!(tell(&broken), "StreamInterrupted retryable, billed maybe, after maybe");
            }
            continue;
        }
        stage.asked(2).await;
        stage.says(Say::Head("200 OK", EVENTS));
        stage.chunk("all of it");
        stage.finishes();
        for call in [whole, reader] {
            assert_eq!(said(&body_of(&call.await.unwrap().result.unwrap())), "all of it");
        }
        // It is one answer, and kept.
        assert_eq!(stage.metrics()["cache"]["entries"], 1);
    }
}

#[tokio::test]
async fn ten_thousand_calls_that_come_and_go_leave_nothing_behind() {
    let stage = Stage::new(json!({ "cache": { "maxBytes": 0 }, "pool": { "maxConnections": 4 } })).await;
    let idle = stage.tasks.running();
    let talk = tokio::spawn({
        let say = stage.say.clone();
        async move {
            loop {
                let _ = say.send(Say::Head("200 OK", JSON));
                let _ = say.send(Say::Text(completion("hello")));
                let _ = say.send(Say::Hang);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut answered = 0;
    for round in 0..1_000 {
        let calls: Vec<_> = (0..10)
            .map(|n| {
                let body = with(json!({ "temperature": 0, "user": (n % 3).to_string() }));
                tokio::spawn(stage.client.call(stage.call(&body, json!({}))))
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            if (n + round) % 3 == 0 {
                tokio::task::yield_now().await;
                call.abort();
            }
            answered += usize::from(matches!(call.await, Ok(Ok(_))));
        }
    }
    talk.abort();
    assert!(answered >= 6_000, "{answered}");
    stage.quiet().await;
    until("no task is left", || stage.tasks.running() <= idle + 4).await;
    let coalesced = stage.request_figure("coalesced");
    assert!(coalesced > 1_000, "{coalesced}");
    // No exchange holds it, nor what it would be stored in.
    let client = Arc::downgrade(&stage.client);
    drop(stage);
    until("the client has gone", || client.strong_count() == 0).await;
}
