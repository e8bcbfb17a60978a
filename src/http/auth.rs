//! Tokens: who a request speaks for, and what that allows.
//!
//! A token is presented as `Authorization: Bearer TOKEN` or, as Bunny's clients do, `AccessKey: TOKEN`. Only
//! the BLAKE3 of a token is configured; the presented one is hashed and compared with *every* configured
//! hash in constant time, so neither the answer's time nor a leaked configuration tells a token. Nothing
//! here logs or keeps a token.

use http::header::{self, HeaderValue};
use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq;

use super::problem::{Problem, ProblemKind, invalid_header};
use crate::asset::Blake3;

/// The header field in which Bunny's clients send a token.
const ACCESS_KEY: HeaderName = HeaderName::from_static("accesskey");
/// The scheme of a token in `Authorization`.
const BEARER: &str = "bearer";

/// A token that a client may present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who it belongs to, for logs.
    pub name: String,
    /// The BLAKE3 of the token's text.
    pub hash: Blake3,
    /// Whether it may PUT and POST.
    pub write: bool,
    /// Whether it may DELETE.
    pub delete: bool,
    /// Whether it may use the admin listener.
    pub admin: bool,
    /// The prefixes of the names that it may write and delete; empty means all names.
    pub prefixes: Vec<String>,
}

impl Token {
    /// Tells whether the token reaches `name`.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    /// Tells whether the token reaches some name below `folder`.
    pub(super) fn touches(&self, folder: &str) -> bool {
        self.covers(folder) || self.prefixes.iter().any(|prefix| prefix.starts_with(folder))
    }
}

/// All tokens that clients may present.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Token>);

impl Tokens {
    /// Wraps the configured tokens.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(tokens)
    }

    /// Finds the token that a request presents.
    ///
    /// # Errors
    ///
    /// 401: the request presents no token, or one that is not configured. 400: it presents two.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<&Token, Problem> {
        let Some(presented) = presented(headers)? else {
            return Err(unauthorized("send a token as `Authorization: Bearer` or `AccessKey`", BARE));
        };
        self.find(presented).ok_or_else(|| unauthorized("the token is not known", INVALID))
    }

    /// Tells whether a request presents any configured token.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        matches!(presented(headers), Ok(Some(presented)) if self.find(presented).is_some())
    }

    fn find(&self, presented: &[u8]) -> Option<&Token> {
        let hash = blake3::hash(presented);
        // The loop goes on after a match: its time says nothing about which token fitted.
        self.0.iter().fold(None, |found, token| {
            let same = bool::from(token.hash.as_bytes().ct_eq(hash.as_bytes()));
            if same { Some(token) } else { found }
        })
    }
}

/// Builds the refusal of a token that does not reach what was asked for.
pub(super) fn forbidden(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::Forbidden, detail)
}

const BARE: &str = r#"Bearer realm="triplicate""#;
const INVALID: &str = r#"Bearer realm="triplicate", error="invalid_token""#;

fn unauthorized(detail: &'static str, challenge: &'static str) -> Problem {
    Problem::new(ProblemKind::Unauthorized, detail)
        .with_field(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// Reads the token of a request.
///
/// # Errors
///
/// 400: there are two, and whoever stands before us may have believed the other one.
fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let bearer = single(headers, &header::AUTHORIZATION)?.and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim().as_bytes())
    });
    let key = single(headers, &ACCESS_KEY)?.map(HeaderValue::as_bytes);
    match (bearer, key) {
        (Some(bearer), Some(key)) if bearer != key => {
            Err(invalid_header("Authorization and AccessKey have different tokens"))
        }
        (bearer, key) => Ok(bearer.or(key).filter(|token| !token.is_empty())),
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(invalid_header(format!("{name} is given twice")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(name: &str, prefixes: &[&str]) -> Token {
        Token {
            name: name.into(),
            hash: Blake3::new(*blake3::hash(format!("secret-{name}").as_bytes()).as_bytes()),
            write: true,
            delete: false,
            admin: false,
            prefixes: prefixes.iter().map(|&prefix| prefix.into()).collect(),
        }
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn tokens_are_found_in_either_header_field() {
        let tokens = Tokens::new(vec![token("a", &[]), token("b", &[])]);
        type Fields = &'static [(&'static str, &'static str)];
        let table: [(Fields, Option<&str>); 11] = [
            (&[("authorization", "Bearer secret-a")], Some("a")),
            (&[("authorization", "bearer secret-b")], Some("b")),
            (&[("authorization", "BEARER  secret-b ")], Some("b")),
            (&[("accesskey", "secret-b")], Some("b")),
            (&[("authorization", "Basic dTpw"), ("accesskey", "secret-a")], Some("a")),
            (&[("authorization", "Bearer secret-c")], None),
            (&[("authorization", "Bearer")], None),
            (&[("authorization", "Bearer ")], None),
            (&[("authorization", "secret-a")], None),
            (&[("accesskey", "")], None),
            (&[], None),
        ];
        for (fields, name) in table {
            let found = tokens.identify(&headers(fields));
            assert_eq!(found.as_ref().ok().map(|token| token.name.as_str()), name, "{fields:?}");
            if let Err(problem) = found {
                assert_eq!(problem.status(), 401);
                assert!(problem.fields().contains_key(header::WWW_AUTHENTICATE));
            }
        }
    }

    #[test]
    fn two_tokens_in_one_request_are_refused() {
        let tokens = Tokens::new(vec![token("a", &[]), token("b", &[])]);
        let (a, b) = (("authorization", "Bearer secret-a"), ("authorization", "Bearer secret-b"));
        type Fields<'a> = &'a [(&'static str, &'a str)];
        let table: [(Fields<'_>, Result<&str, u16>); 7] = [
            (&[a, b], Err(400)),
            (&[a, a], Err(400)),
            (&[a, ("accesskey", "secret-b")], Err(400)),
            (&[("authorization", "Bearer "), ("accesskey", "secret-b")], Err(400)),
            (&[("accesskey", "secret-a"), ("accesskey", "secret-b")], Err(400)),
            (&[a, ("accesskey", "secret-a")], Ok("a")),
            (&[("authorization", "Bearer nobody"), ("accesskey", "nobody")], Err(401)),
        ];
        for (fields, expected) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
            let found = tokens.identify(&headers);
            let found = found.map(|token| token.name.as_str()).map_err(|problem| problem.status().as_u16());
            assert_eq!(found, expected, "{fields:?}");
            assert_eq!(tokens.knows(&headers), expected.is_ok(), "{fields:?}");
        }
    }

    #[test]
    fn without_configured_tokens_nobody_is_known() {
        assert!(!Tokens::default().knows(&headers(&[("accesskey", "secret-a")])));
    }

    #[test]
    fn prefixes_bound_names_and_folders() {
        let narrow = token("a", &["icons/gold-"]);
        let wide = token("b", &[]);
        let table = [
            ("icons/gold-1.png", true, true),
            ("icons/", false, true),
            ("", false, true),
            ("icons/silver/", false, false),
            ("other/", false, false),
        ];
        for (name, covers, touches) in table {
            assert_eq!((narrow.covers(name), narrow.touches(name)), (covers, touches), "{name}");
            assert!(wide.covers(name) && wide.touches(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_header_value_panics_or_gets_in(value in prop::collection::vec(any::<u8>(), 0..60)) {
            let tokens = Tokens::new(vec![token("a", &[])]);
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(header::AUTHORIZATION, value.clone());
                prop_assert!(!tokens.knows(&headers));
                headers.insert(ACCESS_KEY, value);
                prop_assert!(!tokens.knows(&headers));
            }
        }
    }
}
