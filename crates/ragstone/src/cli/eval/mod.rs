//! `eval`: measures retrieval and answers, and shows whether a change helped.

mod accept;
mod asked;
mod calibrate;
mod collect;
mod generate;
mod kept;
mod lines;
mod metrics;
mod page;
mod report;
mod run;
mod score;
mod set;
mod write;

use clap::Subcommand;
pub(super) use set::read_question_set as read_set;

use super::CommandContext;

/// How good retrieval and answers are, and whether a change helped
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Ask a set of questions and measure what comes of them
    Run(run::EvalRunCommand),
    /// List the runs that are kept
    Runs(report::EvalRunsCommand),
    /// Write a kept run as a page, as JUnit XML, or as numbers
    Report(write::EvalReportCommand),
    /// Measure a ranked list against judgments, both in TREC's formats, as trec_eval does
    Metrics(metrics::EvalMetricsCommand),
    /// Score recorded replies of a judge as RAGAS does
    Score(score::EvalScoreCommand),
    /// Make a set of the answers that their askers said something of
    Collect(collect::EvalCollectCommand),
    /// Draft questions from the documents with the chat model
    Generate(generate::EvalGenerateCommand),
    /// Accept drafts of a set, or list them
    Accept(accept::EvalAcceptCommand),
    /// Find the threshold below which nothing is answered, and print what others would do
    Calibrate(calibrate::EvalCalibrateCommand),
}

impl EvalCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        match self {
            Self::Run(command) => command.run(context).await,
            Self::Runs(command) => command.run(context).await,
            Self::Report(command) => command.run(context).await,
            Self::Metrics(command) => command.run(context.output),
            Self::Score(command) => command.run(context.output).await,
            Self::Collect(command) => command.run(context).await,
            Self::Generate(command) => command.run(context).await,
            Self::Accept(command) => command.run(context.output),
            Self::Calibrate(command) => command.run(context).await,
        }
    }
}
