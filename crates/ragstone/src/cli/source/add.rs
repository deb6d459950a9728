//! `source add`: arguments of each kind of source.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::cli::UsageError;

/// A source to be made
#[derive(Debug, Subcommand)]
pub enum AddSourceCommand {
    /// A folder of this machine, without hidden and ignored files
    Folder(FolderArguments),
    /// Spaces of a Confluence, readable by whoever may read them there
    Confluence(ConfluenceArguments),
    /// Objects below a prefix of an S3 bucket
    S3(S3Arguments),
    /// Pages of the web, by address or sitemap, and what they link to
    Web(WebArguments),
}

/// A folder of this machine
#[derive(Debug, Args)]
pub struct FolderArguments {
    /// What people call it
    name: String,
    /// The folder
    path: PathBuf,
    /// Only files of this pattern, as in a .gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// No files of this pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    #[command(flatten)]
    with: SourceArguments,
}

/// Spaces of a Confluence
#[derive(Debug, Args)]
pub struct ConfluenceArguments {
    /// What people call it
    name: String,
    /// Its address, such as https://example.atlassian.net
    #[arg(long, value_name = "URL")]
    url: String,
    /// A space by its key; may be repeated
    #[arg(long = "space", value_name = "KEY", required_unless_present = "cql")]
    spaces: Vec<String>,
    /// Pages and blog posts that this query finds, in place of whole spaces
    #[arg(long, value_name = "CQL", conflicts_with = "spaces")]
    cql: Option<String>,
    /// Whose token it is; without it, the token is sent as a bearer token
    #[arg(long, value_name = "E-MAIL")]
    email: Option<String>,
    /// The environment variable of the server that holds the token
    #[arg(long, value_name = "VAR")]
    token_env: Option<String>,
    /// The file of the server's machine that holds the token
    #[arg(long, value_name = "PATH", conflicts_with = "token_env")]
    token_file: Option<PathBuf>,
    /// Which product it is [default: told from the address]
    #[arg(long)]
    deployment: Option<DeploymentArgument>,
    /// Take comments in, as part of their pages
    #[arg(long)]
    comments: bool,
    /// Leave attachments out
    #[arg(long)]
    no_attachments: bool,
    /// Requests in flight, 1 to 16 [default: 4]
    #[arg(long, value_name = "N")]
    at_once: Option<usize>,
    #[command(flatten)]
    with: SourceArguments,
}

/// Objects of an S3 bucket
#[derive(Debug, Args)]
pub struct S3Arguments {
    /// What people call it
    name: String,
    /// The bucket
    #[arg(long, value_name = "NAME")]
    bucket: String,
    /// Only objects whose keys begin so, up to a slash
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// The service's address, where it is not Amazon's
    #[arg(long, value_name = "URL", default_value = "")]
    endpoint: String,
    /// The region
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// The environment variable of the server that holds the id of a key [default: the role of the machine]
    #[arg(long, value_name = "VAR", requires = "secret_key_env")]
    access_key_env: Option<String>,
    /// The environment variable of the server that holds its secret
    #[arg(long, value_name = "VAR", requires = "access_key_env")]
    secret_key_env: Option<String>,
    #[command(flatten)]
    with: SourceArguments,
}

/// Pages of the web
#[derive(Debug, Args)]
pub struct WebArguments {
    /// What people call it
    name: String,
    /// A page to begin with; may be repeated
    #[arg(long = "url", value_name = "URL", required_unless_present = "sitemaps")]
    urls: Vec<String>,
    /// A sitemap whose pages are begun with; may be repeated
    #[arg(long = "sitemap", value_name = "URL")]
    sitemaps: Vec<String>,
    /// How many links are followed from there, one after the other
    #[arg(long, value_name = "N", default_value_t = 0)]
    depth: usize,
    /// Another host that links may lead to; may be repeated
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Only pages whose paths begin so; may be repeated
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// No pages whose paths begin so; may be repeated
    #[arg(long, value_name = "PATH")]
    exclude: Vec<String>,
    /// Most pages [default: 1000]
    #[arg(long, value_name = "N")]
    max_pages: Option<usize>,
    /// Requests in flight, 1 to 16 [default: 4]
    #[arg(long, value_name = "N")]
    at_once: Option<usize>,
    #[command(flatten)]
    with: SourceArguments,
}

