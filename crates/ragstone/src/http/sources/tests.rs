//! Sources over the real router and a real folder: what each caller may do, beside its twin that may not.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::test_app::{Answer, KEY, TestApp};

const SOURCES: &str = "/api/v1/sources";
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn folder(name: &str, path: &Path, readers: &[&str]) -> Value {
    json!({ "name": name, "kind": "folder", "settings": { "path": path }, "readers": readers })
}

async fn add(app: &TestApp, wanted: &Value) -> String {
    let made = app.post(SOURCES, wanted).key(KEY).send().await;
    assert_eq!(made.status, 201, "{}", made.text());
    format!("{SOURCES}/{}", text(&made.json()["id"]))
}

/// Syncs a source and has its jobs done; how it went.
async fn sync(app: &TestApp, path: &str) -> Value {
    let begun = app.call("POST", &format!("{path}/sync")).key(KEY).send().await;
    assert_eq!(begun.status, 202, "{}", begun.text());
    let ended = async {
        loop {
            let now = app.get(path).key(KEY).send().await.json();
            if now["running"] == false {
                return now["last_sync"].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let report = tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .expect("it ends");
    app.work().await;
    report
}

fn counts(report: &Value) -> [u64; 5] {
    ["new", "changed", "unchanged", "deleted", "failed"].map(|field| report[field].as_u64().unwrap())
}

async fn titles(app: &TestApp, key: &str) -> Vec<String> {
    let listed = app
        .get("/api/v1/documents?source=handbook")
        .key(key)
        .send()
        .await
        .json();
    let titles = listed["documents"].as_array().unwrap().iter();
    titles
        .map(|document| text(&document["title"]).to_owned())
        .collect()
}

#[tokio::test]
async fn a_folder_is_synced_and_taken_away_again() {
    let (app, root) = (TestApp::keyed(), tempfile::tempdir().unwrap());
    std::fs::write(root.path().join("a.txt"), "The lamp is red.").unwrap();
    std::fs::write(root.path().join("b.txt"), "The door is blue.").unwrap();
    let path = add(&app, &folder("handbook", root.path(), &["everyone"])).await;
    let first = sync(&app, &path).await;
    assert_eq!(counts(&first), [2, 0, 0, 0, 0], "{first}");
    let job = app
        .get(&format!("/api/v1/jobs/{}", text(&first["job"])))
        .key(KEY)
        .send()
        .await
        .json();
    assert_eq!(
        (&job["kind"], &job["state"], &job["total"]),
        (&json!("batch"), &json!("succeeded"), &json!(2))
    );
    std::fs::rename(root.path().join("b.txt"), root.path().join("c.txt")).unwrap();
    let second = sync(&app, &path).await;
    assert_eq!(counts(&second), [0, 1, 1, 0, 0], "{second}");
    assert_eq!(titles(&app, KEY).await, ["a", "c"]);
    std::fs::remove_file(root.path().join("a.txt")).unwrap();
    assert_eq!(counts(&sync(&app, &path).await), [0, 0, 1, 1, 0]);
    let removed = app.call("DELETE", &path).key(KEY).send().await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    assert!(titles(&app, KEY).await.is_empty());
    app.get(&path).key(KEY).send().await.problem(404, "not_found");
}

#[tokio::test]
async fn a_folder_that_is_away_costs_no_document() {
    let (app, root) = (TestApp::keyed(), tempfile::tempdir().unwrap());
    let (here, away) = (root.path().join("here"), root.path().join("away"));
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("a.txt"), "The lamp is red.").unwrap();
    let path = add(&app, &folder("handbook", &here, &["everyone"])).await;
    sync(&app, &path).await;
    std::fs::rename(&here, &away).unwrap();
    let report = sync(&app, &path).await;
    assert_eq!(report["error"]["code"], "source_unavailable", "{report}");
    assert_eq!(titles(&app, KEY).await, ["a"]);
}

/// A key of a role, tenant and departments.
async fn key(app: &TestApp, tenant: &str, role: &str, departments: &[&str]) -> String {
    let new = json!({"name": "n", "role": role, "tenant": tenant, "departments": departments});
    text(&app.issue(&new).await["key"]).to_owned()
}

/// Every route that names a source.
async fn routes(app: &TestApp, key: &str, path: &str) -> Vec<Answer> {
    let call = |method: &str, path: &str| app.call(method, path).key(key);
    vec![
        call("GET", path).send().await,
        call("PATCH", path).json(&json!({"paused": true})).send().await,
        call("POST", &format!("{path}/sync")).send().await,
        call("DELETE", path).send().await,
    ]
}

#[tokio::test]
async fn what_a_caller_does_not_manage_is_not_there() {
    let (app, root) = (TestApp::keyed(), tempfile::tempdir().unwrap());
    let path = add(&app, &folder("handbook", root.path(), &["dept:x"])).await;
    let outsiders = [
        key(&app, "default", "writer", &["y"]).await,
        key(&app, "default", "writer", &[]).await,
        key(&app, "other", "admin", &[]).await,
        key(&app, "other", "writer", &["x"]).await,
    ];
    let unknown = format!("{SOURCES}/{NOBODY}");
    for outsider in &outsiders {
        let (there, nowhere) = (
            routes(&app, outsider, &path).await,
            routes(&app, outsider, &unknown).await,
        );
        for (there, nowhere) in there.into_iter().zip(nowhere) {
            let (there, nowhere) = (there.problem(404, "not_found"), nowhere.problem(404, "not_found"));
            assert_eq!(there["detail"], nowhere["detail"]);
        }
        let listed = app.get(SOURCES).key(outsider).send().await.json();
        assert_eq!(listed, json!({"sources": [], "next_cursor": null}));
    }
    let reader = key(&app, "default", "reader", &["x"]).await;
    for answer in routes(&app, &reader, &path).await {
        answer.problem(403, "forbidden");
    }
    app.get(SOURCES)
        .key(&reader)
        .send()
        .await
        .problem(403, "forbidden");
    let insider = key(&app, "default", "writer", &["x"]).await;
    let listed = app.get(SOURCES).key(&insider).send().await.json();
    assert_eq!(listed["sources"][0]["name"], "handbook");
    assert_eq!(listed["sources"][0]["paused"], false);
    let statuses: Vec<u16> = routes(&app, &insider, &path)
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    assert_eq!(statuses, [200, 200, 202, 200]);
}

#[tokio::test]
async fn folders_of_the_server_are_the_operators() {
    let (app, root) = (TestApp::keyed(), tempfile::tempdir().unwrap());
    let wanted = folder("handbook", root.path(), &["everyone"]);
    for role in ["admin", "writer", "reader"] {
        let key = key(&app, "default", role, &[]).await;
        app.post(SOURCES, &wanted)
            .key(&key)
            .send()
            .await
            .problem(403, "forbidden");
    }
    let door = app.post(SOURCES, &wanted).through_operator_door().send().await;
    assert_eq!(door.status, 201, "{}", door.text());
}

#[tokio::test]
async fn credentials_of_the_server_are_the_operators() {
    let app = TestApp::keyed();
    let wanted = |settings: Value| json!({ "name": "wiki", "kind": "confluence", "settings": settings });
    let settings = json!({ "url": "https://x.atlassian.net", "spaces": ["OPS"] });
    let writer = key(&app, "default", "admin", &[]).await;
    let asked = app
        .post(SOURCES, &wanted(settings.clone()))
        .key(&writer)
        .send()
        .await;
    asked.problem(403, "forbidden");
    let mut refused = Vec::new();
    for changes in [
        json!({ "token": "ATATT-written-out" }),
        json!({ "token": "env:NOT_THERE" }),
        json!({ "cql": "type = page" }),
        json!({ "spaces": [] }),
        json!({ "spaces": ["A\" or space = \"B"] }),
        json!({ "url": "ftp://x" }),
        json!({ "url": "https://me:pass@x" }),
        json!({ "email": "me@x.test" }),
        json!({ "password": "x" }),
        json!({ "at_once": 0 }),
    ] {
        let mut settings = settings.clone();
        settings
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let asked = app.post(SOURCES, &wanted(settings)).key(KEY).send().await;
        let problem = asked.problem(422, "bad_field");
        assert_eq!(problem["pointer"], "/settings", "{problem}");
        refused.push(problem.to_string());
    }
    assert!(!refused.concat().contains("written-out"));
    let made = app.post(SOURCES, &wanted(settings)).key(KEY).send().await;
    assert_eq!(
        (made.status, &made.json()["readers"]),
        (201, &json!(["everyone"]))
    );
}

#[tokio::test]
async fn the_own_network_is_no_web_unless_the_settings_say_so() {
    let app = TestApp::keyed();
    let writer = key(&app, "default", "writer", &["x"]).await;
    let wanted = |url: &str| json!({ "name": "site", "kind": "web", "settings": { "urls": [url] }, "readers": ["dept:x"] });
    let asked = app
        .post(SOURCES, &wanted("file:///etc/passwd"))
        .key(&writer)
        .send()
        .await;
    asked.problem(422, "bad_field");
    let asked = app
        .post(SOURCES, &wanted("http://127.0.0.1/"))
        .key(&writer)
        .send()
        .await;
    assert_eq!(asked.status, 201, "{}", asked.text());
    let path = format!("{SOURCES}/{}", text(&asked.json()["id"]));
    let report = sync(&app, &path).await;
    assert_eq!(report["error"]["code"], "source_refused", "{report}");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (app, root) = (TestApp::keyed(), tempfile::tempdir().unwrap());
    let refused = async |changes: Value, status: u16, code: &str, pointer: &str| {
        let mut wanted = folder("handbook", root.path(), &["everyone"]);
        wanted
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let problem = app
            .post(SOURCES, &wanted)
            .key(KEY)
            .send()
            .await
            .problem(status, code);
        assert!(problem.to_string().contains(pointer), "{problem}");
    };
    refused(json!({"kind": "ftp"}), 422, "bad_field", "/settings").await;
    refused(
        json!({"settings": {"path": "relative"}}),
        422,
        "bad_field",
        "/settings",
    )
    .await;
    refused(
        json!({"settings": {"path": "/x", "token": "hush"}}),
        422,
        "bad_field",
        "/settings",
    )
    .await;
    refused(json!({"schedule": "often"}), 422, "bad_field", "/schedule").await;
    refused(json!({"name": "upload"}), 422, "bad_field", "/name").await;
    refused(json!({"readers": ["all"]}), 422, "bad_reader", "").await;
    refused(json!({"readers": []}), 422, "readers_required", "").await;
    refused(json!({"colour": "red"}), 422, "bad_body", "colour").await;
    let path = add(&app, &folder("handbook", root.path(), &["everyone"])).await;
    refused(json!({}), 409, "source_taken", "handbook").await;
    let turn = app
        .api
        .syncer
        .turn(text(&json!(path)).rsplit('/').next().unwrap().parse().unwrap())
        .await
        .unwrap();
    app.call("POST", &format!("{path}/sync"))
        .key(KEY)
        .send()
        .await
        .problem(409, "source_busy");
    drop(turn);
    let changed = app
        .call("PATCH", &path)
        .key(KEY)
        .json(&json!({"schedule": "0 3 * * *", "paused": true}))
        .send()
        .await;
    assert_eq!(changed.json()["schedule"], "0 3 * * *");
    let changed = app
        .call("PATCH", &path)
        .key(KEY)
        .json(&json!({"schedule": null}))
        .send()
        .await
        .json();
    assert_eq!(
        (&changed["schedule"], &changed["paused"]),
        (&Value::Null, &json!(true))
    );
}

#[tokio::test]
async fn a_list_is_paged_without_naming_what_is_hidden() {
    let (app, root) = (TestApp::keyed(), tempfile::tempdir().unwrap());
    for (name, reader) in [
        ("a", "dept:x"),
        ("b", "dept:y"),
        ("c", "dept:x"),
        ("d-secret", "dept:y"),
    ] {
        add(&app, &folder(name, root.path(), &[reader])).await;
    }
    let insider = key(&app, "default", "writer", &["x"]).await;
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app
            .get(&format!("{SOURCES}?limit=1{cursor}"))
            .key(&insider)
            .send()
            .await;
        assert!(!page.text().contains("secret"), "{}", page.text());
        let page = page.json();
        names.extend(
            page["sources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|source| text(&source["name"]).to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace(' ', "%20")),
            None => break,
        }
    }
    assert_eq!(names, ["a", "c"]);
    app.get(&format!("{SOURCES}?cursor=bad"))
        .key(KEY)
        .send()
        .await
        .problem(400, "bad_cursor");
}
