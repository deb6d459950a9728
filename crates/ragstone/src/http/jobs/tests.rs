//! Jobs as their readers see them, to their end.

use serde_json::json;

use crate::http::test_app::TestApp;

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
