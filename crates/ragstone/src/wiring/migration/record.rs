//! The stored record of a migration: enough for any process to resume it.
//!
//! Invariant: no secret is stored; one row says which side answers, together with the spec of its vectors.

use std::path::PathBuf;

use anyhow::Context;
use ragstone_core::evaluate::EvaluationQuestion;
use ragstone_core::seam::Catalogue;
use ragstone_core::seam::index::IndexSpec;
use serde::{Deserialize, Serialize};

use super::super::describe::redact_url;
use crate::config::{SecretSetting, Settings, sections};

/// The catalogue's setting with the record of an unfinished migration.
const RECORD: &str = "model_migration";
/// The catalogue's setting with the active index.
const ACTIVE: &str = "index_spec";
/// Value of the setting when there is no record.
const NO_RECORD: &str = "null";

/// The vectors that the library answers by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveIndex {
    /// Embedder, dimensions and lexical side of the points.
    #[serde(flatten)]
    pub spec: IndexSpec,
    /// Name of the index's own database; `None` if it is in the catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Digest of the embedder that first made the chunks; pipelines keep it in their names after a change of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<String>,
}

impl ActiveIndex {
    /// Loads it from the catalogue; `None` if the library has no spec yet. Fails if the row is damaged.
    pub async fn load_from(catalogue: &dyn Catalogue) -> anyhow::Result<Option<Self>> {
        let text = catalogue.get_setting(ACTIVE).await?;
        text.map(|text| serde_json::from_str(&text).context("the catalogue's index_spec is damaged"))
            .transpose()
    }

    /// Makes it the active index, by one row.
    pub async fn save_to(&self, catalogue: &dyn Catalogue) -> anyhow::Result<()> {
        Ok(catalogue.set_setting(ACTIVE, &serde_json::to_string(self)?).await?)
    }
}

/// An embedding model as the settings describe it, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetModel {
    /// Whether a service embeds.
    pub remote: bool,
    /// Name of the model.
    pub model: String,
    /// URL of the service without parts that may be secret; empty for the settings'.
    pub base_url: String,
    /// Folder of the local model; empty if it is in the folder of models.
    pub path: PathBuf,
    /// Length of a vector; 0 means what the model gives.
    pub dimensions: usize,
    /// Text put before every question.
    pub query_prefix: String,
    /// Text put before every passage.
    pub passage_prefix: String,
}

impl TargetModel {
    /// The model that the settings name.
    pub fn from_settings(settings: &Settings) -> Self {
        let embed = &settings.embed;
        let remote = settings.embeds_remotely();
        Self {
            remote,
            model: match remote {
                true => embed.model.clone(),
                false => settings.model.manifest.name.clone(),
            },
            base_url: match remote {
                true => redact_url(&settings.embed_service().base_url),
                false => String::new(),
            },
            path: match remote {
                true => PathBuf::new(),
                false => settings.model.path.clone(),
            },
            dimensions: if remote { embed.dimensions } else { 0 },
            query_prefix: embed.query_prefix.clone(),
            passage_prefix: embed.passage_prefix.clone(),
        }
    }

    /// The settings with this model in place of theirs.
    pub fn apply_to(&self, settings: &Settings) -> Settings {
        let mut settings = settings.clone();
        settings.embed.provider = match self.remote {
            true => sections::EmbedProvider::OpenAi,
            false => sections::EmbedProvider::Local,
        };
        settings.embed.model.clone_from(&self.model);
        self.apply_address(&mut settings);
        settings.model.path.clone_from(&self.path);
        settings.embed.dimensions = self.dimensions;
        settings.embed.query_prefix.clone_from(&self.query_prefix);
        settings.embed.passage_prefix.clone_from(&self.passage_prefix);
        settings
    }

    /// Sets the service's address. A key is sent only to the address it was set for, so any other service gets none.
    fn apply_address(&self, settings: &mut Settings) {
        if self.base_url.is_empty() || self.base_url == redact_url(&settings.embed_service().base_url) {
            return;
        }
        settings.embed.api_key = SecretSetting::default();
        settings.embed.base_url = match redact_url(&settings.openai.base_url) == self.base_url {
            true => String::new(),
            false => self.base_url.clone(),
        };
    }

    /// Name of the model for people.
    pub fn describe(&self) -> String {
        match (self.remote, self.path.as_os_str().is_empty()) {
            (true, _) => format!("openai:{}", self.model),
            (false, true) => format!("local:{}", self.model),
            (false, false) => format!("local:{}", self.path.display()),
        }
    }

    /// What the settings must contain for this model.
    pub fn describe_settings(&self) -> String {
        match (self.remote, self.path.as_os_str().is_empty()) {
            (true, _) => format!("embed.provider = \"openai\", embed.model = {:?}", self.model),
            (false, true) => format!("embed.provider = \"local\", embed.model = {:?}", self.model),
            (false, false) => format!("embed.provider = \"local\", model.path = {:?}", self.path),
        }
    }
}

