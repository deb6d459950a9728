use futures::StreamExt;
use ragstone_adapters::chat::{OpenAiChat, OpenAiChatOptions, TokenLimitName};
use ragstone_core::seam::chat::{ChatError, ChatEvent, ChatModel, ChatRequest, FinishReason, TokenUsage};
use ragstone_core::seam::contract_chat;
use serde_json::json;

use super::fake::{Fake, Reply};
use super::stub::Stub;
use super::{KEY, connection, limits};

const QUESTION: &str = "How long is the refund window?";
const TEXTS: [&str; 2] = [
    "Bees make honey.\nQuestion: none. Context: none.",
    "Prices vary. The refund window is thirty days.",
];

pub(super) fn model(url: &str) -> OpenAiChat {
    OpenAiChat::new(options(url)).unwrap()
}

pub(super) fn options(url: &str) -> OpenAiChatOptions {
    OpenAiChatOptions {
        connection: connection(url),
        model: "gpt-test".into(),
        context_tokens: 8_192,
        temperature: Some(0.0),
        max_tokens: Some(100),
        token_limit_name: TokenLimitName::Auto,
        holds_first_answer: true,
    }
}

pub(super) fn asking() -> ChatRequest {
    super::request(QUESTION, &TEXTS)
}

pub(super) async fn all(model: &OpenAiChat) -> Result<Vec<Result<ChatEvent, ChatError>>, ChatError> {
    Ok(model.stream_reply(asking()).await?.collect().await)
}

/// What was said before the last event, and the last event.
pub(super) async fn told(model: &OpenAiChat) -> (String, Result<ChatEvent, ChatError>) {
    let mut events = all(model).await.unwrap();
    let last = events.pop().unwrap();
    let said = events.into_iter().map(|event| match event.unwrap() {
        ChatEvent::Delta(text) => text,
        _ => String::new(),
    });
    (said.collect(), last)
}

pub(super) fn delta(text: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({"choices": [{"delta": {"content": text}, "finish_reason": null}]})
    )
}

pub(super) fn finish(reason: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({"choices": [{"delta": {}, "finish_reason": reason}]})
    )
}

#[tokio::test]
async fn the_contract_holds_over_the_stub() {
    let Some(stub) = Stub::with(&[("STUB_ITL_MS", "1")]) else {
        return;
    };
    let model = model(&stub.url);
    contract_chat::describes_itself(&model);
    let answer = contract_chat::answers(&model, asking()).await;
    assert_eq!(
        answer,
        "According to the provided context: \"The refund window is thirty days.\" [2]"
    );
    contract_chat::answers_side_by_side(&model, asking()).await;
    let events = all(&model).await.unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Ok(ChatEvent::Usage(usage)) if usage.prompt_tokens > 100))
    );
}

#[tokio::test]
async fn what_passes_is_tried_again_before_the_first_byte_over_the_stub() {
    for fault in [
        "429?first=2&retry_after=0",
        "500?first=3",
        "drop?first=1",
        "hang?first=1",
    ] {
        let Some(stub) = Stub::start(fault) else { return };
        let (said, last) = told(&model(&stub.url)).await;
        assert!(said.contains("thirty days"), "{fault}: {said}");
        assert!(
            matches!(last, Ok(ChatEvent::End(FinishReason::Stop))),
            "{fault}: {last:?}"
        );
    }
}

/// A model whose answers have to begin within a moment.
fn hurried(url: &str) -> OpenAiChat {
    let limits = super::ServiceLimits {
        opening: std::time::Duration::from_millis(200),
        ..limits()
    };
    let connection = super::OpenAiConnection::new(url, None, limits).unwrap();
    let options = OpenAiChatOptions {
        connection,
        ..options(url)
    };
    OpenAiChat::new(options).unwrap()
}

