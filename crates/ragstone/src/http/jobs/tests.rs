//! Jobs as callers see them, until they end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use ragstone_adapters::doorbell::LocalNotifier;
use ragstone_core::access::Role;
use serde_json::{Value, json};

use crate::http::test_app::{ENDLESS, TestApp, caller};
use crate::jobs::{WorkerOptions, WorkerPool};

#[tokio::test]
async fn a_job_is_cancelled_once_and_its_progress_ends() {
    let app = TestApp::new();
    let accepted = app
        .post("/api/v1/documents", &json!({"uri": "a", "text": "a"}))
        .send()
        .await
        .json();
    let path = format!("/api/v1/jobs/{}", accepted["job"]["id"].as_str().unwrap());
    let events = app.get(&format!("{path}/events"));
    let (told, cancelled) = futures::join!(events.send(), app.call("DELETE", &path).send());
    assert_eq!(cancelled.json()["state"], "cancelled");
    assert_eq!(app.call("DELETE", &path).send().await.status, 200);
    let frames = told.frames();
    assert_eq!(frames.iter().filter(|(event, ..)| event == "done").count(), 1);
    let (event, last, data) = frames.last().unwrap();
    assert_eq!((event.as_str(), &data["state"]), ("done", &json!("cancelled")));
    let after = app
        .get(&format!("{path}/events"))
        .header("last-event-id", last)
        .send()
        .await;
    assert_eq!((after.status, after.body.len()), (204, 0));

    let id = app.document("b", "b").await;
    let jobs = app.get("/api/v1/jobs?state=succeeded").send().await.json();
    assert_eq!(jobs["jobs"][0]["document_id"], id);
    let path = format!("/api/v1/jobs/{}", jobs["jobs"][0]["id"].as_str().unwrap());
    app.call("DELETE", &path).send().await.problem(409, "job_final");
}

#[tokio::test]
async fn progress_is_told_for_as_long_as_the_key_opens_something() {
    for ends in [true, false] {
        let app = TestApp::new();
        let made = app.issue(&json!({"name": "n", "role": "admin"})).await;
        let key = made["key"].as_str().unwrap();
        let body = json!({"uri": "a", "text": "a", "readers": ["everyone"]});
        let accepted = app.post("/api/v1/documents", &body).key(key).send().await.json();
        let events = app
            .get(&format!("{}/events", path(&accepted["job"])))
            .key(key)
            .open()
            .await;
        let mut frames = events.into_body().into_data_stream();
        let mut next = async || {
            let frame = frames.next().await.unwrap().unwrap();
            String::from_utf8(frame.to_vec()).unwrap()
        };
        assert!(next().await.contains("event: progress"));
        if ends {
            let id = made["id"].as_str().unwrap().parse().unwrap();
            app.api.keys.revoke_key(None, id).await.unwrap();
        }
        app.work().await;
        let second = next().await;
        match ends {
            true => assert!(
                second.contains("event: failed") && second.contains("unauthorized"),
                "{second}"
            ),
            false => assert!(second.contains("event: progress"), "{second}"),
        }
    }
}

/// Sends a document; its job.
async fn queued(app: &TestApp, body: Value) -> Value {
    let accepted = app.post("/api/v1/documents", &body).send().await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    accepted.json()["job"].clone()
}

