//! What `tidy` allows: dependencies, layers, pinned calls and long files, each with its reason.

/// What the core may be built from: libraries of meaning, none that opens, connects, reads settings or tells the time.
pub const CORE_DEPENDENCIES: &[&str] = &[
    "async-stream",
    "async-trait",
    "blake3",
    "bytes",
    "futures",
    "memchr",
    "object_store",
    "percent-encoding",
    "pulldown-cmark",
    "regex",
    "serde",
    "serde_json",
    "strsim",
    "text-splitter",
    "thiserror",
    "time",
    "tracing",
    "unicode-normalization",
    "uuid",
    "zstd",
];

/// What belongs to the process and so must not reach the adapters.
pub const NOT_FOR_ADAPTERS: &[&str] = &[
    "axum",
    "clap",
    "clap_complete",
    "figment",
    "indicatif",
    "ragstone",
    "utoipa",
];

/// What belongs behind a seam and so must not be a dependency of the process.
pub const NOT_FOR_PROCESS: &[&str] = &[
    "deadpool-postgres",
    "qdrant-client",
    "redis",
    "rten-gemm",
    "rusqlite",
    "ragstone-encoder",
    "safetensors",
    "tokenizers",
    "tokio-postgres",
    "xberg-native-pdf",
];

/// What the core's code must not name.
pub const NOT_IN_CORE: &[(&str, &str)] = &[
    ("std::env", "the environment is read in the binary's config"),
    ("env!", "the environment is read in the binary's config"),
    ("std::fs", "files belong to adapters"),
    ("std::net", "sockets belong to adapters"),
    ("std::process", "processes belong to adapters"),
    ("std::io::stdin", "the terminal belongs to the binary"),
    ("println!", "the terminal belongs to the binary"),
    ("eprintln!", "the terminal belongs to the binary"),
    ("tokio::", "the core waits through its seams only"),
    ("SystemTime", "time is handed in"),
    ("Instant::now", "time is handed in"),
    ("now_utc", "time is handed in"),
    ("now_local", "time is handed in"),
    ("Uuid::new_v4", "fresh ids are handed in"),
    ("Uuid::now_v7", "fresh ids are handed in"),
    ("LocalFileSystem", "stores are handed in"),
    ("ragstone_adapters", "floor 1 knows nothing of floor 2"),
];

/// Which module of the core may use which. Below stands what is used, above who uses it.
pub const CORE_LAYERS: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("nearest", &[]),
    ("filter", &["nearest"]),
    ("rank", &[]),
    ("metric", &[]),
    ("failure_log", &[]),
    ("counting", &[]),
    ("access", &["filter", "id"]),
    ("document", &["access", "id"]),
    ("split", &["document"]),
    ("cite", &["rank"]),
    ("seam", &["access", "document", "filter", "id", "library", "rank"]),
    (
        "library",
        &["access", "ask", "document", "filter", "id", "metric", "rank", "seam"],
    ),
    ("prompt", &["access", "cite", "library", "seam"]),
    (
        "ingest",
        &[
            "access",
            "document",
            "failure_log",
            "filter",
            "id",
            "library",
            "rank",
            "seam",
            "split",
        ],
    ),
    ("sync", &["access", "document", "failure_log", "id", "ingest", "seam"]),
    (
        "ask",
        &[
            "access", "cite", "document", "filter", "id", "library", "prompt", "rank", "seam",
        ],
    ),
    (
        "evaluate",
        &["access", "ask", "document", "id", "library", "metric", "seam"],
    ),
];

/// The places where the core's layers bite their tail, and all that may pass there.
pub const CORE_LOOPS: &[(&str, &str, &[&str])] = &[
    // A chat model is given admitted passages, and a passage is what the library makes.
    ("seam", "library", &["Passage", "passage"]),
    // `ask` says what it has to retrieve, as a trait; the library, which alone can find it, implements that trait.
    (
        "library",
        "ask",
        &["self", "AskRequest", "RetrievalError", "RetrievedPassages", "Retriever"],
    ),
];