/// One of the two indexes of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideRecord {
    /// Name of its own database; `None` if it is in the catalogue's.
    pub place: Option<String>,
    /// Spec of its vectors.
    pub spec: IndexSpec,
    /// Model that makes its vectors.
    pub target: TargetModel,
}

/// Phase of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationPhase {
    /// The new index is filled, then compared, then switched to.
    Filling,
    /// The new model did not pass the quality gate.
    Refused,
    /// The new model answers.
    Switched,
    /// The old model answers again.
    RolledBack,
}

/// Quality that the new model must reach before it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityGate {
    /// Name of a metric of `eval run`, such as `ndcg_10`.
    pub metric: String,
    /// Least ratio of the new mean to the old one.
    pub ratio: f64,
    /// Questions that both models are measured on.
    pub questions: Vec<EvaluationQuestion>,
}

/// Result of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateComparison {
    /// Metric that was measured.
    pub metric: String,
    /// Number of questions that were measured.
    pub questions: usize,
    /// Mean of the active side.
    pub old: f64,
    /// Mean of the new side.
    pub new: f64,
    /// Ratio that the gate required.
    pub ratio: f64,
}

impl GateComparison {
    /// Whether the new model may answer.
    pub fn passes_gate(&self) -> bool {
        self.new >= self.ratio * self.old
    }
}

/// An unfinished migration, as stored in the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigrationRecord {
    /// The old index and its model.
    pub from: SideRecord,
    /// The new index and its model.
    pub to: SideRecord,
    /// Digest of the embedder in the names of pipelines, which do not change.
    pub known_as: String,
    /// Phase of the migration.
    pub phase: MigrationPhase,
    /// Quality gate, if one was given.
    pub gate: Option<QualityGate>,
    /// Result of the comparison, if one was made.
    pub compared: Option<GateComparison>,
}

impl MigrationRecord {
    /// Loads the unfinished migration, if there is one.
    pub async fn load_from(catalogue: &dyn Catalogue) -> anyhow::Result<Option<Self>> {
        let text = catalogue.get_setting(RECORD).await?;
        let text = text.filter(|text| text != NO_RECORD);
        text.map(|text| serde_json::from_str(&text).context("the catalogue's model_migration is damaged"))
            .transpose()
    }

    /// Stores the record in the catalogue.
    pub async fn save_to(&self, catalogue: &dyn Catalogue) -> anyhow::Result<()> {
        Ok(catalogue.set_setting(RECORD, &serde_json::to_string(self)?).await?)
    }

    /// Removes the record: no migration is unfinished any more.
    pub async fn clear_record(catalogue: &dyn Catalogue) -> anyhow::Result<()> {
        Ok(catalogue.set_setting(RECORD, NO_RECORD).await?)
    }

    /// The side that answers, and the other one.
    pub fn active_and_other(&self, active: Option<&ActiveIndex>) -> (&SideRecord, &SideRecord) {
        match active.is_some_and(|active| active.spec == self.to.spec) {
            true => (&self.to, &self.from),
            false => (&self.from, &self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SettingsLayers;

    #[test]
    fn a_key_goes_to_the_address_that_it_was_meant_for() {
        let pairs = [
            ("OPENAI_BASE_URL", "http://common:1/v1"),
            ("OPENAI_API_KEY", "sk-common"),
            ("RAGSTONE_EMBED_BASE_URL", "http://user:word@own:2/v1"),
            ("RAGSTONE_EMBED_API_KEY", "sk-own"),
            ("EMBEDDING_MODEL", "old"),
        ];
        let environment = pairs.map(|(name, value)| (name.into(), value.into())).into();
        let layers = SettingsLayers {
            environment,
            ..SettingsLayers::default()
        };
        let settings = Settings::from_layers(&layers).unwrap();
        let check = |base_url: &str, url: &str, key: Option<&str>| {
            let target = TargetModel {
                remote: true,
                model: "new".into(),
                base_url: base_url.into(),
                ..TargetModel::default()
            };
            let service = target.apply_to(&settings).embed_service();
            assert_eq!((service.base_url.as_str(), service.api_key.expose_secret()), (url, key));
        };
        check("", "http://user:word@own:2/v1", Some("sk-own"));
        check("http://own:2/v1", "http://user:word@own:2/v1", Some("sk-own"));
        check("http://common:1/v1", "http://common:1/v1", Some("sk-common"));
        check("http://else:3/v1", "http://else:3/v1", None);
        let written = serde_json::to_string(&TargetModel::from_settings(&settings)).unwrap();
        assert!(!written.contains("sk-") && !written.contains("word"), "{written}");
        assert_eq!(
            TargetModel::from_settings(&TargetModel::from_settings(&settings).apply_to(&settings)),
            TargetModel::from_settings(&settings)
        );
    }

    #[test]
    fn what_was_written_before_there_were_places_is_read() {
        let text = r#"{"embedder":"abc","dimensions":2,"lexical":"bm25"}"#;
        let active: ActiveIndex = serde_json::from_str(text).unwrap();
        assert_eq!((&active.place, &active.known_as), (&None, &None));
        assert_eq!(serde_json::to_string(&active).unwrap(), text);
    }
}
