//! Each caller that is accepted, beside a similar one that is refused.

use serde_json::json;

use crate::http::HttpSettings;
use crate::http::test_app::{Call, KEY, TestApp};

const LIST: &str = "/api/v1/documents";

async fn check(call: Call<'_>, refused: Option<(u16, &str)>) {
    let answer = call.send().await;
    match refused {
        None => assert_eq!(answer.status, 200, "{}", answer.text()),
        Some((status, code)) => {
            answer.problem(status, code);
        }
    }
}

#[tokio::test]
async fn without_keys_only_this_machine_is_let_in() {
    let app = TestApp::new();
    check(app.get(LIST), None).await;
    check(app.get(LIST).from([127, 8, 9, 1]), None).await;
    check(app.get(LIST).from([192, 168, 1, 7]), Some((403, "not_local"))).await;
    check(app.get(LIST).through_operator_door(), None).await;
    check(app.get(LIST).through_operator_door().without("host"), None).await;
}

#[tokio::test]
async fn a_host_must_name_this_machine() {
    let app = TestApp::new();
    for host in [
        "localhost",
        "localhost:8080",
        "LOCALHOST:1",
        "127.0.0.1",
        "[::1]:8080",
        "127.1.2.3:9",
    ] {
        check(app.get(LIST).header("host", host), None).await;
    }
    for host in [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.7:8080",
        "0.0.0.0:8080",
        "localhost@evil.example",
        "not a host",
        "",
    ] {
        check(app.get(LIST).header("host", host), Some((403, "foreign_host"))).await;
    }
    check(app.get(LIST).without("host"), Some((403, "foreign_host"))).await;
    check(
        app.get("http://evil.example/api/v1/documents"),
        Some((403, "foreign_host")),
    )
    .await;
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_unless_it_is_named() {
    let foreign = Some((403, "foreign_origin"));
    let app = TestApp::new();
    check(app.get(LIST).header("origin", "http://127.0.0.1:8080"), None).await;
    for origin in [
        "http://127.0.0.1:3000",
        "https://evil.example",
        "null",
        "http://127.0.0.1:8080.evil.example",
    ] {
        check(app.get(LIST).header("origin", origin), foreign).await;
    }
    check(app.get(LIST).header("sec-fetch-site", "same-origin"), None).await;
    check(app.get(LIST).header("sec-fetch-site", "none"), None).await;
    check(app.get(LIST).header("sec-fetch-site", "cross-site"), foreign).await;
    let link = |path| {
        let call = app.get(path).header("sec-fetch-site", "cross-site");
        call.header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
    };
    check(link("/docs"), None).await;
    check(link(LIST), foreign).await;

    let wiki = "https://wiki.example";
    let named = TestApp::with(HttpSettings {
        allowed_origins: vec![wiki.into()],
        ..HttpSettings::default()
    });
    let answer = named
        .get(LIST)
        .header("origin", wiki)
        .header("sec-fetch-site", "cross-site")
        .send()
        .await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, wiki)
    );
    check(named.get(LIST).header("origin", "https://evil.example"), foreign).await;
    let preflight = named.call("OPTIONS", LIST).header("origin", wiki);
    let preflight = preflight.header("access-control-request-method", "POST").send().await;
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-origin")),
        (200, wiki)
    );
}

#[tokio::test]
async fn once_there_is_a_key_all_but_health_needs_it() {
    let app = TestApp::keyed();
    check(app.get(LIST).key(KEY), None).await;
    check(
        app.get(LIST)
            .key(KEY)
            .from([192, 168, 1, 7])
            .header("host", "rag.example"),
        None,
    )
    .await;
    check(app.get(LIST).header("authorization", &format!("bearer {KEY}")), None).await;
    check(app.get(LIST).through_operator_door(), None).await;
    for path in ["/healthz", "/readyz"] {
        check(app.get(path), None).await;
    }
    let refused = Some((401, "unauthorized"));
    for path in [LIST, "/metrics", "/docs", "/openapi.json", "/nowhere", "/healthz/"] {
        check(app.get(path), refused).await;
    }
    let long = format!("{KEY}x");
    for key in ["", "wrong", &KEY[..KEY.len() - 1], &long] {
        check(app.get(LIST).key(key), refused).await;
    }
    check(app.get(LIST).header("authorization", &format!("Basic {KEY}")), refused).await;
    check(app.get(&format!("{LIST}?ticket={KEY}")), refused).await;
    let challenge = app.get(LIST).send().await;
    assert_eq!(challenge.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn a_refused_caller_is_answered_before_the_body_is_read() {
    let app = TestApp::keyed();
    let body = axum::body::Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let call = app
        .call("POST", LIST)
        .header("content-type", "application/json")
        .body(body);
    check(call, Some((401, "unauthorized"))).await;
}

#[tokio::test]
async fn a_ticket_opens_one_stream_and_nothing_else() {
    let app = TestApp::keyed();
    let issue = async || {
        let answer = app.post("/api/v1/stream-tickets", &json!({})).key(KEY).send().await;
        assert_eq!(answer.status, 201);
        answer.json()["ticket"].as_str().unwrap().to_owned()
    };
    app.post("/api/v1/stream-tickets", &json!({}))
        .send()
        .await
        .problem(401, "unauthorized");
    let ticket = issue().await;
    let stream = format!("/api/v1/ask-stream?query=&ticket={ticket}&last_event_id=nothing");
    app.get(&stream).send().await.problem(404, "stream_unknown");
    app.get(&stream).send().await.problem(401, "unauthorized");
    let ticket = issue().await;
    app.get(&format!("{LIST}?ticket={ticket}"))
        .send()
        .await
        .problem(401, "unauthorized");
    let post = format!("/api/v1/ask-stream?ticket={ticket}");
    app.call("POST", &post).send().await.problem(401, "unauthorized");
}

#[test]
fn a_key_has_its_length_and_is_never_shown() {
    use crate::http::auth::AdminKey;
    assert!(AdminKey::new(&KEY[..31]).is_err());
    assert!(AdminKey::new(&format!("   {}   ", &KEY[..31])).is_err());
    let key = AdminKey::new(&format!("{KEY}\n")).unwrap();
    assert!(key.matches_key(KEY));
    assert_eq!(format!("{key:?}"), "AdminKey(..)");
}
