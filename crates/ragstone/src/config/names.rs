//! Names of settings in the environment, and how a name that is no setting is classified.
//!
//! Invariant: a name that Kubernetes gives to a pod never prevents the start, whatever its Services are called.

use ragstone_core::nearest::nearest_within;

/// Short environment names and the keys they set. Every key has a systematic name too (`RAGSTONE_<SECTION>__<KEY>`).
pub const SHORT_NAMES: [(&str, &str); 33] = [
    ("OPENAI_API_KEY", "openai.api_key"),
    ("OPENAI_BASE_URL", "openai.base_url"),
    ("EMBEDDING_MODEL", "embed.model"),
    ("LLM_MODEL", "chat.model"),
    ("MAX_RETRIEVAL_RESULTS", "ask.limit"),
    ("QDRANT_URL", "index.qdrant_url"),
    ("QDRANT_API_KEY", "index.qdrant_api_key"),
    ("REDIS_URL", "jobs.redis_url"),
    ("DATABASE_URL", "data.database_url"),
    ("RAGSTONE_BLOBS_URL", "data.blobs_url"),
    ("RAGSTONE_ROLE", "server.role"),
    ("AWS_ENDPOINT_URL", "s3.endpoint"),
    ("AWS_REGION", "s3.region"),
    ("AWS_ACCESS_KEY_ID", "s3.access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "s3.secret_access_key"),
    ("AWS_SESSION_TOKEN", "s3.session_token"),
    ("AWS_ROLE_ARN", "s3.role_arn"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "s3.web_identity_token_file"),
    ("HF_ENDPOINT", "model.hub_endpoint"),
    ("HF_TOKEN", "model.hub_token"),
    ("HF_HUB_OFFLINE", "model.hub_offline"),
    ("RAGSTONE_DATA", "data.directory"),
    ("RAGSTONE_LISTEN", "server.listen"),
    ("RAGSTONE_CORS_ORIGINS", "server.cors_origins"),
    ("RAGSTONE_ADMIN_KEY", "access.admin_key"),
    ("RAGSTONE_MODEL_DIR", "model.directory"),
    ("RAGSTONE_OFFLINE", "model.offline"),
    ("RAGSTONE_EMBED_BASE_URL", "embed.base_url"),
    ("RAGSTONE_EMBED_API_KEY", "embed.api_key"),
    ("RAGSTONE_CHAT_BASE_URL", "chat.base_url"),
    ("RAGSTONE_CHAT_API_KEY", "chat.api_key"),
    ("RAGSTONE_LOG", "telemetry.log"),
    ("RAGSTONE_LOG_FORMAT", "telemetry.format"),
];

/// Variable with the path of the settings file.
pub const CONFIG_FILE: &str = "RAGSTONE_CONFIG";
/// Prefix of the test suite's variables, which are never settings.
pub const TEST_PREFIX: &str = "RAGSTONE_TEST_";
/// Prefix of every variable of this program.
pub const PREFIX: &str = "RAGSTONE_";

/// One typing error is tolerated per this many characters of a name, and at least one.
const CHARACTERS_PER_EDIT: usize = 4;
/// Most typing errors that are tolerated in a name.
const MAX_EDITS: usize = 3;
/// Least characters after the section that make a prefix of a setting's name count as that setting.
const MIN_BEGINNING: usize = 3;

/// Meaning of a name in the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameMeaning {
    /// Sets the key with this name.
    Key(String),
    /// Misspelling of this name, which sets something; refused.
    Misspelt(String),
    /// Has the prefix of settings but is none; ignored and reported.
    Unknown,
    /// A variable that Kubernetes sets for a Service whose name begins like this program's.
    Service,
    /// Not related to settings.
    None,
}

/// Index of all keys that can be set, used to classify names of the environment.
pub struct KnownNames {
    keys: Vec<String>,
}

impl KnownNames {
    pub fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
        }
    }

    /// Classifies the environment variable `name`.
    pub fn resolve_name(&self, name: &str) -> NameMeaning {
        if let Some((_, key)) = SHORT_NAMES.iter().find(|(short, _)| *short == name) {
            return NameMeaning::Key((*key).to_owned());
        }
        let Some(rest) = name.strip_prefix(PREFIX) else {
            return NameMeaning::None;
        };
        if name == CONFIG_FILE || name.starts_with(TEST_PREFIX) {
            return NameMeaning::None;
        }
        let key = rest.to_lowercase().replace("__", ".");
        if self.keys.contains(&key) {
            return NameMeaning::Key(key);
        }
        if is_service_variable(rest) {
            return NameMeaning::Service;
        }
        match self.find_nearest_name(rest) {
            Some(meant) => NameMeaning::Misspelt(meant),
            None => NameMeaning::Unknown,
        }
    }

    /// The setting that `rest`, a name without its prefix, was probably meant to be. Underscores are ignored: one too
    /// few between section and key is the most usual mistake.
    fn find_nearest_name(&self, rest: &str) -> Option<String> {
        let letters = normalize_name(rest);
        let names = self.list_names();
        let most_edits = (letters.len() / CHARACTERS_PER_EDIT).clamp(1, MAX_EDITS);
        let near = nearest_within(&letters, names.iter().map(|(letters, _)| letters.as_str()), most_edits);
        let near = near.map(str::to_owned).or_else(|| {
            let begun = self.keys.iter().filter(|key| {
                let section = key.split('.').next().unwrap_or_default();
                letters.len() >= section.len() + MIN_BEGINNING && normalize_name(key).starts_with(&letters)
            });
            begun.map(|key| normalize_name(key)).next()
        })?;
        names
            .into_iter()
            .find(|(letters, _)| *letters == near)
            .map(|(_, name)| name)
    }

    /// Every name that sets something, with its letters after the prefix. A short name without our prefix is listed by
    /// all its letters, so that it is also found behind the prefix.
    fn list_names(&self) -> Vec<(String, String)> {
        let systematic = self.keys.iter().map(|key| systematic_name(key));
        let short = SHORT_NAMES.iter().map(|(name, _)| (*name).to_owned());
        let all = [CONFIG_FILE.to_owned()].into_iter().chain(short).chain(systematic);
        all.map(|name| (normalize_name(name.strip_prefix(PREFIX).unwrap_or(&name)), name))
            .collect()
    }
}

