//! An embedding service that is busy, broken, silent or not there: no document fails that should not, and nobody has to
//! restart anything. The clock is compressed: waits of a second at most.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::http::{Answer, request};
use crate::moody::{Mood, Moody, UNSPEAKABLE};
use crate::support::{Sandbox, Server, interrupt};

/// Looks at what must come.
const LOOKS: usize = 50_000;
/// Failures of its own after which a job is given up.
const MAX_ATTEMPTS: usize = 2;
const DOCUMENTS: usize = 3;

fn sandbox(service: &str) -> Sandbox {
    Sandbox::new()
        .with("OPENAI_BASE_URL", service)
        .with("OPENAI_API_KEY", "sk-moody")
        .with("EMBEDDING_MODEL", "moody")
        .with("RAGSTONE_EMBED__MAX_ATTEMPTS", "1")
        .with("RAGSTONE_EMBED__TIMEOUT_SECONDS", "1")
        .with("RAGSTONE_JOBS__MAX_ATTEMPTS", &MAX_ATTEMPTS.to_string())
        .with("RAGSTONE_JOBS__RETRY_BASE_SECONDS", "1")
        .with("RAGSTONE_JOBS__RETRY_CAP_SECONDS", "1")
        .with("RAGSTONE_JOBS__POLL_SECONDS", "1")
}

struct Library {
    // In the order of their end.
    server: Server,
    sandbox: Sandbox,
}

impl Library {
    fn start(sandbox: Sandbox) -> Self {
        Self {
            server: Server::start(&sandbox),
            sandbox,
        }
    }

    fn get(&self, path: &str) -> Value {
        request(&self.server.address, "GET", path).send().ok(200)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        request(&self.server.address, "POST", path).json(body).send()
    }

    /// Sends a text; its job.
    fn send(&self, uri: &str, text: &str) -> String {
        let accepted = self.post("/api/v1/documents", &json!({"uri": uri, "text": text}));
        accepted.ok(202)["job"]["id"].as_str().unwrap().to_owned()
    }

    fn job(&self, job: &str) -> Value {
        self.get(&format!("/api/v1/jobs/{job}"))
    }

    /// How a job ended, as those who follow it are told.
    fn ended(&self, job: &str) -> Value {
        let events = request(&self.server.address, "GET", &format!("/api/v1/jobs/{job}/events"));
        let last = events.open().events().last().unwrap();
        assert_eq!(last.name, "done");
        last.data
    }

    #[track_caller]
    fn publishes(&self, job: &str) -> Value {
        let ended = self.ended(job);
        assert_eq!(
            (&ended["state"], &ended["error"]),
            (&json!("succeeded"), &Value::Null),
            "{ended}"
        );
        ended
    }

    fn dense(&self, query: &str) -> Answer {
        self.post("/api/v1/search", &json!({"query": query, "mode": "dense"}))
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        assert!((0..LOOKS).any(|_| holds(self)), "never: {what}");
    }
}

fn text(of: usize) -> String {
    format!("The pump number {of} needs oil every {of} days.")
}

#[test]
fn an_outage_of_every_kind_loses_no_document() {
    let service = Moody::start();
    let library = Library::start(sandbox(&service.base_url()));
    service.set(Mood::Busy);
    let jobs: Vec<String> = (0..DOCUMENTS)
        .map(|of| library.send(&format!("{of}"), &text(of)))
        .collect();
    // Each mood alone lasts longer than the attempts of a failure.
    let long = DOCUMENTS * (MAX_ATTEMPTS + 1);
    service.until_asked(long);
    service.endure(Mood::Broken, long);
    service.endure(Mood::Hanging, long);
    let failed = library.get("/api/v1/jobs?state=failed");
    assert_eq!(failed["jobs"], json!([]), "during the outage");
    service.set(Mood::Well);
    for (of, job) in jobs.iter().enumerate() {
        let ended = library.publishes(job);
        assert!(ended["attempts"].as_u64().unwrap() > MAX_ATTEMPTS as u64, "{ended}");
        let found = library.dense(&text(of)).ok(200);
        assert_eq!(found["passages"][0]["text"], text(of), "{found}");
    }
}

