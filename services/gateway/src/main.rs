//! The gateway's binary.

use std::process::ExitCode;

use agentnet_gateway::Gateway;

fn main() -> ExitCode {
    agentnet_service::service::main::<Gateway>()
}
