//! What a request asks for, as the wire understands it. Pure.

use http::{Method, Request, header};
use percent_encoding::percent_decode_str;

use super::upstream::Base;

/// One request that came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// The key it names, or the prefix it lists.
    pub key: String,
    /// Whether it lists.
    pub listing: bool,
    /// The value of its `Range` header.
    pub range: Option<String>,
    /// Whose API it speaks.
    pub(super) dialect: Dialect,
}

/// The API that a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    S3,
    Bunny,
}

impl Seen {
    pub(super) fn of<B>(request: &Request<B>, base: &Base) -> Self {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let path = request.uri().path();
        let path = path.strip_prefix(base.path()).unwrap_or(path).trim_start_matches('/');
        // The container is the first segment, unless it stands before the provider's own host name.
        let key =
            if base.is_above(request.uri()) { path } else { path.split_once('/').map_or("", |(_, key)| key) };
        let query = request.uri().query().unwrap_or_default();
        let listed = query.split('&').find_map(|field| field.strip_prefix("prefix="));
        let listing =
            query.contains("list-type=") || (request.method() == Method::GET && path.ends_with('/'));
        let bunny = request.headers().contains_key("accesskey");
        Self {
            method: request.method().clone(),
            key: decode(listed.unwrap_or(key)),
            listing,
            range: request
                .headers()
                .get(header::RANGE)
                .and_then(|range| range.to_str().ok())
                .map(str::to_owned),
            dialect: if bunny { Dialect::Bunny } else { Dialect::S3 },
        }
    }
}
