//! Who may ask why somebody may or may not read a document.

use ragstone_core::access::Role;
use serde_json::{Value, json};

use crate::http::test_app::{TestApp, caller};

const DOCUMENTS: &str = "/api/v1/documents";
const EXPLAIN: &str = "/api/v1/explain-access";

/// An interface with a document of the tenant `acme`, and its id.
async fn world() -> (TestApp, String) {
    let app = TestApp::new();
    let writer = app.seen_by(|| caller("acme", &[], Role::Admin));
    let body = json!({"uri": "a", "text": "words", "readers": ["dept:lab", "user:ann"]});
    let sent = writer.post(DOCUMENTS, &body).send().await;
    assert_eq!(sent.status, 202, "{}", sent.text());
    app.work().await;
    (app, sent.json()["document"]["id"].as_str().unwrap().to_owned())
}

/// The key of a caller and its id.
async fn key(app: &TestApp, tenant: &str, role: &str) -> (String, String) {
    let made = app
        .issue(&json!({"name": "n", "role": role, "tenant": tenant, "departments": ["lab"]}))
        .await;
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("key"), text("id"))
}

#[tokio::test]
async fn an_administrator_is_told_of_its_own_tenant_and_of_no_other() {
    let (app, id) = world().await;
    let (own, own_key) = key(&app, "acme", "admin").await;
    let (other, other_key) = key(&app, "beta", "admin").await;
    let ask = async |key: &str, body: &Value| app.post(EXPLAIN, body).key(key).send().await;
    for named in [id.as_str(), "a"] {
        let told = ask(&own, &json!({"document": named, "user": "ann"})).await.json();
        let told = &told["documents"][0];
        assert_eq!(
            (&told["readable"], &told["sets"][0]["by"]),
            (&json!(true), &json!(["user:ann"]))
        );
        let refused = ask(&own, &json!({"document": named, "user": "bob", "tenant": "acme"})).await;
        let refused = &refused.json()["documents"][0];
        assert_eq!(refused["readable"], false);
        assert_eq!(refused["reasons"][0]["code"], "set_refuses");
        let by_key = ask(&own, &json!({"document": named, "key": own_key})).await.json();
        assert_eq!(by_key["documents"][0]["caller"]["key"], own_key.as_str());
        // To another tenant's administrator there is no such document, no such tenant and no such key.
        for body in [
            json!({"document": named, "user": "ann"}),
            json!({"document": named, "user": "ann", "tenant": "acme"}),
            json!({"document": named, "key": own_key}),
        ] {
            ask(&other, &body).await.problem(404, "not_found");
        }
    }
    let theirs = ask(&own, &json!({"document": id, "key": other_key})).await;
    theirs.problem(404, "not_found");
}

#[tokio::test]
async fn the_operator_is_told_of_every_tenant_and_a_lesser_role_of_none() {
    let (app, id) = world().await;
    let body = json!({"document": id, "user": "ann"});
    let told = app.post(EXPLAIN, &body).through_operator_door().send().await.json();
    let told = &told["documents"][0];
    assert_eq!(
        (&told["document"]["tenant"], &told["reasons"][0]["code"]),
        (&json!("acme"), &json!("other_tenant"))
    );
    for role in ["reader", "writer"] {
        let (lesser, _) = key(&app, "acme", role).await;
        let answer = app.post(EXPLAIN, &body).key(&lesser).send().await;
        answer.problem(403, "forbidden");
    }
    let wrong = json!({"document": id, "user": ""});
    let answer = app.post(EXPLAIN, &wrong).through_operator_door().send().await;
    answer.problem(422, "bad_reader");
}
