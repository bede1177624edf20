//! nginx between the client and its upstream: no call fails that a correct client could have saved.

use crate::load::*;
use crate::peer::*;
use crate::support::{meta_of, tell, with};
use serde_json::json;
use trunkline::client::Endpoint;
use trunkline::error::Kind;
use trunkline::mock::MockUpstream;

const AMBIGUOUS: &str = "Connection receive retryable, billed maybe, after maybe";

/// nginx in front of the upstream, with further directives for its server; none where it is not installed.
async fn nginx(upstream: &MockUpstream, directives: &str) -> Option<Peer> {
    if !has("nginx") {
        return None;
    }
    let to = upstream.url().replace("http://", "");
    let arguments = |place: &Place| {
        let dir = place.dir.display();
        ["-c".to_owned(), format!("{dir}/conf"), "-e".to_owned(), format!("{dir}/error")].to_vec()
    };
    let configure = |place: &Place| {
        let Place { plain, clear, tls, .. } = place;
        let (dir, pem) = (place.dir.display(), place.pem.display());
        format!(
            "daemon off;
            worker_processes 1;
            pid {dir}/pid;
            error_log {dir}/error info;
            events {{ worker_connections 4096; }}
            http {{
                access_log off;
                client_body_temp_path {dir}/body;
                proxy_temp_path {dir}/proxy;
                fastcgi_temp_path {dir}/fastcgi;
                uwsgi_temp_path {dir}/uwsgi;
                scgi_temp_path {dir}/scgi;
                upstream up {{ server {to}; keepalive 64; }}
                server {{
                    listen 127.0.0.1:{plain} backlog=4096;
                    listen 127.0.0.1:{clear} http2 backlog=4096;
                    listen 127.0.0.1:{tls} ssl http2 backlog=4096;
                    ssl_certificate {pem};
                    ssl_certificate_key {pem};
                    {directives}
                    location / {{
                        proxy_pass http://up;
                        proxy_http_version 1.1;
                        proxy_set_header Connection '';
                        proxy_buffering off;
                    }}
                }}
            }}"
        )
    };
    Some(Peer::start("nginx", arguments, configure).await)
}

#[tokio::test]
async fn sockets_that_the_server_closes_after_a_second_cost_no_call() {
    let upstream = upstream(json!({}));
    let Some(peer) = nginx(&upstream, "keepalive_timeout 1s;").await else { return };
    let (repeated, once) = tokio::join!(
        around_a_second(&peer, &upstream, json!({})),
        around_a_second(&peer, &upstream, json!({ "retry": false })),
    );
    for (front, (ends, closed)) in repeated {
        ends.are_well();
        assert!(closed > 0, "{front:?}");
    }
    for (front, (ends, _)) in once {
        if front.is_h2() {
            // A GOAWAY says what was not processed.
            ends.are_well();
        } else {
            ends.are(&["ok after yes", "ok after no,yes", AMBIGUOUS]);
        }
    }
}

#[tokio::test]
async fn five_requests_a_connection_cost_no_call_and_no_retry_either() {
    let upstream = upstream(json!({}));
    let Some(peer) = nginx(&upstream, "keepalive_requests 5;").await else { return };
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({ "retry": false }));
        let mut ends = volleys(&site, 50, 1).await;
        ends.add(volleys(&site, 25, 4).await);
        ends.add(volleys(&site, 35, 10).await);
        ends.are_well();
        assert_eq!(ends.count(), 500);
        if !front.is_h2() {
            ends.are(&["ok after yes"]);
        }
        assert!(site.metrics()["pool"]["opened"].as_u64().unwrap() >= 100);
        // Ten times what a connection takes, and forty times.
        volleys(&site, 10, 50).await.are_well();
        volleys(&site, 2, 200).await.are_well();
    }
}

#[tokio::test]
async fn two_hundred_calls_at_once_go_well_where_a_connection_takes_four_and_once_that_is_known_none_is_refused()
 {
    let upstream = upstream(json!({ "latency": 20 }));
    let Some(peer) = nginx(&upstream, "http2_max_concurrent_streams 4;").await else { return };
    let refusals = || peer.file("error").matches("concurrent streams exceeded").count();
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({ "retry": false }));
        // What the first connection takes is not known before its streams are there.
        volley(&site, 200).await.are(&["ok after yes", "ok after no,yes"]);
        let refused = refusals();
        volley(&site, 200).await.are(&["ok after yes"]);
        assert_eq!(refusals(), refused);
        let opened = site.metrics()["pool"]["opened"].as_u64().unwrap();
        assert!(opened >= 2 && (opened <= 50 || !front.is_h2()), "{front:?} {opened}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_and_the_next_call_goes_well() {
    let upstream = upstream(json!({}));
    let Some(peer) = nginx(&upstream, "client_max_body_size 1k;").await else { return };
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({ "retry": false }));
        // The last one is refused while most of it is still to be sent.
        for size in [2_000, 200_000, 10_000_000] {
            let body = with(json!({ "messages": [{ "role": "user", "content": "x".repeat(size) }] }));
            for _ in 0..3 {
                let result = site.client.call(site.make(Endpoint::Chat, &body, json!({}))).await;
                assert_eq!(tell(&result), "API 413, billed no, after no", "{front:?} {size}");
                assert_eq!(chat(&site, json!({})).await, "ok after yes", "{front:?} {size}");
            }
        }
        site.quiet().await;
    }
}

