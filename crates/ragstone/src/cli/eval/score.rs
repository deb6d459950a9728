//! `eval score`: scores recorded replies of a judge.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use ragstone_core::metric::ragas::replay_recordings;

use crate::cli::UsageError;
use crate::cli::output::CommandOutput;

/// Scores recorded replies of a judge as RAGAS does
///
/// A file holds `{cases: [{id, metric, inputs, params, vectors, legacy: {steps}, collections: {steps}}]}`; a step is
/// `{kind, input, reply}`. Each case is scored once for each of RAGAS's two implementations that it was recorded with.
#[derive(Debug, Args)]
pub struct EvalScoreCommand {
    /// The recorded replies
    file: PathBuf,
    /// Take every reply from the file: no judge is asked
    #[arg(long)]
    replay: bool,
}

impl EvalScoreCommand {
    pub async fn run(self, output: CommandOutput) -> anyhow::Result<()> {
        if !self.replay {
            let detail = "only recorded replies can be scored: say --replay; `ragstone eval run` asks a judge";
            return Err(UsageError(detail.into()).into());
        }
        let path = self.file.display();
        let text = std::fs::read_to_string(&self.file).with_context(|| format!("cannot read {path}"))?;
        let scores = replay_recordings(&text).await.with_context(|| path.to_string())?;
        scores.iter().try_for_each(|score| output.write_json_line(score))
    }
}
