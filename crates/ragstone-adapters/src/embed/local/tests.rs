//! The whole model against two oracles: sentence-transformers' own vectors, and a textbook forward pass over small
//! random models.

#![allow(clippy::unwrap_used)]

use super::testing::{cosine, model_directory};
use super::*;

const ORACLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../shared/data/minilm/cases.json"
);

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

fn load(precision: Precision) -> Option<LocalModel> {
    let options = LocalOptions {
        precision,
        ..Default::default()
    };
    Some(LocalModel::load(model_directory()?, options).unwrap())
}

#[test]
fn vectors_and_ids_are_those_of_sentence_transformers() {
    let Ok(oracle) = std::fs::read(ORACLE) else {
        eprintln!("skipped: the embedding oracle, put shared/ beside the project to enable it");
        return;
    };
    let cases = serde_json::from_slice::<Oracle>(&oracle).unwrap().cases;
    let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    for precision in [Precision::F32, Precision::Bf16] {
        let Some(model) = load(precision) else { return };
        let together = model.embed(&texts, Side::Passage, true).unwrap();
        for (case, batched) in cases.iter().zip(together) {
            let alone = model.embed(&[&case.text], Side::Query, false).unwrap().remove(0);
            let ids = model.tokens.encode("", &case.text).unwrap().ids;
            assert_eq!(ids, case.token_ids, "{:?}", case.text);
            let tokens = batched.tokens.unwrap();
            assert_eq!(tokens.ids, ids[1..ids.len() - 1]);
            assert_eq!(tokens.rows.len(), tokens.ids.len() * 384);
            for vector in [&alone.vector, &batched.vector] {
                let cosine = cosine(vector, &case.embedding);
                assert!(
                    cosine >= 0.9999,
                    "{precision:?}: cosine {cosine} for {:?}",
                    case.text
                );
                assert!((cosine_length(vector) - 1.0).abs() < 1e-5);
            }
        }
    }
}

fn cosine_length(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}
