//! Answers judged by a model: a service that speaks the protocol over a real socket, and sometimes forgets its JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::Sandbox;

/// What the judge did.
#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    with_schema: AtomicUsize,
}

/// Starts a judge; it answers until the test ends. It says nonsense before each `nonsense_every`-th good reply.
fn judge(nonsense: usize) -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let counted = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let seen = counted.clone();
            std::thread::spawn(move || while serve(stream.as_ref().unwrap(), &seen, nonsense).is_some() {});
        }
    });
    (format!("http://{address}/v1"), seen)
}

fn serve(mut stream: &TcpStream, seen: &Seen, nonsense: usize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request: Value = serde_json::from_slice(&body).ok()?;
    let call = seen.calls.fetch_add(1, Ordering::Relaxed);
    let is_schema = request["response_format"]["type"] == "json_schema";
    seen.with_schema
        .fetch_add(usize::from(is_schema), Ordering::Relaxed);
    let reply = match call < nonsense {
        true => "I would rather not.".to_owned(),
        false => reply(request["messages"][0]["content"].as_str()?).to_string(),
    };
    let chunk =
        json!({ "choices": [{ "index": 0, "delta": { "content": reply }, "finish_reason": "stop" }] });
    let events = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    let length = events.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{events}").as_bytes()).ok()
}

/// Two statements, of which the first is supported.
fn reply(prompt: &str) -> Value {
    let statement = |verdict: i64| json!({ "statement": "s", "reason": "r", "verdict": verdict });
    match prompt {
        prompt if prompt.contains("Break the answer") => json!({ "statements": ["one", "two"] }),
        prompt if prompt.contains("For each statement") => {
            json!({ "statements": [statement(1), statement(0)] })
        }
        prompt if prompt.contains("sentence by sentence") => json!({ "classifications": [] }),
        prompt => panic!("unexpected prompt: {prompt}"),
    }
}

fn library(judge: &str) -> Sandbox {
    let sandbox = Sandbox::lexical()
        .with("RAGSTONE_EVAL__JUDGE_MODEL", "judge-1")
        .with("RAGSTONE_EVAL__JUDGE_BASE_URL", judge)
        .with("RAGSTONE_EVAL__METRICS", "[\"faithfulness\",\"context_recall\"]");
    sandbox.write(
        "docs/origami.txt",
        "Origami cranes are folded from a single square sheet of paper.",
    );
    sandbox.run(&["ingest", "docs"]).ended(0);
    let question =
        json!({ "id": 1, "question": "What are origami cranes folded from?", "reference": "paper" });
    sandbox.write("set.jsonl", question.to_string());
    sandbox
}

#[test]
fn answers_are_judged_in_a_form_that_is_asked_for() {
    let (address, seen) = judge(0);
    let found = library(&address)
        .run(&["eval", "run", "set.jsonl", "--json"])
        .ended(0)
        .json();
    assert_eq!(found["metrics"]["faithfulness"]["mean"], 0.5, "{found}");
    assert!(
        found["metrics"].get("context_recall").is_none(),
        "NaN has no mean: {found}"
    );
    assert!(found.get("unjudged").is_none());
    assert_eq!(
        seen.calls.load(Ordering::Relaxed),
        seen.with_schema.load(Ordering::Relaxed)
    );
}

#[test]
fn a_judge_that_talks_is_asked_again_and_not_for_ever() {
    let (address, _) = judge(2);
    let found = library(&address)
        .run(&["eval", "run", "set.jsonl", "--json"])
        .ended(0)
        .json();
    assert_eq!(found["metrics"]["faithfulness"]["mean"], 0.5, "{found}");
    let (address, _) = judge(usize::MAX);
    let found = library(&address)
        .run(&["eval", "run", "set.jsonl", "--json"])
        .ended(0)
        .json();
    assert!(found["metrics"].get("faithfulness").is_none(), "{found}");
    assert_eq!(
        found["unjudged"],
        json!({ "context_recall": 1, "faithfulness": 1 })
    );
}

#[test]
fn a_judge_that_cannot_be_is_refused() {
    let sandbox = Sandbox::lexical().with("RAGSTONE_EVAL__METRICS", "[\"politeness\"]");
    let refused = sandbox.run(&["eval", "runs"]).ended(2);
    assert!(refused.err.contains("eval.metrics"), "{}", refused.err);
}
