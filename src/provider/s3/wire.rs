//! The wire between `object_store` and a bucket: every raw request and answer passes here.
//!
//! `object_store` builds and signs requests; what comes back is judged here, where the raw answer is still
//! to be seen. Each answer tells the far clock. Each failure becomes a [`Fault`], which our code finds again
//! inside the error of `object_store`. Listings are parsed here and travel in the answer's extensions.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::header::{HeaderMap, HeaderValue, RANGE, RETRY_AFTER};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use secrecy::SecretString;

use super::classify;
use super::xml::{self, Page};
use crate::asset::Sha256;
use crate::provider::transport::{self, ClockOffset, ERROR_BODY_BYTES_MAX, Fault, fault};

/// The largest page of a listing: a thousand keys of a kilobyte, escaped.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The header by which a vendor tells the SHA-256 that it has checked.
const CHECKSUM_SHA256: &str = "x-amz-checksum-sha256";

/// A change to a request that `object_store` cannot make, carried in the request's extensions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amend {
    /// A `Content-MD5` to be sent.
    pub(super) content_md5: Option<[u8; 16]>,
    /// Whether one byte of the body is changed, while signature and checksums stay those of the true bytes.
    pub(super) tamper: bool,
}

/// The SHA-256 that came with an answer, carried in the answer's extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToldSha256(pub(super) Sha256);

/// Carries requests of `object_store` to one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    client: reqwest::Client,
    offset: Arc<ClockOffset>,
    secrets: Arc<[SecretString]>,
}

/// What a request asks for, which decides how its answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Write,
    Head,
    Page,
    Object { range: bool },
}

