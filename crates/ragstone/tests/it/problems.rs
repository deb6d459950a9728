//! Every code of a problem that can be provoked from outside, once over a real socket; each has to be described for the
//! call that gave it.

use std::collections::BTreeSet;
use std::io::BufRead;

use serde_json::{Value, json};

use crate::http::{Answer, FORM, Request, form, request};
use crate::support::{Sandbox, Server};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const DOCUMENTS: &str = "/api/v1/documents";
const SEARCH: &str = "/api/v1/search";
const ASK: &str = "/api/v1/ask";
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Codes that nobody can provoke here, and why.
const NOT_HERE: &[(&str, &str)] = &[
    (
        "bad_request",
        "stands for what a library of the router refuses, none does",
    ),
    ("not_local", "without a key the server listens on loopback only"),
    ("forbidden", "needs a lesser key: see keys.rs"),
    ("grant_refused", "needs a lesser key: see keys.rs"),
    ("uri_taken", "needs two writers: see keys.rs"),
    ("key_ended", "needs a key that has: see keys.rs"),
    ("conflict", "two changes have to meet within a millisecond"),
    ("too_many_tickets", "2,048 tickets of one caller have to wait"),
    ("too_many_requests", "needs two addresses: see crowd.rs"),
    ("too_many_connections", "needs two addresses: see crowd.rs"),
    ("shutting_down", "needs a server that ends: see streams.rs"),
    ("internal", "nothing breaks on request"),
    ("not_ready", "a process that serves is ready"),
    ("catalogue_unavailable", "its database would have to break"),
    ("index_unavailable", "its database would have to break"),
    ("search_failed", "its database would have to break"),
    ("interrupted", "a model's answer ends with a word about it"),
    ("timeout", "takes 30 seconds"),
    ("issuer_unavailable", "needs an issuer: see tokens.rs"),
    ("model_busy", "needs a model: see answers.rs"),
    ("model_refused", "needs a model: see answers.rs"),
    ("model_failed", "needs a model: see answers.rs"),
    ("withdrawn", "needs a slow model: see answers.rs"),
    (
        "token_budget_spent",
        "needs a model that tells its usage: see the tests of the limits",
    ),
    (
        "too_many_streams",
        "needs a stream that does not end: see the tests of the limits",
    ),
    ("job_superseded", "a job has to fail first: see the tests of the routes"),
    ("batch_taken", "needs two writers: see keys.rs"),
    ("source_busy", "two syncs have to meet: see the tests of the routes"),
    ("source_document", "needs a sync: see http/documents/writer_tests.rs"),
    ("write_refused", "needs two writers: see http/documents/writer_tests.rs"),
    ("mail_document", "needs a mail: see http/documents/name_tests.rs"),
    ("storage_full", "needs a full disk: see disk.rs"),
];

struct Api {
    server: Server,
    key: Option<&'static str>,
    _sandbox: Sandbox,
}

/// A call that was answered with a problem.
struct Case {
    /// Method and path as the description names them; empty where the call is none of it.
    call: &'static str,
    status: u16,
    code: &'static str,
    answer: Answer,
}

impl Api {
    fn start(settings: &[(&str, &str)], key: Option<&'static str>) -> Self {
        let sandbox = settings
            .iter()
            .fold(Sandbox::lexical(), |sandbox, (name, value)| sandbox.with(name, value));
        let server = Server::start(&sandbox);
        Self {
            server,
            key,
            _sandbox: sandbox,
        }
    }

    fn anonymous(&self, method: &str, path: &str) -> Request {
        request(&self.server.address, method, path)
    }

    fn call(&self, method: &str, path: &str) -> Request {
        let call = self.anonymous(method, path);
        match self.key {
            Some(key) => call.header("Authorization", &format!("Bearer {key}")),
            None => call,
        }
    }

    fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path).json(&body).send()
    }

    /// A published document: its path, and its job's.
    fn document(&self, body: Value) -> (String, String) {
        let accepted = self.post(DOCUMENTS, body).ok(202);
        let path = |what: &str| accepted[what]["id"].as_str().unwrap().to_owned();
        let job = format!("/api/v1/jobs/{}", path("job"));
        let ended = self
            .call("GET", &format!("{job}/events"))
            .open()
            .events()
            .last()
            .unwrap();
        assert_eq!(ended.data["state"], "succeeded");
        (format!("{DOCUMENTS}/{}", path("document")), job)
    }
}

