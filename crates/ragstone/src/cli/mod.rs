//! The command line: arguments, dispatch to the commands, and exit codes.
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
use std::sync::LazyLock;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{CommandFlags, SHARED_KEYS, Settings, SettingsError, UnknownNames};
use crate::{telemetry, wiring};
use output::{CommandOutput, is_closed_pipe, print_message};

/// Version of the program, with its commit and the features it was built with.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} (commit {}; features: {})",
        env!("CARGO_PKG_VERSION"),
        env!("RAGSTONE_COMMIT"),
        wiring::FEATURES.join(", ")
    )
});
/// Exit code of an interrupted program: 128 plus the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Ask questions of your own documents: ingest them, search them, get answers that quote the page.
///
/// Without any setting everything runs on this machine and no key is needed. Data goes to stdout, everything else to
/// stderr. Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "ragstone", version = VERSION.as_str(), max_term_width = 100)]
struct CliArguments {
    #[command(flatten)]
    global: GlobalArguments,
    #[command(subcommand)]
    command: CliCommand,
}

/// What every command takes.
#[derive(Debug, Args)]
struct GlobalArguments {
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
enum CliCommand {
    /// Show it working: ingest the sample documents, serve, and ask a question of them
    Quickstart(quickstart::QuickstartCommand),
    /// Serve the API, and carry out ingestion in the background
    Serve(serve::ServeCommand),
    /// Carry out ingestion in the background, for shared stores
    Worker(serve::WorkerCommand),
    /// Take in files, folders and globs, or documents as JSON lines
    Ingest(ingest::IngestCommand),
    /// Answer a question from the documents, each sentence with the passage that supports it
    Ask(ask::AskCommand),
    /// Find the passages that fit best
    Search(search::SearchCommand),
    /// See what a step makes of an input; nothing is stored
    #[command(subcommand)]
    Inspect(inspect::InspectCommand),
    /// List, show and delete documents
    #[command(subcommand)]
    Document(document::DocumentCommand),
    /// List, show and cancel background work
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Make, sync, pause and remove the places that documents come from
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Make, list, rotate and revoke API keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Tell which grant lets a caller read a document, or which set of readers refuses it
    ExplainAccess(explain_access::ExplainAccessCommand),
    /// Fetch the embedding model ahead, see where it is, or change it while the library answers
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// See what the index holds, or make it again
    #[command(subcommand)]
    Index(index::IndexCommand),
    /// Write the whole library to one file
    Export(moving::ExportCommand),
    /// Take in a library that `export` wrote, without embedding anything again
    Import(moving::ImportCommand),
    /// Compare catalogue, index and blobs, and make them agree again
    Fsck(fsck::FsckCommand),
    /// Make a lost, damaged or old database again from the blobs
    Recover(recover::RecoverCommand),
    /// Undo the last upgrade of the data directory, so that the release before can be started again
    Rollback(rollback::RollbackCommand),
    /// Measure retrieval and answers, and tell whether a change helped
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Let documents give orders to a model, and report what leaves the server
    Redteam(redteam::RedteamCommand),
    /// Tell what will run, what is missing, and where text goes
    Doctor(doctor::DoctorCommand),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Incorrect use of a command: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// The command completed, but not everything succeeded; details are printed already.
#[derive(Debug, thiserror::Error)]
#[error("some of it failed")]
struct PartialFailureError;

/// The user interrupted the command.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct InterruptedError;

/// Settings and output of a command.
struct CommandContext {
    settings: Settings,
    output: CommandOutput,
}

/// Runs the command that the arguments name.
pub fn run_cli() -> ExitCode {
    let arguments = CliArguments::parse();
    match run_command(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<InterruptedError>() => ExitCode::from(INTERRUPTED),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<PartialFailureError>() {
                print_message(&format!("error: {error:#}"));
            }
            let wrong_use = error.is::<UsageError>() || error.is::<SettingsError>();
            ExitCode::from(if wrong_use { 2 } else { 1 })
        }
    }
}

fn run_command(arguments: CliArguments) -> anyhow::Result<()> {
    if let CliCommand::Completions { shell } = arguments.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut CliArguments::command(), "ragstone", &mut script);
        CommandOutput { json: false }.write_text(&String::from_utf8_lossy(&script))?;
        return Ok(());
    }
    let settings = Settings::load(collect_flags(&arguments))?;
    let serves = matches!(arguments.command, CliCommand::Serve(_) | CliCommand::Worker(_));
    telemetry::start_logging(&settings.telemetry, serves || arguments.global.log.is_some())?;
    warn_of_unknown_names(&settings.unknown_names);
    let output = CommandOutput {
        json: arguments.global.json,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(run_interruptible(
        arguments.command,
        CommandContext { settings, output },
    ));
    runtime.shutdown_background();
    done
}

