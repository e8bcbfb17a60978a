//! One bucket: single requests under their deadlines, without a view on what they are for.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{BoxStream, StreamExt};
use http::HeaderMap;
use md5::{Digest, Md5};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, GetOptions, ObjectStore, ObjectStoreExt, PutOptions, PutPayload,
    RetryConfig,
};
use secrecy::ExposeSecret;
use url::Url;

use super::S3Settings;
use super::classify::NO_SUCH_KEY;
use super::wire::{Amend, ToldSha256, Wire};
use super::xml::Page;
use crate::asset::Key;
use crate::provider::error::BuildError;
use crate::provider::transport::{ANSWER_LIMIT, Fault, exact, fault, upload_limit, within};
use crate::provider::{Entry, ErrorKind, Payload};

/// The most objects that one page of a listing holds.
const PAGE_KEYS_MAX: usize = 1_000;

/// How one upload is protected; the payload's hash is part of every signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PutStyle {
    /// Sends `x-amz-checksum-sha256`.
    pub(super) sha256: bool,
    /// Sends `Content-MD5`.
    pub(super) md5: bool,
    /// Changes a byte on the wire, to see whether the vendor notices.
    pub(super) tamper: bool,
}

/// An open object.
pub(super) struct Opened {
    pub(super) object_bytes: u64,
    pub(super) body: BoxStream<'static, Result<Bytes, Fault>>,
}

/// One bucket; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Signs, and sends nothing that a vendor could take offence at.
    plain: AmazonS3,
    /// The same with `x-amz-checksum-sha256` on uploads.
    hashing: AmazonS3,
    /// The same with `x-amz-checksum-mode` on every request, for `HEAD` alone.
    asking: AmazonS3,
}

impl Bucket {
    /// Prepares the requests; none is sent.
    pub(super) fn new(settings: &S3Settings, wire: &Wire) -> Result<Self, BuildError> {
        let plain = builder(settings, wire)?;
        let hashing = plain.clone().with_checksum_algorithm(Checksum::SHA256);
        // Headers `x-amz-…` must be signed, so this one cannot be added on the wire.
        let mode = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-amz-checksum-mode"),
            http::HeaderValue::from_static("ENABLED"),
        )]);
        let asking = plain.clone().with_client_options(ClientOptions::new().with_default_headers(mode));
        Ok(Self { plain: build(plain)?, hashing: build(hashing)?, asking: build(asking)? })
    }

    /// Uploads an object in one request.
    pub(super) async fn put(
        &self,
        key: &Key,
        payload: &Payload,
        content_type: &str,
        style: PutStyle,
    ) -> Result<(), Fault> {
        let store = if style.sha256 { &self.hashing } else { &self.plain };
        let mut options = PutOptions {
            attributes: Attributes::from_iter([(Attribute::ContentType, content_type.to_owned())]),
            ..PutOptions::default()
        };
        let content_md5 = style.md5.then(|| md5_of(payload));
        options.extensions.insert(Amend { content_md5, tamper: style.tamper });
        let body: PutPayload = payload.chunks().iter().cloned().collect();
        let path = path(key)?;
        within(upload_limit(payload.len()), async {
            store.put_opts(&path, body, options).await.map_err(|error| Fault::find(&error))
        })
        .await?;
        Ok(())
    }

    /// Opens an object, or a range of it.
    pub(super) async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Opened, Fault> {
        match self.try_get(key, range).await {
            Err(fault) if is_doubtful(&fault) => Err(self.missing(fault).await),
            result => result,
        }
    }

    /// Asks for what is known of an object; `told` asks for its checksum too.
    pub(super) async fn head(&self, key: &Key, told: bool) -> Result<Entry, Fault> {
        let store = if told { &self.asking } else { &self.plain };
        let options = GetOptions { head: true, ..GetOptions::default() };
        let path = path(key)?;
        let answer = within(ANSWER_LIMIT, async {
            store.get_opts(&path, options).await.map_err(|error| Fault::find(&error))
        });
        match answer.await {
            Ok(answer) => Ok(Entry {
                key: key.as_str().to_owned(),
                bytes: answer.meta.size,
                // A missing header stands as 1970.
                modified_unix_ms: u64::try_from(answer.meta.last_modified.timestamp_millis())
                    .ok()
                    .filter(|unix_ms| *unix_ms > 0),
                sha256: answer.extensions.get::<ToldSha256>().map(|told| told.0),
            }),
            Err(fault) if is_doubtful(&fault) => Err(self.doubt_of_head(key, fault).await),
            Err(fault) => Err(fault),
        }
    }

    /// Removes an object; one that is not there is fine.
    pub(super) async fn delete(&self, key: &Key) -> Result<(), Fault> {
        let path = path(key)?;
        let answer = within(ANSWER_LIMIT, async {
            self.plain.delete(&path).await.map_err(|error| Fault::find(&error))
        });
        let fault = match answer.await {
            Ok(()) => return Ok(()),
            Err(fault) if is_doubtful(&fault) => self.missing(fault).await,
            Err(fault) => fault,
        };
        if fault.kind == ErrorKind::NotFound { Ok(()) } else { Err(fault) }
    }

    /// Lists one page of what begins with `prefix`, up to the next slash where `folders` are asked for.
    pub(super) async fn page(
        &self,
        prefix: &str,
        folders: bool,
        token: Option<String>,
        keys_max: usize,
    ) -> Result<Page, Fault> {
        let options = PaginatedListOptions {
            delimiter: folders.then_some("/".into()),
            max_keys: Some(keys_max.min(PAGE_KEYS_MAX)),
            page_token: token.clone(),
            ..PaginatedListOptions::default()
        };
        let prefix_asked = Some(prefix).filter(|prefix| !prefix.is_empty());
        let answer = within(ANSWER_LIMIT, async {
            self.plain.list_paginated(prefix_asked, options).await.map_err(|error| Fault::find(&error))
        });
        let answer = answer.await.map_err(no_folder_is_missing)?;
        let page = answer.result.extensions.get::<Arc<Page>>().map(|page| Page::clone(page));
        let page = page.ok_or_else(|| Fault::protocol("a listing without a page"))?;
        check_page(&page, prefix, token.as_deref())?;
        Ok(page)
    }

    async fn try_get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Opened, Fault> {
        let options = GetOptions { range: range.clone().map(Into::into), ..GetOptions::default() };
        let path = path(key)?;
        let answer = within(ANSWER_LIMIT, async {
            self.plain.get_opts(&path, options).await.map_err(|error| Fault::find(&error))
        })
        .await
        .map_err(|fault| fault.of_range(range.as_ref()))?;
        let object_bytes = answer.meta.size;
        // A range that was cut short at the object's end passes `object_store`.
        if let Some(range) = range.filter(|range| *range != answer.range) {
            return Err(Fault::another_range(&range, &answer.range, object_bytes));
        }
        let bytes = answer.range.end - answer.range.start;
        let body = answer.into_stream().map_err(|error| Fault::find(&error)).boxed();
        Ok(Opened { object_bytes, body: exact(body, bytes) })
    }

    /// A `HEAD` has no body that could say whether it is the object or the bucket that is missing; a
    /// `GET` has.
    async fn doubt_of_head(&self, key: &Key, fault: Fault) -> Fault {
        match self.try_get(key, Some(0..1)).await {
            Ok(_) => Fault::protocol("HEAD says 404 where GET finds an object"),
            Err(told) if is_doubtful(&told) => self.missing(fault).await,
            Err(told) => told,
        }
    }

    /// Tells a missing object from a missing bucket where the answer did not say: a bucket that is there
    /// can be listed.
    async fn missing(&self, fault: Fault) -> Fault {
        match Box::pin(self.page("", false, None, 1)).await {
            Ok(_) => fault,
            Err(told) => told,
        }
    }
}

