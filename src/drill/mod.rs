//! Drills: the gateway's own promises, put to the test against providers that fail on purpose.
//!
//! 1. A scenario is read (`scenario` documents its language), or one of the built-in ones is taken.
//! 2. `site`: each provider must be empty; `wire` stands in front of it and breaks what passes; `zone` is a
//!    provider for drills where there is none on the network.
//! 3. A real gateway is built over the wires and runs in this process, on loopback ports of its own.
//! 4. `load`: assets are uploaded to all providers; then clients read, and write, over real connections, and
//!    `verify` judges every byte that they get.
//! 5. `play`: phases begin and end their faults, and are measured.
//! 6. The gateway is stopped, the providers are emptied again whatever happened, and `report` says what
//!    clients saw.
//!
//! Gateway, clients, wires and stores share the machine: times are those of all of them together.

mod content;
mod fault;
mod faults;
mod figures;
mod ledger;
mod load;
mod observe;
mod play;
mod promise;
mod report;
mod run;
mod scenario;
mod screen;
mod shares;
mod site;
mod stage;
mod verify;
pub mod wire;
pub mod zone;

use std::path::{Path, PathBuf};

pub use run::run;
pub use screen::Screen;

use crate::config::{Config, ConfigErrors};
use scenario::{Scenario, builtin};

/// What shows the built-in drills instead of playing one.
pub const LIST: &str = "list";

/// How a drill is played.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The reads of each phase that ends after some, instead of the scenario's.
    pub reads: Option<u64>,
    /// The seed, instead of the scenario's.
    pub seed: Option<u64>,
    /// Where the report is written as JSON too.
    pub report: Option<PathBuf>,
    /// Whether the report is shown as JSON.
    pub json: bool,
}

/// A scenario that can be played.
#[derive(Debug)]
pub struct Drill {
    scenario: Scenario,
    options: Options,
}

/// There is no such scenario, or it is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is neither a file nor built in.
    #[error("there is no file {name}, and no built-in drill of that name; built in are: {}", builtin::names().join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Something is wrong in it.
    #[error(transparent)]
    Malformed(#[from] ConfigErrors),
}

impl Drill {
    /// Reads the scenario at `name`, or takes the built-in one of that name, for the providers of `config`, or
    /// for three of its own.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn load(name: &str, config: Option<&Config>, options: Options) -> Result<Self, Refusal> {
        let providers = site::names(config);
        let mut scenario = match builtin::find(name, scenario::Providers(&providers)) {
            Some(scenario) => scenario?,
            None => scenario::from_file(Path::new(name), scenario::Providers(&providers))?
                .ok_or_else(|| Refusal::Unknown { name: name.to_owned() })?,
        };
        if let Some(reads) = options.reads {
            scenario.scale(reads);
        }
        scenario.seed = options.seed.unwrap_or(scenario.seed);
        Ok(Self { scenario, options })
    }
}

/// Returns the built-in drills and the kinds of faults, a line each.
pub fn list() -> String {
    let row = |(name, about): (String, String)| format!("  {name:16} {about}");
    let drills: Vec<_> = builtin::all().into_iter().map(row).collect();
    format!(
        "Built-in drills; each name of a single fault is a `fault:` of scenario files too:\n{}",
        drills.join("\n")
    )
}