fn case(call: &'static str, status: u16, code: &'static str, answer: Answer) -> Case {
    Case {
        call,
        status,
        code,
        answer,
    }
}

#[test]
fn every_code_is_what_its_description_says() {
    let open = Api::start(&[("RAGSTONE_PARSE__MAX_BYTES", "4096")], None);
    let keyed = [("RAGSTONE_ADMIN_KEY", KEY), ("RAGSTONE_ASK__PROMPT_TOKENS", "256")];
    let keyed = Api::start(&keyed, Some(KEY));
    let mut cases = Vec::new();
    cases.extend(malformed(&open));
    cases.extend(wrong(&open));
    cases.extend(missing(&open));
    cases.extend(too_much(&open));
    cases.extend(foreign(&open, &keyed));
    cases.extend(refused(&open, &keyed));
    cases.push(taken(&open));

    let description = open.call("GET", "/openapi.json").send().ok(200);
    let table = description["info"]["description"].as_str().unwrap().to_owned();
    let rows = table.lines().filter_map(|row| row.strip_prefix("| "));
    let known: BTreeSet<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert!(known.len() > 30, "{table}");
    let mut provoked: BTreeSet<&str> = NOT_HERE.iter().map(|(code, _)| *code).collect();
    for Case {
        call,
        status,
        code,
        answer,
    } in &cases
    {
        let body = answer.problem(*status, code);
        assert!(
            call.is_empty() || describes(&description, call, *status, code),
            "{call}: {code} is not described"
        );
        assert!(
            !provoked.contains(code) || NOT_HERE.iter().all(|(not, _)| not != code),
            "{code}: {body}"
        );
        provoked.insert(code);
    }
    assert_eq!(provoked, known);
}

