//! Documents over the real router and an in-memory database, each allowed call beside a refused one.

use std::sync::atomic::Ordering;

use ragstone_core::access::{Principal, ReaderSet, Role};
use serde_json::{Value, json};

use crate::http::HttpSettings;
use crate::http::test_app::{KEY, TestApp, caller};

const DOCUMENTS: &str = "/api/v1/documents";

/// A part of a form: name, file name, content.
type Part<'a> = (&'a str, Option<&'a str>, &'a str);

fn stranger() -> Principal {
    caller("other", &["everyone"], Role::Admin)
}

fn colleague() -> Principal {
    caller("default", &["dept:x"], Role::Writer)
}

fn reader() -> Principal {
    caller("default", &["dept:x"], Role::Reader)
}

#[tokio::test]
async fn a_file_is_taken_in_published_read_and_deleted() {
    let app = TestApp::new();
    let file = || {
        app.call("POST", DOCUMENTS)
            .form(&[("file", Some("Bericht März.txt"), "Ünï text")])
    };
    let accepted = file().send().await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let (document, job) = (accepted.json()["document"].clone(), accepted.json()["job"].clone());
    assert_eq!(document["uri"], "upload://local/Bericht%20M%C3%A4rz.txt");
    assert_eq!(
        (&document["status"], &job["state"]),
        (&json!("pending"), &json!("queued"))
    );
    assert_eq!(app.rings.load(Ordering::Relaxed), 1);
    app.work().await;

    let path = format!("{DOCUMENTS}/{}", document["id"].as_str().unwrap());
    let published = app.get(&path).send().await.json();
    assert_eq!(
        (&published["status"], &published["chunks"]),
        (&json!("published"), &json!(1))
    );
    assert_eq!(
        (&published["readers"], &published["version"]),
        (&json!(["everyone"]), &json!(1))
    );
    assert_eq!(published.get("restrictions"), None);
    let job = app
        .get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap()))
        .send()
        .await
        .json();
    assert_eq!((&job["state"], &job["error"]), (&json!("succeeded"), &Value::Null));
    let chunks = app.get(&format!("{path}/chunks")).send().await.json();
    assert_eq!(chunks["chunks"][0]["text"], "Ünï text");
    assert_eq!(
        (&chunks["chunks"][0]["range"], &chunks["next_cursor"]),
        (&json!([0, 10]), &Value::Null)
    );
    let again = file().send().await;
    assert_eq!(
        (again.status, again.json()["job"]["state"].clone()),
        (200, "succeeded".into())
    );

    let deleted = app.call("DELETE", &path).send().await;
    assert_eq!(
        (deleted.status, deleted.json()["job"]["kind"].clone()),
        (202, json!("purge"))
    );
    app.get(&path).send().await.problem(404, "not_found");
    app.call("DELETE", &path).send().await.problem(404, "not_found");
    app.work().await;
    assert!(app.blob_keys().await.is_empty());
}

