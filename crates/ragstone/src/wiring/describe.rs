//! What will run, what is missing, what does not work, and where text goes: for `doctor` and for the lines at start.

mod models;

use std::collections::BTreeSet;

use ragstone_adapters::data_dir::{DataDirectory, Locked};
use serde::Serialize;

use super::stores::{SHARED_PARTS, has_keys, reach};
use super::trial::within_patience;
use super::{parser_pool, socket};

use crate::config::{BlobPlace, Settings, UnknownNames};

/// The state of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It will work.
    Ok,
    /// It works with less.
    Notice,
    /// It was not tried.
    Skipped,
    /// It will not work.
    Broken,
}

/// One part of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is called.
    pub name: &'static str,
    /// How it stands.
    pub health: Health,
    /// In words.
    pub detail: String,
    /// What to do, where something should be done.
    pub hint: Option<String>,
}

/// Everything, without a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The program's version.
    pub version: &'static str,
    /// The parts.
    pub parts: Vec<Part>,
    /// Where text is sent, beside this process.
    pub text_goes_to: Vec<String>,
}

impl Description {
    /// Whether nothing is broken.
    pub fn is_sound(&self) -> bool {
        self.parts.iter().all(|part| part.health != Health::Broken)
    }
}

fn part(name: &'static str, health: Health, detail: impl Into<String>, hint: Option<&str>) -> Part {
    Part {
        name,
        health,
        detail: detail.into(),
        hint: hint.map(String::from),
    }
}

/// What may be tried.
#[derive(Debug, Clone, Copy)]
pub struct Trials {
    /// Services and shared stores may be called.
    pub network: bool,
}

/// Looks at what the settings name and tries it; makes nothing that is not there, and leaves nothing.
pub async fn describe(settings: &Settings, version: &'static str, trials: Trials) -> Description {
    let file = settings.file.clone().unwrap_or_else(|| "none".into());
    let (shared, models, parser, api) = tokio::join!(
        shared(settings, trials),
        models::models(settings, trials),
        parser(settings),
        api(settings, trials),
    );
    Description {
        version,
        parts: [part("settings file", Health::Ok, file, None)]
            .into_iter()
            .chain(environment(&settings.unknown_names))
            .chain([data(settings)])
            .chain(shared)
            .chain(models)
            .chain([parser, api])
            .chain(issuers(settings).map(|words| part("issuer", Health::Ok, words, None)))
            .collect(),
        text_goes_to: text_goes_to(settings),
    }
}

/// Where text is sent, beside this process.
pub fn text_goes_to(settings: &Settings) -> Vec<String> {
    let mut places = shared_places(settings);
    if settings.embeds_remotely() {
        let url = shown(&settings.embed_service().base_url);
        places.push(format!(
            "documents and questions to {url}, to be embedded by {}",
            settings.embed.model
        ));
    }
    if settings.chats_remotely() {
        let url = shown(&settings.chat_service().base_url);
        places.push(format!(
            "questions and passages to {url}, to be answered by {}",
            settings.chat.model
        ));
    }
    if settings.judges() {
        let url = shown(&settings.judge_service().base_url);
        places.push(format!(
            "questions, answers and passages of evaluations to {url}, to be judged by {}",
            settings.eval.judge_model
        ));
    }
    places
}

/// An address without the user, password and query that may stand in it.
pub(super) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{path}").trim_end_matches('/').to_owned()
}

/// Who may vouch for callers: each issuer, with where its keys come from and what it vouches for.
pub fn issuers(settings: &Settings) -> impl Iterator<Item = String> {
    settings.access.issuers.iter().map(|issuer| {
        let keys = match issuer.jwks_url.as_str() {
            "" => "its keys are discovered".into(),
            url => format!("its keys from {}", shown(url)),
        };
        let tenant = match &issuer.tenant_claim {
            Some(claim) => format!("the tenant its claim {claim} names"),
            None => format!("tenant {}", issuer.tenant.clone().unwrap_or_default()),
        };
        let audience = issuer.audience.join(" or ");
        format!("{}, {keys}, for {tenant}, audience {audience}", issuer.issuer)
    })
}

