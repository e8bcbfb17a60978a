//! Problems: what is wrong in a configuration file, where, and what to do, in words that hold no secret.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::tree::{Node, NodeKind, Position, Tree};

/// How many problems are shown; a file can hold one every few bytes.
const SHOWN_MAX: usize = 100;
/// The longest line that is shown, in characters.
const LINE_CHARS_MAX: usize = 120;
/// Keys whose values may be shown. Unknown keys are not among them: one may be a misspelt secret.
const OPEN_KEYS: &[&str] = &[
    "listen",
    "admin",
    "state",
    "public_url",
    "tokens",
    "providers",
    "cache",
    "limits",
    "cache_control",
    "timeouts",
    "conditional_writes",
    "feed_interval",
    "retention",
    "name",
    "kind",
    "preferred",
    "endpoint",
    "region",
    "bucket",
    "zone",
    "path",
    "path_style",
    "memory",
    "disk",
    "asset",
    "uploads",
    "reads",
    "allow",
    "prefixes",
    "prefix",
    "value",
    "header",
    "idle",
    "body",
    "write",
];

/// One thing that is wrong, or that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// Where it is, unless the whole file is meant.
    pub at: Option<Position>,
    /// The path of the key, such as `providers[1].endpoint`; empty for the whole file.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The line itself, unless it may hold a secret.
    line: Option<String>,
}

impl Problem {
    /// Describes something that concerns the whole file.
    pub(super) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.into(), at: None, path: String::new(), message: message.into(), line: None }
    }

    /// Describes something at a place of the file.
    pub(super) fn at(file: &Arc<str>, at: Position, path: String, message: String) -> Self {
        Self { file: file.clone(), at: Some(at), path, message, line: None }
    }

    /// Adds the line that is meant.
    pub(super) fn with_line(mut self, lines: &Lines<'_>) -> Self {
        self.line = self.at.and_then(|at| lines.shown(at));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(at) = self.at {
            write!(f, ":{}:{}", at.line, at.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        match (&self.line, self.at) {
            (Some(line), Some(at)) => {
                let margin = at.line.to_string();
                write!(f, "\n  {margin} | {line}\n  {:1$} | {2:>3$}", "", margin.len(), "^", at.column)
            }
            _ => Ok(()),
        }
    }
}

impl serde::Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Problem", 5)?;
        fields.serialize_field("file", &*self.file)?;
        fields.serialize_field("line", &self.at.map(|at| at.line))?;
        fields.serialize_field("column", &self.at.map(|at| at.column))?;
        fields.serialize_field("path", &self.path)?;
        fields.serialize_field("message", &self.message)?;
        fields.end()
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
}

impl ConfigErrors {
    /// Gathers problems in the order of the file.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at);
        Self { problems }
    }

    /// Returns the problems in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().take(SHOWN_MAX).enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        match self.problems.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// The lines of a file that may be shown.
pub(super) struct Lines<'a> {
    lines: Vec<&'a str>,
    hidden: BTreeSet<usize>,
}

impl<'a> Lines<'a> {
    /// Finds the lines of `text` that hold no secret, as far as its tree tells.
    pub(super) fn new(text: &'a str, tree: &Tree) -> Self {
        let mut hidden: BTreeSet<usize> = tree.refused.iter().map(|flaw| flaw.at.line).collect();
        if let Some(root) = &tree.root {
            hide(root, false, &mut hidden);
        }
        Self { lines: text.lines().collect(), hidden }
    }

    /// Shows every line: a text without secrets.
    pub(super) fn all(text: &'a str) -> Self {
        Self { lines: text.lines().collect(), hidden: BTreeSet::new() }
    }

    /// Returns the line of `at` up to a comment, which may say anything.
    fn shown(&self, at: Position) -> Option<String> {
        let line = self.lines.get(at.line - 1).filter(|_| !self.hidden.contains(&at.line))?;
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        let fits = line.chars().count() <= LINE_CHARS_MAX && at.column <= line.chars().count();
        let printable = |char: char| if char.is_control() { ' ' } else { char };
        fits.then(|| line.chars().map(printable).collect())
    }
}

/// Hides the lines of every scalar that does not belong to an open key.
fn hide(node: &Node, open: bool, hidden: &mut BTreeSet<usize>) {
    match &node.kind {
        NodeKind::Empty | NodeKind::Refused => {}
        NodeKind::Scalar(text) => {
            // A URL may hold credentials, and a value with a whole `key: value` in it is a slip of the pen.
            if !open || text.contains('@') || text.contains(": ") || text.contains('\n') {
                hidden.extend(node.at.line..=node.last_line);
            }
        }
        NodeKind::List(items) => items.iter().for_each(|item| hide(item, open, hidden)),
        NodeKind::Map(entries) => {
            for (key, value) in entries {
                let open = OPEN_KEYS.contains(&key.text.as_str());
                if !open && matches!(value.kind, NodeKind::Empty | NodeKind::Scalar(_)) {
                    hidden.insert(key.at.line);
                }
                hide(value, open, hidden);
            }
        }
    }
}
