//! The whole model against a textbook forward pass over small random models.

use super::testing::assert_close;
use super::tiny::{Dtype, TinyModel};
use super::*;

#[test]
fn any_bert_gives_what_the_textbook_gives() {
    let texts = ["ab ba c", "", "c", "abc cab bca ab c a b a b a b cc", "b a"];
    for (heads, head_size, pooling, dtype, prefix) in [
        (2, 32, PoolingMode::Mean, Dtype::F32, ""),
        (1, 64, PoolingMode::Cls, Dtype::F16, "bert."),
        (2, 64, PoolingMode::Mean, Dtype::BF16, "bert."),
        (3, 32, PoolingMode::Cls, Dtype::F32, ""),
    ] {
        let tiny = TinyModel::new(heads, head_size, pooling, dtype, prefix);
        let folder = tiny.write_directory();
        for (precision, tolerance) in [
            (NumericPrecision::F32, 2e-5),
            (NumericPrecision::Bf16, 0.03),
            (NumericPrecision::F16, 0.03),
        ] {
            for level in SimdLevel::available_levels() {
                let options = LocalOptions {
                    precision,
                    threads: 2,
                    ..Default::default()
                };
                let model = LocalModel::load_at(folder.path(), options, level).unwrap();
                for (text, got) in texts
                    .iter()
                    .zip(model.embed_texts(&texts, InputRole::Passage, true).unwrap())
                {
                    let ids = model.tokens.encode_text("", text).unwrap().ids;
                    let (vector, rows) = tiny.reference_pass(&ids);
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
    let folder = TinyModel::new(1, 32, PoolingMode::Mean, Dtype::F32, "").write_directory();
    let options = LocalOptions {
        query_prefix: "ab ".to_owned(),
        ..Default::default()
    };
    let model = LocalModel::load(folder.path(), options).unwrap();
    let text = "é a  ba";
    let tokens = model
        .embed_texts(&[text], InputRole::Query, true)
        .unwrap()
        .remove(0)
        .tokens
        .unwrap();
    let pieces: Vec<_> = tokens.spans.iter().map(|span| &text[span.clone()]).collect();
    assert_eq!(pieces, ["é", "a", "b", "a"]);
    let pieces: Vec<_> = tokens.ids.iter().map(|id| model.piece_text(*id)).collect();
    assert_eq!(pieces, ["[UNK]", "a", "b", "##a"]);
    let long = "a ".repeat(50);
    let tokens = model
        .embed_texts(&[&long], InputRole::Passage, true)
        .unwrap()
        .remove(0)
        .tokens
        .unwrap();
    assert_eq!(tokens.ids.len(), model.fingerprint().max_length - 2);
}

#[test]
fn a_prefix_is_part_of_what_is_embedded() {
    let folder = TinyModel::new(1, 32, PoolingMode::Mean, Dtype::F32, "").write_directory();
    let options = LocalOptions {
        passage_prefix: "c: ".to_owned(),
        ..Default::default()
    };
    let prefixed = LocalModel::load(folder.path(), options).unwrap();
    let plain = LocalModel::load(folder.path(), LocalOptions::default()).unwrap();
    let vector = |model: &LocalModel, text, side| model.embed_texts(&[text], side, false).unwrap().remove(0).vector;
    assert_eq!(
        vector(&prefixed, "ab", InputRole::Passage),
        vector(&plain, "c: ab", InputRole::Passage)
    );
    assert_eq!(
        vector(&prefixed, "ab", InputRole::Query),
        vector(&plain, "ab", InputRole::Query)
    );
    assert_eq!(prefixed.fingerprint().revision, plain.fingerprint().revision);
    assert_ne!(prefixed.fingerprint(), plain.fingerprint());
}

#[test]
fn what_cannot_be_run_faithfully_is_refused_by_name() {
    let check = |file: &str, from: &str, to: &str, expected: &str| {
        let folder = TinyModel::new(1, 32, PoolingMode::Mean, Dtype::F32, "").write_directory();
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
    let folder = TinyModel::new(1, 32, PoolingMode::Mean, Dtype::F32, "").write_directory();
    let load = || {
        LocalModel::load(folder.path(), LocalOptions::default())
            .unwrap_err()
            .to_string()
    };
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(load().contains("cannot read"), "{}", load());
    let renamed = String::from_utf8_lossy(&whole[..200]).find("LayerNorm.bias").unwrap();
    let mut other = whole.clone();
    other[renamed] = b'X';
    std::fs::write(&path, other).unwrap();
    assert!(load().contains("no tensor"), "{}", load());
    std::fs::remove_file(&path).unwrap();
    assert!(load().contains("model.safetensors"), "{}", load());
}
