//! Queries of the admin listener, and what is malformed in a URL. Pure.
//!
//! Names are compared in their canonical spelling, so the texts that select them are brought into it as well; an
//! escape that is broken or gives no UTF-8 is refused rather than replaced by something nobody asked for.

use http::Uri;
use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;

use super::problem::{Problem, ProblemKind};
use crate::telemetry::{EventFilter, EventKind};

/// How many assets or events one answer lists at most, and when nothing is asked for.
const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;

/// What a listing is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// What the names begin with.
    pub(super) prefix: String,
    /// The name behind which the listing goes on.
    pub(super) after: Option<String>,
    /// How many entries at most.
    pub(super) limit: usize,
}

impl Query {
    /// Reads the query of a listing; parameters of other names are ignored.
    ///
    /// # Errors
    ///
    /// 400: a value is malformed or out of bounds.
    pub(super) fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Self { prefix: String::new(), after: None, limit: LIMIT_DEFAULT };
        for (name, value) in parameters(uri) {
            match name {
                "prefix" => query.prefix = value?.nfc().collect(),
                "after" => {
                    query.after = Some(value?.nfc().collect()).filter(|after: &String| !after.is_empty())
                }
                "limit" => query.limit = limit(&value?)?,
                _ => {}
            }
        }
        Ok(query)
    }
}

/// Which events are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventQuery {
    /// What the events are about.
    pub(super) filter: EventFilter,
    /// How many at most.
    pub(super) limit: usize,
}

impl EventQuery {
    /// Reads the query of events; parameters of other names are ignored.
    ///
    /// # Errors
    ///
    /// 400: a value is malformed, out of bounds, or no kind of event.
    pub(super) fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Self { filter: EventFilter::default(), limit: LIMIT_DEFAULT };
        for (name, value) in parameters(uri) {
            match name {
                "kind" => query.filter.kind = Some(kind(&value?)?),
                "provider" => query.filter.provider = Some(value?),
                "limit" => query.limit = limit(&value?)?,
                _ => {}
            }
        }
        Ok(query)
    }
}

/// Returns the parameters of a query, their values decoded or refused.
fn parameters(uri: &Uri) -> impl Iterator<Item = (&str, Result<String, Problem>)> {
    uri.query().unwrap_or_default().split('&').map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = decode(&value.replace('+', " ")).ok_or_else(|| invalid("the query has a broken escape"));
        (name, value)
    })
}

fn kind(word: &str) -> Result<EventKind, Problem> {
    EventKind::parse(word).ok_or_else(|| {
        let words = EventKind::ALL.map(EventKind::as_str).join(", ");
        Problem::new(ProblemKind::InvalidQuery, format!("kind is one of {words}"))
    })
}

/// Checks the escapes of a path.
///
/// # Errors
///
/// 400: one is broken, or together they are no UTF-8.
pub(super) fn check_path(uri: &Uri) -> Result<(), Problem> {
    let malformed = || Problem::new(ProblemKind::MalformedRequest, "the path has a broken escape");
    decode(uri.path()).map(|_| ()).ok_or_else(malformed)
}

fn limit(text: &str) -> Result<usize, Problem> {
    if text.is_empty() {
        return Ok(LIMIT_DEFAULT);
    }
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| invalid("limit is a number from 1 to 1000"))
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::InvalidQuery, detail)
}

/// Decodes once; the decoder lets broken escapes through, so they are looked for first.
fn decode(encoded: &str) -> Option<String> {
    let is_escape =
        |rest: &str| rest.as_bytes().iter().take(2).filter(|byte| byte.is_ascii_hexdigit()).count() == 2;
    if !encoded.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(encoded).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_in_the_spelling_of_names() {
        let read =
            |uri: &str| Query::read(&uri.parse().unwrap()).map_err(|problem| problem.status().as_u16());
        let query = |prefix: &str, after: Option<&str>, limit| {
            Ok(Query { prefix: prefix.into(), after: after.map(str::to_owned), limit })
        };
        let table = [
            ("/api/assets", query("", None, LIMIT_DEFAULT)),
            ("/api/assets?prefix=icons%2F&after=icons/a+b&limit=7", query("icons/", Some("icons/a b"), 7)),
            ("/api/assets?after=&other=1", query("", None, LIMIT_DEFAULT)),
            ("/api/assets?prefix=u%CC%88&after=e%CC%81", query("ü", Some("é"), LIMIT_DEFAULT)),
            ("/api/assets?limit=1000", query("", None, LIMIT_MAX)),
            ("/api/assets?limit=1001", Err(400)),
            ("/api/assets?limit=0", Err(400)),
            ("/api/assets?limit=-1", Err(400)),
            ("/api/assets?limit=x", Err(400)),
            ("/api/assets?prefix=&after=&limit=", query("", None, LIMIT_DEFAULT)),
            ("/api/assets?prefix=%FF", Err(400)),
            ("/api/assets?prefix=%zz", Err(400)),
            ("/api/assets?after=%C3", Err(400)),
            ("/api/assets?after=%2", Err(400)),
        ];
        for (uri, expected) in table {
            assert_eq!(read(uri), expected, "{uri}");
        }
    }

    #[test]
    fn events_are_asked_for_by_kind_and_provider() {
        let read = |uri: &str| {
            EventQuery::read(&uri.parse().unwrap())
                .map(|query| (query.filter.kind, query.filter.provider, query.limit))
                .map_err(|problem| problem.status().as_u16())
        };
        let table = [
            ("/api/events", Ok((None, None, LIMIT_DEFAULT))),
            ("/api/events?kind=hedge_won&limit=5", Ok((Some(EventKind::HedgeWon), None, 5))),
            ("/api/events?provider=s3-one", Ok((None, Some("s3-one".to_owned()), LIMIT_DEFAULT))),
            ("/api/events?kind=nonsense", Err(400)),
            ("/api/events?kind=", Err(400)),
            ("/api/events?provider=%FF", Err(400)),
            ("/api/events?limit=0", Err(400)),
        ];
        for (uri, expected) in table {
            assert_eq!(read(uri), expected, "{uri}");
        }
    }

    #[test]
    fn paths_with_broken_escapes_are_refused() {
        let table = [("/api/%61", true), ("/api/%zz", false), ("/api/%", false), ("/api/%C3", false)];
        for (path, proper) in table {
            assert_eq!(check_path(&path.parse().unwrap()).is_ok(), proper, "{path}");
        }
    }
}
