//! Writers: the first upload of every asset, and overwriting and deleting while others read.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use http::{Request, StatusCode, header};
use rand::Rng;
use tokio::time::Instant;

use super::Site;
use super::client::Client;
use crate::drill::content::ContentBody;
use crate::drill::figures::Writes;
use crate::drill::ledger::{Ledger, Outcome, Written};
use crate::drill::stage::Stage;
use crate::drill::verify::{CONTENT_TYPE, GENERATION};

/// How long the answer to a write is waited for: longer than a gateway may take to say `unknown`.
const WRITE_LIMIT: Duration = Duration::from_secs(90);
/// How many assets are uploaded at once before the first phase.
const UPLOADS: usize = 4;
/// How long a writer rests after a refusal, so that it does not ask as fast as it is refused.
const REST: Duration = Duration::from_millis(100);

/// An asset could not be uploaded while nothing was wrong yet.
#[derive(Debug, thiserror::Error)]
#[error("{name} could not be uploaded: {reason}")]
pub(in crate::drill) struct UploadError {
    name: String,
    reason: String,
}

/// Uploads every asset to all providers, and returns how many bytes they are.
///
/// # Errors
///
/// The first one that is not acknowledged.
pub(in crate::drill) async fn upload(site: &Site) -> Result<u64, UploadError> {
    let uploads = (0..site.ledger.assets()).map(|asset| async move {
        let mut client = site.client();
        let (generation, content) = site.ledger.begin_put(asset);
        let answer = put(site, &mut client, asset, generation, content.body(), true).await;
        let (outcome, reason) = answer;
        site.ledger.settle(asset, generation, outcome);
        match outcome {
            Outcome::Acknowledged => Ok(content.bytes),
            Outcome::Refused | Outcome::Unknown => Err(UploadError { name: Ledger::name(asset), reason }),
        }
    });
    stream::iter(uploads)
        .buffer_unordered(UPLOADS)
        .try_fold(0, |sum, bytes| async move { Ok(sum + bytes) })
        .await
}

/// Writes in every phase until there is none any more.
pub(super) async fn keep_writing(site: Site, writer: usize, mut stage: Stage) {
    let (mut client, mut dice) = (site.client(), site.dice(2, writer));
    let own: Vec<_> = (writer..site.ledger.assets()).step_by(site.load.writers).collect();
    let pause =
        site.load.writes_per_second.map(|rate| Duration::from_secs_f64(site.load.writers as f64 / rate));
    let mut turn = Instant::now();
    loop {
        let Some(act) = stage.borrow_and_update().clone() else {
            // Before the first phase there is none either: only the end of the stage ends the writers.
            if stage.changed().await.is_err() {
                return;
            }
            continue;
        };
        if act.writers_rest {
            // With a write always under way some copy would always be missing.
            if stage.changed().await.is_err() {
                return;
            }
            continue;
        }
        let asset = own[dice.random_range(0..own.len())];
        let is_there = matches!(site.ledger.newest(asset).1, Some(Written::Put { .. }));
        let deletes = is_there && dice.random::<f64>() < site.load.deletes;
        act.figures.lock().writes.asked += 1;
        let outcome = write(&site, &mut client, asset, deletes).await;
        count(&mut act.figures.lock().writes, outcome);
        turn = match pause {
            Some(pause) => (turn + pause).max(Instant::now() - pause),
            None => Instant::now(),
        };
        if outcome != Outcome::Acknowledged {
            turn = turn.max(Instant::now() + REST);
        }
        tokio::select! {
            () = tokio::time::sleep_until(turn) => {}
            changed = ended(&mut stage) => if changed { return },
        }
    }
}

/// Waits for the end of the stage.
async fn ended(stage: &mut Stage) -> bool {
    while stage.changed().await.is_ok() {}
    true
}

fn count(writes: &mut Writes, outcome: Outcome) {
    match outcome {
        Outcome::Acknowledged => writes.acknowledged += 1,
        Outcome::Refused => writes.refused += 1,
        Outcome::Unknown => writes.unknown += 1,
    }
}

async fn write(site: &Site, client: &mut Client, asset: usize, deletes: bool) -> Outcome {
    if deletes {
        let generation = site.ledger.begin_delete(asset);
        let request = Request::delete(format!("/{}", Ledger::name(asset)));
        let (outcome, _) = send(site, client, request, ContentBody::empty()).await;
        site.ledger.settle(asset, generation, outcome);
        return outcome;
    }
    let (generation, content) = site.ledger.begin_put(asset);
    let (outcome, _) = put(site, client, asset, generation, content.body(), false).await;
    site.ledger.settle(asset, generation, outcome);
    outcome
}

async fn put(
    site: &Site,
    client: &mut Client,
    asset: usize,
    generation: usize,
    body: ContentBody,
    everywhere: bool,
) -> (Outcome, String) {
    let mut request = Request::put(format!("/{}", Ledger::name(asset)))
        .header(header::CONTENT_TYPE, CONTENT_TYPE)
        .header(GENERATION, generation);
    if everywhere {
        request = request.header("x-triplicate-wait", "all");
    }
    send(site, client, request, body).await
}

async fn send(
    site: &Site,
    client: &mut Client,
    request: http::request::Builder,
    body: ContentBody,
) -> (Outcome, String) {
    let request = request.header(header::AUTHORIZATION, format!("Bearer {}", site.token.expose()));
    let answer = match client.send(request, body, WRITE_LIMIT).await {
        Ok(answer) => answer,
        Err(reason) => return (Outcome::Unknown, reason),
    };
    let status = answer.status();
    let told = client.whole(answer, WRITE_LIMIT).await.unwrap_or_default();
    match status {
        StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => {
            (Outcome::Acknowledged, String::new())
        }
        _ => {
            let told = String::from_utf8_lossy(&told).into_owned();
            let refused = serde_json::from_str::<serde_json::Value>(&told)
                .is_ok_and(|problem| problem["outcome"] == "not-committed");
            let outcome = if refused { Outcome::Refused } else { Outcome::Unknown };
            (outcome, format!("{status} {told}"))
        }
    }
}
