//! The whole model against two oracles: sentence-transformers' own vectors, and a textbook forward pass over small
//! random models.

use super::testing::{assert_close, cosine, model_directory};
use super::tiny::{Dtype, Tiny};
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
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
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
    let Some(model) = load(Precision::Auto) else {
        return;
    };
    let pieces = |word| -> Vec<String> {
        let ids = model.word_pieces(word).unwrap();
        ids.into_iter().map(|id| model.piece(id).to_owned()).collect()
    };
    assert_eq!(pieces("capital"), ["capital"]);
    assert_eq!(pieces("Tokenization"), ["token", "##ization"]);
    assert_eq!(pieces("验"), ["[UNK]"]);
    assert_eq!(model.piece(u32::MAX), "");
}

#[test]
fn calls_at_the_same_time_give_what_they_give_alone() {
    let Some(model) = load(Precision::Auto) else {
        return;
    };
    let long = "steam engines are external combustion engines ".repeat(20);
    let batch = [long.as_str(); 4];
    let (question, passages) = std::thread::scope(|scope| {
        let passages = scope.spawn(|| model.embed(&batch, Side::Passage, false).unwrap());
        (
            model
                .embed(&["what is a steam engine?"], Side::Query, false)
                .unwrap(),
            passages.join().unwrap(),
        )
    });
    assert_eq!(
        question[0].vector,
        model
            .embed(&["what is a steam engine?"], Side::Query, false)
            .unwrap()[0]
            .vector
    );
    assert_eq!(passages[0].vector, passages[3].vector);
}

#[test]
fn any_bert_gives_what_the_textbook_gives() {
    let texts = ["ab ba c", "", "c", "abc cab bca ab c a b a b a b cc", "b a"];
    for (heads, head_size, pooling, dtype, prefix) in [
        (2, 32, Pooling::Mean, Dtype::F32, ""),
        (1, 64, Pooling::Cls, Dtype::F16, "bert."),
        (2, 64, Pooling::Mean, Dtype::BF16, "bert."),
        (3, 32, Pooling::Cls, Dtype::F32, ""),
    ] {
        let tiny = Tiny::new(heads, head_size, pooling, dtype, prefix);
        let folder = tiny.write();
        for (precision, tolerance) in [
            (Precision::F32, 2e-5),
            (Precision::Bf16, 0.03),
            (Precision::F16, 0.03),
        ] {
            for level in Level::available() {
                let options = LocalOptions {
                    precision,
                    threads: 2,
                    ..Default::default()
                };
                let model = LocalModel::load_at(folder.path(), options, level).unwrap();
                for (text, got) in texts
                    .iter()
                    .zip(model.embed(&texts, Side::Passage, true).unwrap())
                {
                    let ids = model.tokens.encode("", text).unwrap().ids;
                    let (vector, rows) = tiny.reference(&ids);
                    let what = format!("{level:?} {precision:?} {heads}x{head_size} {text:?}");
                    assert_close(&got.vector, &vector, tolerance, &what);
                    assert_close(&got.tokens.unwrap().rows, &rows, tolerance, &what);
                }
            }
        }
    }
}

#[test]
fn long_texts_are_cut_and_spans_are_bytes_of_the_text() {
    let folder = Tiny::new(1, 32, Pooling::Mean, Dtype::F32, "").write();
    let options = LocalOptions {
        query_prefix: "ab ".to_owned(),
        ..Default::default()
    };
    let model = LocalModel::load(folder.path(), options).unwrap();
    let text = "é a  ba";
    let tokens = model
        .embed(&[text], Side::Query, true)
        .unwrap()
        .remove(0)
        .tokens
        .unwrap();
    let pieces: Vec<_> = tokens.spans.iter().map(|span| &text[span.clone()]).collect();
    assert_eq!(pieces, ["é", "a", "b", "a"]);
    let pieces: Vec<_> = tokens.ids.iter().map(|id| model.piece(*id)).collect();
    assert_eq!(pieces, ["[UNK]", "a", "b", "##a"]);
    let long = "a ".repeat(50);
    let tokens = model
        .embed(&[&long], Side::Passage, true)
        .unwrap()
        .remove(0)
        .tokens
        .unwrap();
    assert_eq!(tokens.ids.len(), model.fingerprint().max_length - 2);
}

