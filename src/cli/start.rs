//! The start of every command that has a configuration: the file, the log, the runtime.

use std::io::{IsTerminal, Write};

use tokio::runtime::Builder;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::{Command, EXIT_START, EXIT_USAGE, Invocation};
use crate::config::{Config, ConfigErrors, DEFAULT_FILE, Loaded, Origin};

/// Loads the configuration, starts the log and the runtime, and runs a command in it.
pub(super) fn with_configuration(invocation: &Invocation, command: impl AsyncFnOnce(Loaded) -> u8) -> u8 {
    let loaded = match load(invocation) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    log(invocation);
    tell(invocation, &loaded);
    match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command(loaded)),
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
    let loaded = loaded.map_err(|errors| refuse(&errors, invocation.json))?;
    let config = loaded.config.with_listeners(invocation.listen, invocation.admin).map_err(|flaw| {
        let _ = writeln!(std::io::stderr(), "error: {flaw}");
        EXIT_USAGE
    })?;
    Ok(Loaded { config, ..loaded })
}

/// Prints every error; the log is not started yet, since nothing runs.
fn refuse(errors: &ConfigErrors, json: bool) -> u8 {
    let mut stderr = std::io::stderr().lock();
    if json {
        for problem in errors.problems() {
            let _ = writeln!(stderr, "{}", serde_json::to_string(problem).unwrap_or_default());
        }
    } else {
        let count = errors.problems().len();
        let noun = if count == 1 { "error" } else { "errors" };
        let _ = writeln!(stderr, "{errors}\nThe configuration has {count} {noun}.");
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
