//! What requests get when the server shuts down.

use axum::body::to_bytes;
use axum::response::Response;
use futures::{StreamExt, stream};
use ragstone_core::ask::AnswerEvent;
use serde_json::json;

use crate::http::test_app::TestApp;

/// The last event of a stream, and the number of `failed` events in it.
async fn last_event(response: Response) -> (String, usize) {
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let last = text.trim_end().rsplit("\n\n").next().unwrap().to_owned();
    (last, text.matches("event: failed").count())
}

fn is_told((last, times): (String, usize)) {
    assert_eq!(times, 1, "{last}");
    let data = last.lines().nth(2).unwrap().strip_prefix("data: ").unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert!(last.starts_with("event: failed\nid: "), "{last}");
    assert_eq!(data["code"], "shutting_down", "{last}");
    assert!(data["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
}

#[tokio::test]
async fn a_stream_ends_with_one_event_that_says_so() {
    let app = TestApp::new();
    let sources = AnswerEvent::Sources {
        passages: [].into(),
        notices: Vec::new(),
    };
    let delta = AnswerEvent::Delta { text: "One".into() };
    app.script(stream::iter([sources, delta]).chain(stream::pending()));
    let answer = app.get("/api/v1/ask-stream?query=a").open().await;
    app.api.shutdown.begin_shutdown();
    app.api.shutdown.end_requests();
    is_told(last_event(answer).await);
}

#[tokio::test]
async fn a_stream_that_ends_in_time_is_told_to_its_end() {
    let app = TestApp::new();
    let (tell, told) = futures::channel::mpsc::unbounded();
    let sources = AnswerEvent::Sources {
        passages: [].into(),
        notices: Vec::new(),
    };
    tell.unbounded_send(sources).unwrap();
    app.script(told);
    let answer = app.get("/api/v1/ask-stream?query=a").open().await;
    app.api.shutdown.begin_shutdown();
    let end = AnswerEvent::Failed {
        code: "model_failed".into(),
        detail: "why".into(),
    };
    tell.unbounded_send(AnswerEvent::Delta { text: "One".into() }).unwrap();
    tell.unbounded_send(end).unwrap();
    let (last, times) = last_event(answer).await;
    assert!(last.contains("model_failed") && times == 1, "{last}");
}

#[tokio::test]
async fn the_progress_of_a_job_ends_with_one_event_that_says_so() {
    let app = TestApp::new();
    let body = json!({"uri": "a", "text": "a"});
    let accepted = app.post("/api/v1/documents", &body).send().await.json();
    let path = format!("/api/v1/jobs/{}/events", accepted["job"]["id"].as_str().unwrap());
    let answer = app.get(&path).open().await;
    app.api.shutdown.begin_shutdown();
    is_told(last_event(answer).await);
}

#[tokio::test]
async fn what_comes_after_the_beginning_is_refused_but_the_process_is_alive() {
    let app = TestApp::new();
    app.api.shutdown.begin_shutdown();
    for path in ["/api/v1/documents", "/readyz", "/api/v1/ask-stream?query=a"] {
        let refused = app.get(path).send().await;
        refused.problem(503, "shutting_down");
        assert_eq!(refused.header("retry-after"), "5", "{path}");
        assert_eq!(refused.header("connection"), "close", "{path}");
    }
    let posted = app.post("/api/v1/documents", &json!({"uri": "a", "text": "a"}));
    posted.send().await.problem(503, "shutting_down");
    assert_eq!(app.get("/healthz").send().await.status, 200);
}

#[tokio::test]
async fn what_is_not_answered_when_it_is_over_is_told_so() {
    let app = TestApp::new();
    app.script(stream::pending());
    let asked = app.post("/api/v1/ask", &json!({"question": "a"})).send();
    let end = async {
        while app.scopes.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        app.api.shutdown.begin_shutdown();
        app.api.shutdown.end_requests();
    };
    let (answer, ()) = futures::join!(asked, end);
    answer.problem(503, "shutting_down");
}