/// Names in the environment that are no settings, if there are any.
fn environment(unknown: &UnknownNames) -> Vec<Part> {
    let line = |names: &BTreeSet<String>, what: &str, hint: &str| {
        let names = Vec::from_iter(names.iter().map(String::as_str)).join(", ");
        (!names.is_empty()).then(|| {
            part(
                "environment",
                Health::Notice,
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

fn data(settings: &Settings) -> Part {
    let folder = &settings.data.directory;
    let shown = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
    let shown = shown.display();
    if !folder.exists() {
        return part(
            "data directory",
            Health::Ok,
            format!("{shown} (made at the first use)"),
            None,
        );
    }
    match DataDirectory::open(folder) {
        Ok(_) => part("data directory", Health::Ok, shown.to_string(), None),
        Err(Locked::Held { holder, .. }) => {
            let detail = format!(
                "{shown}, open in process {holder} (socket {})",
                socket(settings).display()
            );
            part("data directory", Health::Ok, detail, None)
        }
        Err(error) => part(
            "data directory",
            Health::Broken,
            error.to_string(),
            Some("give the folder to this user, or name another one with --data"),
        ),
    }
}

/// What was not tried, because the caller of `doctor` wanted no call to leave this machine.
fn skipped(name: &'static str, detail: &str) -> Part {
    part(
        name,
        Health::Skipped,
        format!("{detail} (not tried: --no-network)"),
        None,
    )
}

/// The shared stores, each asked whether it answers.
async fn shared(settings: &Settings, trials: Trials) -> Vec<Part> {
    let Some(set) = settings.shared() else {
        return Vec::new();
    };
    if !trials.network {
        return SHARED_PARTS.map(|name| skipped(name, "shared")).to_vec();
    }
    let told = |(name, told): (&'static str, Result<String, String>)| match told {
        Ok(words) => part(name, Health::Ok, words, None),
        Err(error) if name == "doorbell" => {
            let hint = Some("until it answers, workers look for jobs each jobs.poll_seconds");
            part(name, Health::Notice, error, hint)
        }
        Err(error) => part(
            name,
            Health::Broken,
            error,
            Some("see that it runs, and that its setting is right"),
        ),
    };
    reach(settings, &set).await.into_iter().map(told).collect()
}

fn shared_places(settings: &Settings) -> Vec<String> {
    let Some(set) = settings.shared() else {
        return Vec::new();
    };
    let database = set.database_url.expose().unwrap_or_default();
    let database = match database.contains("://") {
        true => shown(database),
        // A list of words, one of which is the password.
        false => "postgresql".to_owned(),
    };
    let blobs = match set.blobs {
        BlobPlace::Folder(folder) => folder.display().to_string(),
        BlobPlace::Bucket { name, .. } if settings.s3.endpoint.is_empty() => format!("the bucket {name}"),
        BlobPlace::Bucket { name, .. } => format!("the bucket {name} at {}", shown(&settings.s3.endpoint)),
    };
    vec![
        format!("names, readers, metadata and jobs of documents to {database}"),
        format!("passages and their vectors to {}", shown(&settings.index.qdrant_url)),
        format!("originals and their text to {blobs}"),
    ]
}

async fn parser(settings: &Settings) -> Part {
    let isolation = match parser_pool(settings) {
        Ok(pool) => pool.isolation().await.map_err(|error| error.to_string()),
        Err(error) => Err(format!("{error:#}")),
    };
    match isolation {
        Ok(isolation) => part(
            "parser",
            Health::Ok,
            format!("in a process of its own ({isolation:?})"),
            None,
        ),
        Err(error) => part(
            "parser",
            Health::Broken,
            error,
            Some("check that this program may start itself"),
        ),
    }
}

/// Where the API listens and who gets in, which depends on whether there is a key.
async fn api(settings: &Settings, trials: Trials) -> Part {
    let listen = settings.server.listen;
    let access = &settings.access;
    let asked = match settings.shared() {
        Some(_) if !trials.network => Ok(None),
        _ => within_patience(has_keys(settings)).await.map(Some),
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
            return part("api", Health::Broken, detail, hint);
        }
        (false, true, Ok(None)) => "callers with a key, if one exists (not tried: --no-network)",
        (false, true, Err(error)) => {
            let detail = format!("http://{listen}; whether a key exists is not known: {error}");
            return part("api", Health::Notice, detail, Some("see the stores above"));
        }
    };
    part("api", Health::Ok, format!("http://{listen}, for {who}"), None)
}
