//! Tries the models of the settings: loads the local one, sends one small request to each service.

use std::path::PathBuf;

use ragstone_adapters::openai::ServiceLimits;

use super::{PartHealth, SystemPart, TrialOptions, build_part, redact_url, skipped_part};
use crate::config::{ModelService, Settings};
use crate::wiring::{model, trial};

/// The embedder, the chat model and, if configured, the judge.
pub async fn model_parts(settings: &Settings, trials: TrialOptions) -> Vec<SystemPart> {
    let judge = async {
        match settings.has_judge() {
            true => Some(judge_part(settings, trials).await),
            false => None,
        }
    };
    let (embedder, chat, judge) = tokio::join!(embedder_part(settings, trials), chat_part(settings, trials), judge);
    [embedder, chat].into_iter().chain(judge).collect()
}

async fn embedder_part(settings: &Settings, trials: TrialOptions) -> SystemPart {
    let name = "embedder";
    if settings.embeds_remotely() {
        let (model, service) = (&settings.embed.model, settings.embed_service());
        if let Some(unusable) = unusable_service_part(name, settings, model, &service) {
            return unusable;
        }
        return match trials.network {
            false => skipped_part(name, &describe_service(model, &service)),
            true => {
                let tried = trial::with_time_limit(trial::try_embedder(settings)).await;
                service_part(name, model, &service, "RAGSTONE_EMBED_API_KEY", tried)
            }
        };
    }
    if !settings.embeds_locally() {
        let hint = Some("set embed.provider to auto to search by meaning as well");
        return build_part(name, PartHealth::Notice, "none: search is by words alone", hint);
    }
    local_model_part(settings).await
}

/// Loads the local model if it is there, so that a truncated file is found here and not by the first question.
async fn local_model_part(settings: &Settings) -> SystemPart {
    let (part_name, name) = ("embedder", &settings.model.manifest.name);
    let (folder, present): (PathBuf, bool) = model::locate_model(settings);
    if !present {
        let hint = match settings.model.offline {
            true => "RAGSTONE_OFFLINE is set: put the model's files there, or fetch it on a machine with a network",
            false => "run `ragstone model fetch`",
        };
        let detail = format!(
            "{name} is not in {}: search is by words alone until it is there",
            folder.display()
        );
        return build_part(part_name, PartHealth::Notice, detail, Some(hint));
    }
    match trial::with_time_limit(trial::try_embedder(settings)).await {
        Ok(told) => {
            let detail = format!("{name} in {}, loaded: {told}", folder.display());
            build_part(part_name, PartHealth::Ok, detail, None)
        }
        Err(error) => build_part(
            part_name,
            PartHealth::Broken,
            format!("{name} in {} does not work: {error}", folder.display()),
            Some("remove that folder and run `ragstone model fetch`, or name another one by RAGSTONE_MODEL_DIR"),
        ),
    }
}

async fn chat_part(settings: &Settings, trials: TrialOptions) -> SystemPart {
    let (name, model) = ("chat", &settings.chat.model);
    if !settings.chats_remotely() {
        let detail = "extractive: answers quote the best sentences, no model";
        return build_part(name, PartHealth::Ok, detail, None);
    }
    let service = settings.chat_service();
    if let Some(unusable) = unusable_service_part(name, settings, model, &service) {
        return unusable;
    }
    match trials.network {
        false => skipped_part(name, &describe_service(model, &service)),
        true => {
            let tried = trial::with_time_limit(trial::try_chat_model(settings)).await;
            service_part(name, model, &service, "RAGSTONE_CHAT_API_KEY", tried)
        }
    }
}

async fn judge_part(settings: &Settings, trials: TrialOptions) -> SystemPart {
    let (name, model) = ("judge", &settings.eval.judge_model);
    let service = settings.judge_service();
    if let Some(unusable) = unusable_service_part(name, settings, model, &service) {
        return unusable;
    }
    match trials.network {
        false => skipped_part(name, &describe_service(model, &service)),
        true => {
            let tried = trial::with_time_limit(trial::try_judge(settings)).await;
            service_part(name, model, &service, "RAGSTONE_EVAL__JUDGE_API_KEY", tried)
        }
    }
}

/// Result of the trial of a service, with a hint if it failed.
fn service_part(
    name: &'static str,
    model: &str,
    service: &ModelService,
    key: &str,
    tried: Result<String, String>,
) -> SystemPart {
    let words = describe_service(model, service);
    match tried {
        Ok(told) => build_part(name, PartHealth::Ok, format!("{words} answers: {told}"), None),
        Err(error) => {
            let with = if service.api_key.is_set() {
                ""
            } else {
                " (no key is set)"
            };
            let hint = format!(
                "see that the service runs there and has the model, and that its key is right: {key} or OPENAI_API_KEY{with}"
            );
            build_part(
                name,
                PartHealth::Broken,
                format!("{words} does not answer: {error}"),
                Some(&hint),
            )
        }
    }
}

/// A service's model, and what its requests are made of. Headers are listed by name only.
fn describe_service(model: &str, service: &ModelService) -> String {
    let mut words = vec![format!("{model} (a service) at {}", redact_url(&service.base_url))];
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

/// Why no request to a service can be built; found without the network.
fn unusable_service_part(
    name: &'static str,
    settings: &Settings,
    model: &str,
    service: &ModelService,
) -> Option<SystemPart> {
    let error = model::build_connection(settings, service, ServiceLimits::default()).err()?;
    let hint = Some("a header's value is text, env:NAME or file:PATH");
    Some(build_part(
        name,
        PartHealth::Broken,
        format!("{model}: {error:#}"),
        hint,
    ))
}
