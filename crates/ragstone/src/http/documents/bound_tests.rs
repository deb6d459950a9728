//! Limits of a document's metadata and URL, by form, by JSON and by change.

use serde_json::{Map, Value, json};

use crate::http::test_app::{Answer, TestApp};

const DOCUMENTS: &str = "/api/v1/documents";

/// The same document as a form, as JSON, and as a change of one that is there.
async fn by_each_way(app: &TestApp, path: &str, fields: &Value) -> [Answer; 3] {
    let fields = fields.as_object().unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let mut form: Vec<(&str, Option<&str>, String)> = vec![("file", Some("a.txt"), "text".into())];
    form.extend(fields.iter().map(|(name, value)| (name.as_str(), None, text(value))));
    form.push(("uri", None, "form".into()));
    let parts: Vec<_> = form
        .iter()
        .map(|(name, file, value)| (*name, *file, value.as_str()))
        .collect();
    let mut body = Value::Object(fields.clone());
    let patched = app.call("PATCH", path).json(&body).send().await;
    (body["uri"], body["text"]) = (json!("json"), json!("text"));
    [
        app.call("POST", DOCUMENTS).form(&parts).send().await,
        app.post(DOCUMENTS, &body).send().await,
        patched,
    ]
}

async fn check(fields: Value, problem: Option<(&str, &str)>) {
    let app = TestApp::new();
    let path = format!("{DOCUMENTS}/{}", app.document("standing", "text").await);
    for answer in by_each_way(&app, &path, &fields).await {
        match problem {
            None => assert!(answer.status < 300, "{}", answer.text()),
            Some((code, pointer)) => {
                assert_eq!(answer.problem(422, code)["pointer"], pointer);
            }
        }
    }
    let there = app.get(DOCUMENTS).send().await.json();
    let expected = if problem.is_none() { 3 } else { 1 };
    assert_eq!(there["documents"].as_array().unwrap().len(), expected);
}

#[tokio::test]
async fn metadata_is_small() {
    let refused = Some(("bad_field", "/metadata"));
    let keys = |n: usize| (0..n).map(|n| (format!("k{n}"), json!(n))).collect::<Map<_, _>>();
    check(json!({"metadata": {"a": "x".repeat(60_000)}}), None).await;
    check(json!({"metadata": {"a": "x".repeat(70_000)}}), refused).await;
    check(json!({"metadata": keys(256)}), None).await;
    check(json!({"metadata": keys(257)}), refused).await;
    let nested = (0..20).fold(json!(1), |inner, _| json!([inner]));
    check(json!({"metadata": {"a": nested}}), refused).await;
}

#[tokio::test]
async fn a_source_url_is_an_address_of_the_web() {
    check(json!({"source_url": "https://x.test/a?b#c"}), None).await;
    let refused = Some(("bad_field", "/source_url"));
    for url in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " https://x.test",
        "file:///etc/passwd",
        "data:text/html,x",
        "https://x.test/\u{7}",
    ] {
        check(json!({"source_url": url}), refused).await;
    }
    let long = format!("https://x.test/{}", "a".repeat(4_096));
    check(json!({"source_url": long}), refused).await;
}

#[tokio::test]
async fn a_uri_is_short_and_plain() {
    let app = TestApp::new();
    let send = async |uri: &str| app.post(DOCUMENTS, &json!({"uri": uri, "text": "text"})).send().await;
    assert_eq!(send(&"a".repeat(4_096)).await.status, 202);
    for uri in ["a".repeat(4_097), "a\u{1b}b".into(), String::new()] {
        assert_eq!(send(&uri).await.problem(422, "bad_field")["pointer"], "/uri");
    }
}
