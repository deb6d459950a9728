//! Who may change which document: each allowed call beside a refused one.

use ragstone_core::access::{Acl, Principal, Role};
use ragstone_core::id::{CollectionName, DocumentId, SourceId};
use ragstone_core::seam::catalogue::DocumentPatch;
use ragstone_core::seam::source::SourceRecord;
use serde_json::{Value, json};

use crate::http::test_app::{TestApp, caller};

const DOCUMENTS: &str = "/api/v1/documents";

async fn key(app: &TestApp, user: &str, departments: &[&str]) -> String {
    let new = json!({"name": user, "role": "writer", "user": user, "departments": departments});
    app.issue(&new).await["key"].as_str().unwrap().to_owned()
}

/// A document that ada brought for `dept:x` and an administrator gave to `dept:y` too.
async fn shared(app: &TestApp, ada: &str) -> String {
    let body = json!({"uri": "a", "text": "The harvest begins in June.", "readers": ["dept:x"]});
    let sent = app.post(DOCUMENTS, &body).key(ada).send().await;
    assert_eq!(sent.status, 202, "{}", sent.text());
    app.work().await;
    let path = format!("{DOCUMENTS}/{}", sent.json()["document"]["id"].as_str().unwrap());
    let given = app.call("PATCH", &path).through_operator_door();
    let given = given.json(&json!({"readers": ["dept:x", "dept:y"]})).send().await;
    assert_eq!(given.status, 200, "{}", given.text());
    path
}

#[tokio::test]
async fn a_writer_changes_what_it_may_grant_whole_or_brought() {
    let app = TestApp::keyed();
    let (ada, eve) = (key(&app, "ada", &["x"]).await, key(&app, "eve", &["x"]).await);
    let both = key(&app, "bob", &["x", "y"]).await;
    let path = shared(&app, &ada).await;
    let patch = async |key: &str, changes: Value| app.call("PATCH", &path).key(key).json(&changes).send().await;
    // Eve reads it, as a member of one of its departments.
    assert_eq!(app.get(&path).key(&eve).send().await.status, 200);
    patch(&eve, json!({"title": "Mine"}))
        .await
        .problem(403, "write_refused");
    patch(&eve, json!({"readers": ["dept:x"]}))
        .await
        .problem(403, "write_refused");
    app.call("DELETE", &path)
        .key(&eve)
        .send()
        .await
        .problem(403, "write_refused");
    let replaced = json!({"uri": "a", "text": "Mine.", "readers": ["dept:x"]});
    app.post(DOCUMENTS, &replaced)
        .key(&eve)
        .send()
        .await
        .problem(409, "uri_taken");
    let standing = app.get(&path).key(&eve).send().await.json();
    assert_eq!((&standing["title"], &standing["version"]), (&json!("a"), &json!(1)));

    assert_eq!(patch(&ada, json!({"title": "Ours"})).await.status, 200);
    assert_eq!(patch(&both, json!({"title": "Ours"})).await.status, 200);
    let replaced = json!({"uri": "a", "text": "In July.", "readers": ["dept:x", "dept:y"]});
    assert_eq!(app.post(DOCUMENTS, &replaced).key(&both).send().await.status, 202);
    // The first uploader may still delete it, even after another writer replaced it.
    assert_eq!(app.call("DELETE", &path).key(&ada).send().await.status, 202);
    app.get(&path).key(&both).send().await.problem(404, "not_found");
}

#[tokio::test]
async fn nobody_takes_away_a_reader_that_they_do_not_hold() {
    let app = TestApp::keyed();
    let (ada, both) = (key(&app, "ada", &["x"]).await, key(&app, "bob", &["x", "y"]).await);
    let path = shared(&app, &ada).await;
    let patch = async |key: &str, changes: Value| app.call("PATCH", &path).key(key).json(&changes).send().await;
    for changes in [
        json!({"readers": ["dept:x"]}),
        json!({"readers": ["everyone"]}),
        json!({"readers": ["dept:x", "dept:y", "dept:z"]}),
    ] {
        patch(&ada, changes).await.problem(403, "grant_refused");
    }
    let replaced = json!({"uri": "a", "text": "In July.", "readers": ["dept:x"]});
    app.post(DOCUMENTS, &replaced)
        .key(&ada)
        .send()
        .await
        .problem(403, "grant_refused");
    let readers = async || app.get(&path).key(&both).send().await.json()["readers"].clone();
    assert_eq!(readers().await, json!(["dept:x", "dept:y"]));
    // What stays may be named by who does not hold it.
    let wider = patch(&ada, json!({"readers": ["dept:x", "dept:y", "everyone"]})).await;
    assert_eq!(wider.status, 200, "{}", wider.text());
    assert_eq!(readers().await, json!(["dept:x", "dept:y", "everyone"]));
    assert_eq!(patch(&both, json!({"readers": ["dept:x"]})).await.status, 200);
}

