//! Uploads that are sent again with the same idempotency key.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use axum::body::Body;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::http::test_app::{Answer, TestApp};

const DOCUMENTS: &str = "/api/v1/documents";

async fn text(app: &TestApp, key: &str, body: &Value) -> Answer {
    app.post(DOCUMENTS, body).header("idempotency-key", key).send().await
}

async fn form(app: &TestApp, key: &str, parts: &[(&str, Option<&str>, &str)]) -> Answer {
    app.call("POST", DOCUMENTS)
        .form(parts)
        .header("idempotency-key", key)
        .send()
        .await
}

#[tokio::test]
async fn the_same_request_is_answered_again_and_nothing_is_done() {
    let app = TestApp::new();
    let body = json!({"uri": "a", "text": "one"});
    let first = text(&app, "k", &body).await;
    assert_eq!(first.status, 202);
    // Without the key, the same bytes would be answered 200 without a job.
    let again = text(&app, "k", &body).await;
    assert_eq!((again.status, again.body), (202, first.body));
    assert_eq!(app.rings.load(Ordering::Relaxed), 1);
    text(&app, "k", &json!({"uri": "a", "text": "two"}))
        .await
        .problem(422, "idempotency_key_reused");
    assert_eq!(text(&app, "l", &json!({"uri": "a", "text": "two"})).await.status, 202);
}

#[tokio::test]
async fn a_form_is_the_same_by_its_parts() {
    let app = TestApp::new();
    let file = ("file", Some("a.txt"), "one");
    let title = ("title", None, "T");
    let first = form(&app, "k", &[file, title]).await;
    assert_eq!(first.status, 202);
    let kept = app.blob_keys().await;
    let again = form(&app, "k", &[title, file]).await;
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(app.blob_keys().await, kept, "what came again was thrown away");
    for other in [
        vec![file],
        vec![("file", Some("a.txt"), "two"), title],
        vec![("file", Some("b.txt"), "one"), title],
        vec![file, ("title", None, "U")],
    ] {
        form(&app, "k", &other).await.problem(422, "idempotency_key_reused");
    }
    assert_eq!(app.blob_keys().await, kept);
}

#[tokio::test]
async fn a_refused_request_may_be_corrected() {
    let app = TestApp::new();
    text(&app, "k", &json!({"uri": "", "text": "a"}))
        .await
        .problem(422, "bad_field");
    assert_eq!(text(&app, "k", &json!({"uri": "a", "text": "a"})).await.status, 202);
    for key in ["", " ", &"k".repeat(256)] {
        let refused = text(&app, key, &json!({"uri": "b", "text": "b"})).await;
        refused.problem(422, "bad_field");
    }
}

#[tokio::test]
async fn a_twin_is_refused_while_the_first_is_worked_on() {
    let app = TestApp::new();
    let reading = Arc::new(Notify::new());
    let read = reading.clone();
    let silent = Body::from_stream(stream::poll_fn(move |_| {
        read.notify_one();
        Poll::<Option<Result<Vec<u8>, std::io::Error>>>::Pending
    }));
    let first = app
        .call("POST", DOCUMENTS)
        .header("idempotency-key", "k")
        .header("content-type", "application/json")
        .body(silent);
    let mut first = Box::pin(first.open());
    tokio::select! {
        _ = &mut first => panic!("the first has no end"),
        () = reading.notified() => {}
    }
    let body = json!({"uri": "a", "text": "a"});
    let twin = text(&app, "k", &body).await;
    twin.problem(409, "idempotency_in_flight");
    assert_eq!(twin.header("retry-after"), "1");
    assert_eq!(text(&app, "l", &json!({"uri": "b", "text": "b"})).await.status, 202);
    drop(first);
    assert_eq!(text(&app, "k", &body).await.status, 202);
}
