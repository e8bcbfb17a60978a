//! Flags: what was typed, turned into one [`Command`], every value checked.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgGroup, Parser, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{EXIT_FINE, EXIT_USAGE};
use crate::asset::AssetName;
use crate::config::scalar;
use crate::drill;

/// The most reads of a phase of a drill.
const READS_MAX: u64 = 1_000_000_000;

const EXAMPLES: &str = "\
Examples:
  triplicate                                 serve with ./providers.yaml
  triplicate --check                         say what is wrong, and what to do
  triplicate --new-token shop-backend        make a token
  triplicate --audit                         compare all providers
  triplicate --audit=bytes --repair          read and hash everything, mend what is found
  triplicate --drill list                    name the built-in drills
  triplicate --drill year                    play a year of real outages over three providers of its own
  triplicate --drill wiped --config own.yaml play a drill over empty buckets
  triplicate --undo icons/gold.png           restore the version before the current one
  triplicate --purge icons/gold.png          take a name down, at all providers, now

Exit status:
  --check  0 fine, 2 something to fix
  --audit  0 clean, 1 faults found and all repaired, 2 faults remain, 3 could not tell
  --drill  0 every read was right, 1 some failed or were wrong, 3 could not be played
  --purge, --undo, --retention  0 done, 2 not (yet): what is missing is printed
  all      64 usage or configuration error";

/// What was typed, flag by flag.
#[derive(Debug, Parser)]
#[command(
    name = "triplicate",
    version,
    about = "Keeps every asset in triplicate on several storage providers and serves it over HTTP",
    after_help = EXAMPLES,
    group = ArgGroup::new("mode").args(["check", "new_token", "audit", "drill", "purge", "undo", "retention"]),
    group = ArgGroup::new("reported").args(["audit", "drill"]),
)]
struct Flags {
    /// Configuration file [default: ./providers.yaml, or what is built in where there is none]
    #[arg(long, value_name = "FILE", conflicts_with = "new_token")]
    config: Option<PathBuf>,
    /// Address of the public listener, over that of the file
    #[arg(long, value_name = "ADDRESS", value_parser = address, conflicts_with_all = NOT_SERVING)]
    listen: Option<SocketAddr>,
    /// Address of the admin listener, over that of the file
    #[arg(long, value_name = "ADDRESS", value_parser = address, conflicts_with_all = NOT_SERVING)]
    admin: Option<SocketAddr>,
    /// What is logged: a level, or directives such as `info,triplicate=debug` [default: info; with --check
    /// and --audit: warn; with --drill: error]
    #[arg(long, value_name = "DIRECTIVES", value_parser = directives)]
    log: Option<String>,
    /// Writes logs and reports as JSON
    #[arg(long)]
    json: bool,
    /// Checks the configuration, then each provider, and says what to fix
    #[arg(long)]
    check: bool,
    /// Makes a token, and prints it with its hash for the configuration
    #[arg(long, value_name = "NAME", value_parser = token_name)]
    new_token: Option<String>,
    /// Compares all providers: `list` by listings, `checksum` by what providers vouch for, `bytes` by
    /// reading everything [default: checksum]
    #[arg(
        long, value_name = "LEVEL", value_enum, num_args = 0..=1, require_equals = true,
        default_missing_value = "checksum", hide_possible_values = true
    )]
    audit: Option<AuditLevel>,
    /// Plays a scenario of faults over a real gateway under load and says what its clients saw: a file, or a
    /// built-in drill (`list` names them). Without --config over three providers of its own; those of a
    /// configuration must be empty, and are emptied again
    #[arg(long, value_name = "SCENARIO", value_parser = NonEmptyStringValueParser::new())]
    drill: Option<String>,
    /// Writes the report to this file: with --audit each finding as one JSON object a line, with --drill one
    /// JSON document
    #[arg(long, value_name = "FILE", requires = "reported", conflicts_with_all = OTHER_MODES)]
    report: Option<PathBuf>,
    /// Takes a name down: deletes it, and removes all its versions from all providers, until none is left
    /// or it is interrupted. The name is that of the URL, without the first `/`
    #[arg(long, value_name = "NAME", value_parser = asset_name)]
    purge: Option<AssetName>,
    /// Restores the version of a name before the current one, or before its deletion, as a new version
    #[arg(long, value_name = "NAME", value_parser = asset_name)]
    undo: Option<AssetName>,
    /// Does one round of retention now and prints it; a plan that removes too much only prints
    #[arg(long)]
    retention: bool,
    /// With --retention: removes what is planned though it is more than 1 % of all copies
    #[arg(long, requires = "retention", conflicts_with_all = ["check", "new_token", "audit", "purge", "undo"])]
    allow_large_removal: bool,
    #[command(flatten)]
    audit_flags: AuditFlags,
    #[command(flatten)]
    drill_flags: DrillFlags,
}

