//! Describes what will run, what is missing or broken, and where text is sent: for `doctor` and the log at start.

mod models;

use std::collections::BTreeSet;

use ragstone_adapters::data_dir::{DataDirectory, DataDirectoryError};
use serde::Serialize;

use super::stores::{SHARED_STORE_NAMES, has_keys, probe_shared_stores};
use super::trial::with_time_limit;
use super::{parser_pool, socket_path};

use crate::config::{BlobLocation, Settings, UnknownNames};

/// Health of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartHealth {
    /// The part works without limitation.
    Ok,
    /// The part works with a limitation.
    Notice,
    /// The part was not tested.
    Skipped,
    /// The part does not work.
    Broken,
}

/// One part of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemPart {
    /// Name of the part.
    pub name: &'static str,
    /// Health of the part.
    pub health: PartHealth,
    /// Details, as text for people.
    pub detail: String,
    /// What to do about it, if anything.
    pub hint: Option<String>,
}

/// Description of the whole system; contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemDescription {
    /// Version of the program.
    pub version: &'static str,
    /// All parts, in order of display.
    pub parts: Vec<SystemPart>,
    /// Destinations of text outside this process.
    pub text_goes_to: Vec<String>,
}

impl SystemDescription {
    /// Whether no part is broken.
    pub fn is_healthy(&self) -> bool {
        self.parts.iter().all(|part| part.health != PartHealth::Broken)
    }
}

fn build_part(name: &'static str, health: PartHealth, detail: impl Into<String>, hint: Option<&str>) -> SystemPart {
    SystemPart {
        name,
        health,
        detail: detail.into(),
        hint: hint.map(String::from),
    }
}

/// Which trials may be made.
#[derive(Debug, Clone, Copy)]
pub struct TrialOptions {
    /// Whether services and shared stores may be called.
    pub network: bool,
}

/// Checks and tries what the settings name; creates nothing that does not exist, and leaves nothing behind.
pub async fn describe_system(settings: &Settings, version: &'static str, trials: TrialOptions) -> SystemDescription {
    let file = settings.file.clone().unwrap_or_else(|| "none".into());
    let (shared, models, parser, api) = tokio::join!(
        shared_store_parts(settings, trials),
        models::model_parts(settings, trials),
        parser_part(settings),
        api_part(settings, trials),
    );
    SystemDescription {
        version,
        parts: [build_part("settings file", PartHealth::Ok, file, None)]
            .into_iter()
            .chain(environment_parts(&settings.unknown_names))
            .chain([data_part(settings)])
            .chain(shared)
            .chain(models)
            .chain([parser, api])
            .chain(describe_issuers(settings).map(|words| build_part("issuer", PartHealth::Ok, words, None)))
            .collect(),
        text_goes_to: list_text_destinations(settings),
    }
}

/// Destinations of text outside this process.
pub fn list_text_destinations(settings: &Settings) -> Vec<String> {
    let mut places = shared_store_destinations(settings);
    if settings.embeds_remotely() {
        let url = redact_url(&settings.embed_service().base_url);
        places.push(format!(
            "documents and questions to {url}, to be embedded by {}",
            settings.embed.model
        ));
    }
    if settings.chats_remotely() {
        let url = redact_url(&settings.chat_service().base_url);
        places.push(format!(
            "questions and passages to {url}, to be answered by {}",
            settings.chat.model
        ));
    }
    if settings.has_judge() {
        let url = redact_url(&settings.judge_service().base_url);
        places.push(format!(
            "questions, answers and passages of evaluations to {url}, to be judged by {}",
            settings.eval.judge_model
        ));
    }
    places
}

/// A URL without the user, password and query that it may contain.
pub(super) fn redact_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{path}").trim_end_matches('/').to_owned()
}

/// Describes each issuer of tokens: where its keys come from and which tenants it is trusted with.
pub fn describe_issuers(settings: &Settings) -> impl Iterator<Item = String> {
    settings.access.issuers.iter().map(|issuer| {
        let keys = match issuer.jwks_url.as_str() {
            "" => "its keys are discovered".into(),
            url => format!("its keys from {}", redact_url(url)),
        };
        let tenant = match &issuer.tenant_claim {
            Some(claim) => format!("the tenant its claim {claim} names"),
            None => format!("tenant {}", issuer.tenant.clone().unwrap_or_default()),
        };
        let audience = issuer.audience.join(" or ");
        format!("{}, {keys}, for {tenant}, audience {audience}", issuer.issuer)
    })
}

/// Reports names in the environment that look like settings but are none.
fn environment_parts(unknown: &UnknownNames) -> Vec<SystemPart> {
    let line = |names: &BTreeSet<String>, what: &str, hint: &str| {
        let names = Vec::from_iter(names.iter().map(String::as_str)).join(", ");
        (!names.is_empty()).then(|| {
            build_part(
                "environment",
                PartHealth::Notice,
                format!("{what} ignored: {names}"),
                Some(hint),
            )
        })
    };
    let other = line(
        &unknown.other,
        "no settings, and",
        "`ragstone doctor --settings` prints all settings",
    );
    let services = line(
        &unknown.of_services,
        "variables of a Kubernetes Service are",
        "`enableServiceLinks: false` in the pod's specification leaves them out",
    );
    other.into_iter().chain(services).collect()
}

