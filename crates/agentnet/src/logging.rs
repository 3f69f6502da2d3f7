//! Where a program's log goes. For programs that don't set up `tracing` themselves.

use std::{fs::OpenOptions, path::Path, sync::Mutex};

use agentnet_proto::log_level;
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter};

use crate::error::{Error, ErrorKind};

/// Starts the log of this process: what is at `level` or above, to the end of `file` (made for its owner only), else to
/// standard error. `level` is `TRACE`, `DEBUG`, `INFO`, `WARNING`, `ERROR` or `OFF`, in any case, or directives such as
/// `info,agentnet=debug`. The first call in a process wins.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for another level, [`ErrorKind::File`] when the file can't be written.
pub fn start(level: &str, file: Option<&Path>) -> Result<(), Error> {
    let filter =
        log_level::directives(level).and_then(|text| EnvFilter::try_new(text).ok()).ok_or_else(|| {
            let detail = format!("{level:?} is no level of a log; use {}", log_level::EXPECTED);
            Error::new(ErrorKind::InvalidArgument, detail)
        })?;
    let writer = match file {
        Some(path) => {
            let mut options = OpenOptions::new();
            options.create(true).append(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let opened = options.open(path).map_err(|error| {
                let detail = format!("the log can't be written to {}", path.display());
                Error::new(ErrorKind::File, detail).source_of(error)
            })?;
            BoxMakeWriter::new(Mutex::new(opened))
        }
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(file.is_none()).with_writer(writer);
    // Fails only if something has logging installed already.
    let _ = log.try_init();
    Ok(())
}
