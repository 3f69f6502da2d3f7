//! The `agentnet` command: run the network, watch it, talk on it.

mod args;
mod cli;
mod command;
mod failure;
mod network;
mod output;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::Cli;
use failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    output::style::choose(cli.global.color);
    let Some(command) = cli.command else {
        return match Cli::command().print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    let (json, verbose) = (cli.global.json, cli.global.verbose);
    match command::run(command, cli.global) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, json, verbose),
    }
}

/// Tells people on standard error, and programs on standard output, why it failed.
fn report(failure: &Failure, json: bool, verbose: u8) -> ExitCode {
    use output::{escape::clean_block, note, style};
    match failure {
        Failure::OutputClosed | Failure::Reported(_) => {}
        Failure::Interrupted => note(""),
        Failure::PayloadNotJson(_) => note(format_args!("{}", style::paint(style::BAD, failure))),
        other => {
            note(format_args!("{} {}", style::paint(style::BAD, "error:"), clean_block(&other.to_string())))
        }
    }
    if !failure.hint().is_empty() {
        note(format_args!("{} {}", style::paint(style::WARN, "hint:"), clean_block(failure.hint())));
    }
    if verbose > 0 {
        note(failure::chain(failure));
    }
    if json && !matches!(failure, Failure::OutputClosed | Failure::Reported(_)) {
        // If standard output is closed too, nobody is left to tell.
        let _ = output::Out::new(true).line(output::escape::clean_json(&failure.to_json()));
    }
    ExitCode::from(failure.exit_code())
}
