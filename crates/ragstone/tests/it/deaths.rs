//! Processes that are killed while their jobs are at work: nobody is blamed for a death that others may have caused.

use serde_json::{Value, json};

use crate::http::request;
use crate::moody::{Mood, Moody};
use crate::support::{Sandbox, Server};

const DOCUMENTS: usize = 13;
const KILLS: usize = 12;
/// Looks at the jobs until none is at work.
const LOOKS: usize = 100_000;

fn get(server: &Server, path: &str) -> Value {
    request(&server.address, "GET", path).send().ok(200)
}

#[test]
fn twelve_kills_over_thirteen_documents_fail_none_of_them() {
    let service = Moody::start();
    let sandbox = Sandbox::new()
        .with("OPENAI_BASE_URL", &service.base_url())
        .with("OPENAI_API_KEY", "sk-moody")
        .with("EMBEDDING_MODEL", "moody")
        .with("RAGSTONE_JOBS__WORKERS", "4")
        .with("RAGSTONE_JOBS__POLL_SECONDS", "1");
    let mut server = Server::start(&sandbox);
    service.set(Mood::Hanging);
    for n in 0..DOCUMENTS {
        let body = json!({"uri": format!("test:{n}"), "text": format!("Pump {n} needs oil every {n} days.")});
        request(&server.address, "POST", "/api/v1/documents")
            .json(&body)
            .send()
            .ok(202);
    }
    // Each life ends while some job waits for its embeddings, always at the same place.
    for _ in 0..KILLS {
        service.until_asked(1);
        drop(server);
        service.set(Mood::Hanging);
        server = Server::start(&sandbox);
    }
    service.set(Mood::Well);
    let at_work = |state: &str| get(&server, &format!("/api/v1/jobs?state={state}"))["jobs"] != json!([]);
    assert!(
        (0..LOOKS).any(|_| !at_work("queued") && !at_work("running")),
        "they end: {}",
        get(&server, "/api/v1/jobs")
    );
    assert_eq!(get(&server, "/api/v1/jobs?state=failed")["jobs"], json!([]));
    let listed = get(&server, "/api/v1/documents?status=published");
    assert_eq!(listed["documents"].as_array().unwrap().len(), DOCUMENTS, "{listed}");
    drop(server);
    let report = sandbox.run(&["--json", "fsck"]).ended(0).json();
    assert_eq!(report["documents"], json!(DOCUMENTS), "{report}");
}
