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

pub use config::Pooling;
pub use error::ModelError;

use activation::make_unit;
use config::Architecture;
use encoder::{Encoder, Scratch};
use matrix::Element;
use simd::{Bf16, Half, Level};
use tensors::Tensors;
use tokens::{Tokenized, Tokens};

/// Tokens that are run through the model together. More would only push intermediate results out of the second-level
/// cache; fewer would read the weights more often than they are worth.
const TOKENS_A_PASS: usize = 128;

/// Tokens that stand around every text.
const SPECIAL_TOKENS: usize = 2;

/// The arithmetic of the matrix products; everything else is single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
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
pub enum Side {
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
    pub precision: Precision,
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
    pub pooling: Pooling,
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
    tokens: Tokens,
    weights: Weights,
    threads: usize,
    fingerprint: LocalFingerprint,
}

enum Weights {
    F32(Encoder<f32>),
    Bf16(Encoder<Bf16>),
    F16(Encoder<Half>),
}

impl LocalModel {
    /// Reads the model in `directory` and packs its weights for this CPU.
    pub fn load(directory: &Path, options: LocalOptions) -> Result<Self, ModelError> {
        let level = match options.precision {
            Precision::F16 => Level::best(Level::has_f16),
            Precision::Bf16 => Level::best(Level::has_bf16),
            Precision::Auto | Precision::F32 => Level::best(|_| true),
        };
        Self::load_at(directory, options, level)
    }

    fn load_at(directory: &Path, options: LocalOptions, level: Level) -> Result<Self, ModelError> {
        let shape = config::describe(directory)?;
        let tokens = Tokens::load(&shape)?;
        let mut tensors = Tensors::open(&shape.folder.join("model.safetensors"))?;
        let precision = match options.precision {
            Precision::Auto if level.has_f16() => Precision::F16,
            Precision::Auto if level.has_bf16() => Precision::Bf16,
            Precision::Auto => Precision::F32,
            chosen => chosen,
        };
        let weights = match precision {
            Precision::Auto | Precision::F32 => Weights::F32(Encoder::load(&mut tensors, &shape, level)?),
            Precision::Bf16 => Weights::Bf16(Encoder::load(&mut tensors, &shape, level)?),
            Precision::F16 => Weights::F16(Encoder::load(&mut tensors, &shape, level)?),
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 { cores() } else { options.threads };
        let fingerprint = fingerprint(directory, &shape, &tensors, options)?;
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
    pub fn precision(&self) -> Precision {
        match self.weights {
            Weights::F32(_) => Precision::F32,
            Weights::Bf16(_) => Precision::Bf16,
            Weights::F16(_) => Precision::F16,
        }
    }

    /// Embeds texts, in order; with `want_tokens` also their tokens. Takes all the CPU it may: call it where blocking
    /// is allowed.
    ///
    /// # Errors
    /// Only if the tokenizer refuses a text.
    pub fn embed(&self, texts: &[&str], side: Side, want_tokens: bool) -> Result<Vec<LocalEmbedding>, ModelError> {
        let prefix = match side {
            Side::Query => &self.fingerprint.query_prefix,
            Side::Passage => &self.fingerprint.passage_prefix,
        };
        let encode = |text: &&str, (): &mut ()| self.tokens.encode(prefix, text);
        let tokenized: Vec<Tokenized> = parallel::map(self.threads, texts, || (), encode)
            .into_iter()
            .collect::<Result<_, _>>()?;
        let runs = parallel::runs(tokenized.iter().map(|text| text.ids.len()), TOKENS_A_PASS);
        Ok(match &self.weights {
            Weights::F32(encoder) => self.pass(encoder, &tokenized, &runs, want_tokens),
            Weights::Bf16(encoder) => self.pass(encoder, &tokenized, &runs, want_tokens),
            Weights::F16(encoder) => self.pass(encoder, &tokenized, &runs, want_tokens),
        })
    }

    /// The wordpieces of a word, without special tokens.
    ///
    /// # Errors
    /// Only if the tokenizer refuses the word.
    pub fn word_pieces(&self, word: &str) -> Result<Vec<u32>, ModelError> {
        self.tokens.ids_of(word)
    }

    /// Wordpieces of a passage that are read, beside its prefix and the two that stand around every text.
    pub fn text_tokens(&self) -> usize {
        let prefix = self
            .tokens
            .ids_of(&self.fingerprint.passage_prefix)
            .map_or(0, |ids| ids.len());
        self.fingerprint.max_length.saturating_sub(SPECIAL_TOKENS + prefix)
    }

    /// A wordpiece as text (`##ing`), empty for an id the model does not know.
    pub fn piece(&self, id: u32) -> &str {
        self.tokens.piece(id)
    }

    fn pass<E: Element>(
        &self,
        encoder: &Encoder<E>,
        texts: &[Tokenized],
        runs: &[Range<usize>],
        want_tokens: bool,
    ) -> Vec<LocalEmbedding> {
        let work = |run: &Range<usize>, scratch: &mut Scratch<E>| {
            let texts = &texts[run.clone()];
            let ids: Vec<&[u32]> = texts.iter().map(|text| &text.ids[..]).collect();
            let mut states = encoder.forward(&ids, scratch);
            let mut embeddings = Vec::with_capacity(texts.len());
            for text in texts {
                let (own, rest) = states.split_at(text.ids.len() * self.fingerprint.dimensions);
                embeddings.push(self.finish(text, own, want_tokens));
                states = rest;
            }
            embeddings
        };
        parallel::map(self.threads, runs, Scratch::default, work)
            .into_iter()
            .flatten()
            .collect()
    }

    fn finish(&self, text: &Tokenized, states: &[f32], want_tokens: bool) -> LocalEmbedding {
        let size = self.fingerprint.dimensions;
        let mut vector = states[..size].to_vec();
        if self.fingerprint.pooling == Pooling::Mean {
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

fn fingerprint(
    directory: &Path,
    shape: &Architecture,
    tensors: &Tensors,
    options: LocalOptions,
) -> Result<LocalFingerprint, ModelError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tensors.digest().as_bytes());
    hasher.update(&error::read(&shape.folder.join("tokenizer.json"))?);
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
