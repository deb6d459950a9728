//! Embeddings of a service that fails now and then: no document is lost by it, and questions go on by words.

use serde_json::{Value, json};

use crate::http::Event;
use crate::stub::Service;

/// Small batches, so that a document takes many requests; two tries, and a second for what hangs.
const SETTINGS: [(&str, &str); 7] = [
    ("EMBEDDING_MODEL", "stub-embedding"),
    ("RAGSTONE_EMBED__BATCH_TEXTS", "2"),
    ("RAGSTONE_EMBED__CONCURRENCY", "1"),
    ("RAGSTONE_EMBED__MAX_ATTEMPTS", "2"),
    ("RAGSTONE_EMBED__TIMEOUT_SECONDS", "1"),
    ("RAGSTONE_SPLIT__CHUNK_SIZE", "60"),
    ("RAGSTONE_SPLIT__CHUNK_OVERLAP", "0"),
];

const SEARCH: &str = "/api/v1/search";

/// Eight paragraphs, each a chunk: so few that the library does not ask questions of its own to find its threshold. Other
/// words for each document: what was embedded once is not asked for again.
fn handbook(of: &str) -> String {
    let paragraph = |n: usize| format!("{of} {n}: the number {n} pump needs oil every {n} days.\n\n");
    (1..=8).map(paragraph).collect()
}

fn found(service: &Service, mode: &str) -> Value {
    let body = json!({"query": "number 7 pump oil days", "mode": mode});
    service.post(SEARCH, &body).send().ok(200)
}

#[track_caller]
fn is_whole(service: &Service, job: &Value) {
    assert_eq!(
        (&job["state"], &job["error"]),
        (&json!("succeeded"), &Value::Null),
        "{job}"
    );
    let path = format!("/api/v1/documents/{}", job["document_id"].as_str().unwrap());
    let document = service.get(&path).ok(200);
    assert_eq!(
        (&document["status"], &document["last_error"]),
        (&json!("published"), &Value::Null)
    );
    assert!(document["chunks"].as_u64().unwrap() >= 8, "{document}");
    let chunks = service.get(&format!("{path}/chunks?limit=1000")).ok(200);
    assert_eq!(chunks["chunks"].as_array().unwrap().len() as u64, document["chunks"]);
    let found = found(service, "dense");
    assert!(
        found["passages"][0]["text"].as_str().unwrap().contains("number 7 "),
        "{found}"
    );
    assert_eq!(found["notices"], json!([]));
}

#[test]
fn a_document_comes_through_faults_that_pass() {
    let Some(service) = Service::start(&SETTINGS) else {
        return;
    };
    let check = |uri: &str, faults: &[&str]| -> Value {
        service.stub.faults(faults);
        let job = service.ingest(uri, &handbook(uri));
        assert!(service.stub.stats("faults_injected") > 0, "{faults:?}");
        service.stub.faults(&[]);
        is_whole(&service, &job);
        job
    };
    check("busy", &["429@embeddings?every=3&retry_after=0"]);
    check("broken", &["500@embeddings?every=3"]);
    check("dropped", &["drop@embeddings?every=3"]);
    check("malformed", &["malformed@embeddings?every=3"]);
    check("hanging", &["hang@embeddings?skip=2&first=1"]);
    // Longer than one request and the probe of a plain text are tried: the job is.
    let job = check("outage", &["500@embeddings?first=8"]);
    assert!(job["attempts"].as_u64().unwrap() > 1, "{job}");
    let jobs = service.get("/api/v1/jobs?state=failed").ok(200);
    assert_eq!(jobs["jobs"], json!([]));
}

#[test]
fn a_document_comes_through_a_fault_at_its_end() {
    let Some(service) = Service::start(&SETTINGS) else {
        return;
    };
    service.stub.faults(&["500@embeddings?skip=3&first=2"]);
    is_whole(&service, &service.ingest("a", &handbook("rule")));
    let failed = service.get("/api/v1/jobs?state=failed").ok(200);
    assert_eq!(failed["jobs"], json!([]));
}

#[test]
fn a_refusal_fails_the_document_until_it_is_sent_again() {
    let Some(service) = Service::start(&SETTINGS) else {
        return;
    };
    service.stub.faults(&["401@embeddings"]);
    let job = service.ingest("a", &handbook("rule"));
    assert_eq!((&job["state"], &job["attempts"]), (&json!("failed"), &json!(1)));
    for word in ["code", "detail", "hint"] {
        assert!(
            job["error"][word].as_str().is_some_and(|text| !text.is_empty()),
            "{job}"
        );
    }
    assert!(job["error"]["detail"].as_str().unwrap().contains("401"), "{job}");
    let documents = service.get("/api/v1/documents?status=failed").ok(200);
    assert_eq!(documents["documents"][0]["last_error"], job["error"]);
    service.stub.faults(&[]);
    is_whole(&service, &service.ingest("a", &handbook("rule")));
}

#[test]
fn a_question_goes_by_words_where_its_vector_cannot_be_had() {
    let Some(service) = Service::start(&SETTINGS) else {
        return;
    };
    is_whole(&service, &service.ingest("a", &handbook("rule")));
    let question = "number 7 pump oil days";
    let stub = &service.stub;
    let check = |fault: &str| {
        stub.faults(&[fault]);
        let found = found(&service, "hybrid");
        assert_eq!(found["notices"][0]["code"], "lexical_only", "{fault}");
        assert!(
            found["passages"][0]["text"].as_str().unwrap().contains("number 7 "),
            "{found}"
        );
        let answer = service.ask(question, false).send().ok(200);
        assert_eq!(
            (&answer["answered"], &answer["notices"][0]["code"]),
            (&json!(true), &json!("lexical_only")),
            "{answer}"
        );
        let events: Vec<Event> = service.ask(question, true).open().events().collect();
        assert_eq!(events[0].data["notices"][0]["code"], "lexical_only");
        assert_eq!(events.last().unwrap().data["answered"], true);
        let dense = json!({"query": question, "mode": "dense"});
        service.post(SEARCH, &dense).send().problem(503, "embedder_unavailable");
        service
            .post("/api/v1/ask", &dense)
            .send()
            .problem(503, "embedder_unavailable");
    };
    check("429@embeddings?retry_after=0");
    check("500@embeddings");
    check("401@embeddings");
    check("malformed@embeddings");
    stub.faults(&["hang@embeddings"]);
    assert_eq!(found(&service, "hybrid")["notices"][0]["code"], "lexical_only");
    // Nobody waits long for one vector.
    stub.faults(&["429@embeddings?retry_after=3600"]);
    assert_eq!(found(&service, "hybrid")["notices"][0]["code"], "lexical_only");
    stub.faults(&["hang@embeddings"]);
    let call = service.ask(question, true).begin();
    stub.until("in_flight", 1);
    drop(call);
    stub.until("requests_abandoned", 1);
    for passing in ["429@embeddings?first=1&retry_after=0", "500@embeddings?first=1"] {
        stub.faults(&[passing]);
        assert_eq!(found(&service, "hybrid")["notices"], json!([]), "{passing}");
    }
}
