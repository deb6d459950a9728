//! Each failed request logs one WARN line with its id and code; a successful one logs none.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use futures::stream;
use ragstone_core::ask::AnswerEvent;
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::test_app::{Answer, TestApp};

/// What was logged, a JSON object a line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Collects what this thread logs until the guard is dropped.
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let lines = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(log.clone());
        (log, tracing::subscriber::set_default(lines.finish()))
    }

    /// The WARN and ERROR lines since the last call.
    fn warnings(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let lines = String::from_utf8(bytes).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["level"] == "WARN" || line["level"] == "ERROR")
            .collect()
    }

    /// The one line that `answer` left.
    #[track_caller]
    fn line_of(&self, answer: &Answer) -> Value {
        let warnings = self.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(
            warnings[0]["trace_id"],
            answer.headers["x-request-id"].to_str().unwrap()
        );
        warnings[0].clone()
    }
}

fn failed(code: &str) -> AnswerEvent {
    AnswerEvent::Failed {
        code: code.into(),
        detail: "the walrus of the documents".into(),
    }
}

#[tokio::test]
async fn a_failed_request_leaves_one_line() {
    let (app, (log, _guard)) = (TestApp::new(), Log::start());
    let document = app.document("a", "a text").await;
    app.get(&format!("/api/v1/documents/{document}")).send().await;
    assert_eq!(log.warnings(), [] as [Value; 0]);
    let unknown = app
        .get("/api/v1/documents/00000000-0000-0000-0000-000000000000")
        .send()
        .await;
    let line = log.line_of(&unknown);
    assert_eq!((&line["code"], &line["status"]), (&json!("not_found"), &json!(404)));
    assert_eq!(line["target"], ragstone_core::failure_log::TARGET);
    let mut malformed = app
        .call("POST", "/api/v1/search")
        .header("content-type", "application/json");
    *malformed.request.body_mut() = Body::from("{\"query\": \"walrus\"");
    let line = log.line_of(&malformed.send().await);
    assert_eq!(line["code"], "bad_json");
    assert!(!line.to_string().contains("walrus"), "{line}");
    app.script(stream::iter([failed("model_failed")]));
    let asked = app.post("/api/v1/ask", &json!({"question": "walrus?"})).send().await;
    let line = log.line_of(&asked);
    assert_eq!((&line["code"], &line["status"]), (&json!("model_failed"), &json!(502)));
    assert!(!line.to_string().contains("walrus"), "{line}");
}

#[tokio::test]
async fn an_answer_that_fails_on_its_way_leaves_one_line() {
    let (app, (log, _guard)) = (TestApp::new(), Log::start());
    let sources = || AnswerEvent::Sources {
        passages: [].into(),
        notices: vec![],
    };
    app.script(stream::iter([sources(), failed("model_failed")]));
    let body = json!({"question": "walrus?", "stream": true});
    let asked = app.post("/api/v1/ask", &body).send().await;
    assert_eq!(asked.status, 200);
    let line = log.line_of(&asked);
    assert_eq!(line["code"], "model_failed");
    assert!(!line.to_string().contains("walrus"), "{line}");
}

#[tokio::test]
async fn a_failed_job_leaves_one_line() {
    let (app, (log, _guard)) = (TestApp::new(), Log::start());
    let form = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"walrus.bin\"\r\n\r\n";
    let mut body = form.as_bytes().to_vec();
    body.extend_from_slice(b"\xff\xfe\r\n--b--\r\n");
    let mut upload = app
        .call("POST", "/api/v1/documents")
        .header("content-type", "multipart/form-data; boundary=b");
    *upload.request.body_mut() = Body::from(body);
    let accepted = upload.send().await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    app.work().await;
    let warnings = log.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let (line, accepted) = (&warnings[0], accepted.json());
    assert_eq!(
        (&line["job"], &line["code"]),
        (&accepted["job"]["id"], &json!("not_text"))
    );
    assert_eq!(line["document"], accepted["document"]["id"]);
    assert!(!line.to_string().contains("walrus"), "{line}");
}

#[tokio::test]
async fn a_probe_leaves_no_line() {
    let (app, (log, _guard)) = (TestApp::new(), Log::start());
    app.readiness.lock().unwrap().ready = false;
    assert_eq!(app.get("/readyz").send().await.status, 503);
    assert_eq!(log.warnings(), [] as [Value; 0]);
}
