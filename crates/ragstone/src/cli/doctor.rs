//! `doctor`: what will run, what is missing, where text goes. Never a secret.

use clap::Args;

use super::output::Output;
use super::{Context, Partly, VERSION};
use crate::config::DEFAULTS;
use crate::wiring::{self, Description};

/// Tells what will run, what is missing, and where text goes
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print the manual of all settings, with their defaults, instead
    #[arg(long)]
    settings: bool,
}

impl Doctor {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        if self.settings {
            return context.output.text(DEFAULTS);
        }
        let description = wiring::describe(&context.settings, VERSION).await;
        match context.output.json {
            true => context.output.object(&description)?,
            false => show(&description, context.output)?,
        }
        match description.is_sound() {
            true => Ok(()),
            false => Err(Partly.into()),
        }
    }
}

fn show(description: &Description, output: Output) -> anyhow::Result<()> {
    output.line(&format!("ragstone {}", description.version))?;
    for part in &description.parts {
        let health = format!("{:?}", part.health).to_lowercase();
        output.line(&format!("{health:<6}  {:<14}  {}", part.name, part.detail))?;
        if let Some(hint) = &part.hint {
            output.line(&format!("{:24}hint: {hint}", ""))?;
        }
    }
    match description.text_goes_to.as_slice() {
        [] => output.line("no text leaves this machine"),
        places => places
            .iter()
            .try_for_each(|place| output.line(&format!("text goes out: {place}"))),
    }
}
