//! Logs of the services in this process: to a file under the data directory, warnings to the terminal too.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use agentnet::proto::log_level;
use agentnet_service::config::{Env, LogConfig, LogFormat};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::LevelFilter,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::progress::Progress;
use crate::{
    cli::Global,
    failure::Failure,
    output::{
        escape::clean,
        style::{WARN, paint},
    },
};

/// Name of the log file; older ones have `.1` and `.2` after it.
pub const FILE: &str = "agentnet.log";
/// Size at which a new file is begun, bytes.
const MAX_BYTES: u64 = 10 << 20;
/// Older files kept.
const KEPT: u32 = 2;

/// Starts logging: to `--log-file` or `AGENTNET_LOG_FILE`, else to a file in `dir`. `-v` shows on the terminal what the
/// file gets.
///
/// # Errors
/// When the file can't be opened, or the level or `AGENTNET_LOG_FORMAT` is none.
pub fn start(dir: &Path, options: &Global, progress: &Progress) -> Result<(), Failure> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // As the services read it when they run by themselves.
    let mut config = LogConfig::from_env(&Env::process()).map_err(|error| {
        Failure::local("usage", clean(&error.to_string()).to_string(), "set it right, or unset it")
    })?;
    if let Some(level) = &options.log_level {
        let named = log_level::directives(level).filter(|text| EnvFilter::try_new(text).is_ok());
        config.filter = named.ok_or_else(|| {
            let problem = format!("--log-level {} is none", clean(level));
            Failure::local("usage", problem, format!("use {}", log_level::EXPECTED))
        })?;
    }
    let path = options.log_file.clone().or(config.file).unwrap_or_else(|| dir.join(FILE));
    let file = Rotating::open(path, MAX_BYTES)?;
    let filter = EnvFilter::new(&config.filter);
    let shown = if options.verbose > 1 { LevelFilter::INFO } else { LevelFilter::WARN };
    let to_file = fmt::layer().with_ansi(false).with_writer(file);
    let to_file = match config.format {
        LogFormat::Text => to_file.with_filter(filter).boxed(),
        LogFormat::Json => to_file.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let to_terminal = fmt::layer()
        .with_ansi(false)
        .without_time()
        .with_writer(Terminal(progress.clone()))
        .with_filter(shown);
    // Fails only if something has logging installed already.
    let _ = tracing_subscriber::registry().with(to_file).with(to_terminal).try_init();
    Ok(())
}

/// A file that begins anew when it is full.
struct Rotating {
    path: PathBuf,
    max: u64,
    open: Mutex<(File, u64)>,
}

impl Rotating {
    fn open(path: PathBuf, max: u64) -> io::Result<Self> {
        let open = Mutex::new(append(&path)?);
        Ok(Self { path, max, open })
    }

    fn write_all(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.lock();
        if open.1 > 0 && open.1 + line.len() as u64 > self.max {
            for number in (1..=KEPT).rev() {
                let older = if number == 1 { self.path.clone() } else { self.numbered(number - 1) };
                match fs::rename(older, self.numbered(number)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            *open = append(&self.path)?;
        }
        open.0.write_all(line)?;
        open.1 += line.len() as u64;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }

    fn lock(&self) -> MutexGuard<'_, (File, u64)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// One event's text.
struct Line<'a>(&'a Rotating);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Rotating {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Standard error, above any wheel.
struct Terminal(Progress);

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.say(paint(WARN, clean(text.trim_end())));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Terminal {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_a_new_file_when_full_and_keeps_two() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let log = Rotating::open(path.clone(), 10).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five five five\n", "six\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(path), "six\n");
        assert_eq!(read(log.numbered(1)), "five five five\n");
        assert_eq!(read(log.numbered(2)), "four\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
