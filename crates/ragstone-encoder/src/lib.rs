//! Any BERT-family sentence-transformers directory, run by our own forward pass.
//!
//! A crate of its own because its kernels are compiled once for each instruction set, with optimisation even where it
//! is tested: as a module it made every build of its neighbours wait.
//!
//! Invariant: what cannot be run as sentence-transformers runs it is refused at load, by name.

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

/// Tokens that are run through the model together. More would only push intermediate results out of the second-level
/// cache; fewer would read the weights more often than they are worth.
const TOKENS_A_PASS: usize = 128;

/// Tokens that stand around every text.
const SPECIAL_TOKENS: usize = 2;

/// The arithmetic of the matrix products; everything else is single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NumericPrecision {
    /// Half precision where the CPU multiplies it itself, else brain floats where it does so with those, else single
    /// precision.
    ///
    /// CPUs with both (Intel since Sapphire Rapids) multiply brain floats at half the rate of single precision and
    /// half floats at twice that rate; those with brain floats only (AMD since Zen 4) at twice that rate.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// Brain floats, in software where the CPU cannot.
    Bf16,
    /// Half floats, in software (slowly) where the CPU cannot.
    F16,
}

/// What is embedded: models may want different prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputRole {
    /// A question.
    Query,
    /// A piece of a document.
    Passage,
}

/// How a model is run.
#[derive(Clone, Debug, Default)]
pub struct LocalOptions {
    /// The name in the fingerprint; the directory's name if empty.
    pub name: String,
    /// Arithmetic of the matrix products.
    pub precision: NumericPrecision,
    /// Most threads one call uses; 0 means as many as there are cores.
    pub threads: usize,
    /// Put before every question (`"query: "` for E5 models).
    pub query_prefix: String,
    /// Put before every passage.
    pub passage_prefix: String,
}

/// Everything that decides whether two vectors may be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFingerprint {
    /// The model's name.
    pub model: String,
    /// A BLAKE3 hash over tokenizer and weights, in hexadecimal.
    pub revision: String,
    /// Length of a vector.
    pub dimensions: usize,
    /// How token vectors become one.
    pub pooling: PoolingMode,
    /// Put before every question.
    pub query_prefix: String,
    /// Put before every passage.
    pub passage_prefix: String,
    /// Most tokens of a text, `[CLS]` and `[SEP]` included; what is longer is cut off.
    pub max_length: usize,
}

/// One embedded text.
#[derive(Clone, Debug)]
pub struct LocalEmbedding {
    /// A unit vector.
    pub vector: Vec<f32>,
    /// The vectors of the text's own tokens, if they were asked for.
    pub tokens: Option<LocalTokens>,
}

/// The tokens of a text without `[CLS]`, `[SEP]` and prefix: three lists of the same length.
#[derive(Clone, Debug)]
pub struct LocalTokens {
    /// Wordpiece ids.
    pub ids: Vec<u32>,
    /// The bytes of the text each token stands for.
    pub spans: Vec<Range<usize>>,
    /// Last hidden states, each scaled to unit length, one after the other.
    pub rows: Vec<f32>,
}

/// A loaded model. Calls from several threads do not wait for each other.
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
    /// Reads the model in `directory` and packs its weights for this CPU.
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

    /// What vectors of this model may be compared with.
    pub fn fingerprint(&self) -> &LocalFingerprint {
        &self.fingerprint
    }

    /// The arithmetic that was chosen, never `Auto`.
    pub fn precision(&self) -> NumericPrecision {
        match self.weights {
            EncoderWeights::F32(_) => NumericPrecision::F32,
            EncoderWeights::Bf16(_) => NumericPrecision::Bf16,
            EncoderWeights::F16(_) => NumericPrecision::F16,
        }
    }

    /// Embeds texts, in order; with `want_tokens` also their tokens. Takes all the CPU it may: call it where blocking
    /// is allowed.
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

    /// The wordpieces of a word, without special tokens.
    ///
    /// # Errors
    /// Only if the tokenizer refuses the word.
    pub fn word_pieces(&self, word: &str) -> Result<Vec<u32>, ModelError> {
        self.tokens.piece_ids(word)
    }

    /// Wordpieces of a passage that are read, beside its prefix and the two that stand around every text.
    pub fn text_tokens(&self) -> usize {
        let prefix = self
            .tokens
            .piece_ids(&self.fingerprint.passage_prefix)
            .map_or(0, |ids| ids.len());
        self.fingerprint.max_length.saturating_sub(SPECIAL_TOKENS + prefix)
    }

    /// A wordpiece as text (`##ing`), empty for an id the model does not know.
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
        // The mean is the sum over the count: the same direction, so the same unit vector.
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
