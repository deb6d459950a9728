//! Reads the configuration of a sentence-transformers directory: sizes, modules, pooling, maximum length.
//!
//! Invariant: a setting that this forward pass does not implement exactly is refused by name, never ignored.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::attention::AttentionHeads;
use super::error::{ModelError, read_file};

/// How the token vectors of a text are pooled into one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolingMode {
    /// Mean over all tokens, including `[CLS]` and `[SEP]`.
    Mean,
    /// Vector of the first token, `[CLS]`.
    Cls,
}

/// Sizes and settings of a model.
#[derive(Clone, Debug)]
pub(super) struct ModelArchitecture {
    /// Folder with config, tokenizer and weights of the transformer.
    pub folder: PathBuf,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: AttentionHeads,
    pub vocabulary: usize,
    pub positions: usize,
    pub token_types: usize,
    pub epsilon: f32,
    pub pooling: PoolingMode,
    /// Most tokens of a text, including `[CLS]` and `[SEP]`.
    pub max_length: usize,
    /// Whether texts are lower-cased before tokenization.
    pub lower_case: bool,
}

/// Reads and checks the configuration of the model in `directory`.
pub(super) fn read_architecture(directory: &Path) -> Result<ModelArchitecture, ModelError> {
    let modules = ModulePaths::read_modules(directory)?;
    let folder = directory.join(&modules.transformer);
    let path = folder.join("config.json");
    let config: BertConfig = read_json(&path)?;
    config.check_supported(&path)?;
    let pooling = read_pooling(
        &directory.join(&modules.pooling).join("config.json"),
        config.hidden_size,
    )?;
    let sentence: SentenceBertConfig = match folder.join("sentence_bert_config.json") {
        path if path.exists() => read_json(&path)?,
        _ => SentenceBertConfig::default(),
    };
    let max_length = sentence.max_seq_length.unwrap_or(config.max_position_embeddings);
    if max_length < 3 || max_length > config.max_position_embeddings {
        return Err(ModelError::unsupported(
            &folder.join("sentence_bert_config.json"),
            "max_seq_length",
            max_length,
        ));
    }
    Ok(ModelArchitecture {
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        layers: config.num_hidden_layers,
        heads: AttentionHeads {
            count: config.num_attention_heads,
            size: config.hidden_size / config.num_attention_heads,
        },
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        token_types: config.type_vocab_size,
        epsilon: config.layer_norm_eps,
        pooling,
        max_length,
        lower_case: sentence.do_lower_case,
        folder,
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    serde_json::from_slice(&read_file(path)?).map_err(|error| ModelError::malformed(path, error))
}

/// Fields of `config.json` that affect the forward pass; the others are training settings.
#[derive(Deserialize)]
struct BertConfig {
    model_type: String,
    hidden_act: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    quantization_config: Option<Value>,
}

impl BertConfig {
    fn check_supported(&self, path: &Path) -> Result<(), ModelError> {
        let refuse = |setting, value: &dyn ToString| Err(ModelError::unsupported(path, setting, value.to_string()));
        if self.model_type != "bert" {
            return refuse("model_type", &self.model_type);
        }
        if self.hidden_act != "gelu" {
            return refuse("hidden_act", &self.hidden_act);
        }
        if let Some(kind) = self.position_embedding_type.as_ref().filter(|kind| *kind != "absolute") {
            return refuse("position_embedding_type", kind);
        }
        if self.is_decoder {
            return refuse("is_decoder", &true);
        }
        if let Some(config) = &self.quantization_config {
            return refuse("quantization_config", config);
        }
        let sizes = [
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
            self.num_attention_heads,
        ];
        if sizes.contains(&0) || self.type_vocab_size == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads)
        {
            return Err(ModelError::malformed(
                path,
                "the sizes of the layers do not fit together",
            ));
        }
        match self.hidden_size / self.num_attention_heads {
            32 | 64 => Ok(()),
            other => refuse("hidden_size / num_attention_heads", &other),
        }
    }
}

/// Fields of `sentence_bert_config.json` that affect tokenization.
#[derive(Default, Deserialize)]
struct SentenceBertConfig {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Deserialize)]
struct ModuleEntry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Paths from `modules.json`, which lists a transformer, a pooling and usually a normalisation.
struct ModulePaths {
    transformer: String,
    pooling: String,
}

impl ModulePaths {
    fn read_modules(directory: &Path) -> Result<Self, ModelError> {
        let path = directory.join("modules.json");
        let modules: Vec<ModuleEntry> = read_json(&path)?;
        let kinds: Vec<&str> = modules
            .iter()
            .map(|module| module.kind.rsplit('.').next().unwrap_or_default())
            .collect();
        match kinds[..] {
            ["Transformer", "Pooling", "Normalize"] => {}
            // Vectors are always scaled to unit length here, which changes no result under cosine similarity only.
            ["Transformer", "Pooling"] => refuse_other_similarity(directory)?,
            _ => return Err(ModelError::unsupported(&path, "modules", kinds.join(" + "))),
        }
        Ok(Self {
            transformer: modules[0].path.clone(),
            pooling: modules[1].path.clone(),
        })
    }
}

fn refuse_other_similarity(directory: &Path) -> Result<(), ModelError> {
    #[derive(Deserialize)]
    struct SimilarityConfig {
        similarity_fn_name: Option<String>,
    }
    let path = directory.join("config_sentence_transformers.json");
    if !path.exists() {
        return Ok(());
    }
    match read_json::<SimilarityConfig>(&path)?.similarity_fn_name {
        Some(name) if name != "cosine" => Err(ModelError::unsupported(&path, "similarity_fn_name", name)),
        _ => Ok(()),
    }
}

/// Accepts both formats: one flag per mode, or `pooling_mode` with a name.
fn read_pooling(path: &Path, hidden: usize) -> Result<PoolingMode, ModelError> {
    let config: Map<String, Value> = read_json(path)?;
    if config.get("include_prompt") == Some(&Value::Bool(false)) {
        return Err(ModelError::unsupported(path, "include_prompt", false));
    }
    let dimension = config
        .get("word_embedding_dimension")
        .or(config.get("embedding_dimension"));
    if let Some(dimension) = dimension.filter(|dimension| dimension.as_u64() != Some(hidden as u64)) {
        return Err(ModelError::malformed(
            path,
            format!("dimension {dimension}, but hidden_size {hidden}"),
        ));
    }
    let mut modes: Vec<&str> = Vec::new();
    for (name, value) in &config {
        match (name.strip_prefix("pooling_mode"), value) {
            (Some(""), Value::String(mode)) => modes.push(mode),
            (Some(mode), Value::Bool(true)) => modes.push(mode.trim_start_matches('_')),
            (None, _) | (_, Value::Bool(false)) => {}
            (Some(_), other) => return Err(ModelError::unsupported(path, name, other)),
        }
    }
    match modes[..] {
        ["mean_tokens" | "mean"] => Ok(PoolingMode::Mean),
        ["cls_token" | "cls"] => Ok(PoolingMode::Cls),
        _ => Err(ModelError::unsupported(path, "pooling_mode", modes.join(" + "))),
    }
}
