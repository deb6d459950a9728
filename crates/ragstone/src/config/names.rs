//! Names of settings in the environment.

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

/// The variable that names the settings file itself.
pub const CONFIG_FILE: &str = "RAGSTONE_CONFIG";
/// How names begin that are the test suite's own.
pub const TEST_PREFIX: &str = "RAGSTONE_TEST_";
/// How every name of ours begins.
pub const PREFIX: &str = "RAGSTONE_";

/// What an environment name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// It sets this key.
    Key(String),
    /// It is somebody else's, or not a setting.
    None,
}

/// What `name` means. A name that begins as ours do and is no short one is taken for a systematic one, known or not.
pub fn meaning(name: &str) -> Meaning {
    if let Some((_, key)) = SHORT_NAMES.iter().find(|(short, _)| *short == name) {
        return Meaning::Key((*key).to_owned());
    }
    match name.strip_prefix(PREFIX) {
        Some(rest) if name != CONFIG_FILE && !name.starts_with(TEST_PREFIX) => {
            Meaning::Key(rest.to_lowercase().replace("__", "."))
        }
        _ => Meaning::None,
    }
}

/// The known name nearest to `name`, if one is near enough to have been meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate));
    let (distance, candidate) = distances.min()?;
    (distance <= name.chars().count().div_ceil(2)).then_some(candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_keys() {
        let check = |name: &str, expected: Option<&str>| {
            let expected = expected.map_or(Meaning::None, |key| Meaning::Key(key.into()));
            assert_eq!(meaning(name), expected, "{name}");
        };
        check("LLM_MODEL", Some("chat.model"));
        check("RAGSTONE_DATA", Some("data.directory"));
        check("RAGSTONE_SPLIT__CHUNK_SIZE", Some("split.chunk_size"));
        check("RAGSTONE_TYPO", Some("typo"));
        check("RAGSTONE_CONFIG", None);
        check("RAGSTONE_TEST_QDRANT_URL", None);
        check("PATH", None);
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["split.chunk_size", "split.chunk_overlap", "server.listen"];
        let check = |name: &str, expected: Option<&str>| assert_eq!(nearest(name, known), expected, "{name}");
        check("split.chunksize", Some("split.chunk_size"));
        check("server.listn", Some("server.listen"));
        check("xyz", None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
