//! Reading: walks a tree key by key and gathers everything that is wrong with it.
//!
//! A reader never stops at an error: a value that cannot be had is `None`, its reason is among the
//! findings, and the walk goes on. Messages show values as they stand in the file, never as the environment
//! filled them in, and values of secret keys not at all.

use std::collections::HashMap;

use super::interpolate::{self, Lookup};
use super::tree::{Flaw, Key, Node, NodeKind, Position};

/// The longest value or key that a message shows, in characters.
const SHOWN_CHARS_MAX: usize = 60;
/// How alike an unknown key and a known one are, from 0 to 1, for the one to be offered for the other.
const LIKENESS_MIN: f64 = 0.65;

/// What was found so far, and where variables of the environment come from.
pub(crate) struct Findings<'a> {
    pub(crate) lookup: Lookup<'a>,
    pub(crate) errors: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
}

/// One thing that was found.
pub(crate) struct Finding {
    pub(crate) at: Position,
    pub(crate) path: String,
    pub(crate) message: String,
}

impl<'a> Findings<'a> {
    /// Starts with what the parser refused.
    pub(crate) fn new(lookup: Lookup<'a>, refused: Vec<Flaw>) -> Self {
        let refused = refused.into_iter();
        let errors =
            refused.map(|flaw| Finding { at: flaw.at, path: String::new(), message: flaw.message }).collect();
        Self { lookup, errors, warnings: Vec::new() }
    }

    /// Adds an error.
    pub(crate) fn error(&mut self, at: Position, path: &str, message: impl Into<String>) {
        self.errors.push(Finding { at, path: path.to_owned(), message: message.into() });
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, at: Position, path: &str, message: impl Into<String>) {
        self.warnings.push(Finding { at, path: path.to_owned(), message: message.into() });
    }
}

/// A map that is being read.
pub(crate) struct Section<'t> {
    pub(crate) at: Position,
    pub(crate) path: String,
    fields: HashMap<&'t str, Field<'t>>,
}

/// A value that is being read.
#[derive(Clone)]
pub(crate) struct Field<'t> {
    /// Where it is; for an empty value and one below its key, where the key is.
    pub(crate) at: Position,
    pub(crate) path: String,
    node: &'t Node,
}

