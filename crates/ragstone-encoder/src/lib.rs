//! Runs BERT-family models from sentence-transformers directories with our own forward pass on the CPU.
//!
//! This is a crate of its own because its kernels are compiled once for each instruction set, with optimisation even in
//! test builds; as a module it slowed down every build of the crate around it.
//!
//! Invariant: a model that cannot be run exactly as sentence-transformers runs it is refused at load, with the setting
//! named.

mod activation;
mod aligned;
mod attention;
mod config;
mod encoder;
mod error;
mod matrix;
mod parallel;
mod simd;
mod tensors;
#[cfg(any(test, feature = "testing"))]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "testing"))]
pub mod tiny;
mod tokens;

use std::ops::Range;
use std::path::Path;

pub use config::PoolingMode;
pub use error::ModelError;

use activation::make_unit;
use config::ModelArchitecture;
use encoder::{BertEncoder, ScratchBuffers};
use matrix::MatrixElement;
use simd::{Bf16, HalfFloat, SimdLevel};
use tensors::TensorFile;
use tokens::{ModelTokenizer, TokenizedText};

/// Tokens that one forward pass processes. More would push intermediate results out of the second-level cache; with
/// fewer, reading the weights would dominate.
const TOKENS_A_PASS: usize = 128;

/// Special tokens around every text: `[CLS]` and `[SEP]`.
const SPECIAL_TOKENS: usize = 2;

/// Arithmetic of the matrix products; everything else uses single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NumericPrecision {
    /// Half precision if the CPU has native instructions for it, else brain floats if it has those, else single
    /// precision.
    ///
    /// CPUs with both (Intel since Sapphire Rapids) multiply brain floats at half the rate of single precision and half
    /// floats at twice that rate; those with brain floats only (AMD since Zen 4) at twice that rate.
    #[default]
    Auto,
    /// Single precision (`f32`) on every CPU.
    F32,
    /// Brain floats (bfloat16), emulated if the CPU lacks the instructions.
    Bf16,
    /// Half floats (IEEE binary16), emulated (slowly) if the CPU lacks the instructions.
    F16,
}

/// Role of a text; models may expect a different prefix for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputRole {
    /// A question to search for.
    Query,
    /// A chunk of a document.
    Passage,
}

/// Options for running a model.
#[derive(Clone, Debug, Default)]
pub struct LocalOptions {
    /// Name in the fingerprint; empty takes the directory's name.
    pub name: String,
    /// Arithmetic of the matrix products.
    pub precision: NumericPrecision,
    /// Most threads that one call uses; 0 means one per core.
    pub threads: usize,
    /// Prefix of every question (`"query: "` for E5 models).
    pub query_prefix: String,
    /// Prefix of every passage.
    pub passage_prefix: String,
}

/// Everything that determines whether two vectors may be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFingerprint {
    /// Name of the model.
    pub model: String,
    /// BLAKE3 hash of tokenizer and weights, in hexadecimal.
    pub revision: String,
    /// Length of a vector.
    pub dimensions: usize,
    /// How token vectors are pooled into one vector.
    pub pooling: PoolingMode,
    /// Prefix of every question.
    pub query_prefix: String,
    /// Prefix of every passage.
    pub passage_prefix: String,
    /// Most tokens of a text, including `[CLS]` and `[SEP]`; longer texts are truncated.
    pub max_length: usize,
}

/// Embedding of one text.
#[derive(Clone, Debug)]
pub struct LocalEmbedding {
    /// Embedding of the text, of unit length.
    pub vector: Vec<f32>,
    /// Vectors of the text's own tokens; `None` if they were not requested.
    pub tokens: Option<LocalTokens>,
}

/// The tokens of a text without `[CLS]`, `[SEP]` and prefix, as three lists with one entry per token.
#[derive(Clone, Debug)]
pub struct LocalTokens {
    /// Wordpiece ids of the tokens.
    pub ids: Vec<u32>,
    /// Byte range of each token in the text.
    pub spans: Vec<Range<usize>>,
    /// Last hidden states, `dimensions` floats per token, each scaled to unit length.
    pub rows: Vec<f32>,
}

