//! What a whole call costs on the runtime's thread, without JavaScript: chats over loopback, 64 at once, to an upstream in a process of its
//! own. Measured by hand and never judged, since machines are noisy; the counts of instructions are not:
//!
//! `cargo bench --no-default-features --bench call_cost` for processor time (Linux), and
//! `valgrind --tool=callgrind TARGET/release/deps/call_cost-… COUNT` with two counts for the instructions of the calls between them; a name
//! of what is measured after the count (`kept`) for others than those with the defaults.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use trunkline::client::{Answer, Call, Client, Endpoint};
use trunkline::config::Environment;
use trunkline::error::Error;
use trunkline::mock::{MockOptions, MockUpstream};
use trunkline::pool::Tasks;

const AT_ONCE: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("upstream") => upstream(),
        count => {
            let only = arguments.get(1).map(String::as_str);
            measure(count.map_or(20_000, |count| count.parse().unwrap()), only);
        }
    }
}

/// Answers until its parent has gone.
fn upstream() {
    let upstream = MockUpstream::start(serde_json::from_value::<MockOptions>(json!({})).unwrap()).unwrap();
    println!("{}", upstream.url());
    let _ = std::io::stdin().read(&mut [0]);
}

fn measure(count: usize, only: Option<&str>) {
    let mut upstream = Command::new(std::env::current_exe().unwrap())
        .arg("upstream")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(upstream.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let everything = json!({
            "concurrency": { "max": 1000 },
            "rateLimit": { "requestsPerSecond": 1e6, "tokensPerMinute": 1e12, "burst": 1e6 },
            "alerts": { "p99": 60_000 },
        });
        // Answers that are kept, and never asked for again.
        let kept = json!({ "cache": { "when": "all" } });
        let all = [("defaults", json!({})), ("limits and alerts", everything), ("kept", kept)];
        for (what, options) in all.into_iter().filter(|(what, _)| only.is_none_or(|only| only == *what)) {
            let client = client(url.trim(), options);
            calls(&client, 0..AT_ONCE * 4).await;
            let before = on_processor();
            calls(&client, AT_ONCE * 4..AT_ONCE * 4 + count).await;
            let spent = on_processor() - before;
            println!("{what:24} {:>8.2} µs of processor time a call", spent as f64 / 1e3 / count as f64);
            if count < 20_000 {
                // One client is enough for whoever counts instructions.
                break;
            }
        }
    });
    drop(upstream.stdin.take());
    upstream.wait().unwrap();
}

fn client(url: &str, options: Value) -> Arc<Client> {
    let mut all = json!({ "baseURL": format!("{url}/v1"), "apiKey": "k" });
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    Arc::new(Client::new(all, &Environment::default(), &tasks, Box::new(|_| {}), Box::new(|| {})).unwrap())
}

/// One call for each of the numbers, which its text has.
async fn calls(client: &Arc<Client>, numbers: Range<usize>) {
    let options = client.call_options(None).unwrap();
    let body = |number: usize| {
        let text = "hello ".repeat(40);
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}{number:08}"}}]}}"#)
    };
    // Boxed as at the border, or a task's cell would hold it.
    let one = |number| {
        let call = Call { endpoint: Endpoint::Chat, body: body(number), options: options.clone() };
        Box::pin(client.call(call))
    };
    let mut running: JoinSet<Result<Answer, Error>> = JoinSet::new();
    for (begun, number) in numbers.enumerate() {
        if begun >= AT_ONCE {
            running.join_next().await.unwrap().unwrap().unwrap();
        }
        running.spawn(one(number));
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap().unwrap();
    }
}

/// Nanoseconds that this thread has run.
fn on_processor() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
