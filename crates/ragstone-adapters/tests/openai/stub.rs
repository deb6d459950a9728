//! The OpenAI stub of the shared tools, built once and started for each test that needs it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

const SOURCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../shared/tools/openai_stub/Cargo.toml"
);

pub struct Stub {
    process: Child,
    pub url: String,
}

impl Stub {
    /// A stub with these faults; none, with a word why, where its source is not at hand.
    pub fn start(faults: &str) -> Option<Self> {
        Self::with(&[("STUB_FAULTS", faults)])
    }

    /// A stub with these settings.
    pub fn with(settings: &[(&str, &str)]) -> Option<Self> {
        let program = program()?;
        let mut process = Command::new(program)
            .args(["--listen", "127.0.0.1:0"])
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        Some(Self { process, url })
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    if !Path::new(SOURCE).exists() {
        ragstone_testkit::skip_test("tests against the OpenAI stub", "put shared/ beside the repository");
        return None;
    }
    let test = std::env::current_exe().unwrap();
    let target = test
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .unwrap()
        .join("openai_stub");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--manifest-path",
            SOURCE,
            "--target-dir",
        ])
        .arg(&target)
        .status()
        .unwrap();
    assert!(built.success(), "the stub builds");
    Some(target.join("debug/openai_stub"))
}
