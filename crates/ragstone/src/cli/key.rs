//! `key`: creates, lists, rotates and revokes API keys.

use std::time::Duration;

use axum::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::CommandContext;
use super::client::ApiClient;
use super::document::{build_query, for_each_item};
use super::output::{CommandOutput, print_message};
use crate::wiring::ModelFetch;

const KEYS: &str = "/api/v1/keys";

/// What to do with API keys
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and show it, this once; it goes into `Authorization: Bearer`
    ///
    /// From the first key on the API answers callers with a key only, also on this machine; commands on the data
    /// directory itself need none.
    Create(CreateKeyArguments),
    /// List keys, oldest first, those that have ended among them; never their secrets
    List {
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Make another key with the same rights in a key's place, and show it, this once
    Rotate {
        /// The key's id
        id: String,
        /// How long the old key holds yet, such as 1h or 30m, at most 30d [default: not at all]
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        grace: Option<Duration>,
    },
    /// End a key: it opens nothing from the next request on
    Revoke {
        /// The key's id
        id: String,
    },
}

/// A key to be made
#[derive(Debug, Args)]
pub struct CreateKeyArguments {
    /// What people call it
    name: String,
    /// What its callers may do
    #[arg(long)]
    role: KeyRoleArgument,
    /// Whose callers it lets in [default: default]
    #[arg(long)]
    tenant: Option<String>,
    /// A department they belong to; may be repeated
    #[arg(long = "department", value_name = "DEPARTMENT")]
    departments: Vec<String>,
    /// A group they belong to; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The person it stands for
    #[arg(long)]
    user: Option<String>,
    /// After what time it is refused, such as 30d or 12h [default: never]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
}

/// Role that a new key gives its callers.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyRoleArgument {
    /// Read, search and ask what its readers admit
    Reader,
    /// Also write, and grant to readers it has itself
    Writer,
    /// Everything in its tenant
    Admin,
}

impl KeyCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let door = ApiClient::connect(&context.settings, ModelFetch::Never).await?;
        let done = self.run_with_client(&door, context.output).await;
        door.close().await;
        done
    }

    async fn run_with_client(self, door: &ApiClient, output: CommandOutput) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => {
                let issued = door
                    .request_json(Method::POST, KEYS, Some(&create.request_body()))
                    .await?;
                show_issued(&issued, output)
            }
            Self::List { tenant } => {
                let query = build_query(&[("tenant", tenant)]);
                for_each_item(door, KEYS, &query, "keys", |key| show_key(key, output)).await
            }
            Self::Rotate { id, grace } => {
                let body = json!({ "grace_seconds": grace.unwrap_or_default().as_secs() });
                let path = format!("{}/rotate", key_path(&id));
                show_issued(&door.request_json(Method::POST, &path, Some(&body)).await?, output)
            }
            Self::Revoke { id } => {
                let revoked = door.request_json(Method::DELETE, &key_path(&id), None).await?;
                match output.json {
                    true => output.write_json_line(&revoked),
                    false => {
                        print_message(&format!(
                            "revoked {} ({})",
                            text_field(&revoked, "id"),
                            text_field(&revoked, "name")
                        ));
                        Ok(())
                    }
                }
            }
        }
    }
}

impl CreateKeyArguments {
    fn request_body(&self) -> Value {
        let role = self.role.to_possible_value();
        let mut body = json!({
            "name": self.name,
            "role": role.map(|role| role.get_name().to_owned()),
            "departments": self.departments,
            "groups": self.groups,
        });
        let expires = self.expires.map(|time| json!(time.as_secs()));
        for (field, value) in [
            ("tenant", self.tenant.as_ref().map(|tenant| json!(tenant))),
            ("user", self.user.as_ref().map(|user| json!(user))),
            ("expires_in_seconds", expires),
        ] {
            if let Some(value) = value {
                body[field] = value;
            }
        }
        body
    }
}

fn key_path(id: &str) -> String {
    let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
    format!("{KEYS}/{id}")
}

fn text_field<'a>(key: &'a Value, field: &str) -> &'a str {
    key[field].as_str().unwrap_or_default()
}

/// Writes the key to stdout and notes about it to stderr.
fn show_issued(issued: &Value, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        return output.write_json_line(&json!({ "id": issued["id"], "key": issued["key"] }));
    }
    output.write_line(text_field(issued, "key"))?;
    print_message(&format!(
        "key {} of tenant {}, role {}; it is not shown again",
        text_field(issued, "id"),
        text_field(issued, "tenant"),
        text_field(issued, "role")
    ));
    Ok(())
}

fn show_key(key: &Value, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        return output.write_json_line(key);
    }
    let readers = key["readers"].as_array().into_iter().flatten();
    let readers: Vec<&str> = readers.filter_map(Value::as_str).collect();
    output.write_line(&format!(
        "{}  {:<7}  {:<6}  {:<12}  {}  {}",
        text_field(key, "id"),
        key_state(key),
        text_field(key, "role"),
        text_field(key, "tenant"),
        text_field(key, "name"),
        readers.join(" ")
    ))
}

fn key_state(key: &Value) -> &'static str {
    let is_set = |field: &str| !key[field].is_null();
    match key["live"].as_bool() {
        Some(true) => "live",
        _ if is_set("revoked_at") => "revoked",
        _ if is_set("successor") => "rotated",
        _ => "expired",
    }
}
