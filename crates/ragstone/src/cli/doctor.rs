//! `doctor`: shows what will run, what is missing or broken, and where text is sent. It never shows a secret.

use clap::Args;

use super::output::CommandOutput;
use super::{CommandContext, PartialFailureError, VERSION};
use crate::config::DEFAULTS;
use crate::wiring::{self, SystemDescription, TrialOptions};

/// Tells what will run, what is missing or does not work, and where text goes
///
/// What the settings name is tried: the local model is loaded, a service is asked for one word, a shared store is asked
/// for its version, and a small object is written to the blobs and removed. Exit code 1 if something of it is broken.
#[derive(Debug, Args)]
pub struct DoctorCommand {
    /// Print the manual of all settings, with their defaults, instead
    #[arg(long)]
    settings: bool,
    /// Call no service and no shared store; what is on this machine is tried all the same
    #[arg(long)]
    no_network: bool,
}

impl DoctorCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        if self.settings {
            return context.output.write_text(DEFAULTS);
        }
        let trials = TrialOptions {
            network: !self.no_network,
        };
        let description = wiring::describe_system(&context.settings, &VERSION, trials).await;
        match context.output.json {
            true => context.output.write_json_line(&description)?,
            false => show_description(&description, context.output)?,
        }
        match description.is_healthy() {
            true => Ok(()),
            false => Err(PartialFailureError.into()),
        }
    }
}

fn show_description(description: &SystemDescription, output: CommandOutput) -> anyhow::Result<()> {
    output.write_line(&format!("ragstone {}", description.version))?;
    for part in &description.parts {
        let health = format!("{:?}", part.health).to_lowercase();
        output.write_line(&format!("{health:<6}  {:<14}  {}", part.name, part.detail))?;
        if let Some(hint) = &part.hint {
            output.write_line(&format!("{:24}hint: {hint}", ""))?;
        }
    }
    match description.text_goes_to.as_slice() {
        [] => output.write_line("no text leaves this machine"),
        places => places
            .iter()
            .try_for_each(|place| output.write_line(&format!("text goes out: {place}"))),
    }
}
