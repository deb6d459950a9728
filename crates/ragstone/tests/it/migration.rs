//! The embedding model is changed under a server that is killed meanwhile: compared, undone, and finished.

use serde_json::{Value, json};

use crate::stub::Service;

const OLD: &str = "text-embedding-3-small";
const NEW: &str = "text-embedding-3-large";
const TO: &str = "openai:text-embedding-3-large";
/// How often it is looked whether a change is done.
const LOOKS: usize = 2_000;

fn text(n: usize) -> String {
    format!("House {n} has an attic with zebra{n} and a cellar with walnut{n}.")
}

fn status(service: &Service) -> Value {
    service.run(&["--json", "model", "migrate", "--status"]).ended(0).json()
}

/// What a search by vectors alone finds, best first: the ids of the chunks.
fn found(service: &Service, n: usize) -> Vec<String> {
    let body = json!({ "query": format!("zebra{n} walnut{n}"), "mode": "dense" });
    let found = service.post("/api/v1/search", &body).send().ok(200);
    assert_eq!(found["notices"], json!([]));
    assert_eq!(found["passages"][0]["text"], text(n), "{found}");
    let passages = found["passages"].as_array().unwrap().iter();
    passages.map(|passage| passage["chunk_id"].to_string()).collect()
}

fn until(service: &Service, state: &str) -> Value {
    for _ in 0..LOOKS {
        let status = status(service);
        if status["state"] == state {
            return status;
        }
    }
    panic!("{}", status(service));
}

fn embedder(service: &Service) -> String {
    service.get("/readyz").ok(200)["dependencies"]["embedder"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_model_is_changed_under_a_server_that_is_killed() {
    let Some(service) = Service::start(&[("EMBEDDING_MODEL", OLD)]) else {
        return;
    };
    let documents = 6;
    for n in 0..documents {
        service.ingest(&format!("house-{n}"), &text(n));
    }
    let question = |n: usize| {
        json!({ "id": n, "question": format!("zebra{n} walnut{n}"), "documents": [format!("house-{n}")] }).to_string()
    };
    let set: Vec<String> = (0..documents).map(question).collect();
    service.write("set.jsonl", &set.join("\n"));
    let ids = found(&service, 1);
    assert_eq!(status(&service)["state"], "none");

    // The model is asked for its dimensions and one batch, and then no more.
    service.stub.faults(&["hang@embeddings?skip=2"]);
    service.run(&["model", "migrate", "--to", TO, "--no-wait"]).ended(0);
    service.stub.until_at_least("faults_injected", 1);
    assert_eq!(status(&service)["answers"], format!("openai:{OLD}"));
    service.stub.faults(&[]);
    let service = service.killed_and_started("RAGSTONE_LOG", "info");
    let done = until(&service, "switched");
    assert_eq!((&done["done"], &done["answers"]), (&done["total"], &json!(TO)));
    assert!(done["settings"].as_str().unwrap().contains(NEW), "{done}");
    assert!(embedder(&service).starts_with(NEW), "{}", embedder(&service));
    assert!(embedder(&service).contains("the settings name another"));
    assert_eq!(found(&service, 1)[0], ids[0], "chunks keep their ids");
    service.run(&["fsck"]).ended(0);

    let refused = service.run(&["model", "migrate", "--finish"]).ended(1);
    assert!(refused.err.contains(NEW), "{}", refused.err);
    service.run(&["model", "rollback"]).ended(0);
    assert_eq!(status(&service)["answers"], format!("openai:{OLD}"));
    assert_eq!(embedder(&service), OLD);
    found(&service, 2);
    let migrate = |gate: &str| {
        let command = [
            "--json",
            "model",
            "migrate",
            "--to",
            TO,
            "--gate",
            gate,
            "--set",
            "set.jsonl",
        ];
        service.run(&command)
    };
    migrate("ndcg@10>0.9").ended(2);
    let worse = migrate("ndcg@10>=1.5").ended(1).json();
    assert_eq!(
        (&worse["state"], &worse["compared"]["new"]),
        (&json!("refused"), &json!(1.0))
    );
    assert_eq!(embedder(&service), OLD, "the old one answers");
    assert_eq!(migrate("ndcg@10>=0.98").ended(0).json()["state"], "switched");
    service.ingest("house-6", &text(6));
    found(&service, 6);

    let service = service.killed_and_started("EMBEDDING_MODEL", NEW);
    assert_eq!(embedder(&service), NEW);
    service.run(&["model", "migrate", "--finish"]).ended(0);
    assert_eq!(status(&service)["state"], "none");
    service.run(&["model", "rollback"]).ended(1);
    let service = service.killed_and_started("RAGSTONE_LOG", "info");
    for n in 0..=documents {
        found(&service, n);
    }
    assert_eq!(found(&service, 1)[0], ids[0]);
    service.run(&["fsck"]).ended(0);
    let again = json!({ "uri": "house-1", "text": text(1) });
    // 202 would say that a job was queued.
    service.post("/api/v1/documents", &again).send().ok(200);
}
