//! API keys over the real router: what each one allows, beside one that is refused.

use std::sync::Arc;
use std::time::Duration;

use ragstone_adapters::catalogue::sqlite::SqliteCatalogue;
use ragstone_adapters::sqlite::SqliteDatabase;
use ragstone_core::access::{Reader, ReaderSet, Role};
use ragstone_core::id::TenantId;
use ragstone_core::seam::keys::EntropySource;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::http::auth::{ApiKeyring, NewKey};
use crate::http::test_app::{Answer, KEY, TestApp};
use crate::http::{AdminKey, HttpSettings};

const KEYS: &str = "/api/v1/keys";
const DOCUMENTS: &str = "/api/v1/documents";

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// What a key of this text is answered when it asks for the list of documents.
async fn list(app: &TestApp, key: &str) -> Answer {
    app.get(DOCUMENTS).key(key).send().await
}

async fn opens(app: &TestApp, key: &Value, opens: bool) {
    let answer = list(app, text(key)).await;
    match opens {
        true => assert_eq!(answer.status, 200, "{}", answer.text()),
        false => drop(answer.problem(401, "unauthorized")),
    }
}

fn reader() -> Value {
    json!({"name": "r", "role": "reader"})
}

fn path(key: &Value) -> String {
    format!("{KEYS}/{}", text(&key["id"]))
}

#[tokio::test]
async fn the_first_key_closes_the_api_at_once_and_for_good() {
    let app = TestApp::new();
    assert_eq!(app.get(DOCUMENTS).send().await.status, 200);
    let issued = app.issue(&reader()).await;
    let closed = async || {
        for path in [DOCUMENTS, KEYS, "/metrics", "/docs", "/nowhere"] {
            app.get(path).send().await.problem(401, "unauthorized");
        }
        assert_eq!(app.get("/healthz").send().await.status, 200);
        let operator = app.get(DOCUMENTS).through_operator_door().send().await;
        assert_eq!(operator.status, 200);
    };
    closed().await;
    opens(&app, &issued["key"], true).await;
    let revoked = app.call("DELETE", &path(&issued)).through_operator_door();
    let revoked = revoked.send().await;
    assert_eq!(
        (revoked.status, &revoked.json()["live"]),
        (200, &json!(false)),
        "{}",
        revoked.text()
    );
    let refused = list(&app, text(&issued["key"])).await.problem(401, "unauthorized");
    assert_eq!(refused["detail"], "the key was revoked");
    closed().await;
}