#[tokio::test]
async fn a_wait_that_ends_after_the_deadline_is_not_begun() {
    let busy = |wait: &'static str| {
        move |_: &_, number| match number {
            0 => Reply::json(429, json!({})).header("retry-after", wait),
            _ => Reply::stream(&(delta("a") + &finish("stop"))),
        }
    };
    let fake = Fake::start(busy("20")).await;
    let error = all(&hurried(&fake.url)).await.unwrap_err();
    let told = std::time::Duration::from_secs(20);
    assert!(
        matches!(&error, ChatError::Busy { after: Some(after), .. } if *after == told),
        "{error}"
    );
    assert_eq!(fake.asked().len(), 1);
    let fake = Fake::start(busy("0")).await;
    assert_eq!(self::told(&hurried(&fake.url)).await.0, "a");
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn an_answer_that_begins_and_says_nothing_ends_at_the_deadline() {
    // Whether or not the head of the reply comes.
    let silent = Fake::start(|_, _| Reply::stream("").stays()).await;
    let (said, last) = told(&hurried(&silent.url)).await;
    assert!(matches!(last, Err(ChatError::Broken { .. })), "{last:?}");
    assert_eq!((said.as_str(), silent.asked().len()), ("", 1));
    // One word is enough: from there on the limit between two words holds.
    let slow = Fake::start(|_, _| Reply::stream(&delta("a")).stays()).await;
    let (said, last) = told(&hurried(&slow.url)).await;
    assert!(matches!(last, Err(ChatError::Broken { .. })), "{last:?}");
    assert_eq!(said, "a");
}

#[tokio::test]
async fn what_breaks_off_is_no_answer_over_the_stub() {
    for fault in ["drop_mid", "malformed_mid", "error_mid", "hang_mid", "malformed"] {
        let Some(stub) = Stub::start(&format!("{fault}@chat?after=3")) else {
            return;
        };
        let (_, last) = told(&model(&stub.url)).await;
        assert!(matches!(last, Err(ChatError::Broken { .. })), "{fault}: {last:?}");
    }
}

#[tokio::test]
async fn what_stays_is_named_over_the_stub() {
    let check = async |fault: &str, expected: fn(&ChatError) -> bool| {
        let Some(stub) = Stub::start(fault) else { return };
        let error = all(&model(&stub.url)).await.unwrap_err();
        assert!(expected(&error), "{fault}: {error}");
    };
    check("429?retry_after=3600", |error| {
        matches!(error, ChatError::Busy { after: Some(_), .. })
    })
    .await;
    check("401", |error| matches!(error, ChatError::Refused { .. })).await;
    check("500", |error| matches!(error, ChatError::Broken { .. })).await;
    check("hang", |error| matches!(error, ChatError::Broken { .. })).await;
}

#[tokio::test]
async fn a_stream_ends_only_when_the_service_says_so() {
    let check = async |stream: String, expected: Option<FinishReason>| {
        let shown = stream.clone();
        let fake = Fake::start(move |_, _| Reply::stream(&stream)).await;
        match (told(&model(&fake.url)).await.1, expected) {
            (Ok(ChatEvent::End(finish)), Some(expected)) => assert_eq!(finish, expected, "{shown}"),
            (Err(ChatError::Broken { .. }), None) => {}
            (last, _) => panic!("{shown}: {last:?}"),
        }
        assert_eq!(fake.asked().len(), 1, "a reply that has begun is not asked for again");
    };
    check(
        delta("a") + &finish("stop") + "data: [DONE]\n\n",
        Some(FinishReason::Stop),
    )
    .await;
    check(delta("a") + &finish("stop"), Some(FinishReason::Stop)).await;
    check(delta("a") + "data: [DONE]", Some(FinishReason::Stop)).await;
    check(delta("a") + "data: [DONE]\n", Some(FinishReason::Stop)).await;
    check(delta("a") + &finish("length"), Some(FinishReason::Length)).await;
    check(delta("a") + &finish("content_filter"), Some(FinishReason::Filtered)).await;
    check(delta("a"), None).await;
    check(
        delta("a") + "data: {\"error\": {\"message\": \"overloaded\"}}\n\n",
        None,
    )
    .await;
    check(delta("a") + "data: {\"cho", None).await;
    check(String::new(), None).await;
}