/// Systematic name of a key in the environment: `RAGSTONE_<SECTION>__<KEY>`.
pub fn systematic_name(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

fn normalize_name(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

/// Whether Kubernetes sets such a variable in pods beside a Service (`enableServiceLinks`); `rest` follows `RAGSTONE_`:
/// SERVICE_HOST, SERVICE_PORT, SERVICE_PORT_HTTP, PORT, PORT_80_TCP, PORT_80_TCP_ADDR; with more of the Service's name
/// in front, if that is longer.
fn is_service_variable(rest: &str) -> bool {
    let rest = format!("_{rest}");
    let ends = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"];
    let docker_link = |port: &str| {
        let mut parts = port.split('_');
        let number = parts.next().is_some_and(|number| number.parse::<u16>().is_ok());
        let protocol = matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"));
        let member = matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"));
        number && protocol && member && parts.next().is_none()
    };
    ends.iter().any(|end| rest.ends_with(end))
        || rest.contains("_SERVICE_PORT_")
        || rest
            .match_indices("_PORT_")
            .any(|(at, found)| docker_link(&rest[at + found.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownNames {
        KnownNames::new(
            [
                "split.chunk_size",
                "split.chunk_overlap",
                "server.listen",
                "chat.base_url",
                "chat.model",
                "data.directory",
            ]
            .map(String::from),
        )
    }

    #[test]
    fn names_mean_keys() {
        let check = |name: &str, expected: NameMeaning| assert_eq!(known().resolve_name(name), expected, "{name}");
        let key = |key: &str| NameMeaning::Key(key.into());
        check("LLM_MODEL", key("chat.model"));
        check("RAGSTONE_DATA", key("data.directory"));
        check("RAGSTONE_SPLIT__CHUNK_SIZE", key("split.chunk_size"));
        check("RAGSTONE_CONFIG", NameMeaning::None);
        check("RAGSTONE_TEST_QDRANT_URL", NameMeaning::None);
        check("PATH", NameMeaning::None);
    }

    #[test]
    fn what_is_nearly_a_setting_is_told_from_what_is_foreign() {
        let misspelt = |name: &str, meant: &str| {
            assert_eq!(
                known().resolve_name(name),
                NameMeaning::Misspelt(meant.into()),
                "{name}"
            );
        };
        misspelt("RAGSTONE_CHAT_BASEURL", "RAGSTONE_CHAT_BASE_URL");
        misspelt("RAGSTONE_LISTENN", "RAGSTONE_LISTEN");
        misspelt("RAGSTONE_LSITEN", "RAGSTONE_LISTEN");
        misspelt("RAGSTONE_CONFG", "RAGSTONE_CONFIG");
        misspelt("RAGSTONE_LOGS", "RAGSTONE_LOG");
        misspelt("RAGSTONE_SPLIT_CHUNK_SIZE", "RAGSTONE_SPLIT__CHUNK_SIZE");
        misspelt("RAGSTONE_SPLIT__CHUNKSIZES", "RAGSTONE_SPLIT__CHUNK_SIZE");
        misspelt("RAGSTONE_DATA_DIR", "RAGSTONE_DATA__DIRECTORY");
        misspelt("RAGSTONE_QDRANT_URL", "QDRANT_URL");
        misspelt("RAGSTONE_LLM_MODEL", "LLM_MODEL");
        for name in [
            "RAGSTONE_HOME",
            "RAGSTONE_VERSION",
            "RAGSTONE_IMAGE_TAG",
            "RAGSTONE_ENV",
            "RAGSTONE_BACKUP__BUCKET",
            "RAGSTONE_",
        ] {
            assert_eq!(known().resolve_name(name), NameMeaning::Unknown, "{name}");
        }
    }

    #[test]
    fn variables_of_services_are_known_by_their_form() {
        for name in [
            "RAGSTONE_SERVICE_HOST",
            "RAGSTONE_SERVICE_PORT",
            "RAGSTONE_SERVICE_PORT_HTTP",
            "RAGSTONE_PORT",
            "RAGSTONE_PORT_8080_TCP",
            "RAGSTONE_PORT_8080_TCP_PROTO",
            "RAGSTONE_PORT_8080_TCP_PORT",
            "RAGSTONE_PORT_8080_TCP_ADDR",
            "RAGSTONE_API_SERVICE_HOST",
            "RAGSTONE_API_PORT_53_UDP_ADDR",
            "RAGSTONE_LISTEN_PORT",
            "RAGSTONE_PORT_MIRROR_PORT_80_SCTP",
        ] {
            assert_eq!(known().resolve_name(name), NameMeaning::Service, "{name}");
        }
        for name in ["RAGSTONE_PORTS", "RAGSTONE_PORT_X_TCP", "RAGSTONE_PORT_80_TCP_NAME"] {
            assert_eq!(known().resolve_name(name), NameMeaning::Unknown, "{name}");
        }
    }
}
