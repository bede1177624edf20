//! Calls by the hundred, each held against what it must say, and what became of them.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use trunkline::client::{Endpoint, Mode};
use trunkline::mock::{Matcher, MockUpstream, RecordedRequest};

use crate::peer::{FRONTS, Front, Peer};
use crate::support::{Site, body_of, merge, said, start, stream, tell, until, with};

/// What the upstream says.
pub const SAID: &str = "What a server in between must not change.";

/// An upstream that says [`SAID`], over HTTP/1.1 as servers in front of it ask.
pub fn upstream(options: Value) -> MockUpstream {
    let upstream = start(merge(json!({ "http2": false }), options));
    let answer = serde_json::from_value(json!({ "content": SAID })).unwrap();
    upstream.reply(Matcher::Fields(Map::new()), answer);
    upstream
}

/// How many calls came to each end, in the words of [`tell`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends(BTreeMap<String, usize>);

impl Ends {
    fn of_all(all: Vec<String>) -> Self {
        let mut ends = Self::default();
        for end in all {
            *ends.0.entry(end).or_default() += 1;
        }
        ends
    }

    pub fn count(&self) -> usize {
        self.0.values().sum()
    }

    pub fn add(&mut self, more: Self) {
        for (end, count) in more.0 {
            *self.0.entry(end).or_default() += count;
        }
    }

    /// How many ended so.
    pub fn of(&self, end: &str) -> usize {
        self.0.get(end).copied().unwrap_or(0)
    }

    /// Every call ended well, at whichever attempt.
    #[track_caller]
    pub fn are_well(&self) {
        assert!(self.count() > 0 && self.0.keys().all(|end| end.starts_with("ok")), "{self:?}");
    }

    /// Every call ended as one of these.
    #[track_caller]
    pub fn are(&self, ends: &[&str]) {
        assert!(self.count() > 0 && self.0.keys().all(|end| ends.contains(&end.as_str())), "{self:?}");
    }
}

/// One call, for a whole answer or a stream, and how it ended. What it says must be whole.
pub fn call(
    site: &Site,
    streamed: bool,
    model: &str,
    options: Value,
) -> impl Future<Output = String> + Send + use<> {
    let client = site.client.clone();
    let call = site.make(Endpoint::Chat, &with(json!({ "model": model })), options);
    async move {
        if streamed {
            let streamed = stream(&client, call, Mode::Text).await;
            if streamed.result.is_ok() {
                assert_eq!(streamed.text, SAID);
            }
            return tell(&streamed.result);
        }
        let result = client.call(call).await;
        if let Ok(answer) = &result {
            assert_eq!(said(&body_of(answer)), SAID);
        }
        tell(&result)
    }
}

/// A whole answer.
pub async fn chat(site: &Site, options: Value) -> String {
    call(site, false, "m", options).await
}

/// A stream.
pub async fn streamed(site: &Site, options: Value) -> String {
    call(site, true, "m", options).await
}

/// Calls that are all under way together, every other one a stream.
pub async fn volley(site: &Site, calls: usize) -> Ends {
    let call = |number: usize| call(site, !number.is_multiple_of(2), "m", json!({}));
    Ends::of_all((0..calls).map(call).collect::<JoinSet<_>>().join_all().await)
}

/// One volley after the other.
pub async fn volleys(site: &Site, volleys: usize, calls: usize) -> Ends {
    let mut ends = Ends::default();
    for _ in 0..volleys {
        ends.add(volley(site, calls).await);
    }
    ends
}

/// Volleys of eight, over each way and in many lanes, some of which begin just when the server, which closes what has been idle for a
/// second, does so. What came of them, by way, and how often sockets were closed by the server.
pub async fn around_a_second(
    peer: &Peer,
    upstream: &MockUpstream,
    options: Value,
) -> BTreeMap<Front, (Ends, u64)> {
    const PAUSES: [u64; 11] = [950, 980, 990, 996, 998, 999, 1000, 1001, 1002, 1005, 1020];
    let mut lanes = JoinSet::new();
    for front in FRONTS {
        for pause in PAUSES {
            let site = peer.site(front, upstream, options.clone());
            lanes.spawn(async move {
                let mut ends = Ends::default();
                for _ in 0..5 {
                    ends.add(volley(&site, 8).await);
                    // What is shown needs real time: the server has a clock of its own.
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                let closed = &site.metrics()["pool"]["closed"];
                (front, ends, closed["server"].as_u64().unwrap() + closed["goaway"].as_u64().unwrap())
            });
        }
    }
    let mut by_front = BTreeMap::<_, (Ends, u64)>::new();
    for (front, ends, closed) in lanes.join_all().await {
        let all = by_front.entry(front).or_default();
        all.0.add(ends);
        all.1 += closed;
    }
    by_front
}

/// Volleys while something is done to the server, and streams that began before it. Returns what came of the streams and of the others.
pub async fn through(site: &Site, meanwhile: impl Future<Output = ()>) -> (Ends, Ends) {
    const STREAMS: usize = 5;
    // They have begun to speak, and stop in the middle of it for a while.
    let pause = json!({ "kind": "stall", "afterTokens": 3, "for": 600 });
    site.fault(pause, json!({ "times": STREAMS, "model": "slow" }));
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as f64;
    let streams: JoinSet<_> = (0..STREAMS).map(|_| call(site, true, "slow", json!({}))).collect();
    let of_them = |request: &&RecordedRequest| request.body["model"] == "slow" && request.at >= begun;
    until("the streams have begun", || {
        site.upstream.requests().iter().rev().filter(of_them).count() == STREAMS
    })
    .await;
    let over = Cell::new(false);
    let load = async {
        let mut ends = Ends::default();
        while !over.get() {
            ends.add(volley(site, 10).await);
        }
        ends
    };
    let meanwhile = async {
        meanwhile.await;
        over.set(true);
    };
    let (mut ends, ()) = tokio::join!(load, meanwhile);
    ends.add(volleys(site, 3, 10).await);
    (Ends::of_all(streams.join_all().await), ends)
}

/// Calls for whole answers while the server is stopped and started again, and after it.
pub async fn restarted(site: &Site, peer: &mut Peer) -> Ends {
    let chats = || (0..10).map(|_| call(site, false, "m", json!({}))).collect::<JoinSet<_>>().join_all();
    let mut ends = Ends::of_all(chats().await);
    let over = Cell::new(false);
    let load = async {
        while !over.get() {
            ends.add(Ends::of_all(chats().await));
        }
    };
    let restart = async {
        peer.stop().await;
        peer.restart().await;
        over.set(true);
    };
    tokio::join!(load, restart);
    ends
}
