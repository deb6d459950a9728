use std::time::Duration;

use ragstone_adapters::embed::{OpenAiEmbedder, OpenAiEmbedderOptions};
use ragstone_adapters::openai::ServiceLimits;
use ragstone_core::seam::contract_embedder;
use ragstone_core::seam::embedder::{EmbedError, Embedder, TextKind};
use serde_json::{Value, json};

use super::fake::{Asked, Fake, Reply};
use super::stub::Stub;
use super::{KEY, connection, limits};

async fn connect(url: &str) -> Result<OpenAiEmbedder, EmbedError> {
    OpenAiEmbedder::connect(OpenAiEmbedderOptions::new(connection(url), "all-MiniLM-L6-v2")).await
}

fn inputs(asked: &Asked) -> Vec<String> {
    serde_json::from_value(asked.body["input"].clone()).unwrap()
}

/// Vectors that tell their text: its length in the first place.
fn vectors(asked: &Asked) -> Value {
    let item = |(index, text): (usize, &String)| json!({"index": index, "embedding": [text.len(), 1.0]});
    let mut data: Vec<Value> = inputs(asked).iter().enumerate().map(item).collect();
    data.reverse();
    json!({ "data": data })
}

fn too_long() -> Reply {
    Reply::json(
        400,
        json!({"error": {"message": "This model's maximum context length is 8192 tokens"}}),
    )
}

fn texts(count: usize) -> Vec<String> {
    (1..=count).map(|length| "x".repeat(length)).collect()
}

#[tokio::test]
async fn the_contract_holds_over_the_stub() {
    let Some(stub) = Stub::start("") else { return };
    contract_embedder::holds(&connect(&stub.url).await.unwrap()).await;
    let Some(stub) = Stub::start("500@embeddings?every=3;429@embeddings?every=4&retry_after=0.01") else {
        return;
    };
    contract_embedder::holds(&connect(&stub.url).await.unwrap()).await;
}

#[tokio::test]
async fn what_passes_is_tried_again_over_the_stub() {
    let check = async |fault: &str| {
        let Some(stub) = Stub::start(fault) else { return };
        let embedder = connect(&stub.url)
            .await
            .unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert_eq!(embedder.fingerprint().dimensions, 384, "{fault}");
    };
    for fault in [
        "429?first=2&retry_after=0",
        "500?first=3",
        "503?first=1",
        "drop?first=1",
        "hang?first=1",
        "malformed?first=2",
    ] {
        check(fault).await;
    }
}