/// A flag's `requires` alone is satisfied by another mode, since that rules the required one out.
const OTHER_MODES: [&str; 5] = ["check", "new_token", "purge", "undo", "retention"];
const NO_AUDIT: [&str; 6] = ["check", "new_token", "drill", "purge", "undo", "retention"];
const NO_DRILL: [&str; 6] = ["check", "new_token", "audit", "purge", "undo", "retention"];
/// The modes in which nothing listens.
const NOT_SERVING: [&str; 6] = ["new_token", "audit", "drill", "purge", "undo", "retention"];

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --audit")]
struct AuditFlags {
    /// Mends what is found
    #[arg(long, requires = "audit", conflicts_with_all = NO_AUDIT)]
    repair: bool,
    /// Looks only at names that begin so
    #[arg(long, value_name = "P", requires = "audit", conflicts_with_all = NO_AUDIT, value_parser = prefix)]
    prefix: Option<String>,
    /// Looks only at a share of the names, such as `1%`
    #[arg(long, value_name = "SHARE", requires = "audit", conflicts_with_all = NO_AUDIT, value_parser = share)]
    sample: Option<f64>,
    /// Reads no faster than this, such as `50MiB/s`
    #[arg(long, value_name = "RATE", requires = "audit", conflicts_with_all = NO_AUDIT, value_parser = rate)]
    max_rate: Option<u64>,
    /// Goes on where an audit was interrupted
    #[arg(long, requires = "audit", conflicts_with_all = NO_AUDIT)]
    resume: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --drill")]
struct DrillFlags {
    /// Reads so often in each phase that ends after some reads
    #[arg(long, value_name = "N", requires = "drill", conflicts_with_all = NO_DRILL, value_parser = reads)]
    reads: Option<u64>,
    /// Draws contents, sizes and faults from this number
    #[arg(long, value_name = "N", requires = "drill", conflicts_with_all = NO_DRILL)]
    seed: Option<u64>,
}

/// What is to be done, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// What is to be done.
    pub command: Command,
    /// The configuration file, unless the usual one is meant.
    pub config: Option<PathBuf>,
    /// The address of the public listener, unless the file's is meant.
    pub listen: Option<SocketAddr>,
    /// The address of the admin listener, unless the file's is meant.
    pub admin: Option<SocketAddr>,
    /// What is logged, as valid directives.
    pub log: String,
    /// Whether logs and reports are JSON.
    pub json: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Serve until told to stop.
    Serve,
    /// Check the configuration and the providers.
    Check,
    /// Make a token.
    NewToken {
        /// Who it is for.
        name: String,
    },
    /// Compare the providers.
    Audit(AuditArgs),
    /// Play a scenario of faults, or name the built-in ones.
    Drill {
        /// A file, a built-in drill, or `list`.
        scenario: String,
        /// How it is played.
        options: drill::Options,
    },
    /// Take a name down everywhere.
    Purge(AssetName),
    /// Restore the version before the current one.
    Undo(AssetName),
    /// Do one round of retention.
    Retention {
        /// Whether a plan that removes too much is carried out.
        allow_large_removal: bool,
    },
}

/// How the providers are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditArgs {
    /// How closely.
    pub level: AuditLevel,
    /// Whether faults are mended.
    pub repair: bool,
    /// The start of the names that are looked at; all where there is none.
    pub prefix: Option<String>,
    /// The share of the names that is looked at, above 0 and up to 1; all where there is none.
    pub sample: Option<f64>,
    /// The most bytes read in a second, at least 1.
    pub max_bytes_per_second: Option<u64>,
    /// Whether an interrupted audit is continued.
    pub resume: bool,
    /// The file of the findings.
    pub report: Option<PathBuf>,
}

/// How closely an audit looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuditLevel {
    /// At listings.
    List,
    /// At the checksums that providers report; what one cannot vouch for is read.
    Checksum,
    /// At all bytes.
    Bytes,
}

/// The program ends before it began: help was asked for, or the flags are wrong.
#[derive(Debug)]
pub(super) struct Stop(clap::Error);

impl Stop {
    /// Prints why, and returns the exit status.
    pub(super) fn print(&self) -> u8 {
        // Nobody is left to be told that the terminal went away.
        let _ = self.0.print();
        self.status()
    }

