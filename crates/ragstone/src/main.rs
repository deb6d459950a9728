//! One binary, many roles. A parser process comes first: it has no settings, no runtime and one thread.

use std::process::ExitCode;

fn main() -> ExitCode {
    let role = std::env::args_os().nth(1);
    if role.is_some_and(|role| role == ragstone::PARSER_ROLE) {
        ragstone_adapters::parse::worker_main()
    }
    ragstone::cli::main()
}
