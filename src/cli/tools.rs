//! The commands of an operator on what is stored: what each prints, around the flow that does the work.

use std::io::Write;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::commands::{start_status, stop_signal};
use super::{EXIT_FINE, EXIT_LEFT};
use crate::asset::AssetName;
use crate::config::Loaded;
use crate::gateway::purge::{Ending, Pass};
use crate::gateway::tools::Tools;
use crate::retention::Brake;

/// Takes a name down everywhere.
pub(super) async fn purge(loaded: Loaded, name: &AssetName, json: bool) -> u8 {
    let tools = match build(loaded) {
        Ok(tools) => tools,
        Err(status) => return status,
    };
    let stop = CancellationToken::new();
    let ending = {
        let purging = tools.purge(name, &stop, |pass| print(&shown(pass, json)));
        tokio::pin!(purging);
        tokio::select! {
            ending = &mut purging => ending,
            // Without signals only killing the process ends it; the next purge goes on.
            told = stop_signal() => {
                if told.is_ok() {
                    stop.cancel();
                }
                purging.await
            }
        }
    };
    tools.end().await;
    let (status, word) = match ending {
        Ending::Gone => (
            EXIT_FINE,
            "gone: no provider has a version of it; the tombstone stays until retention removes it",
        ),
        Ending::Unknown => (EXIT_FINE, "gone: no provider knows of such a name"),
        Ending::Interrupted => {
            (EXIT_LEFT, "interrupted: it is not known to be gone everywhere; run it again")
        }
    };
    print(&if json {
        json!({ "name": name, "gone": status == EXIT_FINE, "detail": word }).to_string()
    } else {
        format!("{name} is {word}")
    });
    status
}

fn shown(pass: &Pass, json: bool) -> String {
    if json {
        return serde_json::to_string(pass).unwrap_or_default();
    }
    let mut lines: Vec<_> = pass.not_deleted.iter().map(|why| format!("no tombstone yet: {why}")).collect();
    lines.extend(pass.providers.iter().map(|cleared| match &cleared.failure {
        Some(failure) => {
            format!("{}: {} objects removed; NOT CLEAR: {failure}", cleared.provider, cleared.objects)
        }
        None => format!(
            "{}: {} versions found, {} objects removed",
            cleared.provider, cleared.versions, cleared.objects
        ),
    }));
    lines.extend(pass.watching_for_seconds.map(|seconds| {
        format!(
            "a provider lacked what another one had: a copy on its way to it is waited for, {seconds} s more"
        )
    }));
    lines.extend(pass.again_in_seconds.map(|seconds| format!("looking again in {seconds} s")));
    lines.join("\n")
}

/// Restores the version before the current one.
pub(super) async fn undo(loaded: Loaded, name: &AssetName, json: bool) -> u8 {
    let tools = match build(loaded) {
        Ok(tools) => tools,
        Err(status) => return status,
    };
    let undone = tools.undo(name).await;
    tools.end().await;
    let (status, text) = match undone {
        Ok(undone) => {
            let new = undone.receipt.record.version;
            let text = if json {
                let (was, restored) = (undone.current, undone.restored);
                json!({ "name": name, "was": was, "restored": restored, "version": new }).to_string()
            } else {
                format!(
                    "{name}\nwas:      {}\nrestored: {}\nas:       {new}",
                    undone.current, undone.restored
                )
            };
            (EXIT_FINE, text)
        }
        Err(error) if json => (EXIT_LEFT, json!({ "name": name, "error": error.to_string() }).to_string()),
        Err(error) => (EXIT_LEFT, format!("{name}: {error}")),
    };
    print(&text);
    status
}

/// Does one round of retention.
pub(super) async fn retention(loaded: Loaded, allow_large_removal: bool, json: bool) -> u8 {
    let tools = match build(loaded) {
        Ok(tools) => tools,
        Err(status) => return status,
    };
    let brake = if allow_large_removal { Brake::Released } else { Brake::Count };
    // A large plan takes long: a hundred requests a second are sent at most.
    let report = tools.retention(brake, eprint).await;
    tools.end().await;
    let text = serde_json::to_string(&report).unwrap_or_default();
    print(&if json { text } else { report.lines().join("\n") });
    if report.is_done() { EXIT_FINE } else { EXIT_LEFT }
}

fn build(loaded: Loaded) -> Result<Tools, u8> {
    Tools::build(loaded.config).map_err(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        start_status(&error)
    })
}

fn eprint(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn print(text: &str) {
    // The work is done whether or not anybody reads of it.
    let _ = writeln!(std::io::stdout(), "{text}");
}
