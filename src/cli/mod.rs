//! The command line: flags to one command, and what every command needs before it runs.
//!
//! 1. `args` reads the flags into an [`Invocation`]; a misuse ends here with status 64.
//! 2. `--new-token` needs no configuration and is done at once.
//! 3. For the others `start` loads the configuration and puts the flags over it; an error ends here with
//!    status 64. Then the log and the runtime are started. A drill needs no configuration, and has a scenario
//!    to be read.
//! 4. `commands` serves, checks, audits or plays a drill; `tools` purges, undoes, or does a round of retention.
//!
//! What is printed for a program to read goes to the standard output, the log and all else to the standard
//! error.

mod args;
mod commands;
mod start;
mod tools;

use std::io::Write;
use std::process::ExitCode;

pub use args::{AuditArgs, AuditLevel, Command, Invocation};

use crate::config::token::TokenText;
use crate::drill;

/// The command did what it was asked for.
const EXIT_FINE: u8 = 0;
/// The gateway could not start, for a reason beyond flags and configuration.
const EXIT_START: u8 = 1;
/// The command did what it could, and something is left to do.
const EXIT_LEFT: u8 = 2;
/// The flags or the configuration are wrong.
const EXIT_USAGE: u8 = 64;

/// Runs the program with the arguments of its process.
pub fn main() -> ExitCode {
    let status = match Invocation::parse(std::env::args_os()) {
        Ok(invocation) => run(&invocation),
        Err(stop) => stop.print(),
    };
    ExitCode::from(status)
}

fn run(invocation: &Invocation) -> u8 {
    let json = invocation.json;
    match &invocation.command {
        Command::NewToken { name } => new_token(name, json),
        Command::Serve => start::with_configuration(invocation, commands::serve),
        Command::Check => {
            start::with_configuration(invocation, async move |loaded| commands::check(loaded, json).await)
        }
        Command::Audit(args) => start::with_configuration(invocation, async move |loaded| {
            commands::audit(loaded, args, json).await
        }),
        Command::Drill { scenario, .. } if scenario == drill::LIST => {
            // A reader that went away has what it wanted.
            let _ = writeln!(std::io::stdout(), "{}", drill::list());
            EXIT_FINE
        }
        Command::Drill { scenario, options } => {
            start::with_drill(invocation, scenario, options, commands::drill)
        }
        Command::Purge(name) => {
            start::with_configuration(invocation, async move |loaded| tools::purge(loaded, name, json).await)
        }
        Command::Undo(name) => {
            start::with_configuration(invocation, async move |loaded| tools::undo(loaded, name, json).await)
        }
        Command::Retention { allow_large_removal } => {
            start::with_configuration(invocation, async move |loaded| {
                tools::retention(loaded, *allow_large_removal, json).await
            })
        }
    }
}

/// Prints a new token and its hash for the configuration.
fn new_token(name: &str, json: bool) -> u8 {
    let token = TokenText::generate();
    let hash = format!("blake3:{}", token.hash());
    let text = if json {
        serde_json::json!({ "name": name, "token": token.expose(), "hash": hash }).to_string()
    } else {
        format!("token: {}\nhash: {hash}", token.expose())
    };
    // A reader that went away has what it wanted.
    let _ = writeln!(std::io::stdout(), "{text}");
    let _ = writeln!(
        std::io::stderr(),
        "The token is shown this once: give it to the client, which sends `Authorization: Bearer TOKEN`.\n\
         Its hash goes into {}, and the gateway is restarted:\n\
         tokens:\n  - name: {name}\n    hash: {hash}\n    allow: [write, delete]",
        crate::config::DEFAULT_FILE
    );
    EXIT_FINE
}
