//! `doctor` tries what it reports: what does not work makes it exit with 1, and the line says what to do.

use serde_json::Value;

use crate::stub::Service;
use crate::support::Sandbox;

/// The part of this name.
fn part(report: &Value, name: &str) -> Value {
    let parts = report["parts"].as_array().unwrap();
    parts.iter().find(|part| part["name"] == name).unwrap().clone()
}

#[test]
fn services_are_asked() {
    let settings = [
        ("EMBEDDING_MODEL", "stub-embed"),
        ("RAGSTONE_EVAL__JUDGE_MODEL", "stub-judge"),
    ];
    let Some(service) = Service::start(&settings) else {
        return;
    };
    let asked = service.stub.stats("chat_requests");
    let report = service.run(&["doctor", "--json"]).ended(0).json();
    for (name, told) in [
        ("embedder", "256 dimensions"),
        ("chat", "answers"),
        ("judge", "answers"),
    ] {
        let part = part(&report, name);
        assert_eq!(part["health"], "ok", "{part}");
        assert!(part["detail"].as_str().unwrap().contains(told), "{part}");
    }
    assert_eq!(service.stub.stats("chat_requests") - asked, 2);
    let skipped = service.run(&["doctor", "--json", "--no-network"]).ended(0).json();
    assert_eq!(part(&skipped, "chat")["health"], "skipped");
    assert_eq!(service.stub.stats("chat_requests") - asked, 2);
    service.stub.faults(&["401"]);
    let report = service.run(&["doctor", "--json"]).ended(1).json();
    for name in ["embedder", "chat", "judge"] {
        let part = part(&report, name);
        assert_eq!(part["health"], "broken", "{part}");
        assert!(part["hint"].as_str().unwrap().contains("OPENAI_API_KEY"), "{part}");
    }
    assert!(!report.to_string().contains(crate::stub::KEY));
}

#[test]
fn a_model_that_cannot_be_loaded_is_found() {
    let sandbox = Sandbox::new();
    sandbox.write("model/modules.json", "[]");
    sandbox.write("model/model.safetensors", "cut off");
    let sandbox = sandbox.with("RAGSTONE_MODEL__PATH", "model");
    let report = sandbox.run(&["doctor", "--json"]).ended(1).json();
    let embedder = part(&report, "embedder");
    assert_eq!(embedder["health"], "broken", "{embedder}");
    assert!(
        embedder["hint"].as_str().unwrap().contains("ragstone model fetch"),
        "{embedder}"
    );
}

#[test]
fn whether_a_key_exists_decides_who_gets_in() {
    let sandbox = Sandbox::lexical();
    let api = |arguments: &[&str], code: i32| {
        let report = sandbox
            .run(&[&["doctor", "--json"], arguments].concat())
            .ended(code)
            .json();
        part(&report, "api")
    };
    let open = api(&[], 0);
    assert!(open["detail"].as_str().unwrap().contains("as no key exists"), "{open}");
    assert!(!sandbox.path().join(".ragstone/data/ragstone.db").exists());
    sandbox.write("ragstone.toml", "[server]\nlisten = \"0.0.0.0:8080\"\n");
    let refused = api(&[], 1);
    assert!(refused["hint"].as_str().unwrap().contains("key create"), "{refused}");
    sandbox.run(&["key", "create", "first", "--role", "admin"]).ended(0);
    let guarded = api(&[], 0);
    assert!(
        guarded["detail"].as_str().unwrap().contains("for callers with a key"),
        "{guarded}"
    );
}