/// The two Confluence products.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DeploymentArgument {
    Cloud,
    #[value(name = "datacenter")]
    DataCenter,
}

/// What every kind of source takes.
#[derive(Debug, Args)]
struct SourceArguments {
    /// The department whose members may read its documents
    #[arg(long, value_name = "ID")]
    department: Option<String>,
    /// Who may read them: everyone, dept:<id>, group:<id>, user:<id>; any of them is enough
    #[arg(long, value_name = "READER", value_delimiter = ',', num_args = 1..)]
    readers: Vec<String>,
    /// The collection they belong to
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// When it is synced by a server, in cron's form such as "*/15 * * * *", UTC [default: never]
    #[arg(long, value_name = "CRON")]
    schedule: Option<String>,
}

impl AddSourceCommand {
    /// Body of the request that creates the source.
    pub(super) fn request_body(&self) -> anyhow::Result<Value> {
        match self {
            Self::Folder(folder) => folder.request_body(),
            Self::Confluence(confluence) => confluence.request_body(),
            Self::S3(s3) => Ok(s3.request_body()),
            Self::Web(web) => Ok(web.request_body()),
        }
    }
}

impl SourceArguments {
    fn request_body(&self, name: &str, kind: &str, settings: Value) -> Value {
        json!({
            "name": name,
            "kind": kind,
            "settings": settings,
            "readers": self.readers,
            "department_id": self.department,
            "collection": self.collection,
            "schedule": self.schedule,
        })
    }
}

impl FolderArguments {
    fn request_body(&self) -> anyhow::Result<Value> {
        let path = absolute_path(&self.path)?;
        let settings = json!({ "path": path, "include": self.include, "exclude": self.exclude });
        Ok(self.with.request_body(&self.name, "folder", settings))
    }
}

impl ConfluenceArguments {
    fn request_body(&self) -> anyhow::Result<Value> {
        let token = match (&self.token_env, &self.token_file) {
            (Some(name), _) => Some(format!("env:{name}")),
            (None, Some(path)) => Some(format!("file:{}", absolute_path(path)?)),
            (None, None) => None,
        };
        let mut settings = json!({
            "url": self.url,
            "spaces": self.spaces,
            "comments": self.comments,
            "attachments": !self.no_attachments,
        });
        let optional = [
            ("cql", self.cql.clone().map(Value::from)),
            ("email", self.email.clone().map(Value::from)),
            ("token", token.map(Value::from)),
            (
                "deployment",
                self.deployment.map(|deployment| Value::from(deployment.api_name())),
            ),
            ("at_once", self.at_once.map(Value::from)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                settings[name] = value;
            }
        }
        Ok(self.with.request_body(&self.name, "confluence", settings))
    }
}

impl S3Arguments {
    fn request_body(&self) -> Value {
        let mut settings = json!({
            "bucket": self.bucket,
            "prefix": self.prefix,
            "endpoint": self.endpoint,
            "region": self.region,
        });
        for (name, variable) in [
            ("access_key_id", &self.access_key_env),
            ("secret_access_key", &self.secret_key_env),
        ] {
            if let Some(variable) = variable {
                settings[name] = format!("env:{variable}").into();
            }
        }
        self.with.request_body(&self.name, "s3", settings)
    }
}

impl WebArguments {
    fn request_body(&self) -> Value {
        let mut settings = json!({
            "urls": self.urls,
            "sitemaps": self.sitemaps,
            "depth": self.depth,
            "hosts": self.hosts,
            "paths": self.paths,
            "exclude": self.exclude,
        });
        for (name, value) in [("max_pages", self.max_pages), ("at_once", self.at_once)] {
            if let Some(value) = value {
                settings[name] = value.into();
            }
        }
        self.with.request_body(&self.name, "web", settings)
    }
}

impl DeploymentArgument {
    fn api_name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::DataCenter => "datacenter",
        }
    }
}

/// Makes a path absolute: the server may run in another folder.
fn absolute_path(path: &std::path::Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(UsageError(format!("the name of {} is not UTF-8 text", path.display())).into()),
    }
}
