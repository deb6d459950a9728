//! Services of models: where each is, how it is asked, and which headers it gets.
//!
//! Invariant: a key or a header goes only to the service that it was meant for, and no message repeats a header's value.

use serde::Deserialize;

use super::{SecretReferences, SecretSetting, Settings};

/// `[openai]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiSection {
    /// Its key.
    pub api_key: SecretSetting,
    /// Its address.
    pub base_url: String,
    /// How the key is sent.
    pub key_header: KeyHeaderSetting,
    /// The version of Azure's API.
    pub api_version: String,
    /// Headers of every request.
    pub headers: Vec<SecretSetting>,
}

/// How a service's key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHeaderSetting {
    /// By the host.
    Auto,
    /// `Authorization: Bearer`.
    Bearer,
    /// `api-key`.
    ApiKey,
}

/// A remote model's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelService {
    /// Its address, without a slash at the end.
    pub base_url: String,
    /// Its key, if it wants one.
    pub api_key: SecretSetting,
    /// How the key is sent.
    pub key_header: KeyHeaderSetting,
    /// The version of Azure's API; empty for none.
    pub api_version: String,
    /// The deployment there; empty for none.
    pub deployment: String,
    /// Headers of every request, each `Name: value`, where the value may be a reference.
    pub headers: Vec<SecretSetting>,
}

impl ModelService {
    /// The headers by name, what their references name read now. Errors name the header and not its value.
    pub fn header_values(&self, references: &SecretReferences) -> Result<Vec<(String, String)>, String> {
        let read = |header: &SecretSetting| {
            let (name, value) = split_header(header.expose_secret().unwrap_or_default())?;
            let value = match value.starts_with("env:") || value.starts_with("file:") {
                true => references
                    .resolve_secret(value)
                    .map_err(|error| format!("the header {name}: {error}"))?,
                false => value.to_owned(),
            };
            Ok((name.to_owned(), value))
        };
        self.headers.iter().map(read).collect()
    }

    /// The names of the headers.
    pub fn header_names(&self) -> Vec<&str> {
        let names = self
            .headers
            .iter()
            .filter_map(|header| split_header(header.expose_secret()?).ok());
        names.map(|(name, _)| name).collect()
    }
}

/// A header's name and value; what is written otherwise is not repeated, for it may hold a secret.
pub(super) fn split_header(header: &str) -> Result<(&str, &str), String> {
    let (name, value) = header.split_once(':').unwrap_or((header, ""));
    let (name, value) = (name.trim(), value.trim());
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match !name.is_empty() && !value.is_empty() && name.chars().all(is_name) {
        true => Ok((name, value)),
        false => Err("a header is not written as \"Name: value\"".to_owned()),
    }
}

impl Settings {
    /// The service that embeds, if one does.
    pub fn embed_service(&self) -> ModelService {
        let embed = &self.embed;
        self.resolve_service(ModelService {
            base_url: embed.base_url.clone(),
            api_key: embed.api_key.clone(),
            key_header: embed.key_header,
            api_version: embed.api_version.clone(),
            deployment: embed.deployment.clone(),
            headers: embed.headers.clone(),
        })
    }

    /// The service that answers, if one does.
    pub fn chat_service(&self) -> ModelService {
        let chat = &self.chat;
        self.resolve_service(ModelService {
            base_url: chat.base_url.clone(),
            api_key: chat.api_key.clone(),
            key_header: chat.key_header,
            api_version: chat.api_version.clone(),
            deployment: chat.deployment.clone(),
            headers: chat.headers.clone(),
        })
    }

    /// The service that judges, if one does.
    pub fn judge_service(&self) -> ModelService {
        self.resolve_service(ModelService {
            base_url: self.eval.judge_base_url.clone(),
            api_key: self.eval.judge_api_key.clone(),
            key_header: KeyHeaderSetting::Auto,
            api_version: String::new(),
            deployment: String::new(),
            headers: Vec::new(),
        })
    }

    /// A service of its own as it is, or the common one where it has no address of its own: a key or a header goes only
    /// where it was meant for.
    fn resolve_service(&self, own: ModelService) -> ModelService {
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        if !own.base_url.is_empty() {
            return ModelService {
                base_url: trimmed(&own.base_url),
                ..own
            };
        }
        let common = &self.openai;
        ModelService {
            base_url: trimmed(&common.base_url),
            api_key: match own.api_key.is_set() {
                true => own.api_key,
                false => common.api_key.clone(),
            },
            key_header: match own.key_header {
                KeyHeaderSetting::Auto => common.key_header,
                set => set,
            },
            api_version: match own.api_version.is_empty() {
                true => common.api_version.clone(),
                false => own.api_version,
            },
            deployment: own.deployment,
            headers: [common.headers.clone(), own.headers].concat(),
        }
    }
}
