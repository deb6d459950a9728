//! Requests and the audit lines that they write.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;

use futures::stream;
use ragstone_core::access::Role;
use ragstone_core::ask::AnswerEvent;
use ragstone_core::library::SearchRequest;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::http::HttpSettings;
use crate::http::auth::AdminKey;
use crate::http::test_app::{KEY, TestApp, caller};
use crate::telemetry::audit::AuditLog;

const DOCUMENTS: &str = "/api/v1/documents";

struct Audited {
    app: TestApp,
    log: AuditLog,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Audited {
    fn with(settings: HttpSettings, questions: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(&path, questions).unwrap();
        Self {
            app: TestApp::audited(settings, Some(log.clone())),
            log,
            path,
            _folder: folder,
        }
    }

    fn keyed() -> Self {
        let admin_key = Some(AdminKey::new(KEY).unwrap());
        let settings = HttpSettings {
            admin_key,
            ..HttpSettings::default()
        };
        Self::with(settings, false)
    }

    async fn text(&self) -> String {
        self.log.close().await;
        std::fs::read_to_string(&self.path).unwrap()
    }

    async fn lines(&self) -> Vec<Value> {
        let text = self.text().await;
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Action, subject, targets, decision, status and code of a line.
type Expected<'a> = (&'a str, Option<&'a str>, &'a [&'a str], &'a str, u16, Option<&'a str>);

#[tokio::test]
async fn each_request_leaves_the_line_it_should() {
    let audited = Audited::keyed();
    let app = &audited.app;
    let upload = app.post(
        DOCUMENTS,
        &json!({"uri": "a", "text": "The turbine needs oil.", "readers": ["everyone"]}),
    );
    let id = upload.key(KEY).send().await.json()["document"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.work().await;
    let document = format!("{DOCUMENTS}/{id}");
    let nobody = format!("{DOCUMENTS}/00000000-0000-0000-0000-000000000000");
    app.get("/healthz").send().await;
    app.get(&document).key(KEY).send().await;
    app.get(&document).send().await;
    app.get(&document)
        .key("another-key-of-thirty-two-bytes-or-so")
        .send()
        .await;
    app.get(&nobody).key(KEY).from([10, 0, 0, 7]).send().await;
    app.post("/api/v1/search", &json!({"query": "turbine oil"}))
        .key(KEY)
        .send()
        .await;
    app.post("/api/v1/search", &json!({"query": " "})).key(KEY).send().await;
    app.get("/api/v1/nothing/here").key(KEY).send().await;
    app.call("DELETE", &document).key(KEY).send().await;
    app.get(DOCUMENTS).through_operator_door().send().await;

    let lines = audited.lines().await;
    let admin = Some("admin");
    let expected: &[Expected<'_>] = &[
        ("POST /api/v1/documents", admin, &[&id], "allowed", 202, None),
        ("GET /api/v1/documents/{id}", admin, &[&id], "allowed", 200, None),
        (
            "GET /api/v1/documents/{id}",
            None,
            &[&id],
            "refused",
            401,
            Some("unauthorized"),
        ),
        (
            "GET /api/v1/documents/{id}",
            None,
            &[&id],
            "refused",
            401,
            Some("unauthorized"),
        ),
        (
            "GET /api/v1/documents/{id}",
            admin,
            &["00000000-0000-0000-0000-000000000000"],
            "refused",
            404,
            Some("not_found"),
        ),
        ("POST /api/v1/search", admin, &[&id], "allowed", 200, None),
        ("POST /api/v1/search", admin, &[], "refused", 422, Some("bad_question")),
        ("none", admin, &[], "refused", 404, Some("no_route")),
        ("DELETE /api/v1/documents/{id}", admin, &[&id], "allowed", 202, None),
        ("GET /api/v1/documents", Some("local"), &[], "allowed", 200, None),
    ];
    assert_eq!(lines.len(), expected.len());
    for (line, (action, subject, targets, decision, status, code)) in lines.iter().zip(expected) {
        assert_eq!(line["action"], *action, "{line}");
        assert_eq!(
            (line["subject"].as_str(), line["code"].as_str()),
            (*subject, *code),
            "{line}"
        );
        assert_eq!(line["targets"], json!(targets), "{line}");
        assert_eq!((&line["decision"], &line["status"]), (&json!(decision), &json!(status)));
        assert_eq!(line["tenant"].as_str(), subject.map(|_| "default"));
        assert_eq!(line["role"].as_str(), subject.map(|_| "admin"));
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 36);
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        assert!(line.get("question").is_none());
    }
    assert_eq!(lines[4]["address"], "10.0.0.7");
    assert_eq!(lines[9]["address"], "operator");
}

#[tokio::test]
async fn the_operators_own_routes_leave_lines_too() {
    let audited = Audited::keyed();
    let routes = axum::Router::new()
        .route("/operator/v1/jobs/{id}", axum::routing::get(async || "done"))
        .route(
            "/operator/v1/fsck",
            axum::routing::post(async || axum::http::StatusCode::CONFLICT),
        );
    let router = crate::http::wrap_operator_routes(audited.app.api.clone(), routes);
    let router = router.layer(axum::Extension(crate::http::OperatorChannel));
    for (method, path) in [("GET", "/operator/v1/jobs/7"), ("POST", "/operator/v1/fsck")] {
        let request = axum::http::Request::builder().method(method).uri(path);
        let request = request.body(axum::body::Body::empty()).unwrap();
        let answer = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
        assert!(answer.headers().contains_key("x-request-id"));
    }
    let lines = audited.lines().await;
    let told: Vec<_> = lines.iter().map(|line| (&line["action"], &line["decision"])).collect();
    assert_eq!(
        json!(told),
        json!([
            ["GET /operator/v1/jobs/{id}", "allowed"],
            ["POST /operator/v1/fsck", "refused"]
        ])
    );
    assert_eq!(lines[0]["targets"], json!(["7"]));
    assert!(
        lines
            .iter()
            .all(|line| line["address"] == "operator" && line["role"] == "admin" && line["tenant"] == "default"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn an_answer_names_what_was_shown_to_the_model() {
    for questions in [false, true] {
        let audited = Audited::with(HttpSettings::default(), questions);
        let app = &audited.app;
        let id = app.document("a", "The turbine needs oil.").await;
        let scope = (app.api.operator)().scope();
        for path in ["json", "stream"] {
            let found = app.api.library.search(&scope, &SearchRequest::new("turbine", 5)).await;
            let sources = AnswerEvent::Sources {
                passages: found.unwrap().passages.into(),
                notices: vec![],
            };
            let failed = AnswerEvent::Failed {
                code: "model_failed".into(),
                detail: "why".into(),
            };
            app.script(stream::iter([sources, failed]));
            let body = json!({"question": "What does the turbine need?\r\n{}", "stream": path == "stream"});
            app.post("/api/v1/ask", &body).send().await;
        }
        let lines = audited.lines().await;
        assert_eq!(lines.len(), 3);
        for (line, status) in lines[1..].iter().zip([502, 200]) {
            assert_eq!(line["action"], "POST /api/v1/ask");
            assert_eq!((&line["targets"], &line["status"]), (&json!([id]), &json!(status)));
            let told = line.get("question").and_then(Value::as_str);
            assert_eq!(told, questions.then_some("What does the turbine need?\r\n{}"));
        }
    }
}

#[tokio::test]
async fn no_text_and_no_secret_stands_in_the_log_and_no_line_is_forged() {
    let audited = Audited::keyed();
    let app = &audited.app;
    let forged = "T\r\n{\"decision\":\"allowed\"}";
    let body = json!({"uri": "a\u{2028}b", "title": forged, "text": "SECRETTEXT", "readers": ["everyone"]});
    app.post(DOCUMENTS, &body).key(KEY).send().await;
    app.post("/api/v1/search", &json!({"query": "SECRETQUERY"}))
        .key(KEY)
        .send()
        .await;
    app.get(&format!("{DOCUMENTS}/{KEY}")).key(KEY).send().await;
    app.get(&format!("/api/v1/{KEY}")).key("SECRETWRONGKEY").send().await;
    app.get(&format!("/api/v1/ask-stream?query=SECRETQUERY&ticket={KEY}"))
        .send()
        .await;
    app.call(&format!("GET{KEY}"), DOCUMENTS).key(KEY).send().await;
    let text = audited.text().await;
    assert_eq!(text.lines().count(), 6);
    for secret in [KEY, "SECRET", "decision\\", "\u{2028}"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn whoever_hangs_up_is_told_of_too() {
    let audited = Audited::with(HttpSettings::default(), false);
    let reading = Arc::new(Notify::new());
    let read = reading.clone();
    let endless = axum::body::Body::from_stream(stream::poll_fn(move |_| {
        read.notify_one();
        Poll::<Option<Result<&[u8], std::io::Error>>>::Pending
    }));
    let app = audited.app.seen_by(|| caller("a", &[], Role::Reader));
    let mut waiting = Box::pin(
        app.call("POST", "/api/v1/search")
            .header("content-type", "application/json")
            .body(endless)
            .open(),
    );
    tokio::select! {
        _ = &mut waiting => panic!("a body without an end has no answer"),
        () = reading.notified() => drop(waiting),
    }
    let lines = audited.lines().await;
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["status"], &lines[0]["tenant"]), (&json!(null), &json!("a")));
    assert_eq!(
        (&lines[0]["decision"], &lines[0]["role"]),
        (&json!("allowed"), &json!("reader"))
    );
}
