//! The PAYLOAD argument.

use std::io::Read as _;

use agentnet::proto::Payload;

use crate::failure::Failure;

/// Most bytes read from standard input: far more than a message may hold, so that the limit's own error names it.
const MAX_STDIN: u64 = 16 << 20;

/// Reads the payload: JSON, kept exactly as it is written; `-` stands for standard input.
///
/// # Errors
/// [`Failure::PayloadNotJson`].
pub fn read(argument: &str) -> Result<Payload, Failure> {
    let text = if argument == "-" { stdin()? } else { argument.to_owned() };
    Payload::from_text(text.trim().to_owned()).map_err(Failure::PayloadNotJson)
}

fn stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_STDIN).read_to_end(&mut bytes)?;
    // What isn't UTF-8 isn't JSON either; the parser then says where.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_as_written() {
        for text in [r#"{"a": 1.0, "b":[1e2] }"#, "\"x\"", "1", "null", r#""\ud800""#] {
            assert_eq!(read(text).unwrap().get(), text);
        }
        assert_eq!(read(" {} \n").unwrap().get(), "{}");
    }

    #[test]
    fn everything_else_is_exit_code_1() {
        for text in ["", "hello", "{", "{'a':1}", "1 2", "NaN"] {
            let failure = read(text).unwrap_err();
            assert_eq!(
                (failure.exit_code(), failure.to_string().as_str()),
                (1, "Payload must be valid JSON"),
                "{text}"
            );
        }
    }
}
