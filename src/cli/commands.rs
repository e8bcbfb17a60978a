//! The commands: what each prints for people, around the flow that does the work.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{AuditArgs, AuditLevel, EXIT_FINE, EXIT_START, EXIT_USAGE};
use crate::audit::{self, AuditOptions, Level};
use crate::clock::Clock;
use crate::config::record_key::{self, Missing};
use crate::config::{Config, Loaded};
use crate::drill::{self, Drill, Screen};
use crate::gateway::{self, Gateway, Greeting, StartError, fleet};
use crate::provider::Fleet;

/// Serves until the process is told to stop.
pub(super) async fn serve(loaded: Loaded) -> u8 {
    let (gateway, greeting) = match Gateway::build(loaded.config).await {
        Ok(built) => built,
        Err(error) => {
            error!("{error}");
            return start_status(&error);
        }
    };
    greet(&greeting);
    let stop = CancellationToken::new();
    let told = async {
        match stop_signal().await {
            Ok(()) => stop.cancel(),
            // Without signals only killing the process ends it, which loses nothing.
            Err(error) => warn!(%error, "signals cannot be listened for"),
        }
    };
    let ((), ()) = tokio::join!(gateway.run(stop.clone()), told);
    EXIT_FINE
}

/// Prints what the operator has to know, and what a program waits for.
fn greet(greeting: &Greeting) {
    let mut lines = Vec::new();
    if let (true, Some(file)) = (greeting.key.made_now, &greeting.key.file) {
        lines.push(format!(
            "NEW RECORD KEY: {}\nKEEP A COPY OF IT: without this key nothing that is stored can be read.",
            file.display()
        ));
    }
    if let Some(token) = &greeting.token {
        lines.push(format!("generated token: {}", token.text.expose()));
        lines.push(format!("kept in: {}", token.file.display()));
    }
    lines.push(format!("listening: http://{}", greeting.listen));
    lines.push(format!("admin: http://{}", greeting.admin));
    // A gateway serves whether or not anybody reads what it prints.
    let _ = writeln!(std::io::stdout(), "{}", lines.join("\n"));
    let token = greeting.token.as_ref().filter(|token| token.open_to_others).map(|token| &token.file);
    let key = greeting.key.file.as_ref().filter(|_| greeting.key.open_to_others);
    for file in [token, key].into_iter().flatten() {
        warn!(file = %file.display(), "this secret can be read by others: chmod 600");
    }
}

/// Waits for SIGTERM or SIGINT.
pub(super) async fn stop_signal() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

pub(super) fn start_status(error: &StartError) -> u8 {
    match error {
        StartError::Key(_) | StartError::Token(_) | StartError::Provider(_) => EXIT_USAGE,
        StartError::State { .. } | StartError::Index(_) | StartError::Listen { .. } => EXIT_START,
    }
}

/// Checks the configuration and the providers.
pub(super) async fn check(loaded: Loaded, json: bool) -> u8 {
    match bare_fleet(&loaded.config, &Clock::system()) {
        Ok(fleet) => gateway::check::run(&loaded, &fleet, json).await,
        Err(status) => status,
    }
}

/// Compares the providers.
pub(super) async fn audit(loaded: Loaded, args: &AuditArgs, json: bool) -> u8 {
    let clock = Clock::system();
    let config = loaded.config;
    let key = match record_key::resolve(&config.record_key, Missing::Refuse) {
        Ok(key) => key.key,
        Err(error) => return refuse(&error),
    };
    let fleet = match bare_fleet(&config, &clock) {
        Ok(fleet) => fleet,
        Err(status) => return status,
    };
    let options = AuditOptions {
        level: match args.level {
            AuditLevel::List => Level::List,
            AuditLevel::Checksum => Level::Checksum,
            AuditLevel::Bytes => Level::Bytes,
        },
        repair: args.repair,
        prefix: args.prefix.clone(),
        sample: args.sample,
        max_bytes_per_second: args.max_bytes_per_second,
        resume: args.resume,
        report: args.report.clone(),
        json,
        state_dir: config.state,
    };
    audit::run(fleet, key, clock, options).await
}

/// Plays a drill; a signal ends it early, and its providers are emptied all the same.
pub(super) async fn drill(drill: Drill, config: Option<Config>) -> u8 {
    let (stop, screen) = (CancellationToken::new(), Screen::standard());
    let told = async {
        match stop_signal().await {
            Ok(()) => stop.cancel(),
            Err(error) => warn!(%error, "signals cannot be listened for"),
        }
        std::future::pending().await
    };
    tokio::select! {
        status = drill::run(drill, config.as_ref(), &screen, &stop) => status,
        never = told => never,
    }
}

fn bare_fleet(config: &Config, clock: &Clock) -> Result<Fleet, u8> {
    fleet::bare(&config.providers, clock).map(Fleet::new).map_err(|error| refuse(&error))
}

fn refuse(error: &dyn std::error::Error) -> u8 {
    let _ = writeln!(std::io::stderr(), "error: {error}");
    EXIT_USAGE
}
