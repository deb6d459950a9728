//! Limits per caller, and the responses beyond them.

use axum::body::Body;
use futures::{StreamExt, stream};
use ragstone_core::access::Role;
use ragstone_core::ask::{Answer, AnswerEvent};
use ragstone_core::id::TraceId;
use ragstone_core::seam::chat::TokenUsage;
use serde_json::json;
use uuid::Uuid;

use super::LimitSettings;
use crate::http::test_app::{KEY, TestApp, caller};
use crate::http::{AdminKey, HttpSettings, TrustedProxies};

const LIST: &str = "/api/v1/documents";
const ASK: &str = "/api/v1/ask";

fn limited(limits: LimitSettings) -> TestApp {
    TestApp::with(HttpSettings {
        limits,
        ..HttpSettings::default()
    })
}

fn done(prompt_tokens: u64, completion_tokens: u64) -> AnswerEvent {
    AnswerEvent::Done(Box::new(Answer {
        answer: "A.".into(),
        answered: true,
        sentences: vec![],
        citations: vec![],
        sources: vec![],
        usage: TokenUsage {
            prompt_tokens,
            completion_tokens,
        },
        model: "m".into(),
        trace_id: TraceId(Uuid::nil()),
        notices: vec![],
    }))
}

fn delta(text: &str) -> AnswerEvent {
    AnswerEvent::Delta { text: text.into() }
}

#[tokio::test]
async fn a_caller_that_comes_too_often_is_told_when_to_come_back() {
    let app = limited(LimitSettings {
        requests_per_minute: 3,
        ..LimitSettings::default()
    });
    // Also an answer that is no success says how much is left.
    for (path, remaining) in [(LIST, "2"), ("/api/v1/nothing", "1"), ("/docs", "0")] {
        let answer = app.get(path).send().await;
        assert_eq!(answer.header("ratelimit-limit"), "3");
        assert_eq!(answer.header("ratelimit-remaining"), remaining);
    }
    let refused = app.get(LIST).send().await;
    refused.problem(429, "rate_limited");
    let (wait, reset): (u64, u64) = (
        refused.header("retry-after").parse().unwrap(),
        refused.header("ratelimit-reset").parse().unwrap(),
    );
    assert!(
        (1..=20).contains(&wait) && (wait..=60).contains(&reset),
        "{wait} {reset}"
    );
    assert_eq!(app.get(LIST).through_operator_door().send().await.status, 200);
    assert_eq!(app.get("/healthz").send().await.status, 200);
}

