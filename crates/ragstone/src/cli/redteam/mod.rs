//! `redteam`: documents that give orders against a model that obeys them, over the real way from file to answer.
//!
//! Each attack has a collection of its own in a library that ends with the command. What a model can be talked into is
//! not judged, only what then leaves the server.

mod attacks;
mod judge;
mod obedient;

use anyhow::Context as _;
use axum::body::Body;
use axum::http::{Method, Request, header};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::attacks::{Attack, OTHER, QUESTION};
use self::judge::Verdict;
use self::obedient::Obedient;
use super::client::{Door, read_json};
use super::output::{Output, say};
use super::progress::wait_for_job;
use super::{Context, Partly, Usage};
use crate::config::{Secret, Settings, sections};
use crate::wiring::ModelFetch;

/// The collection that no question asks.
const ELSEWHERE: &str = "elsewhere";

/// Lets documents give orders to a model, and reports what leaves the server
///
/// A library of its own is made and removed again; nothing of yours is read. Exit code 1 if anything leaked: a link or
/// image outside of the cited sources, a text that left its fence, a document of another collection, a citation that
/// was not verified.
#[derive(Debug, Args)]
pub struct Redteam {
    /// Who is attacked
    #[arg(long, value_enum, default_value = "obedient")]
    model: Model,
    /// Only attacks whose name holds this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// The model under attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Model {
    /// One inside this program that does whatever a document says.
    Obedient,
    /// The chat model of the settings; it costs what its service charges.
    Configured,
}

impl Redteam {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let attacks: Vec<Attack> = attacks::all()
            .into_iter()
            .filter(|attack| {
                self.only
                    .as_ref()
                    .is_none_or(|part| attack.name.contains(part.as_str()))
            })
            .collect();
        if attacks.is_empty() {
            return Err(Usage("no attack has such a name".into()).into());
        }
        let folder = tempfile::tempdir().context("cannot make a folder for the library")?;
        let mut settings = context.settings.clone();
        isolate(&mut settings, folder.path().join("data"));
        let model = match self.model {
            Model::Configured if !settings.chats_remotely() => {
                return Err(Usage("no chat model is configured: set chat.model".into()).into());
            }
            Model::Configured => None,
            Model::Obedient => Some(Obedient::start(&mut settings).await?),
        };
        let door = Door::open(&settings, ModelFetch::Present).await?;
        let done = attack_all(&door, &attacks, model.as_ref(), context.output).await;
        door.close().await;
        match done? {
            0 => Ok(()),
            _ => Err(Partly.into()),
        }
    }
}

/// A library that has nothing to do with the configured one, searched by words.
fn isolate(settings: &mut Settings, data: std::path::PathBuf) {
    settings.use_alone(data);
    settings.access.admin_key = Secret::default();
    settings.access.default_readers = vec![ragstone_core::access::Reader::everyone()];
    settings.embed.provider = sections::EmbedProvider::None;
}

/// Carries out every attack and tells of each; gives how many leaked.
async fn attack_all(
    door: &Door,
    attacks: &[Attack],
    model: Option<&Obedient>,
    output: Output,
) -> anyhow::Result<usize> {
    upload(door, ELSEWHERE, "payroll.md", OTHER.as_bytes().to_vec()).await?;
    let (mut leaked, mut obeyed) = (0, 0);
    for attack in attacks {
        upload(door, attack.name, attack.file, attack.bytes.clone()).await?;
        let body = json!({ "question": QUESTION, "collection": attack.name, "limit": 5 });
        let answer = door.json(Method::POST, "/api/v1/ask", Some(&body)).await?;
        let prompt = model.and_then(Obedient::last_prompt);
        let verdict = judge::judge(attack, &answer, prompt.as_deref());
        leaked += usize::from(!verdict.leaks.is_empty());
        obeyed += usize::from(verdict.obeyed);
        show(&verdict, output)?;
    }
    say(&format!(
        "{} attacks: {obeyed} were obeyed by the model, {leaked} leaked",
        attacks.len()
    ));
    Ok(leaked)
}

fn show(verdict: &Verdict, output: Output) -> anyhow::Result<()> {
    if output.json {
        return output.object(verdict);
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
    output.line(&format!("{:<18} {reached}; {obeyed}; {left}", verdict.attack))
}

/// Uploads a file and waits until it is found.
async fn upload(door: &Door, collection: &str, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
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
    let accepted: Value = read_json(door.accepted(request).await?).await?;
    let job = accepted["job"]["id"].as_str().unwrap_or_default();
    let job = wait_for_job(door, job, |_| {}).await?.unwrap_or_default();
    match job["state"] == "succeeded" {
        true => Ok(()),
        false => anyhow::bail!("{name} was not taken in: {}", job["error"]),
    }
}
