//! Ranges: what part of an asset a `Range` header field asks for. Pure.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, header};

use super::problem::{Problem, ProblemKind};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: no range, several, or one that cannot be parsed.
    Whole,
    /// These bytes; never empty.
    Part(Range<u64>),
    /// Bytes that the asset does not have.
    Unsatisfiable,
}

/// Reads `Range` for an asset of `size` bytes.
pub(super) fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let mut values = headers.get_all(header::RANGE).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => parse(value, size),
        (_, _) => Wanted::Whole,
    }
}

/// Builds the refusal of a range that the asset does not have.
pub(super) fn unsatisfiable(size: u64) -> Problem {
    let problem = Problem::new(ProblemKind::RangeNotSatisfiable, format!("the asset has {size} bytes"));
    match HeaderValue::try_from(format!("bytes */{size}")) {
        Ok(value) => problem.with_field(header::CONTENT_RANGE, value),
        Err(_) => problem,
    }
}

/// Reads `bytes=` and a list whose empty members count for nothing (RFC 9110, sections 14.1.2 and 5.6.1).
/// The `http-range-header` crate takes neither those nor numerals of more than 64 bits.
fn parse(value: &str, size: u64) -> Wanted {
    let Some((unit, list)) = value.split_once('=') else { return Wanted::Whole };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let mut members =
        list.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
    let (Some(member), None) = (members.next(), members.next()) else { return Wanted::Whole };
    let Some((first, last)) = member.split_once('-') else { return Wanted::Whole };
    let (start, end) = match (first, last, numeral(first), numeral(last)) {
        // The last bytes of nothing are all of it, unless none are asked for.
        ("", _, _, Some(last)) if size == 0 && last > 0 => return Wanted::Whole,
        ("", _, _, Some(last)) => (size.saturating_sub(last), size),
        (_, "", Some(start), _) => (start, size),
        (_, _, Some(start), Some(last)) if last >= start => (start, last.saturating_add(1).min(size)),
        (_, _, _, _) => return Wanted::Whole,
    };
    if start < size { Wanted::Part(start..end) } else { Wanted::Unsatisfiable }
}

/// Reads digits; what exceeds 64 bits lies behind the end of any asset all the same.
fn numeral(digits: &str) -> Option<u64> {
    let are_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str, size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(value).unwrap());
        wanted(&headers, size)
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        use Wanted::{Part, Unsatisfiable, Whole};
        let table = [
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=2-5", 10, Part(2..6)),
            ("bytes=0-", 10, Part(0..10)),
            ("bytes=9-", 10, Part(9..10)),
            ("bytes=5-99", 10, Part(5..10)),
            ("bytes=0-18446744073709551615", 10, Part(0..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-10", 10, Part(0..10)),
            ("bytes=-99", 10, Part(0..10)),
            ("Bytes=0-0", 10, Part(0..1)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-12", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=0-0", 0, Unsatisfiable),
            ("bytes=-0", 0, Unsatisfiable),
            ("bytes=-5", 0, Whole),
            ("bytes=0-1,4-5", 10, Whole),
            ("bytes=0-1, 4-5", 10, Whole),
            ("bytes=5-2", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=1", 10, Whole),
            ("bytes=--1", 10, Whole),
            ("bytes=99999999999999999999-", 10, Unsatisfiable),
            ("bytes=18446744073709551616-", 10, Unsatisfiable),
            ("bytes=18446744073709551615-", 10, Unsatisfiable),
            ("bytes=0-18446744073709551616", 10, Part(0..10)),
            ("bytes=-18446744073709551616", 10, Part(0..10)),
            ("bytes=00-01", 10, Part(0..2)),
            ("bytes=0000000000000000000000001-1", 10, Part(1..2)),
            ("bytes=-00", 10, Unsatisfiable),
            ("bytes=,0-1", 10, Part(0..2)),
            ("bytes=0-1,", 10, Part(0..2)),
            ("bytes= , 0-1 ,,", 10, Part(0..2)),
            ("bytes=,", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=+0-1", 10, Whole),
            ("bytes=0 - 1", 10, Whole),
            ("bytes=0-1-2", 10, Whole),
            ("items=0-1", 10, Whole),
            ("0-1", 10, Whole),
            ("", 10, Whole),
        ];
        for (value, size, wanted) in table {
            assert_eq!(read(value, size), wanted, "{value} of {size}");
        }
    }

    #[test]
    fn two_header_lines_ask_for_the_whole() {
        let mut headers = HeaderMap::new();
        headers.append(header::RANGE, HeaderValue::from_static("bytes=0-0"));
        headers.append(header::RANGE, HeaderValue::from_static("bytes=1-1"));
        assert_eq!(wanted(&headers, 10), Wanted::Whole);
    }

    #[test]
    fn the_refusal_tells_the_size() {
        assert_eq!(unsatisfiable(42).fields()[header::CONTENT_RANGE], "bytes */42");
    }

    proptest! {
        #[test]
        fn parts_lie_within_the_asset(value in "bytes=[0-9]{0,20}-[0-9]{0,20}|[ -~]{0,40}", size: u64) {
            if let Wanted::Part(part) = read(&value, size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }
    }
}
