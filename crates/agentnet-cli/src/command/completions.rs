//! `agentnet completions <shell>`.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{cli::Cli, failure::Failure};

/// Print completions for a shell.
///
/// For bash: `agentnet completions bash > ~/.local/share/bash-completion/completions/agentnet`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When standard output can't be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    // Into memory first: the generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "agentnet", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