impl Wire {
    pub(super) fn new(
        client: reqwest::Client,
        offset: Arc<ClockOffset>,
        secrets: Arc<[SecretString]>,
    ) -> Self {
        Self { client, offset, secrets }
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Fault> {
        let asked = asked(&request);
        let request = amend(request).await?;
        let sent_unix_ms = self.offset.now_unix_ms();
        let response = HttpService::call(&self.client, request).await.map_err(|error| Fault::find(&error))?;
        self.offset.note(response.headers(), sent_unix_ms);
        if !response.status().is_success() {
            return Err(self.failure(response).await);
        }
        self.judge(asked, response).await
    }

    async fn failure(&self, response: HttpResponse) -> Fault {
        let (parts, body) = response.into_parts();
        let body = transport::head_of(chunks(body), ERROR_BODY_BYTES_MAX).await;
        let mut fault = classify::fault(parts.status, &body);
        let wait = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        fault.retry_after = wait.and_then(|wait| fault::retry_after(wait, self.offset.now_unix_ms()));
        fault
    }

    async fn judge(&self, asked: Asked, response: HttpResponse) -> Result<HttpResponse, Fault> {
        let (mut parts, body) = response.into_parts();
        match asked {
            Asked::Write => {
                let body = transport::bounded(chunks(body), ERROR_BODY_BYTES_MAX).await?;
                match classify::hidden_fault(&body) {
                    Some(fault) => Err(fault),
                    None => Ok(HttpResponse::from_parts(parts, body.into())),
                }
            }
            Asked::Head => {
                if let Some(sha256) = told_sha256(&parts.headers) {
                    parts.extensions.insert(ToldSha256(sha256));
                }
                Ok(HttpResponse::from_parts(parts, body))
            }
            Asked::Page => {
                let page: Page = xml::page(&transport::bounded(chunks(body), PAGE_BYTES_MAX).await?)?;
                parts.extensions.insert(Arc::new(page));
                Ok(HttpResponse::from_parts(parts, xml::EMPTY_PAGE.into()))
            }
            Asked::Object { range } => {
                let expected = if range { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
                if parts.status != expected {
                    return Err(Fault::protocol(format!("{} where {expected} was expected", parts.status)));
                }
                Ok(HttpResponse::from_parts(parts, body))
            }
        }
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let exchange = self.exchange(request).await;
        // An unknown kind is one that `object_store` never retries.
        exchange.map_err(|fault| HttpError::new(HttpErrorKind::Unknown, fault.without(&self.secrets)))
    }
}

fn asked(request: &HttpRequest) -> Asked {
    let listing = request.uri().query().is_some_and(|query| query.contains("list-type=2"));
    match *request.method() {
        Method::HEAD => Asked::Head,
        Method::GET if listing => Asked::Page,
        Method::GET => Asked::Object { range: request.headers().contains_key(RANGE) },
        _ => Asked::Write,
    }
}

async fn amend(request: HttpRequest) -> Result<HttpRequest, Fault> {
    let Some(Amend { content_md5, tamper }) = request.extensions().get::<Amend>().copied() else {
        return Ok(request);
    };
    let (mut parts, mut body) = request.into_parts();
    if let Some(md5) = content_md5 {
        let value = HeaderValue::from_str(&data_encoding::BASE64.encode(&md5));
        parts.headers.insert("content-md5", value.map_err(|_| Fault::protocol("no header for the MD5"))?);
    }
    if tamper {
        let whole = body.collect().await.map_err(|error| Fault::find(&error))?;
        body = HttpRequestBody::from(tampered(&whole.to_bytes()));
    }
    Ok(HttpRequest::from_parts(parts, body))
}

fn tampered(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}

/// A checksum of many parts has a dash and a number behind it, and is not one of the bytes.
fn told_sha256(headers: &HeaderMap) -> Option<Sha256> {
    let value = headers.get(CHECKSUM_SHA256)?;
    let bytes = data_encoding::BASE64.decode(value.as_bytes()).ok()?;
    Some(Sha256::new(bytes.try_into().ok()?))
}

fn chunks(body: HttpResponseBody) -> impl futures::Stream<Item = Result<Bytes, Fault>> + Unpin {
    body.bytes_stream().map_err(|error| Fault::find(&error)).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, uri: &str, range: bool) -> HttpRequest {
        let mut request = http::Request::builder().method(method).uri(uri);
        if range {
            request = request.header(RANGE, "bytes=0-1");
        }
        request.body(HttpRequestBody::empty()).unwrap()
    }

    #[test]
    fn requests_are_told_apart() {
        let key = "http://h/b/blobs/list-type=2";
        for (method, uri, range, expected) in [
            (Method::GET, key, false, Asked::Object { range: false }),
            (Method::GET, key, true, Asked::Object { range: true }),
            (Method::HEAD, key, false, Asked::Head),
            (Method::PUT, key, false, Asked::Write),
            (Method::DELETE, key, false, Asked::Write),
            (Method::GET, "http://h/b?list-type=2&prefix=a", false, Asked::Page),
        ] {
            assert_eq!(asked(&request(method, uri, range)), expected);
        }
    }

    #[tokio::test]
    async fn tampering_changes_one_byte_and_no_header() {
        let mut request = request(Method::PUT, "http://h/b/k", false);
        request.headers_mut().insert("x-amz-content-sha256", HeaderValue::from_static("true"));
        *request.body_mut() = HttpRequestBody::from("four".to_owned());
        request.extensions_mut().insert(Amend { content_md5: Some([0; 16]), tamper: true });
        let amended = amend(request).await.unwrap();
        assert_eq!(amended.headers()["x-amz-content-sha256"], "true");
        assert_eq!(amended.headers()["content-md5"], "AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(amended.into_body().collect().await.unwrap().to_bytes(), "fotr");
    }

    #[test]
    fn only_a_checksum_of_the_bytes_is_believed() {
        let told = |value: &str| {
            told_sha256(&HeaderMap::from_iter([(CHECKSUM_SHA256.parse().unwrap(), value.parse().unwrap())]))
        };
        let good = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(told(good), Some(Sha256::of(b"")));
        assert_eq!(told(&format!("{good}-2")), None);
        assert_eq!(told("AAAA"), None);
        assert_eq!(told(""), None);
    }
}
