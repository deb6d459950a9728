//! Feedback on answers: who may give it, on which answers, and who can read it.

use ragstone_core::access::Role;
use serde_json::{Value, json};

use super::FeedbackSettings;
use crate::http::HttpSettings;
use crate::http::test_app::{Answer, Fittings, TestApp, caller};

const ASK: &str = "/api/v1/ask";
const FEEDBACK: &str = "/api/v1/feedback";

/// An interface that answers from a document which the lab of `acme` reads.
async fn world(feedback: FeedbackSettings) -> TestApp {
    let settings = HttpSettings {
        feedback,
        ..HttpSettings::default()
    };
    let fittings = Fittings {
        quotes: true,
        ..Fittings::default()
    };
    let app = TestApp::fitted(settings, fittings);
    let writer = app.seen_by(|| caller("acme", &[], Role::Admin));
    let body = json!({"uri": "a", "text": "The zebra lives in the attic.", "readers": ["dept:lab"]});
    assert_eq!(writer.post("/api/v1/documents", &body).send().await.status, 202);
    app.work().await;
    app
}

async fn key(app: &TestApp, tenant: &str, role: &str) -> String {
    let new = json!({"name": "n", "role": role, "tenant": tenant, "departments": ["lab"]});
    app.issue(&new).await["key"].as_str().unwrap().to_owned()
}

/// Asks, and gives the answer's trace.
async fn asked(app: &TestApp, key: &str, stream: bool) -> String {
    let body = json!({"question": "Where does the zebra live?", "stream": stream});
    let answer = app.post(ASK, &body).key(key).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let done = match stream {
        true => answer.frames().last().unwrap().2.clone(),
        false => answer.json(),
    };
    assert_eq!(done["answered"], true, "{done}");
    done["trace_id"].as_str().unwrap().to_owned()
}

async fn give(app: &TestApp, key: &str, body: Value) -> Answer {
    app.post(FEEDBACK, &body).key(key).send().await
}

async fn listed(app: &TestApp, key: &str) -> Vec<Value> {
    let answer = app.get(FEEDBACK).key(key).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["feedback"].as_array().unwrap().clone()
}

#[tokio::test]
async fn who_asked_says_something_and_its_administrator_is_told() {
    let app = world(FeedbackSettings::default()).await;
    let (ann, admin) = (key(&app, "acme", "reader").await, key(&app, "acme", "admin").await);
    for stream in [false, true] {
        let trace = asked(&app, &ann, stream).await;
        let said = json!({"trace_id": trace, "rating": "down", "comment": "no", "correct_answer": "In the cellar."});
        let noted = give(&app, &ann, said).await;
        assert_eq!((noted.status, &noted.json()["rating"]), (200, &json!("down")));
        let told = listed(&app, &admin).await.pop().unwrap();
        assert_eq!(told["trace_id"], trace.as_str());
        assert_eq!(told["question"], "Where does the zebra live?");
        assert_eq!(told["answer"], "The zebra lives in the attic.");
        assert_eq!(told["citations"], json!([{"uri": "a", "page": 1}]));
        assert_eq!(told["readers"], json!(["dept:lab", "everyone"]));
        assert_eq!(told["correct_answer"], "In the cellar.");
        // A later word takes the place of an earlier one.
        let again = give(&app, &ann, json!({"trace_id": trace, "rating": "up"})).await;
        assert_eq!(again.status, 200);
        let told = listed(&app, &admin).await.pop().unwrap();
        assert_eq!((&told["rating"], &told["comment"]), (&json!("up"), &Value::Null));
    }
    assert_eq!(listed(&app, &admin).await.len(), 2);
}

