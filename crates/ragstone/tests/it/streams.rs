//! Streams whose reader leaves, comes back, or waits: what the model's side sees of it.

use serde_json::json;

use crate::http::{Event, Frame, Request, text_of};
use crate::stub::Service;

const QUESTION: &str = "Where does the zebra live?";
/// An answer of many events.
const LONG: &str = "fixed:The zebra lives in the attic. [1] Das Öl wird gewechselt.\n\nZweimal im Jahr, sagt 日本. \
                    One two three four. Five six seven eight. Nine ten eleven twelve.";

fn resumable(service: &Service) -> Request {
    let body = json!({"question": QUESTION, "stream": true, "resumable": true});
    service.post("/api/v1/ask", &body)
}

fn resume(service: &Service, id: &str) -> Request {
    service.ask(QUESTION, true).header("Last-Event-ID", id)
}

#[test]
fn a_reader_that_leaves_ends_the_models_call() {
    let Some(service) = Service::lexical(&[]) else {
        return;
    };
    let stub = &service.stub;
    // Neither a word nor a heartbeat is on its way that would tell of the loss.
    stub.faults(&["hang_mid@chat?after=3"]);
    let mut events = service.ask(QUESTION, true).open().events();
    assert_eq!(events.next().unwrap().name, "sources");
    stub.until("streams_open", 1);
    drop(events);
    stub.until("streams_abandoned", 1);
    stub.until("streams_open", 0);

    stub.faults(&["hang@chat"]);
    let mut events = service.ask(QUESTION, true).open().events();
    assert_eq!(events.next().unwrap().name, "sources");
    stub.until("in_flight", 1);
    drop(events);
    stub.until("requests_abandoned", 1);
    stub.until("in_flight", 0);

    stub.faults(&["hang@chat"]);
    let call = service.ask(QUESTION, false).begin();
    stub.until("in_flight", 1);
    drop(call);
    stub.until("requests_abandoned", 1);
    stub.until("in_flight", 0);
    assert_eq!(stub.stats("chat_requests"), 1, "nothing is tried again for nobody");
}

#[test]
fn who_left_and_comes_back_is_told_of_the_end() {
    let Some(service) = Service::lexical(&[]) else {
        return;
    };
    service.stub.faults(&["hang_mid@chat?after=3"]);
    let mut events = service.ask(QUESTION, true).open().events();
    let first = events.next().unwrap();
    service.stub.until("streams_open", 1);
    drop(events);
    service.stub.until("streams_abandoned", 1);
    let rest: Vec<Event> = resume(&service, &first.id).open().events().collect();
    let failed = rest.last().unwrap();
    assert_eq!(
        (failed.name.as_str(), &failed.data["code"]),
        ("failed", &json!("interrupted"))
    );
    assert_eq!(resume(&service, &failed.id).send().status, 204);
}

#[test]
fn an_ended_stream_is_resumed_from_every_event() {
    let Some(service) = Service::lexical(&[]) else {
        return;
    };
    service.stub.set(&json!({"answer": LONG}));
    let whole: Vec<Event> = service.ask(QUESTION, true).open().events().collect();
    assert!(whole.len() > 5, "{whole:?}");
    let (last, others) = whole.split_last().unwrap();
    for (at, event) in others.iter().enumerate() {
        let rest: Vec<Event> = resume(&service, &event.id).open().events().collect();
        assert_eq!(rest, whole[at + 1..]);
    }
    let answer = resume(&service, &last.id).send();
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    let path = format!("/api/v1/ask-stream?query=a&last_event_id={}", others[0].id);
    let by_url: Vec<Event> = service.call("GET", &path).open().events().collect();
    assert_eq!(by_url, whole[1..]);
    assert_eq!(
        service.stub.stats("chat_requests"),
        1,
        "what was told is not asked again"
    );

    let (trace, _) = last.id.split_once(':').unwrap();
    let unknown = [
        format!("{trace}:{}", whole.len() + 1),
        format!("{trace}:-1"),
        format!("{trace}:x"),
        format!("{}:1", uuid::Uuid::nil()),
        "nonsense".to_owned(),
    ];
    for id in unknown {
        resume(&service, &id).send().problem(404, "stream_unknown");
    }
}

