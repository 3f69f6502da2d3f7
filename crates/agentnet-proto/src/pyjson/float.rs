//! Python's `repr` of a float.

use std::fmt::{self, Write};

/// Shortest digits that read back, in positional form for exponents -4 to 15, else with a signed exponent of
/// at least two digits.
pub(super) fn write_float<W: Write>(out: &mut W, value: f64) -> fmt::Result {
    if value.is_nan() {
        return out.write_str("NaN");
    }
    if value.is_sign_negative() {
        out.write_char('-')?;
    }
    if value.is_infinite() {
        return out.write_str("Infinity");
    }
    let scientific = shortest(value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits = mantissa.replace('.', "");
    match exponent {
        -4..=-1 => {
            out.write_str("0.")?;
            (exponent..-1).try_for_each(|_| out.write_char('0'))?;
            out.write_str(&digits)
        }
        0..=15 => {
            let whole = usize::try_from(exponent).unwrap_or_default() + 1;
            match digits.split_at_checked(whole) {
                Some((left, "")) => write!(out, "{left}.0"),
                Some((left, right)) => write!(out, "{left}.{right}"),
                None => write!(out, "{digits:0<whole$}.0"),
            }
        }
        _ => write!(out, "{mantissa}e{exponent:+03}"),
    }
}

/// The shortest digits that read back, nearest to the value: `d[.ddd]e[-]x`.
fn shortest(value: f64) -> String {
    let scientific = format!("{value:e}");
    let decimals = scientific.find('e').unwrap_or_default().saturating_sub(2);
    // Two candidates may be equally near (864239830055846.25): Rust's shortest form takes the upper one,
    // Python and Rust's form of fixed precision the even one.
    let even = format!("{value:.decimals$e}");
    if even.parse() == Ok(value) { even } else { scientific }
}
