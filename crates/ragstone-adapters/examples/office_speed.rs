//! Processor seconds of the Office parsers over a folder, in this process and on one thread, and the text that they give.
//!
//! `cargo run --release -p ragstone-adapters --no-default-features --features office --example office_speed -- FOLDER [ROUNDS]`

use std::path::PathBuf;

use ragstone_adapters::parse::{ParseLimits, parse_bytes};
use serde_json::json;

const ENDINGS: &[&str] = &["docx", "pptx", "xlsx", "odt", "rtf"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("a folder is needed")?);
    let rounds: u32 = arguments.next().map_or(Ok(3), |rounds| rounds.parse())?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    let is_ours = |file: &PathBuf| {
        let ending = file.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| ENDINGS.contains(&ending))
    };
    files.retain(is_ours);
    files.sort();
    for file in &files {
        let bytes = std::fs::read(file)?;
        let name = file.file_name().ok_or("a file has a name")?.to_string_lossy();
        let limits = ParseLimits::default();
        let text = parse_bytes(bytes.clone(), &name, None, &limits)?.text;
        let before = cpu_seconds();
        for _ in 0..rounds {
            parse_bytes(bytes.clone(), &name, None, &limits)?;
        }
        let seconds = (cpu_seconds() - before) / f64::from(rounds);
        println!("{}", json!({ "file": name, "seconds": seconds, "text": text }));
    }
    Ok(())
}

/// Processor seconds of this process so far, of all its threads.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing and outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
