//! Forms: POST of `multipart/form-data` to a folder; each file field becomes an asset.
//!
//! 1. The folder is checked like a name, the token against the folder, then the fields of the request.
//! 2. The parts are read one after another, streamed, never held. A field without a file name is skipped.
//! 3. Each file is a write of its own: its name, its right to be written and its header fields are checked,
//!    and a failure is its own. What is left of a refused file is read and forgotten, so that the next one is
//!    reached.
//! 4. The answer lists a receipt or a problem for each file, in the form's order: 201 when all are stored, the
//!    problem itself when the only file failed, else 207. A form that breaks in between ends the list with
//!    that problem, whose name is empty: what is stored stays stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, Stream, StreamExt};
use http::{HeaderMap, StatusCode, header};
use multer::{Field, Multipart};
use serde::Serialize;

use super::App;
use super::auth::{Token, forbidden};
use super::intake::{self, Common};
use super::layers::RequestId;
use super::problem::{Problem, ProblemKind};
use super::upload::{self, ReceiptView};
use crate::asset::AssetName;
use crate::write::{BodyError, BodyStream, Outcome, PutRequest, Receipt, WriteError};

/// The most files of one form.
const FILES_MAX: usize = 1_000;
/// The most fields of one form that are no files.
const OTHER_FIELDS_MAX: usize = 1_000;
/// The header fields of one part, in bytes, with the boundary before them.
const PART_HEAD_BYTES_MAX: u64 = 64 * 1024;

/// Answers POST to a folder.
pub(super) async fn post(app: &App, folder: &str, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let token = app.settings.tokens.identify(&parts.headers)?;
    if !token.write || !token.touches(folder) {
        return Err(forbidden("the token may not write below this folder"));
    }
    let conditional = app.settings.conditional_writes;
    let (common, boundary) = intake::of_form(&parts.headers, parts.uri.query(), conditional)?;
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let _permit = app.uploads.enter().await?;

    let allowance = Arc::new(AtomicU64::new(PART_HEAD_BYTES_MAX));
    let body = upload::stream(body, app.settings.body_timeout, u64::MAX);
    let multipart = Multipart::new(paced(body, Arc::clone(&allowance)), boundary);
    let results = Intake { app, folder, token, common, allowance }.take(multipart).await?;
    respond(results, &app.settings.public_url, &request_id)
}

/// What became of one file.
struct Stored {
    /// The name that was tried; empty, as no asset's is, for a form that broke.
    name: String,
    result: Result<Receipt, Problem>,
}

struct Intake<'a> {
    app: &'a App,
    folder: &'a str,
    token: &'a Token,
    common: Common,
    /// How many bytes the form may still take before the next part begins.
    allowance: Arc<AtomicU64>,
}

impl Intake<'_> {
    /// Takes all files of a form.
    async fn take(&self, mut multipart: Multipart<'static>) -> Result<Vec<Stored>, Problem> {
        let mut results = Vec::new();
        let mut others = 0;
        loop {
            self.allowance.store(PART_HEAD_BYTES_MAX, Ordering::Release);
            let field = multipart.next_field().await;
            self.allowance.store(u64::MAX, Ordering::Release);
            let problem = match field {
                Ok(Some(field)) if is_file(&field) && results.len() == FILES_MAX => {
                    drop(field);
                    Problem::new(ProblemKind::InvalidForm, "a form has at most 1000 files")
                }
                Ok(Some(field)) if is_file(&field) => {
                    results.push(self.file(field).await);
                    continue;
                }
                Ok(Some(mut field)) if others < OTHER_FIELDS_MAX => {
                    others += 1;
                    while let Ok(Some(_)) = field.chunk().await {}
                    continue;
                }
                Ok(Some(_)) => Problem::new(ProblemKind::InvalidForm, "the form has too many fields"),
                Ok(None) if results.is_empty() => {
                    Problem::new(ProblemKind::InvalidForm, "the form has no file field")
                }
                Ok(None) => return Ok(results),
                // The file that was cut off has said so itself.
                Err(_) if results.last().is_some_and(Stored::was_cut_off) => return Ok(results),
                Err(error) => of_form_error(&error),
            };
            if results.is_empty() {
                return Err(problem);
            }
            results.push(Stored { name: String::new(), result: Err(problem) });
            return Ok(results);
        }
    }

    /// Stores one file, and reads its part to the end whatever happens.
    async fn file(&self, mut field: Field<'static>) -> Stored {
        let file_name = field.file_name().unwrap_or_default().to_owned();
        let name = format!("{}{file_name}", self.folder);
        match self.check(&file_name, field.headers()) {
            Ok(put) => Stored { name, result: self.store(put, field).await.map_err(Problem::from) },
            Err(problem) => {
                while let Ok(Some(_)) = field.chunk().await {}
                Stored { name, result: Err(problem) }
            }
        }
    }

    fn check(&self, file_name: &str, headers: &HeaderMap) -> Result<PutRequest, Problem> {
        let name = file_asset_name(self.folder, file_name)?;
        if !self.token.covers(name.as_str()) {
            return Err(forbidden("the token may not write this name"));
        }
        let bytes_max = self.app.settings.limits.asset_bytes;
        // The part's Content-Disposition is the form's, not the file's.
        intake::of_file(headers, &HeaderMap::new(), name, bytes_max, &self.common)
    }

    /// Writes one file. The part stays with the form, the writer gets a channel: a writer that gives up early,
    /// or lets go late, does not hold up the parts behind. The channel is told where the part ends: a request that is
    /// dropped in its middle must not look whole.
    async fn store(&self, put: PutRequest, mut field: Field<'static>) -> Result<Receipt, WriteError> {
        let (sender, receiver) = mpsc::channel(0);
        let bytes_max = put.bytes_max;
        let pump = async move {
            let mut sender = Some(sender);
            let mut taken = 0_u64;
            loop {
                let item = match field.chunk().await {
                    Ok(Some(chunk)) => {
                        taken = taken.saturating_add(chunk.len() as u64);
                        if taken > bytes_max { Err(BodyError::TooLarge) } else { Ok(Some(chunk)) }
                    }
                    Ok(None) => Ok(None),
                    Err(error) => Err(of_body_error(&error)),
                };
                let ends = matches!(item, Ok(None) | Err(BodyError::Broken(_) | BodyError::Timeout));
                let failed = item.is_err();
                if let Some(open) = &mut sender
                    && (open.send(item).await.is_err() || failed)
                {
                    sender = None;
                }
                if ends {
                    break;
                }
            }
        };
        let (result, ()) = futures::join!(self.app.flows.writer.put(put, whole(receiver)), pump);
        result
    }
}

