//! Numbers as people read them on a line.

/// A number with so many decimals; in scientific notation where these would show nothing of it, or too many digits stand
/// before them. Zero is shown as zero only if it is.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return not_finite(value);
    }
    let smallest = 0.5 * 0.1_f64.powi(i32::try_from(decimals).unwrap_or(0));
    if value != 0.0 && (value.abs() < smallest || value.abs() >= 1e6) {
        return scientific(value);
    }
    let text = format!("{value:.decimals$}");
    // -0.0 is zero.
    if value == 0.0 { text.trim_start_matches('-').to_owned() } else { text }
}

/// Two digits: `9.8e-7`.
pub(crate) fn scientific(value: f64) -> String {
    match value {
        _ if !value.is_finite() => not_finite(value),
        0.0 => "0".to_owned(),
        _ => format!("{value:.1e}"),
    }
}

fn not_finite(value: f64) -> String {
    let text = if value.is_nan() { "nan" } else { "inf" };
    if value == f64::NEG_INFINITY { format!("-{text}") } else { text.to_owned() }
}

/// Without the zero before the decimal point.
pub(crate) fn bare(number: &str) -> String {
    number.strip_prefix("0.").map_or(number.to_owned(), |decimals| format!(".{decimals}"))
}

/// A share of 1 in whole percent; what is not 0 or 1 is never shown as 0% or 100%.
pub(crate) fn percent(share: f64) -> String {
    match share {
        _ if !share.is_finite() => not_finite(share),
        _ if share > 0.0 && share <= 0.005 => "<1%".to_owned(),
        _ if (0.995..1.0).contains(&share) => ">99%".to_owned(),
        _ => format!("{:.0}%", share * 100.0),
    }
}

/// Two digits and a decimal prefix: `3.1k`.
pub(crate) fn short_count(value: f64) -> String {
    if !value.is_finite() {
        return not_finite(value);
    }
    let (mut value, mut unit) = (value, "");
    for next in ["k", "M", "G"] {
        if value.abs() < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let decimals = usize::from(!unit.is_empty() && value.abs() < 9.95);
    format!("{value:.decimals$}{unit}")
}

/// With separators, as in `1,319`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun, as in `1 step` and `1,319 steps`.
pub fn counted(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", grouped(number))
}

/// As in `1.2 GB`: decimal units, one decimal.
pub fn bytes(count: u64) -> String {
    let (mut value, mut unit) = (count as f64 / 1e3, "kB");
    for next in ["MB", "GB", "TB"] {
        if value < 999.95 {
            break;
        }
        value /= 1e3;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_are_not_zero_and_shares_not_whole() {
        let shares = [
            (0.0, "0%"),
            (0.004, "<1%"),
            (0.005, "<1%"),
            (0.0051, "1%"),
            (0.5, "50%"),
            (0.996, ">99%"),
            (1.0, "100%"),
        ];
        for (share, text) in shares {
            assert_eq!(percent(share), text, "{share}");
        }
        let numbers =
            [(0.0, "0"), (999.4, "999"), (999.6, "1.0k"), (9_960.0, "10k"), (1.5e6, "1.5M"), (2e12, "2000G")];
        for (value, text) in numbers {
            assert_eq!(short_count(value), text, "{value}");
        }
        assert_eq!((number(f64::NEG_INFINITY, 2), number(f64::INFINITY, 2)), ("-inf".into(), "inf".into()));
        assert_eq!(
            (scientific(0.0), number(-0.0001, 3), number(-0.25, 2)),
            ("0".into(), "-1.0e-4".into(), "-0.25".into())
        );
    }

    #[test]
    fn counts_and_sizes() {
        let grouped_numbers = [(0, "0"), (999, "999"), (1319, "1,319"), (1_234_567, "1,234,567")];
        assert_eq!(["step", "group"].map(|noun| counted(1, noun)), ["1 step", "1 group"]);
        assert_eq!((counted(0, "step"), counted(1319, "step")), ("0 steps".into(), "1,319 steps".into()));
        for (number, text) in grouped_numbers {
            assert_eq!(grouped(number), text);
        }
        let sizes = [
            (0, "0.0 kB"),
            (999_940, "999.9 kB"),
            (999_960, "1.0 MB"),
            (8_460_000_000, "8.5 GB"),
            (2 << 40, "2.2 TB"),
        ];
        for (count, text) in sizes {
            assert_eq!(bytes(count), text);
        }
    }
}
