//! What will run, what is missing, and where text goes: for `doctor` and for the lines at start.

use std::path::PathBuf;

use ragstone_adapters::data_dir::{DataDirectory, Locked};
use ragstone_adapters::openai::Limits;
use serde::Serialize;

use super::stores::reach;
use super::{model, parser_pool, socket};

use crate::config::{BlobPlace, Service, Settings};

/// The state of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It will work.
    Ok,
    /// It works with less.
    Notice,
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

/// Looks at what the settings name; opens and changes nothing that is not there.
pub async fn describe(settings: &Settings, version: &'static str) -> Description {
    let file = settings.file.clone().unwrap_or_else(|| "none".into());
    Description {
        version,
        parts: [part("settings file", Health::Ok, file, None), data(settings)]
            .into_iter()
            .chain(shared(settings).await)
            .chain([
                embedder(settings),
                chat(settings),
                parser(settings).await,
                api(settings),
            ])
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
    format!("{scheme}://{host}/{path}")
        .trim_end_matches('/')
        .to_owned()
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

/// The shared stores, each asked whether it answers.
async fn shared(settings: &Settings) -> Vec<Part> {
    let Some(set) = settings.shared() else {
        return Vec::new();
    };
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
        format!(
            "passages and their vectors to {}",
            shown(&settings.index.qdrant_url)
        ),
        format!("originals and their text to {blobs}"),
    ]
}

fn embedder(settings: &Settings) -> Part {
    if settings.embeds_remotely() {
        return service(
            "embedder",
            settings,
            &settings.embed.model,
            &settings.embed_service(),
        );
    }
    if !settings.embeds_locally() {
        let hint = Some("set embed.provider to auto to search by meaning as well");
        return part("embedder", Health::Notice, "none: search is by words alone", hint);
    }
    let name = &settings.model.manifest.name;
    let (folder, present): (PathBuf, bool) = model::place(settings);
    if present {
        return part(
            "embedder",
            Health::Ok,
            format!("{name} in {}", folder.display()),
            None,
        );
    }
    let detail = format!(
        "{name} is not in {}: search is by words alone until it is there",
        folder.display()
    );
    match settings.model.offline {
        true => part(
            "embedder",
            Health::Notice,
            detail,
            Some(
                "RAGSTONE_OFFLINE is set: put the model's files there, or fetch it on a machine with a network",
            ),
        ),
        false => part(
            "embedder",
            Health::Notice,
            detail,
            Some("run `ragstone model fetch`"),
        ),
    }
}

fn chat(settings: &Settings) -> Part {
    match settings.chats_remotely() {
        true => service("chat", settings, &settings.chat.model, &settings.chat_service()),
        false => part(
            "chat",
            Health::Ok,
            "extractive: answers quote the best sentences, no model",
            None,
        ),
    }
}

/// A model of a service, and whether what its requests are made of is there. Headers are told by name.
fn service(name: &'static str, settings: &Settings, model: &str, service: &Service) -> Part {
    if let Err(error) = model::connection(settings, service, Limits::default()) {
        let hint = Some("a header's value is text, env:NAME or file:PATH");
        return part(name, Health::Broken, format!("{model}: {error:#}"), hint);
    }
    let mut words = vec![format!("{model} (a service)")];
    if !service.deployment.is_empty() {
        words.push(format!("deployment {}", service.deployment));
    }
    if !service.api_version.is_empty() {
        words.push(format!("api-version {}", service.api_version));
    }
    let headers = service.header_names();
    if !headers.is_empty() {
        words.push(format!("with the headers {}", headers.join(", ")));
    }
    part(name, Health::Ok, words.join(", "), None)
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

fn api(settings: &Settings) -> Part {
    let listen = settings.server.listen;
    let access = &settings.access;
    let who = match (access.admin_key.is_set(), access.issuers.is_empty()) {
        (true, true) => "callers with the admin key or another one",
        (_, false) => "callers with a key or a token",
        (false, true) if listen.ip().is_loopback() => {
            "callers on this machine; once there is a key, for callers with one"
        }
        (false, true) => {
            let detail = format!("http://{listen}, for callers with a key; refused while there is none");
            return part(
                "api",
                Health::Notice,
                detail,
                Some("`ragstone key create` makes one"),
            );
        }
    };
    part("api", Health::Ok, format!("http://{listen}, for {who}"), None)
}