#[tokio::test]
async fn text_of_many_bytes_and_lines_comes_through() {
    let stream = ": ping\r\n\r\n".to_owned() + &delta("é日本\n\n🦀 ") + &delta("") + &delta("x") + &finish("stop");
    let usage = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 7, \"completion_tokens\": 2, \"x\": 1}}\n\n";
    let stream = stream + usage + "data: [DONE]\n\n";
    let fake = Fake::start(move |_, _| Reply::stream(&stream)).await;
    let events: Result<Vec<_>, _> = all(&model(&fake.url)).await.unwrap().into_iter().collect();
    assert_eq!(
        events.unwrap(),
        [
            ChatEvent::Delta("é日本\n\n🦀 ".into()),
            ChatEvent::Delta("x".into()),
            ChatEvent::Usage(TokenUsage {
                prompt_tokens: 7,
                completion_tokens: 2
            }),
            ChatEvent::End(FinishReason::Stop),
        ]
    );
}

#[tokio::test]
async fn who_leaves_closes_the_connection() {
    let mut fake = Fake::start(|_, _| Reply::stream(&delta("a")).stays()).await;
    let mut options = options(&fake.url);
    let patient = super::ServiceLimits {
        idle: std::time::Duration::from_secs(600),
        ..limits()
    };
    options.connection = super::OpenAiConnection::new(&fake.url, None, patient).unwrap();
    let mut events = OpenAiChat::new(options).unwrap().stream_reply(asking()).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), ChatEvent::Delta("a".into()));
    drop(events);
    fake.client_left().await;
}

#[tokio::test]
async fn refused_parameters_are_left_out_the_next_time() {
    let fake = Fake::start(|asked, _| {
        let refuse = |name: &str| {
            let message = format!("Unsupported parameter: '{name}' is not supported with this model");
            Reply::json(400, json!({"error": {"message": message}}))
        };
        match &asked.body {
            body if body.get("stream_options").is_some() => refuse("stream_options"),
            body if body.get("max_tokens").is_some() => refuse("max_tokens"),
            body if body.get("temperature").is_some() => refuse("temperature"),
            _ => Reply::stream(&(delta("a") + &finish("stop"))),
        }
    })
    .await;
    let model = model(&fake.url);
    assert_eq!(told(&model).await.0, "a");
    assert_eq!(told(&model).await.0, "a");
    let asked = fake.asked();
    assert_eq!(asked.len(), 5, "learned once");
    assert_eq!(asked[4].body["max_completion_tokens"], 100);
    assert_eq!(
        (&asked[0].body["temperature"], &asked[0].body["max_tokens"]),
        (&json!(0.0), &json!(100))
    );
}

#[tokio::test]
async fn a_parameter_that_was_set_is_not_exchanged() {
    let refuse = json!({"error": {"message": "max_completion_tokens is unknown"}});
    let fake = Fake::start(move |_, _| Reply::json(400, refuse.clone())).await;
    let options = OpenAiChatOptions {
        token_limit_name: TokenLimitName::MaxCompletionTokens,
        ..options(&fake.url)
    };
    let refused = OpenAiChat::new(options)
        .unwrap()
        .stream_reply(asking())
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, ChatError::Refused { .. }));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn no_error_holds_a_secret() {
    let said = json!({"error": {"message": format!("key {KEY} is blocked")}});
    let line = format!("data: {said}\n\n");
    let fake = Fake::start(move |_, number| match number {
        0 => Reply::json(403, said.clone()),
        _ => Reply::stream(&line),
    })
    .await;
    let model = model(&fake.url);
    let refused = all(&model).await.unwrap_err();
    let broken = told(&model).await.1.unwrap_err();
    for error in [refused, broken] {
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("[redacted]") && !shown.contains(KEY), "{shown}");
    }
    assert!(!format!("{model:?}").contains(KEY));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Fake::start(|_, _| Reply::stream(&finish("stop"))).await;
    let target = other.url.clone();
    let fake = Fake::start(move |_, _| Reply::json(307, json!({})).header("location", &target)).await;
    assert!(matches!(all(&model(&fake.url)).await, Err(ChatError::Refused { .. })));
    assert!(other.asked().is_empty());
}
