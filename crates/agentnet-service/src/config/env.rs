//! A getter over the environment with typed helpers.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::ConfigError;

/// Longest value echoed in an error, in characters.
const MAX_ECHO: usize = 80;

/// Names a file with more variables.
pub const FILE_VARIABLE: &str = "AGENTNET_ENV_FILE";

type Getter = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The environment, or a stand-in for it. A variable that is empty or only blanks counts as unset, because
/// compose files pass `${NAME:-}`.
#[derive(Clone)]
pub struct Env {
    get: Getter,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values hold credentials.
        f.write_str("Env")
    }
}

impl Env {
    /// Wraps any getter.
    pub fn new(get: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { get: Arc::new(get) }
    }

    /// The environment of this process.
    pub fn process() -> Self {
        // Lossy, so that bytes that are not UTF-8 end in a parse error that names the variable.
        Self::new(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// The environment of this process, and behind it the file that `AGENTNET_ENV_FILE` names: lines `NAME=VALUE`, which
    /// count where the environment has none. So no secret needs to stand in an environment.
    ///
    /// # Errors
    /// For a file that can't be read or isn't of such lines.
    pub fn process_and_file() -> Result<Self, ConfigError> {
        Self::process().with_file()
    }

    fn with_file(self) -> Result<Self, ConfigError> {
        let Some(path) = self.get(FILE_VARIABLE) else { return Ok(self) };
        let unusable = |_: dotenvy::Error| ConfigError::InvalidSecret {
            variable: FILE_VARIABLE.to_owned(),
            problem: "the file can't be read, or isn't of lines NAME=VALUE".to_owned(),
            expected: "the path of such a file".to_owned(),
        };
        let lines = dotenvy::from_path_iter(&path).map_err(unusable)?;
        let file = lines.collect::<Result<HashMap<_, _>, _>>().map_err(unusable)?;
        let told = self.get;
        Ok(Self::new(move |name| {
            told(name).filter(|value| !value.trim().is_empty()).or_else(|| file.get(name).cloned())
        }))
    }

    /// A fixed environment.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let map: HashMap<String, String> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self::new(move |name| map.get(name).cloned())
    }

    /// The trimmed value, `None` when unset or blank.
    pub fn get(&self, name: &str) -> Option<String> {
        let value = (self.get)(name)?;
        let trimmed = value.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    /// A string with a default.
    pub fn string(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or_else(|| default.to_owned())
    }

    /// A string that must be set.
    pub fn required(&self, name: &str, expected: &str) -> Result<String, ConfigError> {
        self.get(name).ok_or_else(|| missing(name, expected))
    }

    /// A whole number within `range`.
    pub fn integer(&self, name: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            invalid(name, &value, format!("a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// Seconds, with or without a fraction, within `range`.
    pub fn seconds(
        &self,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value
            .parse::<f64>()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|duration| range.contains(duration))
            .ok_or_else(|| {
                let (low, high) = (range.start().as_secs_f64(), range.end().as_secs_f64());
                invalid(name, &value, format!("seconds from {low} to {high}, such as 12 or 0.5"))
            })
    }

    /// Milliseconds as a whole number within `range`.
    pub fn millis(
        &self,
        name: &str,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        self.integer(name, default, range).map(Duration::from_millis)
    }

    /// A switch: `1`, `true`, `yes`, `y`, `on` or `0`, `false`, `no`, `n`, `off`, in any case.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "y" | "on" => Ok(true),
            "0" | "false" | "no" | "n" | "off" => Ok(false),
            _ => Err(invalid(name, &value, "1, true, yes, y, on or 0, false, no, n, off")),
        }
    }

    /// One of a fixed set of words, in any case.
    pub fn choice<T: Copy>(&self, name: &str, default: T, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        choices
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&value))
            .map(|(_, choice)| *choice)
            .ok_or_else(|| {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                invalid(name, &value, format!("one of {}", words.join(", ")))
            })
    }

    /// A secret, if set.
    pub fn secret(&self, name: &str) -> Option<SecretString> {
        self.get(name).map(SecretString::from)
    }

    /// A secret, from the variable or else from the file that the second one names, as container secrets come. What
    /// stands around it in the file is cut off.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn secret_or_file(&self, name: &str, file: &str) -> Result<Option<SecretString>, ConfigError> {
        if let Some(secret) = self.secret(name) {
            return Ok(Some(secret));
        }
        let Some(path) = self.get(file) else { return Ok(None) };
        let read = std::fs::read_to_string(&path).map(|text| text.trim().to_owned());
        match read.map_err(|error| error.to_string()) {
            Ok(text) if !text.is_empty() => Ok(Some(text.into())),
            Ok(_) => Err(invalid(file, &path, "a file with the secret in it; this one is empty")),
            Err(error) => Err(invalid(file, &path, format!("a file that can be read ({error})"))),
        }
    }

    /// A secret that must be set, such as a database URL with its password.
    pub fn required_secret(&self, name: &str, expected: &str) -> Result<SecretString, ConfigError> {
        self.secret(name).ok_or_else(|| missing(name, expected))
    }

    /// Warns in one line when a variable that no longer has an effect is set. Returns whether it was.
    pub fn deprecated(&self, name: &str, message: &str) -> bool {
        let set = self.get(name).is_some();
        if set {
            tracing::warn!("{name} is deprecated and has no effect: {message}");
        }
        set
    }
}