impl<'t> Section<'t> {
    /// Opens a map, and finds doubled keys.
    pub(crate) fn open(field: &Field<'t>, findings: &mut Findings<'_>) -> Option<Self> {
        let entries: &'t [(Key, Node)] = match &field.node.kind {
            NodeKind::Map(entries) => entries,
            NodeKind::Refused => return None,
            NodeKind::Empty => &[],
            NodeKind::Scalar(_) | NodeKind::List(_) => {
                findings.error(field.at, &field.path, "must be keys with values, such as `key: value`");
                return None;
            }
        };
        let mut section = Self { at: field.at, path: field.path.clone(), fields: HashMap::new() };
        let mut lines: HashMap<&str, usize> = HashMap::new();
        for (key, node) in entries {
            if let Some(line) = lines.insert(&key.text, key.at.line) {
                let message = format!("is there twice (line {line}); keep one of them");
                findings.error(key.at, &section.path_of(key, is_plain(&key.text, node)), message);
                continue;
            }
            let beside = node.at.line == key.at.line && !matches!(node.kind, NodeKind::Empty);
            let at = if beside { node.at } else { key.at };
            let field = Field { at, path: section.path_of(key, true), node };
            section.fields.insert(&key.text, field);
        }
        Some(section)
    }

    /// Finds keys that are not among `known`.
    pub(crate) fn refuse_unknown(&self, field: &Field<'t>, known: &[&str], findings: &mut Findings<'_>) {
        let NodeKind::Map(entries) = &field.node.kind else { return };
        for (key, node) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let (shown, message) = match nearest(&key.text, known) {
                Some(near) => (true, format!("unknown key; did you mean `{near}`?")),
                None => (is_plain(&key.text, node), format!("unknown key; known here: {}", known.join(", "))),
            };
            findings.error(key.at, &self.path_of(key, shown), message);
        }
    }

    /// Returns a value, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<&Field<'t>> {
        self.fields.get(key)
    }

    /// Returns a value that must be there.
    pub(crate) fn require(&self, key: &str, findings: &mut Findings<'_>) -> Option<&Field<'t>> {
        let field = self.fields.get(key);
        if field.is_none() {
            findings.error(self.at, &join(&self.path, key), "is missing; add it");
        }
        field
    }

    /// Reads an optional value.
    pub(crate) fn read<T>(
        &self,
        key: &str,
        findings: &mut Findings<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.get(key)?.parse(findings, parse)
    }

    /// Reads a value that must be there.
    pub(crate) fn read_required<T>(
        &self,
        key: &str,
        findings: &mut Findings<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.require(key, findings)?.parse(findings, parse)
    }

    /// Reads a secret that must be there.
    pub(crate) fn read_secret<T>(
        &self,
        key: &str,
        findings: &mut Findings<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.require(key, findings)?.parse_hidden(findings, parse)
    }

    /// Opens an optional map below this one; a missing one reads as empty.
    pub(crate) fn section(&self, key: &str, known: &[&str], findings: &mut Findings<'_>) -> Option<Self> {
        let field = self.get(key)?;
        let section = Self::open(field, findings)?;
        section.refuse_unknown(field, known, findings);
        Some(section)
    }

    /// Returns the items of an optional list; a missing one reads as empty.
    pub(crate) fn list(&self, key: &str, findings: &mut Findings<'_>) -> Vec<Field<'t>> {
        self.get(key).map(|field| field.items(findings)).unwrap_or_default()
    }

    fn path_of(&self, key: &Key, shown: bool) -> String {
        let known = key.text.len() <= SHOWN_CHARS_MAX && key.text.bytes().all(|b| b.is_ascii_graphic());
        if shown && known { join(&self.path, &key.text) } else { self.path.clone() }
    }
}

impl<'t> Field<'t> {
    /// Wraps the root of a tree.
    pub(crate) fn root(node: &'t Node) -> Self {
        Self { at: node.at, path: String::new(), node }
    }

    /// Reads one value; the message of a failure tells it as it stands in the file.
    pub(crate) fn parse<T>(
        &self,
        findings: &mut Findings<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (raw, text) = self.scalar(findings)?;
        // Before an `@` of a URL may stand a password.
        let subject = if raw.contains('@') { "the value".to_owned() } else { quote(raw) };
        self.settle(findings, parse(&text), &subject)
    }

    /// Reads one value that no message may tell.
    pub(crate) fn parse_hidden<T>(
        &self,
        findings: &mut Findings<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (_, text) = self.scalar(findings)?;
        self.settle(findings, parse(&text), "the value (not shown)")
    }

    /// Returns the items of a list.
    pub(crate) fn items(&self, findings: &mut Findings<'_>) -> Vec<Field<'t>> {
        match &self.node.kind {
            NodeKind::List(items) => {
                let fields = items.iter().enumerate();
                fields
                    .map(|(i, node)| Field { at: node.at, path: format!("{}[{i}]", self.path), node })
                    .collect()
            }
            NodeKind::Empty | NodeKind::Refused => Vec::new(),
            NodeKind::Scalar(_) | NodeKind::Map(_) => {
                findings.error(self.at, &self.path, "must be a list: write `[…]`, or a line `- …` for each");
                Vec::new()
            }
        }
    }

    fn scalar(&self, findings: &mut Findings<'_>) -> Option<(&'t str, String)> {
        let raw = match &self.node.kind {
            NodeKind::Scalar(raw) => raw,
            NodeKind::Refused => return None,
            NodeKind::Empty => {
                findings.error(self.at, &self.path, "has no value; give one, or remove the key");
                return None;
            }
            NodeKind::List(_) | NodeKind::Map(_) => {
                findings.error(self.at, &self.path, "must be one value, not a list or a map");
                return None;
            }
        };
        match interpolate::expand(raw, findings.lookup) {
            Ok(text) => Some((raw, text)),
            Err(flaws) => {
                flaws.into_iter().for_each(|flaw| findings.error(self.at, &self.path, flaw));
                None
            }
        }
    }

    fn settle<T>(&self, findings: &mut Findings<'_>, parsed: Result<T, String>, subject: &str) -> Option<T> {
        parsed.map_err(|flaw| findings.error(self.at, &self.path, format!("{subject} {flaw}"))).ok()
    }
}

/// Finds the name that was probably meant.
pub(crate) fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    if text.len() > SHOWN_CHARS_MAX {
        return None;
    }
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&text.to_lowercase(), name);
    let best = known.iter().map(|name| (likeness(name), *name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}

/// A key that looks like one may be told; a stray value, which may be a secret, may not.
fn is_plain(key: &str, value: &Node) -> bool {
    !matches!(value.kind, NodeKind::Empty)
        && key.len() <= 32
        && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-')
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Quotes a value of the file for a message.
pub(crate) fn quote(raw: &str) -> String {
    let mut shown: String = raw.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if raw.chars().count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    // `escape_debug` escapes quotes, which are no trouble between backticks.
    format!("`{}`", shown.replace("\\\"", "\"").replace("\\'", "'"))
}
