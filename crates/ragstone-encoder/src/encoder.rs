//! The forward pass of a BERT encoder over texts laid end to end: no padding is computed, only attention knows where
//! a text begins.

use super::activation::LayerNorm;
use super::aligned::Aligned;
use super::attention::{Heads, Projected, Workspace, attend};
use super::config::Architecture;
use super::error::ModelError;
use super::matrix::{Element, Finish, Linear, padded};
use super::simd::Level;
use super::tensors::Tensors;

/// A model, packed for products of `E` at one level.
pub(super) struct Encoder<E> {
    level: Level,
    hidden: usize,
    heads: Heads,
    words: Vec<f32>,
    /// Position and token type 0, added up.
    places: Vec<f32>,
    norm: LayerNorm,
    layers: Vec<Layer<E>>,
}

struct Layer<E> {
    /// Queries (already scaled), keys and values in one product.
    project: Linear<E>,
    merge: Linear<E>,
    merge_norm: LayerNorm,
    widen: Linear<E>,
    narrow: Linear<E>,
    narrow_norm: LayerNorm,
}

/// The buffers of one thread, reused from pass to pass.
#[derive(Debug)]
pub(super) struct Scratch<E> {
    hidden: Aligned<f32>,
    input: Aligned<E>,
    projected: Aligned<f32>,
    mixed: Aligned<E>,
    wide: Aligned<E>,
    attention: Workspace,
}

impl<E: Element> Default for Scratch<E> {
    fn default() -> Self {
        Self {
            hidden: Aligned::default(),
            input: Aligned::default(),
            projected: Aligned::default(),
            mixed: Aligned::default(),
            wide: Aligned::default(),
            attention: Workspace::default(),
        }
    }
}

impl<E: Element> Encoder<E> {
    /// Reads and packs all weights.
    pub fn load(tensors: &mut Tensors, shape: &Architecture, level: Level) -> Result<Self, ModelError> {
        let hidden = shape.hidden;
        let words = tensors.read("embeddings.word_embeddings.weight", &[shape.vocabulary, hidden])?;
        let mut places = tensors.read("embeddings.position_embeddings.weight", &[shape.positions, hidden])?;
        let types = tensors.read("embeddings.token_type_embeddings.weight", &[shape.token_types, hidden])?;
        for place in places.chunks_exact_mut(hidden) {
            place.iter_mut().zip(&types).for_each(|(place, kind)| *place += kind);
        }
        let norm = layer_norm(tensors, "embeddings.LayerNorm", shape)?;
        let layer = |index| Layer::load(tensors, &format!("encoder.layer.{index}"), shape, level);
        let layers = (0..shape.layers).map(layer).collect::<Result<_, _>>()?;
        Ok(Self {
            level,
            hidden,
            heads: shape.heads,
            words,
            places,
            norm,
            layers,
        })
    }

    /// The last hidden state of every token: `texts` end to end, a row of `hidden` floats a token.
    ///
    /// Ids are below the vocabulary's size and texts not longer than the model's positions, and not empty.
    pub fn forward<'s>(&self, texts: &[&[u32]], scratch: &'s mut Scratch<E>) -> &'s [f32] {
        let rows: usize = texts.iter().map(|ids| ids.len()).sum();
        // Heads are 32 or 64 wide, so rows of hidden states need no padding.
        let stride = padded(self.hidden);
        debug_assert_eq!(stride, self.hidden);
        scratch.hidden.set_length(rows * stride);
        scratch.input.set_length(rows * stride);
        scratch.mixed.set_length(rows * stride);
        self.look_up(texts, &mut scratch.hidden);
        self.norm.apply(self.level, &mut scratch.hidden, &mut scratch.input);
        for layer in &self.layers {
            layer.forward(self, texts, rows, scratch);
        }
        &scratch.hidden
    }

    fn look_up(&self, texts: &[&[u32]], hidden: &mut [f32]) {
        let places = || self.places.chunks_exact(self.hidden);
        let tokens = texts.iter().flat_map(|ids| ids.iter().zip(places()));
        for (row, (&id, place)) in hidden.chunks_exact_mut(self.hidden).zip(tokens) {
            let word = &self.words[id as usize * self.hidden..][..self.hidden];
            for ((to, word), place) in row.iter_mut().zip(word).zip(place) {
                *to = word + place;
            }
        }
    }
}

impl<E: Element> Layer<E> {
    fn load(tensors: &mut Tensors, name: &str, shape: &Architecture, level: Level) -> Result<Self, ModelError> {
        let (hidden, wide) = (shape.hidden, shape.intermediate);
        let columns = level.panel_columns();
        let mut linear = |part: &str, inputs, outputs| -> Result<_, ModelError> {
            let weight = tensors.read(&format!("{name}.{part}.weight"), &[outputs, inputs])?;
            Ok((weight, tensors.read(&format!("{name}.{part}.bias"), &[outputs])?))
        };
        let (mut weight, mut bias) = linear("attention.self.query", hidden, hidden)?;
        let scale = shape.heads.query_scale();
        weight.iter_mut().chain(&mut bias).for_each(|value| *value *= scale);
        for part in ["attention.self.key", "attention.self.value"] {
            let (more_weight, more_bias) = linear(part, hidden, hidden)?;
            weight.extend(more_weight);
            bias.extend(more_bias);
        }
        let project = Linear::pack(&weight, &bias, hidden, columns);
        let mut pack = |part: &str, inputs, outputs| -> Result<_, ModelError> {
            let (weight, bias) = linear(part, inputs, outputs)?;
            Ok(Linear::pack(&weight, &bias, inputs, columns))
        };
        Ok(Self {
            project,
            merge: pack("attention.output.dense", hidden, hidden)?,
            widen: pack("intermediate.dense", hidden, wide)?,
            narrow: pack("output.dense", wide, hidden)?,
            merge_norm: layer_norm(tensors, &format!("{name}.attention.output.LayerNorm"), shape)?,
            narrow_norm: layer_norm(tensors, &format!("{name}.output.LayerNorm"), shape)?,
        })
    }

    fn forward(&self, encoder: &Encoder<E>, texts: &[&[u32]], rows: usize, scratch: &mut Scratch<E>) {
        let Scratch {
            hidden,
            input,
            projected,
            mixed,
            wide,
            attention,
        } = scratch;
        let level = encoder.level;
        projected.set_length(rows * self.project.width());
        wide.set_length(rows * self.widen.width());
        self.project.apply(level, input, rows, Finish::Store(projected));
        let (stride, part) = (self.project.width(), encoder.hidden);
        let mut first = 0;
        for ids in texts {
            let last = first + ids.len();
            let rows = &projected[first * stride..last * stride];
            let out = &mut mixed[first * part..last * part];
            attend(level, encoder.heads, Projected { rows, stride }, attention, out);
            first = last;
        }
        self.merge.apply(level, mixed, rows, Finish::Add(hidden));
        self.merge_norm.apply(level, hidden, input);
        self.widen.apply(level, input, rows, Finish::Gelu(wide));
        self.narrow.apply(level, wide, rows, Finish::Add(hidden));
        self.narrow_norm.apply(level, hidden, input);
    }
}

fn layer_norm(tensors: &mut Tensors, name: &str, shape: &Architecture) -> Result<LayerNorm, ModelError> {
    let weight = tensors.read(&format!("{name}.weight"), &[shape.hidden])?;
    let bias = tensors.read(&format!("{name}.bias"), &[shape.hidden])?;
    Ok(LayerNorm::new(&weight, &bias, shape.epsilon))
}
