//! The persister's binary.

use std::process::ExitCode;

use agentnet_persister::Persister;

fn main() -> ExitCode {
    agentnet_service::service::main::<Persister>()
}
