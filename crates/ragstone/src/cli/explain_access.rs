//! `explain-access`: explains why a caller may or may not read a document.

use axum::http::Method;
use clap::Args;
use serde_json::{Value, json};

use super::CommandContext;
use super::client::ApiClient;
use super::output::CommandOutput;
use crate::wiring::ModelFetch;

/// Tell which grant lets a caller read a document, or which set of readers refuses it
///
/// Nothing is read with the rights of that caller, and nobody is let in: it is worked out from the document's readers.
#[derive(Debug, Args)]
pub struct ExplainAccessCommand {
    /// The document's id or URI
    #[arg(long, value_name = "ID_OR_URI")]
    document: String,
    /// The person who would read
    #[arg(long, required_unless_present = "key")]
    user: Option<String>,
    /// The person's tenant [default: default]
    #[arg(long)]
    tenant: Option<String>,
    /// A department the person belongs to; may be repeated
    #[arg(long = "department", value_name = "DEPARTMENT")]
    departments: Vec<String>,
    /// A group the person belongs to; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// In place of a person: whoever calls with the key of this id
    #[arg(long, value_name = "ID", conflicts_with_all = ["user", "tenant", "departments", "groups"])]
    key: Option<String>,
}

impl ExplainAccessCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let door = ApiClient::connect(&context.settings, ModelFetch::Never).await?;
        let done = self.run_with_client(&door, context.output).await;
        door.close().await;
        done
    }

    async fn run_with_client(self, door: &ApiClient, output: CommandOutput) -> anyhow::Result<()> {
        let body = self.request_body();
        let told = door
            .request_json(Method::POST, "/api/v1/explain-access", Some(&body))
            .await?;
        for document in told["documents"].as_array().into_iter().flatten() {
            match output.json {
                true => output.write_json_line(document)?,
                false => show_explanation(document, output)?,
            }
        }
        Ok(())
    }

    fn request_body(&self) -> Value {
        let mut body = json!({
            "document": self.document, "departments": self.departments, "groups": self.groups,
        });
        for (field, value) in [("user", &self.user), ("tenant", &self.tenant), ("key", &self.key)] {
            if let Some(value) = value {
                body[field] = json!(value);
            }
        }
        body
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn join_words(list: &Value) -> String {
    let words = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

fn show_explanation(told: &Value, output: CommandOutput) -> anyhow::Result<()> {
    let (document, caller) = (&told["document"], &told["caller"]);
    output.write_line(&format!(
        "document  {}  {}  tenant {}, {}",
        text_of(&document["id"]),
        text_of(&document["uri"]),
        text_of(&document["tenant"]),
        text_of(&document["status"])
    ))?;
    let held = match &caller["readers"] {
        Value::Null => "every reader of its tenant".to_owned(),
        readers => join_words(readers),
    };
    let (tenant, role) = (text_of(&caller["tenant"]), text_of(&caller["role"]));
    output.write_line(&format!("caller    tenant {tenant}, {role}, holds {held}"))?;
    for (n, set) in (1..).zip(told["sets"].as_array().into_iter().flatten()) {
        let readers = match join_words(&set["readers"]) {
            none if none.is_empty() => "nobody".to_owned(),
            readers => readers,
        };
        let verdict = match set["admits"].as_bool() {
            Some(true) => format!("admits by {}", join_words(&set["by"])),
            _ => "refuses".to_owned(),
        };
        output.write_line(&format!("set {n}     {verdict}: any of {readers}"))?;
    }
    for reason in told["reasons"].as_array().into_iter().flatten() {
        output.write_line(&format!("because   {}", text_of(&reason["detail"])))?;
    }
    let is = |field: &str| told[field].as_bool() == Some(true);
    output.write_line(match (is("admitted"), is("readable")) {
        (_, true) => "readable: search, answers and all routes show it",
        (true, _) => "admitted: the document is listed, its text is not there yet",
        _ => "refused: for this caller there is no such document",
    })
}
