//! Trees: the YAML text as lists, maps and raw scalars, each with its position.
//!
//! The text is read from the parser's events rather than through a loader: a loader keeps the last of two
//! equal keys in silence, copies anchored nodes, and guesses types (`0123`, `yes`) that an access key must
//! not have. Scalars stay the text that was written. Anchors, aliases, tags and further documents are
//! refused, since each is a way to say something else than what stands at a place.
//!
//! Nothing here knows a key of the configuration, and nothing here derives `Debug`: scalars may be secrets.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

/// How deep lists and maps may be nested; the configuration needs four levels.
const DEPTH_MAX: usize = 16;

/// A place in the text, counted from 1 in lines and characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// A value with its place.
pub(crate) struct Node {
    /// Where it begins.
    pub(crate) at: Position,
    /// The last line that it touches.
    pub(crate) last_line: usize,
    /// What it is.
    pub(crate) kind: NodeKind,
}

/// What a value is.
pub(crate) enum NodeKind {
    /// Nothing was written, or `~`, or `null`.
    Empty,
    /// A raw text.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the text, doubled keys included.
    Map(Vec<(Key, Node)>),
    /// Something that was refused where it stands.
    Refused,
}

/// A key of a map.
pub(crate) struct Key {
    /// Where it begins.
    pub(crate) at: Position,
    /// Its text.
    pub(crate) text: String,
}

/// What is wrong at a place.
pub(crate) struct Flaw {
    /// Where.
    pub(crate) at: Position,
    /// What, free of the values of scalars.
    pub(crate) message: String,
}

/// A text that is YAML, apart from what is refused.
pub(crate) struct Tree {
    /// The root of the first document, unless there is none.
    pub(crate) root: Option<Node>,
    /// What is refused.
    pub(crate) refused: Vec<Flaw>,
}

/// Parses one YAML document.
///
/// # Errors
///
/// The first place where the text is not YAML; what follows it cannot be judged.
pub(crate) fn parse(text: &str) -> Result<Tree, Flaw> {
    let mut builder = Builder { parser: Parser::new_from_str(text), refused: Vec::new() };
    let root = builder.document().map_err(|flaw| explain_interpolation(text, flaw))?;
    Ok(Tree { root, refused: builder.refused })
}

struct Builder<'input> {
    parser: Parser<'input, StrInput<'input>>,
    refused: Vec<Flaw>,
}

impl<'input> Builder<'input> {
    fn document(&mut self) -> Result<Option<Node>, Flaw> {
        let mut root = None;
        loop {
            let Some((event, span)) = self.next()? else { return Ok(root) };
            match event {
                Event::StreamEnd => return Ok(root),
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {
                    if root.is_some() {
                        self.refuse(span, "a second document is not supported: remove it and the `---`");
                        return Ok(root);
                    }
                    root = Some(self.node(event, span, DEPTH_MAX)?);
                }
            }
        }
    }

    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, Flaw> {
        let Some(event) = self.parser.next_event() else { return Ok(None) };
        event.map(Some).map_err(|error| Flaw {
            at: position(*error.marker()),
            message: format!("not valid YAML: {}", error.info()),
        })
    }

    fn node(&mut self, event: Event<'input>, span: Span, depth: usize) -> Result<Node, Flaw> {
        let at = position(span.start);
        if depth == 0 {
            return Err(Flaw { at, message: format!("nested deeper than {DEPTH_MAX} levels") });
        }
        let (kind, end) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_anchor_or_tag(span, anchor, tag.is_some());
                (scalar(text.into_owned(), style), span.end)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_anchor_or_tag(span, anchor, tag.is_some());
                self.list(depth)?
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_anchor_or_tag(span, anchor, tag.is_some());
                self.map(depth)?
            }
            Event::Alias(_) => {
                self.refuse(span, "an alias (`*…`) is not supported: write the value out");
                (NodeKind::Refused, span.end)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                return Err(Flaw { at, message: "not valid YAML: a value is missing".to_owned() });
            }
        };
        Ok(Node { at, last_line: position(end).line.max(at.line), kind })
    }

    fn list(&mut self, depth: usize) -> Result<(NodeKind, Marker), Flaw> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                return Ok((NodeKind::List(items), span.end));
            }
            items.push(self.node(event, span, depth - 1)?);
        }
        Err(ended())
    }

    fn map(&mut self, depth: usize) -> Result<(NodeKind, Marker), Flaw> {
        let mut entries = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                return Ok((NodeKind::Map(entries), span.end));
            }
            let key = self.node(event, span, depth - 1)?;
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, span, depth - 1)?;
            match key.kind {
                NodeKind::Scalar(text) => entries.push((Key { at: key.at, text }, value)),
                NodeKind::Empty | NodeKind::List(_) | NodeKind::Map(_) => self.refused.push(Flaw {
                    at: key.at,
                    message: "a key must be a name; write text with `{` or `[` in quotes".to_owned(),
                }),
                NodeKind::Refused => {}
            }
        }
        Err(ended())
    }

    fn refuse_anchor_or_tag(&mut self, span: Span, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.refuse(span, "an anchor (`&…`) is not supported: write the value out where it is used");
        }
        if tagged {
            self.refuse(span, "a tag (`!…`) is not supported: remove it, or write the text in quotes");
        }
    }

    fn refuse(&mut self, span: Span, message: &str) {
        self.refused.push(Flaw { at: position(span.start), message: message.to_owned() });
    }
}

fn scalar(text: String, style: ScalarStyle) -> NodeKind {
    let nothing = matches!(text.as_str(), "" | "~" | "null") && style == ScalarStyle::Plain;
    if nothing { NodeKind::Empty } else { NodeKind::Scalar(text) }
}

fn ended() -> Flaw {
    Flaw { at: Position { line: 1, column: 1 }, message: "not valid YAML: it ends too early".to_owned() }
}

/// The parser counts lines from 1 and columns from 0.
fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

/// Inside `{ }` an unquoted `${NAME}` is YAML's own brace, the likeliest cause of an error in such a line.
fn explain_interpolation(text: &str, mut flaw: Flaw) -> Flaw {
    let line = text.lines().nth(flaw.at.line - 1).unwrap_or_default();
    if line.contains("${") {
        flaw.message.push_str("; write `\"${NAME}\"` with quotes inside `{ }` and `[ ]`");
    }
    flaw
}
