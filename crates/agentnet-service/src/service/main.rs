//! The `main` of a service binary.

use std::error::Error;
use std::process::ExitCode;

use super::{FullConfig, Service, start};
use crate::chain;
use crate::config::{ConfigError, Env, LogConfig};
use crate::shutdown::Shutdown;
use crate::telemetry;

/// Exit code of a service that couldn't start or stopped working.
pub const EXIT_FAILURE: u8 = 1;

/// Runs the service with the environment of this process until SIGINT or SIGTERM: exit code 0 after an orderly
/// stop, 1 when it failed, 64 with one line when the configuration is bad. With the argument `health` it asks a
/// running service whether it is ready instead.
pub fn main<S: Service>() -> ExitCode {
    let env = match Env::process_and_file() {
        Ok(env) => env,
        Err(error) => return bad_config::<S>(&error),
    };
    match std::env::args().nth(1).as_deref() {
        None => run::<S>(&env),
        Some("health") => super::probe::run(S::NAME, &env),
        Some(_) => {
            print_line(&format!(
                "{}: takes no arguments but `health`; it is configured by its environment",
                S::NAME
            ));
            ExitCode::from(ConfigError::EXIT_CODE)
        }
    }
}

/// As [`main()`], with any environment.
pub fn run<S: Service>(env: &Env) -> ExitCode {
    // Logs first: reading the rest may warn about deprecated variables.
    let log = match LogConfig::from_env(env) {
        Ok(log) => log,
        Err(error) => return bad_config::<S>(&error),
    };
    telemetry::init(&log);
    let config = match FullConfig::read::<S>(env) {
        Ok(config) => config,
        Err(error) => return bad_config::<S>(&error),
    };
    let mut builder = match config.chassis.worker_threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    let ended = match builder.enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(serve::<S>(config));
            // Blocking work that is still running must not hold the exit.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}: {}", S::NAME, chain(error.as_ref()));
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

async fn serve<S: Service>(config: FullConfig<S::Config>) -> Result<(), Box<dyn Error + Send + Sync>> {
    let shutdown = Shutdown::new(config.chassis.shutdown);
    shutdown.listen_for_signals()?;
    // A stop during the start ends it: nothing is in flight yet.
    let started = tokio::select! {
        biased;
        () = shutdown.requested() => return Ok(()),
        started = start::<S>(config, &shutdown) => started?,
    };
    let ended = started.task.await;
    tracing::info!(service = S::NAME, "stopped");
    Ok(ended??)
}

fn bad_config<S: Service>(error: &ConfigError) -> ExitCode {
    // Not through the log: its level and format may be what is wrong.
    print_line(&format!("{}: {error}", S::NAME));
    ExitCode::from(ConfigError::EXIT_CODE)
}

pub(super) fn print_line(line: &str) {
    use std::io::Write as _;
    // Nothing is left to do when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