#[test]
fn a_stream_goes_on_for_who_comes_back() {
    let Some(service) = Service::lexical(&[]) else {
        return;
    };
    service.stub.set(&json!({"answer": LONG, "itl_ms": 20}));
    let mut told: Vec<Event> = Vec::new();
    let mut events = resumable(&service).open().events();
    // Leaves behind every few events, and comes back.
    loop {
        let some: Vec<Event> = events.by_ref().take(3).collect();
        told.extend(some);
        drop(events);
        let last = told.last().unwrap();
        if matches!(last.name.as_str(), "done" | "failed") {
            break;
        }
        events = resume(&service, &last.id).open().events();
    }
    assert_eq!(told.last().unwrap().name, "done");
    let ids: Vec<_> = told.iter().map(|event| event.id.rsplit(':').next().unwrap()).collect();
    let counted: Vec<_> = (1..=told.len()).map(|n| n.to_string()).collect();
    assert_eq!(ids, counted);
    assert_eq!(format!("fixed:{}", text_of(&told)), LONG);
    assert_eq!(service.stub.stats("chat_requests"), 1);
}

#[test]
fn a_silent_stream_is_kept_open_by_comments() {
    let Some(service) = Service::lexical(&[("RAGSTONE_SERVER__HEARTBEAT_SECONDS", "1")]) else {
        return;
    };
    service.stub.set(&json!({"ttft_ms": 1500}));
    let frames: Vec<Frame> = service.ask(QUESTION, true).open().frames().collect();
    let comments = frames.iter().filter(|frame| matches!(frame, Frame::Comment(_))).count();
    assert!(matches!(frames[1], Frame::Comment(_)) && comments < 5, "{frames:?}");
    let Some(Frame::Event(last)) = frames.last() else {
        panic!("{frames:?}")
    };
    assert_eq!((last.name.as_str(), &last.data["answered"]), ("done", &json!(true)));
}

#[test]
fn a_page_that_can_send_no_header_uses_a_ticket_once() {
    let key = "0123456789abcdef0123456789abcdef";
    let Some(service) = Service::start(&[("RAGSTONE_ADMIN_KEY", key), ("RAGSTONE_EMBED__PROVIDER", "none")]) else {
        return;
    };
    let bearer = format!("Bearer {key}");
    let ticket = service
        .call("POST", "/api/v1/stream-tickets")
        .header("Authorization", &bearer);
    let ticket = ticket.send().ok(201)["ticket"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/ask-stream?query=zebra&ticket={ticket}");
    let events: Vec<Event> = service.call("GET", &path).open().events().collect();
    assert_eq!(events.last().unwrap().data["answered"], false);
    service.get(&path).problem(401, "unauthorized");
    // The stream is its asker's: the key resumes it, nobody without does.
    let last = &events.last().unwrap().id;
    resume(&service, last).send().problem(401, "unauthorized");
    assert_eq!(
        resume(&service, last).header("Authorization", &bearer).send().status,
        204
    );
}

#[test]
fn a_stream_that_the_end_of_the_server_cuts_off_says_so() {
    let Some(service) = Service::lexical(&[("RAGSTONE_SERVER__SHUTDOWN_SECONDS", "1")]) else {
        return;
    };
    let stub = &service.stub;
    stub.faults(&["hang_mid@chat?after=3"]);
    let mut events = service.ask(QUESTION, true).open().events();
    assert_eq!(events.next().unwrap().name, "sources");
    stub.until("streams_open", 1);
    service.terminate();
    let last = events.last().unwrap();
    assert_eq!(
        (last.name.as_str(), &last.data["code"]),
        ("failed", &json!("shutting_down"))
    );
    stub.until("streams_abandoned", 1);
    assert_eq!(service.exit_code(), Some(0));
}

#[test]
fn a_stream_that_ends_in_time_is_told_to_its_end_although_the_server_ends() {
    let Some(service) = Service::lexical(&[]) else {
        return;
    };
    service.stub.set(&json!({"answer": LONG, "itl_ms": 20}));
    let mut events = service.ask(QUESTION, true).open().events();
    assert_eq!(events.next().unwrap().name, "sources");
    service.stub.until("streams_open", 1);
    service.terminate();
    let rest: Vec<Event> = events.collect();
    assert_eq!(rest.last().unwrap().name, "done");
    assert_eq!(format!("fixed:{}", text_of(&rest)), LONG);
    assert_eq!(service.exit_code(), Some(0));
}
