//! Tokens over the API: which callers get which rights, and what all others get.

use serde_json::{Value, json};

use super::support::*;
use crate::http::test_app::{Answer, KEY, TestApp};
use crate::http::{AdminKey, HttpSettings};

const DOCUMENTS: &str = "/api/v1/documents";

/// A world whose issuer gives roles and groups, and the interface before it.
async fn open(key: Option<&str>) -> (World, TestApp) {
    let world = World::meaning(json!({
        "tenant_claim": "tenant",
        "groups_claim": "groups",
        "role_claim": "role",
        "roles": {"writer": "writer", "admin": "admin"},
    }))
    .await;
    let app = TestApp::with(HttpSettings {
        admin_key: key.map(|key| AdminKey::new(key).unwrap()),
        issuers: Some(world.issuers.clone()),
        ..HttpSettings::default()
    });
    (world, app)
}

fn caller(world: &World, subject: &str, role: &str, groups: &[&str]) -> String {
    world.says(json!({"sub": subject, "tenant": "acme", "role": role, "groups": groups}))
}

async fn list(app: &TestApp, token: &str) -> Answer {
    app.get(DOCUMENTS).key(token).send().await
}

#[tokio::test]
async fn with_an_issuer_all_but_health_needs_a_token() {
    let (world, app) = open(None).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(app.get(path).send().await.status, 200);
    }
    for path in [DOCUMENTS, "/metrics", "/docs", "/openapi.json", "/nowhere"] {
        let answer = app.get(path).send().await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let token = caller(&world, "ann", "reader", &[]);
    assert_eq!(list(&app, &token).await.status, 200);
    let far = app.get(DOCUMENTS).key(&token).from([192, 168, 1, 7]);
    assert_eq!(far.header("host", "rag.example").send().await.status, 200);
    assert_eq!(app.get(DOCUMENTS).through_operator_door().send().await.status, 200);
    app.get(DOCUMENTS)
        .header("authorization", &format!("Basic {token}"))
        .send()
        .await
        .problem(401, "unauthorized");
    app.get(&format!("{DOCUMENTS}?ticket={token}"))
        .send()
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn whoever_sends_a_bad_token_is_told_that_and_no_more() {
    let (world, app) = open(None).await;
    let forged = Signer::ed25519().token("ed", &claims_of(MAIN));
    let bad = [
        world.says(json!({"tenant": "acme", "exp": 0})),
        world.says(json!({"tenant": "acme", "aud": "other"})),
        world.says(json!({"tenant": "a/b"})),
        world.says(json!({"tenant": "acme", "iss": "https://evil.example"})),
        forged,
        "a.b.c".into(),
        "..".into(),
    ];
    let mut told = std::collections::BTreeSet::new();
    for token in bad {
        let answer = list(&app, &token).await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), r#"Bearer error="invalid_token""#);
        told.insert(answer.text().to_owned());
    }
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test]
async fn a_token_gives_its_rights_and_no_others() {
    let (world, app) = open(None).await;
    let (reader, writer) = (
        caller(&world, "ann", "reader", &["eng"]),
        caller(&world, "wil", "writer", &["eng"]),
    );
    let (stranger, admin) = (
        caller(&world, "eve", "reader", &["sales"]),
        caller(&world, "adm", "admin", &[]),
    );
    let other = world.says(json!({"sub": "ann", "tenant": "other", "role": "admin", "groups": ["eng"]}));
    let upload = async |token: &str, readers: Value| {
        let body = json!({"uri": "a", "text": "The zebra lives in the attic.", "readers": readers});
        app.post(DOCUMENTS, &body).key(token).send().await
    };
    upload(&reader, json!(["group:eng"])).await.problem(403, "forbidden");
    upload(&writer, json!(["group:sales"]))
        .await
        .problem(403, "grant_refused");
    let made = upload(&writer, json!(["group:eng"])).await;
    assert_eq!(made.status, 202, "{}", made.text());
    app.work().await;
    let path = format!("{DOCUMENTS}/{}", made.json()["document"]["id"].as_str().unwrap());
    for (token, status) in [
        (&reader, 200),
        (&writer, 200),
        (&admin, 200),
        (&stranger, 404),
        (&other, 404),
    ] {
        assert_eq!(app.get(&path).key(token).send().await.status, status);
    }
    app.get("/metrics").key(&reader).send().await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_token_stands_beside_a_key() {
    const DOTS: &str = "a.key.with-two-dots-and-thirty-two-bytes";
    for key in [KEY, DOTS] {
        let (world, app) = open(Some(key)).await;
        assert_eq!(list(&app, key).await.status, 200);
        assert_eq!(list(&app, &caller(&world, "ann", "reader", &[])).await.status, 200);
        let wrong = list(&app, "wrong").await;
        wrong.problem(401, "unauthorized");
        assert_eq!(wrong.header("www-authenticate"), "Bearer");
        list(&app, &format!("{key}x")).await.problem(401, "unauthorized");
    }
    let keyed = TestApp::keyed();
    let (world, _) = open(None).await;
    list(&keyed, &caller(&world, "ann", "admin", &[]))
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn a_ticket_is_the_tokens_caller() {
    let (world, app) = open(None).await;
    let token = caller(&world, "ann", "reader", &[]);
    let issued = app.post("/api/v1/stream-tickets", &json!({})).key(&token).send().await;
    let ticket = issued.json()["ticket"].as_str().unwrap().to_owned();
    let stream = format!("/api/v1/ask-stream?ticket={ticket}");
    // The ticket is accepted; the problem is that the request has no question.
    app.get(&stream).send().await.problem(400, "bad_query");
    app.get(&stream).send().await.problem(401, "unauthorized");
}

#[tokio::test]
async fn an_issuer_out_of_reach_is_no_fault_of_the_caller() {
    let (world, app) = open(None).await;
    world.publisher.put("/keys", Page::status(500));
    let answer = list(&app, &caller(&world, "ann", "reader", &[])).await;
    answer.problem(503, "issuer_unavailable");
    assert_eq!(answer.header("retry-after"), "30");
    // A caller whose token names another issuer does not get the reason.
    list(&app, &world.says(json!({"iss": "https://evil.example"})))
        .await
        .problem(401, "unauthorized");
}
