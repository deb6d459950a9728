//! Answers as JSON and as streams: complete, broken off, abandoned and resumed.

use std::time::Duration;

use axum::body::Body;
use futures::{StreamExt, stream};
use ragstone_core::ask::{Answer, AnswerEvent, AnswerSentence, Citation};
use ragstone_core::id::{ChunkId, DocumentId, TraceId};
use ragstone_core::seam::chat::TokenUsage;
use ragstone_core::seam::keys::KeyId;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::http::HttpSettings;
use crate::http::auth::jwt::tests::support::{NOW, World};
use crate::http::test_app::{Answer as Sent, TestApp};

const ASK: &str = "/api/v1/ask";
/// The first moment of the tests' interface.
const EPOCH: i64 = 1_700_000_000;
/// Seconds by which clocks may differ, as shipped.
const SKEW: i64 = 60;
const TEXT: &str = "Öl,\r\nzweimal\u{2028}im Jahr 日本 [1].";

fn citation() -> Citation {
    Citation {
        sentence: 0,
        n: 1,
        document_id: DocumentId(Uuid::nil()),
        chunk_id: ChunkId(Uuid::nil()),
        title: "T".into(),
        uri: "a".into(),
        source_url: None,
        page: Some(2),
        section: None,
        range: 3..9,
        quote: "line\nbreak".into(),
        verified: true,
    }
}

fn done() -> AnswerEvent {
    AnswerEvent::Done(Box::new(Answer {
        answer: TEXT.into(),
        answered: true,
        sentences: vec![AnswerSentence {
            text: "Öl.".into(),
            citations: vec![1],
        }],
        citations: vec![citation()],
        sources: vec!["a".into()],
        usage: TokenUsage::default(),
        model: "extractive".into(),
        trace_id: TraceId(Uuid::nil()),
        notices: vec![],
    }))
}

fn failed(code: &str) -> AnswerEvent {
    AnswerEvent::Failed {
        code: code.into(),
        detail: "why".into(),
    }
}

fn whole() -> Vec<AnswerEvent> {
    let delta = |text: &str| AnswerEvent::Delta { text: text.into() };
    let (head, tail) = TEXT.split_at(TEXT.find("im").unwrap());
    vec![
        sources(),
        delta(head),
        AnswerEvent::Citation(citation()),
        delta(tail),
        done(),
    ]
}

fn sources() -> AnswerEvent {
    AnswerEvent::Sources {
        passages: [].into(),
        notices: vec![],
    }
}

fn names(answer: &Sent) -> Vec<String> {
    answer.frames().into_iter().map(|(event, ..)| event).collect()
}

#[tokio::test]
async fn an_answer_is_one_object() {
    let app = TestApp::new();
    for name in ["question", "query"] {
        app.script(stream::iter(whole()));
        let answer = app.post(ASK, &json!({name: "Wie oft?"})).send().await;
        assert_eq!((answer.status, answer.json()["answer"].clone()), (200, json!(TEXT)));
        assert_eq!(answer.json()["citations"][0]["range"], json!([3, 9]));
        assert_eq!(answer.json()["sentences"][0]["citations"], json!([1]));
    }
}

#[tokio::test]
async fn a_stream_tells_the_same_answer_in_frames() {
    let app = TestApp::new();
    let post = |body: Value| app.post(ASK, &body);
    let calls = [
        post(json!({"question": "?", "stream": true})),
        post(json!({"question": "?"})).header("accept", "text/event-stream"),
        app.get("/api/v1/ask-stream?query=%3F&limit=3&mode=lexical"),
    ];
    for call in calls {
        app.script(stream::iter(whole()));
        let answer = call.send().await;
        assert_eq!(
            (answer.header("cache-control"), answer.header("x-accel-buffering")),
            ("no-store", "no")
        );
        assert_eq!(names(&answer), ["sources", "delta", "citation", "delta", "done"]);
        let frames = answer.frames();
        let text: String = frames.iter().filter_map(|(.., data)| data["text"].as_str()).collect();
        assert_eq!(text, TEXT);
        let trace = answer.header("x-request-id").to_owned();
        for (n, (_, id, _)) in (1..).zip(&frames) {
            assert_eq!(id, &format!("{trace}:{n}"));
        }
        assert_eq!(frames[2].2["quote"], "line\nbreak");
        let done = &frames[4].2;
        assert_eq!((done.get("answer"), &done["answered"]), (None, &json!(true)));
    }
    app.script(stream::iter(whole()));
    let json = post(json!({"question": "?", "stream": false}))
        .header("accept", "text/event-stream")
        .send()
        .await;
    assert_eq!(json.header("content-type"), "application/json");
}