#[test]
fn a_prefix_is_part_of_what_is_embedded() {
    let folder = Tiny::new(1, 32, Pooling::Mean, Dtype::F32, "").write();
    let options = LocalOptions {
        passage_prefix: "c: ".to_owned(),
        ..Default::default()
    };
    let prefixed = LocalModel::load(folder.path(), options).unwrap();
    let plain = LocalModel::load(folder.path(), LocalOptions::default()).unwrap();
    let vector = |model: &LocalModel, text, side| model.embed(&[text], side, false).unwrap().remove(0).vector;
    assert_eq!(
        vector(&prefixed, "ab", Side::Passage),
        vector(&plain, "c: ab", Side::Passage)
    );
    assert_eq!(
        vector(&prefixed, "ab", Side::Query),
        vector(&plain, "ab", Side::Query)
    );
    assert_eq!(prefixed.fingerprint().revision, plain.fingerprint().revision);
    assert_ne!(prefixed.fingerprint(), plain.fingerprint());
}

#[test]
fn what_cannot_be_run_faithfully_is_refused_by_name() {
    let check = |file: &str, from: &str, to: &str, expected: &str| {
        let folder = Tiny::new(1, 32, Pooling::Mean, Dtype::F32, "").write();
        let path = folder.path().join(file);
        let content = std::fs::read_to_string(&path).unwrap();
        assert!(content.contains(from), "{file} has no {from}");
        std::fs::write(&path, content.replace(from, to)).unwrap();
        let error = LocalModel::load(folder.path(), LocalOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected) && error.contains(file), "{error}");
    };
    let gelu = r#""hidden_act":"gelu""#;
    check(
        "config.json",
        gelu,
        r#""hidden_act":"gelu_new""#,
        "hidden_act = gelu_new",
    );
    check(
        "config.json",
        gelu,
        &format!(r#"{gelu},"position_embedding_type":"relative_key""#),
        "relative_key",
    );
    check(
        "config.json",
        gelu,
        &format!(r#"{gelu},"is_decoder":true"#),
        "is_decoder",
    );
    check(
        "config.json",
        gelu,
        &format!(r#"{gelu},"quantization_config":{{}}"#),
        "quantization_config",
    );
    check(
        "config.json",
        r#""model_type":"bert""#,
        r#""model_type":"xlm-roberta""#,
        "model_type = xlm-roberta",
    );
    check(
        "config.json",
        r#""num_attention_heads":1"#,
        r#""num_attention_heads":2"#,
        "num_attention_heads = 16",
    );
    check(
        "config.json",
        r#""num_attention_heads":1"#,
        r#""num_attention_heads":0"#,
        "do not fit together",
    );
    check(
        "modules.json",
        "models.Normalize",
        "models.Dense",
        "Transformer + Pooling + Dense",
    );
    check(
        "1_Pooling/config.json",
        "mean_tokens",
        "max_tokens",
        "pooling_mode = max_tokens",
    );
    check(
        "1_Pooling/config.json",
        "cls_token\":false",
        "cls_token\":true",
        "pooling_mode = cls_token + mean_tokens",
    );
    check(
        "1_Pooling/config.json",
        "{",
        r#"{"include_prompt":false,"#,
        "include_prompt",
    );
    check("sentence_bert_config.json", "12", "4000", "max_seq_length = 4000");
    check(
        "sentence_bert_config.json",
        "12",
        r#"12,"do_lower_case":true"#,
        "do_lower_case",
    );
    check("tokenizer.json", "\"##c\":10", "\"##c\":99", "id 99");
    check("tokenizer.json", "{", "", "tokenizer.json is not usable");
}

#[test]
fn missing_and_misshapen_weights_are_named() {
    let folder = Tiny::new(1, 32, Pooling::Mean, Dtype::F32, "").write();
    let load = || {
        LocalModel::load(folder.path(), LocalOptions::default())
            .unwrap_err()
            .to_string()
    };
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(load().contains("cannot read"), "{}", load());
    let renamed = String::from_utf8_lossy(&whole[..200])
        .find("LayerNorm.bias")
        .unwrap();
    let mut other = whole.clone();
    other[renamed] = b'X';
    std::fs::write(&path, other).unwrap();
    assert!(load().contains("no tensor"), "{}", load());
    std::fs::remove_file(&path).unwrap();
    assert!(load().contains("model.safetensors"), "{}", load());
}
