//! The start of every command that has a configuration: the file, the log, the runtime.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::runtime::Builder;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::{Command, EXIT_START, EXIT_USAGE, Invocation};
use crate::config::{Config, ConfigErrors, DEFAULT_FILE, Loaded, Origin};
use crate::drill::{self, Drill, Refusal};

/// How long the threads of blocking calls may take at the end.
const THREADS_END_WITHIN: Duration = Duration::from_secs(2);

/// Loads the configuration, starts the log and the runtime, and runs a command in it.
pub(super) fn with_configuration(invocation: &Invocation, command: impl AsyncFnOnce(Loaded) -> u8) -> u8 {
    let loaded = match load(invocation) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    log(invocation);
    tell(invocation, &loaded);
    in_runtime(command(loaded))
}

/// Loads the configuration if one is named, and a scenario, starts the log and the runtime, and plays the drill.
pub(super) fn with_drill(
    invocation: &Invocation,
    scenario: &str,
    options: &drill::Options,
    command: impl AsyncFnOnce(Drill, Option<Config>) -> u8,
) -> u8 {
    let config = invocation.config.as_ref().map(|_| load(invocation)).transpose();
    let config = match config {
        Ok(loaded) => loaded.map(|loaded| loaded.config),
        Err(status) => return status,
    };
    let drill = match Drill::load(scenario, config.as_ref(), options.clone()) {
        Ok(drill) => drill,
        Err(Refusal::Malformed(errors)) => return refuse(&errors, "scenario", invocation.json),
        Err(refusal @ Refusal::Unknown { .. }) => {
            let _ = writeln!(std::io::stderr(), "error: {refusal}");
            return EXIT_USAGE;
        }
    };
    log(invocation);
    in_runtime(command(drill, config))
}

fn in_runtime(command: impl Future<Output = u8>) -> u8 {
    match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let status = runtime.block_on(command);
            // A file system that hangs keeps a thread for ever.
            runtime.shutdown_timeout(THREADS_END_WITHIN);
            status
        }
        Err(error) => {
            error!(%error, "the runtime cannot be started");
            EXIT_START
        }
    }
}

/// Loads the configuration, with the flags over it; what is wrong is printed, and the exit status returned.
fn load(invocation: &Invocation) -> Result<Loaded, u8> {
    let loaded = match &invocation.config {
        Some(path) => Config::load(path),
        None => Config::load_default(),
    };
    let loaded = loaded.map_err(|errors| refuse(&errors, "configuration", invocation.json))?;
    let config = loaded.config.with_listeners(invocation.listen, invocation.admin).map_err(|flaw| {
        let _ = writeln!(std::io::stderr(), "error: {flaw}");
        EXIT_USAGE
    })?;
    Ok(Loaded { config, ..loaded })
}

/// Prints every error; the log is not started yet, since nothing runs.
fn refuse(errors: &ConfigErrors, what: &str, json: bool) -> u8 {
    let mut stderr = std::io::stderr().lock();
    if json {
        for problem in errors.problems() {
            let _ = writeln!(stderr, "{}", serde_json::to_string(problem).unwrap_or_default());
        }
    } else {
        let count = errors.problems().len();
        let noun = if count == 1 { "error" } else { "errors" };
        let _ = writeln!(stderr, "{errors}\nThe {what} has {count} {noun}.");
    }
    EXIT_USAGE
}

/// Starts the log on the standard error.
fn log(invocation: &Invocation) {
    // The directives were checked with the flags.
    let filter = EnvFilter::try_new(&invocation.log).unwrap_or_default();
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A log that somebody else has started is as good.
    let _ = if invocation.json { format.json().flatten_event(true).try_init() } else { format.try_init() };
}

/// Says where the configuration came from, and what an operator should know of it; a check reports both.
fn tell(invocation: &Invocation, loaded: &Loaded) {
    if invocation.command == Command::Check {
        return;
    }
    match &loaded.origin {
        Origin::File(path) => info!(file = %path.display(), "configuration read"),
        Origin::BuiltIn => {
            info!(
                "there is no ./{DEFAULT_FILE}: using the built-in configuration, three folders below ./data"
            );
        }
    }
    for problem in &loaded.warnings {
        warn!("{problem}");
    }
}
