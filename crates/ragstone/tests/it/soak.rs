//! Many streams at once, of readers who read, dawdle, vanish and are rude: nothing of them is left. The long run is
//! `bench/soak.py`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::json;

use crate::http::{Event, Reply};
use crate::stub::Service;

/// Streams at once, which is all the server lets in.
const STREAMS: usize = 48;
/// Times that all of them are opened.
const ROUNDS: usize = 4;
/// How often a place is asked for that must become free.
const LOOKS: usize = 20_000;
/// Bytes that the process may grow after its first round: some rounds of leaked streams are more.
const GROWTH: u64 = 48 << 20;
const QUESTION: &str = "Where is the zebra?";

#[derive(Debug, Clone, Copy)]
enum Reader {
    /// Reads all of it.
    Patient,
    /// Reads the first event, and the rest when the others are gone.
    Slow,
    /// Leaves after the first event.
    Vanishing,
    /// Leaves before the first byte of the answer.
    Rude,
    /// Closes in the middle of its request.
    Broken,
}

const READERS: [Reader; 5] = [
    Reader::Patient,
    Reader::Slow,
    Reader::Vanishing,
    Reader::Rude,
    Reader::Broken,
];

/// Asks until there is a place for it: those of who left become free when the server notices.
fn stream(service: &Service) -> Reply {
    let opened = (0..LOOKS).find_map(|_| {
        let reply = service.ask(QUESTION, true).open();
        match reply.status {
            429 => None,
            _ => Some(reply),
        }
    });
    opened.expect("a place becomes free")
}

fn first(events: &mut impl Iterator<Item = Event>) {
    assert_eq!(events.next().expect("a first event").name, "sources");
}

/// The model is asked once somebody reads on behind the first event.
fn begun(events: &mut impl Iterator<Item = Event>) {
    first(events);
    assert_eq!(events.next().expect("a second event").name, "delta");
}

fn last(events: impl Iterator<Item = Event>) {
    assert_eq!(events.last().expect("a last event").name, "done");
}

/// Sends the half of a request, and looks no further.
fn broken(service: &Service) {
    let mut stream = TcpStream::connect(service.address()).unwrap();
    let head = "POST /api/v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let _ = write!(stream, "{head}Content-Length: 100\r\n\r\n{{\"question\": ");
    let _ = stream.shutdown(Shutdown::Write);
    // Whatever comes is not read to its end.
    let _ = stream.read(&mut [0; 16]);
}

fn round(service: &Service) {
    std::thread::scope(|threads| {
        for n in 0..STREAMS {
            threads.spawn(move || match READERS[n % READERS.len()] {
                Reader::Patient => last(stream(service).events()),
                Reader::Slow => {
                    let mut events = stream(service).events();
                    first(&mut events);
                    service.stub.until_at_least("streams_abandoned", 1);
                    last(events);
                }
                Reader::Vanishing => begun(&mut stream(service).events()),
                Reader::Rude => drop(service.ask(QUESTION, true).begin()),
                Reader::Broken => broken(service),
            });
        }
    });
}

/// Every place is free: all can be taken at once, and not one more.
fn check_places(service: &Service) {
    service.stub.faults(&["hang_mid@chat?after=3"]);
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        let mut events = stream(service).events();
        first(&mut events);
        open.push(events);
    }
    service.ask(QUESTION, true).send().problem(429, "too_many_streams");
    service.stub.until("streams_open", STREAMS as i64);
    drop(open);
    service.stub.until("streams_open", 0);
    service.stub.until("in_flight", 0);
}

#[test]
fn nothing_is_left_of_streams_that_are_gone() {
    let Some(service) = Service::lexical(&[("RAGSTONE_LIMITS__STREAMS", &STREAMS.to_string())]) else {
        return;
    };
    let mut resident = Vec::new();
    for _ in 0..ROUNDS {
        service.stub.faults(&[]);
        service.stub.set(&json!({"tokens": 100, "itl_ms": 5}));
        round(&service);
        service.stub.until("streams_open", 0);
        service.stub.until("in_flight", 0);
        check_places(&service);
        resident.extend(service.resident());
    }
    let Some(first) = resident.first() else {
        ragstone_testkit::skip_test("the memory of the server", "a system with /proc");
        return;
    };
    let grown = resident.iter().max().expect("one at least") - first;
    assert!(grown < GROWTH, "{resident:?}");
}
