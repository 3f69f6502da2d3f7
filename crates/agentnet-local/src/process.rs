//! What the system says about a process.

use std::{path::Path, process::Command};

/// Name of the program a living process runs.
pub(crate) fn name(pid: u32) -> Option<String> {
    ask(pid, "comm", "comm=").map(|name| {
        // Elsewhere than on Linux it is a path.
        Path::new(&name).file_name().map_or_else(|| name.clone(), |name| name.to_string_lossy().into_owned())
    })
}

/// Something that tells a process from a later one with the same pid: when it started.
pub(crate) fn started(pid: u32) -> Option<String> {
    let text = ask(pid, "stat", "lstart=")?;
    // On Linux field 22, counted behind the name, which may hold spaces and brackets.
    let started = match text.rsplit_once(") ") {
        Some((_, fields)) => fields.split(' ').nth(19)?.to_owned(),
        None => text.chars().filter(char::is_ascii_alphanumeric).collect(),
    };
    (!started.is_empty()).then_some(started)
}

fn ask(pid: u32, proc_file: &str, ps_column: &str) -> Option<String> {
    let text = if Path::new("/proc/self").exists() {
        std::fs::read_to_string(format!("/proc/{pid}/{proc_file}")).ok()?
    } else {
        let output = Command::new("ps").args(["-o", ps_column, "-p", &pid.to_string()]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_process_and_no_dead_one() {
        let own = std::process::id();
        assert!(name(own).is_some());
        assert_eq!(started(own), started(own));
        assert!(started(own).is_some());
        let mut child = Command::new("/bin/sh").args(["-c", ":"]).spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(name(child.id()), None);
        assert_eq!(started(child.id()), None);
    }
}