#[tokio::test]
async fn what_fails_before_the_first_event_is_a_problem() {
    let app = TestApp::new();
    for (code, status, told) in [
        ("busy", 503, "busy"),
        ("model_busy", 503, "model_busy"),
        ("model_failed", 502, "model_failed"),
        ("model_not_allowed", 422, "model_not_allowed"),
        ("a_code_of_a_library", 422, "bad_question"),
    ] {
        for stream in [true, false] {
            app.script(stream::iter([failed(code)]));
            let answer = app.post(ASK, &json!({"question": "?", "stream": stream}));
            let answer = answer.send().await;
            answer.problem(status, told);
            assert_eq!(answer.headers.contains_key("retry-after"), told == "model_busy");
        }
    }
    app.script(stream::iter([]));
    app.get("/api/v1/ask-stream?query=a")
        .send()
        .await
        .problem(503, "interrupted");
    app.get("/api/v1/ask-stream").send().await.problem(400, "bad_query");
    app.get("/api/v1/ask-stream?query=a&filter=%7B")
        .send()
        .await
        .problem(400, "bad_json");
    let body = json!({"question": "?", "temperature": 3});
    assert_eq!(
        app.post(ASK, &body).send().await.problem(422, "bad_field")["pointer"],
        "/temperature"
    );
    let body = json!({"question": "?", "filter": {"type": "eq"}});
    assert_eq!(
        app.post(ASK, &body).send().await.problem(422, "bad_filter")["pointer"],
        "/filter/key"
    );
}

#[tokio::test]
async fn a_stream_ends_exactly_once() {
    let app = TestApp::new();
    let check = async |events: Vec<AnswerEvent>, expected: &[&str]| {
        app.script(stream::iter(events));
        let answer = app.get("/api/v1/ask-stream?query=a").send().await;
        assert_eq!(names(&answer), expected);
        answer.frames().pop().unwrap().2
    };
    let ended = check(vec![sources(), failed("withdrawn")], &["sources", "failed"]).await;
    assert_eq!(ended["code"], "withdrawn");
    let ended = check(vec![sources()], &["sources", "failed"]).await;
    assert_eq!(ended["code"], "interrupted");
    check(vec![sources(), done(), done(), failed("late")], &["sources", "done"]).await;
}

/// An answer whose events the test sends one by one, and whose end it can wait for.
fn told() -> (
    mpsc::UnboundedSender<AnswerEvent>,
    stream::BoxStream<'static, AnswerEvent>,
    oneshot::Receiver<()>,
) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (alive, dead) = oneshot::channel::<()>();
    let events = async_stream::stream! {
        let _alive = alive;
        while let Some(event) = told.recv().await {
            yield event;
        }
    };
    (tell, events.boxed(), dead)
}

async fn next(body: &mut axum::body::BodyDataStream) -> String {
    String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap()
}

async fn open(app: &TestApp, resumable: bool) -> axum::body::BodyDataStream {
    let response = app
        .get(&format!("/api/v1/ask-stream?query=a&resumable={resumable}"))
        .open()
        .await;
    assert_eq!(response.status(), 200);
    response.into_body().into_data_stream()
}

