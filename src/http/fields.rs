//! Fields: the header fields of an asset's responses. Pure.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, header::IntoHeaderName};

use super::CacheControlRule;
use super::conditions::Validators;
use super::digest::{REPR_DIGEST, repr_digest};
use crate::asset::{PutFields, Record};

/// The version of the asset.
pub(super) const TRIPLICATE_VERSION: HeaderName = HeaderName::from_static("triplicate-version");
/// How the cache came into it (RFC 9211).
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// What the names of user metadata begin with.
pub(super) const METADATA_PREFIX: &str = "x-triplicate-meta-";
/// What caches are told where neither the upload nor a rule says anything.
const CACHE_CONTROL_DEFAULT: &str = "public, max-age=300";
/// What documents that could run scripts are bound by.
const SANDBOX: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// Writes the fields that describe an asset, the same for GET and HEAD.
pub(super) fn of_asset(
    record: &Record,
    put: &PutFields,
    validators: &Validators,
    rules: &[CacheControlRule],
) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(20);
    insert(&mut fields, header::ETAG, &validators.etag);
    insert(&mut fields, header::LAST_MODIFIED, &httpdate::fmt_http_date(validators.modified));
    insert(&mut fields, header::CONTENT_TYPE, &put.content_type);
    insert(&mut fields, header::CACHE_CONTROL, cache_control(record.name.as_str(), put, rules));
    insert(&mut fields, TRIPLICATE_VERSION, &record.version.to_string());
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(REPR_DIGEST, repr_digest(put.sha256));
    if let Some(encoding) = &put.content_encoding {
        insert(&mut fields, header::CONTENT_ENCODING, encoding);
    }
    if let Some(disposition) = &put.content_disposition {
        insert(&mut fields, header::CONTENT_DISPOSITION, disposition);
    }
    if may_run_scripts(&put.content_type) {
        fields.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    }
    for (key, value) in &put.metadata {
        if let Ok(name) = HeaderName::try_from(format!("{METADATA_PREFIX}{key}")) {
            insert(&mut fields, name, value);
        }
    }
    fields
}

/// Keeps what a 304 says (RFC 9110, section 15.4.5).
pub(super) fn for_not_modified(fields: &HeaderMap) -> HeaderMap {
    let kept = [header::ETAG, header::LAST_MODIFIED, header::CACHE_CONTROL, TRIPLICATE_VERSION];
    kept.into_iter().filter_map(|name| fields.get(&name).cloned().map(|value| (name, value))).collect()
}

/// Writes `Cache-Status`.
pub(super) fn cache_status(hit: bool) -> HeaderValue {
    HeaderValue::from_static(if hit { "triplicate; hit" } else { "triplicate; fwd=miss" })
}

/// What cannot be a header value was not taken at the upload, and is left out if it is there all the same.
fn insert(fields: &mut HeaderMap, name: impl IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        fields.insert(name, value);
    }
}

fn cache_control<'a>(name: &str, put: &'a PutFields, rules: &'a [CacheControlRule]) -> &'a str {
    let rule = || rules.iter().find(|rule| name.starts_with(&rule.prefix)).map(|rule| rule.value.as_str());
    put.cache_control.as_deref().or_else(rule).unwrap_or(CACHE_CONTROL_DEFAULT)
}

/// Tells whether browsers take a type for HTML or some XML, in which scripts run with our origin's rights.
fn may_run_scripts(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(
        essence.as_str(),
        "text/html" | "text/xml" | "text/xsl" | "application/xml" | "application/xml-dtd"
    ) || essence.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::Sha256;

    fn record(content_type: &str) -> Record {
        Record {
            name: "icons/gold.png".parse().unwrap(),
            version: "0123456789abcdef-01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            created: "2026-11-22T11:05:31.750Z".parse().unwrap(),
            put: Some(PutFields {
                size: 3,
                blake3: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262".parse().unwrap(),
                sha256: Sha256::of(b""),
                content_type: content_type.into(),
                content_encoding: None,
                content_disposition: None,
                cache_control: None,
                metadata: [("who".to_owned(), "Zoë".to_owned())].into(),
            }),
        }
    }

    fn write(record: &Record, rules: &[CacheControlRule]) -> HeaderMap {
        let put = record.put.as_ref().unwrap();
        of_asset(record, put, &Validators::new(put.blake3, record.created), rules)
    }

    #[test]
    fn an_asset_is_described_whole() {
        let fields = write(&record("image/png"), &[]);
        let table = [
            ("etag", "\"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262\""),
            ("last-modified", "Sun, 22 Nov 2026 11:05:31 GMT"),
            ("content-type", "image/png"),
            ("accept-ranges", "bytes"),
            ("cache-control", "public, max-age=300"),
            ("repr-digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"),
            ("triplicate-version", "0123456789abcdef-01ARZ3NDEKTSV4RRFFQ69G5FAV"),
            ("x-triplicate-meta-who", "Zoë"),
        ];
        for (name, value) in table {
            assert_eq!(fields[name].as_bytes(), value.as_bytes(), "{name}");
        }
        assert_eq!(fields.len(), table.len());
        assert_eq!(for_not_modified(&fields).len(), 4);
    }

    #[test]
    fn cache_control_is_the_uploads_own_then_the_first_rule_that_fits() {
        let rule =
            |prefix: &str, value: &str| CacheControlRule { prefix: prefix.into(), value: value.into() };
        let rules = [rule("other/", "a"), rule("icons/", "b"), rule("", "c")];
        let mut record = record("image/png");
        assert_eq!(write(&record, &rules)[header::CACHE_CONTROL], "b");
        assert_eq!(write(&record, &rules[..1])[header::CACHE_CONTROL], CACHE_CONTROL_DEFAULT);
        record.put.as_mut().unwrap().cache_control = Some("private".into());
        assert_eq!(write(&record, &rules)[header::CACHE_CONTROL], "private");
    }

    #[test]
    fn documents_that_could_run_scripts_are_sandboxed() {
        let table = [
            ("text/html", true),
            ("Text/HTML; charset=utf-8", true),
            ("image/svg+xml", true),
            ("application/xhtml+xml", true),
            ("application/atom+xml;type=feed", true),
            ("text/xml", true),
            ("application/xml", true),
            ("text/plain", false),
            ("image/png", false),
            ("application/json", false),
        ];
        for (content_type, sandboxed) in table {
            let fields = write(&record(content_type), &[]);
            assert_eq!(fields.contains_key(header::CONTENT_SECURITY_POLICY), sandboxed, "{content_type}");
        }
    }
}
