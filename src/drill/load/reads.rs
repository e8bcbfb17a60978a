//! Readers: each asks for an asset after another, whole or in part, and judges what it gets.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Site;
use super::client::Client;
use crate::drill::content::ContentBody;
use crate::drill::figures::ReadFigures;
use crate::drill::ledger::{Ledger, Written};
use crate::drill::stage::{Act, Stage, Ticket};
use crate::drill::verify::{Asked, Flaw, FlawKind, Judged, head};

/// How long the head of an answer is waited for: longer than any gateway should take to give up.
const HEAD_LIMIT: Duration = Duration::from_secs(60);

/// Reads in every phase until there is none any more.
pub(super) async fn keep_reading(site: Site, reader: usize, mut stage: Stage, stop: CancellationToken) {
    let (mut client, mut dice) = (site.client(), site.dice(1, reader));
    loop {
        let act = stage.borrow_and_update().clone();
        if let Some(ticket) = act.as_ref().and_then(|act| act.ticket()) {
            if wait_for_turn(&site, &ticket, &stop).await {
                let asked = choose(&site, &mut dice);
                read(&site, &mut client, ticket, asked).await;
            } else if stop.is_cancelled() {
                // Whoever came back for tickets that nobody uses would keep the stop from being seen.
                return;
            }
            continue;
        }
        tokio::select! {
            changed = stage.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// Waits until the pace allows a read; `false` when its phase has ended meanwhile.
async fn wait_for_turn(site: &Site, ticket: &Ticket, stop: &CancellationToken) -> bool {
    let Some(pace) = site.load.reads_per_second else { return !stop.is_cancelled() };
    let turn = ticket.act().began + Duration::from_secs_f64(ticket.number as f64 / pace);
    tokio::select! {
        () = tokio::time::sleep_until(turn) => {}
        () = stop.cancelled() => return false,
    }
    !ticket.act().is_over()
}

/// All readers ask for one asset at the same moment, then for the next one, while `act` gives tickets; returns
/// how many assets they asked for.
pub(in crate::drill) async fn read_together(site: &Site, act: &Arc<Act>) -> u64 {
    let mut clients: Vec<_> = (0..site.load.readers).map(|_| site.client()).collect();
    let mut rounds = 0;
    loop {
        let tickets: Vec<_> = std::iter::from_fn(|| act.ticket()).take(clients.len()).collect();
        let asset = usize::try_from(rounds).unwrap_or(0) % site.ledger.assets();
        if tickets.is_empty() {
            return rounds;
        }
        let reads = clients.iter_mut().zip(tickets).map(|(client, ticket)| {
            let asked = Asked { asset, floor: site.ledger.newest(asset).0, range: None };
            read(site, client, ticket, asked)
        });
        futures::future::join_all(reads).await;
        rounds += 1;
    }
}

/// Reads every asset once, while `act` gives tickets.
pub(in crate::drill) async fn read_each_once(site: &Site, act: &Arc<Act>) {
    let mut client = site.client();
    for asset in 0..site.ledger.assets() {
        let Some(ticket) = act.ticket() else { return };
        let asked = Asked { asset, floor: site.ledger.newest(asset).0, range: None };
        read(site, &mut client, ticket, asked).await;
    }
}

fn choose(site: &Site, dice: &mut StdRng) -> Asked {
    let asset = dice.random_range(0..site.ledger.assets());
    let (floor, newest) = site.ledger.newest(asset);
    let wants_range = dice.random::<f64>() < site.load.ranges;
    let range = match newest {
        Some(Written::Put { content, .. }) if wants_range => {
            let start = dice.random_range(0..content.bytes);
            Some(start..dice.random_range(start + 1..=content.bytes))
        }
        Some(Written::Put { .. } | Written::Deleted) | None => None,
    };
    Asked { asset, floor, range }
}

async fn read(site: &Site, client: &mut Client, ticket: Ticket, asked: Asked) {
    let began = Instant::now();
    let (mut first, mut bytes) = (None, 0);
    let result = exchange(site, client, &asked, &mut first, &mut bytes).await;
    let figures = ReadFigures {
        began: began.duration_since(ticket.act().began),
        first: first.map(|at: Instant| at.duration_since(began)),
        end: began.elapsed(),
        bytes,
        asset: asked.asset,
        flaw: result.err(),
    };
    ticket.settle(figures);
}

async fn exchange(
    site: &Site,
    client: &mut Client,
    asked: &Asked,
    first: &mut Option<Instant>,
    bytes: &mut u64,
) -> Result<(), Flaw> {
    let mut request = Request::get(format!("/{}", Ledger::name(asked.asset)));
    if let Some(range) = &asked.range {
        request = request.header(header::RANGE, format!("bytes={}-{}", range.start, range.end - 1));
    }
    let answer = client.send(request, ContentBody::empty(), HEAD_LIMIT).await;
    let answer = answer.map_err(|detail| Flaw::new(FlawKind::Unanswered, detail))?;
    let (parts, mut body) = answer.into_parts();
    let mut verifier = match head(&parts, asked, &site.ledger) {
        Ok(Judged::Body(verifier)) => Some(verifier),
        Ok(Judged::Absent) => None,
        Err(flaw) => {
            client.leave();
            return Err(flaw);
        }
    };
    loop {
        let truncated = |detail| Flaw::new(FlawKind::Truncated, format!("after {bytes} bytes: {detail}"));
        let Some(piece) = client.piece(&mut body).await.map_err(truncated)? else { break };
        first.get_or_insert_with(Instant::now);
        *bytes += piece.len() as u64;
        if let Some(flaw) = verifier.as_mut().and_then(|verifier| verifier.push(&piece).err()) {
            client.leave();
            return Err(flaw);
        }
    }
    verifier.map_or(Ok(()), |verifier| verifier.finish())
}
