//! Running: the site, the gateway and its clients, from the first empty bucket to the last.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Drill;
use super::ledger::Ledger;
use super::load::client::Client;
use super::load::{self, upload};
use super::observe;
use super::play::{Played, Player};
use super::report::{EXIT_NOT_PLAYED, Opening, Report, Uploaded};
use super::scenario::Scenario;
use super::screen::Screen;
use super::site::{Site, SiteError};
use crate::clock::Clock;
use crate::config::{Config, token::TokenText};
use crate::gateway::{Gateway, Greeting};
use crate::task::Tasks;

/// The flags, the scenario or the providers are not fit for a drill.
const EXIT_USAGE: u8 = 64;
/// How long the gateway may take until every provider is in use.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks whether it is.
const START_LOOK: Duration = Duration::from_millis(100);
/// How long the admin listener may take to answer at the start.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long everything may take to end: longer than the gateway gives its requests and tasks.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Why a drill was not played, with its exit status.
struct NotPlayed {
    status: u8,
    reason: String,
}

impl NotPlayed {
    fn because(reason: impl ToString) -> Self {
        Self { status: EXIT_NOT_PLAYED, reason: reason.to_string() }
    }
}

impl From<SiteError> for NotPlayed {
    fn from(error: SiteError) -> Self {
        let status = match &error {
            SiteError::NotEmpty { .. } | SiteError::Build(_) => EXIT_USAGE,
            SiteError::Wire(_) | SiteError::Provider(_) | SiteError::Folder(_) => EXIT_NOT_PLAYED,
        };
        Self { status, reason: error.to_string() }
    }
}

/// Plays a drill over the providers of `config`, or over three of its own, and returns the exit status: 0 every
/// read was right, 1 some failed or were wrong, 3 it could not be played, 64 a provider is not fit for it.
///
/// # Cancellation
///
/// After `stop` the phase ends, the providers are emptied, and what was seen until then is reported. Dropping
/// the future leaves the providers as they are.
pub async fn run(drill: Drill, config: Option<&Config>, screen: &Screen, stop: &CancellationToken) -> u8 {
    let Drill { mut scenario, options } = drill;
    fit_readers(&mut scenario, screen);
    let report = match play(&scenario, config, screen, stop).await {
        Ok(report) => report,
        Err(NotPlayed { status, reason }) => {
            screen.note(&format!("error: {reason}"));
            return status;
        }
    };
    screen.report(&if options.json { report.json() } else { report.text() });
    if let Some(path) = &options.report
        && let Err(error) = std::fs::write(path, report.json() + "\n")
    {
        screen.note(&format!("error: the report {} cannot be written: {error}", path.display()));
        return report.exit().max(EXIT_NOT_PLAYED);
    }
    report.exit()
}

/// Each reader takes two open files, its own end and the gateway's; the system allows only so many.
fn fit_readers(scenario: &mut Scenario, screen: &Screen) {
    let most = crate::http::room_for_connections();
    if scenario.load.readers > most {
        let readers = scenario.load.readers;
        screen.note(&format!(
            "{most} readers instead of {readers}: a process may have no more files open here (ulimit -n)"
        ));
        scenario.load.readers = most;
    }
}

async fn play(
    scenario: &Scenario,
    config: Option<&Config>,
    screen: &Screen,
    stop: &CancellationToken,
) -> Result<Report, NotPlayed> {
    let tasks = Tasks::new();
    let site = tokio::select! {
        site = Site::open(config, scenario.seed, &tasks) => site?,
        () = stop.cancelled() => return Err(NotPlayed::because("stopped before it began")),
    };
    let played = over(&site, scenario, config, screen, stop, &tasks).await;
    let emptied = site.empty().await;
    tasks.shut_down(END_LIMIT).await;
    let report = played?;
    emptied.map_err(|error| NotPlayed::because(format!("the providers could not be emptied: {error}")))?;
    Ok(report)
}

/// Plays over a gateway that is gone afterwards, so that nobody writes while the providers are emptied.
async fn over(
    site: &Site,
    scenario: &Scenario,
    config: Option<&Config>,
    screen: &Screen,
    stop: &CancellationToken,
    tasks: &Tasks,
) -> Result<Report, NotPlayed> {
    let (config, token) = site.config(config, &scenario.load);
    let (gateway, greeting) = Gateway::build(config).await.map_err(NotPlayed::because)?;
    let halt = CancellationToken::new();
    let running = tasks.spawn("gateway", gateway.run(halt.clone()));
    let result = perform(site, scenario, &greeting, token, screen, stop, tasks).await;
    for wire in &site.wires {
        wire.restore().await;
    }
    halt.cancel();
    if tokio::time::timeout(END_LIMIT, running).await.is_err() {
        screen.note("the gateway did not stop in time");
    }
    result
}

async fn perform(
    site: &Site,
    scenario: &Scenario,
    greeting: &Greeting,
    token: TokenText,
    screen: &Screen,
    stop: &CancellationToken,
    tasks: &Tasks,
) -> Result<Report, NotPlayed> {
    let (clock, began) = (Clock::system(), Instant::now());
    let ledger = Ledger::new(scenario.seed, &scenario.load.sizes, scenario.load.assets);
    let load = load::Site {
        address: greeting.listen,
        token,
        ledger: Arc::new(ledger),
        load: Arc::new(scenario.load.clone()),
        seed: scenario.seed,
        tasks: tasks.clone(),
    };
    let mut admin = Client::new(greeting.admin, tasks.clone());
    let started = clock.utc().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    screen.note(&format!(
        "{}: {} assets are uploaded to {}",
        scenario.name,
        scenario.load.assets,
        site.names().join(", ")
    ));
    let prepared = async {
        ready(&mut admin, &load).await?;
        let began = Instant::now();
        let bytes = upload(&load).await.map_err(NotPlayed::because)?;
        Ok::<_, NotPlayed>(Uploaded {
            assets: scenario.load.assets,
            bytes,
            seconds: began.elapsed().as_secs_f64(),
        })
    };
    let uploaded = tokio::select! {
        uploaded = prepared => uploaded?,
        () = stop.cancelled() => return Err(NotPlayed::because("stopped before the first phase")),
    };
    let played: Vec<Played> =
        Player::new(site, load, admin, screen, stop).play(scenario).await.map_err(NotPlayed::because)?;
    let opening = Opening { scenario, providers: site.names(), started, uploaded };
    Ok(Report::new(opening, &played, began.elapsed().as_secs_f64(), stop.is_cancelled()))
}

/// Waits until the gateway is ready and counts on every provider.
async fn ready(admin: &mut Client, load: &load::Site) -> Result<(), NotPlayed> {
    let mut public = load.client();
    let mut reason = "it was not asked".to_owned();
    let began = Instant::now();
    while began.elapsed() < START_LIMIT {
        match observe::status(admin).await {
            Ok(None) => reason = "its index is not fresh".to_owned(),
            Err(error) => reason = error,
            Ok(Some(status)) => {
                let absent = status.providers.iter().find(|(_, provider)| !provider.is_well());
                reason = match (absent, public.fetch("/-/ready", ANSWER_LIMIT).await) {
                    (None, Ok(_)) => return Ok(()),
                    (Some((name, provider)), _) => format!("{name} is not in use: {provider:?}"),
                    (None, Err(error)) => error,
                };
            }
        }
        tokio::time::sleep(START_LOOK).await;
    }
    Err(NotPlayed::because(format!("the gateway did not get ready within {START_LIMIT:?}: {reason}")))
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
