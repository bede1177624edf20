//! The parts that every call, or every event of a stream, goes through. The pool's own bench is `tests/pool-crate/benches`, and `call_cost`
//! measures them all together; the mailbox is of the addon, and is measured with it by `npm run bench`.
//!
//! `cargo bench --no-default-features --bench parts` for times. `npm run bench:instructions` for what does not depend on the machine's mood:
//! it runs `parts count NAME TIMES` under callgrind, and holds the instructions of one run of a part against those that were kept.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::BytesCount;
use tokio::time::Instant;
use trunkline::policy::breaker::{BreakerPolicy, Outcome};
use trunkline::policy::circuits::Circuits;
use trunkline::policy::rate::{Cost, RateLimiter, RateLimits};
use trunkline::protocol::json::Members;
use trunkline::protocol::openai::{Answer, Usage};
use trunkline::protocol::sse::{Decoder, TooLong};

/// What arrives at once on a fast stream, more or less.
const READ: usize = 16 * 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [how] if how == "names" => PARTS.iter().for_each(|(name, _)| println!("{name}")),
        [how, name, times] if how == "count" => {
            let (_, part) = PARTS.iter().find(|(known, _)| known == name).unwrap();
            part()(times.parse().unwrap());
        }
        _ => divan::main(),
    }
}

/// Something that can be done so many times.
type Part = Box<dyn FnMut(usize)>;
type Named = (&'static str, fn() -> Part);

/// What is counted, each made ready first.
const PARTS: [Named; 6] = [
    ("events", || {
        let stream = stream();
        repeated(move || decode(&stream))
    }),
    ("members", || {
        let request = request(4096);
        repeated(move || members(&request))
    }),
    ("members-of-64-kb", || {
        let request = request(64 * 1024);
        repeated(move || members(&request))
    }),
    ("answer", || repeated(|| read_answer(ANSWER))),
    ("limiter", || {
        let (mut limiter, now) = limiter();
        repeated(move || take_and_settle(&mut limiter, now))
    }),
    ("circuit", || {
        let (circuits, model, now) = circuits();
        repeated(move || admit_and_settle(&circuits, &model, now))
    }),
];

fn repeated<T>(mut run: impl FnMut() -> T + 'static) -> Part {
    Box::new(move |times| {
        for _ in 0..times {
            black_box(run());
        }
    })
}

/// 200 events of some 260 bytes, as a provider streams a chat.
fn stream() -> Vec<u8> {
    let event = |n: usize| {
        let text = format!("word {n} ");
        let id = "chatcmpl-BxQ2w9c0H4vYtN1aGm7KzP5dRs";
        format!(
            "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":1763000000,\"model\":\"gpt-4o-mini-2024-07-18\",\
             \"service_tier\":\"default\",\"system_fingerprint\":\"fp_0a1b2c3d4e\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\
             \"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
        )
    };
    (0..200).map(event).collect::<String>().into_bytes()
}

fn decode(stream: &[u8]) -> usize {
    #[derive(Debug)]
    struct Never;
    impl From<TooLong> for Never {
        fn from(_: TooLong) -> Self {
            Self
        }
    }
    let (mut decoder, mut bytes) = (Decoder::new(), 0);
    for read in stream.chunks(READ) {
        let all = decoder.feed(read, |event| {
            bytes += event.data.len();
            Ok::<_, Never>(())
        });
        all.unwrap();
    }
    bytes
}

/// A request of a chat with so many bytes, most of them one text.
fn request(bytes: usize) -> String {
    let body = |text: &str| {
        format!(
            r#"{{"model":"gpt-4o-mini","messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{text}"}}],"temperature":0.2,"max_tokens":256}}"#
        )
    };
    let rest = bytes - body("").len();
    body(&"lorem ipsum \\\"dolor\\\" sit amet ".repeat(rest / 29 + 1)[..rest - rest % 29])
}

fn members(request: &str) -> usize {
    Members::of(request).unwrap().iter().count()
}

const ANSWER: &str = r#"{"id":"chatcmpl-BxQ2w9c0H4vYtN1aGm7KzP5dRs","object":"chat.completion","created":1763000000,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"A trunk line is a main line between two exchanges, which many calls share.","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":21,"completion_tokens":17,"total_tokens":38,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_0a1b2c3d4e"}"#;

fn read_answer(text: &str) -> u64 {
    let answer: Answer<'_> = serde_json::from_str(text).unwrap();
    assert!(answer.has_choices());
    Usage::of(answer.usage.unwrap()).unwrap().total()
}

fn limiter() -> (RateLimiter, Instant) {
    let limits = RateLimits {
        requests_per_second: Some(1e9),
        tokens_per_minute: Some(1e15),
        burst: Some(1e9),
        ..RateLimits::default()
    };
    let now = Instant::now();
    (RateLimiter::new(&limits, now), now)
}

fn take_and_settle(limiter: &mut RateLimiter, now: Instant) {
    let cost = Cost { requests: 1.0, tokens: 300 };
    black_box(limiter.ready_at(cost, now));
    let reservation = limiter.take(cost, now);
    limiter.settle(reservation, Some(200), now);
}

fn circuits() -> (Arc<Circuits>, Arc<str>, Instant) {
    let now = Instant::now();
    (Circuits::new(BreakerPolicy::default(), now), "gpt-4o-mini".into(), now)
}

fn admit_and_settle(circuits: &Arc<Circuits>, model: &Arc<str>, now: Instant) {
    let guard = circuits.admit(model, now).unwrap();
    let _ = guard.settle(Outcome::Success, now);
}

#[divan::bench]
fn events_of_a_stream(bencher: Bencher<'_, '_>) {
    let stream = stream();
    bencher.counter(BytesCount::of_slice(&stream)).bench_local(|| decode(&stream));
}

#[divan::bench(args = [4096, 64 * 1024, 1024 * 1024])]
fn members_of_a_request(bencher: Bencher<'_, '_>, bytes: usize) {
    let request = request(bytes);
    bencher.counter(BytesCount::of_str(&request)).bench_local(|| members(&request));
}

#[divan::bench]
fn reading_an_answer(bencher: Bencher<'_, '_>) {
    bencher.counter(BytesCount::of_str(ANSWER)).bench_local(|| read_answer(ANSWER));
}

#[divan::bench]
fn a_limit_taken_and_settled(bencher: Bencher<'_, '_>) {
    let (mut limiter, now) = limiter();
    bencher.bench_local(|| take_and_settle(&mut limiter, now));
}

#[divan::bench]
fn a_circuit_passed_and_told(bencher: Bencher<'_, '_>) {
    let (circuits, model, now) = circuits();
    bencher.bench_local(|| admit_and_settle(&circuits, &model, now));
}