#[tokio::test]
async fn for_everybody_else_there_is_no_such_answer() {
    let app = world(FeedbackSettings::default()).await;
    let (ann, admin) = (key(&app, "acme", "reader").await, key(&app, "acme", "admin").await);
    let trace = asked(&app, &ann, false).await;
    let others = [
        key(&app, "acme", "reader").await,
        key(&app, "acme", "writer").await,
        admin.clone(),
        key(&app, "beta", "admin").await,
    ];
    let up = |trace: &str| json!({"trace_id": trace, "rating": "up"});
    let remove = async |key: &str| {
        let call = app.call("DELETE", &format!("{FEEDBACK}/{trace}")).key(key);
        call.send().await
    };
    for other in &others {
        give(&app, other, up(&trace)).await.problem(404, "not_found");
    }
    assert!(
        listed(&app, &admin).await.is_empty(),
        "nothing is kept that nobody said anything of"
    );
    give(&app, &ann, up("00000000-0000-0000-0000-0000000000ff"))
        .await
        .problem(404, "not_found");
    assert_eq!(give(&app, &ann, up(&trace)).await.status, 200);
    // Neither a lower role nor another tenant's administrator can read or delete it.
    for lesser in [&ann, &others[1]] {
        let refused = app.get(FEEDBACK).key(lesser).send().await;
        refused.problem(403, "forbidden");
    }
    assert!(listed(&app, &others[3]).await.is_empty());
    for other in [&others[0], &others[3]] {
        remove(other).await.problem(404, "not_found");
    }
    assert_eq!(remove(&ann).await.status, 204);
    remove(&admin).await.problem(404, "not_found");
    assert_eq!(give(&app, &ann, up(&trace)).await.status, 200, "it is remembered yet");
    assert_eq!(remove(&admin).await.status, 204);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let app = world(FeedbackSettings::default()).await;
    let ann = key(&app, "acme", "reader").await;
    let trace = asked(&app, &ann, false).await;
    for (body, code) in [
        (json!({"trace_id": trace}), "bad_field"),
        (json!({"trace_id": trace, "comment": " "}), "bad_field"),
        (json!({"trace_id": trace, "comment": "a".repeat(4_097)}), "bad_field"),
        (
            json!({"trace_id": trace, "correct_answer": "a".repeat(16_385)}),
            "bad_field",
        ),
        (json!({"trace_id": trace, "rating": "sideways"}), "bad_body"),
        (json!({"trace_id": "x", "rating": "up"}), "bad_body"),
        (json!({"trace_id": trace, "rating": "up", "question": "?"}), "bad_body"),
    ] {
        give(&app, &ann, body).await.problem(422, code);
    }
    let path = format!("{FEEDBACK}/nonsense");
    let removed = app.call("DELETE", &path).key(&ann).send().await;
    removed.problem(404, "not_found");
}

/// A kept answer can be rated through any process; one in memory only through its own.
#[tokio::test]
async fn another_process_rates_what_is_kept() {
    for (keep_all, remember, status) in [(true, 0, 200), (false, 60, 404)] {
        let app = world(FeedbackSettings {
            remember_for: std::time::Duration::from_secs(remember),
            keep_all,
        })
        .await;
        let (ann, bob) = (key(&app, "acme", "reader").await, key(&app, "acme", "reader").await);
        let trace = asked(&app, &ann, false).await;
        let another = app.seen_by(|| caller("default", &[], Role::Admin));
        let up = json!({"trace_id": trace, "rating": "up"});
        let rate = async |key: &str| another.post(FEEDBACK, &up).key(key).send().await.status;
        // It is saved in the background, after the answer.
        let mut given = rate(&ann).await;
        for _ in 0..1_000 {
            if given == status {
                break;
            }
            tokio::task::yield_now().await;
            given = rate(&ann).await;
        }
        assert_eq!(given, status);
        assert_eq!(rate(&bob).await, 404);
    }
}

/// The operator can ask as the caller of a question set; nobody else can.
#[tokio::test]
async fn only_the_operator_acts_for_others() {
    let app = world(FeedbackSettings::default()).await;
    let admin = key(&app, "acme", "admin").await;
    let found = async |act_as: &str| {
        let search = app.post("/api/v1/search", &json!({"query": "zebra"}));
        let search = search.header("x-ragstone-act-as", act_as);
        search.through_operator_door().send().await
    };
    for (act_as, passages) in [
        (r#"{"tenant": "acme", "user": "ann", "departments": ["lab"]}"#, 1),
        (r#"{"tenant": "acme", "role": "admin"}"#, 1),
        (r#"{"tenant": "acme", "user": "ann", "groups": ["lab"]}"#, 0),
        (r#"{"tenant": "beta", "departments": ["lab"], "role": "admin"}"#, 0),
        (r#"{"departments": ["lab"]}"#, 0),
    ] {
        let found = found(act_as).await.json();
        assert_eq!(found["passages"].as_array().unwrap().len(), passages, "{act_as}");
    }
    found("nonsense").await.problem(422, "bad_field");
    found(r#"{"user": ""}"#).await.problem(422, "bad_reader");
    let writes = app.post("/api/v1/documents", &json!({"uri": "b", "text": "b"}));
    let writes = writes.header("x-ragstone-act-as", r#"{"tenant": "acme", "user": "ann"}"#);
    let refused = writes.through_operator_door().send().await;
    refused.problem(403, "forbidden");
    let outside = app.post("/api/v1/search", &json!({"query": "zebra"})).key(&admin);
    let refused = outside
        .header("x-ragstone-act-as", r#"{"tenant": "beta"}"#)
        .send()
        .await;
    refused.problem(403, "forbidden");
    let nobody = app
        .get("/api/v1/documents")
        .header("x-ragstone-act-as", "{}")
        .send()
        .await;
    nobody.problem(401, "unauthorized");
}
