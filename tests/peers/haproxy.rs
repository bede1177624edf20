//! HAProxy between the client and its upstream: no call fails that a correct client could have saved.

use crate::load::*;
use crate::peer::*;
use crate::scenes::*;
use crate::support::meta_of;
use serde_json::json;
use trunkline::error::Kind;
use trunkline::mock::MockUpstream;

/// Further lines of a configuration.
#[derive(Default)]
struct Lines {
    global: &'static str,
    front: &'static str,
    back: &'static str,
}

/// HAProxy in front of the upstream, which it speaks HTTP/1.1 with; none where it is not installed.
async fn haproxy(upstream: &MockUpstream, lines: Lines) -> Option<Peer> {
    if !has("haproxy") {
        return None;
    }
    let to = upstream.url().replace("http://", "");
    // A master, in the foreground, that can reload its worker.
    let arguments =
        |place: &Place| ["-W".to_owned(), "-f".to_owned(), format!("{}/conf", place.dir.display())].to_vec();
    let configure = |place: &Place| {
        let Place { plain, clear, tls, .. } = place;
        let pem = place.pem.display();
        let Lines { global, front, back } = lines;
        format!(
            "global
                nbthread 1
                {global}
            defaults
                mode http
                timeout connect 2s
                timeout client 10s
                timeout server 10s
            frontend front
                bind 127.0.0.1:{plain} backlog 4096
                bind 127.0.0.1:{clear} backlog 4096 proto h2
                bind 127.0.0.1:{tls} backlog 4096 ssl crt {pem} alpn h2,http/1.1
                {front}
                default_backend back
            backend back
                {back}
                server up {to}
            "
        )
    };
    Some(Peer::start("haproxy", arguments, configure).await)
}

#[tokio::test]
async fn sockets_that_the_server_closes_after_a_second_cost_no_call() {
    let upstream = upstream(json!({}));
    let front = "timeout http-keep-alive 1s
                timeout client 1s";
    let Some(peer) = haproxy(&upstream, Lines { front, ..Lines::default() }).await else { return };
    // A request that meets the end of the server's patience is answered with 408, which says that it was not read.
    let unread = "API 408 retryable, billed no, after no";
    closed_after_a_second(&peer, &upstream, &["ok after yes", "ok after no,yes", AMBIGUOUS, unread]).await;
}

#[tokio::test]
async fn two_hundred_calls_at_once_go_well_where_a_connection_takes_four_and_once_that_is_known_none_is_refused()
 {
    let upstream = upstream(json!({ "latency": 20 }));
    let global = "tune.h2.max-concurrent-streams 4";
    let Some(peer) = haproxy(&upstream, Lines { global, ..Lines::default() }).await else { return };
    // It does not say what it refuses.
    four_streams_each(&peer, &upstream, || 0).await;
}

#[tokio::test]
async fn calls_that_queue_in_the_server_go_well_and_those_it_gives_up_are_repeated() {
    let upstream = upstream(json!({ "latency": 20 }));
    let patient = "default-server maxconn 3
                timeout queue 20s";
    let impatient = "default-server maxconn 3
                timeout queue 100ms";
    let once = json!({ "retry": false });
    let often = json!({ "retry": { "maxRetries": 40, "baseDelay": 50, "maxDelay": 500 } });
    for (back, options) in [(patient, once), (impatient, often)] {
        let Some(peer) = haproxy(&upstream, Lines { back, ..Lines::default() }).await else { return };
        for front in FRONTS {
            let site = peer.site(front, &upstream, options.clone());
            volley(&site, 60).await.are_well();
        }
    }
}

#[tokio::test]
async fn a_request_that_is_denied_at_its_head_is_a_typed_error_and_the_next_call_goes_well() {
    let upstream = upstream(json!({}));
    let front = "http-request deny deny_status 413 if { req.hdr_val(content-length) gt 1024 }";
    let Some(peer) = haproxy(&upstream, Lines { front, ..Lines::default() }).await else { return };
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({ "retry": false }));
        // On a new connection HAProxy 2.6 gives nothing of the first window back for a body that it denies, and opens the window that
        // all streams share with the first body that it takes: before that one denied body of 64 KiB holds up every further one.
        chat(&site, json!({})).await;
        too_large(&site, front).await;
    }
}

#[tokio::test]
async fn a_server_that_compresses_is_not_asked_to() {
    let upstream = upstream(json!({}));
    let front = "compression algo gzip
                compression type application/json text/event-stream";
    let Some(peer) = haproxy(&upstream, Lines { front, ..Lines::default() }).await else { return };
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({}));
        volley(&site, 10).await.are(&["ok after yes"]);
        let headers = meta_of(&site.chat().await.unwrap())["headers"].to_string();
        assert!(!headers.contains("content-encoding"), "{headers}");
        // Whoever asks for it by a header of his own is told.
        let error = site.chat_with(json!({ "headers": { "accept-encoding": "gzip" } })).await.unwrap_err();
        assert!(matches!(error.kind, Kind::InvalidResponse), "{error:?}");
    }
}

#[tokio::test]
async fn a_reload_costs_no_call_and_streams_run_to_their_end() {
    let upstream = upstream(json!({ "latency": 5 }));
    let Some(peer) = haproxy(&upstream, Lines::default()).await else { return };
    let loads = || peer.file("stderr").matches("Loading success").count();
    let reload = async || {
        for _ in 0..2 {
            let before = loads();
            peer.signal("USR2", || loads() > before).await;
        }
    };
    reloaded(&peer, &upstream, reload).await;
}

#[tokio::test]
async fn a_restart_is_survived_by_calls_that_may_be_repeated() {
    let upstream = upstream(json!({ "latency": 5 }));
    let Some(mut peer) = haproxy(&upstream, Lines::default()).await else { return };
    for front in FRONTS {
        restarted_under_patience(&mut peer, &upstream, front).await;
    }
}

#[tokio::test]
async fn what_happens_behind_the_server_is_typed_and_repeated_by_the_table() {
    let upstream = upstream(json!({}));
    let back = "timeout server 300ms
                retries 0";
    let Some(peer) = haproxy(&upstream, Lines { back, ..Lines::default() }).await else { return };
    for front in FRONTS {
        let site = peer.site(front, &upstream, json!({}));
        let silent = "InternalServer 504 retryable, billed maybe, after maybe";
        fails_once(&site, front, json!({ "kind": "silence" }), silent).await;
        fails_once(&site, front, json!({ "kind": "cut", "afterTokens": 3 }), AMBIGUOUS).await;
        // Where it had used its socket before it leaves the repeating to its client: HTTP/1.1 by a close, HTTP/2 by REFUSED_STREAM,
        // although the upstream may have seen the request.
        let reset = json!({ "kind": "reset" });
        site.once(reset.clone());
        let end = chat(&site, json!({})).await;
        assert!(["ok after maybe,yes", "ok after no,yes"].contains(&end.as_str()), "{front:?} {end}");
        site.once(reset);
        let end = chat(&site, json!({ "retry": false })).await;
        let bad_gateway = "InternalServer 502 retryable, billed maybe, after maybe";
        assert!([bad_gateway, AMBIGUOUS, "ok after no,yes"].contains(&end.as_str()), "{front:?} {end}");
        broken_streams(&site, front).await;
    }
    gone(&peer, &upstream, 503).await;
}