fn builder(settings: &S3Settings, wire: &Wire) -> Result<AmazonS3Builder, BuildError> {
    // Keys are always given, so that none is looked for on the network.
    Ok(AmazonS3Builder::new()
        .with_endpoint(bucket_endpoint(settings)?)
        .with_virtual_hosted_style_request(!settings.path_style)
        .with_region(&settings.region)
        .with_bucket_name(&settings.bucket)
        .with_access_key_id(settings.access_key_id.expose_secret())
        .with_secret_access_key(settings.secret_access_key.expose_secret())
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_disable_bulk_delete(true)
        .with_disable_tagging(true)
        .with_http_connector(wire.clone()))
}

fn build(builder: AmazonS3Builder) -> Result<AmazonS3, BuildError> {
    builder.build().map_err(|error| BuildError::new(fault::chain(&error)))
}

/// With virtual hosts `object_store` wants the bucket in the endpoint already.
fn bucket_endpoint(settings: &S3Settings) -> Result<String, BuildError> {
    let mut endpoint: Url = settings.endpoint.clone();
    if !settings.path_style {
        let host = match endpoint.host() {
            Some(url::Host::Domain(domain)) => format!("{}.{domain}", settings.bucket),
            _ => return Err(BuildError::new("without path_style the endpoint needs a host name")),
        };
        endpoint.set_host(Some(&host)).map_err(|error| BuildError::new(error.to_string()))?;
    }
    Ok(endpoint.as_str().trim_end_matches('/').to_owned())
}

/// Our own keys are always paths.
fn path(key: &Key) -> Result<Path, Fault> {
    Path::parse(key.as_str()).map_err(|error| Fault::new(ErrorKind::Refused, fault::chain(&error)))
}

fn md5_of(payload: &Payload) -> [u8; 16] {
    let mut md5 = Md5::new();
    payload.chunks().iter().for_each(|chunk| md5.update(chunk));
    md5.finalize().into()
}

/// Only the vendor's own word makes a 404 a missing object.
fn is_doubtful(fault: &Fault) -> bool {
    fault.kind == ErrorKind::NotFound && fault.code.as_deref() != Some(NO_SUCH_KEY)
}

/// A folder of nothing is an empty listing, so a 404 can only mean the bucket.
fn no_folder_is_missing(fault: Fault) -> Fault {
    if fault.kind == ErrorKind::NotFound { Fault { kind: ErrorKind::NoContainer, ..fault } } else { fault }
}

/// A server that did not understand the question may answer another one.
fn check_page(page: &Page, prefix: &str, token: Option<&str>) -> Result<(), Fault> {
    let keys = page.entries.iter().map(|entry| &entry.key).chain(&page.prefixes);
    if let Some(key) = keys.into_iter().find(|key| !key.starts_with(prefix)) {
        return Err(Fault::protocol(format!("the listing of {prefix:?} shows {key:?}")));
    }
    if page.next.is_some() && page.next.as_deref() == token {
        return Err(Fault::protocol("the listing does not move on"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