    fn status(&self) -> u8 {
        let asked_for = matches!(self.0.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if asked_for { EXIT_FINE } else { EXIT_USAGE }
    }
}

impl Invocation {
    /// Reads the arguments of a process, its name first.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        Flags::try_parse_from(args).map(Self::from).map_err(|error| Stop(with_tip(error)))
    }
}

impl From<Flags> for Invocation {
    fn from(flags: Flags) -> Self {
        let Flags { config, listen, admin, log, json, check, new_token, audit, drill, report, .. } = flags;
        let (audit_flags, DrillFlags { reads, seed }) = (flags.audit_flags, flags.drill_flags);
        let command = match (check, new_token, audit, drill) {
            (_, Some(name), _, _) => Command::NewToken { name },
            (_, _, _, Some(scenario)) => {
                Command::Drill { scenario, options: drill::Options { reads, seed, report, json } }
            }
            (_, _, Some(level), None) => Command::Audit(AuditArgs {
                level,
                repair: audit_flags.repair,
                prefix: audit_flags.prefix,
                sample: audit_flags.sample,
                max_bytes_per_second: audit_flags.max_rate,
                resume: audit_flags.resume,
                report,
            }),
            (true, None, None, None) => Command::Check,
            (false, None, None, None) => match (flags.purge, flags.undo) {
                (Some(name), _) => Command::Purge(name),
                (None, Some(name)) => Command::Undo(name),
                (None, None) if flags.retention => {
                    Command::Retention { allow_large_removal: flags.allow_large_removal }
                }
                (None, None) => Command::Serve,
            },
        };
        let usual = match command {
            Command::Serve | Command::NewToken { .. } => "info",
            Command::Check
            | Command::Audit(_)
            | Command::Purge(_)
            | Command::Undo(_)
            | Command::Retention { .. } => "warn",
            // What it warns of is done to it on purpose.
            Command::Drill { .. } => "error",
        };
        let log = log.unwrap_or_else(|| usual.to_owned());
        Self { command, config, listen, admin, log, json }
    }
}

/// `--audit list` reads as a flag and a stray word; what was meant is plain.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let stray = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(stray)) if error.kind() == ErrorKind::UnknownArgument => stray.clone(),
        _ => return error,
    };
    if AuditLevel::from_str(&stray, false).is_ok() {
        let tip = format!("write `--audit={stray}`, with `=`");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn address(text: &str) -> Result<SocketAddr, String> {
    scalar::address(text).map_err(|flaw| format!("it {flaw}"))
}

fn token_name(text: &str) -> Result<String, String> {
    scalar::token_name(text).map_err(|flaw| format!("it {flaw}"))
}

/// Reads a name as URLs spell it, percent escapes included.
fn asset_name(text: &str) -> Result<AssetName, String> {
    let path = format!("/{}", text.strip_prefix('/').unwrap_or(text));
    AssetName::from_url_path(&path).map_err(|flaw| format!("it is not a name: {flaw}"))
}

fn prefix(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty; leave --prefix out to look at all names".to_owned());
    }
    scalar::prefix(text).map_err(|flaw| format!("it {flaw}"))
}

/// Reads a share such as `1%` as a part of 1.
fn share(text: &str) -> Result<f64, String> {
    scalar::share(text)
        .ok()
        .filter(|share| *share > 0.0)
        .ok_or_else(|| "write a percentage above 0% and up to 100%, such as `1%`".to_owned())
}

/// Reads a rate such as `50MiB/s`.
fn rate(text: &str) -> Result<u64, String> {
    text.strip_suffix("/s")
        .and_then(|size| scalar::size(size).ok())
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "write a size above 0 and `/s`, such as `50MiB/s`".to_owned())
}

/// Reads a number of reads.
fn reads(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|reads| (1..=READS_MAX).contains(reads))
        .ok_or_else(|| format!("write a whole number from 1 to {READS_MAX}"))
}

/// Checks directives, and refuses the slip that they would take in silence: `debgu` names no module.
fn directives(text: &str) -> Result<String, String> {
    let form = "write a level (error, warn, info, debug, trace, off), or directives such as \
                `info,triplicate=debug`";
    for directive in text.split(',') {
        let bare = directive.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
        if bare && (directive.is_empty() || directive.parse::<LevelFilter>().is_err()) {
            return Err(format!("`{directive}` is not a level; {form}"));
        }
    }
    EnvFilter::try_new(text).map_err(|error| format!("{error}; {form}"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
