//! Isolation of tenants, and of callers within one, on every route: each call beside the same call from the other side.

use ragstone_core::access::Acl;
use ragstone_core::ask::AnswerEvent;
use serde_json::{Value, json};

use super::test_app::{Answer, TestApp};

const DOCUMENTS: &str = "/api/v1/documents";
const JOBS: &str = "/api/v1/jobs";

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// A caller with a key and one published document.
struct Side {
    key: String,
    document: String,
    job: String,
}

async fn key(app: &TestApp, tenant: &str, role: &str, departments: &[&str]) -> String {
    let new = json!({"name": "n", "role": role, "tenant": tenant, "departments": departments});
    text(&app.issue(&new).await["key"])
}

/// The same URI on every side, another text.
async fn side(app: &TestApp, key: String, readers: &[&str], words: &str) -> Side {
    let body = json!({"uri": "same://uri", "text": words, "readers": readers});
    let accepted = app.post(DOCUMENTS, &body).key(&key).send().await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    app.work().await;
    let accepted = accepted.json();
    Side {
        key,
        document: text(&accepted["document"]["id"]),
        job: text(&accepted["job"]["id"]),
    }
}

async fn call(app: &TestApp, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let call = app.call(method, path).key(key);
    match body {
        Value::Null => call.send().await,
        body => call.json(body).send().await,
    }
}

/// Every route that names a document or its job, with the status for a caller who may read it. Those that end it come
/// last.
fn routes(side: &Side) -> Vec<(&'static str, String, Value, u16)> {
    let (document, job) = (format!("{DOCUMENTS}/{}", side.document), format!("{JOBS}/{}", side.job));
    vec![
        ("GET", document.clone(), json!(null), 200),
        ("GET", format!("{document}/chunks"), json!(null), 200),
        ("GET", format!("{document}/content"), json!(null), 200),
        ("GET", format!("{document}/pages/1"), json!(null), 200),
        ("PATCH", document.clone(), json!({"title": "T"}), 200),
        ("GET", job.clone(), json!(null), 200),
        ("GET", format!("{job}/events"), json!(null), 200),
        ("DELETE", job.clone(), json!(null), 409),
        ("POST", format!("{job}/retry"), json!(null), 409),
        ("DELETE", document, json!(null), 202),
    ]
}

/// What `key` finds of documents, jobs, passages, by the ids of documents.
async fn found(app: &TestApp, key: &str) -> Vec<String> {
    let documents = call(app, key, "GET", DOCUMENTS, &json!(null)).await.json();
    let jobs = call(app, key, "GET", JOBS, &json!(null)).await.json();
    let query = json!({"query": "zebra attic cellar"});
    let passages = call(app, key, "POST", "/api/v1/search", &query).await.json();
    let ids = |list: &Value, field: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| text(&item[field])).collect()
    };
    let mut ids = [
        ids(&documents["documents"], "id"),
        ids(&jobs["jobs"], "document_id"),
        ids(&passages["passages"], "document_id"),
    ]
    .concat();
    ids.dedup();
    ids
}

/// A caller on `ours` gets nothing of `theirs` on any route, and the owner gets everything.
async fn check_wall(app: &TestApp, ours: &Side, theirs: &Side) {
    assert_eq!(found(app, &ours.key).await, std::slice::from_ref(&ours.document));
    for (method, path, body, _) in routes(theirs) {
        let foreign = call(app, &ours.key, method, &path, &body).await;
        let unknown = path
            .replace(&theirs.document, "00000000-0000-0000-0000-00000000ffff")
            .replace(&theirs.job, "00000000-0000-0000-0000-00000000ffff");
        let unknown = call(app, &ours.key, method, &unknown, &body).await;
        assert_eq!(foreign.status, 404, "{method} {path}: {}", foreign.text());
        assert_eq!(
            foreign.text(),
            unknown.text(),
            "unknown and forbidden are one: {method} {path}"
        );
    }
}

