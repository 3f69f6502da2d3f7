//! The gateway's binary.

use std::process::ExitCode;

use agentnet_gateway::{Flags, Gateway};
use agentnet_service::{
    config::{ConfigError, Env},
    service,
};

fn main() -> ExitCode {
    match Flags::of(std::env::args().skip(1)) {
        // The chassis knows the rest.
        Ok(flags) if flags.is_empty() => service::main::<Gateway>(),
        Ok(flags) => service::run::<Gateway>(&flags.over(Env::process())),
        Err(text) => {
            use std::io::Write as _;
            // Nothing is left to do when stderr is closed.
            let _ = writeln!(std::io::stderr(), "agentnet-gateway: {text}");
            ExitCode::from(ConfigError::EXIT_CODE)
        }
    }
}
