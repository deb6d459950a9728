//! Settings as data: what is given, and what comes out or is refused.

use super::names::NameMeaning;
use super::*;

fn environment(pairs: &[(&str, &str)]) -> SettingsLayers {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    SettingsLayers {
        environment: pairs.collect(),
        ..SettingsLayers::default()
    }
}

fn file(text: &str) -> SettingsLayers {
    SettingsLayers {
        file: Some(("ragstone.toml".into(), text.into())),
        ..SettingsLayers::default()
    }
}

fn refused(layers: &SettingsLayers) -> String {
    Settings::from_layers(layers).unwrap_err().to_string()
}

#[test]
fn the_manual_is_valid_and_complete() {
    let settings = Settings::from_layers(&SettingsLayers::default()).unwrap();
    assert_eq!((settings.split.chunk_size, settings.split.chunk_overlap), (800, 150));
    assert_eq!(
        settings.split.splitter_settings(),
        ragstone_core::split::SplitSettings::default()
    );
    assert_eq!(settings.ask.limit, 5);
    assert!(settings.embeds_locally() && !settings.embeds_remotely() && !settings.chats_remotely());
}

#[test]
fn later_layers_win() {
    let mut layers = environment(&[("RAGSTONE_SPLIT__CHUNK_SIZE", "400"), ("MAX_RETRIEVAL_RESULTS", "7")]);
    layers.file = Some((
        "ragstone.toml".into(),
        "[split]\nchunk_size = 300\nchunk_overlap = 30".into(),
    ));
    layers.dotenv = vec![
        ("MAX_RETRIEVAL_RESULTS".into(), "9".into()),
        ("LLM_MODEL".into(), "m".into()),
    ];
    layers.flags = vec![("--listen".into(), "server.listen".into(), "127.0.0.1:9".into())];
    layers.environment.push(("OPENAI_API_KEY".into(), "k".into()));
    let settings = Settings::from_layers(&layers).unwrap();
    assert_eq!((settings.split.chunk_size, settings.split.chunk_overlap), (400, 30));
    assert_eq!(settings.ask.limit, 7);
    assert_eq!(settings.server.listen.port(), 9);
    assert!(settings.chats_remotely());
}

#[test]
fn a_key_alone_changes_nothing_and_goes_only_where_it_was_meant() {
    let settings = Settings::from_layers(&environment(&[("OPENAI_API_KEY", "k")])).unwrap();
    assert!(!settings.embeds_remotely() && !settings.chats_remotely());
    let layers = environment(&[
        ("OPENAI_API_KEY", "k"),
        ("LLM_MODEL", "llama3.2"),
        ("RAGSTONE_CHAT_BASE_URL", "http://localhost:11434/v1/"),
    ]);
    let chat = Settings::from_layers(&layers).unwrap().chat_service();
    assert_eq!(
        (chat.base_url.as_str(), chat.api_key.expose_secret()),
        ("http://localhost:11434/v1", None)
    );
}

#[test]
fn empty_values_are_not_set() {
    let settings = Settings::from_layers(&environment(&[("RAGSTONE_DATA", ""), ("QDRANT_URL", "")])).unwrap();
    assert_eq!(settings.data.directory, PathBuf::from(".ragstone/data"));
}

