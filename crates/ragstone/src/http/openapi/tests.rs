//! The API description is complete and consistent, and its page uses no other host.

use serde_json::Value;

use crate::http::problem::Code;
use crate::http::test_app::TestApp;

const PATHS: [(&str, &[&str]); 24] = [
    ("/healthz", &["get"]),
    ("/readyz", &["get"]),
    ("/metrics", &["get"]),
    ("/api/v1/documents", &["get", "post"]),
    ("/api/v1/documents/{id}", &["delete", "get", "patch"]),
    ("/api/v1/documents/{id}/chunks", &["get"]),
    ("/api/v1/documents/{id}/content", &["get"]),
    ("/api/v1/documents/{id}/pages/{page}", &["get"]),
    ("/api/v1/jobs", &["get"]),
    ("/api/v1/jobs/{id}", &["delete", "get"]),
    ("/api/v1/jobs/{id}/events", &["get"]),
    ("/api/v1/jobs/{id}/retry", &["post"]),
    ("/api/v1/keys", &["get", "post"]),
    ("/api/v1/keys/{id}", &["delete"]),
    ("/api/v1/keys/{id}/rotate", &["post"]),
    ("/api/v1/explain-access", &["post"]),
    ("/api/v1/feedback", &["get", "post"]),
    ("/api/v1/feedback/{trace_id}", &["delete"]),
    ("/api/v1/sources", &["get", "post"]),
    ("/api/v1/sources/{id}", &["delete", "get", "patch"]),
    ("/api/v1/sources/{id}/sync", &["post"]),
    ("/api/v1/search", &["post"]),
    ("/api/v1/ask", &["post"]),
    ("/api/v1/stream-tickets", &["post"]),
];

async fn description() -> Value {
    TestApp::new().get("/openapi.json").send().await.json()
}

#[tokio::test]
async fn every_route_is_described_with_its_problems() {
    let api = description().await;
    let paths = api["paths"].as_object().unwrap();
    assert_eq!(paths.len(), PATHS.len() + 1, "{:?}", paths.keys());
    assert!(paths["/api/v1/ask-stream"]["get"].is_object());
    for (path, methods) in PATHS {
        let item = paths[path].as_object().unwrap();
        let mut described: Vec<_> = item.keys().map(String::as_str).collect();
        described.sort_unstable();
        assert_eq!(described, methods, "{path}");
    }
    let codes = api["info"]["description"].as_str().unwrap();
    assert!(
        Code::ALL
            .iter()
            .all(|code| codes.contains(&format!("`{}`", code.as_str())))
    );
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let problem = &response["content"]["application/problem+json"];
                assert_eq!(
                    problem.is_object(),
                    !status.starts_with('2'),
                    "{method} {path} {status}"
                );
            }
            let open = ["/healthz", "/readyz"].contains(&path.as_str());
            assert_eq!(operation["responses"]["401"].is_object(), !open, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_reference_is_defined() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let api = description().await;
    let mut found = Vec::new();
    references(&api, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(
            api.pointer(reference.strip_prefix('#').unwrap()).is_some(),
            "{reference}"
        );
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_another_host() {
    let app = TestApp::new();
    for (path, media_type) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/page.css", "text/css; charset=utf-8"),
        ("/docs/page.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = app.get(path).send().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, media_type));
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'none'; script-src 'self'")
        );
        for needle in [
            "http://",
            "https://",
            "//cdn",
            "@import",
            "innerHTML",
            "style=\"",
            "onclick",
        ] {
            assert!(!answer.text().contains(needle), "{path} holds {needle}");
        }
        assert!(answer.text().len() > 500, "{path}");
    }
}
