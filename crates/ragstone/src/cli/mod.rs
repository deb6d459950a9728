//! The command line: what may be said, and which exit code comes of it.
//!
//! Invariant: stdout carries data only. Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.

mod ask;
mod client;
mod doctor;
mod document;
mod eval;
mod explain_access;
mod fsck;
mod index;
mod ingest;
mod inspect;
mod job;
mod key;
mod migrate;
mod model;
mod moving;
mod output;
mod progress;
mod quickstart;
mod recover;
mod redteam;
mod rollback;
mod search;
mod serve;
mod source;
mod sse;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{Flags, SHARED_KEYS, Settings, SettingsError, UnknownNames};
use crate::telemetry;
use output::{Output, is_closed_pipe, say};

/// The program's version, with its commit and features.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("RAGSTONE_COMMIT"),
    "; features: pdf, office, epub, mail, local-embedder, openai, sqlite, postgres, qdrant, redis, s3, web)"
);
/// What a shell expects of an interrupted program.
const INTERRUPTED: u8 = 130;

/// Ask questions of your own documents: ingest them, search them, get answers that quote the page.
///
/// Without any setting everything runs on this machine and no key is needed. Data goes to stdout, everything else to
/// stderr. Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "ragstone", version = VERSION, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// The data directory [default: .ragstone/data; RAGSTONE_DATA]
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The settings file [default: ragstone.toml, if it is there; RAGSTONE_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged to stderr: error, warn, info, debug, trace [default: info for servers, warn else; RAGSTONE_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Write JSON: one object, or a line for each item of a list
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show it working: ingest the sample documents, serve, and ask a question of them
    Quickstart(quickstart::Quickstart),
    /// Serve the API, and carry out ingestion in the background
    Serve(serve::Serve),
    /// Carry out ingestion in the background, for shared stores
    Worker(serve::Worker),
    /// Take in files, folders and globs, or documents as JSON lines
    Ingest(ingest::Ingest),
    /// Answer a question from the documents, each sentence with the passage that supports it
    Ask(ask::Ask),
    /// Find the passages that fit best
    Search(search::Search),
    /// See what a step makes of an input; nothing is stored
    #[command(subcommand)]
    Inspect(inspect::Inspect),
    /// List, show and delete documents
    #[command(subcommand)]
    Document(document::Document),
    /// List, show and cancel background work
    #[command(subcommand)]
    Job(job::Job),
    /// Make, sync, pause and remove the places that documents come from
    #[command(subcommand)]
    Source(source::Source),
    /// Make, list, rotate and revoke API keys
    #[command(subcommand)]
    Key(key::Key),
    /// Tell which grant lets a caller read a document, or which set of readers refuses it
    ExplainAccess(explain_access::ExplainAccess),
    /// Fetch the embedding model ahead, see where it is, or change it while the library answers
    #[command(subcommand)]
    Model(model::Model),
    /// See what the index holds, or make it again
    #[command(subcommand)]
    Index(index::Index),
    /// Write the whole library to one file
    Export(moving::Export),
    /// Take in a library that `export` wrote, without embedding anything again
    Import(moving::Import),
    /// Compare catalogue, index and blobs, and make them agree again
    Fsck(fsck::Fsck),
    /// Make a lost, damaged or old database again from the blobs
    Recover(recover::Recover),
    /// Undo the last upgrade of the data directory, so that the release before can be started again
    Rollback(rollback::Rollback),
    /// Measure retrieval and answers, and tell whether a change helped
    #[command(subcommand)]
    Eval(eval::Eval),
    /// Let documents give orders to a model, and report what leaves the server
    Redteam(redteam::Redteam),
    /// Tell what will run, what is missing, and where text goes
    Doctor(doctor::Doctor),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Wrong use: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Done, but not all of it worked; everything is said already.
#[derive(Debug, thiserror::Error)]
#[error("some of it failed")]
struct Partly;

/// Stopped by who started it.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// What every command stands on.
struct Context {
    settings: Settings,
    output: Output,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<Partly>() {
                say(&format!("error: {error:#}"));
            }
            let wrong_use = error.is::<Usage>() || error.is::<SettingsError>();
            ExitCode::from(if wrong_use { 2 } else { 1 })
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Command::Completions { shell } = arguments.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "ragstone", &mut script);
        Output { json: false }.text(&String::from_utf8_lossy(&script))?;
        return Ok(());
    }
    let settings = Settings::load(flags(&arguments))?;
    let serves = matches!(arguments.command, Command::Serve(_) | Command::Worker(_));
    telemetry::start(&settings.telemetry, serves || arguments.global.log.is_some())?;
    warn_of_unknown_names(&settings.unknown_names);
    let output = Output {
        json: arguments.global.json,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(interruptible(arguments.command, Context { settings, output }));
    runtime.shutdown_background();
    done
}

/// A misspelt setting would have stopped the start; what is left belongs to somebody else, or is an old name.
fn warn_of_unknown_names(unknown: &UnknownNames) {
    for name in &unknown.other {
        tracing::warn!("{name} in the environment is no setting and is ignored");
    }
    if !unknown.of_services.is_empty() {
        let names = Vec::from_iter(unknown.of_services.iter().map(String::as_str)).join(", ");
        tracing::warn!("variables of a Kubernetes Service are ignored, for they are no settings: {names}");
    }
}

/// Whether a command ends by itself when it is told to, because workers of its own may have jobs to hand back.
fn is_told(command: &Command) -> bool {
    matches!(
        command,
        Command::Serve(_)
            | Command::Worker(_)
            | Command::Quickstart(_)
            | Command::Ingest(_)
            | Command::Document(_)
            | Command::Index(_)
            | Command::Export(_)
            | Command::Import(_)
            | Command::Fsck(_)
            | Command::Recover(_)
    )
}

/// What does not end by itself is left where it stands: it runs as a task of its own, so that one that waits for stdin
/// can still be interrupted.
async fn interruptible(command: Command, context: Context) -> anyhow::Result<()> {
    if is_told(&command) {
        return dispatch(command, context).await;
    }
    let interrupt = tokio::signal::ctrl_c();
    tokio::select! {
        done = tokio::spawn(dispatch(command, context)) => done?,
        _ = interrupt => Err(Interrupted.into()),
    }
}

async fn dispatch(command: Command, context: Context) -> anyhow::Result<()> {
    match command {
        Command::Quickstart(command) => command.run(context).await,
        Command::Serve(command) => command.run(context).await,
        Command::Worker(command) => command.run(context).await,
        Command::Ingest(command) => command.run(context).await,
        Command::Ask(command) => command.run(context).await,
        Command::Search(command) => command.run(context).await,
        Command::Inspect(command) => command.run(context).await,
        Command::Document(command) => command.run(context).await,
        Command::Job(command) => command.run(context).await,
        Command::Source(command) => command.run(context).await,
        Command::Key(command) => command.run(context).await,
        Command::ExplainAccess(command) => command.run(context).await,
        Command::Model(command) => command.run(context).await,
        Command::Index(command) => command.run(context).await,
        Command::Export(command) => command.run(context).await,
        Command::Import(command) => command.run(context).await,
        Command::Fsck(command) => command.run(context).await,
        Command::Recover(command) => command.run(context).await,
        Command::Rollback(command) => command.run(context).await,
        Command::Eval(command) => command.run(context).await,
        Command::Redteam(command) => command.run(context).await,
        Command::Doctor(command) => command.run(context).await,
        Command::Completions { .. } => Ok(()),
    }
}

fn flags(arguments: &Arguments) -> Flags {
    let global = &arguments.global;
    let mut values = Vec::new();
    let mut set = |flag: &str, key: &str, value: String| values.push((flag.into(), key.into(), value));
    if let Command::Quickstart(_) = arguments.command {
        set("quickstart", "data.directory", quickstart::DATA.into());
        // The samples are nobody else's business.
        for shared in SHARED_KEYS {
            set("quickstart", shared, String::new());
        }
    }
    if let Some(data) = &global.data {
        set("--data", "data.directory", data.display().to_string());
    }
    if let Some(log) = &global.log {
        set("--log", "telemetry.log", log.clone());
    }
    let (listen, role) = match &arguments.command {
        Command::Serve(serve) => (serve.listen.clone(), serve.role.clone()),
        Command::Worker(worker) => (worker.listen.clone(), Some("worker".into())),
        _ => (None, None),
    };
    if let Some(listen) = listen {
        set("--listen", "server.listen", listen);
    }
    if let Some(role) = role {
        set("--role", "server.role", role);
    }
    Flags {
        config: global.config.clone(),
        values,
    }
}