#[test]
fn a_text_that_a_service_refuses_goes_by_its_words_alone() {
    let service = Moody::start();
    let library = Library::start(sandbox(&service.base_url()));
    let refused = library.send("refused", &format!("This is {UNSPEAKABLE}."));
    let other = library.send("other", &text(1));
    let ended = library.publishes(&refused);
    library.publishes(&other);
    let path = format!("/api/v1/documents/{}", ended["document_id"].as_str().unwrap());
    let warnings = &library.get(&path)["warnings"];
    assert_eq!(warnings[0]["code"], "chunks_without_vectors", "{warnings}");
    let detail = warnings[0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("1 of 1") && detail.contains("this cannot be said"),
        "{detail}"
    );
    let query = json!({"query": UNSPEAKABLE});
    let found = library.post("/api/v1/search", &query).ok(200);
    assert_eq!(found["passages"][0]["document_id"], ended["document_id"], "{found}");
    let found = library.dense(&text(1)).ok(200);
    assert_eq!(found["passages"][0]["text"], text(1), "{found}");
}

#[test]
fn an_outage_beyond_its_bound_is_final_until_the_job_is_driven_again() {
    let service = Moody::start();
    let bound = MAX_ATTEMPTS + 2;
    let sandbox = sandbox(&service.base_url()).with("RAGSTONE_JOBS__MAX_OUTAGE_ATTEMPTS", &bound.to_string());
    let library = Library::start(sandbox);
    service.set(Mood::Broken);
    let job = library.send("a", &text(1));
    let ended = library.ended(&job);
    assert_eq!(
        (&ended["state"], &ended["attempts"], &ended["error"]["code"]),
        (&json!("failed"), &json!(bound), &json!("embedding_failed")),
        "{ended}"
    );
    service.set(Mood::Well);
    library.post(&format!("/api/v1/jobs/{job}/retry"), &json!({})).ok(202);
    library.publishes(&job);
}

#[test]
fn a_server_that_started_without_its_service_turns_hybrid_when_it_comes() {
    let address = Moody::start().address();
    let library = Library::start(sandbox(&format!("http://{address}/v1")));
    // Nothing has vectors yet, so words alone will do for now.
    library.publishes(&library.send("a", &text(1)));
    library.dense("pump").problem(503, "embedder_unavailable");
    let _service = Moody::at(address);
    library.until("vectors", |library| library.dense("pump").status == 200);
    let found = library.dense(&text(1)).ok(200);
    assert_eq!(found["passages"][0]["text"], text(1), "{found}");
    let job = library.send("b", &text(2));
    library.publishes(&job);
    let found = library.dense(&text(2)).ok(200);
    assert_eq!(found["passages"][0]["text"], text(2), "{found}");
}

#[test]
fn a_document_for_a_library_with_vectors_waits_for_the_service() {
    let service = Moody::start();
    let address = service.address();
    let library = Library::start(sandbox(&service.base_url()));
    library.publishes(&library.send("a", &text(1)));
    assert_eq!(library.server.stop(), Some(0));
    drop(service);
    let library = Library::start(library.sandbox);
    let job = library.send("b", &text(2));
    library.until("more attempts than failures may be", |library| {
        library.job(&job)["attempts"].as_u64().unwrap() > MAX_ATTEMPTS as u64
    });
    let found = library.post("/api/v1/search", &json!({"query": "pump oil"})).ok(200);
    assert_eq!(found["notices"][0]["code"], "lexical_only", "{found}");
    assert_eq!(
        found["passages"].as_array().unwrap().len(),
        1,
        "what has its vectors: {found}"
    );
    let _service = Moody::at(address);
    library.publishes(&job);
    library.until("vectors", |library| library.dense("pump").status == 200);
    let found = library.dense(&text(2)).ok(200);
    assert_eq!(found["passages"][0]["text"], text(2), "{found}");
}

#[test]
fn an_interrupted_ingest_spends_nothing_however_often() {
    let service = Moody::start();
    let sandbox = sandbox(&service.base_url());
    let file = sandbox.write("pump.txt", text(1));
    let file = file.to_str().unwrap();
    // One more than the deaths that poison a job.
    for _ in 0..4 {
        service.set(Mood::Hanging);
        let mut child = sandbox
            .command(&["ingest", file])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        service.until_asked(1);
        interrupt(&child);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let jobs = sandbox.run(&["job", "list", "--json"]).ended(0).lines();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert_eq!(
            (&jobs[0]["state"], &jobs[0]["attempts"]),
            (&json!("queued"), &json!(0)),
            "{jobs:?}"
        );
    }
    service.set(Mood::Well);
    let done = sandbox.run(&["ingest", file, "--json"]).ended(0).json();
    assert_eq!(done["status"], "published", "{done}");
    sandbox.run(&["fsck"]).ended(0);
}