#[tokio::test]
async fn a_server_that_compresses_is_not_asked_to() {
    let upstream = upstream(json!({}));
    let gzip = "gzip on; gzip_types application/json text/event-stream; gzip_min_length 1; gzip_proxied any;";
    let Some(peer) = nginx(&upstream, gzip).await else { return };
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({}));
        volley(&site, 10).await.are(&["ok after yes"]);
        let headers = meta_of(&site.chat().await.unwrap())["headers"].to_string();
        assert!(!headers.contains("content-encoding"), "{headers}");
        // Whoever asks for it by a header of his own is told.
        let asking = json!({ "headers": { "accept-encoding": "gzip" } });
        for error in [
            site.chat_with(asking.clone()).await.unwrap_err(),
            site.stream_with(trunkline::client::Mode::Text, &with(json!({})), asking)
                .await
                .result
                .unwrap_err(),
        ] {
            assert!(matches!(error.kind, Kind::InvalidResponse), "{error:?}");
            assert!(error.message.contains("compressed"), "{error:?}");
        }
    }
    assert!(upstream.requests().iter().filter(|r| r.headers.contains_key("accept-encoding")).count() == 8);
}

#[tokio::test]
async fn a_reload_costs_no_call_and_streams_run_to_their_end() {
    let upstream = upstream(json!({ "latency": 5 }));
    let Some(peer) = nginx(&upstream, "").await else { return };
    let reloads = || peer.file("error").matches("gracefully shutting down").count();
    let reload = async || {
        for _ in 0..2 {
            let before = reloads();
            peer.signal("HUP", || reloads() > before).await;
        }
    };
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({}));
        let (streams, ends) = through(&site, reload()).await;
        streams.are(&["ok after yes"]);
        ends.are_well();
        let site = peer.site(front, &upstream, json!({ "retry": false }));
        let (streams, ends) = through(&site, reload()).await;
        streams.are(&["ok after yes"]);
        if front.is_h2() {
            ends.are_well();
        } else {
            ends.are(&["ok after yes", "ok after no,yes", AMBIGUOUS]);
        }
    }
}

#[tokio::test]
async fn a_restart_is_survived_by_calls_that_may_be_repeated_and_told_to_the_others() {
    let upstream = upstream(json!({ "latency": 5 }));
    let Some(mut peer) = nginx(&upstream, "").await else { return };
    for front in FRONTS {
        let patient = json!({ "retry": { "maxRetries": 20, "baseDelay": 50, "maxDelay": 1000 } });
        let site = peer.site(front, &upstream, patient);
        restarted(&site, &mut peer).await.are_well();
        let site = peer.site(front, &upstream, json!({ "retry": false }));
        restarted(&site, &mut peer).await.are(&[
            "ok after yes",
            "ok after no,yes",
            AMBIGUOUS,
            "Connection receive retryable, billed maybe, after no,maybe",
            "Connection connect retryable, billed no, after no",
            "Connection connect retryable, billed no, after no,no",
        ]);
        site.works().await;
    }
}

#[tokio::test]
async fn what_happens_behind_the_server_is_typed_and_repeated_by_the_table() {
    let upstream = upstream(json!({}));
    let settings = "proxy_read_timeout 300ms; proxy_next_upstream off;";
    let Some(peer) = nginx(&upstream, settings).await else { return };
    let once = json!({ "retry": false });
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({}));
        let cut = json!({ "kind": "cut", "afterTokens": 3 });
        for (fault, again, end) in [
            (
                json!({ "kind": "silence" }),
                "ok after maybe,yes",
                "InternalServer 504 retryable, billed maybe, after maybe",
            ),
            (
                json!({ "kind": "reset" }),
                "ok after maybe,yes",
                "InternalServer 502 retryable, billed maybe, after maybe",
            ),
            (cut.clone(), "ok after maybe,yes", AMBIGUOUS),
        ] {
            site.once(fault.clone());
            assert_eq!(chat(&site, json!({})).await, again, "{front:?} {fault}");
            site.once(fault.clone());
            assert_eq!(chat(&site, once.clone()).await, end, "{front:?} {fault}");
        }
        for fault in [cut, json!({ "kind": "stall", "afterTokens": 3, "for": 5000 })] {
            site.once(fault.clone());
            let end = "StreamInterrupted retryable, billed maybe, after maybe";
            assert_eq!(streamed(&site, json!({})).await, end, "{front:?} {fault}");
        }
        volley(&site, 10).await.are(&["ok after yes"]);
    }
    upstream.close();
    upstream.closed().await;
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({}));
        for streamed in [false, true] {
            let end = call(&site, streamed, "m", json!({})).await;
            assert_eq!(
                end, "InternalServer 502 retryable, billed maybe, after maybe,maybe,maybe",
                "{front:?}"
            );
            let end = call(&site, streamed, "m", once.clone()).await;
            assert_eq!(end, "InternalServer 502 retryable, billed maybe, after maybe", "{front:?}");
        }
    }
}
