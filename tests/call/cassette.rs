//! Answers from a file: recorded as they came, replayed without a network, missed with a word about what comes nearest.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;
use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline::client::{Answer, Call, Cassette, Client, Endpoint, Mode};
use trunkline::error::{Error, Kind};
use trunkline::pool::Tasks;

/// A path of a file that is not there, removed again with all that is beside it.
struct Tape(PathBuf);

impl Tape {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("trunkline-tape-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name).join("tape.json"))
    }

    fn open(&self, mode: &str, redact: &[&str]) -> Result<Value, Error> {
        let number = Cassette::open(json!({ "path": self.0, "mode": mode, "redact": redact }))?;
        Ok(json!({ "cassette": { "\u{0}kind": "a cassette", "cassette": number } }))
    }

    fn options(&self, mode: &str) -> Value {
        self.open(mode, &[]).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }

    fn interactions(&self) -> Vec<Value> {
        let file: Value = serde_json::from_str(&self.text()).unwrap();
        file["interactions"].as_array().unwrap().clone()
    }

    /// The bodies of the requests, in their order.
    fn prompts(&self) -> Vec<String> {
        let prompt =
            |one: &Value| one["request"]["json"]["messages"][0]["content"].as_str().map(str::to_owned);
        self.interactions().iter().map(|one| prompt(one).unwrap()).collect()
    }