/// The bytes of a part, to the end that is told; a channel that closes before it breaks the body.
fn whole(pieces: mpsc::Receiver<Result<Option<Bytes>, BodyError>>) -> BodyStream {
    let body = futures::stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.next().await {
            Some(Ok(Some(chunk))) => Some((Ok(chunk), Some(pieces))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some((Err(error), None)),
            None => Some((Err(BodyError::Broken("the form was cut off".to_owned())), None)),
        }
    });
    body.boxed()
}

impl Stored {
    fn was_cut_off(&self) -> bool {
        let kind = self.result.as_ref().err().map(Problem::kind);
        matches!(kind, Some(ProblemKind::IncompleteBody | ProblemKind::Timeout))
    }
}

/// Tells whether a field is a file. A file name that is no UTF-8 makes it one all the same, without a name.
fn is_file(field: &Field<'_>) -> bool {
    let disposition = field.headers().get(header::CONTENT_DISPOSITION);
    field.file_name().is_some()
        || disposition.is_some_and(|value| value.as_bytes().windows(9).any(|bytes| bytes == b"filename="))
}

/// Puts a file into its folder: its name is one segment.
fn file_asset_name(folder: &str, file_name: &str) -> Result<AssetName, Problem> {
    if file_name.is_empty() || file_name.contains(['/', '\\']) {
        return Err(Problem::new(ProblemKind::InvalidName, "the file name is not one segment of a name"));
    }
    Ok(format!("{folder}{file_name}").parse::<AssetName>()?)
}

/// Hands on one chunk at a time and no more than the allowance: the form parser takes in whatever is ready,
/// and keeps the head of a part for as long as it does not end.
fn paced(
    mut body: BodyStream,
    allowance: Arc<AtomicU64>,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static {
    let mut pause = false;
    futures::stream::poll_fn(move |cx| {
        if std::mem::take(&mut pause) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if allowance.load(Ordering::Acquire) == 0 {
            return Poll::Ready(Some(Err(BodyError::TooLarge)));
        }
        let chunk = std::task::ready!(body.poll_next_unpin(cx));
        if let Some(Ok(chunk)) = &chunk {
            pause = true;
            let bytes = chunk.len() as u64;
            // Only this stream takes, and only between two parts does anyone give.
            let left = allowance.load(Ordering::Acquire);
            if left < u64::MAX {
                allowance.store(left.saturating_sub(bytes), Ordering::Release);
            }
        }
        Poll::Ready(chunk)
    })
}

fn of_body_error(error: &multer::Error) -> BodyError {
    let cause = if let multer::Error::StreamReadFailed(cause) = error { cause.downcast_ref() } else { None };
    cause.cloned().unwrap_or_else(|| BodyError::Broken(error.to_string()))
}

fn of_form_error(error: &multer::Error) -> Problem {
    match of_body_error(error) {
        BodyError::Timeout => Problem::from(WriteError::BodyTimeout),
        BodyError::TooLarge => Problem::new(ProblemKind::InvalidForm, "the head of a part is too large"),
        BodyError::Broken(cause) => {
            let detail = "the form is malformed or did not arrive whole";
            Problem::new(ProblemKind::InvalidForm, detail).with_cause(cause)
        }
    }
}

/// One line of the answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Stored(ReceiptView<'a>),
    Refused { name: &'a str, problem: serde_json::Value },
}

fn respond(mut results: Vec<Stored>, public_url: &str, request_id: &str) -> Result<Response, Problem> {
    if let [Stored { result: Err(_), .. }] = results.as_slice()
        && let Some(Stored { result: Err(problem), .. }) = results.pop()
    {
        return Err(problem);
    }
    let mut status = StatusCode::CREATED;
    let mut list = Vec::with_capacity(results.len());
    for Stored { name, result } in &results {
        match result {
            Ok(receipt) => list.extend(ReceiptView::new(receipt, public_url).map(Entry::Stored)),
            Err(problem) => {
                status = StatusCode::MULTI_STATUS;
                let problem = problem.clone().with_outcome(Outcome::NotCommitted).to_json(request_id);
                list.push(Entry::Refused { name, problem });
            }
        }
    }
    Ok((status, [(header::CACHE_CONTROL, "no-store")], Json(list)).into_response())
}

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
