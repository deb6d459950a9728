//! One address that takes all it can get: others go on being served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::http::request;
use crate::support::{Sandbox, Server};

/// How long a read waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without an answer after this, a request was let in and is waited for by the server.
const LET_IN: Duration = Duration::from_secs(2);

/// A connection from another address of this machine.
fn connect_from(address: [u8; 4], server: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket
            .connect(server.parse().unwrap())
            .await
            .unwrap()
            .into_std()
            .unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn half_sent_requests_of_one_address_leave_the_server_to_others() {
    let sandbox = Sandbox::lexical()
        .with("RAGSTONE_SERVER__MAX_CONNECTIONS", "64")
        .with("RAGSTONE_SERVER__MAX_REQUESTS", "16");
    let server = Server::start(&sandbox);
    let head = "POST /api/v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let half_bodies = format!("{head}Content-Length: 1000\r\n\r\n{{\"uri\": ");
    let mut crowd = Vec::new();
    for sent in [half_bodies.as_str(), head].repeat(60) {
        let mut one = connect_from([127, 0, 0, 2], &server.address);
        // One that was refused may be closed already.
        let _ = one.write_all(sent.as_bytes());
        crowd.push(one);
    }
    // Eight may wait for their bodies, the share of the address. Of the crowd some were closed before they were among them, so
    // a few more may still be let in; the ninth at the latest is refused.
    let refused = (0..=8).find_map(|_| {
        let mut more = connect_from([127, 0, 0, 2], &server.address);
        more.write_all(half_bodies.as_bytes()).unwrap();
        more.set_read_timeout(Some(LET_IN)).unwrap();
        let mut answer = String::new();
        let _ = more.read_to_string(&mut answer);
        crowd.push(more);
        (!answer.is_empty()).then_some(answer)
    });
    let answer = refused.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    let code = |word: &str| answer.contains(&format!("\"code\":\"{word}\""));
    assert!(code("too_many_requests") || code("too_many_connections"), "{answer}");
    for _ in 0..3 {
        assert_eq!(request(&server.address, "GET", "/healthz").send().status, 200);
        let document = json!({"uri": "a", "text": "words that anybody can read"});
        let taken = request(&server.address, "POST", "/api/v1/documents")
            .json(&document)
            .send();
        assert!(matches!(taken.status, 200 | 202), "{}", taken.status);
        request(&server.address, "POST", "/api/v1/stream-tickets")
            .json(&json!({}))
            .send()
            .ok(201);
    }
    drop(crowd);
}
