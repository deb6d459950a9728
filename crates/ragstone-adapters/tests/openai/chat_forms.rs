//! The forms in which servers write an answer, its end and its errors.

use futures::StreamExt;
use ragstone_adapters::chat::{OpenAiChat, OpenAiChatOptions};
use ragstone_adapters::openai::ApiKeyHeader;
use ragstone_core::seam::chat::{ChatError, ChatEvent, ChatModel, FinishReason, TokenUsage};
use serde_json::{Value, json};

use super::chat::{asking, delta, finish, model, options, told};
use super::fake::{Fake, Reply};

/// Whether a request has the form that is wanted.
type Holds = fn(&Value) -> bool;

const ANSWER: &str = "It is thirty days. [2]";
const DONE: &str = "data: [DONE]\n\n";

fn event(value: Value) -> String {
    format!("data: {value}\n\n")
}

/// What a server that answers with this says to its reader.
async fn read(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (String, Result<ChatEvent, ChatError>) {
    let fake = Fake::start(move |_, _| reply()).await;
    told(&model(&fake.url)).await
}

async fn stream(body: impl Into<String>) -> (String, Result<ChatEvent, ChatError>) {
    let body = body.into();
    read(move || Reply::stream(&body)).await
}

#[tokio::test]
async fn an_answer_is_read_in_whatever_form_it_comes() {
    let (role, stop) = (
        event(json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]})),
        finish("stop"),
    );
    let content = |content: Value| event(json!({"choices": [{"index": 0, "delta": {"content": content}}]}));
    let plain = delta(ANSWER);
    let forms: Vec<(&str, String)> = vec![
        (
            "choices null at first",
            event(json!({"choices": null})) + &plain + &stop + DONE,
        ),
        ("choices missing", event(json!({"id": "x"})) + &plain + &stop + DONE),
        (
            "choices empty",
            event(json!({"choices": [], "prompt_filter_results": []})) + &plain + &stop,
        ),
        (
            "usage alone with choices null",
            plain.clone() + &stop + &event(json!({"choices": null, "usage": {}})) + DONE,
        ),
        (
            "delta null",
            event(json!({"choices": [{"delta": null}]})) + &plain + &stop,
        ),
        ("content null", content(Value::Null) + &plain + &stop),
        (
            "tool_calls null",
            event(json!({"choices": [{"delta": {"content": ANSWER, "tool_calls": null}}]})) + &stop,
        ),
        (
            "list of parts",
            content(json!([{"type": "text", "text": ANSWER}])) + &stop,
        ),
        ("list of text", content(json!([ANSWER])) + &stop),
        ("a part", content(json!({"type": "text", "text": ANSWER})) + &stop),
        (
            "thoughts among the parts",
            content(json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}])) + &plain + &stop,
        ),
        (
            "thoughts in a field of their own",
            event(json!({"choices": [{"delta": {"reasoning_content": "hm", "reasoning": "hm"}}]})) + &plain + &stop,
        ),
        (
            "the whole message in an event",
            event(json!({"choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}]})),
        ),
        (
            "text of the older API",
            event(json!({"choices": [{"text": ANSWER, "finish_reason": "stop"}]})),
        ),
        (
            "finish_reason empty",
            event(json!({"choices": [{"delta": {"content": ANSWER}, "finish_reason": ""}]})) + &stop,
        ),
        ("finish_reason in capitals", plain.clone() + &finish("STOP")),
        ("finish_reason of another name", plain.clone() + &finish("end_turn")),
        (
            "error null",
            event(json!({"error": null, "choices": [{"delta": {"content": ANSWER}}]})) + &stop,
        ),
        (
            "error empty",
            event(json!({"error": {}, "choices": [{"delta": {"content": ANSWER}}]})) + &stop,
        ),
        (
            "a heartbeat",
            event(json!({"type": "ping"})) + ": hi\n\n" + &plain + &stop,
        ),
        (
            "events without data",
            "data:\n\n".to_owned() + &role + "data: \n\n" + &plain + &stop,
        ),
        ("no space behind the colon", plain.replace("data: ", "data:") + &stop),
        (
            "one line feed between events",
            (role.clone() + &plain + &stop + DONE).replace("\n\n", "\n"),
        ),
        (
            "carriage returns",
            (role.clone() + &plain + &stop + DONE).replace('\n', "\r"),
        ),
        ("both", (role + &plain + &stop + DONE).replace('\n', "\r\n")),
        ("a byte order mark", "\u{feff}".to_owned() + &plain + &stop),
        (
            "no line end behind the last event",
            (plain.clone() + &stop).trim_end().to_owned(),
        ),
        (
            "an error behind the end",
            plain + &stop + &event(json!({"error": "late"})),
        ),
    ];
    for (form, body) in forms {
        let (said, last) = stream(body).await;
        assert_eq!(said, ANSWER, "{form}: {last:?}");
        assert!(
            matches!(last, Ok(ChatEvent::End(FinishReason::Stop))),
            "{form}: {last:?}"
        );
    }
}

#[tokio::test]
async fn a_reply_that_is_no_stream_is_an_answer() {
    let whole = json!({"object": "chat.completion", "choices": [
        {"message": {"role": "assistant", "content": ANSWER, "reasoning_content": null}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4}});
    let cut = json!({"choices": [{"message": {"content": ANSWER}, "finish_reason": "length"}]});
    let check = async |reply: fn(&Value) -> Reply, body: &Value, expected: FinishReason| {
        let shown = body.clone();
        let (said, last) = read(move || reply(&shown)).await;
        assert_eq!(
            (said.as_str(), last.unwrap()),
            (ANSWER, ChatEvent::End(expected)),
            "{body}"
        );
    };
    let as_json = |body: &Value| Reply::json(200, body.clone());
    check(as_json, &whole, FinishReason::Stop).await;
    check(as_json, &cut, FinishReason::Length).await;
    check(
        as_json,
        &json!({"choices": [{"message": {"content": ANSWER}}]}),
        FinishReason::Stop,
    )
    .await;
    check(
        |body| Reply::stream(&format!("\n{body:#}\n")),
        &whole,
        FinishReason::Stop,
    )
    .await;
    let lines = format!(
        "{}\n{}\n",
        json!({"choices": [{"delta": {"content": ANSWER}}]}),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    );
    let (said, last) = stream(lines).await;
    assert_eq!(
        (said.as_str(), last.unwrap()),
        (ANSWER, ChatEvent::End(FinishReason::Stop))
    );
}

#[tokio::test]
async fn an_error_inside_a_reply_is_told_in_its_own_words() {
    let words = "out of memory";
    let said = json!({"message": words, "type": "server_error"});
    let forms = [
        json!({"error": said}),
        json!({"error": words}),
        json!({"error": {"code": 500, "metadata": {}, "message": words}, "choices": []}),
        json!([{"error": said}]),
        json!({"errors": [words]}),
        json!({"object": "error", "message": words, "code": 500}),
        json!({"type": "error", "error": said}),
        json!({"detail": words}),
        json!({"code": 500, "msg": words}),
        json!({"base_resp": {"status_code": 1004, "status_msg": words}}),
        json!({"choices": [{"delta": {}, "finish_reason": "error", "error": said}]}),
    ];
    let mut bodies: Vec<String> = forms.into_iter().map(event).collect();
    bodies.push(format!("event: error\n{}", event(said.clone())));
    bodies.push(format!("event: error\ndata: {words}\n\n"));
    bodies.push(format!("event: error\ndata: {words}"));
    for error in bodies {
        for before in [delta("It is thir"), String::new()] {
            let (_, last) = stream(before + &error + DONE).await;
            let shown = last.expect_err(&error).to_string();
            assert!(shown.contains(words), "{error}: {shown}");
        }
    }
    let (_, last) = read(move || Reply::json(200, json!({"error": {"message": words}}))).await;
    assert!(last.unwrap_err().to_string().contains(words));
    let (_, last) = stream("<html><title>out of memory</title>").await;
    assert!(last.unwrap_err().to_string().contains(words));
}

#[tokio::test]
async fn the_number_of_an_error_tells_what_can_be_done() {
    let of = async |code: Value| {
        let body = event(json!({"error": {"message": "no", "code": code}}));
        stream(body).await.1.unwrap_err()
    };
    assert!(matches!(of(json!(429)).await, ChatError::Busy { .. }));
    assert!(matches!(of(json!("529")).await, ChatError::Busy { .. }));
    assert!(matches!(of(json!(400)).await, ChatError::Refused { .. }));
    assert!(matches!(of(json!(500)).await, ChatError::Broken { .. }));
    assert!(matches!(of(json!("server_error")).await, ChatError::Broken { .. }));
}

#[tokio::test]
async fn a_foreign_end_is_told_with_its_word() {
    for reason in ["abort", "tool_calls", "insufficient_system_resource"] {
        let (said, last) = stream(delta(ANSWER) + &finish(reason) + DONE).await;
        assert_eq!(said, ANSWER);
        assert_eq!(
            last.unwrap(),
            ChatEvent::End(FinishReason::Interrupted(reason.to_owned()))
        );
    }
    for (reason, expected) in [
        ("max_tokens", FinishReason::Length),
        ("model_length", FinishReason::Length),
        ("SAFETY", FinishReason::Filtered),
    ] {
        let (_, last) = stream(delta(ANSWER) + &finish(reason)).await;
        assert_eq!(last.unwrap(), ChatEvent::End(expected), "{reason}");
    }
    let (_, last) = stream(delta(ANSWER) + &finish("error") + DONE).await;
    assert!(matches!(last, Err(ChatError::Broken { .. })), "{last:?}");
}

#[tokio::test]
async fn tokens_are_counted_as_far_as_they_are_told() {
    let check = async |usage: Value, expected: Option<(u64, u64)>| {
        let body = delta("a") + &finish("stop") + &event(json!({"choices": [], "usage": usage})) + DONE;
        let fake = Fake::start(move |_, _| Reply::stream(&body)).await;
        let model = model(&fake.url);
        let events: Vec<_> = model.stream_reply(asking()).await.unwrap().collect().await;
        let found = events.iter().find_map(|event| match event {
            Ok(ChatEvent::Usage(TokenUsage {
                prompt_tokens,
                completion_tokens,
            })) => Some((*prompt_tokens, *completion_tokens)),
            _ => None,
        });
        assert_eq!(found, expected, "{usage}");
        assert!(
            matches!(events.last(), Some(Ok(ChatEvent::End(FinishReason::Stop)))),
            "{usage}"
        );
    };
    check(json!({"prompt_tokens": 9, "completion_tokens": 4}), Some((9, 4))).await;
    check(json!({"prompt_tokens": 9.0, "completion_tokens": "4"}), Some((9, 4))).await;
    check(json!({"prompt_tokens": 9, "total_tokens": 13}), Some((9, 4))).await;
    check(json!({"prompt_tokens": 9}), Some((9, 0))).await;
    check(json!({"input_tokens": 9, "output_tokens": 4}), Some((9, 4))).await;
    check(json!({"prompt_tokens": null, "completion_tokens": null}), None).await;
    check(json!({"prompt_tokens": -1}), None).await;
    check(json!({}), None).await;
    check(Value::Null, None).await;
}

#[tokio::test]
async fn the_end_needs_no_mark_behind_it() {
    // The connection stays, so only what was said can end the answer.
    let body = delta(ANSWER) + &finish("stop");
    let counted = body.clone() + &event(json!({"usage": {"prompt_tokens": 1, "completion_tokens": 1}}));
    for body in [body, counted] {
        let fake = Fake::start(move |_, _| Reply::stream(&body).stays()).await;
        let patient = super::ServiceLimits {
            idle: std::time::Duration::from_secs(600),
            ..super::limits()
        };
        let options = OpenAiChatOptions {
            connection: super::OpenAiConnection::new(&fake.url, None, patient).unwrap(),
            ..options(&fake.url)
        };
        let (said, last) = told(&OpenAiChat::new(options).unwrap()).await;
        assert_eq!(
            (said.as_str(), last.unwrap()),
            (ANSWER, ChatEvent::End(FinishReason::Stop))
        );
    }
}

#[tokio::test]
async fn thoughts_reach_nobody() {
    let thinker = |url: &str| {
        OpenAiChat::new(OpenAiChatOptions {
            model: "some-thinker".into(),
            ..options(url)
        })
    };
    let opened =
        delta("<think>\nIt may be [1]") + &delta(" nine.</thi") + &delta("nk>\n\n") + &delta(ANSWER) + &finish("stop");
    let closed = delta("It may be [1] nine.") + &delta("\n</think>\n\n") + &delta(ANSWER) + &finish("stop");
    for body in [opened, closed] {
        let fake = Fake::start(move |_, _| Reply::stream(&body)).await;
        let model = thinker(&fake.url).unwrap();
        for _ in 0..2 {
            let (said, last) = told(&model).await;
            assert_eq!(
                (said.as_str(), last.unwrap()),
                (ANSWER, ChatEvent::End(FinishReason::Stop))
            );
        }
    }
    let cut = delta("<think>\nIt may be") + &finish("length");
    let fake = Fake::start(move |_, _| Reply::stream(&cut)).await;
    let (said, last) = told(&thinker(&fake.url).unwrap()).await;
    assert_eq!(
        (said.as_str(), last.unwrap()),
        ("", ChatEvent::End(FinishReason::Length))
    );
}

/// A server that refuses a request, if what `refuses` finds in it is there, and answers any other.
async fn refusing(status: u16, refusal: &'static str, refuses: fn(&Value) -> bool) -> Fake {
    Fake::start(move |asked, _| match refuses(&asked.body) {
        true => Reply::json(status, json!({"error": {"message": refusal}})),
        false => Reply::stream(&(delta("a") + &finish("stop"))),
    })
    .await
}

#[tokio::test]
async fn what_a_server_does_not_know_is_left_out_after_one_refusal() {
    let has_system = |body: &Value| {
        let messages = body["messages"].as_array().unwrap();
        messages.iter().any(|message| message["role"] == "system")
    };
    let cases: [(u16, &str, Holds); 9] = [
        (400, "System role not supported", has_system),
        (500, "jinja: System role not supported", has_system),
        (400, "Conversation roles must alternate user/assistant/user", has_system),
        (422, "Developer instruction is not enabled for this model", has_system),
        (
            400,
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            |body| body.get("max_tokens").is_some(),
        ),
        (400, "'temperature' does not support 0 with this model", |body| {
            body.get("temperature").is_some()
        }),
        (500, "unknown field stream_options", |body| {
            body.get("stream_options").is_some()
        }),
        (400, "Unrecognized request argument supplied", |body| {
            body.get("stream_options").is_some()
        }),
        (400, "stream is not supported", |body| body["stream"] == true),
    ];
    for (status, refusal, refuses) in cases {
        let fake = refusing(status, refusal, refuses).await;
        let model = model(&fake.url);
        assert_eq!(told(&model).await.0, "a", "{refusal}");
        let learning = fake.asked().len();
        assert_eq!(told(&model).await.0, "a", "{refusal}");
        assert_eq!(fake.asked().len(), learning + 1, "{refusal}: remembered");
        assert!(!refuses(&fake.asked().last().unwrap().body));
        let told_all: String = fake.asked().last().unwrap().body["messages"].to_string();
        assert!(
            told_all.contains("How long is the refund window?") && told_all.contains("passage"),
            "{told_all}"
        );
    }
}

#[tokio::test]
async fn a_refusal_of_something_else_is_told() {
    for (status, refusal) in [
        (400, "max_tokens is too large: 100"),
        (400, "This model's maximum context length is 2048 tokens"),
        (404, "no such model"),
        (401, "wrong key for the system"),
    ] {
        let fake = refusing(status, refusal, |_| true).await;
        let error = model(&fake.url).stream_reply(asking()).await.err().unwrap();
        assert!(
            matches!(error, ChatError::Refused { .. }) && error.to_string().contains(refusal),
            "{error}"
        );
        assert_eq!(fake.asked().len(), 1, "{refusal}");
    }
}

#[tokio::test]
async fn azure_and_gateways_get_what_they_want_to_see() {
    let fake = Fake::start(|_, _| Reply::stream(&(delta("a") + &finish("stop")))).await;
    let secret = |value: &str| super::ApiSecret::new(value);
    let connection = super::connection(&fake.url)
        .with_deployment("my-gpt")
        .unwrap()
        .with_api_version("2024-10-21")
        .with_key_header(ApiKeyHeader::ApiKey)
        .with_headers([("X-Org".to_owned(), secret("org-s3cret"))])
        .unwrap();
    let options = OpenAiChatOptions {
        connection,
        ..options(&fake.url)
    };
    assert_eq!(told(&OpenAiChat::new(options).unwrap()).await.0, "a");
    let head = fake.asked()[0].head.to_lowercase();
    let line = "post /openai/deployments/my-gpt/chat/completions?api-version=2024-10-21 ";
    assert!(head.starts_with(line), "{head}");
    for (wanted, there) in [
        (format!("api-key: {}", super::KEY), true),
        ("x-org: org-s3cret".to_owned(), true),
        ("authorization:".to_owned(), false),
    ] {
        assert_eq!(head.contains(&wanted), there, "{wanted} in {head}");
    }
}

#[tokio::test]
async fn no_header_is_repeated_by_an_error() {
    let fake = Fake::start(|_, _| Reply::json(403, json!({"error": "org-s3cret may not"}))).await;
    let headers = [("X-Org".to_owned(), super::ApiSecret::new("org-s3cret"))];
    let options = OpenAiChatOptions {
        connection: super::connection(&fake.url).with_headers(headers).unwrap(),
        ..options(&fake.url)
    };
    let model = OpenAiChat::new(options).unwrap();
    let error = model.stream_reply(asking()).await.err().unwrap();
    let shown = format!("{error} {error:?} {model:?}");
    assert!(
        shown.contains("[redacted] may not") && !shown.contains("org-s3cret"),
        "{shown}"
    );
}
