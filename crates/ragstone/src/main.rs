//! Entry point. The parser role is handled first: that process reads no settings, has no async runtime and one thread.

use std::process::ExitCode;

fn main() -> ExitCode {
    let role = std::env::args_os().nth(1);
    if role.is_some_and(|role| role == ragstone::PARSER_ROLE) {
        ragstone_adapters::parse::worker_main()
    }
    limit_heap_arenas();
    ragstone::cli::run_cli()
}

/// Limits the heap to one arena per core, at least two. By default the GNU C library makes up to eight per core: memory
/// that a burst of ingestion freed stays in all of them, which doubled the measured memory of a long file
/// (`bench/memory.py`).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn limit_heap_arenas() {
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let arenas = libc::c_int::try_from(cores).unwrap_or(libc::c_int::MAX);
    // SAFETY: no other thread runs yet, and the call reads nothing but its two numbers.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn limit_heap_arenas() {}