#[tokio::test]
async fn a_restriction_that_is_not_held_is_not_written_away() {
    let app = TestApp::keyed();
    let (ada, eve) = (key(&app, "ada", &["x", "y"]).await, key(&app, "eve", &["x", "y"]).await);
    let path = shared(&app, &ada).await;
    let id: uuid::Uuid = path.rsplit('/').next().unwrap().parse().unwrap();
    let set = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    let restricted = DocumentPatch {
        acl: Some(Acl {
            tenant: Default::default(),
            sets: vec![set(&["dept:x"]), set(&["dept:y", "group:board"])],
        }),
        ..DocumentPatch::default()
    };
    let admin = caller("default", &[], Role::Admin);
    let patched = app
        .api
        .ingestor
        .uploads()
        .patch_document(&admin, DocumentId(id), restricted)
        .await;
    assert!(patched.unwrap().is_some());
    let replaced = json!({"uri": "a", "text": "For all.", "readers": ["dept:x"]});
    app.post(DOCUMENTS, &replaced)
        .key(&eve)
        .send()
        .await
        .problem(409, "uri_taken");
    app.post(DOCUMENTS, &replaced)
        .key(&ada)
        .send()
        .await
        .problem(403, "grant_refused");
    let kept = app
        .call("PATCH", &path)
        .key(&ada)
        .json(&json!({"title": "T"}))
        .send()
        .await;
    assert_eq!(kept.json()["restrictions"], json!([["dept:y", "group:board"]]));
}

fn operator() -> Principal {
    Principal::local_operator()
}

#[tokio::test]
async fn a_document_of_a_source_is_changed_by_the_source_only() {
    let app = TestApp::keyed();
    let ada = key(&app, "ada", &["x"]).await;
    let admin = json!({"name": "root", "role": "admin"});
    let admin = app.issue(&admin).await["key"].as_str().unwrap().to_owned();
    let path = shared(&app, &ada).await;
    let wiki = source(&app, "wiki").await;
    // As its syncs bring it.
    let upload = ragstone_core::ingest::UploadMetadata {
        source: "wiki".parse().unwrap(),
        ..ragstone_core::seam::fake::upload(&operator(), "page", &["dept:x"])
    };
    let bytes = futures::stream::iter([Ok::<_, String>("A page.".into())]);
    let begun = app
        .api
        .ingestor
        .uploads()
        .accept_upload(&operator(), upload, bytes)
        .await
        .unwrap();
    let ragstone_core::seam::catalogue::BeginOutcome::Started(document, _) = begun else {
        panic!("it is new");
    };
    app.work().await;
    let page = format!("{DOCUMENTS}/{}", document.id);
    for key in [&ada, &admin] {
        for method in ["PATCH", "DELETE"] {
            let call = app.call(method, &page).key(key).json(&json!({"title": "Mine"}));
            let refused = call.send().await.problem(409, "source_document");
            assert_eq!(refused["source"], "wiki");
            assert!(refused["hint"].as_str().unwrap().contains("ragstone source sync wiki"));
        }
    }
    let eve = key(&app, "eve", &["z"]).await;
    let call = app.call("DELETE", &page).key(&eve).send().await;
    assert!(!call.problem(404, "not_found").to_string().contains("wiki"));
    assert_eq!(
        app.call("PATCH", &path)
            .key(&ada)
            .json(&json!({"title": "T"}))
            .send()
            .await
            .status,
        200
    );
    // Of a source that is there no more, it is like any other.
    let removed = app.api.syncer.sources.remove_source(&Default::default(), wiki).await;
    assert!(removed.unwrap());
    assert_eq!(app.call("DELETE", &page).key(&ada).send().await.status, 202);
}

/// Keeps a source.
async fn source(app: &TestApp, name: &str) -> SourceId {
    let id = SourceId((app.api.new_id)());
    let record = SourceRecord {
        id,
        tenant: Default::default(),
        name: name.parse().unwrap(),
        kind: "web".into(),
        settings: Default::default(),
        collection: CollectionName::default(),
        readers: ["dept:x".parse().unwrap()].into_iter().collect(),
        schedule: None,
        paused: false,
        created_by: "local".into(),
        created_at: (app.api.clock)(),
        last_sync: None,
    };
    assert!(app.api.syncer.sources.add_source(record).await.unwrap());
    id
}