fn path(job: &Value) -> String {
    format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_failed_job_is_listed_and_tried_again() {
    let app = TestApp::new();
    let job = queued(&app, json!({"uri": "a", "text": " "})).await;
    let retry = format!("{}/retry", path(&job));
    app.call("POST", &retry).send().await.problem(409, "job_not_failed");
    app.work().await;
    let dead = app.get("/api/v1/jobs?state=failed").send().await.json();
    assert_eq!(dead["jobs"][0]["id"], job["id"]);
    assert_eq!(dead["jobs"][0]["error"]["code"], "no_text");

    let stranger = app.seen_by(|| caller("other", &[], Role::Admin));
    let foreign = stranger.call("POST", &retry).send().await.problem(404, "not_found");
    let unknown = "/api/v1/jobs/00000000-0000-0000-0000-0000000000ff/retry";
    let unknown = app.call("POST", unknown).send().await.problem(404, "not_found");
    assert_eq!(foreign["detail"], unknown["detail"]);
    let reader = app.seen_by(|| caller("default", &[], Role::Reader));
    reader.call("POST", &retry).send().await.problem(403, "forbidden");

    let rings = app.rings.load(Ordering::Relaxed);
    let again = app.call("POST", &retry).send().await;
    assert_eq!((again.status, app.rings.load(Ordering::Relaxed)), (202, rings + 1));
    assert_eq!(
        (
            &again.json()["state"],
            &again.json()["attempts"],
            &again.json()["error"]
        ),
        (&json!("queued"), &json!(0), &json!(null))
    );
    app.work().await;
    queued(&app, json!({"uri": "a", "text": "a text"})).await;
    app.call("POST", &retry).send().await.problem(409, "job_superseded");
}

#[tokio::test]
async fn documents_of_a_batch_are_one_job() {
    let app = TestApp::new();
    let batch = "0190b2c4-0000-7000-8000-000000000001";
    let of_batch = |uri: &str, text: &str| json!({"uri": uri, "text": text, "batch": batch});
    let child = queued(&app, of_batch("a", "a")).await;
    assert_eq!(child["parent"], batch);
    queued(&app, of_batch("b", " ")).await;
    let form = [
        ("batch", None, batch),
        ("file", Some("c.txt"), "c"),
        ("file", Some("d.txt"), "d"),
    ];
    let sent = app.call("POST", "/api/v1/documents").form(&form).send().await;
    assert_eq!(sent.status, 202, "{}", sent.text());
    let path = format!("/api/v1/jobs/{batch}");
    let waiting = app.get(&path).send().await.json();
    assert_eq!(
        (&waiting["kind"], &waiting["state"], &waiting["total"]),
        (&json!("batch"), &json!("queued"), &json!(4))
    );
    app.work().await;
    let ended = app.get(&path).send().await.json();
    assert_eq!(
        (&ended["state"], &ended["done"], &ended["error"]["code"]),
        (&json!("failed"), &json!(4), &json!("children_failed"))
    );
    let counts = json!({"queued": 0, "running": 0, "succeeded": 3, "failed": 1, "cancelled": 0});
    assert_eq!(ended["children"], counts);
    let children = app.get(&format!("/api/v1/jobs?parent={batch}")).send().await.json();
    assert_eq!(children["jobs"].as_array().unwrap().len(), 4);
    let told = app.get(&format!("{path}/events")).send().await.frames();
    assert_eq!(told.last().unwrap().0, "done");

    let stranger = app.seen_by(|| caller("other", &[], Role::Admin));
    stranger.get(&path).send().await.problem(404, "not_found");
    let theirs = stranger.post(
        "/api/v1/documents",
        &json!({"uri": "a", "text": "a", "batch": batch, "readers": ["everyone"]}),
    );
    theirs.send().await.problem(409, "batch_taken");
    let again = app.call("POST", &format!("{path}/retry")).send().await;
    assert_eq!((again.status, &again.json()["state"]), (202, &json!("running")));
    let cancelled = app.call("DELETE", &path).send().await;
    assert_eq!(
        (cancelled.status, &cancelled.json()["state"]),
        (200, &json!("cancelled"))
    );
    let metrics = app.get("/metrics").send().await;
    assert!(
        metrics.text().contains("ragstone_jobs{state=\"succeeded\"}"),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn workers_that_are_stopped_hand_their_jobs_back() {
    let app = TestApp::new();
    let job = queued(&app, json!({"uri": "a", "text": ENDLESS})).await;
    let options = WorkerOptions {
        workers: 2,
        poll: Duration::from_millis(1),
        notifier: Arc::new(LocalNotifier::default()),
        may_work: Arc::new(|| true),
        events: app.api.job_events.clone(),
        on_idle: Arc::new(|| async {}.boxed()),
    };
    let workers = WorkerPool::start(&app.api.ingestor, &options);
    while app.get(&path(&job)).send().await.json()["stage"] != "parse" {
        tokio::task::yield_now().await;
    }
    assert!(
        !workers.stop(std::future::ready(())).await,
        "it did not come to its end"
    );
    let waiting = app.get(&path(&job)).send().await.json();
    assert_eq!((&waiting["state"], &waiting["attempts"]), (&json!("queued"), &json!(0)));
    let idle = WorkerPool::start(&app.api.ingestor, &WorkerOptions { workers: 0, ..options });
    app.call("DELETE", &path(&job)).send().await;
    assert!(
        idle.stop(tokio::time::sleep(Duration::from_secs(60))).await,
        "a cancelled job ends at the next heartbeat"
    );
}
