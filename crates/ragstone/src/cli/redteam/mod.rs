//! `redteam`: runs prompt injections against a model that obeys them, through the real pipeline from file to answer.
//!
//! Each attack has its own collection in a temporary library. The command does not judge what a model can be talked
//! into, only what leaves the server.

mod attacks;
mod judge;
mod obedient;

use anyhow::Context as _;
use axum::body::Body;
use axum::http::{Method, Request, header};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::attacks::{InjectionAttack, OTHER_DOCUMENT, QUESTION};
use self::judge::AttackVerdict;
use self::obedient::ObedientModel;
use super::client::{ApiClient, read_json};
use super::output::{CommandOutput, print_message};
use super::progress::wait_for_job;
use super::{CommandContext, PartialFailureError, UsageError};
use crate::config::{SecretSetting, Settings, sections};
use crate::wiring::ModelFetch;

/// The collection that no question searches.
const OTHER_COLLECTION: &str = "elsewhere";

/// Lets documents give orders to a model, and reports what leaves the server
///
/// A library of its own is made and removed again; nothing of yours is read. Exit code 1 if anything leaked: a link or
/// image outside of the cited sources, a text that left its fence, a document of another collection, a citation that
/// was not verified.
#[derive(Debug, Args)]
pub struct RedteamCommand {
    /// Who is attacked
    #[arg(long, value_enum, default_value = "obedient")]
    model: AttackedModelArgument,
    /// Only attacks whose name holds this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// The model under attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AttackedModelArgument {
    /// One inside this program that does whatever a document says.
    Obedient,
    /// The chat model of the settings; it costs what its service charges.
    Configured,
}

impl RedteamCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let attacks: Vec<InjectionAttack> = attacks::all_attacks()
            .into_iter()
            .filter(|attack| {
                self.only
                    .as_ref()
                    .is_none_or(|part| attack.name.contains(part.as_str()))
            })
            .collect();
        if attacks.is_empty() {
            return Err(UsageError("no attack has such a name".into()).into());
        }
        let folder = tempfile::tempdir().context("cannot make a folder for the library")?;
        let mut settings = context.settings.clone();
        isolate_settings(&mut settings, folder.path().join("data"));
        let model = match self.model {
            AttackedModelArgument::Configured if !settings.chats_remotely() => {
                return Err(UsageError("no chat model is configured: set chat.model".into()).into());
            }
            AttackedModelArgument::Configured => None,
            AttackedModelArgument::Obedient => Some(ObedientModel::start(&mut settings).await?),
        };
        let door = ApiClient::connect(&settings, ModelFetch::Present).await?;
        let done = run_attacks(&door, &attacks, model.as_ref(), context.output).await;
        door.close().await;
        match done? {
            0 => Ok(()),
            _ => Err(PartialFailureError.into()),
        }
    }
}

/// Changes the settings to a separate library that is searched by words.
fn isolate_settings(settings: &mut Settings, data: std::path::PathBuf) {
    settings.use_local_stores(data);
    settings.access.admin_key = SecretSetting::default();
    settings.access.default_readers = vec![ragstone_core::access::Reader::everyone()];
    settings.embed.provider = sections::EmbedProvider::None;
}

/// Runs every attack and shows its result; returns how many leaked.
async fn run_attacks(
    door: &ApiClient,
    attacks: &[InjectionAttack],
    model: Option<&ObedientModel>,
    output: CommandOutput,
) -> anyhow::Result<usize> {
    upload_document(door, OTHER_COLLECTION, "payroll.md", OTHER_DOCUMENT.as_bytes().to_vec()).await?;
    let (mut leaked, mut obeyed) = (0, 0);
    for attack in attacks {
        upload_document(door, attack.name, attack.file, attack.bytes.clone()).await?;
        let body = json!({ "question": QUESTION, "collection": attack.name, "limit": 5 });
        let answer = door.request_json(Method::POST, "/api/v1/ask", Some(&body)).await?;
        let prompt = model.and_then(ObedientModel::last_prompt);
        let verdict = judge::judge_answer(attack, &answer, prompt.as_deref());
        leaked += usize::from(!verdict.leaks.is_empty());
        obeyed += usize::from(verdict.obeyed);
        show_verdict(&verdict, output)?;
    }
    print_message(&format!(
        "{} attacks: {obeyed} were obeyed by the model, {leaked} leaked",
        attacks.len()
    ));
    Ok(leaked)
}

fn show_verdict(verdict: &AttackVerdict, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        return output.write_json_line(verdict);
    }
    let reached = match (verdict.reached, verdict.fenced) {
        (Some(false), _) => "left out before the prompt",
        (Some(true), Some(true)) => "reached the prompt, fenced",
        (Some(true), _) => "reached the prompt, NOT FENCED",
        (None, _) => "prompt not seen",
    };
    let obeyed = if verdict.obeyed { "obeyed" } else { "not obeyed" };
    let left = match verdict.leaks.is_empty() {
        true => "nothing leaked".to_owned(),
        false => format!("LEAKED: {}", verdict.leaks.join("; ")),
    };
    output.write_line(&format!("{:<18} {reached}; {obeyed}; {left}", verdict.attack))
}

/// Uploads a file and waits until it is published.
async fn upload_document(door: &ApiClient, collection: &str, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"collection\"\r\n\r\n{collection}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend(bytes);
    body.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/documents")
        .header(header::HOST, "localhost")
        .header(
            header::CONTENT_TYPE,
            format!("multipart/form-data; boundary={boundary}"),
        )
        .body(Body::from(body))?;
    let accepted: Value = read_json(door.send_checked(request).await?).await?;
    let job = accepted["job"]["id"].as_str().unwrap_or_default();
    let job = wait_for_job(door, job, |_| {}).await?.unwrap_or_default();
    match job["state"] == "succeeded" {
        true => Ok(()),
        false => anyhow::bail!("{name} was not taken in: {}", job["error"]),
    }
}
