//! Services that fail at some texts, or take less in a request than they are sent.

use ragstone_adapters::embed::{OpenAiEmbedder, OpenAiEmbedderOptions};
use ragstone_core::seam::embedder::{EmbedError, Embedder, PassageEmbedding, TextKind};
use serde_json::{Value, json};

use super::connection;
use super::fake::{Asked, Fake, Reply};

/// What a service answers to a request.
type Answer = fn(&Asked) -> Reply;
/// What a service refuses of a body, if anything.
type Refusal = fn(&Value) -> Option<Reply>;

const BAD: &str = "zebra";

fn inputs(asked: &Asked) -> Vec<String> {
    serde_json::from_value(asked.body["input"].clone()).unwrap()
}

fn items(asked: &Asked) -> Vec<Value> {
    let item = |(index, text): (usize, &String)| json!({"index": index, "embedding": [text.chars().count(), 1.0]});
    inputs(asked).iter().enumerate().map(item).collect()
}

fn vectors(asked: &Asked) -> Reply {
    Reply::json(200, json!({ "data": items(asked) }))
}

fn refusal(status: u16, words: &str) -> Reply {
    Reply::json(status, json!({"error": {"message": words}}))
}

async fn connect(fake: &Fake) -> OpenAiEmbedder {
    let options = OpenAiEmbedderOptions {
        passage_concurrency: 1,
        ..OpenAiEmbedderOptions::new(connection(&fake.url), "m")
    };
    OpenAiEmbedder::connect(options).await.unwrap()
}

/// Forty texts of sixty characters or so, the one at `bad` with the word in it.
fn texts(bad: Option<usize>) -> Vec<String> {
    let text = |at: usize| {
        let word = if Some(at) == bad { BAD } else { "horse" };
        format!("A text, number {at:02}, with a {word} in it, which stands in a stable.")
    };
    (0..40).map(text).collect()
}

fn is_whole(embedding: &PassageEmbedding) -> bool {
    matches!(embedding, PassageEmbedding::Full(_))
}

#[tokio::test]
async fn one_text_that_a_service_cannot_embed_costs_no_other_its_vector() {
    let forms: [(&str, Answer); 8] = [
        ("500", |_| refusal(500, "cannot encode: value is not a number")),
        ("400", |_| refusal(400, "invalid input")),
        ("403", |_| refusal(403, "blocked by a rule")),
        ("413", |_| refusal(413, "")),
        ("NaN", |_| {
            Reply::stream("{\"data\": [{\"index\": 0, \"embedding\": [NaN, 1]}]}")
        }),
        ("null", |asked| with_vector(asked, Value::Null)),
        ("zero", |asked| with_vector(asked, json!([0, 0]))),
        ("dimensions", |asked| with_vector(asked, json!([1, 2, 3]))),
    ];
    for (form, bad) in forms {
        let fake = Fake::start(
            move |asked, _| match inputs(asked).iter().any(|text| text.contains(BAD)) {
                true => bad(asked),
                false => vectors(asked),
            },
        )
        .await;
        let found = connect(&fake).await.embed_passages(&texts(Some(17))).await.unwrap();
        let not_whole: Vec<usize> = (0..40).filter(|at| !is_whole(&found[*at])).collect();
        assert_eq!(not_whole, [17], "{form}");
        let requests = fake.asked().len();
        assert!(requests < 40, "{form}: {requests} requests");
    }
}

/// A reply in which the bad text has this vector.
fn with_vector(asked: &Asked, vector: Value) -> Reply {
    let mut data = items(asked);
    for (item, text) in data.iter_mut().zip(inputs(asked)) {
        if text.contains(BAD) {
            item["embedding"] = vector.clone();
        }
    }
    Reply::json(200, json!({ "data": data }))
}

