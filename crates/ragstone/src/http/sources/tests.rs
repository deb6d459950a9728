//! Sources over the real router and a real folder: what each caller may do, beside one that may not.

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
    let call = app.call("POST", &format!("{path}/sync")).key(KEY);
    ended(app, path, call.send().await).await
}

/// The same with a body.
async fn sync_with(app: &TestApp, path: &str, body: &Value) -> Value {
    let call = app.call("POST", &format!("{path}/sync")).key(KEY).json(body);
    ended(app, path, call.send().await).await
}

async fn ended(app: &TestApp, path: &str, begun: Answer) -> Value {
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
    titles.map(|document| text(&document["title"]).to_owned()).collect()
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
    for _ in 0..2 {
        let report = sync(&app, &path).await;
        assert_eq!(
            (&report["state"], &report["held"], &report["error"]["code"]),
            (&json!("held"), &json!(1), &json!("sync_held")),
            "{report}"
        );
        assert!(text(&report["error"]["hint"]).contains("ragstone source sync handbook --allow-deletions"));
        assert!(text(&report["failures"][0]["uri"]).ends_with("/here"), "{report}");
        assert_eq!(titles(&app, KEY).await, ["a"]);
    }
    std::fs::rename(&away, &here).unwrap();
    let report = sync(&app, &path).await;
    assert_eq!(
        (&report["state"], &report["held"]),
        (&json!("succeeded"), &json!(0)),
        "{report}"
    );
}

#[tokio::test]
async fn held_deletions_go_once_somebody_who_manages_the_source_allows_them() {
    let (app, root) = (TestApp::keyed(), tempfile::tempdir().unwrap());
    for n in 0..12 {
        std::fs::write(root.path().join(format!("{n:02}.txt")), format!("Lamp {n} is red.")).unwrap();
    }
    let path = add(&app, &folder("handbook", root.path(), &["dept:x"])).await;
    sync(&app, &path).await;
    for n in 0..11 {
        std::fs::remove_file(root.path().join(format!("{n:02}.txt"))).unwrap();
    }
    std::fs::write(root.path().join("new.txt"), "A new lamp.").unwrap();
    let report = sync(&app, &path).await;
    assert_eq!(
        (counts(&report), &report["held"]),
        ([1, 0, 1, 0, 0], &json!(11)),
        "{report}"
    );
    let listed = app.get(SOURCES).key(KEY).send().await.json();
    assert_eq!(listed["sources"][0]["last_sync"]["held"], 11);
    assert_eq!(titles(&app, KEY).await.len(), 13);
    // Who may not sync it may not allow anything either.
    let allow = json!({ "allow_deletions": true });
    let asked = async |key: &str| {
        let call = app.call("POST", &format!("{path}/sync")).key(key);
        call.json(&allow).send().await
    };
    let reader = key(&app, "default", "reader", &["x"]).await;
    asked(&reader).await.problem(403, "forbidden");
    for (tenant, role, department) in [("default", "writer", "y"), ("other", "admin", "x")] {
        let outsider = key(&app, tenant, role, &[department]).await;
        asked(&outsider).await.problem(404, "not_found");
    }
    for wrong in [
        json!({ "allow_deletion": true }),
        json!({ "allow_deletions": "yes" }),
        json!([1]),
    ] {
        let call = app.call("POST", &format!("{path}/sync")).key(KEY);
        let answer = call.json(&wrong).send().await;
        assert_eq!(answer.status, 422, "{wrong}: {}", answer.text());
    }
    assert_eq!(titles(&app, KEY).await.len(), 13);
    let report = sync_with(&app, &path, &json!({ "allow_deletions": false })).await;
    assert_eq!(report["state"], "held");
    let report = sync_with(&app, &path, &allow).await;
    assert_eq!(
        (counts(&report), &report["held"]),
        ([0, 0, 2, 11, 0], &json!(0)),
        "{report}"
    );
    assert_eq!(titles(&app, KEY).await, ["11", "new"]);
}

#[tokio::test]
async fn a_document_whose_job_failed_stays_a_failure_of_its_source() {
    let (app, root) = (TestApp::keyed(), tempfile::tempdir().unwrap());
    std::fs::write(root.path().join("a.txt"), "The lamp is red.").unwrap();
    std::fs::write(root.path().join("empty.txt"), " ").unwrap();
    let path = add(&app, &folder("handbook", root.path(), &["everyone"])).await;
    sync(&app, &path).await;
    for _ in 0..2 {
        let shown = app.get(&path).key(KEY).send().await.json();
        let report = &shown["last_sync"];
        assert_eq!(
            (&report["failed"], &report["state"]),
            (&json!(1), &json!("succeeded")),
            "{shown}"
        );
        let failure = &report["failures"][0];
        assert!(text(&failure["uri"]).ends_with("/empty.txt"), "{shown}");
        assert_eq!(failure["error"]["code"], "no_text", "{shown}");
        let listed = app.get(SOURCES).key(KEY).send().await.json();
        assert_eq!(listed["sources"][0]["last_sync"]["failed"], 1);
        assert_eq!(counts(&sync(&app, &path).await), [0, 0, 2, 0, 1]);
    }
    std::fs::write(root.path().join("empty.txt"), "Now it says something.").unwrap();
    sync(&app, &path).await;
    let shown = app.get(&path).key(KEY).send().await.json();
    assert_eq!(
        (&shown["last_sync"]["failed"], &shown["last_sync"]["failures"]),
        (&json!(0), &json!([]))
    );
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
    app.get(SOURCES).key(&reader).send().await.problem(403, "forbidden");
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
    let asked = app.post(SOURCES, &wanted(settings.clone())).key(&writer).send().await;
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
    assert_eq!((made.status, &made.json()["readers"]), (201, &json!(["everyone"])));
}

#[tokio::test]
async fn the_own_network_is_no_web_unless_the_settings_say_so() {
    let app = TestApp::keyed();
    let writer = key(&app, "default", "writer", &["x"]).await;
    let wanted =
        |url: &str| json!({ "name": "site", "kind": "web", "settings": { "urls": [url] }, "readers": ["dept:x"] });
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
        let problem = app.post(SOURCES, &wanted).key(KEY).send().await.problem(status, code);
        assert!(problem.to_string().contains(pointer), "{problem}");
    };
    refused(json!({"kind": "ftp"}), 422, "bad_field", "/settings").await;
    refused(json!({"settings": {"path": "relative"}}), 422, "bad_field", "/settings").await;
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
        .acquire_permit(text(&json!(path)).rsplit('/').next().unwrap().parse().unwrap())
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
    assert_eq!((&changed["schedule"], &changed["paused"]), (&Value::Null, &json!(true)));
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
