//! Numbers of parser processes and job workers, and the limits of a parser process.

use anyhow::Context;
use ragstone_adapters::parse::{ParseLimits, ParserOptions, ParserPool};

use crate::PARSER_ROLE;
use crate::config::Settings;

/// Most parser processes of one tenant by default; the default is one per core up to this.
const MOST_WORKERS: usize = 4;

/// The parser of the settings: a pool of child processes of this program.
pub fn parser_pool(settings: &Settings) -> anyhow::Result<ParserPool> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let parse = &settings.parse;
    Ok(ParserPool::new(ParserOptions {
        workers: match parse.workers {
            // A tenant gets half of them, which makes one per core.
            0 => 2 * default_workers(0),
            workers => workers,
        },
        documents_per_worker: parse.files_per_process,
        limits: ParseLimits {
            max_bytes: parse.max_bytes,
            max_pages: parse.max_pages,
            max_text_bytes: parse.max_text_bytes,
        },
        cpu_seconds: parse.cpu_seconds,
        small_cpu_seconds: parse.small_cpu_seconds,
        wall_seconds: parse.wall_seconds,
        memory_bytes: parse.memory_bytes,
        ..ParserOptions::new(program, [PARSER_ROLE])
    }))
}

/// Number of job workers; 0 means two per core: while some wait for the model, others parse and store.
pub fn job_workers(workers: usize) -> usize {
    match workers {
        0 => 2 * default_workers(0),
        workers => workers,
    }
}

fn default_workers(workers: usize) -> usize {
    match workers {
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MOST_WORKERS),
        workers => workers,
    }
}
