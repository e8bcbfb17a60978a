//! Reads a scenario by the rules of the configuration: unknown keys refused, all errors together.

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use http::Method;

use super::{Fault, Load, Phase, Scenario, SizeClass, Until};
use crate::config::document::{self, Shown};
use crate::config::interpolate::Lookup;
use crate::config::reader::{Field, Findings, Section, nearest};
use crate::config::scalar;
use crate::config::tree::{Node, Position};
use crate::config::{ConfigErrors, environment};
use crate::drill::fault::Kind;

const READERS_DEFAULT: usize = 16;
const READERS_MAX: usize = 100_000;
const ASSETS_DEFAULT: usize = 200;
const ASSETS_MAX: usize = 1_000_000;
const WRITERS_MAX: usize = 1_000;
const READS_MAX: usize = 1_000_000_000;
const PHASES_MAX: usize = 1_000;
const WEIGHT_MAX: usize = 1_000_000;
/// The largest asset of a drill: contents are made anew for every read.
const SIZE_MAX: u64 = 1 << 30;
const RANGES_DEFAULT: f64 = 0.1;
const TEXT_CHARS_MAX: usize = 200;
const RATE_MAX: f64 = 1_000_000.0;
const PHASE_LENGTHS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);
const DELAYS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(10);
/// Mostly icons.
const SIZES_DEFAULT: [SizeClass; 3] = [
    SizeClass { from: 1 << 10, to: 64 << 10, weight: 90 },
    SizeClass { from: 64 << 10, to: 1 << 20, weight: 9 },
    SizeClass { from: 1 << 20, to: 8 << 20, weight: 1 },
];
const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

const ROOT_KEYS: &[&str] = &["name", "about", "seed", "load", "phases"];
const LOAD_KEYS: &[&str] = &[
    "readers", "assets", "sizes", "ranges", "pace", "together", "writers", "writes", "deletes", "cache",
    "hedging",
];
const PHASE_KEYS: &[&str] = &["name", "reads", "for", "until", "faults"];
const FAULT_KEYS: &[&str] = &["at", "fault", "share", "methods", "prefix", "delay", "after"];

/// The names of the providers, in the order of the configuration.
#[derive(Debug, Clone, Copy)]
pub(in crate::drill) struct Providers<'a>(pub(in crate::drill) &'a [String]);

/// Reads the text of a scenario called `file`.
///
/// # Errors
///
/// Everything that is wrong, together.
pub(in crate::drill) fn parse(
    text: &str,
    file: &str,
    providers: Providers<'_>,
    lookup: Lookup<'_>,
) -> Result<Scenario, ConfigErrors> {
    let read = |root: Option<&Node>, findings: &mut Findings<'_>| scenario(root, providers, findings);
    document::parse(text, file, lookup, Shown::All, read).map(|(scenario, _)| scenario)
}

/// Reads the scenario in a file; `None` where there is no such file.
///
/// # Errors
///
/// The file cannot be read, or everything that is wrong in it.
pub(in crate::drill) fn from_file(
    path: &Path,
    providers: Providers<'_>,
) -> Result<Option<Scenario>, ConfigErrors> {
    let name = path.display().to_string();
    let bytes = match document::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let folder = "is a folder; name a scenario's file".to_owned();
            return Err(document::of_file(&name, document::refuse_read(&error, String::new(), folder)));
        }
    };
    parse(document::decode(&bytes, &name)?, &name, providers, &environment).map(Some)
}

fn scenario(root: Option<&Node>, providers: Providers<'_>, findings: &mut Findings<'_>) -> Option<Scenario> {
    let Some(root) = root else {
        findings.error(Position { line: 1, column: 1 }, "", "the scenario is empty; `phases` are needed");
        return None;
    };
    let field = Field::root(root);
    let section = Section::open(&field, findings)?;
    section.refuse_unknown(&field, ROOT_KEYS, findings);
    let name = section.read_required("name", findings, text);
    let about = section.read("about", findings, text).unwrap_or_default();
    let seed = section.read("seed", findings, |text| scalar::integer(text, &(0..=usize::MAX)));
    let load = load(&section, findings);
    let phases = phases(&section, providers, findings);
    let seed = seed.map_or(1, |seed| seed as u64);
    Some(Scenario { name: name?, about, seed, load, phases })
}