/// Which module of the binary may use which.
pub const PROCESS_LAYERS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("ui", &[]),
    ("operator", &[]),
    ("config", &[]),
    ("schedule", &[]),
    ("telemetry", &["config"]),
    ("jobs", &["clock", "config", "telemetry"]),
    (
        "http",
        &["clock", "config", "jobs", "operator", "schedule", "telemetry", "ui"],
    ),
    ("mcp", &["config", "http", "jobs", "operator", "telemetry"]),
    (
        "wiring",
        &[
            "clock",
            "config",
            "http",
            "jobs",
            "mcp",
            "operator",
            "schedule",
            "telemetry",
            "ui",
        ],
    ),
    (
        "cli",
        &[
            "clock",
            "config",
            "http",
            "jobs",
            "mcp",
            "operator",
            "telemetry",
            "ui",
            "wiring",
        ],
    ),
];

/// Folders of the adapters that stand behind a seam: none of them may use another one.
pub const ADAPTER_SEAMS: &[&str] = &[
    "source",
    "parse",
    "embed",
    "index",
    "chat",
    "rerank",
    "catalogue",
    "cache",
    "blob",
];

/// A call that may be written in one place only.
pub struct Pin {
    /// The call, as it is written.
    pub call: &'static str,
    /// Path of its only home, `.rs` or a folder of that name.
    pub home: &'static str,
    /// How often it must stand there once the home exists; `None` for any number.
    pub times: Option<usize>,
    /// What the pin holds.
    pub reason: &'static str,
}

/// The pinned calls of access.
pub const PINS: &[Pin] = &[
    Pin {
        call: "Principal::verified",
        home: "crates/ragstone/src/http/auth",
        times: Some(1),
        reason: "the one door through which a network caller becomes a principal",
    },
    Pin {
        call: "Principal::local_operator_of",
        home: "crates/ragstone/src/operator",
        times: Some(1),
        reason: "the one door through which whoever holds the data directory becomes a principal",
    },
    Pin {
        call: "Principal::local_operator",
        home: "crates/ragstone/src/operator",
        times: Some(0),
        reason: "a shorthand of tests for the default tenant's operator",
    },
    Pin {
        call: "ScopedQuery::new",
        home: "crates/ragstone-core/src/library",
        times: None,
        reason: "only the library may ask an index",
    },
    Pin {
        call: "Admitted::new",
        home: "crates/ragstone-core/src/library",
        times: None,
        reason: "only the library says what a scope admits",
    },
];

/// Files longer than the limit, and why they are not two.
pub const LONG_FILES: &[(&str, &str)] = &[
    (
        "crates/ragstone-encoder/src/matrix.rs",
        "one matrix product with its epilogues; the packing and the loops share their block sizes",
    ),
    (
        "crates/ragstone-core/src/seam/contract/catalogue.rs",
        "the catalogue's contract, case after case",
    ),
    (
        "crates/ragstone-core/src/seam/contract/catalogue_ledger.rs",
        "the ledger's contract, case after case",
    ),
    (
        "crates/ragstone-core/src/ask/assemble.rs",
        "one state machine; its states would have to be public to be apart",
    ),
    (
        "crates/ragstone-core/src/ask/mod.rs",
        "the story of an answer, with the steps it names",
    ),
    (
        "crates/ragstone-core/src/seam/catalogue.rs",
        "one trait with what its methods take and give",
    ),
    (
        "crates/ragstone-core/src/seam/source.rs",
        "one trait with what its methods take and give",
    ),
    (
        "crates/ragstone-adapters/src/catalogue/sqlite/mod.rs",
        "one implementation of that trait, which hands each method to its module",
    ),
    (
        "crates/ragstone-adapters/src/catalogue/postgres/mod.rs",
        "one implementation of that trait, which hands each method to its module",
    ),
    (
        "crates/ragstone-core/src/ingest/recover.rs",
        "one recovery, from the listing to the last row",
    ),
    (
        "crates/ragstone/src/config/sections.rs",
        "one struct for each section of the settings, field after field",
    ),
];

/// Lines of a file from which it needs a reason.
pub const MAX_LINES: usize = 400;

/// The same for files of tests and contract suites, which are lists of cases.
pub const MAX_TEST_LINES: usize = 600;

/// Bytes of the largest file that belongs in the repository.
pub const MAX_FILE_BYTES: u64 = 1_000_000;

/// Folders and files that are not the repository's.
pub const NOT_OURS: &[&str] = &[
    ".git",
    "target",
    ".ragstone",
    "node_modules",
    "__pycache__",
    ".venv",
    "out",
    ".env",
];
