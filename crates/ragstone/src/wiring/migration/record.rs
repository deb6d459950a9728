//! What is written down of a change of the model: enough for any process to go on with it.
//!
//! Invariant: no secret is written down; which side answers stands in one row, beside the spec of its vectors.

use std::path::PathBuf;

use anyhow::Context;
use ragstone_core::evaluate::EvaluationQuestion;
use ragstone_core::seam::Catalogue;
use ragstone_core::seam::index::IndexSpec;
use serde::{Deserialize, Serialize};

use super::super::describe::redact_url;
use crate::config::{SecretSetting, Settings, sections};

/// The catalogue's setting of a change that is not finished.
const RECORD: &str = "model_migration";
/// The catalogue's setting that holds what answers.
const ACTIVE: &str = "index_spec";
/// A setting that is not there any more.
const NO_RECORD: &str = "null";

/// Which vectors the library answers by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveIndex {
    /// What they are.
    #[serde(flatten)]
    pub spec: IndexSpec,
    /// The index's own database; none where it shares the catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The embedder that the names of pipelines go on with: the one that the chunks were first made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<String>,
}

impl ActiveIndex {
    /// What the catalogue says; none where nobody began the library.
    pub async fn load_from(catalogue: &dyn Catalogue) -> anyhow::Result<Option<Self>> {
        let text = catalogue.get_setting(ACTIVE).await?;
        text.map(|text| serde_json::from_str(&text).context("the catalogue's index_spec is damaged"))
            .transpose()
    }

    /// Makes it what answers, in one row.
    pub async fn save_to(&self, catalogue: &dyn Catalogue) -> anyhow::Result<()> {
        Ok(catalogue.set_setting(ACTIVE, &serde_json::to_string(self)?).await?)
    }
}

/// A model as settings name it, without what is secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetModel {
    /// Whether a service embeds.
    pub remote: bool,
    /// Its name.
    pub model: String,
    /// The service, without what may be secret in an address; empty for the settings'.
    pub base_url: String,
    /// The local model's folder, where it is not the folder of models.
    pub path: PathBuf,
    /// Length of a vector; 0 for what the model gives.
    pub dimensions: usize,
    /// Put before questions.
    pub query_prefix: String,
    /// Put before passages.
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

    /// The settings with this model in the place of theirs.
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

    /// A key goes only to the address that it was meant for: a service that the settings do not name gets none.
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

    /// How it is named to a person.
    pub fn describe(&self) -> String {
        match (self.remote, self.path.as_os_str().is_empty()) {
            (true, _) => format!("openai:{}", self.model),
            (false, true) => format!("local:{}", self.model),
            (false, false) => format!("local:{}", self.path.display()),
        }
    }

    /// What the settings have to say for it.
    pub fn describe_settings(&self) -> String {
        match (self.remote, self.path.as_os_str().is_empty()) {
            (true, _) => format!("embed.provider = \"openai\", embed.model = {:?}", self.model),
            (false, true) => format!("embed.provider = \"local\", embed.model = {:?}", self.model),
            (false, false) => format!("embed.provider = \"local\", model.path = {:?}", self.path),
        }
    }
}

/// One side of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideRecord {
    /// Its database.
    pub place: Option<String>,
    /// Its vectors.
    pub spec: IndexSpec,
    /// Its model.
    pub target: TargetModel,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationPhase {
    /// The new side is filled, then compared, then answers.
    Filling,
    /// The new side was worse than asked for.
    Refused,
    /// The new side answers.
    Switched,
    /// The old side answers again.
    RolledBack,
}

/// What the new side must reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityGate {
    /// A metric of `eval run`, such as `ndcg_10`.
    pub metric: String,
    /// New over old, at least.
    pub ratio: f64,
    /// The questions.
    pub questions: Vec<EvaluationQuestion>,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateComparison {
    /// By which metric.
    pub metric: String,
    /// Over how many questions.
    pub questions: usize,
    /// Mean of the side that answers.
    pub old: f64,
    /// Mean of the new side.
    pub new: f64,
    /// What was asked for.
    pub ratio: f64,
}

impl GateComparison {
    /// Whether the new side may answer.
    pub fn passes_gate(&self) -> bool {
        self.new >= self.ratio * self.old
    }
}

/// A change of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigrationRecord {
    /// What answered before.
    pub from: SideRecord,
    /// What shall answer.
    pub to: SideRecord,
    /// The embedder in the names of pipelines, which stay.
    pub known_as: String,
    /// How far it is.
    pub phase: MigrationPhase,
    /// What the new side must reach.
    pub gate: Option<QualityGate>,
    /// What was found.
    pub compared: Option<GateComparison>,
}

impl MigrationRecord {
    /// The change that is not finished, if there is one.
    pub async fn load_from(catalogue: &dyn Catalogue) -> anyhow::Result<Option<Self>> {
        let text = catalogue.get_setting(RECORD).await?;
        let text = text.filter(|text| text != NO_RECORD);
        text.map(|text| serde_json::from_str(&text).context("the catalogue's model_migration is damaged"))
            .transpose()
    }

    /// Writes it down.
    pub async fn save_to(&self, catalogue: &dyn Catalogue) -> anyhow::Result<()> {
        Ok(catalogue.set_setting(RECORD, &serde_json::to_string(self)?).await?)
    }

    /// There is no change any more.
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
