//! The models of the settings, each of them tried: loaded, or asked for one small thing.

use std::path::PathBuf;

use ragstone_adapters::openai::Limits;

use super::{Health, Part, Trials, part, shown, skipped};
use crate::config::{Service, Settings};
use crate::wiring::{model, trial};

/// The embedder, the chat model and, where there is one, the judge.
pub async fn models(settings: &Settings, trials: Trials) -> Vec<Part> {
    let judge = async {
        match settings.judges() {
            true => Some(judge(settings, trials).await),
            false => None,
        }
    };
    let (embedder, chat, judge) = tokio::join!(embedder(settings, trials), chat(settings, trials), judge);
    [embedder, chat].into_iter().chain(judge).collect()
}

async fn embedder(settings: &Settings, trials: Trials) -> Part {
    let name = "embedder";
    if settings.embeds_remotely() {
        let (model, service) = (&settings.embed.model, settings.embed_service());
        if let Some(unusable) = unusable(name, settings, model, &service) {
            return unusable;
        }
        return match trials.network {
            false => skipped(name, &in_words(model, &service)),
            true => {
                let tried = trial::within_patience(trial::embed(settings)).await;
                of_service(name, model, &service, "RAGSTONE_EMBED_API_KEY", tried)
            }
        };
    }
    if !settings.embeds_locally() {
        let hint = Some("set embed.provider to auto to search by meaning as well");
        return part(name, Health::Notice, "none: search is by words alone", hint);
    }
    local(settings).await
}

/// The model of this process is loaded, if it is there: a file that is cut off is found here and not by the first question.
async fn local(settings: &Settings) -> Part {
    let (part_name, name) = ("embedder", &settings.model.manifest.name);
    let (folder, present): (PathBuf, bool) = model::place(settings);
    if !present {
        let hint = match settings.model.offline {
            true => "RAGSTONE_OFFLINE is set: put the model's files there, or fetch it on a machine with a network",
            false => "run `ragstone model fetch`",
        };
        let detail = format!(
            "{name} is not in {}: search is by words alone until it is there",
            folder.display()
        );
        return part(part_name, Health::Notice, detail, Some(hint));
    }
    match trial::within_patience(trial::embed(settings)).await {
        Ok(told) => {
            let detail = format!("{name} in {}, loaded: {told}", folder.display());
            part(part_name, Health::Ok, detail, None)
        }
        Err(error) => part(
            part_name,
            Health::Broken,
            format!("{name} in {} does not work: {error}", folder.display()),
            Some("remove that folder and run `ragstone model fetch`, or name another one by RAGSTONE_MODEL_DIR"),
        ),
    }
}

async fn chat(settings: &Settings, trials: Trials) -> Part {
    let (name, model) = ("chat", &settings.chat.model);
    if !settings.chats_remotely() {
        let detail = "extractive: answers quote the best sentences, no model";
        return part(name, Health::Ok, detail, None);
    }
    let service = settings.chat_service();
    if let Some(unusable) = unusable(name, settings, model, &service) {
        return unusable;
    }
    match trials.network {
        false => skipped(name, &in_words(model, &service)),
        true => {
            let tried = trial::within_patience(trial::chat(settings)).await;
            of_service(name, model, &service, "RAGSTONE_CHAT_API_KEY", tried)
        }
    }
}

async fn judge(settings: &Settings, trials: Trials) -> Part {
    let (name, model) = ("judge", &settings.eval.judge_model);
    let service = settings.judge_service();
    if let Some(unusable) = unusable(name, settings, model, &service) {
        return unusable;
    }
    match trials.network {
        false => skipped(name, &in_words(model, &service)),
        true => {
            let tried = trial::within_patience(trial::ask_judge(settings)).await;
            of_service(name, model, &service, "RAGSTONE_EVAL__JUDGE_API_KEY", tried)
        }
    }
}

/// How a service did, with what to look at if it did not.
fn of_service(name: &'static str, model: &str, service: &Service, key: &str, tried: Result<String, String>) -> Part {
    let words = in_words(model, service);
    match tried {
        Ok(told) => part(name, Health::Ok, format!("{words} answers: {told}"), None),
        Err(error) => {
            let with = if service.api_key.is_set() {
                ""
            } else {
                " (no key is set)"
            };
            let hint = format!(
                "see that the service runs there and has the model, and that its key is right: {key} or OPENAI_API_KEY{with}"
            );
            part(
                name,
                Health::Broken,
                format!("{words} does not answer: {error}"),
                Some(&hint),
            )
        }
    }
}

/// A model of a service, and what requests to it are made of. Headers are told by name.
fn in_words(model: &str, service: &Service) -> String {
    let mut words = vec![format!("{model} (a service) at {}", shown(&service.base_url))];
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
    words.join(", ")
}

/// Why no request to a service can be made at all, which needs no network to be found.
fn unusable(name: &'static str, settings: &Settings, model: &str, service: &Service) -> Option<Part> {
    let error = model::connection(settings, service, Limits::default()).err()?;
    let hint = Some("a header's value is text, env:NAME or file:PATH");
    Some(part(name, Health::Broken, format!("{model}: {error:#}"), hint))
}
