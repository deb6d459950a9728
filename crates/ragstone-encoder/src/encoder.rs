//! Forward pass of a BERT encoder over concatenated texts: no padding is computed; only attention treats each text
//! separately.

use super::activation::LayerNorm;
use super::aligned::AlignedBuffer;
use super::attention::{AttentionBuffers, AttentionHeads, ProjectedRows, compute_attention};
use super::config::ModelArchitecture;
use super::error::ModelError;
use super::matrix::{LinearLayer, MatrixElement, ProductOutput, padded_size};
use super::simd::SimdLevel;
use super::tensors::TensorFile;

/// A model with weights packed for element type `E` and one instruction set.
pub(super) struct BertEncoder<E> {
    level: SimdLevel,
    hidden: usize,
    heads: AttentionHeads,
    words: Vec<f32>,
    /// Position embeddings plus the embedding of token type 0.
    places: Vec<f32>,
    norm: LayerNorm,
    layers: Vec<EncoderLayer<E>>,
}

struct EncoderLayer<E> {
    /// Queries (already scaled), keys and values as one product.
    project: LinearLayer<E>,
    merge: LinearLayer<E>,
    merge_norm: LayerNorm,
    widen: LinearLayer<E>,
    narrow: LinearLayer<E>,
    narrow_norm: LayerNorm,
}

/// Buffers of one thread, reused for every pass.
#[derive(Debug)]
pub(super) struct ScratchBuffers<E> {
    hidden: AlignedBuffer<f32>,
    input: AlignedBuffer<E>,
    projected: AlignedBuffer<f32>,
    mixed: AlignedBuffer<E>,
    wide: AlignedBuffer<E>,
    attention: AttentionBuffers,
}

impl<E: MatrixElement> Default for ScratchBuffers<E> {
    fn default() -> Self {
        Self {
            hidden: AlignedBuffer::default(),
            input: AlignedBuffer::default(),
            projected: AlignedBuffer::default(),
            mixed: AlignedBuffer::default(),
            wide: AlignedBuffer::default(),
            attention: AttentionBuffers::default(),
        }
    }
}