fn missing(variable: &str, expected: &str) -> ConfigError {
    ConfigError::Missing { variable: variable.to_owned(), expected: expected.to_owned() }
}

fn invalid(variable: &str, value: &str, expected: impl Into<String>) -> ConfigError {
    let value = value.chars().take(MAX_ECHO).collect();
    ConfigError::Invalid { variable: variable.to_owned(), value, expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn env(value: &str) -> Env {
        Env::from_pairs([("X", value)])
    }

    #[test]
    fn a_file_stands_behind_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("service.env");
        std::fs::write(&file, "# made\nURL=postgres://u:p%40ss@h/db\nMODE='secure'\nTOLD=file\nBLANK=file\n")
            .unwrap();
        let pairs = [("TOLD", "process"), ("BLANK", " "), (FILE_VARIABLE, file.to_str().unwrap())];
        let env = Env::from_pairs(pairs).with_file().unwrap();
        assert_eq!(env.get("URL").as_deref(), Some("postgres://u:p%40ss@h/db"));
        assert_eq!(env.get("MODE").as_deref(), Some("secure"));
        assert_eq!(env.get("TOLD").as_deref(), Some("process"));
        assert_eq!(env.get("BLANK").as_deref(), Some("file"));
        assert_eq!(env.get("OTHER"), None);
        std::fs::write(&file, "no line of these: secret\n").unwrap();
        let refused = Env::from_pairs(pairs).with_file().unwrap_err();
        assert_eq!(refused.variable(), FILE_VARIABLE);
        assert!(!refused.to_string().contains("secret:"), "{refused}");
        let refused = Env::from_pairs([(FILE_VARIABLE, "/nowhere/at-all")]).with_file().unwrap_err();
        assert_eq!(refused.variable(), FILE_VARIABLE);
        assert!(Env::from_pairs([("X", "1")]).with_file().is_ok());
    }

    #[test]
    fn blank_counts_as_unset() {
        assert_eq!(env("  ").integer("X", 7, 0..=9), Ok(7));
        assert_eq!(env("").string("X", "d"), "d");
        assert_eq!(env(" v ").string("X", "d"), "v");
        assert!(env(" ").required("X", "something").is_err());
    }

    #[test]
    fn seconds_take_fractions_and_refuse_the_rest() {
        let range = Duration::ZERO..=Duration::from_secs(60);
        let read = |value: &str| env(value).seconds("X", Duration::from_secs(1), range.clone());
        assert_eq!(read("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(read("12"), Ok(Duration::from_secs(12)));
        for bad in ["-1", "NaN", "inf", "61", "1e300", "5s", "twelve"] {
            let error = read(bad).unwrap_err();
            assert_eq!(error.variable(), "X");
            assert!(error.to_string().contains(bad), "{error}");
            assert!(error.to_string().contains("seconds from 0 to 60"), "{error}");
        }
    }

    #[test]
    fn integers_are_bounded() {
        assert_eq!(env("9").integer("X", 1, 0..=9), Ok(9));
        for bad in ["10", "-1", "1.5", "99999999999999999999999"] {
            assert!(env(bad).integer("X", 1, 0..=9).is_err(), "{bad}");
        }
        assert_eq!(env("40").millis("X", Duration::ZERO, 1..=1000), Ok(Duration::from_millis(40)));
    }

    #[test]
    fn flags_and_choices() {
        for yes in ["1", "TRUE", "yes", "Y", "on"] {
            assert_eq!(env(yes).flag("X", false), Ok(true), "{yes}");
        }
        for no in ["0", "False", "no", "N", "off"] {
            assert_eq!(env(no).flag("X", true), Ok(false), "{no}");
        }
        assert!(env("maybe").flag("X", false).unwrap_err().to_string().contains("true, yes"));
        assert_eq!(env("B").choice("X", 1, &[("a", 1), ("b", 2)]), Ok(2));
        let error = env("c").choice("X", 1, &[("a", 1), ("b", 2)]).unwrap_err();
        assert_eq!(error.to_string(), r#"X="c" is not valid; expected one of a, b"#);
    }

    #[test]
    fn secrets_never_print() {
        let secret = env("hunter2").required_secret("X", "a password").unwrap();
        assert_eq!(secret.expose_secret(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!format!("{:?}", env("hunter2")).contains("hunter2"));
        let error = Env::from_pairs([("Y", "1")]).required_secret("X", "a password").unwrap_err();
        assert_eq!(error.to_string(), "X is not set; expected a password");
    }

    #[test]
    fn secrets_come_from_files_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, " hunter2\n").unwrap();
        let path = file.to_string_lossy().into_owned();
        let read = |pairs: &[(&str, &str)]| {
            Env::from_pairs(pairs.iter().copied())
                .secret_or_file("X", "X_FILE")
                .map(|secret| secret.map(|secret| secret.expose_secret().to_owned()))
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("X_FILE", &path)]), Ok(Some("hunter2".to_owned())));
        assert_eq!(read(&[("X", "direct"), ("X_FILE", "/nowhere")]), Ok(Some("direct".to_owned())));
        std::fs::write(&file, "\n").unwrap();
        for bad in [path.as_str(), "/nowhere"] {
            assert_eq!(read(&[("X_FILE", bad)]).unwrap_err().variable(), "X_FILE");
        }
    }

    #[test]
    fn long_values_are_cut_in_errors() {
        let error = env(&"9".repeat(5000)).integer("X", 1, 0..=9).unwrap_err();
        assert!(error.to_string().len() < 200);
    }
}
