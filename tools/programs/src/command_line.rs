//! A program from its command line to its exit status.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::Failure;

/// Parses the arguments and runs `program`; a mistake or a failure is one line on standard error, which `name` begins.
pub fn main<Cli: Parser>(name: &str, program: impl FnOnce(&Cli) -> Result<(), Failure>) -> ExitCode {
    let failure = match Cli::try_parse() {
        Ok(cli) => match program(&cli) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => failure,
        },
        Err(error) if !error.use_stderr() => {
            // Help and version; a closed pipe behind them is nobody's problem.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => usage(&error),
    };
    // In one piece, so that it stays one line beside what children print. If standard error is gone,
    // there is nobody to read it.
    let _ = std::io::stderr().write_all(format!("{name}: {failure}\n").as_bytes());
    ExitCode::from(failure.exit_status())
}

/// clap's message on one line, with its suggestions and without the rest of its decoration.
fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let message = paragraphs.next().unwrap_or(&text);
    let mut message = message.strip_prefix("error: ").unwrap_or(message).to_owned();
    // More than one suggestion may share a paragraph.
    for tip in paragraphs.filter(|paragraph| paragraph.starts_with("tip: ")).flat_map(str::lines) {
        message += "; ";
        message += tip.trim();
    }
    Failure::usage("command line", format!("{message} (see --help)"))
}