#[test]
fn lists_are_json_or_commas() {
    let of = |value: &str| {
        let settings = Settings::from_layers(&environment(&[("RAGSTONE_CORS_ORIGINS", value)])).unwrap();
        settings.server.cors_origins
    };
    assert_eq!(of("http://a, http://b"), ["http://a", "http://b"]);
    assert_eq!(of(r#"["http://a"]"#), ["http://a"]);
}

#[test]
fn default_readers_that_were_set_are_told_from_those_shipped() {
    let given = |layers: &SettingsLayers| Settings::from_layers(layers).unwrap().default_readers_given;
    assert!(!given(&SettingsLayers::default()));
    assert!(!given(&file(
        "[access]\nadmin_key = \"0123456789abcdef0123456789abcdef\"\n"
    )));
    assert!(given(&file("[access]\ndefault_readers = [\"everyone\"]\n")));
    assert!(given(&environment(&[("RAGSTONE_ACCESS__DEFAULT_READERS", "everyone")])));
}

#[test]
fn wrong_values_are_named_with_where_they_came_from() {
    let check = |layers: &SettingsLayers, expected: &str| assert_eq!(refused(layers), expected);
    check(
        &environment(&[("RAGSTONE_SPLIT__CHUNK_SIZE", "big")]),
        "setting split.chunk_size (from RAGSTONE_SPLIT__CHUNK_SIZE): must be a whole number, got \"big\"",
    );
    check(
        &environment(&[("MAX_RETRIEVAL_RESULTS", "0")]),
        "setting ask.limit (from MAX_RETRIEVAL_RESULTS): must be 1 to 100, got 0",
    );
    check(
        &environment(&[("RAGSTONE_OFFLINE", "maybe")]),
        "setting model.offline (from RAGSTONE_OFFLINE): must be true or false, got \"maybe\"",
    );
    check(
        &environment(&[("RAGSTONE_LISTEN", "8080")]),
        "setting server.listen (from RAGSTONE_LISTEN): must be an address and a port such as 127.0.0.1:8080, got \"8080\"",
    );
    check(
        &file("[split]\nchunk_size = 100\n"),
        "setting split.chunk_overlap (from the built-in defaults): chunk_overlap must be at most 99 for chunk_size 100, got 150",
    );
    check(
        &file("[split]\nchunksize = 100\n"),
        "setting split.chunksize (from ragstone.toml): there is no such setting; did you mean split.chunk_size?",
    );
    check(
        &environment(&[("RAGSTONE_LISTEM", "x")]),
        "setting RAGSTONE_LISTEM (from the environment or .env): there is no such setting; did you mean server.listen? It is set by RAGSTONE_LISTEN",
    );
    check(
        &file("[sever]\nlisten = 1\n"),
        "setting sever.listen (from ragstone.toml): there is no such setting; did you mean server.listen?",
    );
    check(
        &file("[split]\nzz = 1\n"),
        "setting split.zz (from ragstone.toml): there is no such setting; `ragstone doctor --settings` prints all of them",
    );
    check(
        &environment(&[("EMBEDDING_MODEL", "text-embedding-3-small")]),
        "setting embed.api_key (from the built-in defaults): must be set (or OPENAI_API_KEY): this model is a service's",
    );
    assert!(refused(&environment(&[("QDRANT_URL", "http://q:6334")])).contains("all local or all shared"));
    assert!(refused(&file("[split]\nkeep_separator = \"both\"")).contains("split.keep_separator"));
    assert!(refused(&file("[split\n")).starts_with("setting ragstone.toml: "));
}

#[test]
fn names_that_are_no_settings_are_told_and_change_nothing() {
    let layers = environment(&[
        ("RAGSTONE_SERVICE_HOST", "10.0.0.7"),
        ("RAGSTONE_PORT", "tcp://10.0.0.7:80"),
        ("RAGSTONE_API_PORT_8080_TCP_ADDR", "10.0.0.8"),
        ("RAGSTONE_IMAGE_TAG", "v7"),
        ("RAGSTONE_EMPTY", ""),
        ("RAGSTONE_LISTEN", "127.0.0.1:9"),
        ("RAGSTONE_TEST_QDRANT_URL", "http://q"),
    ]);
    let settings = Settings::from_layers(&layers).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        settings.unknown_names,
        UnknownNames {
            of_services: names(&[
                "RAGSTONE_API_PORT_8080_TCP_ADDR",
                "RAGSTONE_PORT",
                "RAGSTONE_SERVICE_HOST"
            ]),
            other: names(&["RAGSTONE_IMAGE_TAG"]),
        }
    );
    assert_eq!(settings.server.listen.port(), 9);
    let none = Settings::from_layers(&environment(&[("PATH", "/bin")])).unwrap();
    assert_eq!(none.unknown_names, UnknownNames::default());
    let mut misspelt = layers.clone();
    misspelt.dotenv = vec![("RAGSTONE_CHAT_BASEURL".into(), "http://chat".into())];
    let error = refused(&misspelt);
    assert!(
        error.contains("did you mean chat.base_url? It is set by RAGSTONE_CHAT_BASE_URL") && !error.contains("SERVICE"),
        "{error}"
    );
}

/// Kubernetes could not take a setting away by the form of its name.
#[test]
fn no_setting_has_the_form_of_a_services_variable() {
    let keys = layers::known_keys().unwrap();
    let (known, unknown) = (layers::known_names(&keys), names::KnownNames::new([]));
    for (key, _) in keys {
        let name = names::systematic_name(&key);
        assert_eq!(known.resolve_name(&name), NameMeaning::Key(key));
        assert_ne!(unknown.resolve_name(&name), NameMeaning::Service, "{name}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let layers = environment(&[
        ("OPENAI_API_KEY", "sk-hidden"),
        ("RAGSTONE_ADMIN_KEY", "hidden-and-32-characters-or-more-x"),
    ]);
    let settings = Settings::from_layers(&layers).unwrap();
    assert!(!format!("{settings:?}").contains("hidden"));
    let short = refused(&environment(&[("RAGSTONE_ADMIN_KEY", "hidden")]));
    assert!(short.contains("32 characters") && !short.contains("hidden"), "{short}");
    let wrong_type = refused(&file("[openai]\napi_key = 1234567\n"));
    assert!(!wrong_type.contains("1234567"), "{wrong_type}");
}

#[test]
fn the_example_names_what_there_is() {
    let example = include_str!("../../../../.env.example");
    for (name, _) in SHORT_NAMES {
        assert!(
            example.lines().any(|line| line.starts_with(&format!("# {name}="))),
            "{name} is missing"
        );
    }
    let known = layers::known_names(&layers::known_keys().unwrap());
    let pairs = example
        .lines()
        .filter_map(|line| line.strip_prefix("# ")?.split_once('='));
    for (name, _) in pairs.filter(|(name, _)| !name.contains(' ') && *name != names::CONFIG_FILE) {
        let Settings { .. } = match Settings::from_layers(&environment(&[(name, "")])) {
            Ok(settings) => settings,
            Err(error) => panic!("{name}: {error}"),
        };
        assert!(
            matches!(known.resolve_name(name), NameMeaning::Key(_)),
            "{name} is no setting"
        );
    }
}

const ISSUER: &str = r#"{"issuer": "https://login.example.com/main", "audience": "ragstone"}"#;

#[test]
fn issuers_are_tables_or_a_json_list_of_objects() {
    let named = |layers: &SettingsLayers| {
        let settings = Settings::from_layers(layers).unwrap();
        let names = settings.access.issuers.into_iter();
        names
            .map(|issuer| (issuer.issuer, issuer.audience, issuer.clock_skew_seconds))
            .collect::<Vec<_>>()
    };
    let main = (
        "https://login.example.com/main".to_owned(),
        vec!["ragstone".to_owned()],
        60,
    );
    let list = format!("[{ISSUER}]");
    assert_eq!(
        named(&environment(&[("RAGSTONE_ACCESS__ISSUERS", &list)])),
        std::slice::from_ref(&main)
    );
    let text = r#"
        [[access.issuers]]
        issuer = "https://login.example.com/main"
        audience = "ragstone"
        [[access.issuers]]
        issuer = "accounts.example.com"
        audience = ["a", "b"]
        jwks_url = "https://www.example.com/certs"
        algorithms = ["RS256"]
        clock_skew_seconds = 0
        tenant_claim = "org.id"
        subject_claim = "email"
        groups_claim = "https://example.com/groups"
        role_claim = "realm_access.roles"
        roles = { editors = "writer", owners = "admin" }
    "#;
    let second = (
        "accounts.example.com".to_owned(),
        vec!["a".to_owned(), "b".to_owned()],
        0,
    );
    assert_eq!(named(&file(text)), [main, second]);
    let beyond = environment(&[("RAGSTONE_ACCESS__ISSUERS", &list), ("RAGSTONE_LISTEN", "0.0.0.0:80")]);
    assert_eq!(Settings::from_layers(&beyond).unwrap().server.listen.port(), 80);
}

#[test]
fn the_manuals_example_of_an_issuer_is_valid() {
    let lines = DEFAULTS.lines().skip_while(|line| !line.contains("[[access.issuers]]"));
    let example: Vec<&str> = lines.map_while(|line| line.strip_prefix("#   ")).collect();
    let check = |without: &str| {
        let kept = example.iter().filter(|line| !line.starts_with(without));
        let text: Vec<&str> = kept.copied().collect();
        Settings::from_layers(&file(&text.join("\n"))).map(|settings| settings.access.issuers.len())
    };
    assert_eq!(check("tenant_claim"), Ok(1));
    assert_eq!(check("tenant ="), Ok(1));
    assert!(check("nothing").unwrap_err().to_string().contains("exclude each other"));
}

#[test]
fn wrong_issuers_are_named() {
    let check = |members: &str, expected: &str| {
        let list = format!("[{}, {members}}}]", ISSUER.strip_suffix('}').unwrap());
        let refused = refused(&environment(&[("RAGSTONE_ACCESS__ISSUERS", &list)]));
        assert!(
            refused.contains("access.issuers") && refused.contains(expected),
            "{members}: {refused}"
        );
    };
    check(
        r#""jwks_url": "http://login.example.com/keys""#,
        "jwks_url must be an https:// address; http:// only on this machine",
    );
    check(
        r#""jwks_url": "https://user:pw@login.example.com/keys""#,
        "must not hold a password",
    );
    check(r#""algorithms": ["HS256"]"#, "HS256");
    check(r#""algorithms": ["none"]"#, "none");
    check(r#""algorithms": []"#, "algorithms must name one or more");
    check(r#""clock_skew_seconds": 601"#, "must be 0 to 600, got 601");
    check(r#""tenant": "a/b""#, "is not a name");
    check(r#""tenant": "a", "tenant_claim": "b""#, "exclude each other");
    check(r#""groups_claim": "a..b""#, "names no claim");
    check(r#""roles": {"x": "admin"}"#, "roles needs role_claim");
    check(r#""role_claim": "r", "roles": {"x": "root"}"#, "root");
    check(r#""audiences": ["a"]"#, "audiences");
    let whole = |list: &str, expected: &str| {
        let refused = refused(&environment(&[("RAGSTONE_ACCESS__ISSUERS", list)]));
        assert!(
            refused.contains("access.issuers") && refused.contains(expected),
            "{list}: {refused}"
        );
    };
    whole(&format!("[{ISSUER}, {ISSUER}]"), "is named twice");
    whole(&format!("[{}]", [ISSUER; 33].join(",")), "must be 32 or fewer, got 33");
    whole(r#"[{"issuer": "https://login.example.com"}]"#, "audience");
    whole(
        r#"[{"issuer": "https://login.example.com", "audience": []}]"#,
        "audience must name one or more",
    );
    whole(
        r#"[{"issuer": "login", "audience": "a"}]"#,
        "must be an https:// address",
    );
    whole(
        r#"[{"issuer": "http://login.example.com", "audience": "a"}]"#,
        "http:// only on this machine",
    );
    whole(r#"["https://login.example.com"]"#, "must be a JSON list of objects");
    whole("https://login.example.com", "must be a JSON list of objects");
}

/// What the files under `deploy/` set exists, and together it can be used.
#[test]
fn deployments_set_what_there_is() {
    let files = [
        include_str!("../../../../deploy/compose.yaml"),
        include_str!("../../../../deploy/kubernetes/settings.yaml"),
    ];
    let known = layers::known_names(&layers::known_keys().unwrap());
    for text in files {
        let mut given = Vec::new();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once(": ") else {
                continue;
            };
            let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            // A server's own, and the image's.
            if name.chars().all(is_name) && !name.starts_with("POSTGRES_") {
                let value = value
                    .trim_matches('"')
                    .replace("${RAGSTONE_ADMIN_KEY:?set it, 32 characters or more}", KEY);
                given.push((name.to_owned(), value));
            }
        }
        for (name, _) in &given {
            assert!(matches!(known.resolve_name(name), NameMeaning::Key(_)), "{name}");
        }
        let layers = SettingsLayers {
            environment: given,
            ..SettingsLayers::default()
        };
        let settings = Settings::from_layers(&layers).unwrap();
        assert!(settings.shared_stores().is_some() && settings.access.admin_key.is_set());
    }
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_service_of_azure_is_three_settings_and_a_key() {
    let layers = environment(&[
        ("RAGSTONE_CHAT__BASE_URL", "https://x.openai.azure.com/"),
        ("RAGSTONE_CHAT__DEPLOYMENT", "my-gpt"),
        ("RAGSTONE_CHAT__API_VERSION", "2024-10-21"),
        ("RAGSTONE_CHAT__KEY_HEADER", "api-key"),
        ("RAGSTONE_CHAT_API_KEY", "k"),
        ("LLM_MODEL", "gpt-4o"),
    ]);
    let chat = Settings::from_layers(&layers).unwrap().chat_service();
    assert_eq!(
        (
            chat.base_url.as_str(),
            chat.deployment.as_str(),
            chat.api_version.as_str(),
            chat.key_header
        ),
        (
            "https://x.openai.azure.com",
            "my-gpt",
            "2024-10-21",
            KeyHeaderSetting::ApiKey
        )
    );
    let wrong = refused(&environment(&[("RAGSTONE_CHAT__KEY_HEADER", "x-key")]));
    assert!(wrong.starts_with("setting chat.key_header"), "{wrong}");
}

#[test]
fn headers_go_to_the_service_that_they_are_for() {
    let layers = environment(&[
        ("RAGSTONE_OPENAI__HEADERS", r#"["X-Org: env:ORG_TOKEN"]"#),
        ("RAGSTONE_CHAT__HEADERS", r#"["X-Title: a, b"]"#),
        ("RAGSTONE_EMBED_BASE_URL", "http://localhost:1/v1"),
        ("ORG_TOKEN", "org-s3cret"),
        ("OPENAI_API_KEY", "k"),
    ]);
    let settings = Settings::from_layers(&layers).unwrap();
    let values = |service: ModelService| service.header_values(&settings.references).unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        values(settings.chat_service()),
        [pair("X-Org", "org-s3cret"), pair("X-Title", "a, b")]
    );
    assert!(
        values(settings.embed_service()).is_empty(),
        "another service gets none of them"
    );
    assert_eq!(settings.chat_service().header_names(), ["X-Org", "X-Title"]);
    assert!(!format!("{settings:?} {:?}", settings.chat_service()).contains("a, b"));
}

#[test]
fn a_header_that_cannot_be_read_is_refused_without_its_value() {
    for header in ["very-secret", "X Y: very-secret", ": very-secret", "X-Org:"] {
        let wrong = refused(&file(&format!("[chat]\nheaders = [{header:?}]\n")));
        assert!(
            wrong.starts_with("setting chat.headers") && !wrong.contains("very-secret"),
            "{wrong}"
        );
    }
    let settings = Settings::from_layers(&file("[chat]\nheaders = [\"X-Org: env:NOT_THERE\"]\n")).unwrap();
    let error = settings.chat_service().header_values(&settings.references).unwrap_err();
    assert!(error.contains("X-Org") && error.contains("NOT_THERE"), "{error}");
}