#[tokio::test]
async fn a_text_is_cut_before_it_goes_without_a_vector() {
    let most = |asked: &Asked, most: usize| inputs(asked).iter().all(|text| text.chars().count() <= most);
    for (limit, expected) in [(100, true), (30, false)] {
        let fake =
            Fake::start(
                move |asked, _| match most(asked, limit) || inputs(asked)[0].starts_with("This is plain") {
                    true => vectors(asked),
                    false => refusal(400, "input is longer than what the model reads: too many tokens"),
                },
            )
            .await;
        let long = "退".repeat(400);
        let embedder = connect(&fake).await;
        let found = embedder
            .embed_passages(std::slice::from_ref(&long))
            .await
            .unwrap()
            .remove(0);
        match (found, expected) {
            (PassageEmbedding::Truncated(embedding), true) => {
                let characters = embedding.vector[0] / embedding.vector[1];
                assert!((characters - 100.0).abs() < 0.1, "{characters}");
                let learned = fake.asked().len();
                embedder.embed_passages(std::slice::from_ref(&long)).await.unwrap();
                assert_eq!(fake.asked().len(), learned + 1, "what it reads is remembered");
            }
            (PassageEmbedding::None(why), false) => assert!(why.contains("too many tokens"), "{why}"),
            (other, _) => panic!("{limit}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_service_that_is_down_is_no_fault_of_a_text() {
    for (status, words) in [(500, "down"), (400, "no such model"), (401, "wrong key"), (503, "")] {
        let fake = Fake::start(move |asked, number| match number {
            0 => vectors(asked),
            _ => refusal(status, words),
        })
        .await;
        let error = connect(&fake).await.embed_passages(&texts(None)).await.unwrap_err();
        let expected = match status {
            500 => matches!(error, EmbedError::Broken { .. }),
            503 => matches!(error, EmbedError::Busy { .. }),
            _ => matches!(error, EmbedError::Refused { .. }),
        };
        assert!(expected, "{status}: {error}");
    }
}

#[tokio::test]
async fn a_service_that_fails_by_chance_leaves_no_text_without_its_vector() {
    let fake = Fake::start(|asked, number| match number % 3 {
        2 => refusal(500, "by chance"),
        _ => vectors(asked),
    })
    .await;
    let found = connect(&fake).await.embed_passages(&texts(None)).await.unwrap();
    assert!(found.iter().all(is_whole));
}

#[tokio::test]
async fn a_limit_is_found_by_halving_and_remembered() {
    let cases: [(u16, &str); 6] = [
        (400, "batch size is invalid, it should not be larger than 10"),
        (400, "Number of inputs (40) exceeds the limit of 10 per request"),
        (422, "input array must contain no more than 10 items"),
        (400, "批量大小不正确"),
        (413, ""),
        (500, "input is too large to process. increase the physical batch size"),
    ];
    for (status, words) in cases {
        let fake = Fake::start(move |asked, _| match inputs(asked).len() {
            count if count > 10 => refusal(status, words),
            _ => vectors(asked),
        })
        .await;
        let embedder = connect(&fake).await;
        let found = embedder.embed_passages(&texts(None)).await.unwrap();
        assert!(found.iter().all(is_whole), "{words}");
        let learned = fake.asked().len();
        embedder.embed_passages(&texts(None)).await.unwrap();
        assert_eq!(fake.asked().len(), learned + 4, "{status} {words}: four batches of ten");
    }
}

#[tokio::test]
async fn a_bad_text_lowers_no_limit() {
    let fake = Fake::start(|asked, _| match inputs(asked).iter().any(|text| text.contains(BAD)) {
        true => refusal(400, "invalid input"),
        false => vectors(asked),
    })
    .await;
    let embedder = connect(&fake).await;
    embedder.embed_passages(&texts(Some(3))).await.unwrap();
    let before = fake.asked().len();
    embedder.embed_passages(&texts(None)).await.unwrap();
    assert_eq!(fake.asked().len(), before + 1, "all at once, as ever");
}

#[tokio::test]
async fn an_encoding_that_is_not_known_is_not_asked_for_again() {
    let cases: [(&str, Refusal); 4] = [
        ("by name, whatever its value", |body| {
            body.get("encoding_format")
                .map(|_| refusal(400, "unsupported parameters: encoding_format"))
        }),
        ("its value alone", |body| {
            (body["encoding_format"] == "base64").then(|| refusal(400, "unknown value: base64"))
        }),
        ("as a failure", |body| {
            (body["encoding_format"] == "base64").then(|| refusal(500, "internal error"))
        }),
        ("as something else", |body| {
            body.get("encoding_format")
                .map(|_| Reply::json(200, json!({"data": [{"embedding": {}}]})))
        }),
    ];
    for (form, refuses) in cases {
        let fake = Fake::start(move |asked, _| refuses(&asked.body).unwrap_or_else(|| vectors(asked))).await;
        let embedder = connect(&fake).await;
        let learned = fake.asked().len();
        embedder.embed_texts(&texts(None), TextKind::Passage).await.unwrap();
        assert_eq!(fake.asked().len(), learned + 1, "{form}");
    }
}

#[tokio::test]
async fn one_failure_at_the_start_costs_no_encoding() {
    let fake = Fake::start(|asked, number| match number {
        0 => refusal(500, "starting"),
        _ => vectors(asked),
    })
    .await;
    connect(&fake)
        .await
        .embed_texts(&texts(None), TextKind::Passage)
        .await
        .unwrap();
    assert_eq!(fake.asked().last().unwrap().body["encoding_format"], "base64");
}

#[tokio::test]
async fn a_long_question_is_cut() {
    let fake = Fake::start(|asked, _| match inputs(asked)[0].chars().count() > 200 {
        true => refusal(400, "too many tokens"),
        false => vectors(asked),
    })
    .await;
    let embedder = connect(&fake).await;
    let question = ["why ".repeat(150)];
    let found = embedder.embed_texts(&question, TextKind::Query).await.unwrap();
    let characters = found[0].vector[0] / found[0].vector[1];
    assert!((100.0..=200.0).contains(&characters), "{characters}");
}

#[tokio::test]
async fn chunks_fit_by_an_estimate() {
    let fake = Fake::start(|asked, _| vectors(asked)).await;
    let embedder = connect(&fake).await;
    for (text, fits) in [
        ("word ".repeat(160), true),
        ("退".repeat(512), true),
        ("退".repeat(513), false),
        ("word ".repeat(500), false),
    ] {
        assert_eq!(embedder.fits_input_limit(&text), fits, "{} bytes", text.len());
    }
}