fn id(frame: &str) -> String {
    frame
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_answer() {
    let app = TestApp::new();
    let (tell, events, dead) = told();
    app.script(events);
    tell.send(sources()).unwrap();
    let mut body = open(&app, false).await;
    let first = id(&next(&mut body).await);
    drop(body);
    assert!(dead.await.is_err(), "the answer's stream is dropped");
    assert!(tell.send(done()).is_err());
    let back = app
        .get("/api/v1/ask-stream?query=a")
        .header("last-event-id", &first)
        .send()
        .await;
    assert_eq!(names(&back), ["failed"]);
    assert_eq!(back.frames()[0].2["code"], "interrupted");
}

#[tokio::test(start_paused = true)]
async fn a_resumable_answer_goes_on_for_a_while() {
    let app = TestApp::new();
    let (tell, events, dead) = told();
    app.script(events);
    tell.send(sources()).unwrap();
    let mut body = open(&app, true).await;
    let first = id(&next(&mut body).await);
    drop(body);
    tokio::time::advance(Duration::from_secs(29)).await;
    tell.send(AnswerEvent::Delta { text: "ü\n".into() }).unwrap();
    let resume = |id: &str| app.get("/api/v1/ask-stream?query=a").header("last-event-id", id);
    let mut body = resume(&first).open().await.into_body().into_data_stream();
    assert!(next(&mut body).await.contains("event: delta"));
    tell.send(done()).unwrap();
    let last = id(&next(&mut body).await);
    assert!(body.next().await.is_none());
    assert!(dead.await.is_err());
    assert_eq!(names(&resume(&first).send().await), ["delta", "done"]);
    assert_eq!(resume(&last).send().await.status, 204);
    let header_less = format!("/api/v1/ask-stream?query=a&last_event_id={first}");
    assert_eq!(names(&app.get(&header_less).send().await), ["delta", "done"]);

    let (tell, events, dead) = told();
    app.script(events);
    tell.send(sources()).unwrap();
    drop(open(&app, true).await);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(dead.await.is_err(), "nobody came back");
}

#[tokio::test(start_paused = true)]
async fn only_who_asked_resumes_and_only_for_a_minute() {
    let app = TestApp::new();
    app.script(stream::iter(whole()));
    let answer = app.get("/api/v1/ask-stream?query=a").send().await;
    let first = answer.frames()[0].1.clone();
    let resume = |app: &TestApp, id: &str| {
        let call = app.get("/api/v1/ask-stream?query=a").header("last-event-id", id);
        let request = call.request;
        let router = app.router.clone();
        async move {
            use tower::ServiceExt;
            router.oneshot(request).await.unwrap().status().as_u16()
        }
    };
    assert_eq!(resume(&app, &first).await, 200);
    let (trace, _) = first.split_once(':').unwrap();
    for id in [
        format!("{trace}:6"),
        format!("{trace}:x"),
        "x".into(),
        format!("{}:1", Uuid::nil()),
    ] {
        assert_eq!(resume(&app, &id).await, 404, "{id}");
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(resume(&app, &first).await, 404);
}

/// A key that is made for a test: its text and its id.
async fn key(app: &TestApp, more: Value) -> (String, KeyId) {
    let mut new = json!({"name": "n", "role": "reader"});
    new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = app.issue(&new).await;
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("key"), text("id").parse().unwrap())
}

#[tokio::test]
async fn an_answer_ends_with_the_key_it_was_asked_with() {
    let app = TestApp::new();
    let check = async |ends: bool, streams: bool, rest: Vec<AnswerEvent>| {
        let ((text, own), (_, other)) = (key(&app, json!({})).await, key(&app, json!({})).await);
        let (keys, revoked) = (app.api.keys.clone(), if ends { own } else { other });
        app.script(async_stream::stream! {
            yield sources();
            keys.revoke_key(None, revoked).await.unwrap();
            for event in rest {
                yield event;
            }
        });
        let body = json!({"question": "?", "stream": streams});
        app.post(ASK, &body).key(&text).send().await
    };
    let cited = || vec![AnswerEvent::Citation(citation()), done()];
    for rest in [cited(), vec![done()]] {
        let ended = check(true, true, rest.clone()).await;
        assert_eq!(names(&ended), ["sources", "failed"]);
        let failed = &ended.frames()[1].2;
        assert_eq!(failed["code"], "unauthorized");
        assert_eq!(failed["detail"], "the key was revoked");
        check(true, false, rest.clone()).await.problem(401, "unauthorized");
        assert_eq!(names(&check(false, true, rest.clone()).await).last().unwrap(), "done");
        assert_eq!(check(false, false, rest).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_answer_ends_with_its_key_too() {
    for ends in [true, false] {
        let app = TestApp::new();
        let (text, id) = key(&app, json!({})).await;
        let (tell, events, dead) = told();
        app.script(events);
        tell.send(sources()).unwrap();
        let call = app.get("/api/v1/ask-stream?query=a").key(&text).open().await;
        let mut body = call.into_body().into_data_stream();
        assert!(next(&mut body).await.contains("event: sources"));
        if ends {
            app.api.keys.revoke_key(None, id).await.unwrap();
        }
        let second = next(&mut body).await;
        match ends {
            true => {
                assert!(
                    second.contains("event: failed") && second.contains("unauthorized"),
                    "{second}"
                );
                assert!(dead.await.is_err(), "the model's call ends");
            }
            false => assert!(second.starts_with(':'), "a heartbeat, not {second}"),
        }
    }
}

#[tokio::test]
async fn an_answer_ends_when_its_key_expires() {
    for (life, end) in [(20, "failed"), (3_000, "done")] {
        let app = TestApp::new();
        let (text, _) = key(&app, json!({"expires_in_seconds": life})).await;
        let clock = app.api.clock.clone();
        app.script(async_stream::stream! {
            yield sources();
            // Each look at the clock of these tests takes a second.
            for _ in 0..30 {
                clock();
            }
            yield done();
        });
        let answer = app.get("/api/v1/ask-stream?query=a").key(&text).send().await;
        assert_eq!(names(&answer), ["sources", end]);
    }
}

/// A world whose issuer's clock and tokens begin with those of the tests' interface.
async fn tokens() -> World {
    let world = World::new().await;
    world.hands.move_wall(EPOCH - NOW);
    world
}

/// A token that ends this many seconds after the first moment, when clocks that differ are allowed for.
fn token(world: &World, life: i64) -> String {
    world.says(json!({"iat": EPOCH, "exp": EPOCH + life - SKEW}))
}

#[tokio::test]
async fn an_answer_ends_when_its_token_expires() {
    for (life, ends) in [(100, true), (3_000, false)] {
        for streams in [true, false] {
            let world = tokens().await;
            let app = TestApp::with(HttpSettings {
                issuers: Some(world.issuers.clone()),
                ..HttpSettings::default()
            });
            let clock = app.api.clock.clone();
            app.script(async_stream::stream! {
                yield sources();
                (0..200).for_each(|_| _ = clock());
                yield done();
            });
            let body = json!({"question": "?", "stream": streams});
            let answer = app.post(ASK, &body).key(&token(&world, life)).send().await;
            match (streams, ends) {
                (true, true) => {
                    assert_eq!(names(&answer), ["sources", "failed"]);
                    let failed = &answer.frames()[1].2;
                    assert_eq!(failed["code"], "unauthorized");
                    assert_eq!(failed["detail"], "the token has expired");
                }
                (true, false) => assert_eq!(names(&answer), ["sources", "done"]),
                (false, true) => drop(answer.problem(401, "unauthorized")),
                (false, false) => assert_eq!(answer.status, 200),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_answer_ends_with_its_token_too() {
    let world = tokens().await;
    let app = TestApp::with(HttpSettings {
        issuers: Some(world.issuers.clone()),
        ..HttpSettings::default()
    });
    let (tell, events, dead) = told();
    app.script(events);
    tell.send(sources()).unwrap();
    let call = app.get("/api/v1/ask-stream?query=a").key(&token(&world, 100));
    let mut body = call.open().await.into_body().into_data_stream();
    assert!(next(&mut body).await.contains("event: sources"));
    (0..200).for_each(|_| _ = (app.api.clock)());
    let second = next(&mut body).await;
    assert!(
        second.contains("event: failed") && second.contains("the token has expired"),
        "{second}"
    );
    assert!(dead.await.is_err(), "the model's call ends");
}

#[tokio::test]
async fn a_ticket_dies_with_its_token() {
    for (life, opens) in [(100, false), (3_000, true)] {
        let world = tokens().await;
        let app = TestApp::with(HttpSettings {
            issuers: Some(world.issuers.clone()),
            ..HttpSettings::default()
        });
        let issued = app.post("/api/v1/stream-tickets", &json!({})).key(&token(&world, life));
        let issued = issued.send().await.json();
        let ticket = issued["ticket"].as_str().unwrap();
        (0..200).for_each(|_| _ = (app.api.clock)());
        let used = app.get(&format!("/api/v1/ask-stream?ticket={ticket}")).send().await;
        match opens {
            // The ticket is accepted; the problem is that the request has no question.
            true => used.problem(400, "bad_query"),
            false => used.problem(401, "unauthorized"),
        };
    }
}

#[tokio::test]
async fn a_handler_that_panics_takes_nothing_along() {
    let app = TestApp::new();
    // Nothing is scripted, so the answerer panics.
    app.post(ASK, &json!({"question": "?"}))
        .send()
        .await
        .problem(500, "internal");
    app.script(stream::iter(whole()));
    assert_eq!(app.post(ASK, &json!({"question": "?"})).send().await.status, 200);
    let body = Body::from("{");
    let broken = app
        .call("POST", ASK)
        .header("content-type", "application/json")
        .body(body);
    broken.send().await.problem(400, "bad_json");
}