fn load(root: &Section<'_>, findings: &mut Findings<'_>) -> Load {
    let mut load = Load {
        readers: READERS_DEFAULT,
        assets: ASSETS_DEFAULT,
        sizes: SIZES_DEFAULT.to_vec(),
        ranges: RANGES_DEFAULT,
        reads_per_second: None,
        together: false,
        writers: 0,
        writes_per_second: None,
        deletes: 0.0,
        cache_bytes: 0,
        hedging: true,
    };
    let Some(section) = root.section("load", LOAD_KEYS, findings) else { return load };
    let count = |key, most, findings: &mut Findings<'_>| {
        section.read(key, findings, |text| scalar::integer(text, &(1..=most)))
    };
    load.readers = count("readers", READERS_MAX, findings).unwrap_or(load.readers);
    load.assets = count("assets", ASSETS_MAX, findings).unwrap_or(load.assets);
    if section.get("sizes").is_some() {
        load.sizes = sizes(&section, findings);
    }
    load.ranges = section.read("ranges", findings, scalar::share).unwrap_or(load.ranges);
    load.reads_per_second = section.read("pace", findings, rate);
    load.together = section.read("together", findings, scalar::boolean).unwrap_or(false);
    let writers = section.read("writers", findings, |text| scalar::integer(text, &(0..=WRITERS_MAX)));
    load.writers = writers.unwrap_or(0);
    load.writes_per_second = section.read("writes", findings, rate);
    load.deletes = section.read("deletes", findings, scalar::share).unwrap_or(0.0);
    load.cache_bytes = section.read("cache", findings, scalar::size).unwrap_or(0);
    load.hedging = section.read("hedging", findings, scalar::boolean).unwrap_or(true);
    refuse_contradictions(&load, &section, findings);
    load
}

fn refuse_contradictions(load: &Load, section: &Section<'_>, findings: &mut Findings<'_>) {
    let mut refuse = |key, message: &str| {
        if let Some(field) = section.get(key) {
            findings.error(field.at, &field.path, message);
        }
    };
    if load.writers > load.assets {
        refuse("writers", "is more than there are assets; each writer has assets of its own");
    }
    if load.writers == 0 {
        refuse("writes", "needs `writers`");
        refuse("deletes", "needs `writers`");
    }
    if load.together {
        refuse("pace", "has no meaning with `together: true`: all readers ask at the same moment");
    }
}

fn sizes(section: &Section<'_>, findings: &mut Findings<'_>) -> Vec<SizeClass> {
    let items = section.list("sizes", findings);
    if let (true, Some(field)) = (items.is_empty(), section.get("sizes")) {
        findings.error(field.at, &field.path, "has no class; leave `sizes` out for mostly icons");
    }
    let mut classes = Vec::new();
    for item in items {
        let Some(section) = Section::open(&item, findings) else { continue };
        section.refuse_unknown(&item, &["from", "to", "weight"], findings);
        let from = section.read_required("from", findings, size);
        let to = section.read_required("to", findings, size);
        let weight = section.read("weight", findings, |text| scalar::integer(text, &(1..=WEIGHT_MAX)));
        let (Some(from), Some(to)) = (from, to) else { continue };
        if from > to {
            findings.error(item.at, &item.path, "goes from the larger size to the smaller one");
        }
        classes.push(SizeClass { from, to, weight: weight.unwrap_or(1) });
    }
    classes
}

fn phases(root: &Section<'_>, providers: Providers<'_>, findings: &mut Findings<'_>) -> Vec<Phase> {
    let Some(field) = root.require("phases", findings) else { return Vec::new() };
    let before = findings.errors.len();
    let items = field.items(findings);
    match items.len() {
        0 if findings.errors.len() == before => {
            findings.error(field.at, &field.path, "has no phase; a drill plays at least one");
        }
        0..=PHASES_MAX => {}
        _ => findings.error(field.at, &field.path, format!("has more than {PHASES_MAX} phases")),
    }
    items.iter().filter_map(|item| phase(item, providers, findings)).collect()
}