/// Whether the description of a call names the code at its status.
fn describes(description: &Value, call: &str, status: u16, code: &str) -> bool {
    let (method, path) = call.split_once(' ').unwrap();
    let response = &description["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
    let text = response["description"].as_str().unwrap_or_default();
    text.contains(&format!("`{code}`")) && response["content"]["application/problem+json"].is_object()
}

/// A second source of one name.
fn taken(open: &Api) -> Case {
    let wanted = json!({"name": "n", "kind": "folder", "settings": {"path": "/nowhere"}, "readers": ["everyone"]});
    open.post("/api/v1/sources", wanted.clone()).ok(201);
    case(
        "POST /api/v1/sources",
        409,
        "source_taken",
        open.post("/api/v1/sources", wanted),
    )
}

fn malformed(open: &Api) -> Vec<Case> {
    let search = |media_type: &str, body: &str| open.call("POST", SEARCH).body(media_type, body);
    let upload = |media_type: &str, body: Vec<u8>| open.call("POST", DOCUMENTS).body(media_type, body);
    let whole = form("title", "T", "text");
    vec![
        case(
            "POST /api/v1/search",
            400,
            "bad_json",
            search("application/json", "{\"query\":").send(),
        ),
        case(
            "POST /api/v1/search",
            400,
            "bad_json",
            search("application/json", "").send(),
        ),
        case(
            "POST /api/v1/ask",
            400,
            "bad_json",
            open.call("POST", ASK).body("application/json", "not").send(),
        ),
        case(
            "POST /api/v1/search",
            415,
            "unsupported_media_type",
            search("text/plain", "{}").send(),
        ),
        case(
            "POST /api/v1/search",
            415,
            "unsupported_media_type",
            open.call("POST", SEARCH).send(),
        ),
        case(
            "POST /api/v1/documents",
            415,
            "unsupported_media_type",
            upload("text/plain", "a".into()).send(),
        ),
        case(
            "POST /api/v1/documents",
            400,
            "bad_multipart",
            upload("multipart/form-data", whole.clone()).send(),
        ),
        case(
            "POST /api/v1/documents",
            400,
            "bad_multipart",
            upload(FORM, "no boundary".into()).send(),
        ),
        case(
            "POST /api/v1/documents",
            400,
            "upload_interrupted",
            upload(FORM, whole).break_off(60),
        ),
        case(
            "POST /api/v1/documents",
            400,
            "upload_interrupted",
            open.call("POST", DOCUMENTS)
                .json(&json!({"uri": "a", "text": "b"}))
                .break_off(5),
        ),
    ]
}

fn wrong(open: &Api) -> Vec<Case> {
    let get = |path: &str| open.call("GET", path).send();
    let pointed = |answer: Answer, pointer: &str| {
        assert_eq!(answer.json()["pointer"], pointer, "{answer:?}");
        answer
    };
    let ask = |body: Value| open.post(ASK, body);
    let near = json!({"type": "and", "filters": [{"type": "eq", "key": "a", "value": 1}, {"type": "near"}]});
    let upload = |field: &str, value: &str| open.call("POST", DOCUMENTS).body(FORM, form(field, value, "b")).send();
    let text = |body: Value| open.post(DOCUMENTS, body);
    vec![
        case(
            "GET /api/v1/documents",
            400,
            "bad_cursor",
            get("/api/v1/documents?cursor=nonsense"),
        ),
        case(
            "GET /api/v1/jobs",
            400,
            "bad_cursor",
            get("/api/v1/jobs?cursor=nonsense"),
        ),
        case(
            "GET /api/v1/documents",
            400,
            "bad_query",
            get("/api/v1/documents?limit=many"),
        ),
        case("GET /api/v1/jobs", 400, "bad_query", get("/api/v1/jobs?state=tired")),
        case("GET /api/v1/ask-stream", 400, "bad_query", get("/api/v1/ask-stream")),
        case("POST /api/v1/search", 422, "bad_body", open.post(SEARCH, json!({}))),
        case("POST /api/v1/search", 422, "bad_body", open.post(SEARCH, json!([1]))),
        case(
            "POST /api/v1/documents",
            422,
            "bad_body",
            text(json!({"uri": "a", "text": "b", "reader": ["x"]})),
        ),
        case(
            "POST /api/v1/search",
            422,
            "bad_question",
            open.post(SEARCH, json!({"query": "  "})),
        ),
        case("POST /api/v1/ask", 422, "bad_question", ask(json!({"question": ""}))),
        case(
            "POST /api/v1/search",
            422,
            "bad_filter",
            pointed(
                open.post(SEARCH, json!({"query": "a", "filter": near})),
                "/filter/filters/1/key",
            ),
        ),
        case(
            "POST /api/v1/ask",
            422,
            "bad_field",
            pointed(ask(json!({"question": "a", "temperature": 3})), "/temperature"),
        ),
        case(
            "POST /api/v1/documents",
            422,
            "bad_field",
            pointed(upload("reader", "x"), "/reader"),
        ),
        case(
            "POST /api/v1/documents",
            422,
            "bad_field",
            pointed(upload("metadata", "{"), "/metadata"),
        ),
        case(
            "POST /api/v1/documents",
            422,
            "bad_field",
            text(json!({"uri": "", "text": "b"})),
        ),
        case(
            "POST /api/v1/documents",
            422,
            "uri_reserved",
            pointed(text(json!({"uri": "m#attachment/1/a", "text": "b"})), "/uri"),
        ),
        case(
            "POST /api/v1/documents",
            422,
            "bad_reader",
            text(json!({"uri": "a", "text": "b", "readers": ["x y"]})),
        ),
        case(
            "POST /api/v1/ask",
            422,
            "model_not_allowed",
            ask(json!({"question": "a", "model": "other"})),
        ),
        case(
            "POST /api/v1/search",
            503,
            "embedder_unavailable",
            open.post(SEARCH, json!({"query": "a", "mode": "dense"})),
        ),
        case(
            "POST /api/v1/ask",
            503,
            "embedder_unavailable",
            ask(json!({"question": "a", "mode": "dense"})),
        ),
    ]
}

fn missing(open: &Api) -> Vec<Case> {
    let call = |method: &str, path: &str| open.call(method, path).send();
    let (document, job) = open.document(json!({"uri": "attic.md", "text": "The zebra lives in the attic."}));
    let nowhere = format!("{DOCUMENTS}/{NOBODY}");
    let patch = open.call("PATCH", &nowhere).json(&json!({"title": "T"})).send();
    let of_nowhere = |rest: &str| call("GET", &format!("{nowhere}{rest}"));
    let not_allowed = call("PUT", DOCUMENTS);
    assert_eq!(not_allowed.header("allow"), Some("GET,HEAD,POST"));
    let range = open
        .call("GET", &format!("{document}/content"))
        .header("Range", "bytes=999-")
        .send();
    assert_eq!(range.header("content-range"), Some("bytes */29"));
    let last_id = open
        .call("GET", "/api/v1/ask-stream?query=a")
        .header("Last-Event-ID", &format!("{NOBODY}:1"));
    let events = call("GET", &format!("/api/v1/jobs/{NOBODY}/events"));
    vec![
        case("GET /api/v1/documents/{id}", 404, "not_found", of_nowhere("")),
        case(
            "GET /api/v1/documents/{id}",
            404,
            "not_found",
            call("GET", "/api/v1/documents/x"),
        ),
        case(
            "GET /api/v1/documents/{id}",
            404,
            "not_found",
            call("GET", "/api/v1/documents/%FF"),
        ),
        case(
            "GET /api/v1/documents/{id}/chunks",
            404,
            "not_found",
            of_nowhere("/chunks"),
        ),
        case(
            "GET /api/v1/documents/{id}/content",
            404,
            "not_found",
            of_nowhere("/content"),
        ),
        case(
            "GET /api/v1/documents/{id}/pages/{page}",
            404,
            "not_found",
            of_nowhere("/pages/1"),
        ),
        case(
            "GET /api/v1/documents/{id}/pages/{page}",
            404,
            "not_found",
            call("GET", &format!("{document}/pages/99")),
        ),
        case("PATCH /api/v1/documents/{id}", 404, "not_found", patch),
        case(
            "DELETE /api/v1/documents/{id}",
            404,
            "not_found",
            call("DELETE", &nowhere),
        ),
        case(
            "GET /api/v1/jobs/{id}",
            404,
            "not_found",
            call("GET", &format!("/api/v1/jobs/{NOBODY}")),
        ),
        case("GET /api/v1/jobs/{id}/events", 404, "not_found", events),
        case(
            "DELETE /api/v1/jobs/{id}",
            404,
            "not_found",
            call("DELETE", &format!("/api/v1/jobs/{NOBODY}")),
        ),
        case("DELETE /api/v1/jobs/{id}", 409, "job_final", call("DELETE", &job)),
        case(
            "POST /api/v1/jobs/{id}/retry",
            409,
            "job_not_failed",
            call("POST", &format!("{job}/retry")),
        ),
        case(
            "GET /api/v1/documents/{id}/content",
            416,
            "range_not_satisfiable",
            range,
        ),
        case(
            "GET /api/v1/documents/{id}/chunks",
            400,
            "bad_cursor",
            call("GET", &format!("{document}/chunks?cursor=nonsense")),
        ),
        case("GET /api/v1/ask-stream", 404, "stream_unknown", last_id.send()),
        case("", 404, "no_route", call("GET", "/nowhere")),
        case("", 404, "no_route", call("POST", "/api/v1/documents/a/b/c")),
        case("", 405, "method_not_allowed", not_allowed),
        case("", 405, "method_not_allowed", call("DELETE", "/docs")),
    ]
}

fn too_much(open: &Api) -> Vec<Case> {
    let long = "a".repeat(17 << 20);
    let file = form("title", "T", &"a".repeat(5000));
    let text = json!({"uri": "a", "text": "a".repeat(5000)});
    let answers = vec![
        case(
            "POST /api/v1/documents",
            413,
            "too_large",
            open.call("POST", DOCUMENTS).body(FORM, file).send(),
        ),
        case("POST /api/v1/documents", 413, "too_large", open.post(DOCUMENTS, text)),
        case(
            "POST /api/v1/search",
            413,
            "too_large",
            open.post(SEARCH, json!({ "query": long })),
        ),
    ];
    let listed = open.call("GET", DOCUMENTS).send().ok(200);
    assert!(
        !listed.to_string().contains("\"uri\":\"a\""),
        "nothing was kept: {listed}"
    );
    answers
}

fn foreign(open: &Api, keyed: &Api) -> Vec<Case> {
    let list = || open.call("GET", DOCUMENTS);
    let wrong_key = keyed
        .anonymous("GET", DOCUMENTS)
        .header("Authorization", "Bearer nonsense");
    let unauthorized = wrong_key.send();
    assert_eq!(unauthorized.header("www-authenticate"), Some("Bearer"));
    // Answered before a byte of the body came.
    let upload = keyed
        .anonymous("POST", DOCUMENTS)
        .header("Content-Length", "1000000000");
    vec![
        case(
            "GET /api/v1/documents",
            403,
            "foreign_host",
            list().header("Host", "evil.example").send(),
        ),
        case(
            "GET /api/v1/documents",
            403,
            "foreign_origin",
            list().header("Origin", "http://evil.example").send(),
        ),
        case(
            "GET /api/v1/documents",
            403,
            "foreign_origin",
            list().header("Sec-Fetch-Site", "cross-site").send(),
        ),
        case("GET /api/v1/documents", 401, "unauthorized", unauthorized),
        case("POST /api/v1/documents", 401, "unauthorized", upload.send()),
        case(
            "GET /metrics",
            401,
            "unauthorized",
            keyed.anonymous("GET", "/metrics").send(),
        ),
        case("", 401, "unauthorized", keyed.anonymous("GET", "/docs").send()),
        case("", 401, "unauthorized", keyed.anonymous("GET", "/nowhere").send()),
    ]
}

fn refused(open: &Api, keyed: &Api) -> Vec<Case> {
    let nobody_named = keyed.post(DOCUMENTS, json!({"uri": "a", "text": "b"}));
    keyed.document(json!({"uri": "a", "text": "The zebra lives in the attic.", "readers": ["everyone"]}));
    let too_long = json!({"question": "Where does the zebra live?", "instructions": "Be brief. ".repeat(400)});
    let named = |text: &str| {
        let upload = open.call("POST", DOCUMENTS).header("Idempotency-Key", "k");
        upload.json(&json!({"uri": "named.md", "text": text})).send()
    };
    named("one").ok(202);
    let file = |text: &str| {
        let form = form("collection", "names", text);
        open.call("POST", DOCUMENTS).body(FORM, form).send()
    };
    file("one").ok(202);
    let (busy, often, guessed) = (busy(), often(), guessed());
    vec![
        case("GET /api/v1/documents", 429, "too_many_failures", guessed),
        case("POST /api/v1/documents", 422, "readers_required", nobody_named),
        case("POST /api/v1/ask", 422, "prompt_too_long", keyed.post(ASK, too_long)),
        case("GET /api/v1/documents", 503, "busy", busy),
        case("GET /api/v1/documents", 429, "rate_limited", often),
        case("POST /api/v1/documents", 422, "idempotency_key_reused", named("two")),
        case("POST /api/v1/documents", 409, "name_taken", file("two")),
        case("POST /api/v1/documents", 409, "idempotency_in_flight", in_flight(open)),
        case(
            "GET /metrics",
            403,
            "foreign_host",
            open.call("GET", "/metrics").header("Host", "x").send(),
        ),
    ]
}

/// One wrong key more than its address may send.
fn guessed() -> Answer {
    let settings = [
        ("RAGSTONE_ADMIN_KEY", KEY),
        ("RAGSTONE_LIMITS__WRONG_PROOFS_PER_MINUTE", "1"),
    ];
    let guarded = Api::start(&settings, Some(KEY));
    let wrong = || {
        let call = guarded.anonymous("GET", DOCUMENTS);
        call.header("Authorization", "Bearer nonsense").send()
    };
    wrong().problem(401, "unauthorized");
    let guessed = wrong();
    assert!(guessed.header("retry-after").is_some());
    assert_eq!(guarded.call("GET", DOCUMENTS).send().status, 200);
    guessed
}

/// One request more than its caller may send.
fn often() -> Answer {
    let limited = Api::start(&[("RAGSTONE_LIMITS__REQUESTS_PER_MINUTE", "1")], None);
    let first = limited.call("GET", DOCUMENTS).send();
    assert_eq!((first.status, first.header("ratelimit-remaining")), (200, Some("0")));
    let often = limited.call("GET", DOCUMENTS).send();
    assert!(often.header("retry-after").is_some());
    often
}

/// The twin of a request that waits for the rest of its body.
fn in_flight(open: &Api) -> Answer {
    let named = || open.call("POST", DOCUMENTS).header("Idempotency-Key", "twin");
    let half = named().header("Content-Type", FORM).header("Content-Length", "100");
    let mut half = half.header("Expect", "100-continue").begin();
    let mut line = String::new();
    half.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    named().json(&json!({"uri": "twin.md", "text": "a"})).send()
}

/// One request more than a server takes: another one waits for the rest of its body.
fn busy() -> Answer {
    let crowded = Api::start(&[("RAGSTONE_SERVER__MAX_REQUESTS", "1")], None);
    let list = || crowded.call("GET", DOCUMENTS).send();
    let half = crowded
        .call("POST", DOCUMENTS)
        .header("Content-Type", FORM)
        .header("Content-Length", "100");
    let mut half = half.header("Expect", "100-continue").begin();
    let mut line = String::new();
    half.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    let busy = list();
    assert_eq!(busy.header("retry-after"), Some("1"));
    assert_eq!(
        crowded.call("GET", "/healthz").send().status,
        200,
        "a server that is full is alive"
    );
    drop(half);
    assert!((0..20_000).any(|_| list().status == 200), "who left makes room");
    busy
}
