//! Every request body and every list of parameters in the description refuses unknown names.

use serde_json::{Value, json};

use super::test_app::TestApp;

const ID: &str = "00000000-0000-0000-0000-000000000001";
/// Names that nothing has.
const UNKNOWN: &str = "zzz_unknown";

#[tokio::test]
async fn every_json_body_refuses_an_unknown_field() {
    let app = TestApp::new();
    let api = app.get("/openapi.json").send().await.json();
    let mut bodies = 0;
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if !operation["requestBody"]["content"]["application/json"].is_object() {
                continue;
            }
            bodies += 1;
            let (method, path) = (method.to_uppercase(), path.replace("{id}", ID));
            let call = app.call(&method, &path).json(&json!({UNKNOWN: 1}));
            let refused = call.send().await.problem(422, "bad_body");
            assert_eq!(refused["pointer"], format!("/{UNKNOWN}"), "{method} {path}");
        }
    }
    assert!(bodies >= 9, "{bodies} bodies were asked");
}

#[tokio::test]
async fn every_list_refuses_an_unknown_parameter() {
    let app = TestApp::new();
    let api = app.get("/openapi.json").send().await.json();
    let mut lists = 0;
    for (path, item) in api["paths"].as_object().unwrap() {
        let parameters = item["get"]["parameters"].as_array();
        let in_query = |parameter: &Value| parameter["in"] == "query";
        let Some(known) = parameters.and_then(|all| all.iter().find(|one| in_query(one))) else {
            continue;
        };
        // The ticket of a stream of events is taken before its handler sees the address.
        if path.ends_with("/events") {
            continue;
        }
        lists += 1;
        let misspelt = format!("{}s", known["name"].as_str().unwrap());
        let path = format!("{}?query=a&{misspelt}=1", path.replace("{id}", ID));
        let path = match path.contains("ask-stream") {
            true => path,
            false => path.replace("query=a&", ""),
        };
        let refused = app.get(&path).send().await.problem(400, "bad_query");
        let hint = refused["hint"].as_str().unwrap();
        assert!(hint.starts_with("did you mean"), "{path}: {hint}");
    }
    assert!(lists >= 6, "{lists} lists were asked");
}

#[tokio::test]
async fn a_misspelt_field_is_told_what_was_meant() {
    let app = TestApp::new();
    let id = app.document("a", "The pump is blue.").await;
    let check = async |method: &str, path: &str, body: Value, pointer: &str, meant: &str| {
        let answer = app.call(method, path).json(&body).send().await;
        let refused = answer.problem(422, "bad_body");
        assert_eq!(refused["pointer"], pointer);
        let hint = refused["hint"].as_str().unwrap();
        assert!(hint.starts_with(&format!("did you mean `{meant}`?")), "{hint}");
    };
    let filter = json!({"type": "eq", "key": "year", "value": 1});
    let (search, ask) = ("/api/v1/search", "/api/v1/ask");
    check(
        "POST",
        search,
        json!({"query": "a", "filters": filter}),
        "/filters",
        "filter",
    )
    .await;
    check(
        "POST",
        search,
        json!({"query": "a", "colection": "b"}),
        "/colection",
        "collection",
    )
    .await;
    check(
        "POST",
        ask,
        json!({"question": "a", "filters": filter}),
        "/filters",
        "filter",
    )
    .await;
    let document = format!("/api/v1/documents/{id}");
    check("PATCH", &document, json!({"readerz": []}), "/readerz", "readers").await;
    let body = json!({"uri": "b", "text": "c", "metdata": {}});
    check("POST", "/api/v1/documents", body, "/metdata", "metadata").await;
    let far = app.post(search, &json!({"query": "a", "top_k": 1})).send().await;
    assert!(
        !far.problem(422, "bad_body")["hint"]
            .as_str()
            .unwrap()
            .contains("did you mean")
    );

    let nested = json!({"type": "not", "filters": [{"type": "eq", "key": "a", "valeu": 1, "value": 2}]});
    let answer = app.post(search, &json!({"query": "a", "filter": nested})).send().await;
    let refused = answer.problem(422, "bad_filter");
    assert_eq!(refused["pointer"], "/filter/filters/0/valeu");
    assert!(refused["detail"].as_str().unwrap().contains("did you mean `value`?"));

    for value in ["{}", ""] {
        let form = [("filters", None, value), ("file", Some("a.txt"), "text")];
        let answer = app.call("POST", "/api/v1/documents").form(&form).send().await;
        assert_eq!(answer.problem(422, "bad_field")["pointer"], "/filters");
    }
    // Metadata is the caller's own.
    let body = json!({"uri": "b", "text": "c", "metadata": {"filters": {"readerz": 1}}});
    assert_eq!(app.post("/api/v1/documents", &body).send().await.status, 202);
}