/// A loaded model. It may be shared: concurrent calls do not block each other.
pub struct LocalModel {
    tokens: ModelTokenizer,
    weights: EncoderWeights,
    threads: usize,
    fingerprint: LocalFingerprint,
}

enum EncoderWeights {
    F32(BertEncoder<f32>),
    Bf16(BertEncoder<Bf16>),
    F16(BertEncoder<HalfFloat>),
}

impl LocalModel {
    /// Loads the model in `directory` and packs its weights for this CPU.
    pub fn load(directory: &Path, options: LocalOptions) -> Result<Self, ModelError> {
        let level = match options.precision {
            NumericPrecision::F16 => SimdLevel::best_level(SimdLevel::has_f16),
            NumericPrecision::Bf16 => SimdLevel::best_level(SimdLevel::has_bf16),
            NumericPrecision::Auto | NumericPrecision::F32 => SimdLevel::best_level(|_| true),
        };
        Self::load_at(directory, options, level)
    }

    fn load_at(directory: &Path, options: LocalOptions, level: SimdLevel) -> Result<Self, ModelError> {
        let shape = config::read_architecture(directory)?;
        let tokens = ModelTokenizer::load_tokenizer(&shape)?;
        let mut tensors = TensorFile::open_file(&shape.folder.join("model.safetensors"))?;
        let precision = match options.precision {
            NumericPrecision::Auto if level.has_f16() => NumericPrecision::F16,
            NumericPrecision::Auto if level.has_bf16() => NumericPrecision::Bf16,
            NumericPrecision::Auto => NumericPrecision::F32,
            chosen => chosen,
        };
        let weights = match precision {
            NumericPrecision::Auto | NumericPrecision::F32 => {
                EncoderWeights::F32(BertEncoder::load_weights(&mut tensors, &shape, level)?)
            }
            NumericPrecision::Bf16 => EncoderWeights::Bf16(BertEncoder::load_weights(&mut tensors, &shape, level)?),
            NumericPrecision::F16 => EncoderWeights::F16(BertEncoder::load_weights(&mut tensors, &shape, level)?),
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 { cores() } else { options.threads };
        let fingerprint = build_fingerprint(directory, &shape, &tensors, options)?;
        Ok(Self {
            tokens,
            weights,
            threads,
            fingerprint,
        })
    }

    /// Identity of this model's vectors: only vectors with an equal fingerprint may be compared.
    pub fn fingerprint(&self) -> &LocalFingerprint {
        &self.fingerprint
    }

    /// The arithmetic in use, never `Auto`.
    pub fn precision(&self) -> NumericPrecision {
        match self.weights {
            EncoderWeights::F32(_) => NumericPrecision::F32,
            EncoderWeights::Bf16(_) => NumericPrecision::Bf16,
            EncoderWeights::F16(_) => NumericPrecision::F16,
        }
    }

    /// Embeds texts, in order; with `want_tokens` also their tokens. Uses up to the configured number of threads and
    /// blocks: call it where blocking is allowed.
    ///
    /// # Errors
    /// Only if the tokenizer refuses a text.
    pub fn embed_texts(
        &self,
        texts: &[&str],
        side: InputRole,
        want_tokens: bool,
    ) -> Result<Vec<LocalEmbedding>, ModelError> {
        let prefix = match side {
            InputRole::Query => &self.fingerprint.query_prefix,
            InputRole::Passage => &self.fingerprint.passage_prefix,
        };
        let encode = |text: &&str, (): &mut ()| self.tokens.encode_text(prefix, text);
        let tokenized: Vec<TokenizedText> = parallel::map_parallel(self.threads, texts, || (), encode)
            .into_iter()
            .collect::<Result<_, _>>()?;
        let runs = parallel::split_into_runs(tokenized.iter().map(|text| text.ids.len()), TOKENS_A_PASS);
        Ok(match &self.weights {
            EncoderWeights::F32(encoder) => self.run_passes(encoder, &tokenized, &runs, want_tokens),
            EncoderWeights::Bf16(encoder) => self.run_passes(encoder, &tokenized, &runs, want_tokens),
            EncoderWeights::F16(encoder) => self.run_passes(encoder, &tokenized, &runs, want_tokens),
        })
    }

    /// The wordpiece ids of a word, without special tokens.
    ///
    /// # Errors
    /// Only if the tokenizer refuses the word.
    pub fn word_pieces(&self, word: &str) -> Result<Vec<u32>, ModelError> {
        self.tokens.piece_ids(word)
    }

    /// Most wordpieces of a passage that the model reads, beside its prefix and the two special tokens.
    pub fn text_tokens(&self) -> usize {
        let prefix = self
            .tokens
            .piece_ids(&self.fingerprint.passage_prefix)
            .map_or(0, |ids| ids.len());
        self.fingerprint.max_length.saturating_sub(SPECIAL_TOKENS + prefix)
    }

    /// The text of a wordpiece, such as `##ing`; empty for an unknown id.
    pub fn piece_text(&self, id: u32) -> &str {
        self.tokens.piece_text(id)
    }

    fn run_passes<E: MatrixElement>(
        &self,
        encoder: &BertEncoder<E>,
        texts: &[TokenizedText],
        runs: &[Range<usize>],
        want_tokens: bool,
    ) -> Vec<LocalEmbedding> {
        let work = |run: &Range<usize>, scratch: &mut ScratchBuffers<E>| {
            let texts = &texts[run.clone()];
            let ids: Vec<&[u32]> = texts.iter().map(|text| &text.ids[..]).collect();
            let mut states = encoder.forward(&ids, scratch);
            let mut embeddings = Vec::with_capacity(texts.len());
            for text in texts {
                let (own, rest) = states.split_at(text.ids.len() * self.fingerprint.dimensions);
                embeddings.push(self.build_embedding(text, own, want_tokens));
                states = rest;
            }
            embeddings
        };
        parallel::map_parallel(self.threads, runs, ScratchBuffers::default, work)
            .into_iter()
            .flatten()
            .collect()
    }

    fn build_embedding(&self, text: &TokenizedText, states: &[f32], want_tokens: bool) -> LocalEmbedding {
        let size = self.fingerprint.dimensions;
        let mut vector = states[..size].to_vec();
        if self.fingerprint.pooling == PoolingMode::Mean {
            for row in states[size..].chunks_exact(size) {
                vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
        // Dividing the sum by the count gives the mean, which has the same direction and so the same unit vector.
        make_unit(&mut vector);
        let tokens = want_tokens.then(|| {
            let mut rows = Vec::with_capacity(text.own.len() * size);
            for (at, _) in &text.own {
                rows.extend_from_slice(&states[at * size..][..size]);
            }
            rows.chunks_exact_mut(size).for_each(make_unit);
            LocalTokens {
                ids: text.own.iter().map(|(at, _)| text.ids[*at]).collect(),
                spans: text.own.iter().map(|(_, span)| span.clone()).collect(),
                rows,
            }
        });
        LocalEmbedding { vector, tokens }
    }
}

impl std::fmt::Debug for LocalModel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LocalModel")
            .field("fingerprint", &self.fingerprint)
            .field("precision", &self.precision())
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

fn build_fingerprint(
    directory: &Path,
    shape: &ModelArchitecture,
    tensors: &TensorFile,
    options: LocalOptions,
) -> Result<LocalFingerprint, ModelError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tensors.digest().as_bytes());
    hasher.update(&error::read_file(&shape.folder.join("tokenizer.json"))?);
    let folder_name = || directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(LocalFingerprint {
        model: if options.name.is_empty() {
            folder_name()
        } else {
            options.name
        },
        revision: hasher.finalize().to_hex()[..32].to_owned(),
        dimensions: shape.hidden,
        pooling: shape.pooling,
        query_prefix: options.query_prefix,
        passage_prefix: options.passage_prefix,
        max_length: shape.max_length,
    })
}