fn data_part(settings: &Settings) -> SystemPart {
    let folder = &settings.data.directory;
    let shown = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
    let shown = shown.display();
    if !folder.exists() {
        return build_part(
            "data directory",
            PartHealth::Ok,
            format!("{shown} (made at the first use)"),
            None,
        );
    }
    match DataDirectory::open(folder) {
        Ok(_) => build_part("data directory", PartHealth::Ok, shown.to_string(), None),
        Err(DataDirectoryError::InUse { holder, .. }) => {
            let detail = format!(
                "{shown}, open in process {holder} (socket {})",
                socket_path(settings).display()
            );
            build_part("data directory", PartHealth::Ok, detail, None)
        }
        Err(error) => build_part(
            "data directory",
            PartHealth::Broken,
            error.to_string(),
            Some("give the folder to this user, or name another one with --data"),
        ),
    }
}

/// A part that was not tried, because no call may leave this machine.
fn skipped_part(name: &'static str, detail: &str) -> SystemPart {
    build_part(
        name,
        PartHealth::Skipped,
        format!("{detail} (not tried: --no-network)"),
        None,
    )
}

/// The shared stores, each asked whether it answers.
async fn shared_store_parts(settings: &Settings, trials: TrialOptions) -> Vec<SystemPart> {
    let Some(set) = settings.shared_stores() else {
        return Vec::new();
    };
    if !trials.network {
        return SHARED_STORE_NAMES.map(|name| skipped_part(name, "shared")).to_vec();
    }
    let told = |(name, told): (&'static str, Result<String, String>)| match told {
        Ok(words) => build_part(name, PartHealth::Ok, words, None),
        Err(error) if name == "doorbell" => {
            let hint = Some("until it answers, workers look for jobs each jobs.poll_seconds");
            build_part(name, PartHealth::Notice, error, hint)
        }
        Err(error) => build_part(
            name,
            PartHealth::Broken,
            error,
            Some("see that it runs, and that its setting is right"),
        ),
    };
    probe_shared_stores(settings, &set)
        .await
        .into_iter()
        .map(told)
        .collect()
}

fn shared_store_destinations(settings: &Settings) -> Vec<String> {
    let Some(set) = settings.shared_stores() else {
        return Vec::new();
    };
    let database = set.database_url.expose_secret().unwrap_or_default();
    let database = match database.contains("://") {
        true => redact_url(database),
        // A connection string of keywords, one of which is the password.
        false => "postgresql".to_owned(),
    };
    let blobs = match set.blobs {
        BlobLocation::Folder(folder) => folder.display().to_string(),
        BlobLocation::Bucket { name, .. } if settings.s3.endpoint.is_empty() => format!("the bucket {name}"),
        BlobLocation::Bucket { name, .. } => {
            format!("the bucket {name} at {}", redact_url(&settings.s3.endpoint))
        }
    };
    vec![
        format!("names, readers, metadata and jobs of documents to {database}"),
        format!(
            "passages and their vectors to {}",
            redact_url(&settings.index.qdrant_url)
        ),
        format!("originals and their text to {blobs}"),
    ]
}

async fn parser_part(settings: &Settings) -> SystemPart {
    let isolation = match parser_pool(settings) {
        Ok(pool) => pool.probe_isolation().await.map_err(|error| error.to_string()),
        Err(error) => Err(format!("{error:#}")),
    };
    match isolation {
        Ok(isolation) => build_part(
            "parser",
            PartHealth::Ok,
            format!("in a process of its own ({isolation:?})"),
            None,
        ),
        Err(error) => build_part(
            "parser",
            PartHealth::Broken,
            error,
            Some("check that this program may start itself"),
        ),
    }
}

/// Where the API listens and who may call it, which depends on whether a key exists.
async fn api_part(settings: &Settings, trials: TrialOptions) -> SystemPart {
    let listen = settings.server.listen;
    let access = &settings.access;
    let asked = match settings.shared_stores() {
        Some(_) if !trials.network => Ok(None),
        _ => with_time_limit(has_keys(settings)).await.map(Some),
    };
    let who = match (access.admin_key.is_set(), access.issuers.is_empty(), &asked) {
        (_, false, _) => "callers with a key or a token",
        (true, true, Ok(Some(true))) => "callers with the admin key or another one",
        (true, true, _) => "callers with the admin key; no other key exists",
        (false, true, Ok(Some(true))) => "callers with a key",
        (false, true, Ok(Some(false))) if listen.ip().is_loopback() => {
            "callers on this machine, as no key exists; once there is one, for callers with it"
        }
        (false, true, Ok(Some(false))) => {
            let detail = format!("http://{listen} is refused: it is no loopback address, and no key exists");
            let hint = Some("`ragstone key create` makes a key; or set RAGSTONE_ADMIN_KEY, or listen at 127.0.0.1");
            return build_part("api", PartHealth::Broken, detail, hint);
        }
        (false, true, Ok(None)) => "callers with a key, if one exists (not tried: --no-network)",
        (false, true, Err(error)) => {
            let detail = format!("http://{listen}; whether a key exists is not known: {error}");
            return build_part("api", PartHealth::Notice, detail, Some("see the stores above"));
        }
    };
    build_part("api", PartHealth::Ok, format!("http://{listen}, for {who}"), None)
}