async fn check_owner(app: &TestApp, side: &Side) {
    for (method, path, body, status) in routes(side) {
        let answer = call(app, &side.key, method, &path, &body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn tenants_see_nothing_of_each_other() {
    let app = TestApp::new();
    for role in ["writer", "admin"] {
        let (a, b) = (
            key(&app, &format!("a-{role}"), role, &["x"]).await,
            key(&app, &format!("b-{role}"), role, &["x"]).await,
        );
        let a = side(&app, a, &["everyone", "dept:x"], "The zebra lives in the attic.").await;
        let b = side(&app, b, &["everyone", "dept:x"], "The zebra lives in the cellar.").await;
        assert_ne!(a.document, b.document, "one uri, two documents");
        check_wall(&app, &a, &b).await;
        check_wall(&app, &b, &a).await;
        check_owner(&app, &a).await;
        check_owner(&app, &b).await;
    }
}

#[tokio::test]
async fn departments_of_one_tenant_see_nothing_of_each_other() {
    let app = TestApp::new();
    let (x, y) = (
        key(&app, "a", "writer", &["x"]).await,
        key(&app, "a", "writer", &["y"]).await,
    );
    let x = side(&app, x, &["dept:x"], "The zebra lives in the attic.").await;
    let taken = json!({"uri": "same://uri", "text": "mine", "readers": ["dept:y"]});
    let refused = app.post(DOCUMENTS, &taken).key(&y).send().await;
    let refused = refused.problem(409, "uri_taken").to_string();
    for secret in [&x.document[..], "zebra", "dept:x"] {
        assert!(!refused.contains(secret), "{refused}");
    }
    let form = [
        ("uri", None, "same://uri"),
        ("readers", None, r#"["dept:y"]"#),
        ("file", Some("a.txt"), "mine"),
    ];
    let refused = app.call("POST", DOCUMENTS).key(&y).form(&form).send().await;
    refused.problem(409, "uri_taken");
    let own = json!({"uri": "own://uri", "text": "The zebra lives in the cellar.", "readers": ["dept:y"]});
    let own = app.post(DOCUMENTS, &own).key(&y).send().await.json();
    app.work().await;
    let y = Side {
        key: y,
        document: text(&own["document"]["id"]),
        job: text(&own["job"]["id"]),
    };
    check_wall(&app, &x, &y).await;
    check_wall(&app, &y, &x).await;
    let admin = key(&app, "a", "admin", &[]).await;
    let mut seen = found(&app, &admin).await;
    seen.sort();
    seen.dedup();
    let mut both = [x.document.clone(), y.document.clone()];
    both.sort();
    assert_eq!(seen, both, "an administrator sees all of its tenant");
    check_owner(&app, &x).await;
    check_owner(&app, &y).await;
}

#[tokio::test]
async fn a_writer_grants_only_what_it_holds_on_every_way_in() {
    let app = TestApp::new();
    let writer = key(&app, "a", "writer", &["x"]).await;
    let admin = key(&app, "a", "admin", &[]).await;
    let json_body = |fields: &Value| {
        let mut body = json!({"uri": "new://uri", "text": "t"});
        for (field, value) in fields.as_object().unwrap() {
            body[field] = value.clone();
        }
        body
    };
    let standing = json!({"uri": "standing://uri", "text": "t", "readers": ["dept:x"]});
    let standing = app.post(DOCUMENTS, &standing).key(&writer).send().await.json();
    let standing = format!("{DOCUMENTS}/{}", text(&standing["document"]["id"]));
    for refused in [
        json!({"readers": ["dept:y"]}),
        json!({"readers": ["dept:x", "group:g"]}),
        json!({"readers": ["user:somebody"]}),
        json!({"department_id": "y"}),
        json!({"department_id": "y", "readers": ["dept:x"]}),
    ] {
        let sent = app.post(DOCUMENTS, &json_body(&refused)).key(&writer).send().await;
        sent.problem(403, "grant_refused");
        let mut form = vec![("file".to_owned(), Some("a.txt"), "t".to_owned())];
        for (field, value) in refused.as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            form.push((field.clone(), None, value));
        }
        let form: Vec<_> = form
            .iter()
            .map(|(name, file, value)| (&name[..], *file, &value[..]))
            .collect();
        let sent = app.call("POST", DOCUMENTS).key(&writer).form(&form).send().await;
        sent.problem(403, "grant_refused");
        let changed = app.call("PATCH", &standing).key(&writer).json(&refused);
        changed.send().await.problem(403, "grant_refused");
    }
    let readers = app.get(&standing).key(&writer).send().await.json();
    assert_eq!(readers["readers"], json!(["dept:x"]), "nothing changed");
    let held = json!({"readers": ["everyone"], "department_id": "x"});
    let changed = app.call("PATCH", &standing).key(&writer).json(&held);
    assert_eq!(changed.send().await.json()["readers"], json!(["dept:x", "everyone"]));
    let sent = app.post(DOCUMENTS, &json_body(&held)).key(&writer).send().await;
    assert_eq!(sent.status, 202, "{}", sent.text());
    let any = json!({"readers": ["dept:y", "group:g"], "uri": "other://uri"});
    let sent = app.post(DOCUMENTS, &json_body(&any)).key(&admin).send().await;
    assert_eq!(sent.status, 202, "an administrator grants anything in its tenant");
}

/// Answers come from the caller's scope and no other, on both ways to ask.
#[tokio::test]
async fn questions_are_asked_in_the_scope_of_their_key() {
    let app = TestApp::new();
    let key = key(&app, "a", "reader", &["x"]).await;
    let interrupted = || {
        futures::stream::iter([AnswerEvent::Failed {
            code: "interrupted".into(),
            detail: "on purpose".into(),
        }])
    };
    app.script(interrupted());
    let question = json!({"question": "Where?"});
    call(&app, &key, "POST", "/api/v1/ask", &question).await;
    app.script(interrupted());
    call(&app, &key, "GET", "/api/v1/ask-stream?query=Where", &json!(null)).await;
    let scopes = app.scopes.lock().unwrap();
    assert_eq!(scopes.len(), 2);
    for scope in scopes.iter() {
        let admits =
            |tenant: &str, reader: &str| scope.admits(&Acl::any_of(tenant.parse().unwrap(), [reader.parse().unwrap()]));
        assert!(admits("a", "everyone") && admits("a", "dept:x"));
        assert!(!admits("a", "dept:y") && !admits("b", "dept:x") && !admits("default", "everyone"));
    }
}
