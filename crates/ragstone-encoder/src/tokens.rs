//! Tokenization: text to token ids with byte spans, truncated to the model's maximum length.

use std::ops::Range;
use std::path::Path;

use tokenizers::{Encoding, NormalizedString, Normalizer, Tokenizer, TruncationParams};

use super::config::ModelArchitecture;
use super::error::{ModelError, read_file};

/// A tokenizer configured for one model.
pub(super) struct ModelTokenizer {
    tokenizer: Tokenizer,
    pieces: PieceTable,
}

/// The tokens of one text.
#[derive(Debug)]
pub(super) struct TokenizedText {
    /// All ids, including `[CLS]` and `[SEP]`.
    pub ids: Vec<u32>,
    /// The text's own tokens: position in `ids`, and byte range in the text.
    pub own: Vec<(usize, Range<usize>)>,
}

impl ModelTokenizer {
    /// Loads `tokenizer.json` from the model's folder.
    pub fn load_tokenizer(shape: &ModelArchitecture) -> Result<Self, ModelError> {
        let path = shape.folder.join("tokenizer.json");
        let mut tokenizer =
            Tokenizer::from_bytes(read_file(&path)?).map_err(|error| ModelError::malformed(&path, error))?;
        let truncation = TruncationParams {
            max_length: shape.max_length,
            ..Default::default()
        };
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|error| ModelError::malformed(&path, error))?;
        let pieces = PieceTable::from_tokenizer(&tokenizer, shape.vocabulary, &path)?;
        if shape.lower_case && !lowers_case(&tokenizer) {
            let path = shape.folder.join("sentence_bert_config.json");
            let value = "true with a tokenizer that keeps case";
            return Err(ModelError::unsupported(&path, "do_lower_case", value));
        }
        Ok(Self { tokenizer, pieces })
    }

    /// Tokenizes `prefix` and `text` together; spans are relative to `text`, and tokens of the prefix have none.
    pub fn encode_text(&self, prefix: &str, text: &str) -> Result<TokenizedText, ModelError> {
        let encoding = if prefix.is_empty() {
            self.tokenizer.encode(text, true)
        } else {
            self.tokenizer.encode(format!("{prefix}{text}"), true)
        };
        let encoding = encoding.map_err(|error| ModelError::Tokenizer(error.to_string()))?;
        Ok(TokenizedText {
            own: own_tokens(&encoding, prefix.len()),
            ids: encoding.get_ids().to_vec(),
        })
    }

    /// The wordpiece ids of a text, without special tokens.
    pub fn piece_ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self.tokenizer.encode_fast(text, false);
        Ok(encoding
            .map_err(|error| ModelError::Tokenizer(error.to_string()))?
            .get_ids()
            .to_vec())
    }

    /// The text of a wordpiece; empty for an unknown id.
    pub fn piece_text(&self, id: u32) -> &str {
        self.pieces.get(id)
    }
}

fn lowers_case(tokenizer: &Tokenizer) -> bool {
    let mut text = NormalizedString::from("CASE");
    let normalized = tokenizer
        .get_normalizer()
        .map(|normalizer| normalizer.normalize(&mut text));
    matches!(normalized, Some(Ok(()))) && text.get() == "case"
}

fn own_tokens(encoding: &Encoding, prefix: usize) -> Vec<(usize, Range<usize>)> {
    let special = encoding
        .get_special_tokens_mask()
        .iter()
        .zip(encoding.get_offsets())
        .enumerate();
    special
        .filter(|(_, (special, (start, _)))| **special == 0 && *start >= prefix)
        .map(|(at, (_, (start, end)))| (at, start - prefix..end - prefix))
        .collect()
}

/// All wordpieces in one string, which needs a tenth of the memory of separate strings.
struct PieceTable {
    text: String,
    ends: Vec<u32>,
}

impl PieceTable {
    fn from_tokenizer(tokenizer: &Tokenizer, rows: usize, path: &Path) -> Result<Self, ModelError> {
        let vocabulary = tokenizer.get_vocab(true);
        if let Some((piece, id)) = vocabulary.iter().find(|(_, id)| **id as usize >= rows) {
            return Err(ModelError::malformed(
                path,
                format!("piece {piece:?} has id {id}, the model {rows} rows"),
            ));
        }
        let mut by_id = vec![""; rows];
        for (piece, id) in &vocabulary {
            by_id[*id as usize] = piece;
        }
        let mut pieces = Self {
            text: String::new(),
            ends: Vec::with_capacity(rows),
        };
        for piece in by_id {
            pieces.text.push_str(piece);
            pieces.ends.push(pieces.text.len() as u32);
        }
        Ok(pieces)
    }

    fn get(&self, id: u32) -> &str {
        let Some(&end) = self.ends.get(id as usize) else {
            return "";
        };
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        &self.text[start as usize..end as usize]
    }
}
