//! The real model against sentence-transformers' own vectors.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ragstone_encoder::{InputRole, LocalModel, LocalOptions, NumericPrecision};

use crate::embed::weights::{FetchOptions, WeightsManifest, ensure_model};

const ORACLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/minilm/cases.json");

#[derive(serde::Deserialize)]
struct Oracle {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    token_ids: Vec<u32>,
    embedding: Vec<f32>,
}

fn load(precision: NumericPrecision) -> Option<LocalModel> {
    let options = LocalOptions {
        precision,
        ..Default::default()
    };
    Some(LocalModel::load(model_directory()?, options).unwrap())
}

#[test]
fn vectors_and_ids_are_those_of_sentence_transformers() {
    let Ok(oracle) = std::fs::read(ORACLE) else {
        ragstone_testkit::skip_test("the embedding oracle", "put shared/ beside the repository");
        return;
    };
    let cases = serde_json::from_slice::<Oracle>(&oracle).unwrap().cases;
    let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    for precision in [NumericPrecision::F32, NumericPrecision::Bf16, NumericPrecision::F16] {
        let Some(model) = load(precision) else { return };
        let together = model.embed_texts(&texts, InputRole::Passage, true).unwrap();
        for (case, batched) in cases.iter().zip(together) {
            let alone = model
                .embed_texts(&[&case.text], InputRole::Query, false)
                .unwrap()
                .remove(0);
            let tokens = batched.tokens.unwrap();
            let ids = &case.token_ids[1..case.token_ids.len() - 1];
            assert_eq!(tokens.ids, ids, "{:?}", case.text);
            assert_eq!(tokens.rows.len(), tokens.ids.len() * 384);
            for vector in [&alone.vector, &batched.vector] {
                let cosine = cosine(vector, &case.embedding);
                assert!(cosine >= 0.9999, "{precision:?}: cosine {cosine} for {:?}", case.text);
                assert!((length(vector) - 1.0).abs() < 1e-5);
            }
        }
    }
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}

#[test]
fn pieces_of_words_are_given_without_special_tokens() {
    let Some(model) = load(NumericPrecision::Auto) else {
        return;
    };
    let pieces = |word| -> Vec<String> {
        let ids = model.word_pieces(word).unwrap();
        ids.into_iter().map(|id| model.piece_text(id).to_owned()).collect()
    };
    assert_eq!(pieces("capital"), ["capital"]);
    assert_eq!(pieces("Tokenization"), ["token", "##ization"]);
    assert_eq!(pieces("验"), ["[UNK]"]);
    assert_eq!(model.piece_text(u32::MAX), "");
}

#[test]
fn calls_at_the_same_time_give_what_they_give_alone() {
    let Some(model) = load(NumericPrecision::Auto) else {
        return;
    };
    let long = "steam engines are external combustion engines ".repeat(20);
    let batch = [long.as_str(); 4];
    let (question, passages) = std::thread::scope(|scope| {
        let passages = scope.spawn(|| model.embed_texts(&batch, InputRole::Passage, false).unwrap());
        (
            model
                .embed_texts(&["what is a steam engine?"], InputRole::Query, false)
                .unwrap(),
            passages.join().unwrap(),
        )
    });
    assert_eq!(
        question[0].vector,
        model
            .embed_texts(&["what is a steam engine?"], InputRole::Query, false)
            .unwrap()[0]
            .vector
    );
    assert_eq!(passages[0].vector, passages[3].vector);
}

/// Cosine of two vectors.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32
}

/// The folder of all-MiniLM-L6-v2: `RAGSTONE_MODEL_DIR` (a model, or a folder of models) or the user's cache, filled by
/// our own fetch where it is empty. `None`, after a line that says how to get it, if it cannot be had.
pub(super) fn model_directory() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_model).as_deref()
}

fn find_model() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the machine keeps its models is the environment's to say"
    )]
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").or(variable("HOME").map(|home| home.join(".cache")));
    let models = variable("RAGSTONE_MODEL_DIR").or_else(|| Some(cache()?.join("ragstone/models")))?;
    if models.join("modules.json").is_file() {
        return Some(models);
    }
    let options = FetchOptions {
        manifest: WeightsManifest::all_minilm_l6_v2(),
        models,
        given: None,
        hub: None,
        python: Some("python3".into()),
        offline: variable("RAGSTONE_OFFLINE").is_some_and(|value| value.as_os_str() == "1"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = runtime.block_on(ensure_model(&options, &|_| {}));
    found
        .inspect_err(|error| ragstone_testkit::skip_test("tests with the real model", &error.to_string()))
        .ok()
}