    /// An upstream and a client that records from it.
    fn site(&self, mode: &str, upstream: Value, client: Value) -> Site {
        Site::with(Way::H1, upstream, merge(self.options(mode), client))
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn tasks() -> Tasks {
    Tasks::new(tokio::runtime::Handle::current())
}

async fn ask(client: &Arc<Client>, endpoint: Endpoint, body: &Value) -> Result<Answer, Error> {
    let options = client.call_options(None).unwrap();
    client.call(Call { endpoint, body: body.to_string(), options }).await
}

async fn chat(client: &Arc<Client>, prompt: &str) -> Result<String, Error> {
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": prompt }] });
    ask(client, Endpoint::Chat, &body).await.map(|answer| said(&body_of(&answer)).to_owned())
}

/// Nothing was opened, and nothing was tried.
fn assert_no_network(client: &Client) {
    let pool = serde_json::to_value(client.metrics()).unwrap()["pool"].clone();
    assert_eq!((&pool["opened"], &pool["connections"]["connecting"]), (&json!(0), &json!(0)));
    assert_eq!(pool["origins"], json!([]));
}

#[tokio::test]
async fn what_was_recorded_is_replayed_whatever_it_was_and_nothing_is_connected() {
    let tape = Tape::new();
    for way in WAYS {
        let _ = fs::remove_file(&tape.0);
        let site = Site::with(way, json!({}), tape.options("record"));
        let whole = body_of(&site.chat().await.unwrap());
        let streamed = site.stream(Mode::Objects).await;
        let vectors = body_of(&site.embed(json!(["a", "b"])).await.unwrap());
        let models = site.make(Endpoint::Get("/models".into()), &json!({}), json!({}));
        let models = body_of(&site.client.call(models).await.unwrap());
        let posted = body_of(&site.post(json!({})).await.unwrap());
        let url = site.upstream.url();
        site.upstream.close();
        site.upstream.closed().await;

        // Nobody is there any more.
        let client = client_of(&url, tape.options("replay"), &tasks());
        let replayed = ask(&client, Endpoint::Chat, &request()).await.unwrap();
        assert_eq!(body_of(&replayed), whole);
        let meta = meta_of(&replayed);
        assert_eq!((&meta["status"], &meta["connection"]), (&json!(200), &Value::Null));
        let call = Call {
            endpoint: Endpoint::Chat,
            body: request().to_string(),
            options: client.call_options(None).unwrap(),
        };
        let again = stream(&client, call, Mode::Objects).await;
        assert_eq!(again.chunks, streamed.chunks);
        assert_eq!(body_of(&again.result.unwrap()), body_of(&streamed.result.unwrap()));
        let input = json!({ "model": "e", "input": ["a", "b"] });
        assert_eq!(body_of(&ask(&client, Endpoint::Embeddings, &input).await.unwrap()), vectors);
        let get = ask(&client, Endpoint::Get("/models".into()), &json!({})).await.unwrap();
        assert_eq!(body_of(&get), models);
        let post = ask(&client, Endpoint::Post("/chat/completions".into()), &request()).await.unwrap();
        assert_eq!(body_of(&post), posted);
        client.warm(3, None).await.unwrap();
        assert_no_network(&client);
    }
}

#[tokio::test]
async fn each_protocol_is_replayed_in_its_own_words() {
    let tape = Tape::new();
    for (protocol, key) in [("anthropic", "x-api-key"), ("gemini", "x-goog-api-key")] {
        let _ = fs::remove_file(&tape.0);
        let upstream = start(json!({}));
        let own = |mode: &str| {
            let options =
                merge(tape.options(mode), json!({ "protocol": protocol, "baseURL": upstream.url() }));
            client_of(&upstream.url(), options, &tasks())
        };
        let client = own("record");
        let whole = chat(&client, "hello").await.unwrap();
        let call = |client: &Arc<Client>| Call {
            endpoint: Endpoint::Chat,
            body: request().to_string(),
            options: client.call_options(None).unwrap(),
        };
        let streamed = stream(&client, call(&client), Mode::Text).await;
        assert!(!tape.text().contains(KEY) && !tape.text().contains(key));
        upstream.close();
        upstream.closed().await;
        let client = own("replay");
        assert_eq!(chat(&client, "hello").await.unwrap(), whole);
        assert_eq!(stream(&client, call(&client), Mode::Text).await.text, streamed.text);
        assert_no_network(&client);
    }
}

#[tokio::test]
async fn a_stream_is_written_event_by_event_and_replayed_in_its_pieces() {
    let tape = Tape::new();
    let site = tape.site("record", json!({}), json!({}));
    site.says(json!({ "content": "one two three", "chunks": 3 }));
    site.stream(Mode::Text).await.result.unwrap();
    let [interaction] = &tape.interactions()[..] else { panic!("one") };
    let pieces = interaction["response"]["stream"].as_array().unwrap();
    let events: Vec<&Value> = pieces
        .iter()
        .flat_map(|piece| piece.as_array().map_or(vec![piece], |many| many.iter().collect()))
        .collect();
    let text: String =
        events.iter().filter_map(|event| event.pointer("/data/choices/0/delta/content")?.as_str()).collect();
    assert_eq!(text, "one two three");
    assert_eq!(*events.last().unwrap(), "data: [DONE]\n\n");
}

#[tokio::test]
async fn no_key_is_in_a_file_wherever_it_stood() {
    let tape = Tape::new();
    let headers = json!({ "set-cookie": "session=c00kie", "x-echo": format!("you sent {KEY}"), "openai-organization": "acme" });
    let options =
        tape.open("record", &["openai-organization", "$.user", "$.choices[*].message.content"]).unwrap();
    let site = Site::with(Way::H1, json!({}), options);
    site.says(json!({ "content": format!("a word and {KEY}"), "headers": headers }));
    let body = with(json!({
        "user": "anna", "metadata": { "note": format!("my key is {KEY}") }, "tools": [{ "authorization": "Bearer t0ken" }],
    }));
    let call =
        site.make(Endpoint::Post("/chat/completions?key=qu3ry&api-version=2".into()), &body, json!({}));
    site.client.call(call).await.unwrap();
    let text = tape.text();
    for secret in [KEY, "c00kie", "t0ken", "qu3ry", "anna", "acme", "a word", "authorization\": \"B"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(text.contains("api-version=2") && text.contains("you sent REDACTED"));
    // What is hidden makes no difference.
    let options = tape.open("replay", &["$.user"]).unwrap();
    let client =
        client_of(&site.upstream.url(), merge(options, json!({ "apiKey": "another-key-0" })), &tasks());
    let mut other = body;
    (other["user"], other["tools"][0]["authorization"]) = ("otto".into(), "Bearer other".into());
    other["metadata"]["note"] = "my key is REDACTED".into();
    ask(&client, Endpoint::Post("/chat/completions?api-version=2&key=other".into()), &other)
        .await
        .unwrap_err();
    ask(&client, Endpoint::Post("/chat/completions?key=other&api-version=2".into()), &other).await.unwrap();
}

#[tokio::test]
async fn errors_are_recorded_and_replayed_without_their_waits() {
    let tape = Tape::new();
    let site =
        tape.site("record", json!({}), json!({ "retry": { "baseDelay": 1, "maxRetryAfter": 60_000 } }));
    site.once(json!({ "kind": "status", "status": 503 }));
    site.chat().await.unwrap();
    let text = tape.text();
    assert_eq!(tape.interactions().len(), 2);
    // As if it had said to come back in half a minute, and that nothing is left until then.
    let limits = "\"retry-after\": \"30\", \"x-ratelimit-remaining-requests\": \"0\", \"x-ratelimit-reset-requests\": \"30s\",";
    let text = text
        .replacen("\"status\": 503", "\"status\": 429", 1)
        .replace("\"headers\": {", &format!("\"headers\": {{ {limits}"));
    fs::write(&tape.0, text).unwrap();

    tokio::time::pause();
    let options = merge(
        tape.options("replay"),
        json!({ "retry": { "baseDelay": 1000, "maxDelay": 8000 }, "rateLimit": { "requestsPerMinute": 1 } }),
    );
    let client = client_of(&site.upstream.url(), options, &tasks());
    let began = Instant::now();
    for _ in 0..3 {
        let answer = ask(&client, Endpoint::Chat, &request()).await.unwrap();
        let attempts = meta_of(&answer)["attempts"].as_array().unwrap().clone();
        // The second and the third find the last recording, which is good.
        assert!(matches!(attempts.len(), 1 | 2));
    }
    let metrics = serde_json::to_value(client.metrics()).unwrap();
    assert_eq!(metrics["requests"]["retried"], 1);
    assert_eq!(began.elapsed().as_millis(), 0, "the clock stands still while nobody waits for it");
    assert_no_network(&client);
}

#[tokio::test]
async fn a_miss_names_the_nearest_and_is_tried_nowhere_else() {
    let tape = Tape::new();
    let site = tape.site("record", json!({}), json!({}));
    chat(&site.client, "a secret of the house").await.unwrap();
    let providers = json!({
        "a": { "baseURL": format!("{}/v1", site.upstream.url()) }, "b": { "baseURL": "http://b.invalid/v1" },
    });
    let options = merge(
        tape.options("replay"),
        json!({
            "providers": providers,
            "routes": { "m": [{ "provider": "a" }, { "provider": "b" }] },
            "circuitBreaker": { "failureThreshold": 1 },
        }),
    );
    let client = Arc::new(
        Client::new(
            merge(json!({ "pool": { "idleTimeout": alone() } }), options),
            &trunkline::config::Environment::default(),
            &tasks(),
            Box::new(|_| {}),
            Box::new(|| {}),
        )
        .unwrap(),
    );
    for _ in 0..3 {
        let error = chat(&client, "a secret of the garden").await.unwrap_err();
        assert!(matches!(error.kind, Kind::CassetteMiss { .. }));
        assert_eq!(error.name_and_code(), ("CassetteMissError", "ERR_CASSETTE_MISS"));
        assert_eq!(
            error.message,
            format!(
                "no recording of POST /v1/chat/completions in {}; the nearest of 1 is interactions[0], POST /v1/chat/completions, where \
                 body.messages[0].content differs from character 17 on",
                tape.0.display()
            )
        );
        let told: Value = serde_json::from_str(&error.to_json()).unwrap();
        assert_eq!((&told["retryable"], &told["billed"]), (&json!(false), &json!("no")));
        assert_eq!(told["attempts"].as_array().unwrap().len(), 1);
    }
    assert!(!chat(&client, "a secret of the house").await.unwrap().is_empty());
    let metrics = serde_json::to_value(client.metrics()).unwrap();
    assert_eq!((&metrics["requests"]["failedOver"], &metrics["requests"]["retried"]), (&json!(0), &json!(0)));
    assert_no_network(&client);
}

#[tokio::test]
async fn equal_requests_find_one_recording_after_the_other_and_then_the_last_again() {
    let tape = Tape::new();
    let site = tape.site("record", json!({}), json!({}));
    for word in ["one", "two"] {
        site.says(json!(word));
        chat(&site.client, "count").await.unwrap();
    }
    let client = client_of(&site.upstream.url(), tape.options("replay"), &tasks());
    let mut words = Vec::new();
    for _ in 0..4 {
        words.push(chat(&client, "count").await.unwrap());
    }
    assert_eq!(words, ["one", "two", "two", "two"]);
    // Another cassette of the same file begins at its beginning.
    let other = client_of(&site.upstream.url(), tape.options("replay"), &tasks());
    assert_eq!(chat(&other, "count").await.unwrap(), "one");
}

#[tokio::test]
async fn clients_of_one_cassette_count_together() {
    let tape = Tape::new();
    let site = tape.site("record", json!({}), json!({}));
    for word in ["one", "two"] {
        site.says(json!(word));
        chat(&site.client, "count").await.unwrap();
    }
    let options = tape.options("replay");
    let clients = [(); 2].map(|()| client_of(&site.upstream.url(), options.clone(), &tasks()));
    assert_eq!(chat(&clients[0], "count").await.unwrap(), "one");
    assert_eq!(chat(&clients[1], "count").await.unwrap(), "two");
}

#[tokio::test]
async fn auto_replays_what_there_was_and_records_what_there_was_not_each_time() {
    let tape = Tape::new();
    let site = tape.site("auto", json!({}), json!({}));
    site.says(json!("first"));
    assert_eq!(chat(&site.client, "old").await.unwrap(), "first");
    let again = client_of(&site.upstream.url(), tape.options("auto"), &tasks());
    site.says(json!("second"));
    for (prompt, expected) in [("old", "first"), ("new", "second"), ("old", "first"), ("new", "second")] {
        assert_eq!(chat(&again, prompt).await.unwrap(), expected);
    }
    assert_eq!(site.seen(), 3);
    assert_eq!(tape.prompts(), ["old", "new", "new"]);
}

#[tokio::test]
async fn record_replaces_what_the_file_had_and_cassettes_of_one_process_do_not_undo_each_other() {
    let tape = Tape::new();
    let site = tape.site("auto", json!({}), json!({}));
    chat(&site.client, "stale").await.unwrap();
    // As another process would find it.
    let other = Tape::new();
    fs::create_dir_all(other.0.parent().unwrap()).unwrap();
    fs::copy(&tape.0, &other.0).unwrap();
    let first = client_of(&site.upstream.url(), other.options("record"), &tasks());
    let second = client_of(&site.upstream.url(), other.options("record"), &tasks());
    assert_eq!(other.prompts(), ["stale"], "nothing is lost before there is something new");
    chat(&first, "a").await.unwrap();
    chat(&second, "b").await.unwrap();
    let third = client_of(&site.upstream.url(), other.options("record"), &tasks());
    site.says(json!("anew"));
    chat(&third, "a").await.unwrap();
    assert_eq!(other.prompts(), ["a", "b"]);
    let replayed = client_of(&site.upstream.url(), other.options("replay"), &tasks());
    assert_eq!(chat(&replayed, "a").await.unwrap(), "anew");
}

#[tokio::test]
async fn many_at_once_are_all_in_the_file() {
    let tape = Tape::new();
    let upstream = start(json!({ "latency": 5 }));
    let options = tape.options("record");
    let clients: Vec<_> = (0..4).map(|_| client_of(&upstream.url(), options.clone(), &tasks())).collect();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let client = clients[number % 4].clone();
        calls.spawn(async move { chat(&client, &format!("number {number}")).await.unwrap() });
    }
    calls.join_all().await;
    for client in &clients {
        client.settle_cassette().await.unwrap();
    }
    let mut prompts = tape.prompts();
    prompts.sort_by_key(|prompt| prompt["number ".len()..].parse::<usize>().unwrap());
    assert_eq!(prompts, (0..100).map(|number| format!("number {number}")).collect::<Vec<_>>());
    upstream.close();
    let replayed = client_of(&upstream.url(), tape.options("replay"), &tasks());
    for number in 0..100 {
        chat(&replayed, &format!("number {number}")).await.unwrap();
    }
}

#[tokio::test]
async fn what_another_process_has_recorded_meanwhile_stays() {
    let (tape, other) = (Tape::new(), Tape::new());
    let site = tape.site("auto", json!({}), json!({}));
    let theirs = client_of(&site.upstream.url(), other.options("auto"), &tasks());
    chat(&site.client, "ours").await.unwrap();
    chat(&theirs, "theirs").await.unwrap();
    fs::copy(&other.0, &tape.0).unwrap();
    chat(&site.client, "ours too").await.unwrap();
    site.client.settle_cassette().await.unwrap();
    assert_eq!(tape.prompts(), ["ours", "ours too", "theirs"]);
}

#[tokio::test]
async fn a_file_that_is_no_cassette_is_refused_and_left_alone() {
    let tape = Tape::new();
    let site = tape.site("auto", json!({}), json!({}));
    chat(&site.client, "one").await.unwrap();
    let broken = tape.text().replace("\"status\": 200", "\"status\": <<<");
    fs::write(&tape.0, &broken).unwrap();
    for mode in ["replay", "auto", "record"] {
        let error = tape.open(mode, &[]).unwrap_err();
        assert!(matches!(error.kind, Kind::Config));
        assert!(
            error.message.starts_with(&format!("cassette: {}, line 19, column ", tape.0.display())),
            "{}",
            error.message
        );
    }
    // Nor does a client that has it open already write over it.
    let error = match chat(&site.client, "two").await {
        Err(error) => error,
        Ok(_) => site.client.settle_cassette().await.unwrap_err(),
    };
    assert!(matches!(error.kind, Kind::Config), "{error:?}");
    assert_eq!(tape.text(), broken);
}

#[tokio::test]
async fn a_call_whose_answer_cannot_be_written_says_so() {
    let tape = Tape::new();
    let site = tape.site("auto", json!({}), json!({}));
    // A file where a folder should be.
    let folder = tape.0.parent().unwrap();
    fs::write(folder, "").unwrap();
    let error = site.chat().await.unwrap_err();
    assert!(matches!(error.kind, Kind::Config));
    assert!(error.message.contains("tape.json cannot be written"), "{}", error.message);
    fs::remove_file(folder).unwrap();
}

#[tokio::test]
async fn what_had_no_answer_is_not_recorded() {
    let tape = Tape::new();
    let site = tape.site("record", json!({}), json!({ "retry": false }));
    for fault in
        [json!({ "kind": "reset" }), json!({ "kind": "garbage" }), json!({ "kind": "cut", "afterTokens": 3 })]
    {
        site.once(fault.clone());
        assert!(site.chat().await.is_err());
        site.once(fault);
        assert!(site.stream(Mode::Text).await.result.is_err());
    }
    site.client.settle_cassette().await.unwrap();
    assert!(!tape.0.exists());
    site.works().await;
    assert_eq!(tape.interactions().len(), 3);
}

#[tokio::test]
async fn a_stream_that_was_left_is_recorded_as_far_as_it_came_until_there_is_a_whole_one() {
    let tape = Tape::new();
    let site = tape.site("record", json!({ "tokensPerSecond": 200 }), json!({}));
    site.says(json!({ "content": "one two three four five six seven eight nine ten", "chunks": 10 }));
    let body = request();
    let make = |client: &Arc<Client>| Call {
        endpoint: Endpoint::Chat,
        body: body.to_string(),
        options: client.call_options(None).unwrap(),
    };
    // Its reader goes once something has come.
    let outlet = {
        let told = Arc::new(tokio::sync::Notify::new());
        let tell = told.clone();
        let outlet = Arc::new(trunkline::client::Outlet::new(Box::new(move |_| tell.notify_one())));
        outlet.choose(Mode::Text);
        tokio::select! {
            _ = site.client.stream(make(&site.client), outlet.clone()) => panic!("it takes longer"),
            () = told.notified() => {}
        }
        outlet
    };
    let seen = outlet.take().unwrap().text;
    site.client.settle_cassette().await.unwrap();
    assert_eq!(tape.interactions()[0]["response"]["cut"], true);
    let client = client_of(&site.upstream.url(), tape.options("replay"), &tasks());
    let replayed = stream(&client, make(&client), Mode::Text).await;
    assert!(replayed.text.starts_with(&seen));
    let error = replayed.result.unwrap_err();
    assert!(
        error.message.ends_with("the recording ends here, since its reader had left"),
        "{}",
        error.message
    );
    assert_no_network(&client);

    site.stream(Mode::Text).await.result.unwrap();
    site.client.settle_cassette().await.unwrap();
    let [whole] = &tape.interactions()[..] else { panic!("one") };
    assert_eq!(whole["response"].get("cut"), None);
}

#[tokio::test]
async fn another_origin_is_another_request_unless_origins_are_hidden() {
    let tape = Tape::new();
    let options = tape.open("record", &["origin"]).unwrap();
    let site = Site::with(Way::H1, json!({}), options);
    site.chat().await.unwrap();
    assert!(tape.text().contains("\"url\": \"https://redacted/v1/chat/completions\""));
    let client = client_of("http://elsewhere.invalid", tape.open("replay", &["origin"]).unwrap(), &tasks());
    ask(&client, Endpoint::Chat, &request()).await.unwrap();
    let client = client_of("http://elsewhere.invalid", tape.options("replay"), &tasks());
    let error = ask(&client, Endpoint::Chat, &request()).await.unwrap_err();
    assert!(
        error.message.contains("the origin is https://redacted and not http://elsewhere.invalid"),
        "{}",
        error.message
    );
    assert_no_network(&client);
}

#[tokio::test]
async fn no_function_is_asked_for_a_key_that_nobody_is_sent() {
    let tape = Tape::new();
    let site = tape.site("record", json!({}), json!({}));
    site.chat().await.unwrap();
    let function = json!({ "\u{0}kind": "a function", "function": 0 });
    let replayed = tape.site("replay", json!({}), json!({ "apiKey": function }));
    let client = client_of(
        &site.upstream.url(),
        merge(tape.options("replay"), json!({ "apiKey": function })),
        &replayed.tasks,
    );
    ask(&client, Endpoint::Chat, &request()).await.unwrap();
    client.rotate_key("default", function).unwrap();
    ask(&client, Endpoint::Chat, &request()).await.unwrap();
    assert!(replayed.chat().await.is_err(), "of another upstream there is none");
    assert_eq!(replayed.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_number_that_names_no_cassette_is_refused() {
    let wrong = json!({ "cassette": { "\u{0}kind": "a cassette", "cassette": 4_000_000_000_u32 } });
    let made = Client::new(
        wrong,
        &trunkline::config::Environment::default(),
        &tasks(),
        Box::new(|_| {}),
        Box::new(|| {}),
    );
    assert!(made.is_err());
}

#[tokio::test]
async fn no_rival_takes_the_recording_of_another() {
    let tape = Tape::new();
    let site = tape.site("record", json!({ "latency": 60 }), json!({ "hedge": { "delay": 1, "budget": 1 } }));
    chat(&site.client, "slow").await.unwrap();
    assert_eq!((site.seen(), tape.interactions().len()), (1, 1));
}
