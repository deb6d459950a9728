//! One address that takes all it can get: others go on being served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::http::request;
use crate::support::{Sandbox, Server};

/// How long a read waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

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
    // The eight that its share of the requests allows wait for their bodies; this one is told.
    let mut more = connect_from([127, 0, 0, 2], &server.address);
    more.write_all(half_bodies.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = more.read_to_string(&mut answer);
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
