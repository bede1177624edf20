//! Sockets that their server closes: what is sent to them, over real ones.

use crate::support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use trunkline::pool::{Config, Kind, Origin, Pool, Tasks};

async fn answer(server: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\nquestion") {
        assert!(server.read_buf(&mut request).await.unwrap() > 0, "closed");
    }
    server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
}

/// One call, after which its socket rests. The server's end of it.
async fn served(pool: &Pool, site: &Origin, listener: &TcpListener) -> TcpStream {
    let served = async {
        let mut server = listener.accept().await.unwrap().0;
        answer(&mut server).await;
        server
    };
    let (called, server) = tokio::join!(get(pool, site, "/"), served);
    called.unwrap();
    until("it rests", || pool.snapshot().connections.idle == 1).await;
    server
}

#[tokio::test]
async fn a_request_is_not_written_to_a_socket_whose_close_has_arrived_however_late_it_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = origin(&format!("http://{}", listener.local_addr().unwrap()));
    let pool = Pool::new(Config::default(), Tasks::new(tokio::runtime::Handle::current()));
    for _ in 0..50 {
        let server = served(&pool, &site, &listener).await;
        let lease = lease(&pool, &site).await;
        assert!(lease.is_reused());
        let request = request(&lease, "/");
        // Closed, and after more than the moment in which it is not asked the next the runtime does is to send.
        drop(server);
        std::thread::sleep(std::time::Duration::from_millis(12));
        let error = lease.send(request).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unprocessed, "{error}");
    }
}

/// On a runtime like that of the addon: with workers, which run a task that yields before the one that its wait has woken.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_socket_that_was_closed_while_it_rested_is_not_even_given_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = origin(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move {
        for _ in 0..5 {
            let pool = Pool::new(Config::default(), Tasks::new(tokio::runtime::Handle::current()));
            let server = served(&pool, &site, &listener).await;
            tokio::time::sleep(std::time::Duration::from_millis(550)).await;
            // The only worker is kept from its drivers while the server hangs up.
            drop(server);
            std::thread::sleep(std::time::Duration::from_millis(20));
            // The system takes the new connection in before it is accepted.
            let lease = lease(&pool, &site).await;
            assert!(!lease.is_reused());
            drop(lease);
            drop(listener.accept().await.unwrap());
        }
    })
    .await
    .unwrap();
}
