//! What the stand-in says last arrives: it closes only after the client has.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::client::{address, start};

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// A client that reads nothing until it is told to has sent what nobody reads: the end must be no reset.
async fn ends_without_a_reset(mut socket: TcpStream, late: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    socket.read_to_end(&mut said).await.unwrap();
    for _ in 0..10 {
        socket.write_all(late).await.unwrap();
    }
    assert_eq!(socket.read(&mut [0; 16]).await.unwrap(), 0);
    said
}

#[tokio::test]
async fn frames_that_come_after_the_goaway_are_answered_with_no_reset() {
    let upstream = start(json!({ "keepAliveTimeout": 5 }));
    let mut socket = TcpStream::connect(address(&upstream)).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    socket.write_all(&SETTINGS).await.unwrap();
    // A GOAWAY that takes all streams comes with a PING, and the one that counts after the answer to it.
    let mut ping = loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[2])];
        socket.read_exact(&mut payload).await.unwrap();
        if head[3] == PING[3] {
            break [&head[..], &payload].concat();
        }
    };
    // Its acknowledgement.
    ping[4] = 1;
    socket.write_all(&ping).await.unwrap();
    let said = ends_without_a_reset(socket, &PING).await;
    assert!(said.windows(5).any(|head| head == [8, 7, 0, 0, 0]), "a GOAWAY: {said:?}");
}

#[tokio::test]
async fn what_is_sent_after_the_last_answer_is_answered_with_no_reset() {
    let upstream = start(json!({}));
    for request in ["GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n", "This is no HTTP.\r\n\r\n"] {
        let mut socket = TcpStream::connect(address(&upstream)).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let said = ends_without_a_reset(socket, request.as_bytes()).await;
        assert!(said.starts_with(b"HTTP/1.1 "));
    }
}
