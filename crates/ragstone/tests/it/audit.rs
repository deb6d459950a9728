//! The audit log of a running server: written to its end, refused where it cannot be.

use serde_json::Value;

use crate::support::{Sandbox, Server};

#[test]
fn a_server_that_stops_has_written_every_line() {
    let sandbox = Sandbox::lexical().with("RAGSTONE_AUDIT__FILE", "audit.jsonl");
    let server = Server::start(&sandbox);
    for path in ["/api/v1/documents", "/api/v1/nothing", "/healthz"] {
        server.get(path);
    }
    assert_eq!(server.stop(), Some(0));
    let text = std::fs::read_to_string(sandbox.path().join("audit.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [("GET /api/v1/documents", 200), ("none", 404)]);
    assert!(lines.iter().all(|line| line["address"] == "127.0.0.1"));
}

#[test]
fn what_the_operator_does_on_the_data_directory_is_told() {
    let sandbox = Sandbox::lexical().with("RAGSTONE_AUDIT__FILE", "audit.jsonl");
    sandbox.run(&["fsck"]).ended(0);
    let text = std::fs::read_to_string(sandbox.path().join("audit.jsonl")).unwrap();
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["action"], "POST /operator/v1/fsck");
    assert_eq!(
        (&line["address"], &line["decision"]),
        (&"operator".into(), &"allowed".into())
    );
}

#[test]
fn a_log_that_cannot_be_written_is_said_at_start() {
    let sandbox = Sandbox::lexical().with("RAGSTONE_AUDIT__FILE", "nowhere/audit.jsonl");
    let ran = sandbox.run(&["serve", "--listen", "127.0.0.1:0"]).ended(1);
    assert!(
        ran.err.contains("audit.file") && ran.err.contains("nowhere/audit.jsonl"),
        "{}",
        ran.err
    );
}
