//! Pages per processor second of the PDF parser over a folder, in this process and on one thread.
//!
//! `cargo run --release -p ragstone-adapters --no-default-features --features pdf --example pdf_speed -- FOLDER [ROUNDS]`

use std::path::PathBuf;

use ragstone_adapters::parse::{ParseLimits, parse_bytes};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("a folder is needed")?);
    let rounds: u32 = arguments.next().map_or(Ok(3), |rounds| rounds.parse())?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "pdf"));
    files.sort();
    let (mut pages, mut seconds) = (0, 0.0);
    for file in &files {
        let bytes = std::fs::read(file)?;
        let name = file.file_name().ok_or("a file has a name")?.to_string_lossy();
        let before = cpu_seconds();
        let mut seen = 0;
        for _ in 0..rounds {
            seen += parse_bytes(bytes.clone(), &name, None, &ParseLimits::default())?
                .pages
                .len();
        }
        let took = cpu_seconds() - before;
        println!(
            "{{\"file\":\"{name}\",\"pages_per_cpu_second\":{:.1}}}",
            seen as f64 / took
        );
        pages += seen;
        seconds += took;
    }
    println!(
        "{{\"file\":\"all\",\"pages_per_cpu_second\":{:.1}}}",
        pages as f64 / seconds
    );
    Ok(())
}

/// Processor seconds of this process so far, of all its threads.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing and outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