#[tokio::test]
async fn wrong_keys_of_an_address_are_answered_so_often_and_a_right_one_always() {
    let app = TestApp::with(HttpSettings {
        admin_key: Some(AdminKey::new(KEY).unwrap()),
        limits: LimitSettings {
            failed_auths_per_minute: 3,
            ..LimitSettings::default()
        },
        ..HttpSettings::default()
    });
    let wrong = async |address: [u8; 4]| app.get(LIST).key("wrong").from(address).send().await;
    // Nobody guesses who sends nothing, and an open path asks for nothing.
    for _ in 0..5 {
        app.get(LIST).send().await.problem(401, "unauthorized");
        assert_eq!(app.get("/healthz").key("wrong").send().await.status, 200);
    }
    for _ in 0..3 {
        wrong([10, 0, 0, 7]).await.problem(401, "unauthorized");
    }
    let refused = wrong([10, 0, 0, 7]).await;
    refused.problem(429, "too_many_failures");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    let ticket = app.get("/api/v1/ask-stream?query=a&ticket=t").from([10, 0, 0, 7]);
    ticket.send().await.problem(429, "too_many_failures");
    let right = app.get(LIST).key(KEY).from([10, 0, 0, 7]).send().await;
    assert_eq!(right.status, 200);
    wrong([10, 0, 0, 8]).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn no_limit_is_no_header() {
    let answer = TestApp::new().get(LIST).send().await;
    assert!(!answer.headers.contains_key("ratelimit-limit"));
}

#[tokio::test]
async fn a_tenant_is_limited_by_all_its_callers_and_no_other_is() {
    let app = limited(LimitSettings {
        requests_per_minute: 2,
        tenant_requests_per_minute: 3,
        ..LimitSettings::default()
    });
    let standing = |subject: &str, tenant: &str| {
        let caller = ragstone_core::access::Principal::verified(
            tenant.parse().unwrap(),
            subject.into(),
            Default::default(),
            Role::Reader,
        );
        let limits = super::CallerLimits::new(&app.api.settings);
        (limits, caller)
    };
    let (limits, first) = standing("u", "a");
    let (_, second) = standing("v", "a");
    let (_, other) = standing("u", "b");
    let take = |caller| {
        let standing = limits.take_request(caller).unwrap();
        (standing.limit, standing.remaining, standing.wait.is_some())
    };
    assert_eq!(take(&first), (2, 1, false));
    assert_eq!(take(&first), (2, 0, false));
    assert_eq!(take(&first), (2, 0, true));
    assert_eq!(take(&second), (3, 0, false));
    assert_eq!(take(&second), (3, 0, true));
    assert_eq!(take(&other), (2, 1, false));
}

#[tokio::test]
async fn a_stream_more_than_allowed_waits_until_one_is_left() {
    let app = limited(LimitSettings {
        caller_streams: 1,
        ..LimitSettings::default()
    });
    let endless = || stream::iter([delta("A")]).chain(stream::pending());
    let ask = || app.get("/api/v1/ask-stream?query=a");
    app.script(endless());
    let first = ask().open().await;
    assert_eq!(first.status(), 200);
    let refused = ask().send().await;
    refused.problem(429, "too_many_streams");
    assert_eq!(refused.header("retry-after"), "1");
    let accepted = app.post(LIST, &json!({"uri": "a", "text": "a"})).send().await.json();
    let events = format!("/api/v1/jobs/{}/events", accepted["job"]["id"].as_str().unwrap());
    app.get(&events).send().await.problem(429, "too_many_streams");
    // An answer that is no stream needs no place.
    app.script(stream::iter([done(0, 0)]));
    assert_eq!(app.post(ASK, &json!({"question": "a"})).send().await.status, 200);
    drop(first);
    app.script(endless());
    assert_eq!(ask().open().await.status(), 200);
}

#[tokio::test]
async fn a_day_has_so_many_tokens() {
    let app = limited(LimitSettings {
        tokens_per_day: 100,
        tenant_tokens_per_day: 150,
        ..LimitSettings::default()
    });
    let question = json!({"question": "a"});
    let other = app.seen_by(|| caller("default", &[], Role::Reader));
    let third = app.seen_by(|| caller("other", &[], Role::Reader));
    for (app, spent) in [(&app, 99), (&app, 2), (&other, 50)] {
        app.script(stream::iter([done(spent - 1, 1)]));
        assert_eq!(app.post(ASK, &question).send().await.status, 200);
    }
    for (app, detail) in [(&app, "this caller"), (&other, "this tenant")] {
        for path in ["/api/v1/ask-stream?query=a", "json"] {
            let call = match path {
                "json" => app.post(ASK, &question),
                path => app.get(path),
            };
            let refused = call.send().await;
            let problem = refused.problem(429, "token_budget_spent");
            assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
            let wait: u64 = refused.header("retry-after").parse().unwrap();
            assert!((1..=86_400).contains(&wait));
        }
    }
    third.script(stream::iter([done(1, 1)]));
    assert_eq!(third.post(ASK, &question).send().await.status, 200);
    assert_eq!(
        app.post("/api/v1/search", &json!({"query": "a"})).send().await.status,
        200
    );
}

#[tokio::test]
async fn who_leaves_early_has_spent_what_was_said() {
    let app = limited(LimitSettings {
        tokens_per_day: 1_000_000,
        ..LimitSettings::default()
    });
    app.script(stream::iter([delta(&"x".repeat(4_000))]).chain(stream::pending()));
    let answer = app.get("/api/v1/ask-stream?query=a").open().await;
    let mut frames = answer.into_body().into_data_stream();
    frames.next().await.unwrap().unwrap();
    drop(frames);
    let caller = (app.api.operator)();
    let day = (app.api.clock)().date();
    let counted = async {
        loop {
            let spent = app
                .api
                .usage
                .get_daily_usage(caller.tenant(), caller.subject(), day)
                .await
                .unwrap();
            if spent.caller > 0 {
                break spent.caller;
            }
            tokio::task::yield_now().await;
        }
    };
    let counted = tokio::time::timeout(std::time::Duration::from_secs(60), counted).await;
    assert_eq!(counted.unwrap(), 1_000);
}

#[tokio::test]
async fn a_question_has_a_length() {
    let app = TestApp::with(HttpSettings {
        question_bytes: 10,
        ..HttpSettings::default()
    });
    app.script(stream::iter([done(0, 0)]));
    for (question, status) in [("1234567890", 200), ("12345678901", 422), ("äöüäöü", 422)] {
        let search = app.post("/api/v1/search", &json!({"query": question})).send().await;
        let ask = app.post(ASK, &json!({"question": question})).send().await;
        for answer in [search, ask] {
            match status {
                200 => assert_eq!(answer.status, 200, "{}", answer.text()),
                status => drop(answer.problem(status, "bad_question")),
            }
        }
    }
    let stream = app.get("/api/v1/ask-stream?query=12345678901").send().await;
    stream.problem(422, "bad_question");
}

/// A body that never arrives is not waited for, and one that never ends is not read to its end.
#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_its_end() {
    let app = TestApp::with(HttpSettings {
        json_bytes: 1_000,
        body_bytes: 100_000_000,
        ..HttpSettings::default()
    });
    let silent = || Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let endless = |start: &str| {
        let start = stream::iter([Ok::<_, std::io::Error>(start.as_bytes().to_vec())]);
        Body::from_stream(start.chain(stream::repeat_with(|| Ok(vec![b'x'; 64 * 1024]))))
    };
    let form = "multipart/form-data; boundary=B";
    let file = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n";
    for (path, kind, length, body) in [
        ("/api/v1/search", "application/json", Some("1001"), silent()),
        ("/api/v1/search", "application/json", None, endless("{")),
        (LIST, form, Some("100000001"), silent()),
        (LIST, form, None, endless(file)),
    ] {
        let call = app.call("POST", path).header("content-type", kind);
        let call = match length {
            Some(length) => call.header("content-length", length),
            None => call,
        };
        call.body(body).send().await.problem(413, "too_large");
    }
    assert!(app.blob_keys().await.is_empty());
}

