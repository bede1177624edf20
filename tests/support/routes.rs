//! A client of several stand-ins, and what became of its calls there.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline::client::{Answer, Call, Client, Endpoint, Mode};
use trunkline::config::{CallKind, Environment};
use trunkline::error::Error;
use trunkline::mock::{FaultScope, Matcher, MockAnswer, MockFault, MockUpstream};
use trunkline::pool::Tasks;

use crate::support::{
    KEY, Streamed, Way, alone, body_of, merge, meta_of, request, start, stream, tell, until,
};

/// More often than any call tries.
pub const OFTEN: u32 = 20;
/// Providers by these names, and `m-a` is what `a` calls the model `m`.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Upstreams, and a client whose models `m` and `e` lead to each of them in turn.
pub struct Routed {
    pub upstreams: Vec<MockUpstream>,
    pub client: Arc<Client>,
    tasks: Tasks,
}

impl Routed {
    /// So many upstreams of OpenAI's protocol.
    pub fn of(way: Way, upstreams: usize, client: Value) -> Self {
        Self::speaking(way, &["openai"; 3][..upstreams], client)
    }

    /// An upstream for each of these protocols, and further options of the client.
    pub fn speaking(way: Way, protocols: &[&str], client: Value) -> Self {
        let upstream = json!({ "tls": way == Way::H2, "http2": way != Way::H1 });
        let upstreams: Vec<_> = protocols.iter().map(|_| start(upstream.clone())).collect();
        let pool = match way {
            Way::H1 => json!({}),
            Way::H2c => json!({ "http2": "prior-knowledge" }),
            Way::H2 => json!({ "tls": { "ca": upstreams[0].ca().unwrap() } }),
        };
        let provider = |(upstream, protocol): (&MockUpstream, &&str)| {
            let version = if *protocol == "openai" { "/v1" } else { "" };
            let base = format!("{}{version}", upstream.url());
            json!({ "baseURL": base, "apiKey": KEY, "protocol": protocol })
        };
        let providers = NAMES.iter().map(|name| (*name).to_owned());
        let providers: Map<String, Value> =
            providers.zip(upstreams.iter().zip(protocols).map(provider)).collect();
        let targets = |model: &str| -> Vec<Value> {
            let names = NAMES.iter().take(protocols.len());
            names.map(|name| json!({ "provider": name, "model": format!("{model}-{name}") })).collect()
        };
        let base = json!({
            "providers": providers,
            "routes": { "m": targets("m"), "e": targets("e") },
            "retry": { "baseDelay": 1, "maxDelay": 5 },
            // Many failures in a row are what these tests are about.
            "circuitBreaker": false,
            "pool": merge(json!({ "idleTimeout": alone() }), pool),
        });
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let options = merge(base, client);
        let client =
            Client::new(options, &Environment::default(), &tasks, Box::new(|_| {}), Box::new(|| {})).unwrap();
        client.events().listen(true);
        Self { upstreams, client: Arc::new(client), tasks }
    }

    /// The requests of this upstream meet the fault.
    pub fn fault(&self, at: usize, fault: Value, scope: Value) {
        let fault = serde_json::from_value::<MockFault>(fault).unwrap();
        self.upstreams[at].fault(fault, serde_json::from_value::<FaultScope>(scope).unwrap());
    }

    /// What this upstream answers requests with whose bodies hold these fields, in OpenAI's shape.
    pub fn reply(&self, at: usize, fields: Value, answer: Value) {
        let Value::Object(fields) = fields else { panic!("fields") };
        let answer = serde_json::from_value::<MockAnswer>(answer).unwrap();
        self.upstreams[at].reply(Matcher::Fields(fields), answer);
    }

    pub fn reset(&self) {
        self.upstreams.iter().for_each(MockUpstream::reset);
        self.client.events().take();
    }

    pub fn seen(&self) -> Vec<usize> {
        self.upstreams.iter().map(|upstream| upstream.requests().len()).collect()
    }

    /// The bodies that an upstream was sent.
    pub fn bodies(&self, at: usize) -> Vec<Value> {
        self.upstreams[at].requests().into_iter().map(|request| request.body).collect()
    }

