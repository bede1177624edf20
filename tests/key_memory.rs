//! Keys are zeroed in memory once nobody has them any more. The process searches itself for them: all of its memory that can be written.
//!
//! What it may find all the same is what a request was written into: hyper's buffer goes back to the allocator as it is, as do those of TLS and the
//! kernel's. So a key that was sent leaves as many copies as its connections had buffers, and none for each request; and one that was not
//! sent leaves none.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{File, read_to_string};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc;

use serde_json::{Value, json};
use trunkline::client::{Call, Client, Endpoint};
use trunkline::config::Environment;
use trunkline::pool::Tasks;
use zeroize::{Zeroize, Zeroizing};

const LENGTH: usize = 40;
const MASK: u8 = 0x80;

/// A key that is known here by its masked bytes alone, so that whoever looks for it does not find himself.
struct Marker([u8; LENGTH]);

impl Marker {
    fn new() -> Self {
        Self(std::array::from_fn(|_| fastrand::alphanumeric() as u8 ^ MASK))
    }

    fn key(&self) -> Zeroizing<String> {
        let mut key = Zeroizing::new(String::with_capacity(LENGTH));
        key.extend(self.0.iter().map(|byte| char::from(byte ^ MASK)));
        key
    }

    /// How often it is in the memory of this process.
    fn copies(&self) -> usize {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut chunk = vec![0; 1 << 20];
        let own = chunk.as_ptr() as u64..chunk.as_ptr() as u64 + chunk.len() as u64;
        let mut found = 0;
        for line in read_to_string("/proc/self/maps").unwrap().lines() {
            let mut words = line.split(' ');
            let (range, rights) = (words.next().unwrap(), words.next().unwrap());
            if !rights.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
            // What was read before is no copy of the client's.
            for (from, to) in [(from, to.min(own.start)), (from.max(own.end), to)] {
                found += self.copies_in(&memory, from, to, &mut chunk);
            }
        }
        chunk.zeroize();
        found
    }

    fn copies_in(&self, memory: &File, mut from: u64, to: u64, chunk: &mut [u8]) -> usize {
        let mut found = 0;
        while from + (LENGTH as u64) <= to {
            let most = chunk.len().min((to - from) as usize);
            // Some of the kernel's own pages cannot be read.
            let Ok(read) = memory.read_at(&mut chunk[..most], from) else { return found };
            if read < LENGTH {
                return found;
            }
            let first = self.0[0] ^ MASK;
            found += memchr::memchr_iter(first, &chunk[..read])
                .filter(|at| {
                    let here = chunk[*at..read].iter().take(LENGTH);
                    here.len() == LENGTH && here.zip(&self.0).all(|(byte, masked)| byte ^ MASK == *masked)
                })
                .count();
            // One that lies across the end of a chunk is whole in the next.
            from += (read - LENGTH + 1) as u64;
        }
        found
    }
}

/// A client as the border makes it: of a text.
fn client(options: &Value, environment: &Environment, tasks: &Tasks) -> Arc<Client> {
    let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
    // Into what does not grow, which would leave its beginning behind.
    serde_json::to_writer(Writer(&mut text), options).unwrap();
    let options = serde_json::from_str(&text).unwrap();
    Arc::new(Client::new(options, environment, tasks, Box::new(|_| {}), Box::new(|| {})).unwrap())
}

struct Writer<'a>(&'a mut String);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        assert!(self.0.len() + bytes.len() <= self.0.capacity());
        self.0.push_str(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        _ => {}
    }
}

fn with_keys(keys: &Value, url: &str, protocol: &str) -> Value {
    let pool = json!({ "idleTimeout": 8_123, "http2": "never" });
    let provider = json!({ "baseURL": url, "protocol": protocol, "apiKey": keys });
    json!({ "providers": { "p": provider }, "pool": pool, "retry": false, "timeouts": { "total": 20_000 } })
}

