//! Uploads: PUT of one name, and the receipt of a write.
//!
//! Everything about the request is checked before its body is asked for, which is also when the parser sends
//! `100 Continue`: a client that waits for it sends no byte in vain.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::stream::{StreamExt, try_unfold};
use http::StatusCode;
use http::header::{self, HeaderValue};
use serde::{Serialize, Serializer};

use super::auth::forbidden;
use super::problem::Problem;
use super::{App, fields, intake};
use crate::asset::{AssetName, Blake3, PutFields, Sha256, Version};
use crate::provider::ProviderId;
use crate::write::{BodyError, BodyStream, CopyState, Receipt};

/// Answers PUT.
pub(super) async fn put(app: &App, name: AssetName, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let token = app.settings.tokens.identify(&parts.headers)?;
    if !token.write || !token.covers(name.as_str()) {
        return Err(forbidden("the token may not write this name"));
    }
    let bytes_max = app.settings.limits.asset_bytes;
    let conditional = app.settings.conditional_writes;
    let put = intake::of_put(&parts.headers, parts.uri.query(), name, bytes_max, conditional)?;
    let _permit = app.uploads.enter().await?;
    let body = stream(body, app.settings.body_timeout, bytes_max);
    let receipt = app.flows.writer.put(put, body).await?;
    Ok(respond(&receipt, &app.settings.public_url))
}

/// Turns a request's body into what the writer takes; only waiting for the client counts for the time-out.
pub(super) fn stream(body: Body, timeout: Duration, bytes_max: u64) -> BodyStream {
    try_unfold((body.into_data_stream(), 0_u64), move |(mut chunks, taken)| async move {
        match tokio::time::timeout(timeout, chunks.next()).await {
            Err(_) => Err(BodyError::Timeout),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(BodyError::Broken(error.to_string())),
            Ok(Some(Ok(chunk))) => {
                let taken = taken.saturating_add(chunk.len() as u64);
                if taken > bytes_max { Err(BodyError::TooLarge) } else { Ok(Some((chunk, (chunks, taken)))) }
            }
        }
    })
    .boxed()
}

/// The receipt as clients read it.
#[derive(Serialize)]
pub(super) struct ReceiptView<'a> {
    name: &'a AssetName,
    version: Version,
    size: u64,
    blake3: Blake3,
    sha256: Sha256,
    content_type: &'a str,
    url: String,
    #[serde(serialize_with = "in_order")]
    copies: &'a [(ProviderId, CopyState)],
}

impl<'a> ReceiptView<'a> {
    /// Describes a put; a tombstone has no receipt.
    pub(super) fn new(receipt: &'a Receipt, public_url: &str) -> Option<Self> {
        let record = &receipt.record;
        let PutFields { size, blake3, sha256, content_type, .. } = record.put.as_ref()?;
        Some(Self {
            name: &record.name,
            version: record.version,
            size: *size,
            blake3: *blake3,
            sha256: *sha256,
            content_type,
            url: format!("{public_url}/{}", record.name.to_url_path()),
            copies: &receipt.copies,
        })
    }
}

/// Keeps the order of the configuration, which a map would lose.
fn in_order<S: Serializer>(copies: &[(ProviderId, CopyState)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(copies.iter().map(|(id, state)| (id.as_str(), state)))
}

fn respond(receipt: &Receipt, public_url: &str) -> Response {
    let status = if receipt.created { StatusCode::CREATED } else { StatusCode::OK };
    let Some(view) = ReceiptView::new(receipt, public_url) else { return status.into_response() };
    let pairs = [
        (header::ETAG, format!("\"{}\"", view.blake3)),
        (header::LOCATION, view.url.clone()),
        (fields::TRIPLICATE_VERSION, view.version.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let mut response = (status, Json(view)).into_response();
    let valid =
        pairs.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)));
    response.headers_mut().extend(valid);
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::TryStreamExt;

    use super::*;
    use crate::asset::Record;

    #[test]
    fn a_receipt_says_all_that_the_contract_promises() {
        let record = Record {
            name: "icons/gold ü.png".parse().unwrap(),
            version: "0123456789abcdef-01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            created: "2026-11-22T11:05:31Z".parse().unwrap(),
            put: Some(PutFields {
                size: 0,
                blake3: Blake3::new([7; 32]),
                sha256: Sha256::new([8; 32]),
                content_type: "image/png".into(),
                content_encoding: None,
                content_disposition: None,
                cache_control: None,
                metadata: std::collections::BTreeMap::new(),
            }),
        };
        let copies = [("z", CopyState::Stored), ("a", CopyState::Pending), ("b", CopyState::Failed)];
        let copies = copies.map(|(id, state)| (ProviderId::new(id), state)).to_vec();
        let receipt = Receipt { record: Arc::new(record), created: true, copies };
        let json =
            serde_json::to_string(&ReceiptView::new(&receipt, "https://cdn.example").unwrap()).unwrap();
        let expected = format!(
            "{{\"name\":\"icons/gold ü.png\",\"version\":\"0123456789abcdef-01ARZ3NDEKTSV4RRFFQ69G5FAV\",\
             \"size\":0,\"blake3\":\"{}\",\"sha256\":\"{}\",\"content_type\":\"image/png\",\
             \"url\":\"https://cdn.example/icons/gold%20%C3%BC.png\",\
             \"copies\":{{\"z\":\"stored\",\"a\":\"pending\",\"b\":\"failed\"}}}}",
            "07".repeat(32),
            "08".repeat(32)
        );
        assert_eq!(json, expected);
        let response = respond(&receipt, "https://cdn.example");
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()[header::LOCATION], "https://cdn.example/icons/gold%20%C3%BC.png");
        assert_eq!(response.headers()[header::ETAG], format!("\"{}\"", "07".repeat(32)));
        let replaced = respond(&Receipt { created: false, ..receipt }, "https://cdn.example");
        assert_eq!(replaced.status(), 200);
    }

    async fn collect(body: Body, bytes_max: u64) -> Result<Vec<Bytes>, BodyError> {
        stream(body, Duration::from_secs(30), bytes_max).try_collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_bounded_in_size_and_time() {
        assert_eq!(collect(Body::from("abc"), 3).await.unwrap().concat(), b"abc");
        assert_eq!(collect(Body::from("abcd"), 3).await, Err(BodyError::TooLarge));
        let silent = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let begun = tokio::time::Instant::now();
        assert_eq!(collect(silent, 3).await, Err(BodyError::Timeout));
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
        let broken =
            Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]));
        assert!(matches!(collect(broken, 3).await, Err(BodyError::Broken(_))));
    }
}
