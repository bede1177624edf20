//! nginx between the client and its upstream: no call fails that a correct client could have saved.

use crate::load::*;
use crate::peer::*;
use crate::scenes::*;
use crate::support::{meta_of, with};
use serde_json::json;
use trunkline::error::Kind;
use trunkline::mock::MockUpstream;

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
    closed_after_a_second(&peer, &upstream, &["ok after yes", "ok after no,yes", AMBIGUOUS]).await;
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
    four_streams_each(&peer, &upstream, refusals).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_and_the_next_call_goes_well() {
    let upstream = upstream(json!({}));
    let Some(peer) = nginx(&upstream, "client_max_body_size 1k;").await else { return };
    for front in FRONTS {
        too_large(&peer.site(front, &upstream, json!({ "retry": false })), front).await;
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
    reloaded(&peer, &upstream, reload).await;
}

#[tokio::test]
async fn a_restart_is_survived_by_calls_that_may_be_repeated_and_told_to_the_others() {
    let upstream = upstream(json!({ "latency": 5 }));
    let Some(mut peer) = nginx(&upstream, "").await else { return };
    for front in FRONTS {
        restarted_under_patience(&mut peer, &upstream, front).await;
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
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({}));
        let silent = "InternalServer 504 retryable, billed maybe, after maybe";
        fails_once(&site, front, json!({ "kind": "silence" }), silent).await;
        let bad_gateway = "InternalServer 502 retryable, billed maybe, after maybe";
        fails_once(&site, front, json!({ "kind": "reset" }), bad_gateway).await;
        fails_once(&site, front, json!({ "kind": "cut", "afterTokens": 3 }), AMBIGUOUS).await;
        broken_streams(&site, front).await;
    }
    gone(&peer, &upstream, 502).await;
}
