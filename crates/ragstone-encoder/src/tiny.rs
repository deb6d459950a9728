//! Test model: a small random model on disk, and a textbook forward pass as the reference.

use std::collections::BTreeMap;

use safetensors::tensor::{TensorView, serialize};
use serde_json::json;
use tempfile::TempDir;

use super::PoolingMode;
use super::activation::make_unit;
use super::testing::{Noise, erf};

pub use safetensors::Dtype;

const LAYERS: usize = 2;
const WIDE: usize = 70;
const POSITIONS: usize = 20;
const MAX_LENGTH: usize = 12;
const EPSILON: f32 = 1e-12;
const PIECES: [&str; 11] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", ":", "a", "b", "c", "##a", "##b", "##c",
];

/// Tensors by name without prefix, each with its shape and values.
pub struct TinyModel {
    heads: usize,
    head_size: usize,
    pooling: PoolingMode,
    dtype: Dtype,
    prefix: &'static str,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl TinyModel {
    /// A random model of two layers; `prefix` is put before the names of its tensors.
    pub fn new(heads: usize, head_size: usize, pooling: PoolingMode, dtype: Dtype, prefix: &'static str) -> Self {
        let hidden = heads * head_size;
        let mut noise = Noise::new(7);
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: &[usize]| {
            // Multiples of 1/64 below 1/4 are represented exactly in all three formats.
            let values = noise
                .take(shape.iter().product())
                .into_iter()
                .map(|value| (value * 16.0).round() / 64.0);
            tensors.insert(name, (shape.to_vec(), values.collect()));
        };
        for (name, rows) in [("word", PIECES.len()), ("position", POSITIONS), ("token_type", 2)] {
            add(format!("embeddings.{name}_embeddings.weight"), &[rows, hidden]);
        }
        let mut norms = vec!["embeddings".to_owned()];
        for layer in 0..LAYERS {
            let layer = format!("encoder.layer.{layer}");
            for (part, outputs, inputs) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", WIDE, hidden),
                ("output.dense", hidden, WIDE),
            ] {
                add(format!("{layer}.{part}.weight"), &[outputs, inputs]);
                add(format!("{layer}.{part}.bias"), &[outputs]);
            }
            norms.extend([format!("{layer}.attention.output"), format!("{layer}.output")]);
        }
        for norm in norms {
            add(format!("{norm}.LayerNorm.weight"), &[hidden]);
            add(format!("{norm}.LayerNorm.bias"), &[hidden]);
        }
        Self {
            heads,
            head_size,
            pooling,
            dtype,
            prefix,
            tensors,
        }
    }

    fn hidden(&self) -> usize {
        self.heads * self.head_size
    }

    /// Writes the model as a sentence-transformers directory.
    pub fn write_directory(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder can be written");
        let write = |name: &str, content: serde_json::Value| {
            std::fs::write(folder.path().join(name), content.to_string()).expect("a temporary folder can be written");
        };
        std::fs::create_dir(folder.path().join("1_Pooling")).expect("a temporary folder can be written");
        let module = |name: &str, path: &str| json!({"idx": 0, "name": name, "path": path, "type": format!("sentence_transformers.models.{name}")});
        write(
            "modules.json",
            json!([
                module("Transformer", ""),
                module("Pooling", "1_Pooling"),
                module("Normalize", "2")
            ]),
        );
        write(
            "1_Pooling/config.json",
            json!({
                "word_embedding_dimension": self.hidden(),
                "pooling_mode_cls_token": self.pooling == PoolingMode::Cls,
                "pooling_mode_mean_tokens": self.pooling == PoolingMode::Mean,
            }),
        );
        write("sentence_bert_config.json", json!({"max_seq_length": MAX_LENGTH}));
        write(
            "config.json",
            json!({
                "model_type": "bert", "hidden_act": "gelu", "hidden_size": self.hidden(), "intermediate_size": WIDE,
                "num_hidden_layers": LAYERS, "num_attention_heads": self.heads, "vocab_size": PIECES.len(),
                "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": EPSILON,
            }),
        );
        write("tokenizer.json", tokenizer_json());
        std::fs::write(folder.path().join("model.safetensors"), self.serialize_weights())
            .expect("a temporary folder can be written");
        folder
    }

    fn serialize_weights(&self) -> Vec<u8> {
        let bytes = |value: &f32| -> Vec<u8> {
            let bits = value.to_bits();
            match self.dtype {
                Dtype::F32 => value.to_le_bytes().to_vec(),
                Dtype::BF16 => ((bits >> 16) as u16).to_le_bytes().to_vec(),
                _ if *value == 0.0 => vec![0, 0],
                // All values are normal halves: the exponent is rebased, the mantissa cut.
                _ => (((bits >> 16) & 0x8000) as u16 | (((bits & 0x7fff_ffff) - (112 << 23)) >> 13) as u16)
                    .to_le_bytes()
                    .to_vec(),
            }
        };
        let data: Vec<(String, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, (shape, values))| {
                (
                    format!("{}{name}", self.prefix),
                    shape,
                    values.iter().flat_map(bytes).collect(),
                )
            })
            .collect();
        let views = data.iter().map(|(name, shape, bytes)| {
            (
                name.as_str(),
                TensorView::new(self.dtype, (*shape).clone(), bytes).expect("values fit their shape"),
            )
        });
        serialize(views, None).expect("the views do not overlap")
    }

    /// Reference result: the unit vector of the text with these ids, and the unit vectors of its own tokens.
    pub fn reference_pass(&self, ids: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let table = |name: &str, row: usize| self.row(&format!("embeddings.{name}_embeddings.weight"), row);
        let embed = |(place, id): (usize, &u32)| -> Vec<f32> {
            let (word, place, kind) = (
                table("word", *id as usize),
                table("position", place),
                table("token_type", 0),
            );
            (0..self.hidden()).map(|i| word[i] + place[i] + kind[i]).collect()
        };
        let mut states: Vec<Vec<f32>> = ids.iter().enumerate().map(embed).collect();
        self.layer_norm("embeddings", &mut states);
        for layer in 0..LAYERS {
            let layer = format!("encoder.layer.{layer}");
            let mixed = self.attend(&layer, &states);
            let mixed = self.linear_layer(&format!("{layer}.attention.output.dense"), &mixed);
            add_rows(&mut states, &mixed);
            self.layer_norm(&format!("{layer}.attention.output"), &mut states);
            let mut wide = self.linear_layer(&format!("{layer}.intermediate.dense"), &states);
            wide.iter_mut().flatten().for_each(|x| *x = gelu(*x));
            add_rows(&mut states, &self.linear_layer(&format!("{layer}.output.dense"), &wide));
            self.layer_norm(&format!("{layer}.output"), &mut states);
        }
        let mut vector = states[0].clone();
        if self.pooling == PoolingMode::Mean {
            states[1..]
                .iter()
                .for_each(|row| vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
        }
        make_unit(&mut vector);
        let own = &mut states[1..ids.len() - 1];
        own.iter_mut().for_each(|row| make_unit(row));
        (vector, own.concat())
    }

    fn attend(&self, layer: &str, states: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let project = |part: &str| self.linear_layer(&format!("{layer}.attention.self.{part}"), states);
        let (queries, keys, values) = (project("query"), project("key"), project("value"));
        let mut out = vec![vec![0.0; self.hidden()]; states.len()];
        for head in 0..self.heads {
            let span = head * self.head_size..(head + 1) * self.head_size;
            for (query, out) in queries.iter().zip(&mut out) {
                let dot = |key: &Vec<f32>| {
                    query[span.clone()]
                        .iter()
                        .zip(&key[span.clone()])
                        .map(|(a, b)| a * b)
                        .sum::<f32>()
                };
                let powers: Vec<f32> = keys
                    .iter()
                    .map(|key| (dot(key) / (self.head_size as f32).sqrt()).exp())
                    .collect();
                let sum: f32 = powers.iter().sum();
                for (value, power) in values.iter().zip(powers) {
                    span.clone().for_each(|i| out[i] += power / sum * value[i]);
                }
            }
        }
        out
    }

    fn linear_layer(&self, name: &str, rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let bias = &self.tensors[&format!("{name}.bias")].1;
        let weight = &self.tensors[&format!("{name}.weight")].1;
        let dot = |row: &[f32], weight: &[f32]| row.iter().zip(weight).map(|(a, b)| a * b).sum::<f32>();
        rows.iter()
            .map(|row| {
                weight
                    .chunks(row.len())
                    .zip(bias)
                    .map(|(w, b)| dot(row, w) + b)
                    .collect()
            })
            .collect()
    }

    fn layer_norm(&self, name: &str, rows: &mut [Vec<f32>]) {
        let weight = &self.tensors[&format!("{name}.LayerNorm.weight")].1;
        let bias = &self.tensors[&format!("{name}.LayerNorm.bias")].1;
        for row in rows {
            let mean = row.iter().sum::<f32>() / row.len() as f32;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / row.len() as f32;
            for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
                *x = (*x - mean) / (variance + EPSILON).sqrt() * weight + bias;
            }
        }
    }

    fn row(&self, name: &str, row: usize) -> &[f32] {
        &self.tensors[name].1[row * self.hidden()..][..self.hidden()]
    }
}

fn gelu(x: f32) -> f32 {
    (f64::from(x) * 0.5 * (1.0 + erf(f64::from(x) / std::f64::consts::SQRT_2))) as f32
}

fn add_rows(states: &mut [Vec<f32>], more: &[Vec<f32>]) {
    for (state, more) in states.iter_mut().flatten().zip(more.iter().flatten()) {
        *state += more;
    }
}

/// Configuration of a case-preserving WordPiece tokenizer over the letters a, b and c.
fn tokenizer_json() -> serde_json::Value {
    let vocabulary: BTreeMap<&str, usize> = PIECES.iter().enumerate().map(|(id, piece)| (*piece, id)).collect();
    let special = |id: usize| json!({"id": id, "content": PIECES[id], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let part = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    json!({
        "version": "1.0",
        "added_tokens": [special(0), special(1), special(2), special(3)],
        "normalizer": null,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [part("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, part("[SEP]")],
            "pair": [part("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, part("[SEP]")],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    })
}
