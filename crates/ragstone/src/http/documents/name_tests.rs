//! Names belong to their uploaders, and no upload replaces another document unless it says so.

use std::sync::Arc;

use ragstone_core::seam::fake::TextParser;
use serde_json::{Value, json};

use crate::http::test_app::{Answer, Fittings, TestApp};

const DOCUMENTS: &str = "/api/v1/documents";
/// A mail with a file in it, as the tests' parser reads it.
const MAIL: &str = "Dear all, see the file.\x1eplan.txt\nThe harvest begins in June.";

async fn key(app: &TestApp, user: &str, role: &str) -> String {
    let new = json!({"name": user, "role": role, "user": user, "departments": ["x"]});
    app.issue(&new).await["key"].as_str().unwrap().to_owned()
}

async fn file(app: &TestApp, key: &str, name: &str, text: &str, fields: &[(&str, &str)]) -> Answer {
    let fields = fields.iter().map(|(field, value)| (*field, None, *value));
    let parts: Vec<_> = [("readers", None, r#"["dept:x"]"#)]
        .into_iter()
        .chain(fields)
        .chain([("file", Some(name), text)])
        .collect();
    app.call("POST", DOCUMENTS).key(key).form(&parts).send().await
}

async fn text(app: &TestApp, key: &str, body: Value) -> Answer {
    let mut body = body;
    body["readers"] = json!(["dept:x"]);
    app.post(DOCUMENTS, &body).key(key).send().await
}

#[tokio::test]
async fn a_second_file_of_a_name_takes_no_place_unless_it_says_so() {
    let app = TestApp::keyed();
    let ada = key(&app, "ada", "writer").await;
    let first = file(&app, &ada, "README.md", "Project A uses port 8001.", &[]).await;
    assert_eq!(first.status, 202, "{}", first.text());
    app.work().await;
    let refused = file(&app, &ada, "README.md", "Project B uses port 9002.", &[]).await;
    let refused = refused.problem(409, "name_taken");
    assert!(refused["hint"].as_str().unwrap().contains("replace=true"), "{refused}");
    file(&app, &ada, "README.md", "Project B.", &[("replace", "false")])
        .await
        .problem(409, "name_taken");
    file(&app, &ada, "README.md", "Project B.", &[("replace", "yes")])
        .await
        .problem(422, "bad_field");
    app.work().await;
    let found = app
        .post("/api/v1/search", &json!({"query": "port"}))
        .key(&ada)
        .send()
        .await;
    assert!(found.text().contains("8001"), "{}", found.text());
    // Nothing of what was refused is left.
    let kept = app.blob_keys().await;
    let files = kept.iter().filter(|key| !key.contains("/recover/"));
    assert_eq!(files.count(), 2, "{kept:?}");

    // The same bytes are the same document, another name is another one.
    let same = file(&app, &ada, "README.md", "Project A uses port 8001.", &[]).await;
    assert_eq!(same.status, 200, "{}", same.text());
    let beside = [("uri", "project-b/README.md")];
    let other = file(&app, &ada, "README.md", "Project B uses port 9002.", &beside).await;
    assert_eq!(other.status, 202, "{}", other.text());
    let renewed = file(
        &app,
        &ada,
        "README.md",
        "Project A uses port 8003.",
        &[("replace", "true")],
    )
    .await;
    assert_eq!(
        (renewed.status, &renewed.json()["document"]["version"]),
        (202, &json!(2))
    );
    // Somebody else's file of that name is another document.
    let bob = key(&app, "bob", "writer").await;
    assert_eq!(file(&app, &bob, "README.md", "Bob's.", &[]).await.status, 202);
    // Of several files each stands for itself.
    let parts = [
        ("readers", None, r#"["dept:x"]"#),
        ("file", Some("README.md"), "Others."),
        ("file", Some("b.md"), "New."),
    ];
    let several = app.call("POST", DOCUMENTS).key(&ada).form(&parts).send().await.json();
    assert_eq!(several["documents"][0]["error"]["code"], "name_taken");
    assert_eq!(several["documents"][1]["document"]["status"], "pending");
}

#[tokio::test]
async fn a_uri_in_json_is_replaced_unless_that_is_refused() {
    let app = TestApp::keyed();
    let ada = key(&app, "ada", "writer").await;
    let send = async |words: &str, replace: Value| {
        text(&app, &ada, json!({"uri": "a", "text": words, "replace": replace})).await
    };
    assert_eq!(send("one", Value::Null).await.status, 202);
    send("two", json!(false)).await.problem(409, "name_taken");
    assert_eq!(send("one", json!(false)).await.status, 200);
    assert_eq!(send("two", Value::Null).await.status, 202);
    assert_eq!(send("three", json!(true)).await.status, 202);
}

#[tokio::test]
async fn the_uploads_of_a_person_are_no_place_for_others() {
    let app = TestApp::keyed();
    let (ada, eve) = (key(&app, "ada", "writer").await, key(&app, "eve", "writer").await);
    let admin = key(&app, "root", "admin").await;
    let send = async |key: &str, uri: &str| text(&app, key, json!({"uri": uri, "text": uri})).await;
    for uri in [
        "upload://ada/offer.pdf",
        "upload://ADA/offer.pdf",
        "upload://%61da/offer.pdf",
    ] {
        // Whether or not ada has such a document.
        send(&eve, uri).await.problem(409, "uri_taken");
        let own = send(&ada, uri).await;
        assert!(own.status < 300, "{}", own.text());
        assert_eq!(own.json()["document"]["uri"], "upload://ada/offer.pdf");
        send(&eve, uri).await.problem(409, "uri_taken");
    }
    let operator = send(&admin, "upload://ada/other.pdf").await;
    assert_eq!(operator.status, 202, "{}", operator.text());
    let form = [("uri", "upload://ada/x.txt")];
    file(&app, &eve, "x.txt", "x", &form).await.problem(409, "uri_taken");
    assert!(app.blob_keys().await.iter().all(|key| !key.contains("eve")));
}

#[tokio::test]
async fn a_file_in_a_mail_is_named_and_changed_with_its_mail_only() {
    let fittings = Fittings {
        parser: Some(Arc::new(TextParser)),
        ..Fittings::default()
    };
    let app = TestApp::fitted(TestApp::keyed_settings(), fittings);
    let (ada, admin) = (key(&app, "ada", "writer").await, key(&app, "root", "admin").await);
    for (key, uri) in [(&ada, "m.eml#attachment/1/plan.txt"), (&admin, "m.eml#Attachment/1/x")] {
        let refused = text(&app, key, json!({"uri": uri, "text": "mine"})).await;
        assert_eq!(refused.problem(422, "uri_reserved")["pointer"], "/uri");
    }
    let sent = text(&app, &ada, json!({"uri": "m.eml", "text": MAIL})).await.json();
    let mail = sent["document"]["id"].as_str().unwrap().to_owned();
    app.work().await;
    let list = app.get(DOCUMENTS).key(&ada).send().await.json();
    let within = list["documents"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] != mail.as_str());
    let path = format!("{DOCUMENTS}/{}", within.expect("the file")["id"].as_str().unwrap());
    for key in [&ada, &admin] {
        for method in ["PATCH", "DELETE"] {
            let call = app.call(method, &path).key(key).json(&json!({"title": "Mine"}));
            let refused = call.send().await.problem(409, "mail_document");
            assert_eq!(refused["mail"], mail.as_str());
            assert!(refused["hint"].as_str().unwrap().contains(&mail), "{refused}");
        }
    }
    // A caller who may not read it learns nothing about it.
    let eve = json!({"name": "eve", "role": "writer", "user": "eve"});
    let eve = app.issue(&eve).await["key"].as_str().unwrap().to_owned();
    for method in ["PATCH", "DELETE"] {
        let call = app.call(method, &path).key(&eve).json(&json!({"title": "Mine"}));
        call.send().await.problem(404, "not_found");
    }
    let patched = app.call("PATCH", &format!("{DOCUMENTS}/{mail}")).key(&ada);
    let patched = patched.json(&json!({"metadata": {"year": 2024}})).send().await;
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_eq!(app.get(&path).key(&ada).send().await.json()["metadata"]["year"], 2024);
    let deleted = app
        .call("DELETE", &format!("{DOCUMENTS}/{mail}"))
        .key(&ada)
        .send()
        .await;
    assert_eq!(deleted.status, 202);
    app.get(&path).key(&ada).send().await.problem(404, "not_found");
}