#[tokio::test]
async fn one_reader_leaves_tickets_to_others() {
    let app = TestApp::keyed();
    let key = async |name: &str| {
        let new = json!({"name": name, "role": "reader"});
        app.issue(&new).await["key"].as_str().unwrap().to_owned()
    };
    let (greedy, other) = (key("greedy").await, key("other").await);
    let ticket = async |key: &str, from: [u8; 4]| {
        let call = app.post("/api/v1/stream-tickets", &json!({})).key(key).from(from);
        call.send().await
    };
    let mut got = 0;
    let refused = loop {
        let answer = ticket(&greedy, [192, 0, 2, 1]).await;
        if answer.status != 201 {
            break answer;
        }
        got += 1;
    };
    assert_eq!(got, 2_048);
    assert!(refused.headers.contains_key("retry-after"));
    refused.problem(429, "too_many_tickets");
    // Its address is full as well, and another one has places of its own, for both of them.
    ticket(&other, [192, 0, 2, 1]).await.problem(429, "too_many_tickets");
    assert_eq!(ticket(&other, [192, 0, 2, 2]).await.status, 201);
    ticket(&greedy, [192, 0, 2, 2]).await.problem(429, "too_many_tickets");
}

#[tokio::test]
async fn requests_of_one_address_leave_places_to_others() {
    let app = TestApp::with(HttpSettings {
        max_requests: 4,
        ..HttpSettings::default()
    });
    // Bodies that never come whole hold a place each, from the moment at which they are read.
    let reading = std::sync::Arc::new(tokio::sync::Notify::new());
    let half = async || {
        let read = reading.clone();
        let body = Body::from_stream(stream::poll_fn(move |_| {
            read.notify_one();
            std::task::Poll::<Option<std::io::Result<Vec<u8>>>>::Pending
        }));
        let call = app.call("POST", "/api/v1/search").body(body).from([127, 0, 0, 2]);
        let mut sent = Box::pin(call.header("content-type", "application/json").send());
        tokio::select! {
            _ = &mut sent => panic!("it was answered"),
            () = reading.notified() => Some(sent),
        }
    };
    let held = [half().await, half().await];
    let list = async |from: [u8; 4]| app.get("/api/v1/documents").from(from).send().await;
    let refused = list([127, 0, 0, 2]).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.problem(429, "too_many_requests");
    assert_eq!(list([127, 0, 0, 1]).await.status, 200);
    assert_eq!(app.get("/healthz").from([127, 0, 0, 2]).send().await.status, 200);
    drop(held);
    assert_eq!(list([127, 0, 0, 2]).await.status, 200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_callers_have_their_own_address() {
    let proxies = TrustedProxies::new(&["10.0.0.0/8".to_owned()]).unwrap();
    let app = TestApp::with(HttpSettings {
        admin_key: Some(AdminKey::new(KEY).unwrap()),
        trusted_proxies: std::sync::Arc::new(proxies),
        limits: LimitSettings {
            failed_auths_per_minute: 1,
            ..LimitSettings::default()
        },
        ..HttpSettings::default()
    });
    let wrong = async |client: &str| {
        let call = app.get("/api/v1/documents").key("wrong").from([10, 0, 0, 1]);
        call.header("x-forwarded-for", client).send().await.status
    };
    assert_eq!(wrong("203.0.113.1").await, 401);
    assert_eq!(wrong("203.0.113.1").await, 429);
    assert_eq!(wrong("203.0.113.2").await, 401);
}