#[tokio::test]
async fn what_stays_is_named_over_the_stub() {
    let Some(stub) = Stub::start("429?retry_after=3600") else {
        return;
    };
    let error = connect(&stub.url).await.unwrap_err();
    let EmbedError::Busy { after, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(
        after,
        Some(Duration::from_secs(3600)),
        "a pause that is too long is the caller's to make"
    );
    let Some(stub) = Stub::start("401") else { return };
    assert!(matches!(connect(&stub.url).await, Err(EmbedError::Refused { .. })));
    let Some(stub) = Stub::start("500") else { return };
    assert!(matches!(connect(&stub.url).await, Err(EmbedError::Broken { .. })));
}

#[tokio::test]
async fn a_pause_that_was_asked_for_is_kept() {
    let fake = Fake::start(|asked, number| match number {
        0 => Reply::json(429, json!({})).header("retry-after", "0.2"),
        1 => Reply::json(503, json!({}))
            .header("date", "Tue, 15 Nov 1994 08:12:31 GMT")
            .header("retry-after", "Tue, 15 Nov 1994 08:12:31 GMT"),
        _ => Reply::json(200, vectors(asked)),
    })
    .await;
    let start = std::time::Instant::now();
    connect(&fake.url).await.unwrap();
    // A lower bound, which a slow machine only passes by more.
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn tries_are_counted() {
    let fake = Fake::start(|_, _| Reply::json(500, json!({}))).await;
    assert!(matches!(connect(&fake.url).await, Err(EmbedError::Broken { .. })));
    assert_eq!(
        fake.asked().len(),
        3 + limits().tries,
        "each encoding once, then the first again"
    );
    let fake = Fake::start(|_, _| Reply::json(404, json!({"error": {"message": "no such model"}}))).await;
    let error = connect(&fake.url).await.unwrap_err().to_string();
    assert!(error.contains("no such model"), "{error}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_batch_that_is_too_long_is_halved_and_keeps_its_order() {
    let fake = Fake::start(|asked, _| match inputs(asked).len() {
        count if count > 3 => Reply::json(400, json!({"error": {"message": "at most 3 inputs"}})),
        _ => Reply::json(200, vectors(asked)),
    })
    .await;
    let embedder = connect(&fake.url).await.unwrap();
    let found = embedder.embed_texts(&texts(10), TextKind::Passage).await.unwrap();
    for (at, embedding) in found.iter().enumerate() {
        let ratio = embedding.vector[0] / embedding.vector[1];
        assert!((ratio - (at + 1) as f32).abs() < 1e-3, "text {at}: {ratio}");
    }
    let sizes: Vec<usize> = fake.asked()[1..].iter().map(|asked| inputs(asked).len()).collect();
    assert_eq!(sizes, [10, 1, 5, 2, 3, 2, 3], "a plain text after the first refusal");
}

#[tokio::test]
async fn a_service_that_refuses_everything_is_told() {
    let fake = Fake::start(|asked, number| {
        if number == 0 {
            Reply::json(200, vectors(asked))
        } else {
            too_long()
        }
    })
    .await;
    let embedder = connect(&fake.url).await.unwrap();
    let error = embedder.embed_texts(&texts(1), TextKind::Passage).await.unwrap_err();
    assert!(matches!(error, EmbedError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn batches_and_prefixes_are_as_set() {
    let fake = Fake::start(|asked, _| Reply::json(200, vectors(asked))).await;
    let options = OpenAiEmbedderOptions {
        batch_texts: 4,
        passage_concurrency: 1,
        query_prefix: "query: ".into(),
        dimensions: Some(2),
        ..OpenAiEmbedderOptions::new(connection(&fake.url), "m")
    };
    let embedder = OpenAiEmbedder::connect(options).await.unwrap();
    embedder.embed_texts(&texts(10), TextKind::Passage).await.unwrap();
    embedder.embed_texts(&texts(1), TextKind::Query).await.unwrap();
    let asked = fake.asked();
    let sizes: Vec<usize> = asked[1..].iter().map(|asked| inputs(asked).len()).collect();
    assert_eq!(sizes, [4, 4, 2, 1]);
    assert_eq!(inputs(&asked[4]), ["query: x"]);
    assert_eq!(asked[0].body["dimensions"], 2);
    assert!(asked[0].head.starts_with("POST /v1/embeddings "), "{}", asked[0].head);
}

#[tokio::test]
async fn other_dimensions_are_refused_at_the_start() {
    let fake = Fake::start(|asked, _| Reply::json(200, vectors(asked))).await;
    let options = OpenAiEmbedderOptions {
        dimensions: Some(384),
        ..OpenAiEmbedderOptions::new(connection(&fake.url), "m")
    };
    let error = OpenAiEmbedder::connect(options).await.unwrap_err();
    assert!(
        error.to_string().contains("vectors of 2 dimensions where 384 are set"),
        "{error}"
    );
}

#[tokio::test]
async fn a_reply_that_does_not_fit_its_texts_is_broken() {
    for data in [
        json!([{"index": 1, "embedding": [1.0, 0.0]}]),
        json!([{"index": 0, "embedding": [1.0, 0.0]}, {"index": 0, "embedding": [1.0, 0.0]}]),
        json!([{"index": 0, "embedding": [1.0, 0.0]}, {"index": 7, "embedding": [1.0, 0.0]}]),
        json!([{"index": 0, "embedding": [1.0]}]),
        json!([{"index": 0, "embedding": "AAAA"}]),
        json!([]),
    ] {
        let shown = data.to_string();
        let fake = Fake::start(move |asked, number| match number {
            0 => Reply::json(200, vectors(asked)),
            _ => Reply::json(200, json!({ "data": data })),
        })
        .await;
        let embedder = connect(&fake.url).await.unwrap();
        let result = embedder.embed_texts(&texts(2), TextKind::Passage).await;
        assert!(matches!(result, Err(EmbedError::Broken { .. })), "{shown}");
    }
}

#[tokio::test]
async fn a_service_without_base64_sends_numbers() {
    let fake = Fake::start(|asked, _| match asked.body["encoding_format"].as_str() {
        Some("float") => Reply::json(200, vectors(asked)),
        _ => Reply::json(400, json!({"error": {"message": "unknown encoding_format"}})),
    })
    .await;
    let embedder = connect(&fake.url).await.unwrap();
    embedder.embed_texts(&texts(1), TextKind::Query).await.unwrap();
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn a_question_does_not_wait_behind_passages() {
    let fake = Fake::start(|asked, _| match inputs(asked)[0].starts_with("passage") {
        true => Reply::json(200, json!({})).stays(),
        false => Reply::json(200, vectors(asked)),
    })
    .await;
    let options = OpenAiEmbedderOptions {
        passage_concurrency: 1,
        connection: super::OpenAiConnection::new(&fake.url, None, ServiceLimits::default()).unwrap(),
        ..OpenAiEmbedderOptions::new(connection(&fake.url), "m")
    };
    let embedder = OpenAiEmbedder::connect(options).await.unwrap();
    let (passages, question) = (["passage".to_owned()], ["question".to_owned()]);
    tokio::select! {
        biased;
        _ = embedder.embed_texts(&passages, TextKind::Passage) => panic!("the server does not answer it"),
        found = embedder.embed_texts(&question, TextKind::Query) => assert_eq!(found.unwrap().len(), 1),
    }
}

#[tokio::test]
async fn nobody_waits_long_for_the_vector_of_a_question() {
    let fake = Fake::start(|asked, number| match number {
        0 => Reply::json(200, vectors(asked)),
        _ => Reply::json(429, json!({})).header("retry-after", "30"),
    })
    .await;
    let embedder = connect(&fake.url).await.unwrap();
    let error = embedder.embed_texts(&texts(1), TextKind::Query).await.unwrap_err();
    assert!(matches!(error, EmbedError::Broken { .. }), "{error}");
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn no_error_holds_a_secret() {
    let fake = Fake::start(|_, _| Reply::json(401, json!({"error": {"message": format!("wrong key {KEY}")}}))).await;
    let error = connect(&fake.url).await.unwrap_err();
    assert!(error.to_string().contains("wrong key [redacted]"), "{error}");
    assert!(fake.asked()[0].head.contains(KEY), "the service gets it");
    let url = fake.url.replace("http://", "http://user:pa55w0rd@");
    let open = super::OpenAiConnection::new(&url.replace("127.0.0.1", "127.0.0.1:1/nowhere-"), None, limits());
    for connection in [
        super::OpenAiConnection::new(&url, None, limits()).unwrap(),
        open.unwrap(),
    ] {
        let error = OpenAiEmbedder::connect(OpenAiEmbedderOptions::new(connection, "m"))
            .await
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("pa55w0rd"), "{error}");
    }
    assert!(
        fake.asked()[1].head.to_lowercase().contains("authorization: basic"),
        "{}",
        fake.asked()[1].head
    );
}
