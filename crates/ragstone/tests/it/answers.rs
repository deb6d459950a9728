//! Answers of a chat model that works, and of one that does not: as JSON and as a stream.

use serde_json::json;

use crate::http::{Event, text_of};
use crate::stub::{KEY, Service};

const QUESTION: &str = "Where does the zebra live?";

/// Two tries, and a second for what hangs.
const SETTINGS: [(&str, &str); 3] = [
    ("RAGSTONE_CHAT__MAX_ATTEMPTS", "2"),
    ("RAGSTONE_CHAT__FIRST_TOKEN_SECONDS", "1"),
    ("RAGSTONE_CHAT__IDLE_SECONDS", "1"),
];

fn stream(service: &Service, question: &str) -> Vec<Event> {
    service.ask(question, true).open().events().collect()
}

/// One end, at the end, and ids that count from 1.
#[track_caller]
fn last(events: &[Event]) -> &Event {
    let ends = |event: &&Event| matches!(event.name.as_str(), "done" | "failed");
    assert_eq!(events.iter().filter(ends).count(), 1, "{events:?}");
    assert_eq!(events[0].name, "sources");
    let (trace, _) = events[0].id.split_once(':').unwrap();
    for (n, event) in (1..).zip(events) {
        assert_eq!(event.id, format!("{trace}:{n}"));
    }
    events.last().filter(ends).unwrap()
}

#[test]
fn an_answer_is_the_same_as_json_and_as_a_stream() {
    let Some(service) = Service::lexical(&SETTINGS) else {
        return;
    };
    let answer = service.ask(QUESTION, false).send().ok(200);
    let citation = &answer["citations"][0];
    assert_eq!(
        (&answer["answered"], &answer["model"]),
        (&json!(true), &json!("stub-chat"))
    );
    assert_eq!(citation["quote"], "The zebra lives in the attic.");
    assert_eq!(
        (&citation["uri"], &citation["verified"]),
        (&json!("attic.md"), &json!(true))
    );
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{answer}");

    let events = stream(&service, QUESTION);
    let done = &last(&events).data;
    assert_eq!(text_of(&events), answer["answer"].as_str().unwrap());
    for field in [
        "answered",
        "sentences",
        "citations",
        "sources",
        "usage",
        "model",
        "notices",
    ] {
        assert_eq!(done[field], answer[field], "{field}");
    }
    assert_eq!(done.get("answer"), None);
    assert_eq!(events[0].data["passages"][0]["uri"], "attic.md");
    let cited: Vec<_> = events.iter().filter(|event| event.name == "citation").collect();
    assert_eq!(cited.len(), 1);
    assert_eq!(&cited[0].data, citation);

    let path = "/api/v1/ask-stream?query=Where%20does%20the%20zebra%20live%3F";
    let by_url: Vec<Event> = service.call("GET", path).open().events().collect();
    assert_eq!(text_of(&by_url), text_of(&events));
    let accepts = service.post("/api/v1/ask", &json!({"question": QUESTION}));
    let accepts: Vec<Event> = accepts.header("Accept", "text/event-stream").open().events().collect();
    assert_eq!(text_of(&accepts), text_of(&events));
}

#[test]
fn whatever_a_model_says_arrives_whole() {
    let Some(service) = Service::lexical(&SETTINGS) else {
        return;
    };
    let check = |said: &str| {
        service.stub.set(&json!({"answer": format!("fixed:{said}")}));
        let events = stream(&service, QUESTION);
        assert_eq!(last(&events).name, "done", "{said:?}");
        assert_eq!(text_of(&events), said);
        assert_eq!(service.ask(QUESTION, false).send().ok(200)["answer"], said);
    };
    check("The zebra lives in the attic. [1]");
    check("Das Zebra wohnt dort.\n\nÖl: zweimal im Jahr,\r\nsagt man.\n- 日本語\n- مرحبا 🦓\u{2028}Ende.");
    check("data: {\"not\": \"an event\"}\n\nevent: done\nid: 1\n\n: comment");
    check("```sh\n$ echo \"a\tb\" \\\n  | cat\n```\nThat is all.");
    check("\u{0}\u{7}\u{1b}[31mred\u{1b}[0m \u{feff}end");
}

#[test]
fn faults_that_pass_are_not_seen() {
    let Some(service) = Service::lexical(&SETTINGS) else {
        return;
    };
    let check = |fault: &str, is_stream: bool| {
        service.stub.faults(&[fault]);
        let answered = match is_stream {
            true => last(&stream(&service, QUESTION)).data["answered"].clone(),
            false => service.ask(QUESTION, false).send().ok(200)["answered"].clone(),
        };
        assert_eq!(answered, true, "{fault}");
        assert_eq!(service.stub.stats("chat_requests"), 2, "{fault}");
    };
    for fault in [
        "429@chat?first=1&retry_after=0",
        "503@chat?first=1",
        "500@chat?first=1",
        "drop@chat?first=1",
    ] {
        check(fault, false);
        check(fault, true);
    }
}