/// Warns of unknown names. A misspelt setting would have stopped the start, so the rest is foreign or outdated.
fn warn_of_unknown_names(unknown: &UnknownNames) {
    for name in &unknown.other {
        tracing::warn!("{name} in the environment is no setting and is ignored");
    }
    if !unknown.of_services.is_empty() {
        let names = Vec::from_iter(unknown.of_services.iter().map(String::as_str)).join(", ");
        tracing::warn!("variables of a Kubernetes Service are ignored, for they are no settings: {names}");
    }
}

/// Whether a command handles shutdown itself, because its workers may have jobs to hand back.
fn handles_shutdown(command: &CliCommand) -> bool {
    matches!(
        command,
        CliCommand::Serve(_)
            | CliCommand::Worker(_)
            | CliCommand::Quickstart(_)
            | CliCommand::Ingest(_)
            | CliCommand::Document(_)
            | CliCommand::Index(_)
            | CliCommand::Export(_)
            | CliCommand::Import(_)
            | CliCommand::Fsck(_)
            | CliCommand::Recover(_)
    )
}

/// Runs a command and stops it at a signal if it does not handle shutdown itself. It runs as a task of its own, so that
/// a command that blocks on stdin can still be interrupted.
async fn run_interruptible(command: CliCommand, context: CommandContext) -> anyhow::Result<()> {
    if handles_shutdown(&command) {
        return dispatch_command(command, context).await;
    }
    let interrupt = tokio::signal::ctrl_c();
    tokio::select! {
        done = tokio::spawn(dispatch_command(command, context)) => done?,
        _ = interrupt => Err(InterruptedError.into()),
    }
}

async fn dispatch_command(command: CliCommand, context: CommandContext) -> anyhow::Result<()> {
    match command {
        CliCommand::Quickstart(command) => command.run(context).await,
        CliCommand::Serve(command) => command.run(context).await,
        CliCommand::Worker(command) => command.run(context).await,
        CliCommand::Ingest(command) => command.run(context).await,
        CliCommand::Ask(command) => command.run(context).await,
        CliCommand::Search(command) => command.run(context).await,
        CliCommand::Inspect(command) => command.run(context).await,
        CliCommand::Document(command) => command.run(context).await,
        CliCommand::Job(command) => command.run(context).await,
        CliCommand::Source(command) => command.run(context).await,
        CliCommand::Key(command) => command.run(context).await,
        CliCommand::ExplainAccess(command) => command.run(context).await,
        CliCommand::Model(command) => command.run(context).await,
        CliCommand::Index(command) => command.run(context).await,
        CliCommand::Export(command) => command.run(context).await,
        CliCommand::Import(command) => command.run(context).await,
        CliCommand::Fsck(command) => command.run(context).await,
        CliCommand::Recover(command) => command.run(context).await,
        CliCommand::Rollback(command) => command.run(context).await,
        CliCommand::Eval(command) => command.run(context).await,
        CliCommand::Redteam(command) => command.run(context).await,
        CliCommand::Doctor(command) => command.run(context).await,
        CliCommand::Completions { .. } => Ok(()),
    }
}

fn collect_flags(arguments: &CliArguments) -> CommandFlags {
    let global = &arguments.global;
    let mut values = Vec::new();
    let mut set = |flag: &str, key: &str, value: String| values.push((flag.into(), key.into(), value));
    if let CliCommand::Quickstart(_) = arguments.command {
        set("quickstart", "data.directory", quickstart::QUICKSTART_DIRECTORY.into());
        // The sample library stays on this machine, so shared stores are not used for it.
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
        CliCommand::Serve(serve) => (serve.listen.clone(), serve.role.clone()),
        CliCommand::Worker(worker) => (worker.listen.clone(), Some("worker".into())),
        _ => (None, None),
    };
    if let Some(listen) = listen {
        set("--listen", "server.listen", listen);
    }
    if let Some(role) = role {
        set("--role", "server.role", role);
    }
    CommandFlags {
        config: global.config.clone(),
        values,
    }
}
