//! From a name to a file's name.

use super::IdentityError;

/// Longest name in bytes; the file's name is never longer.
const MAX: usize = 100;

/// The file name of the identity `name`: lower case, everything but letters, digits, `_`, `-` and `.` replaced by `_`,
/// none of the last three at either end. ASCII only, so it means the same on every file system, and without separators
/// or `..` it stays in its directory. Names that differ only in what is lost here are told apart by the name in the file.
pub(super) fn file_name(name: &str) -> Result<String, IdentityError> {
    let invalid = || IdentityError::NameInvalid { name: name.chars().take(MAX).collect() };
    if name.len() > MAX || name.chars().any(char::is_control) || name.trim() != name {
        return Err(invalid());
    }
    let safe: String = name
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '_' | '-' | '.') => c,
            _ => '_',
        })
        .collect();
    match safe.trim_matches(['.', '_', '-']) {
        "" => Err(invalid()),
        stem => Ok(format!("{stem}.json")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_plain_files() {
        for (name, file) in [
            ("weather_bot", "weather_bot.json"),
            ("Weather Bot", "weather_bot.json"),
            ("../../etc/passwd", "etc_passwd.json"),
            (".hidden", "hidden.json"),
            ("a/../b", "a_.._b.json"),
            ("agent.json", "agent.json.json"),
        ] {
            assert_eq!(file_name(name).unwrap(), file);
        }
        for bad in ["", ".", "..", "/", "-_-", "天気", "a\0b", "a\nb", " a", "a ", &"x".repeat(101)] {
            assert_eq!(file_name(bad).unwrap_err().code(), "identity_name_invalid", "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_name_leaves_the_directory(name in ".{0,120}") {
            if let Ok(file) = file_name(&name) {
                let path = std::path::Path::new(&file);
                prop_assert_eq!(path.components().count(), 1);
                prop_assert_eq!(path.file_name().and_then(|f| f.to_str()), Some(file.as_str()));
                prop_assert!(!file.starts_with('.') && file.len() <= MAX + 5);
            }
        }
    }
}
