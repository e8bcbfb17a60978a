//! The built-in scenarios: one for each fault, all of those together, and some that need more words.

use std::env::VarError;

use super::{Load, Phase, Providers, Scenario, SizeClass, parse};
use crate::config::ConfigErrors;
use crate::drill::fault::Kind;

/// Plays one fault at each provider in turn.
const ONE_FAULT: &str = include_str!("../scenarios/one-fault.yaml");
/// Plays one fault at two providers.
const TWO_FAULTS: &str = include_str!("../scenarios/two-faults.yaml");
/// Plays every fault; it is made of the others.
const MATRIX: (&str, &str) =
    ("matrix", "every single fault above, one after the other, at each provider in turn");
/// Faults that two providers have at once, with the names of the drills.
const TWICE: [(&str, Kind); 2] = [("two-refused", Kind::Refused), ("two-flipped-bit", Kind::FlippedBit)];
/// Those that have a file of their own.
const FILES: [(&str, &str); 6] = [
    ("tail", include_str!("../scenarios/tail.yaml")),
    ("tail-unhedged", include_str!("../scenarios/tail-unhedged.yaml")),
    ("mid-body", include_str!("../scenarios/mid-body.yaml")),
    ("stampede", include_str!("../scenarios/stampede.yaml")),
    ("debt", include_str!("../scenarios/debt.yaml")),
    ("year", include_str!("../scenarios/year.yaml")),
];

/// Returns the names of all, in the order in which they are listed.
pub(in crate::drill) fn names() -> Vec<String> {
    let faults = Kind::ALL.iter().map(|kind| kind.name());
    let files = FILES.iter().map(|(name, _)| *name);
    let twice = TWICE.iter().map(|(name, _)| *name);
    faults.chain([MATRIX.0]).chain(twice).chain(files).map(str::to_owned).collect()
}

/// Returns names and what each plays, in one line.
pub(in crate::drill) fn all() -> Vec<(String, String)> {
    let providers = ["one", "two", "three"].map(str::to_owned);
    let about = |name: String| {
        let fault = Kind::ALL.iter().find(|kind| kind.name() == name).map(|kind| kind.about().to_owned());
        let matrix = (name == MATRIX.0).then(|| MATRIX.1.to_owned());
        let about = fault.or(matrix).or_else(|| Some(find(&name, Providers(&providers))?.ok()?.about));
        (name, about.unwrap_or_default())
    };
    names().into_iter().map(about).collect()
}

/// Finds a built-in scenario, and reads it for these providers.
pub(in crate::drill) fn find(name: &str, providers: Providers<'_>) -> Option<Result<Scenario, ConfigErrors>> {
    if name == MATRIX.0 {
        return Some(matrix(providers));
    }
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) {
        return Some(one_fault(kind, providers));
    }
    if let Some((_, kind)) = TWICE.iter().find(|(known, _)| *known == name) {
        return Some(read(TWO_FAULTS, name, *kind, providers));
    }
    let (_, text) = FILES.iter().find(|(known, _)| *known == name)?;
    Some(read(text, name, Kind::Refused, providers))
}

/// Plays one fault; where only ranges meet it, under a load that asks for them.
fn one_fault(kind: Kind, providers: Providers<'_>) -> Result<Scenario, ConfigErrors> {
    let mut scenario = read(ONE_FAULT, kind.name(), kind, providers)?;
    if kind.is_of_ranges() {
        let Load { sizes, ranges, .. } = &mut scenario.load;
        *sizes = vec![SizeClass { from: 128 << 10, to: 1 << 20, weight: 1 }];
        *ranges = 0.9;
    }
    Ok(scenario)
}

fn read(text: &str, name: &str, kind: Kind, providers: Providers<'_>) -> Result<Scenario, ConfigErrors> {
    let lookup = |variable: &str| {
        let provider = |slot: usize| providers.0.get(slot).cloned().unwrap_or_default();
        match variable {
            "NAME" => Ok(name.to_owned()),
            "FAULT" => Ok(kind.name().to_owned()),
            "ABOUT" => Ok(kind.about().to_owned()),
            "FIRST" => Ok(provider(0)),
            "SECOND" => Ok(provider(1)),
            "THIRD" => Ok(provider(2)),
            _ => Err(VarError::NotPresent),
        }
    };
    parse(text, &format!("built-in drill {name}"), providers, &lookup)
}

/// Plays all single faults over one gateway, the quiet phase of the first one once.
fn matrix(providers: Providers<'_>) -> Result<Scenario, ConfigErrors> {
    let mut matrix = read(ONE_FAULT, MATRIX.0, Kind::ALL[0], providers)?;
    matrix.about = MATRIX.1.to_owned();
    for kind in &Kind::ALL[1..] {
        let scenario = one_fault(*kind, providers)?;
        let is_quiet = |phase: &Phase| phase.faults.is_empty() && phase.until.is_none();
        matrix.phases.extend(scenario.phases.into_iter().filter(|phase| !is_quiet(phase)));
    }
    Ok(matrix)
}