fn phase(item: &Field<'_>, providers: Providers<'_>, findings: &mut Findings<'_>) -> Option<Phase> {
    let section = Section::open(item, findings)?;
    section.refuse_unknown(item, PHASE_KEYS, findings);
    let name = section.read_required("name", findings, text);
    let reads = section.read("reads", findings, |text| scalar::integer(text, &(1..=READS_MAX)));
    let length = section.read("for", findings, |text| scalar::duration(text, &PHASE_LENGTHS));
    let until = section.read("until", findings, until);
    if section.get("reads").is_none() && section.get("for").is_none() {
        findings.error(item.at, &item.path, "has no end: add `reads: 2000` or `for: 10s`");
    } else if let (Some(until), None) = (section.get("until"), section.get("for")) {
        findings.error(until.at, &until.path, "needs `for`, the longest time that is waited");
    }
    let faults = section.list("faults", findings);
    let faults = faults.iter().filter_map(|item| fault(item, providers, findings)).collect();
    let reads = reads.map(|reads| reads as u64);
    Some(Phase { name: name?, reads, length, until, faults })
}

fn fault(item: &Field<'_>, providers: Providers<'_>, findings: &mut Findings<'_>) -> Option<Fault> {
    let section = Section::open(item, findings)?;
    section.refuse_unknown(item, FAULT_KEYS, findings);
    let slots = section.read_required("at", findings, |text| target(text, providers));
    let kind = section.read_required("fault", findings, kind);
    let share = section.read("share", findings, scalar::share);
    let methods = section.list("methods", findings);
    let methods = methods.iter().filter_map(|method| method.parse(findings, parse_method)).collect();
    let prefix = section.read("prefix", findings, |text| Ok(text.to_owned()));
    let delay = section.read("delay", findings, |text| scalar::duration(text, &DELAYS));
    let after = section.read("after", findings, scalar::size);
    let kind = kind?;
    let mut misplaced = |key, takes: bool| {
        if let (Some(field), false) = (section.get(key), takes) {
            findings.error(field.at, &field.path, format!("has no meaning for `{}`", kind.name()));
        }
    };
    for key in ["share", "methods", "prefix"] {
        misplaced(key, kind.is_of_requests());
    }
    misplaced("delay", kind.takes_delay());
    misplaced("after", kind.takes_after());
    let share = share.unwrap_or_else(|| kind.share());
    Some(Fault { slots: slots?, kind, share, methods, prefix, delay, after })
}

fn text(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.chars().count() <= TEXT_CHARS_MAX && !text.contains(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(|| format!("is not one line of 1-{TEXT_CHARS_MAX} characters"))
}

fn size(text: &str) -> Result<u64, String> {
    match scalar::size(text)? {
        0 => Err("is empty, and an empty asset is never read from a provider".to_owned()),
        bytes if bytes <= SIZE_MAX => Ok(bytes),
        _ => Err("is more than 1GiB, the largest asset of a drill".to_owned()),
    }
}

/// Reads a rate such as `500/s`.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").and_then(|number| number.parse::<f64>().ok());
    number
        .filter(|rate| *rate > 0.0 && *rate <= RATE_MAX)
        .ok_or_else(|| "is not a rate: write how many a second, such as `500/s`".to_owned())
}

fn until(text: &str) -> Result<Until, String> {
    match text {
        "healthy" => Ok(Until::Healthy),
        "recovered" => Ok(Until::Recovered),
        _ => Err("is nothing to wait for: `healthy`, `recovered`".to_owned()),
    }
}

fn target(text: &str, Providers(names): Providers<'_>) -> Result<Vec<usize>, String> {
    if text == "all" {
        return Ok((0..names.len()).collect());
    }
    let named = names.iter().position(|name| name == text);
    let slot =
        named.or_else(|| ORDINALS.iter().position(|word| *word == text).filter(|at| *at < names.len()));
    slot.map(|slot| vec![slot]).ok_or_else(|| {
        let ordinals = ORDINALS.iter().take(names.len()).copied();
        let known: Vec<_> = names.iter().map(String::as_str).chain(ordinals).chain(["all"]).collect();
        format!("is not a provider of this drill: {}", known.join(", "))
    })
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        match nearest(text, &names) {
            Some(near) => format!("is not a fault; did you mean `{near}`?"),
            None => format!("is not a fault: {}", names.join(", ")),
        }
    })
}

fn parse_method(text: &str) -> Result<Method, String> {
    let known = ["GET", "PUT", "DELETE", "HEAD", "POST", "DESCRIBE"];
    let method = known.contains(&text).then(|| text.parse().ok()).flatten();
    method.ok_or_else(|| format!("is not a method that providers are called with: {}", known.join(", ")))
}
