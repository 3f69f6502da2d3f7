//! Package clients, and running a foreign program within a limit.

use std::{
    io::{Read, Seek},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    abandon,
    wheels::{Package, Wheel},
};
use crate::watchdog::poll;

/// The largest wheel has 25 MB; this allows a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
/// Longest output that is read back.
const OUTPUT_LIMIT: u64 = 64 * 1024;

/// Ways to call pip, most direct first. `uv tool run` fetches pip itself when there is only uv.
const CLIENTS: &[(&str, &[&str])] = &[
    ("python3", &["-m", "pip"]),
    ("pip3", &[]),
    ("pip", &[]),
    ("python", &["-m", "pip"]),
    ("uv", &["tool", "run", "pip"]),
];

/// What a program said.
pub(super) struct Output {
    pub(super) success: bool,
    pub(super) text: String,
}

impl Output {
    pub(super) fn last_line(&self) -> &str {
        self.text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("(no output)").trim()
    }
}

/// Runs a program to its end, both outputs together; kills it at the limit.
pub(super) fn run(program: &Path, args: &[&str], limit: Duration) -> std::io::Result<Output> {
    // A file, because a full pipe would stop the program until somebody reads.
    let mut output = tempfile::tempfile()?;
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0);
    let (mut child, group) = abandon::spawn(&mut command)?;
    let status = poll(limit, || child.try_wait().transpose());
    let success = match status {
        Some(status) => status?.success(),
        None => {
            group.kill();
            child.wait()?;
            return Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("{} did not end within {limit:?}", program.display()),
            ));
        }
    };
    output.rewind()?;
    let mut bytes = Vec::new();
    output.take(OUTPUT_LIMIT).read_to_end(&mut bytes)?;
    Ok(Output { success, text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// Downloads a wheel into `dir` with the first client that manages it. `None`: none did, `tried` says why.
pub(super) fn download(
    package: &Package,
    wheel: &Wheel,
    dir: &Path,
    path: &[PathBuf],
    tried: &mut Vec<String>,
) -> Option<PathBuf> {
    let requirement = package.requirement();
    let dest = dir.to_string_lossy();
    for (name, prefix) in CLIENTS {
        let label = std::iter::once(name).chain(*prefix).copied().collect::<Vec<_>>().join(" ");
        let Some(program) = path.iter().map(|dir| dir.join(name)).find(|program| program.is_file()) else {
            tried.push(format!("{label}: not there"));
            continue;
        };
        let mut args = prefix.to_vec();
        args.extend(["download", &requirement, "--no-deps", "--only-binary=:all:", "--no-input"]);
        args.extend(["--disable-pip-version-check", "--platform", wheel.platform, "--dest", &dest]);
        if let Some(abi) = wheel.abi {
            let python = abi.trim_start_matches("cp");
            args.extend(["--implementation", "cp", "--abi", abi, "--python-version", python]);
        }
        match run(&program, &args, DOWNLOAD_LIMIT) {
            // The next client isn't asked.
            _ if abandon::is_abandoned() => {
                tried.push("given up".to_owned());
                return None;
            }
            Ok(output) if output.success => match the_wheel(dir) {
                Some(wheel) => return Some(wheel),
                None => tried.push(format!("{label}: it downloaded nothing")),
            },
            Ok(output) => tried.push(format!("{label}: {}", output.last_line())),
            Err(error) => tried.push(format!("{label}: {error}")),
        }
    }
    None
}

fn the_wheel(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|ext| ext == "whl"))
}