#[tokio::test]
async fn a_key_from_far_away_is_let_in_and_its_twin_is_not() {
    let app = TestApp::new();
    let issued = app.issue(&reader()).await;
    let far = |key: &str| {
        app.get(DOCUMENTS)
            .key(key)
            .from([192, 168, 1, 7])
            .header("host", "x.example")
    };
    assert_eq!(far(text(&issued["key"])).send().await.status, 200);
    far("rgs_x").send().await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_key_is_shown_once() {
    let app = TestApp::new();
    let wanted = json!({
        "name": "robot", "role": "writer", "tenant": "acme", "departments": ["x", "y"], "groups": ["g"],
        "user": "ada", "expires_at": "2031-05-06T07:08:09Z",
    });
    let issued = app.issue(&wanted).await;
    let secret = text(&issued["key"]).rsplit('_').next().unwrap().to_owned();
    assert_eq!(secret.len(), 64);
    let listed = app.get(KEYS).through_operator_door().send().await;
    assert!(
        !listed.text().contains(&secret) && !listed.text().contains("rgs_"),
        "{}",
        listed.text()
    );
    let listed = listed.json();
    let mut shown = issued.clone();
    shown.as_object_mut().unwrap().remove("key");
    assert_eq!(
        listed,
        json!({"keys": [shown.clone()], "next_cursor": null}),
        "all but the secret"
    );
    shown.as_object_mut().unwrap().remove("id");
    shown.as_object_mut().unwrap().remove("created_at");
    assert_eq!(
        shown,
        json!({
            "name": "robot", "role": "writer", "tenant": "acme", "subject": "ada", "live": true,
            "readers": ["dept:x", "dept:y", "group:g", "user:ada"], "expires_at": "2031-05-06T07:08:09.000Z",
            "revoked_at": null, "last_used_at": null, "successor": null,
        })
    );
    let nameless = app.issue(&reader()).await;
    assert_eq!(text(&nameless["subject"]), format!("key:{}", text(&nameless["id"])));
}

#[tokio::test]
async fn each_role_may_what_it_says_and_no_more() {
    let app = TestApp::new();
    let document = json!({"uri": "a", "text": "a", "readers": ["everyone"]});
    for (role, may_write, may_manage) in [("reader", false, false), ("writer", true, false), ("admin", true, true)] {
        let key = app.issue(&json!({"name": role, "role": role})).await;
        let key = text(&key["key"]);
        assert_eq!(list(&app, key).await.status, 200);
        let written = app.post(DOCUMENTS, &document).key(key).send().await;
        match may_write {
            true => assert!(written.status < 300, "{}", written.text()),
            false => drop(written.problem(403, "forbidden")),
        }
        let named = json!({"name": "n", "role": "reader"});
        for (call, done) in [
            (app.get(KEYS), 200),
            (app.post(KEYS, &named), 201),
            (app.get("/metrics"), 200),
        ] {
            let answer = call.key(key).send().await;
            match may_manage {
                true => assert_eq!(answer.status, done, "{}", answer.text()),
                false => drop(answer.problem(403, "forbidden")),
            }
        }
        let gone = app.call("DELETE", &format!("{KEYS}/0000000000000000")).key(key);
        let gone = gone.send().await;
        match may_manage {
            true => gone.problem(404, "not_found"),
            false => gone.problem(403, "forbidden"),
        };
    }
}

#[tokio::test]
async fn wrong_wishes_are_refused_with_their_place() {
    let app = TestApp::new();
    let check = async |wish: Value, code: &str, pointer: Option<&str>| {
        let mut body = reader();
        for (field, value) in wish.as_object().unwrap() {
            body[field] = value.clone();
        }
        let problem = app.post(KEYS, &body).send().await.problem(422, code);
        assert_eq!(problem["pointer"].as_str(), pointer, "{problem}");
    };
    check(json!({"name": " "}), "bad_field", Some("/name")).await;
    check(json!({"name": "a\nb"}), "bad_field", Some("/name")).await;
    check(json!({"name": "n".repeat(257)}), "bad_field", Some("/name")).await;
    check(json!({"role": "owner"}), "bad_body", Some("/role")).await;
    check(json!({"tenant": "a b"}), "bad_body", Some("/tenant")).await;
    check(json!({"department": ["x"]}), "bad_body", Some("/department")).await;
    check(json!({"departments": ["x", " "]}), "bad_reader", Some("/departments/1")).await;
    check(json!({"groups": [""]}), "bad_reader", Some("/groups/0")).await;
    check(json!({"user": "a\u{0}"}), "bad_reader", Some("/user")).await;
    check(json!({"groups": vec!["g"; 1_001]}), "bad_field", None).await;
    let seconds = Some("/expires_in_seconds");
    check(json!({"expires_in_seconds": 0}), "bad_field", seconds).await;
    check(json!({"expires_in_seconds": 315_360_001}), "bad_field", seconds).await;
    check(json!({"expires_in_seconds": u64::MAX}), "bad_field", seconds).await;
    let moment = Some("/expires_at");
    check(json!({"expires_at": "tomorrow"}), "bad_field", moment).await;
    check(json!({"expires_at": "2001-01-01T00:00:00Z"}), "bad_field", moment).await;
    check(json!({"expires_at": "2999-01-01T00:00:00Z"}), "bad_field", moment).await;
    let both = json!({"expires_at": "2030-01-01T00:00:00Z", "expires_in_seconds": 5});
    check(both, "bad_field", moment).await;
    assert_eq!(app.get(KEYS).send().await.json()["keys"], json!([]), "nothing was made");
    app.get(&format!("{KEYS}?cursor=x"))
        .send()
        .await
        .problem(400, "bad_cursor");
    app.get(&format!("{KEYS}?tenant=a%20b"))
        .send()
        .await
        .problem(400, "bad_query");
}

/// The clock of these tests advances a second each time it is read.
#[tokio::test]
async fn an_expired_key_is_refused() {
    let app = TestApp::new();
    let issued = app
        .issue(&json!({"name": "r", "role": "reader", "expires_in_seconds": 5}))
        .await;
    let key = text(&issued["key"]);
    assert_eq!(list(&app, key).await.status, 200);
    for _ in 0..5 {
        list(&app, key).await;
    }
    let refused = list(&app, key).await.problem(401, "unauthorized");
    assert_eq!(refused["detail"], "the key has expired");
    let rotated = app.call("POST", &format!("{}/rotate", path(&issued)));
    let rotated = rotated.through_operator_door().send().await;
    rotated.problem(409, "key_ended");
}

#[tokio::test]
async fn a_rotated_key_gives_way_to_its_successor() {
    let app = TestApp::new();
    let rotate = async |key: &Value, body: Option<Value>| {
        let call = app
            .call("POST", &format!("{}/rotate", path(key)))
            .through_operator_door();
        match body {
            Some(body) => call.json(&body).send().await,
            None => call.send().await,
        }
    };
    let first = app.issue(&json!({"name": "r", "role": "reader", "user": "ada"})).await;
    opens(&app, &first["key"], true).await;
    let second = rotate(&first, None).await;
    assert_eq!(second.status, 200, "{}", second.text());
    let second = second.json();
    opens(&app, &first["key"], false).await;
    opens(&app, &second["key"], true).await;
    for same in ["name", "tenant", "role", "readers", "subject", "expires_at"] {
        assert_eq!(first[same], second[same]);
    }
    rotate(&first, None).await.problem(409, "key_ended");

    let third = rotate(&second, Some(json!({"grace_seconds": 3_600}))).await.json();
    opens(&app, &second["key"], true).await;
    opens(&app, &third["key"], true).await;
    let listed = app.get(KEYS).through_operator_door().send().await.json();
    assert_eq!(listed["keys"][1]["successor"], third["id"]);
    rotate(&second, None).await.problem(409, "key_ended");
    app.call("DELETE", &path(&second)).through_operator_door().send().await;
    opens(&app, &second["key"], false).await;
    opens(&app, &third["key"], true).await;

    let nobody = json!({"id": "0000000000000000"});
    rotate(&nobody, None).await.problem(404, "not_found");
    rotate(&json!({"id": "x"}), None).await.problem(404, "not_found");
    let too_long = rotate(&third, Some(json!({"grace_seconds": 2_592_001}))).await;
    assert_eq!(too_long.problem(422, "bad_field")["pointer"], "/grace_seconds");
    rotate(&third, Some(json!({"grace": 1}))).await.problem(422, "bad_body");
    opens(&app, &third["key"], true).await;
}

#[tokio::test]
async fn an_administrator_manages_its_own_tenant_and_the_first_key_all() {
    let app = TestApp::keyed();
    let issue = async |by: &str, tenant: Option<&str>| {
        let mut body = json!({"name": "n", "role": "admin"});
        if let Some(tenant) = tenant {
            body["tenant"] = json!(tenant);
        }
        app.post(KEYS, &body).key(by).send().await
    };
    let a = issue(KEY, Some("a")).await.json();
    let b = issue(KEY, Some("b")).await.json();
    let (a_key, b_key) = (text(&a["key"]), text(&b["key"]));
    assert_eq!(issue(KEY, None).await.json()["tenant"], "default");
    assert_eq!(issue(a_key, None).await.json()["tenant"], "a");
    assert_eq!(issue(a_key, Some("a")).await.json()["tenant"], "a");
    for other in ["b", "default"] {
        issue(a_key, Some(other)).await.problem(403, "forbidden");
        let query = format!("{KEYS}?tenant={other}");
        app.get(&query).key(a_key).send().await.problem(403, "forbidden");
    }
    let tenants = async |by: &str, query: &str| -> Vec<String> {
        let listed = app.get(&format!("{KEYS}{query}")).key(by).send().await.json();
        let keys = listed["keys"].as_array().unwrap().iter();
        keys.map(|key| text(&key["tenant"]).to_owned()).collect()
    };
    assert_eq!(tenants(a_key, "").await, ["a", "a", "a"]);
    assert_eq!(tenants(b_key, "?tenant=b").await, ["b"]);
    assert_eq!(tenants(KEY, "").await, ["a", "b", "default", "a", "a"]);
    assert_eq!(tenants(KEY, "?tenant=b").await, ["b"]);
    let of_b = path(&b);
    for (method, path) in [("DELETE", of_b.clone()), ("POST", format!("{of_b}/rotate"))] {
        let foreign = app.call(method, &path).key(a_key).send().await;
        let nowhere = app.call(method, &path.replace(text(&b["id"]), "0000000000000000"));
        let nowhere = nowhere.key(a_key).send().await;
        assert_eq!(
            foreign.problem(404, "not_found")["detail"],
            nowhere.problem(404, "not_found")["detail"]
        );
    }
    opens(&app, &b["key"], true).await;
    app.get("/metrics").key(a_key).send().await.problem(403, "forbidden");
    assert_eq!(app.get("/metrics").key(KEY).send().await.status, 200);
    let revoked = app.call("DELETE", &of_b).key(KEY).send().await;
    assert_eq!(revoked.status, 200);
    opens(&app, &b["key"], false).await;
    opens(&app, &a["key"], true).await;
}

#[tokio::test]
async fn unknown_ids_and_wrong_secrets_are_refused_alike() {
    let app = TestApp::new();
    let issued = app.issue(&reader()).await;
    let (key, id) = (text(&issued["key"]), text(&issued["id"]));
    let zeros = "0".repeat(64);
    let mut details = Vec::new();
    for wrong in [
        format!("rgs_{id}_{zeros}"),
        key.replace(id, "0000000000000000"),
        format!("rgs_0000000000000000_{zeros}"),
        format!("{key}0"),
        key[..key.len() - 1].to_owned(),
        key.to_uppercase(),
        "rgs_".into(),
        "a.b.c".into(),
    ] {
        let refused = list(&app, &wrong).await.problem(401, "unauthorized");
        details.push(text(&refused["detail"]).to_owned());
    }
    details.dedup();
    assert_eq!(details, ["the key is not known here"]);
    opens(&app, &issued["key"], true).await;
    for query in ["key", "ticket", "access_token"] {
        let path = format!("{DOCUMENTS}?{query}={key}");
        app.get(&path).send().await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_ticket_dies_with_its_key() {
    let app = TestApp::new();
    let issued = app.issue(&reader()).await;
    let ticket = async || {
        let call = app.post("/api/v1/stream-tickets", &json!({})).key(text(&issued["key"]));
        let answer = call.send().await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let ticket = text(&answer.json()["ticket"]).to_owned();
        format!("/api/v1/ask-stream?query=&ticket={ticket}&last_event_id=nothing")
    };
    let (living, orphan) = (ticket().await, ticket().await);
    app.get(&living).send().await.problem(404, "stream_unknown");
    app.call("DELETE", &path(&issued)).through_operator_door().send().await;
    app.get(&orphan).send().await.problem(401, "unauthorized");
}

#[tokio::test]
async fn everyone_reads_by_default_until_there_is_a_key() {
    let document = |uri: &str| json!({"uri": uri, "text": uri});
    let check = async |settings: HttpSettings, before: bool, after: bool| {
        let app = TestApp::with(settings);
        for (issued, allowed) in [(false, before), (true, after)] {
            if issued {
                app.issue(&reader()).await;
            }
            let sent = app
                .post(DOCUMENTS, &document(&issued.to_string()))
                .through_operator_door();
            let sent = sent.send().await;
            match allowed {
                true => assert_eq!(sent.json()["document"]["readers"], json!(["everyone"])),
                false => drop(sent.problem(422, "readers_required")),
            }
        }
    };
    check(HttpSettings::default(), true, false).await;
    let given = |readers: &[Reader]| HttpSettings {
        default_readers: Some(readers.iter().cloned().collect()),
        ..HttpSettings::default()
    };
    check(given(&[Reader::everyone()]), true, true).await;
    check(given(&[]), false, false).await;
    let first_key = HttpSettings {
        admin_key: Some(AdminKey::new(KEY).unwrap()),
        ..HttpSettings::default()
    };
    check(first_key, false, false).await;
}

#[tokio::test]
async fn a_use_is_noted() {
    let app = TestApp::new();
    let issued = app.issue(&reader()).await;
    opens(&app, &issued["key"], true).await;
    let noted = async {
        loop {
            let listed = app.get(KEYS).through_operator_door().send().await.json();
            if listed["keys"][0]["last_used_at"].is_string() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noted)
        .await
        .expect("it is noted behind the answer");
}

/// Two processes over one catalogue: a key revoked by one is accepted by the other for two seconds and no longer.
#[tokio::test(start_paused = true)]
async fn another_process_refuses_what_was_revoked_within_its_trust() {
    let store = Arc::new(SqliteCatalogue::open(SqliteDatabase::in_memory().unwrap()).unwrap());
    let entropy: EntropySource = Arc::new(|| [7; 32]);
    let ring = || {
        let clock = Arc::new(|| OffsetDateTime::UNIX_EPOCH);
        ApiKeyring::new(store.clone(), entropy.clone(), clock)
    };
    let (here, there) = (ring(), ring());
    assert!(!there.has_keys().await.unwrap());
    let new = NewKey {
        name: "n".into(),
        tenant: TenantId::default(),
        role: Role::Reader,
        readers: ReaderSet::new(),
        subject: None,
        expires_at: None,
    };
    let (key, secret) = here.create_key(new).await.unwrap();
    let text = secret.reveal();
    assert!(here.has_keys().await.unwrap());
    there.verify_key(&text).await.unwrap();
    here.verify_key(&text).await.unwrap();
    here.revoke_key(None, key.id).await.unwrap();
    here.verify_key(&text).await.unwrap_err();
    tokio::time::advance(Duration::from_millis(1_999)).await;
    there.verify_key(&text).await.unwrap();
    assert!(!there.are_keys_known());
    tokio::time::advance(Duration::from_millis(1)).await;
    there.verify_key(&text).await.unwrap_err();
    assert!(there.has_keys().await.unwrap());
}
