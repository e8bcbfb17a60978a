//! HTTP as the providers on the network need it: the client, deadlines, faults, bodies and the far clock.
//!
//! What lies here knows no vendor. Nothing here retries: a fault goes up at once, and the flows decide.

pub(super) mod body;
pub(super) mod fault;
#[cfg(test)]
pub(super) mod listen;
pub(super) mod offset;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) use body::{bounded, exact, head_of};
pub(super) use fault::Fault;
pub(super) use offset::ClockOffset;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use url::Url;

use super::error::BuildError;

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: shorter than servers usually do, so that requests rarely meet a
/// connection that is being closed.
const IDLE_CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// How long an answer without a large body may take to its end, and any answer to its head.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The slowest upload that is waited for, in bytes a second.
const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 256 * 1024;
/// The largest answer to a failed request that is read, in bytes.
pub(super) const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// Returns the endpoint as requests name it: on the way to a proxy on this machine nothing is encrypted, as
/// the proxy could not look into it, and host, path and query stay as they are signed.
pub(super) fn endpoint_on_the_way(mut endpoint: Url, via: Option<SocketAddr>) -> Result<Url, BuildError> {
    if via.is_none() || endpoint.scheme() != "https" {
        return Ok(endpoint);
    }
    // This port would not be named in plain HTTP, and so not be signed.
    if endpoint.port() == Some(80) || endpoint.set_scheme("http").is_err() {
        return Err(BuildError::new(format!("{endpoint} cannot be reached through a proxy")));
    }
    Ok(endpoint)
}

/// Builds a client for one endpoint, with a proxy on this machine or without one.
///
/// One client serves reads and writes alike: it has neither a whole-request timeout, which would kill
/// healthy slow downloads, nor a read timeout, whose clock in reqwest also runs while an upload moves on.
/// Deadlines are those of each operation instead.
pub(super) fn client(endpoint: &Url, via: Option<SocketAddr>) -> Result<reqwest::Client, BuildError> {
    // It fails only when a provider is installed already, which then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    // Compressed answers would have lengths and ranges that are not those of the object.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let builder = reqwest::Client::builder()
        .user_agent(concat!("triplicate/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_LIMIT)
        .pool_idle_timeout(IDLE_CONNECTION_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // A proxy from the environment would be configuration that no file shows.
        .no_proxy();
    let builder = match via.map(|via| reqwest::Proxy::http(format!("http://{via}"))).transpose() {
        Ok(Some(proxy)) => builder.proxy(proxy),
        Ok(None) => builder,
        Err(error) => return Err(BuildError::new(format!("no proxy: {}", fault::chain(&error)))),
    };
    let builder = match endpoint.scheme() {
        // Without this the client asks for the machine's CA certificates, and cannot be built where there
        // are none, though plain HTTP needs none.
        "http" => builder.tls_certs_only([]),
        "https" => builder.https_only(true),
        other => return Err(BuildError::new(format!("the endpoint's scheme is {other}, not http or https"))),
    };
    builder.build().map_err(|error| {
        let hint = "is the package ca-certificates installed?";
        BuildError::new(format!("no HTTP client ({hint}): {}", fault::chain(&error)))
    })
}

/// Runs one exchange under its deadline.
pub(super) async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(Fault::timeout(limit)))
}

/// Returns the deadline of an upload of `bytes`.
pub(super) fn upload_limit(bytes: u64) -> Duration {
    ANSWER_LIMIT + Duration::from_millis(bytes.saturating_mul(1_000) / UPLOAD_BYTES_PER_SECOND_MIN)
}

/// Tells whether a body is a page for people, which no API sends.
pub(super) fn is_html(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    [b"<!doctype html".as_slice(), b"<html"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_have_ten_seconds_and_a_floor_rate() {
        assert_eq!(upload_limit(0), Duration::from_secs(10));
        assert_eq!(upload_limit(8 * 1024 * 1024), Duration::from_secs(42));
    }

    #[test]
    fn pages_for_people_are_known_by_their_start() {
        for page in ["<!DOCTYPE html><p>", "  \n<HTML lang=en>"] {
            assert!(is_html(page.as_bytes()), "{page}");
        }
        for other in ["", "<", "<?xml version='1.0'?><Error/>", "[]", "<!doctype"] {
            assert!(!is_html(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn clients_are_built_for_http_endpoints_alone_where_no_certificates_are() {
        assert!(client(&"http://127.0.0.1:1".parse().unwrap(), None).is_ok());
        assert!(client(&"ftp://127.0.0.1:1".parse().unwrap(), None).is_err());
    }
}