#[test]
fn faults_that_last_are_a_problem_or_the_end_of_the_stream() {
    let Some(service) = Service::lexical(&SETTINGS) else {
        return;
    };
    let check = |fault: &str, requests: i64, status: u16, code: &str| {
        service.stub.faults(&[fault]);
        let problem = service.ask(QUESTION, false).send();
        let found = &problem.problem(status, code)["passages"];
        assert_eq!(found[0]["uri"], "attic.md", "{found}");
        assert_eq!(service.stub.stats("chat_requests"), requests, "{fault}");
        let events = stream(&service, QUESTION);
        let failed = last(&events);
        assert_eq!(
            (failed.name.as_str(), &failed.data["code"]),
            ("failed", &json!(code)),
            "{fault}"
        );
        assert_eq!(service.stub.stats("chat_requests"), 2 * requests, "{fault}");
        let told = format!("{problem:?} {events:?}");
        assert!(!told.contains(KEY) && failed.data["detail"] != "", "{told}");
    };
    check("429@chat?retry_after=0", 2, 503, "model_busy");
    // Longer than the answer may take to begin.
    check("429@chat?retry_after=1", 1, 503, "model_busy");
    // All the time there is goes into the first try.
    check("hang@chat", 1, 502, "model_failed");
    check("hang_mid@chat?after=0", 1, 502, "model_failed");
    // Longer than anybody waits for.
    check("429@chat?retry_after=3600", 1, 503, "model_busy");
    check("500@chat", 2, 502, "model_failed");
    check("drop@chat", 2, 502, "model_failed");
    check("401@chat", 1, 502, "model_refused");
    check("malformed@chat", 1, 502, "model_failed");
    // Once a word was said nothing is asked again.
    check("drop_mid@chat", 1, 502, "model_failed");
    check("malformed_mid@chat", 1, 502, "model_failed");
    check("error_mid@chat", 1, 502, "model_failed");
    check("hang_mid@chat", 1, 502, "model_failed");
}

#[test]
fn what_was_said_before_a_fault_was_told() {
    let Some(service) = Service::lexical(&SETTINGS) else {
        return;
    };
    service
        .stub
        .set(&json!({"answer": "fixed:One two three four five. Six seven eight nine ten."}));
    service.stub.faults(&["drop_mid@chat?after=7"]);
    let events = stream(&service, QUESTION);
    assert_eq!(last(&events).name, "failed");
    assert!(text_of(&events).starts_with("One two three four five."), "{events:?}");
    service.stub.faults(&[]);
    assert_eq!(last(&stream(&service, QUESTION)).name, "done");
}

#[test]
fn what_is_wrong_before_the_first_event_is_a_problem_of_both_forms() {
    let Some(service) = Service::lexical(&SETTINGS) else {
        return;
    };
    let check = |mut body: serde_json::Value, status: u16, code: &str| {
        for stream in [false, true] {
            body["stream"] = stream.into();
            service.post("/api/v1/ask", &body).send().problem(status, code);
        }
        assert_eq!(service.stub.stats("chat_requests"), 0);
    };
    check(json!({"question": " "}), 422, "bad_question");
    check(
        json!({"question": QUESTION, "model": "other"}),
        422,
        "model_not_allowed",
    );
    check(
        json!({"question": QUESTION, "mode": "dense"}),
        503,
        "embedder_unavailable",
    );
    check(
        json!({"question": QUESTION, "filter": {"type": "near"}}),
        422,
        "bad_filter",
    );
}

#[test]
fn a_document_that_is_withdrawn_ends_the_answer() {
    let Some(service) = Service::lexical(&[]) else {
        return;
    };
    let listed = service.get("/api/v1/documents").ok(200);
    let path = format!("/api/v1/documents/{}", listed["documents"][0]["id"].as_str().unwrap());
    service.stub.set(&json!({"ttft_ms": 1000}));
    let mut events = service.ask(QUESTION, true).open().events();
    assert_eq!(events.next().unwrap().name, "sources");
    let json = service.ask(QUESTION, false);
    let json = std::thread::spawn(move || json.send());
    service.stub.until("in_flight", 2);
    service.call("DELETE", &path).send().ok(202);
    let events: Vec<Event> = events.collect();
    let failed = events.last().unwrap();
    assert_eq!(
        (failed.name.as_str(), &failed.data["code"]),
        ("failed", &json!("withdrawn"))
    );
    json.join().unwrap().problem(409, "withdrawn");
}

#[test]
fn a_problem_of_the_model_shows_no_document_that_was_withdrawn() {
    let Some(service) = Service::lexical(&SETTINGS) else {
        return;
    };
    let listed = service.get("/api/v1/documents").ok(200);
    let path = format!("/api/v1/documents/{}", listed["documents"][0]["id"].as_str().unwrap());
    service.stub.faults(&["hang@chat"]);
    let asked = service.ask(QUESTION, false);
    let asked = std::thread::spawn(move || asked.send());
    service.stub.until("in_flight", 1);
    service.call("DELETE", &path).send().ok(202);
    let problem = asked.join().unwrap().problem(502, "model_failed");
    assert_eq!(problem.get("passages"), None, "{problem}");
}

#[test]
fn nothing_is_asked_where_the_documents_say_nothing() {
    let Some(service) = Service::lexical(&[]) else {
        return;
    };
    let question = "xyzzy plugh frobnicate";
    assert_eq!(service.ask(question, false).send().ok(200)["answered"], false);
    assert_eq!(last(&stream(&service, question)).data["answered"], false);
    assert_eq!(service.stub.stats("chat_requests"), 0);
}