    /// `a/m-a > b/m-b ERR_CONNECTION`, for each fail-over since the last time.
    pub fn failovers(&self) -> Vec<String> {
        let (events, lost) = self.client.events().take();
        assert_eq!(lost, 0);
        let told = events.iter().map(|event| serde_json::to_value(event).unwrap());
        let failovers = told.filter(|event| event["event"] == "failover");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        failovers
            .map(|one| format!("{} > {} {}", text(&one["from"]), text(&one["to"]), text(&one["reason"])))
            .collect()
    }

    pub fn metric(&self, name: &str) -> u64 {
        self.metrics()["requests"][name].as_u64().unwrap()
    }

    pub fn metrics(&self) -> Value {
        serde_json::to_value(self.client.metrics()).unwrap()
    }

    pub fn make(&self, endpoint: Endpoint, body: &Value, options: Value) -> Call {
        let options = (options != json!({})).then_some(options);
        Call { endpoint, body: body.to_string(), options: self.client.call_options(options).unwrap() }
    }

    pub async fn call(&self, endpoint: Endpoint, body: &Value, options: Value) -> Result<Answer, Error> {
        self.client.call(self.make(endpoint, body, options)).await
    }

    pub async fn stream(&self, mode: Mode, body: &Value, options: Value) -> Streamed {
        stream(&self.client, self.make(Endpoint::Chat, body, options), mode).await
    }

    /// Waits until nothing is under way or held.
    pub async fn quiet(&self) {
        until("all given back", || {
            let now = self.metrics();
            now["requests"]["inFlight"] == 0
                && now["pool"]["connections"]["active"] == 0
                && now["pool"]["streams"]["active"] == 0
        })
        .await;
    }

    /// How a call ended, how often each upstream was asked since `before`, and each fail-over.
    pub fn told(&self, result: &Result<Answer, Error>, before: &[usize]) -> String {
        let seen: Vec<_> =
            self.seen().iter().zip(before).map(|(now, then)| (now - then).to_string()).collect();
        let mut told = format!("{}; seen {}", tell(result), seen.join(","));
        for failover in self.failovers() {
            told.push_str(&format!("; {failover}"));
        }
        told
    }
}

/// Who answered, as the meta and the answer itself have it.
pub fn answered_by(answer: &Answer) -> String {
    let (meta, body) = (meta_of(answer), body_of(answer));
    assert_eq!(meta["model"], body["model"]);
    assert_eq!(meta["usage"], body["usage"]);
    format!("{}/{}", meta["provider"].as_str().unwrap(), meta["model"].as_str().unwrap())
}

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Chat,
    Stream,
    /// A chat that comes as a stream, and is handed over as a whole.
    Wire,
    Embed,
}

pub const FORMS: [Form; 4] = [Form::Chat, Form::Stream, Form::Wire, Form::Embed];

impl Form {
    pub async fn result(self, site: &Routed, options: Value) -> Result<Answer, Error> {
        match self {
            Self::Chat => site.call(Endpoint::Chat, &request(), options).await,
            Self::Stream => site.stream(Mode::Objects, &request(), options).await.result,
            Self::Wire => {
                let options = merge(options, json!({ "wire": "stream" }));
                let options = site.client.call_options_of(CallKind::Whole, Some(options)).unwrap();
                let call = Call { endpoint: Endpoint::Chat, body: request().to_string(), options };
                site.client.call(call).await
            }
            Self::Embed => {
                site.call(Endpoint::Embeddings, &json!({ "model": "e", "input": "a" }), options).await
            }
        }
    }

    /// The end, and what was told of it; texts have the names of models as of a chat.
    pub async fn end(self, site: &Routed) -> String {
        let before = site.seen();
        let end = site.told(&self.result(site, json!({})).await, &before);
        if self == Self::Embed { end.replace("/e-", "/m-") } else { end }
    }
}

/// An answer of this status.
pub fn status(status: u16, body: Value) -> Value {
    match body {
        Value::Null => json!({ "kind": "status", "status": status }),
        body => json!({ "kind": "status", "status": status, "body": body }),
    }
}

/// The code of an error in OpenAI's shape.
pub fn coded(number: u16, code: &str) -> Value {
    status(number, json!({ "error": { "code": code, "message": "no" } }))
}
