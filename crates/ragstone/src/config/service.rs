//! Settings of model services: address, credentials and headers of each.
//!
//! Invariant: a key or a header is sent only to the service it was set for, and no message repeats a header's value.

use serde::Deserialize;

use super::{SecretReferences, SecretSetting, Settings};

/// The `[openai]` section: the service that embeddings and chat use by default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiSection {
    /// Key of the service, if it needs one.
    pub api_key: SecretSetting,
    /// URL of the service's API.
    pub base_url: String,
    /// Header that carries the key.
    pub key_header: KeyHeaderSetting,
    /// Azure: value of `api-version` in each request; empty sends none.
    pub api_version: String,
    /// Headers of every request, each `Name: value`.
    pub headers: Vec<SecretSetting>,
}

/// How a service's key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHeaderSetting {
    /// `ApiKey` for Azure's hosts, `Bearer` for all others.
    Auto,
    /// The header `Authorization: Bearer <key>`.
    Bearer,
    /// The header `api-key: <key>`.
    ApiKey,
}

/// Address and credentials of a remote model's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelService {
    /// URL of the API, without a slash at the end.
    pub base_url: String,
    /// Key of the service, if it needs one.
    pub api_key: SecretSetting,
    /// Header that carries the key.
    pub key_header: KeyHeaderSetting,
    /// Azure: value of `api-version`; empty sends none.
    pub api_version: String,
    /// Azure: name of the deployment; empty for none.
    pub deployment: String,
    /// Headers of every request, each `Name: value`, where the value may be a reference.
    pub headers: Vec<SecretSetting>,
}

impl ModelService {
    /// Names and values of the headers, with references resolved at this call. Errors name the header, not its value.
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

/// Splits a header into name and value. The error does not repeat the header, because it may hold a secret.
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
    /// The embedding service; meaningful only if [`Self::embeds_remotely`].
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

    /// The chat service; meaningful only if [`Self::chats_remotely`].
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

    /// The judge's service; meaningful only if [`Self::has_judge`].
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

    /// Returns `own` if it has an address, else the common service with what `own` sets. A service with its own address
    /// gets nothing of the common one, so that a key or a header is sent only to the service it was set for.
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