impl<E: MatrixElement> BertEncoder<E> {
    /// Reads and packs all weights of the model.
    pub fn load_weights(
        tensors: &mut TensorFile,
        shape: &ModelArchitecture,
        level: SimdLevel,
    ) -> Result<Self, ModelError> {
        let hidden = shape.hidden;
        let words = tensors.read_tensor("embeddings.word_embeddings.weight", &[shape.vocabulary, hidden])?;
        let mut places = tensors.read_tensor("embeddings.position_embeddings.weight", &[shape.positions, hidden])?;
        let types = tensors.read_tensor("embeddings.token_type_embeddings.weight", &[shape.token_types, hidden])?;
        for place in places.chunks_exact_mut(hidden) {
            place.iter_mut().zip(&types).for_each(|(place, kind)| *place += kind);
        }
        let norm = load_layer_norm(tensors, "embeddings.LayerNorm", shape)?;
        let layer = |index| EncoderLayer::load_weights(tensors, &format!("encoder.layer.{index}"), shape, level);
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

    /// The last hidden states of the concatenated `texts`: one row of `hidden` floats per token.
    ///
    /// Ids must be below the vocabulary's size; texts must not be empty or longer than the model's positions.
    pub fn forward<'s>(&self, texts: &[&[u32]], scratch: &'s mut ScratchBuffers<E>) -> &'s [f32] {
        let rows: usize = texts.iter().map(|ids| ids.len()).sum();
        // Heads are 32 or 64 wide, so rows of hidden states need no padding.
        let stride = padded_size(self.hidden);
        debug_assert_eq!(stride, self.hidden);
        scratch.hidden.set_length(rows * stride);
        scratch.input.set_length(rows * stride);
        scratch.mixed.set_length(rows * stride);
        self.look_up_embeddings(texts, &mut scratch.hidden);
        self.norm
            .normalize_rows(self.level, &mut scratch.hidden, &mut scratch.input);
        for layer in &self.layers {
            layer.forward(self, texts, rows, scratch);
        }
        &scratch.hidden
    }

    fn look_up_embeddings(&self, texts: &[&[u32]], hidden: &mut [f32]) {
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

impl<E: MatrixElement> EncoderLayer<E> {
    fn load_weights(
        tensors: &mut TensorFile,
        name: &str,
        shape: &ModelArchitecture,
        level: SimdLevel,
    ) -> Result<Self, ModelError> {
        let (hidden, wide) = (shape.hidden, shape.intermediate);
        let columns = level.panel_columns();
        let mut linear = |part: &str, inputs, outputs| -> Result<_, ModelError> {
            let weight = tensors.read_tensor(&format!("{name}.{part}.weight"), &[outputs, inputs])?;
            Ok((weight, tensors.read_tensor(&format!("{name}.{part}.bias"), &[outputs])?))
        };
        let (mut weight, mut bias) = linear("attention.self.query", hidden, hidden)?;
        let scale = shape.heads.query_scale();
        weight.iter_mut().chain(&mut bias).for_each(|value| *value *= scale);
        for part in ["attention.self.key", "attention.self.value"] {
            let (more_weight, more_bias) = linear(part, hidden, hidden)?;
            weight.extend(more_weight);
            bias.extend(more_bias);
        }
        let project = LinearLayer::pack_weights(&weight, &bias, hidden, columns);
        let mut pack = |part: &str, inputs, outputs| -> Result<_, ModelError> {
            let (weight, bias) = linear(part, inputs, outputs)?;
            Ok(LinearLayer::pack_weights(&weight, &bias, inputs, columns))
        };
        Ok(Self {
            project,
            merge: pack("attention.output.dense", hidden, hidden)?,
            widen: pack("intermediate.dense", hidden, wide)?,
            narrow: pack("output.dense", wide, hidden)?,
            merge_norm: load_layer_norm(tensors, &format!("{name}.attention.output.LayerNorm"), shape)?,
            narrow_norm: load_layer_norm(tensors, &format!("{name}.output.LayerNorm"), shape)?,
        })
    }

    fn forward(&self, encoder: &BertEncoder<E>, texts: &[&[u32]], rows: usize, scratch: &mut ScratchBuffers<E>) {
        let ScratchBuffers {
            hidden,
            input,
            projected,
            mixed,
            wide,
            attention,
        } = scratch;
        let level = encoder.level;
        projected.set_length(rows * self.project.padded_outputs());
        wide.set_length(rows * self.widen.padded_outputs());
        self.project
            .multiply_rows(level, input, rows, ProductOutput::Store(projected));
        let (stride, part) = (self.project.padded_outputs(), encoder.hidden);
        let mut first = 0;
        for ids in texts {
            let last = first + ids.len();
            let rows = &projected[first * stride..last * stride];
            let out = &mut mixed[first * part..last * part];
            compute_attention(level, encoder.heads, ProjectedRows { rows, stride }, attention, out);
            first = last;
        }
        self.merge.multiply_rows(level, mixed, rows, ProductOutput::Add(hidden));
        self.merge_norm.normalize_rows(level, hidden, input);
        self.widen.multiply_rows(level, input, rows, ProductOutput::Gelu(wide));
        self.narrow.multiply_rows(level, wide, rows, ProductOutput::Add(hidden));
        self.narrow_norm.normalize_rows(level, hidden, input);
    }
}

fn load_layer_norm(tensors: &mut TensorFile, name: &str, shape: &ModelArchitecture) -> Result<LayerNorm, ModelError> {
    let weight = tensors.read_tensor(&format!("{name}.weight"), &[shape.hidden])?;
    let bias = tensors.read_tensor(&format!("{name}.bias"), &[shape.hidden])?;
    Ok(LayerNorm::new(&weight, &bias, shape.epsilon))
}
