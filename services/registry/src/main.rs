//! The registry as a process of its own.

use std::process::ExitCode;

use agentnet_registry::Registry;

fn main() -> ExitCode {
    agentnet_service::service::main::<Registry>()
}
