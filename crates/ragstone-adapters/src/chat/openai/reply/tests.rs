//! Both parsers of an event on the forms that services send.

use super::*;
use crate::openai::{OpenAiConnection, ServiceLimits};

fn client() -> OpenAiClient {
    OpenAiClient::new(OpenAiConnection::new("http://h", None, ServiceLimits::default()).unwrap()).unwrap()
}

/// What the reader of all forms makes of an event.
fn slow(client: &OpenAiClient, data: &str) -> Result<ReplyDelta, ServiceError> {
    parse_delta(client, &serde_json::from_str(data).unwrap(), false)
}

/// Events as services send them, and whether they have the usual form.
const EVENTS: [(&str, bool); 26] = [
    (
        r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","system_fingerprint":"f","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"a8"}"#,
        true,
    ),
    (
        r#"{"choices":[{"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}]}"#,
        true,
    ),
    (r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, true),
    (r#"{"choices":[{"delta":{}}]}"#, true),
    (r#"{"choices":[{"delta":{"content":null},"finish_reason":""}]}"#, true),
    (
        r#"{"choices":[{"delta":{"content":"a\n\"\u00e9\ud83e\udd80"},"text":null}],"error":null}"#,
        true,
    ),
    (
        r#"{"choices":[{"delta":{"content":"a","reasoning_content":null,"tool_calls":[{"x":1}]},"stop_reason":7}],"provider":"P"}"#,
        true,
    ),
    (r#"{"type":"completion","choices":[{"delta":{"content":"a"}}]}"#, true),
    (
        r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
        false,
    ),
    (r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#, false),
    (
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
        false,
    ),
    (
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
        false,
    ),
    (r#"{"choices":[{"delta":{"content":"a","reasoning":"hm"}}]}"#, false),
    (r#"{"choices":[{"delta":{"content":"","refusal":"no"}}]}"#, false),
    (
        r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"}]}}]}"#,
        false,
    ),
    (
        r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#,
        false,
    ),
    (r#"{"choices":[{"delta":null,"message":{"content":"a"}}]}"#, false),
    (r#"{"choices":[{"message":{"content":"a"}}]}"#, false),
    (r#"{"choices":[{"text":"a"}]}"#, false),
    (r#"{"choices":[{"delta":{"content":"a"},"text":"b"}]}"#, false),
    (
        r#"{"choices":[{"delta":{"content":"a"},"error":{"message":"overloaded"}}]}"#,
        false,
    ),
    (
        r#"{"choices":[{"delta":{"content":"a"}}],"error":{"message":"overloaded","code":503}}"#,
        false,
    ),
    (
        r#"{"choices":[{"delta":{"content":"a"}}],"base_resp":{"status_code":1002,"status_msg":"busy"}}"#,
        false,
    ),
    (
        r#"{"object":"error","message":"overloaded","choices":[{"delta":{"content":"a"}}]}"#,
        false,
    ),
    (r#"{"type":"error","choices":[{"delta":{"content":"a"}}]}"#, false),
    (r#"{"choices":[{"delta":{"content":"a","content":"b"}}]}"#, false),
];

#[test]
fn the_usual_form_is_read_as_all_forms_are() {
    let client = client();
    for (event, is_usual) in EVENTS {
        assert_eq!(common::parse_usual_text(event).is_some(), is_usual, "{event}");
        assert_eq!(parse_event(&client, event, false), slow(&client, event), "{event}");
    }
}

#[test]
fn an_event_that_is_called_an_error_is_none_of_the_usual_form() {
    let (client, (event, _)) = (client(), EVENTS[0]);
    assert!(parse_event(&client, event, false).is_ok());
    assert!(parse_event(&client, event, true).is_err());
}
