//! Hostile bodies, names and headers: each is refused with a problem, and none causes a 500.

use serde_json::{Value, json};

use super::test_app::{Answer, TestApp};

const DOCUMENTS: &str = "/api/v1/documents";
const SEARCH: &str = "/api/v1/search";
const ASK: &str = "/api/v1/ask";

async fn sent(app: &TestApp, path: &str, body: impl Into<axum::body::Body>) -> Answer {
    let call = app.call("POST", path).body(body);
    call.header("content-type", "application/json").send().await
}

#[tokio::test]
async fn malformed_json_is_refused_everywhere() {
    let app = TestApp::new();
    let deep = |open: &str, close: &str, depth: usize| open.repeat(depth) + &close.repeat(depth);
    let arrays = deep("[", "]", 10_000);
    let objects = deep("{\"a\":", "}", 10_000);
    let filters = deep("{\"type\":\"not\",\"filters\":[", "]}", 10_000);
    let huge = "9".repeat(100_000);
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"query\"".to_vec(),
        b"\xff\xfe{}".to_vec(),
        b"{\"query\":\"\xff\"}".to_vec(),
        b"{\"query\":\"\xed\xa0\x80\"}".to_vec(),
        br#"{"query":"\ud800"}"#.to_vec(),
        br#"{"query":"\udc00\ud800"}"#.to_vec(),
        b"{\"query\":\"a\0b\"}".to_vec(),
        b"\0".to_vec(),
        br#"{"query":"a","query":"b"}"#.to_vec(),
        br#"{"query":"a","limit":1e400}"#.to_vec(),
        br#"{"query":"a","limit":-1}"#.to_vec(),
        br#"{"query":"a","limit":1.5}"#.to_vec(),
        format!("{{\"query\":\"a\",\"limit\":{huge}}}").into_bytes(),
        format!("{{\"query\":\"a\",\"filter\":{huge}}}").into_bytes(),
        format!("{{\"query\":\"a\",\"filter\":{arrays}}}").into_bytes(),
        format!("{{\"query\":\"a\",\"filter\":{filters}}}").into_bytes(),
        arrays.clone().into_bytes(),
        objects.into_bytes(),
        b"{\"query\":\"a\"} trailing".to_vec(),
        b"{'query':'a'}".to_vec(),
        b"{\"query\":NaN}".to_vec(),
        b"{\"query\":\"a\",}".to_vec(),
    ];
    for path in [DOCUMENTS, SEARCH, ASK] {
        for body in &bodies {
            let answer = sent(&app, path, body.clone()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert!(
                matches!(answer.status, 400 | 413 | 422),
                "{path} {shown}: {}",
                answer.status
            );
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            answer.problem(answer.status, &code);
            assert!(answer.body.len() < 10_000, "{path} {shown}");
        }
    }
    let packed = app
        .post(SEARCH, &json!({ "query": "a" }))
        .header("content-encoding", "gzip");
    packed.send().await.problem(415, "unsupported_media_type");
    let packed = app.call("POST", DOCUMENTS).form(&[("file", Some("a.txt"), "x")]);
    packed
        .header("content-encoding", "deflate")
        .send()
        .await
        .problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_filter_is_refused_at_the_place_of_its_mistake() {
    let app = TestApp::new();
    let eq = json!({ "type": "eq", "key": "a", "value": 1 });
    let many = |count: usize| json!({ "type": "or", "filters": vec![eq.clone(); count] });
    let nested = |depth: usize| {
        let wrap = |inner, _| json!({ "type": "not", "filters": [inner] });
        (1..depth).fold(eq.clone(), wrap)
    };
    for (filter, pointer) in [
        (json!("eq"), "/filter"),
        (json!({ "type": "near", "key": "a", "value": 1 }), "/filter/type"),
        (json!({ "type": "eq", "value": 1 }), "/filter/key"),
        (json!({ "type": "eq", "key": "a", "value": null }), "/filter/value"),
        (json!({ "type": "prefix", "key": "a", "value": 3 }), "/filter/value"),
        (
            json!({ "type": "lt", "key": "created_at", "value": ["2024-01-01"] }),
            "/filter/value",
        ),
        (
            json!({ "type": "and", "filters": [eq, { "type": "in", "key": "a", "value": [1, [2]] }] }),
            "/filter/filters/1/value/1",
        ),
        (
            json!({ "type": "not", "filters": [{ "type": "or", "filters": [] }] }),
            "/filter/filters/0/filters",
        ),
        (many(65), "/filter/filters/64"),
        (
            nested(9),
            "/filter/filters/0/filters/0/filters/0/filters/0/filters/0/filters/0/filters/0/filters/0",
        ),
    ] {
        for (path, name) in [(SEARCH, "query"), (ASK, "question")] {
            let body = json!({ name: "a", "filter": filter });
            let problem = app.post(path, &body).send().await.problem(422, "bad_filter");
            assert_eq!(problem["pointer"], pointer, "{path} {filter}");
        }
    }
    for filter in [many(64), nested(8)] {
        let answer = app
            .post(SEARCH, &json!({ "query": "a", "filter": filter }))
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn names_lead_nowhere_and_break_no_header() {
    let app = TestApp::new();
    for (name, expected) in [
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("/abs/olute.txt", "olute.txt"),
        ("C:\\x\\y.txt", "y.txt"),
        ("a%0d%0aSet-Cookie: x=1.txt", "a%250d%250aSet-Cookie%3A%20x%3D1.txt"),
        ("....//....//x.txt", "x.txt"),
        ("q'; rm -rf .txt", "q%27%3B%20rm%20-rf%20.txt"),
        ("\u{202e}txt.exe", "%E2%80%AEtxt.exe"),
    ] {
        let answer = app
            .call("POST", DOCUMENTS)
            .form(&[("file", Some(name), "words")])
            .send()
            .await;
        assert_eq!(answer.status, 202, "{name}: {}", answer.text());
        app.work().await;
        let document = answer.json()["document"].clone();
        let uri = document["uri"].as_str().unwrap();
        assert!(
            uri.starts_with("upload://local/") && !uri[15..].contains(['/', '\\', '\r', '\n']),
            "{uri}"
        );
        let path = format!("{DOCUMENTS}/{}/content", document["id"].as_str().unwrap());
        let content = app.get(&path).send().await;
        assert_eq!(
            content.header("content-disposition"),
            format!("attachment; filename*=UTF-8''{expected}")
        );
        assert!(!content.headers.contains_key("set-cookie"));
        assert_eq!(content.header("x-content-type-options"), "nosniff");
    }
    for name in ["..", ".", "/", "a/..", "   "] {
        let answer = app
            .call("POST", DOCUMENTS)
            .form(&[("file", Some(name), "words")])
            .send()
            .await;
        assert!(matches!(answer.status, 400 | 422), "{name}: {}", answer.status);
    }
    for key in app.blob_keys().await {
        assert!(!key.contains("..") && !key.contains("passwd"), "{key}");
    }
}

#[tokio::test]
async fn control_characters_in_fields_are_refused() {
    let app = TestApp::new();
    for uri in ["a\r\nSet-Cookie: x", "a\0b", "a\nb", "\u{1b}[31m", ""] {
        let body = json!({ "uri": uri, "text": "words" });
        let answer = app.post(DOCUMENTS, &body).send().await;
        assert!(matches!(answer.status, 400 | 422), "{uri:?}: {}", answer.text());
    }
    for path in [
        "/api/v1/documents/..%2f..%2fetc%2fpasswd",
        "/api/v1/documents/%00",
        "/api/v1/jobs/%0d%0a",
        "/api/v1/documents/%ff",
    ] {
        app.get(path).send().await.problem(404, "not_found");
    }
    for query in [
        "cursor=%00",
        "cursor=..%2f",
        "limit=-1",
        "limit=99999999999999999999",
        "limit=%ff",
    ] {
        let answer = app.get(&format!("{DOCUMENTS}?{query}")).send().await;
        assert!(matches!(answer.status, 400 | 422), "{query}: {}", answer.status);
    }
}

#[tokio::test]
async fn markup_in_a_document_stays_what_it_is() {
    let app = TestApp::new();
    let title = "<script>alert(1)</script>";
    let body = json!({ "uri": "u:1", "title": title, "text": "turbine <img src=x onerror=alert(1)> oil" });
    app.post(DOCUMENTS, &body).send().await;
    app.work().await;
    let found = app.post(SEARCH, &json!({ "query": "turbine" })).send().await;
    assert_eq!(found.header("content-type"), "application/json");
    assert_eq!(found.header("x-content-type-options"), "nosniff");
    assert!(found.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(found.json()["passages"][0]["title"], title);
    for path in ["/docs", "/docs/page.js", "/openapi.json"] {
        let page = app.get(path).send().await;
        assert_eq!(page.status, 200);
        assert!(!page.text().contains("alert(1)"));
    }
}

/// Random bodies built of what the parsers look for.
mod random {
    use proptest::prelude::*;

    use crate::http::HttpSettings;
    use crate::http::test_app::Fittings;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "how long a test runs is no setting of the program"
    )]
    fn cases() -> u32 {
        std::env::var("RAGSTONE_TEST_FUZZ_CASES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(48)
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            prop::sample::select(vec![
                "eq",
                "not",
                "and",
                "in",
                "prefix",
                "gt",
                "hybrid",
                "reader",
                "up",
                "00000000-0000-0000-0000-000000000001",
                "2024-05-01"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 48, 6, |inner| {
            let name = prop::sample::select(vec![
                "type",
                "key",
                "value",
                "filters",
                "query",
                "question",
                "limit",
                "filter",
                "mode",
                "uri",
                "text",
                "metadata",
                "readers",
                "name",
                "role",
                "document",
                "user",
                "groups",
                "trace_id",
                "rating",
                "comment",
                "instructions",
                "temperature",
                "stream",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(name.prop_map(String::from), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Every route that takes a JSON body.
    const ROUTES: [&str; 6] = [
        DOCUMENTS,
        SEARCH,
        "/api/v1/ask",
        "/api/v1/keys",
        "/api/v1/explain-access",
        "/api/v1/feedback",
    ];

    #[test]
    fn no_body_breaks_a_route() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let fittings = Fittings {
            quotes: true,
            ..Fittings::default()
        };
        let app = TestApp::fitted(HttpSettings::default(), fittings);
        let config = ProptestConfig {
            cases: cases(),
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let input = (value(), any::<prop::sample::Index>(), any::<u8>());
        let run = runner.run(&input, |(value, cut, byte)| {
            let mut broken = value.to_string().into_bytes();
            let at = cut.index(broken.len());
            broken[at] = byte;
            for path in ROUTES {
                for body in [value.to_string().into_bytes(), broken.clone()] {
                    let status = runtime.block_on(sent(&app, path, body)).status;
                    prop_assert!(status < 500, "{} {}", path, status);
                }
            }
            Ok(())
        });
        run.unwrap();
    }
}
