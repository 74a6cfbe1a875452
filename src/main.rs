//! Parses the arguments, runs the command, turns what came of it into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    autobot_provision::cli::main()
}