#[tokio::test]
async fn another_caller_sees_and_changes_nothing() {
    let app = TestApp::new();
    let body = json!({"uri": "a", "text": "secret words", "readers": ["dept:x"]});
    let id = app.post(DOCUMENTS, &body).send().await.json()["document"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.work().await;
    let job = app.get("/api/v1/jobs").send().await.json()["jobs"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (path, job) = (format!("{DOCUMENTS}/{id}"), format!("/api/v1/jobs/{job}"));
    for (caller, status) in [(colleague as fn() -> Principal, 200), (reader, 200), (stranger, 404)] {
        let app = app.seen_by(caller);
        for path in [
            &path,
            &format!("{path}/chunks"),
            &format!("{path}/content"),
            &format!("{path}/pages/1"),
            &job,
        ] {
            assert_eq!(app.get(path).send().await.status, status, "{path}");
        }
        let seen = usize::from(status == 200);
        let listed = app.get(DOCUMENTS).send().await.json();
        assert_eq!(listed["documents"].as_array().unwrap().len(), seen);
        let found = app.post("/api/v1/search", &json!({"query": "secret"})).send().await;
        assert_eq!(found.json()["passages"].as_array().unwrap().len(), seen);
    }
    let stranger = app.seen_by(stranger);
    for path in [&path, &job] {
        stranger.call("DELETE", path).send().await.problem(404, "not_found");
    }
    stranger
        .call("PATCH", &path)
        .json(&json!({"title": "mine"}))
        .send()
        .await
        .problem(404, "not_found");
    let reader = app.seen_by(reader);
    reader.call("DELETE", &path).send().await.problem(403, "forbidden");
    reader
        .post(DOCUMENTS, &json!({"uri": "b", "text": "b"}))
        .send()
        .await
        .problem(403, "forbidden");
    let colleague = app.seen_by(colleague);
    let taken = json!({"uri": "c", "text": "c", "readers": ["user:somebody"]});
    colleague
        .post(DOCUMENTS, &taken)
        .send()
        .await
        .problem(403, "grant_refused");
    app.post(DOCUMENTS, &taken).send().await;
    let taken = json!({"uri": "c", "text": "c", "readers": ["dept:x"]});
    colleague.post(DOCUMENTS, &taken).send().await.problem(409, "uri_taken");
    assert_eq!(colleague.call("DELETE", &path).send().await.status, 202);
}

#[tokio::test]
async fn fields_may_stand_before_or_after_the_file() {
    for before in [true, false] {
        let app = TestApp::new();
        let file = ("file", Some("a.txt"), "text");
        let fields = [
            ("metadata", None, r#"{"year": 2024}"#),
            ("readers", None, r#"["group:g"]"#),
            ("department_id", None, "x"),
            ("source_url", None, "https://x.example/a"),
            ("uri", None, "wiki:a"),
        ];
        let mut parts = fields.to_vec();
        parts.insert(if before { fields.len() } else { 0 }, file);
        let document = app.call("POST", DOCUMENTS).form(&parts).send().await.json()["document"].clone();
        assert_eq!(
            (&document["uri"], &document["metadata"]),
            (&json!("wiki:a"), &json!({"year": 2024}))
        );
        assert_eq!(document["readers"], json!(["dept:x", "group:g"]));
        assert_eq!(document["source_url"], "https://x.example/a");
    }
}

#[tokio::test]
async fn a_form_that_is_refused_leaves_nothing() {
    let app = TestApp::new();
    let file = ("file", Some("a.txt"), "text");
    let large = "x".repeat(100_001);
    let cases: [(&[Part<'_>], u16, &str); 12] = [
        (&[], 422, "bad_field"),
        (&[("title", None, "no file")], 422, "bad_field"),
        (&[file, ("reader", None, "[\"dept:x\"]")], 422, "bad_field"),
        (&[file, ("readers", None, "dept:x")], 422, "bad_field"),
        (&[file, ("readers", None, "[\"staff\"]")], 422, "bad_reader"),
        (&[file, ("metadata", None, "[1]")], 422, "bad_field"),
        (&[file, ("uri", None, "a\u{1}b")], 422, "bad_field"),
        (&[file, file], 422, "bad_field"),
        (
            &[file, ("file", Some("b.txt"), "b"), ("uri", None, "one")],
            422,
            "bad_field",
        ),
        (&[("file", Some(".."), "text")], 422, "bad_field"),
        (&[("attachment", Some("a.txt"), "text")], 422, "bad_field"),
        (&[("file", Some("a.txt"), &large)], 413, "too_large"),
    ];
    for (parts, status, code) in cases {
        app.call("POST", DOCUMENTS)
            .form(parts)
            .send()
            .await
            .problem(status, code);
    }
    let broken = app
        .call("POST", DOCUMENTS)
        .header("content-type", "multipart/form-data; boundary=B");
    let broken = broken.body("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nhalf");
    broken.send().await.problem(400, "bad_multipart");
    let unbound = app
        .call("POST", DOCUMENTS)
        .header("content-type", "multipart/form-data")
        .body("x");
    unbound.send().await.problem(400, "bad_multipart");
    assert!(app.blob_keys().await.is_empty());
    assert_eq!(app.get(DOCUMENTS).send().await.json()["documents"], json!([]));
    assert_eq!(app.rings.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn several_files_are_answered_each_by_itself() {
    let app = TestApp::new();
    let large = "x".repeat(100_001);
    let parts = [
        ("file", Some("a.txt"), "a"),
        ("file", Some("b.txt"), &large),
        ("file", Some("c.txt"), "c"),
    ];
    let answer = app.call("POST", DOCUMENTS).form(&parts).send().await;
    assert_eq!(answer.status, 202);
    let documents = answer.json()["documents"].clone();
    assert_eq!(documents[0]["document"]["uri"], "upload://local/a.txt");
    assert_eq!(
        (&documents[1]["name"], &documents[1]["error"]["code"]),
        (&json!("b.txt"), &json!("too_large"))
    );
    assert_eq!(documents[2]["job"]["state"], "queued");
}

#[tokio::test]
async fn a_json_document_is_refused_with_its_place() {
    let app = TestApp::new();
    let json = |body: &str| {
        let call = app.call("POST", DOCUMENTS).header("content-type", "application/json");
        call.body(body.to_owned())
    };
    let bad = json("{\"uri\": \"a\",\n oops").send().await.problem(400, "bad_json");
    assert!(bad["detail"].as_str().unwrap().contains("line 2 column 2"), "{bad}");
    json("{\"uri\": \"a\"}").send().await.problem(422, "bad_body");
    json("{\"uri\": \"a\", \"text\": \"a\", \"reader\": []}")
        .send()
        .await
        .problem(422, "bad_body");
    json("{\"uri\": \"\", \"text\": \"a\"}")
        .send()
        .await
        .problem(422, "bad_field");
    let text = app
        .call("POST", DOCUMENTS)
        .header("content-type", "text/plain")
        .body("a");
    text.send().await.problem(415, "unsupported_media_type");
    let small = TestApp::with(HttpSettings {
        json_bytes: 20,
        body_bytes: 20,
        ..HttpSettings::default()
    });
    let body = json!({"uri": "a", "text": "more than twenty bytes"});
    small.post(DOCUMENTS, &body).send().await.problem(413, "too_large");
    let form = small
        .call("POST", DOCUMENTS)
        .form(&[("file", Some("a.txt"), "more than twenty")]);
    form.send().await.problem(413, "too_large");
    assert!(small.blob_keys().await.is_empty());
}

#[tokio::test]
async fn readers_are_required_where_no_default_stands_for_them() {
    let app = TestApp::with(HttpSettings {
        default_readers: Some(ReaderSet::new()),
        ..HttpSettings::default()
    });
    let refused = app.post(DOCUMENTS, &json!({"uri": "a", "text": "a"})).send().await;
    refused.problem(422, "readers_required");
    let named = json!({"uri": "a", "text": "a", "department_id": "x"});
    let named = app.post(DOCUMENTS, &named).send().await;
    assert_eq!(named.json()["document"]["readers"], json!(["dept:x"]));
}

#[tokio::test]
async fn changes_hold_at_once_and_embed_nothing() {
    let app = TestApp::new();
    let body = json!({"uri": "a", "text": "secret words", "department_id": "x", "readers": ["group:g"]});
    let id = app.post(DOCUMENTS, &body).send().await.json()["document"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.work().await;
    let path = format!("{DOCUMENTS}/{id}");
    let patch = async |changes: Value| app.call("PATCH", &path).json(&changes).send().await;
    let moved = patch(json!({"department_id": "y", "title": "New"})).await.json();
    assert_eq!(moved["readers"], json!(["dept:y", "group:g"]));
    assert_eq!(
        (&moved["title"], &moved["department_id"], &moved["version"]),
        (&json!("New"), &json!("y"), &json!(1))
    );
    let colleague = app.seen_by(colleague);
    assert_eq!(colleague.get(&path).send().await.status, 404);
    let back = patch(json!({"readers": ["dept:x"], "department_id": null, "metadata": {"a": 1}}))
        .await
        .json();
    assert_eq!(
        (&back["readers"], &back["department_id"]),
        (&json!(["dept:x"]), &Value::Null)
    );
    assert_eq!((&back["metadata"], &back["title"]), (&json!({"a": 1}), &json!("New")));
    let found = colleague
        .post("/api/v1/search", &json!({"query": "secret"}))
        .send()
        .await
        .json();
    assert_eq!(found["passages"].as_array().unwrap().len(), 1);
    patch(json!({"readers": []})).await.problem(422, "readers_required");
    patch(json!({"readers": ["staff"]})).await.problem(422, "bad_reader");
    patch(json!({"title": "a\u{1}"})).await.problem(422, "bad_field");
    let refused = colleague
        .call("PATCH", &path)
        .json(&json!({"readers": ["dept:y"]}))
        .send()
        .await;
    refused.problem(403, "grant_refused");
    assert_eq!(app.rings.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn lists_end_and_go_on_by_their_cursor() {
    let app = TestApp::new();
    for n in 0..3 {
        app.document(&format!("doc-{n}"), "words").await;
    }
    let first = app.get(&format!("{DOCUMENTS}?limit=2")).send().await.json();
    assert_eq!(first["documents"].as_array().unwrap().len(), 2);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = app
        .get(&format!("{DOCUMENTS}?limit=2&cursor={cursor}"))
        .send()
        .await
        .json();
    assert_eq!(
        (rest["documents"][0]["uri"].clone(), rest["next_cursor"].clone()),
        (json!("doc-2"), Value::Null)
    );
    for (query, found) in [
        ("uri=doc-1", 1),
        ("source=upload", 3),
        ("source=folder", 0),
        ("status=failed", 0),
        ("limit=0", 1),
    ] {
        let listed = app.get(&format!("{DOCUMENTS}?{query}")).send().await.json();
        assert_eq!(listed["documents"].as_array().unwrap().len(), found, "{query}");
    }
    for path in [DOCUMENTS, "/api/v1/jobs"] {
        app.get(&format!("{path}?cursor=nonsense"))
            .send()
            .await
            .problem(400, "bad_cursor");
        app.get(&format!("{path}?limit=many"))
            .send()
            .await
            .problem(400, "bad_query");
    }
    app.get(&format!("{DOCUMENTS}?status=lost"))
        .send()
        .await
        .problem(400, "bad_query");
    app.get("/api/v1/jobs?state=lost")
        .send()
        .await
        .problem(400, "bad_query");
    let jobs = app
        .get("/api/v1/jobs?state=succeeded&kind=ingest&limit=2")
        .send()
        .await
        .json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_original_is_an_attachment_in_whole_and_in_part() {
    let app = TestApp::new();
    let id = app.document("https://x.example/a/<b>.txt?v=1", "0123456789").await;
    let path = format!("{DOCUMENTS}/{id}/content");
    let whole = app.get(&path).send().await;
    assert_eq!((whole.status, whole.text()), (200, "0123456789"));
    assert_eq!(
        whole.header("content-disposition"),
        "attachment; filename*=UTF-8''%3Cb%3E.txt"
    );
    assert_eq!(
        (whole.header("x-content-type-options"), whole.header("accept-ranges")),
        ("nosniff", "bytes")
    );
    let part = app.get(&path).header("range", "bytes=2-4").send().await;
    assert_eq!(
        (part.status, part.text(), part.header("content-range")),
        (206, "234", "bytes 2-4/10")
    );
    let tag = whole.header("etag").to_owned();
    let same = app
        .get(&path)
        .header("range", "bytes=-2")
        .header("if-range", &tag)
        .send()
        .await;
    assert_eq!((same.status, same.text()), (206, "89"));
    let other = app
        .get(&path)
        .header("range", "bytes=-2")
        .header("if-range", "\"0\"")
        .send()
        .await;
    assert_eq!(other.status, 200);
    let outside = app.get(&path).header("range", "bytes=10-").send().await;
    assert_eq!(outside.problem(416, "range_not_satisfiable")["size"], 10);
}

#[tokio::test]
async fn pages_are_counted_from_one() {
    let app = TestApp::new();
    let id = app.document("a", "first\u{c}second").await;
    let page = async |n: &str| app.get(&format!("{DOCUMENTS}/{id}/pages/{n}")).send().await;
    assert_eq!(page("2").await.json(), json!({"page": 2, "text": "second"}));
    for n in ["0", "3", "-1", "x", "4294967296"] {
        page(n).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn an_id_that_is_none_names_nothing() {
    let app = TestApp::new();
    let unknown = uuid::Uuid::from_u128(7).to_string();
    for id in ["x", "%00", "..", &unknown] {
        for path in [
            format!("{DOCUMENTS}/{id}"),
            format!("{DOCUMENTS}/{id}/chunks"),
            format!("/api/v1/jobs/{id}"),
            format!("/api/v1/jobs/{id}/events"),
        ] {
            app.get(&path).send().await.problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn every_answer_has_its_id_and_its_headers() {
    let app = TestApp::keyed();
    for call in [
        app.get("/nowhere"),
        app.get("/nowhere").key(KEY),
        app.get(DOCUMENTS).key(KEY),
    ] {
        let answer = call.send().await;
        assert!(answer.header("x-request-id").parse::<uuid::Uuid>().is_ok());
        assert_eq!(
            (answer.header("x-content-type-options"), answer.header("cache-control")),
            ("nosniff", "no-store")
        );
    }
    app.get("/nowhere").key(KEY).send().await.problem(404, "no_route");
    let put = app.call("PUT", DOCUMENTS).key(KEY).send().await;
    put.problem(405, "method_not_allowed");
    assert!(put.header("allow").contains("POST"));
    let metrics = app.get("/metrics").key(KEY).send().await;
    assert_eq!(metrics.status, 200);
    for name in [
        "ragstone_http_requests_total{",
        "route=\"/api/v1/documents\"",
        "ragstone_leaked_hits_total 0",
        "ragstone_embedding_cache_hits_total 0",
        "ragstone_embedding_cache_misses_total 0",
        "ragstone_embedding_cache_errors_total 0",
        "ragstone_chunks",
    ] {
        assert!(metrics.text().contains(name), "{name}: {}", metrics.text());
    }
    app.seen_by(reader)
        .get("/metrics")
        .through_operator_door()
        .send()
        .await
        .problem(403, "forbidden");
}