/// Answers whatever comes, and forgets it. Ends with its sender.
fn forgetful() -> (String, mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (told, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut buffer = Zeroizing::new(vec![0; 64 * 1024]);
            let mut filled = 0;
            loop {
                let read = socket.read(&mut buffer[filled..]).unwrap_or(0);
                filled += read;
                if read == 0 {
                    break;
                }
                // The body's end.
                if buffer[..filled].ends_with(b"\"m\"}") {
                    let _ = told.send(1);
                    buffer.zeroize();
                    buffer.resize(64 * 1024, 0);
                    filled = 0;
                    let body = json!({ "id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
                        { "index": 0, "message": { "role": "assistant", "content": "hello" }, "finish_reason": "stop" }] });
                    let body = body.to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    socket.write_all((head + &body).as_bytes()).unwrap();
                }
            }
        }
    });
    (url, requests)
}

async fn chat(client: &Arc<Client>) {
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] }).to_string();
    let options = client.call_options(None).unwrap();
    client.call(Call { endpoint: Endpoint::Chat, body, options }).await.unwrap();
}

/// One test, for the memory is everybody's.
#[tokio::test]
async fn a_key_is_in_memory_for_as_long_as_it_is_used_and_no_longer() {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let marker = Marker::new();
    assert_eq!(marker.copies(), 0, "nobody has it yet");
    {
        let key = marker.key();
        assert_eq!(marker.copies(), 1, "the search finds what is there");
        drop(key);
        assert_eq!(marker.copies(), 0);
    }

    // Given as an option, alone and among others, in each protocol.
    for protocol in ["openai", "anthropic", "gemini"] {
        for alone in [true, false] {
            let mut keys = json!([&**marker.key(), "another"]);
            if alone {
                keys = keys[0].take();
            }
            let mut options = with_keys(&keys, "http://127.0.0.1:9", protocol);
            let client = client(&options, &Environment::default(), &tasks);
            wipe(&mut options);
            wipe(&mut keys);
            assert_eq!(marker.copies(), 1, "{protocol}: the client has one copy");
            client.rotate_key("p", json!("a third")).unwrap();
            assert_eq!(marker.copies(), 0, "{protocol}: what was replaced has gone");
            client.rotate_key("p", json!(["x", &**marker.key()])).unwrap();
            assert_eq!(marker.copies(), 1);
            let bad =
                client.rotate_key("p", json!([&**marker.key(), { "key": &**marker.key() }, &**marker.key()]));
            bad.unwrap_err();
            assert_eq!(marker.copies(), 1, "{protocol}: what was refused has gone");
            drop(client);
            assert_eq!(marker.copies(), 0, "{protocol}: nobody has it any more");
        }
    }

    // From the environment.
    let environment = Environment {
        api_key: Some(("OPENAI_API_KEY".into(), String::from(&**marker.key()))),
        ..Environment::default()
    };
    let environment = Zeroizing::new(environment);
    let made = client(&json!({}), &environment, &tasks);
    drop(environment);
    assert_eq!(marker.copies(), 1);
    drop(made);
    assert_eq!(marker.copies(), 0);

    // From a function, and sent.
    let (url, requests) = forgetful();
    let function = json!({ "\u{0}kind": "a function", "function": 0 });
    let made = client(&with_keys(&function, &url, "openai"), &Environment::default(), &tasks);
    let first = tokio::spawn({
        let made = made.clone();
        async move { chat(&made).await }
    });
    tokio::task::yield_now().await;
    made.set_key(0, Ok(&marker.key()));
    first.await.unwrap();
    for _ in 0..50 {
        chat(&made).await;
    }
    assert_eq!(requests.try_iter().count(), 51);
    made.rotate_key("p", json!("another")).unwrap();
    for _ in 0..5 {
        chat(&made).await;
    }
    made.finish_close().await;
    drop(made);
    let left = marker.copies();
    assert!(left <= 2, "{left} copies are left of 51 requests on one connection");
}
