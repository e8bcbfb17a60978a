use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const HEX: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const BEFORE: &str = "Sun, 22 Nov 2026 11:05:30 GMT";
const EXACTLY: &str = "Sun, 22 Nov 2026 11:05:31 GMT";
const AFTER: &str = "Sun, 22 Nov 2026 11:05:32 GMT";

fn validators() -> Validators {
    let created = "2026-11-22T11:05:31.750Z".parse().unwrap();
    Validators::new(HEX.parse().unwrap(), created)
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn ours() -> String {
    format!("\"{HEX}\"")
}

#[test]
fn conditions_are_evaluated_in_the_order_of_the_rfc() {
    let ours = ours();
    let weak = format!("W/{ours}");
    let other = format!("\"{OTHER}\"");
    let list = format!("{other}, {ours}");
    use Verdict::{Failed, NotModified, Proceed};
    let table: Vec<(Vec<(&str, &str)>, Verdict)> = vec![
        (vec![], Proceed),
        (vec![("if-match", &ours)], Proceed),
        (vec![("if-match", &list)], Proceed),
        (vec![("if-match", &other), ("if-match", &ours)], Proceed),
        (vec![("if-match", "*")], Proceed),
        (vec![("if-match", &other)], Failed),
        (vec![("if-match", &weak)], Failed),
        (vec![("if-match", HEX)], Failed),
        (vec![("if-match", "")], Failed),
        (vec![("if-unmodified-since", BEFORE)], Failed),
        (vec![("if-unmodified-since", EXACTLY)], Proceed),
        (vec![("if-unmodified-since", AFTER)], Proceed),
        (vec![("if-unmodified-since", "yesterday")], Proceed),
        // If-Match takes the place of If-Unmodified-Since.
        (vec![("if-match", &ours), ("if-unmodified-since", BEFORE)], Proceed),
        (vec![("if-none-match", &ours)], NotModified),
        (vec![("if-none-match", &weak)], NotModified),
        (vec![("if-none-match", &list)], NotModified),
        (vec![("if-none-match", "*")], NotModified),
        (vec![("if-none-match", &other)], Proceed),
        (vec![("if-none-match", HEX)], Proceed),
        (vec![("if-modified-since", BEFORE)], Proceed),
        (vec![("if-modified-since", EXACTLY)], NotModified),
        (vec![("if-modified-since", AFTER)], NotModified),
        (vec![("if-modified-since", "tomorrow")], Proceed),
        // If-None-Match takes the place of If-Modified-Since.
        (vec![("if-none-match", &other), ("if-modified-since", AFTER)], Proceed),
        // A failed If-Match comes before a matching If-None-Match.
        (vec![("if-match", &other), ("if-none-match", &ours)], Failed),
        (vec![("if-match", &ours), ("if-none-match", &ours)], NotModified),
    ];
    for (fields, verdict) in table {
        assert_eq!(evaluate(&headers(&fields), &validators()), verdict, "{fields:?}");
    }
}

#[test]
fn ranges_apply_only_to_the_very_same_bytes() {
    let weak = format!("W/{}", ours());
    let table = [
        (ours(), true),
        (weak, false),
        (format!("\"{OTHER}\""), false),
        (EXACTLY.into(), true),
        (BEFORE.into(), false),
        (AFTER.into(), false),
        ("soon".into(), false),
    ];
    assert!(range_applies(&HeaderMap::new(), &validators()));
    for (value, applies) in table {
        assert_eq!(range_applies(&headers(&[("if-range", &value)]), &validators()), applies, "{value}");
    }
}

#[test]
fn conditions_on_uploads_are_refused_unless_best_effort_is_allowed() {
    let ours = ours();
    for name in ["if-match", "if-none-match", "if-unmodified-since"] {
        let problem = of_upload(&headers(&[(name, "*")]), false).unwrap_err();
        assert_eq!(problem.status(), 501, "{name}");
    }
    let hash: Blake3 = HEX.parse().unwrap();
    let weak = format!("W/{ours}");
    let table = [
        (vec![], Precondition::None),
        (vec![("if-match", "*")], Precondition::Present),
        (vec![("if-none-match", "*")], Precondition::Absent),
        (vec![("if-match", ours.as_str())], Precondition::Matches(vec![hash])),
        (vec![("if-match", "\"foreign\"")], Precondition::Matches(vec![])),
        (vec![("if-match", weak.as_str())], Precondition::Matches(vec![])),
        (vec![("if-none-match", ours.as_str())], Precondition::Differs(vec![hash])),
        (vec![("if-none-match", weak.as_str())], Precondition::Differs(vec![hash])),
    ];
    for (fields, precondition) in table {
        assert_eq!(of_upload(&headers(&fields), true).unwrap(), precondition, "{fields:?}");
    }
    for fields in [vec![("if-match", "abc")], vec![("if-match", "*"), ("if-none-match", "*")]] {
        for best_effort in [true, false] {
            let problem = of_upload(&headers(&fields), best_effort).unwrap_err();
            assert_eq!(problem.status(), 400, "{fields:?}");
        }
    }
    assert_eq!(of_upload(&headers(&[("if-unmodified-since", AFTER)]), true).unwrap_err().status(), 501);
}

#[test]
fn a_condition_on_anything_but_put_is_refused_with_what_is_offered() {
    let detail = |best_effort| {
        let problem = refuse(&headers(&[("if-match", "*")]), best_effort).unwrap_err();
        (problem.status().as_u16(), problem.to_json("")["detail"].clone())
    };
    assert_eq!(detail(true), (501, "conditions are offered on PUT only".into()));
    assert_eq!(detail(false), (501, "conditions on writes are not offered here".into()));
    assert!(refuse(&HeaderMap::new(), true).is_ok());
}

proptest! {
    #[test]
    fn no_header_value_panics(value in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            for name in [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE,
                         header::IF_UNMODIFIED_SINCE, header::IF_RANGE] {
                let mut map = HeaderMap::new();
                map.insert(name, value.clone());
                let _ = evaluate(&map, &validators());
                let _ = range_applies(&map, &validators());
                let _ = of_upload(&map, true);
            }
        }
    }
}
