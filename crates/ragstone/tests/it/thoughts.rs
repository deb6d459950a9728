//! A chat model whose server leaves its thoughts in the text: no reader sees them, and no citation is theirs.

use serde_json::json;

use crate::http::{Event, request, text_of};
use crate::model::saying;
use crate::support::{Sandbox, Server};

const TEXT: &str = "The zebra lives in the attic.\n\nThe lamp burns in the cellar.";
const QUESTION: &str = "Where does the zebra live?";
const ANSWER: &str = "The zebra lives in the attic. [1]";

/// What a model says, as text and as a stream, the first time and the second.
fn answers(said: &'static str) -> Vec<String> {
    let model = saying(move |_, _| said.to_owned());
    let sandbox = Sandbox::new()
        .with("RAGSTONE_CHAT_BASE_URL", &model.address)
        .with("LLM_MODEL", "some-thinker")
        .with("RAGSTONE_EMBED__PROVIDER", "none")
        .with("RAGSTONE_JOBS__POLL_SECONDS", "1");
    let server = Server::start(&sandbox);
    let body = json!({"uri": "a", "text": TEXT});
    let accepted = request(&server.address, "POST", "/api/v1/documents")
        .json(&body)
        .send()
        .ok(202);
    let job = accepted["job"]["id"].as_str().unwrap().to_owned();
    let events = request(&server.address, "GET", &format!("/api/v1/jobs/{job}/events"));
    assert_eq!(events.open().events().last().unwrap().name, "done");
    let ask = |stream: bool| {
        let body = json!({"question": QUESTION, "stream": stream});
        request(&server.address, "POST", "/api/v1/ask").json(&body)
    };
    let streamed: Vec<Event> = ask(true).open().events().collect();
    let whole = ask(false).send().ok(200);
    assert_eq!(whole["sentences"][0]["citations"], json!([1]), "{whole}");
    let again: Vec<Event> = ask(true).open().events().collect();
    vec![
        text_of(&streamed),
        whole["answer"].as_str().unwrap().to_owned(),
        text_of(&again),
    ]
}

#[test]
fn thoughts_between_tags_reach_nobody() {
    let said = answers("<think>\nPerhaps in the cellar [1]?\n</think>\n\nThe zebra lives in the attic. [1]");
    assert_eq!(said, [ANSWER; 3]);
}

#[test]
fn thoughts_that_only_their_end_marks_reach_nobody_the_first_time_either() {
    let said = answers("Perhaps in the cellar [1]?\n</think>\n\nThe zebra lives in the attic. [1]");
    assert_eq!(said, [ANSWER; 3]);
}
