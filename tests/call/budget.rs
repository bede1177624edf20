//! Budgets over real sockets: nobody spends beyond them, nothing is sent that would, what was spoken for comes back, and what was spent outlives
//! whatever ends the process.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::routes::*;
use crate::support::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trunkline::client::{Client, Endpoint};
use trunkline::config::Environment;
use trunkline::policy::money::Period;
use trunkline::pool::Tasks;

/// A dollar for a thousand tokens, in or out.
fn dear(more: Value) -> Value {
    merge(json!({ "pricing": { "m": { "input": 1000, "output": 1000 } } }), more)
}

/// Which costs ten cents: a hundred tokens.
fn ten_cents() -> Value {
    json!({ "content": "hi", "usage": { "prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100 } })
}

/// Of which the prompt is thought to have 16 tokens, so that it speaks for less than six cents.
fn short() -> Value {
    with(json!({ "max_tokens": 40 }))
}

fn site(budget: Value) -> Site {
    let site = Site::with(Way::H1, json!({}), dear(json!({ "budget": budget })));
    site.says(ten_cents());
    site.client.events().listen(true);
    site
}

async fn ask(site: &Site, options: Value) -> String {
    tell(&site.client.call(site.make(Endpoint::Chat, &short(), options)).await)
}

fn budget(client: &Client) -> Value {
    serde_json::to_value(client.costs(Period::All)).unwrap()["budget"].clone()
}

fn spent(client: &Client) -> f64 {
    budget(client)["spent"].as_f64().unwrap()
}

/// The shares that were told of, and of whom.
fn shares(client: &Client) -> Vec<(String, f64)> {
    let (events, _) = client.events().take();
    let told = events.iter().map(|event| serde_json::to_value(event).unwrap());
    let told = told.filter(|event| event["event"] == "budget");
    told.map(|event| (event["scope"].as_str().unwrap().to_owned(), event["share"].as_f64().unwrap()))
        .collect()
}

const OK: &str = "ok after yes";
const REFUSED: &str = "BudgetExceeded, billed no, after ";

#[tokio::test]
async fn a_call_that_would_go_beyond_is_refused_before_anything_is_sent() {
    let site = site(json!({ "limit": 1 }));
    for _ in 0..9 {
        assert_eq!(ask(&site, json!({})).await, OK);
    }
    // Ten cents are left, and the tenth is thought to cost less.
    assert_eq!(ask(&site, json!({})).await, OK);
    let refused = site.client.call(site.make(Endpoint::Chat, &short(), json!({}))).await.unwrap_err();
    let told: Value = serde_json::from_str(&refused.to_json()).unwrap();
    assert_eq!((&told["code"], &told["budget"]["limit"]), (&json!("ERR_BUDGET_EXCEEDED"), &json!(1.0)));
    assert_eq!((&told["budget"]["spent"], &told["retryable"]), (&json!(1.0), &json!(false)));
    assert!(told["budget"]["resetsAt"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!((&told["provider"], &told["model"]), (&json!("default"), &json!("m")));
    assert_eq!(site.seen(), 10);
    assert_eq!(shares(&site.client), [("all".into(), 0.5), ("all".into(), 0.8), ("all".into(), 1.0)]);
    assert_eq!(budget(&site.client)["reserved"], 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_side_by_side_do_not_go_beyond_it_together() {
    // Each speaks for 1 + its prompt of 16: more than it costs.
    let site =
        Arc::new(Site::with(Way::H2c, json!({ "latency": 20 }), dear(json!({ "budget": { "limit": 10 } }))));
    site.says(ten_cents());
    let body = with(json!({ "max_tokens": 1000 }));
    let mut calls = JoinSet::new();
    for _ in 0..400 {
        let (site, body) = (site.clone(), body.clone());
        calls.spawn(async move {
            let end = tell(&site.client.call(site.make(Endpoint::Chat, &body, json!({}))).await);
            assert!(end == OK || end.starts_with("BudgetExceeded"), "{end}");
            let now = budget(&site.client);
            let (spent, reserved) = (now["spent"].as_f64().unwrap(), now["reserved"].as_f64().unwrap());
            assert!(spent + reserved <= 10.0 + 0.1 * 10.0, "{spent} {reserved}");
        });
    }
    calls.join_all().await;
    let now = budget(&site.client);
    assert!(now["spent"].as_f64().unwrap() <= 10.0 && now["reserved"] == 0.0, "{now}");
    assert!(site.seen() >= 9);
    // What they only spoke for is there for others.
    assert_eq!(ask(&site, json!({})).await, OK);
}

#[tokio::test]
async fn what_only_calls_under_way_stand_in_the_way_of_may_go_later() {
    let site = Arc::new(site(json!({ "limit": 0.5 })));
    site.once(json!({ "kind": "silence", "for": 60_000 }));
    let holder = {
        let site = site.clone();
        tokio::spawn(async move {
            let body = with(json!({ "max_tokens": 400 }));
            let _ = site.client.call(site.make(Endpoint::Chat, &body, json!({}))).await;
        })
    };
    until("it is under way", || site.seen() == 1).await;
    let body = with(json!({ "max_tokens": 300 }));
    let refused = site.client.call(site.make(Endpoint::Chat, &body, json!({}))).await.unwrap_err();
    assert!(
        refused.retryable && refused.message.contains("reserved by calls under way"),
        "{}",
        refused.message
    );
    holder.abort();
    until("it has given back what it spoke for", || budget(&site.client)["reserved"] == 0.0).await;
    // The one that was left has cost its prompt.
    assert!(spent(&site.client) > 0.0 && spent(&site.client) < 0.1);
    assert_eq!(tell(&site.client.call(site.make(Endpoint::Chat, &body, json!({}))).await), OK);
}

#[tokio::test]
async fn a_refusal_says_what_the_call_was_reckoned_at_and_what_to_do() {
    for (budget, body, words) in [
        (
            json!({ "limit": 0.01 }),
            json!({ "max_tokens": 40 }),
            "$0.01 a month does not suffice: $0.00 spent; this call is reckoned at $0.059000, 19 tokens in and 40 out: lower its max_tokens, or raise the limit",
        ),
        (
            json!({ "limit": 0.01 }),
            json!({}),
            " tokens in and 256 out: give it max_tokens, or raise the limit",
        ),
        (
            json!({ "tokens": 10 }),
            json!({ "max_tokens": 40 }),
            "; this call is reckoned at 19 tokens in and 40 out: ",
        ),
    ] {
        let is_usd = budget["limit"] == 0.01;
        let site = site(budget);
        let call = site.make(Endpoint::Chat, &with(body), json!({}));
        let error = site.client.call(call).await.unwrap_err();
        assert!(error.message.contains(words), "{}", error.message);
        let told: Value = serde_json::from_str(&error.to_json()).unwrap();
        assert!(!is_usd || told["asked"].as_f64().unwrap() < 1.0, "{told}");
        assert!(is_usd || told["asked"] == 59.0, "{told}");
    }
}

#[tokio::test]
async fn every_reservation_comes_back_whatever_is_cancelled() {
    let site = Arc::new(site(json!({ "limit": 1000, "perTenant": 500, "perModel": { "m": 900 } })));
    let mut calls = JoinSet::new();
    for n in 0..600 {
        while calls.len() >= 30 {
            calls.join_next().await.unwrap().unwrap();
        }
        if n % 7 == 0 {
            let faults = [
                json!({ "kind": "status", "status": 500 }),
                json!({ "kind": "reset", "after": "request" }),
                json!({ "kind": "silence", "for": 10 }),
            ];
            site.once(fastrand::choice(faults).unwrap());
        }
        let site = site.clone();
        let patience = std::time::Duration::from_micros(fastrand::u64(0..3000));
        calls.spawn(async move {
            let _ = tokio::time::timeout(patience, site.chat_with(json!({ "tenant": "t" }))).await;
        });
    }
    while calls.join_next().await.is_some() {}
    site.upstream.reset();
    site.quiet().await;
    let now = budget(&site.client);
    let limits = now["limits"].as_array().unwrap();
    assert_eq!(limits.len(), 3);
    for limit in limits {
        assert_eq!((&limit["reserved"], &limit["spent"]), (&json!(0.0), &now["spent"]), "{limit}");
    }
    let report = serde_json::to_value(site.client.costs(Period::All)).unwrap();
    assert_eq!((&report["total"], &report["byTenant"]["t"]), (&now["spent"], &now["spent"]));
}

#[tokio::test]
async fn models_and_tenants_have_budgets_of_their_own_and_tokens_too() {
    let site = site(json!({ "tokens": 1000, "perTenant": { "limit": 0.3 }, "window": "month" }));
    for tenant in ["a", "b"] {
        for _ in 0..3 {
            assert_eq!(ask(&site, json!({ "tenant": tenant })).await, OK);
        }
        assert_eq!(ask(&site, json!({ "tenant": tenant })).await, REFUSED);
    }
    for _ in 0..4 {
        assert_eq!(ask(&site, json!({})).await, OK);
    }
    assert_eq!(ask(&site, json!({})).await, REFUSED);
    let refused = site.client.call(site.make(Endpoint::Chat, &short(), json!({}))).await.unwrap_err();
    let told: Value = serde_json::from_str(&refused.to_json()).unwrap();
    assert_eq!((&told["budget"]["unit"], &told["budget"]["spent"]), (&json!("tokens"), &json!(1000.0)));
}

#[tokio::test]
async fn where_one_model_is_too_dear_the_next_target_is_asked() {
    let options = json!({
        "pricing": { "m-a": { "input": 1000, "output": 1000 }, "m-b": { "input": 1, "output": 1 } },
        "budget": { "perModel": { "a/m-a": 0.19 } },
    });
    let routed = Routed::of(Way::H1, 2, options);
    for at in 0..2 {
        routed.reply(at, json!({}), ten_cents());
    }
    for (times, seen) in [[1, 0], [2, 0], [2, 1], [2, 2]].iter().enumerate() {
        assert_eq!(tell(&routed.call(Endpoint::Chat, &short(), json!({})).await), OK, "{times}");
        assert_eq!(routed.seen(), seen);
    }
    assert_eq!(routed.failovers(), ["a/m-a > b/m-b ERR_BUDGET_EXCEEDED"; 2]);
}

#[tokio::test]
async fn a_budget_that_only_alerts_refuses_nothing() {
    let site = site(json!({ "limit": 0.25, "onExceeded": "alert", "alertAt": [1] }));
    for _ in 0..5 {
        assert_eq!(ask(&site, json!({})).await, OK);
    }
    assert_eq!(shares(&site.client), [("all".into(), 1.0)]);
    assert!((spent(&site.client) - 0.5).abs() < 1e-9);
}

#[tokio::test]
async fn no_budget_in_dollars_holds_what_has_no_price() {
    let call = |budget: Value| async move {
        let site = Site::with(Way::H1, json!({}), json!({ "budget": budget }));
        let end = site.chat().await;
        (site.seen(), end.map_err(|error| error.message.clone()).map(drop))
    };
    let (seen, refused) = call(json!({ "limit": 1 })).await;
    assert!(seen == 0 && refused.unwrap_err().starts_with("pricing: has no price of 'default/m'"));
    for allowed in [
        json!({ "limit": 1, "unpriced": "allow" }),
        json!({ "limit": 1, "onExceeded": "alert" }),
        json!({ "tokens": 10_000 }),
        json!({ "perModel": { "other": 1 } }),
    ] {
        assert_eq!(call(allowed).await, (1, Ok(())));
    }
}

#[tokio::test]
async fn what_costs_nothing_that_is_known_needs_no_budget() {
    let site = site(json!({ "limit": 0.01 }));
    site.client.call(site.make(Endpoint::Get("/models".into()), &json!({}), json!({}))).await.unwrap();
    assert_eq!(ask(&site, json!({})).await, REFUSED);
}

// ───────────────────────────── the file ─────────────────────────────

/// A folder of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!(
            "trunkline-{name}-{}-{}",
            std::process::id(),
            fastrand::u32(..)
        ));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> String {
        self.0.join("budget.log").to_str().unwrap().to_owned()
    }

    /// The names of what is in it.
    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = names.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kept(file: &str) -> Value {
    json!({ "limit": 10, "perTenant": 5, "window": "month", "state": file })
}

#[tokio::test]
async fn what_was_spent_is_known_to_the_next_client() {
    let folder = Folder::new("next");
    for round in 1..=3 {
        let site = site(kept(&folder.file()));
        assert_eq!(ask(&site, json!({ "tenant": "t" })).await, OK);
        let now = budget(&site.client);
        assert_eq!(now["spent"], f64::from(round) / 10.0, "{now}");
        assert_eq!((&now["limits"][1]["name"], &now["limits"][1]["spent"]), (&json!("t"), &now["spent"]));
        assert_eq!(now["problem"], Value::Null);
    }
    assert_eq!(folder.names(), ["budget.log", "budget.log.lock"]);
}

#[tokio::test]
async fn clients_of_one_process_that_name_one_file_share_what_was_spent() {
    let folder = Folder::new("share");
    let (one, other) = (site(kept(&folder.file())), site(kept(&folder.file())));
    for site in [&one, &other, &one] {
        assert_eq!(ask(site, json!({})).await, OK);
    }
    assert_eq!((spent(&one.client), spent(&other.client)), (0.3, 0.3));
}

/// As another process sees it.
fn is_free(folder: &Folder) -> bool {
    let lock = std::fs::File::options().write(true).open(folder.file() + ".lock").unwrap();
    lock.try_lock().is_ok()
}

#[tokio::test]
async fn when_the_last_client_is_closed_its_file_is_written_anew_and_free() {
    let folder = Folder::new("closed");
    let (one, other) = (site(kept(&folder.file())), site(kept(&folder.file())));
    for site in [&one, &other] {
        assert_eq!(ask(site, json!({})).await, OK);
    }
    one.client.finish_close().await;
    one.client.finish_close().await;
    assert!(!is_free(&folder), "the other client has it");
    other.client.finish_close().await;
    assert!(is_free(&folder));
    let text = std::fs::read_to_string(folder.file()).unwrap();
    assert!(text.contains("\"before\"") && !text.contains("\"paid\""), "{text}");
    assert_eq!((spent(&one.client), one.client.problem()), (0.2, None), "which is still told");
    let next = site(kept(&folder.file()));
    assert_eq!((spent(&next.client), is_free(&folder)), (0.2, false));
}

#[tokio::test]
async fn what_a_call_came_to_that_closing_ended_is_in_the_file_that_is_free_then() {
    let folder = Folder::new("ended");
    let site = site(kept(&folder.file()));
    site.once(json!({ "kind": "silence", "for": 60_000 }));
    let client = site.client.clone();
    let running = tokio::spawn(client.call(site.make(Endpoint::Chat, &short(), json!({}))));
    until("it is under way", || site.seen() == 1).await;
    client.begin_close();
    let closed = tokio::spawn({
        let client = client.clone();
        async move { client.finish_close().await }
    });
    tokio::task::yield_now().await;
    assert!(!is_free(&folder), "a call is under way");
    running.abort();
    closed.await.unwrap();
    assert!(is_free(&folder));
    assert!(spent(&client) > 0.0);
    let next = self::site(kept(&folder.file()));
    assert_eq!(spent(&next.client), spent(&client), "estimated, and once");
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_told_of_and_what_can_be_read_of_it_counts() {
    let folder = Folder::new("damaged");
    {
        let site = site(kept(&folder.file()));
        for _ in 0..3 {
            assert_eq!(ask(&site, json!({})).await, OK);
        }
        // As it is while the client is there: a line for each call, and more.
        let text = std::fs::read_to_string(folder.file()).unwrap();
        let paid = text.match_indices("\"paid\"").nth(1).unwrap().0;
        let mut bytes = text.into_bytes();
        bytes[paid + 30] ^= 1;
        std::fs::write(folder.0.join("copy"), &bytes).unwrap();
    }
    std::fs::rename(folder.0.join("copy"), folder.file()).unwrap();
    let damaged = std::fs::read(folder.file()).unwrap();
    let site = site(kept(&folder.file()));
    let problem = site.client.problem().unwrap();
    assert!(problem.starts_with("1 lines of the budget's state in "), "{problem}");
    let aside = folder.names().into_iter().find(|name| name.contains(".corrupt-")).unwrap();
    assert_eq!(std::fs::read(folder.0.join(&aside)).unwrap(), damaged);
    assert_eq!(spent(&site.client), 0.2);
    assert_eq!(ask(&site, json!({})).await, OK);
    assert_eq!(std::fs::read(folder.0.join(aside)).unwrap(), damaged);
}

#[tokio::test]
async fn what_is_no_state_at_all_is_set_aside_and_two_are_never_one() {
    let folder = Folder::new("garbage");
    let texts: [&[u8]; 4] = [b"not a state\n", b"\xff\x00\xfe", b"{}", b"\n\n\n"];
    for text in texts {
        std::fs::write(folder.file(), text).unwrap();
        let site = site(kept(&folder.file()));
        assert!(site.client.problem().unwrap().contains("was set aside as"));
        assert_eq!((spent(&site.client), ask(&site, json!({})).await), (0.0, OK.to_owned()));
    }
    let aside = folder.names().into_iter().filter(|name| name.contains(".corrupt-"));
    let mut found: Vec<_> = aside.map(|name| std::fs::read(folder.0.join(name)).unwrap()).collect();
    found.sort();
    let mut wanted = texts.map(<[u8]>::to_vec);
    wanted.sort();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_last_line_that_was_never_ended_is_no_damage() {
    let folder = Folder::new("torn");
    let copy = folder.0.join("copy");
    {
        let site = site(kept(&folder.file()));
        assert_eq!(ask(&site, json!({})).await, OK);
        let text = std::fs::read(folder.file()).unwrap();
        std::fs::write(&copy, &text[..text.len() - 5]).unwrap();
    }
    std::fs::rename(copy, folder.file()).unwrap();
    let site = site(kept(&folder.file()));
    assert_eq!(site.client.problem(), None);
    // Its reservation was not given back, as far as the file says: it counts as well.
    assert!(spent(&site.client) >= 0.1, "{}", spent(&site.client));
}

#[tokio::test]
async fn what_was_written_anew_and_is_shortened_is_damage_wherever_it_was_cut() {
    let folder = Folder::new("cut");
    {
        let site = site(kept(&folder.file()));
        assert_eq!(ask(&site, json!({ "tenant": "t" })).await, OK);
    }
    let whole = std::fs::read(folder.file()).unwrap();
    let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let ends: Vec<_> = ends.collect();
    assert_eq!(ends.len(), 3, "a first line, one of all and one of the tenant");
    for (cut, aside) in [whole.len() - 5, whole.len() - 1, ends[1], ends[0] + 5, ends[0], 5].iter().zip(1..) {
        std::fs::write(folder.file(), &whole[..*cut]).unwrap();
        let site = site(kept(&folder.file()));
        let problem = site.client.problem().unwrap();
        assert!(problem.contains(" lines of the budget's state in "), "{cut}: {problem}");
        assert_eq!(folder.names().iter().filter(|name| name.contains(".corrupt-")).count(), aside, "{cut}");
    }
}

#[tokio::test]
async fn a_file_that_was_emptied_is_told_of_and_one_that_was_removed_begins_anew() {
    let folder = Folder::new("emptied");
    std::fs::write(folder.file(), "").unwrap();
    {
        let site = site(kept(&folder.file()));
        let problem = site.client.problem().unwrap();
        assert!(problem.contains(" is empty; it was set aside as "), "{problem}");
        assert_eq!((spent(&site.client), ask(&site, json!({})).await), (0.0, OK.to_owned()));
    }
    std::fs::remove_file(folder.file()).unwrap();
    let site = site(kept(&folder.file()));
    assert_eq!((site.client.problem(), spent(&site.client)), (None, 0.0));
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_by_its_option() {
    let folder = Folder::new("refused");
    let refused = |file: String| {
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let options = dear(json!({ "budget": kept(&file) }));
        let made = Client::new(options, &Environment::default(), &tasks, Box::new(|_| {}), Box::new(|| {}));
        made.err().unwrap().message.clone()
    };
    let nowhere = folder.0.join("no/such/folder/budget.log");
    let error = refused(nowhere.to_str().unwrap().to_owned());
    assert!(error.starts_with("budget.state: ") && error.contains("cannot be opened"), "{error}");
    std::fs::create_dir(folder.file()).unwrap();
    assert!(refused(folder.file()).contains("cannot be read"));
}

/// The child of the test below: calls, one after the other, until somebody kills it. Says so on its standard output after each.
#[test]
fn child_that_spends() {
    let Ok(options) = std::env::var("TRUNKLINE_TEST_CHILD") else { return };
    let options: Value = serde_json::from_str(&options).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let tasks = Tasks::new(runtime.handle().clone());
    runtime.block_on(async {
        let client = Client::new(options, &Environment::default(), &tasks, Box::new(|_| {}), Box::new(|| {}));
        let client = match client {
            Ok(client) => Arc::new(client),
            Err(error) => return println!("refused: {}", error.message),
        };
        println!("open");
        let options = client.call_options(None).unwrap();
        loop {
            let call = trunkline::client::Call {
                endpoint: Endpoint::Chat,
                body: short().to_string(),
                options: options.clone(),
            };
            client.call(call).await.unwrap();
            println!("spent");
        }
    });
}

fn child(options: &Value) -> (std::process::Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "budget::child_that_spends", "--nocapture", "--test-threads=1"])
        .env("TRUNKLINE_TEST_CHILD", options.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // What a test runner says besides.
    let ours = |line: &String| ["open", "spent", "refused"].iter().any(|word| line.contains(word));
    (child, lines.filter(ours))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_and_no_two_processes_write_one_file() {
    let folder = Folder::new("kill");
    let upstream = start(json!({}));
    let answer = serde_json::from_value(ten_cents()).unwrap();
    upstream.reply(trunkline::mock::Matcher::Fields(serde_json::Map::new()), answer);
    let budget_of = json!({ "limit": 1e6, "state": folder.file() });
    let options =
        dear(json!({ "baseURL": format!("{}/v1", upstream.url()), "apiKey": KEY, "budget": budget_of }));
    let mut counted = 0;
    for round in 0..5 {
        let (mut one, lines) = child(&options);
        let mut lines = lines.skip_while(|line| !line.contains("open"));
        assert!(lines.next().is_some(), "it began");
        if round == 0 {
            let (mut second, mut told) = child(&options);
            let refused = told.next().unwrap();
            assert!(refused.contains("is in use by another process"), "{refused}");
            second.wait().unwrap();
        }
        let wanted = 10 + fastrand::usize(0..40);
        counted += lines.by_ref().take(wanted).count();
        // SIGKILL.
        one.kill().unwrap();
        one.wait().unwrap();
        counted += lines.count();
        let site = site(json!({ "limit": 1e6, "state": folder.file() }));
        assert_eq!(site.client.problem(), None, "round {round}");
        let (known, sent) = (spent(&site.client), upstream.requests().len());
        let (least, most) = (counted as f64 * 0.1, sent as f64 * 0.1 + 0.06 * f64::from(round + 1));
        assert!(known > least - 1e-9 && known < most + 1e-9, "round {round}: {least} <= {known} <= {most}");
    }
    assert!(counted >= 50);
}
