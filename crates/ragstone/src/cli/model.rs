//! `model`: fetches the embedding model, shows its state, and changes it.

use clap::Subcommand;
use serde_json::json;

use super::CommandContext;
use super::migrate::{MigrateCommand, roll_back};
use super::output::print_message;
use super::progress::fetch_bar;
use crate::wiring;

/// What to do with models
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Fetch the embedding model, if it is not there
    Fetch,
    /// See which model is used, and whether it is there
    #[command(visible_alias = "list")]
    Status,
    /// Change the embedding model while the library answers
    Migrate(MigrateCommand),
    /// Go back to the model before, until `migrate --finish`
    Rollback,
}

impl ModelCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let CommandContext { settings, output } = match self {
            Self::Migrate(migrate) => return migrate.run(context).await,
            Self::Rollback => return roll_back(context).await,
            _ => context,
        };
        match self {
            Self::Migrate(_) | Self::Rollback => Ok(()),
            Self::Fetch => {
                let folder = wiring::fetch_model(&settings, &fetch_bar()).await?;
                match output.json {
                    true => output.write_json_line(&json!({ "model": settings.model.manifest.name, "path": folder })),
                    false => {
                        print_message(&format!("{} is there", settings.model.manifest.name));
                        output.write_line(&folder.display().to_string())
                    }
                }
            }
            Self::Status => {
                let (folder, present) = wiring::model_place(&settings);
                let bytes: u64 = settings.model.manifest.files.iter().map(|file| file.bytes).sum();
                match output.json {
                    true => output.write_json_line(&json!({
                        "model": settings.embed.model,
                        "local": settings.embeds_locally(),
                        "path": folder,
                        "present": present,
                        "bytes": bytes,
                    })),
                    false => {
                        let state = if present {
                            "there"
                        } else {
                            "not there; `ragstone model fetch` gets it"
                        };
                        output.write_line(&format!(
                            "{}  {}  {state}",
                            settings.model.manifest.name,
                            folder.display()
                        ))
                    }
                }
            }
        }
    }
}
