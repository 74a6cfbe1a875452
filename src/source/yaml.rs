//! YAML as nodes with places: the only file that names the YAML crate.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_yaml::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{Diagnostic, Place, SourceFile};

/// Collections inside collections; far more than any inventory or role needs, far less than the stack holds.
const MAX_DEPTH: usize = 64;
/// What aliases may copy in one file, in bytes.
const MAX_COPIED: usize = 16 << 20;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Yaml,
    /// Where it is written; for an alias, where the anchor's value is written.
    pub place: Place,
    /// Whether a scalar was quoted. Collections are plain.
    pub style: Style,
    /// Tagged `!unsafe`, itself or around it: data that is never rendered as a template.
    pub verbatim: bool,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// With `'`, `"`, `|` or `>`, or tagged `!!str`.
    Quoted,
}

/// A YAML value. A plain number whose spelling would get lost (`0644`, `1.10`, `1e3`, `0x1F`, `1_000`) is a plain `Str`,
/// as are `yes`, `no`, `on` and `off`: see [`Node::as_bool`].
#[derive(Debug, Clone, PartialEq)]
pub enum Yaml {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`, also capitalised.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A decimal fraction.
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// Keys and values in the order of the file; no key comes twice.
    Map(Vec<(Key, Node)>),
}

/// The key of a map. Numbers and booleans as keys are their spelling.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The name.
    pub name: String,
    /// Where it is written.
    pub place: Place,
}

impl Yaml {
    /// What this is, with its article: `a list`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Str(_) => "text",
            Self::Seq(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node {
    /// A scalar as the author wrote it, quotes included: `0644`, `"a"`.
    #[must_use]
    pub fn spelling(&self) -> &str {
        self.place.text()
    }

    /// A boolean, also where Ansible takes one from plain `yes`, `no`, `on`, `off` (in any case).
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match &self.value {
            Yaml::Bool(value) => Some(*value),
            Yaml::Str(text) if self.style == Style::Plain => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => Some(true),
                "no" | "off" | "false" => Some(false),
                _ => None,
            },
            Yaml::Null | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Seq(_) | Yaml::Map(_) => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Yaml::Str(text) = &self.value { Some(text) } else { None }
    }

    /// The text of any scalar but null: strings as they are, the rest as spelled.
    #[must_use]
    pub fn scalar_text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Str(text) => Some(text),
            Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => Some(self.spelling()),
            Yaml::Null | Yaml::Seq(_) | Yaml::Map(_) => None,
        }
    }

    /// The entries of a map.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(Key, Self)]> {
        if let Yaml::Map(entries) = &self.value { Some(entries) } else { None }
    }

    /// The items of a list.
    #[must_use]
    pub fn as_seq(&self) -> Option<&[Self]> {
        if let Yaml::Seq(items) = &self.value { Some(items) } else { None }
    }

    /// The value of a key of a map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_map()?.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }
}

/// What a plain scalar means. Only what can be written back exactly as it was becomes a number.
#[must_use]
pub fn plain_value(text: &str) -> Yaml {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "true" | "True" | "TRUE" => return Yaml::Bool(true),
        "false" | "False" | "FALSE" => return Yaml::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        return Yaml::Int(number);
    }
    if let Ok(number) = text.parse::<f64>()
        && number.is_finite()
        && text.contains('.')
        && format!("{number:?}") == text
    {
        return Yaml::Float(number);
    }
    Yaml::Str(text.to_owned())
}

/// Parses a file that holds one document. An empty file is `Null`.
///
/// # Errors
/// The first thing that is wrong: syntax, a key that comes twice, a tag we do not know, aliases that copy too much,
/// nesting deeper than 64, a second document.
pub fn parse(file: &Arc<SourceFile>) -> Result<Node, Diagnostic> {
    let mut options = Options::default();
    options.emit_comments = false;
    let parser = Parser::new_from_str_with_options(&file.text, options);
    let mut builder = Builder { file, parser, anchors: HashMap::new(), copied: 0 };
    builder.document()
}

/// An anchor's value, with what copying it costs.
struct Anchored {
    node: Node,
    bytes: usize,
    height: usize,
}

struct Builder<'a> {
    file: &'a Arc<SourceFile>,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Anchored>,
    copied: usize,
}

/// Where a node stands in the tree.
#[derive(Clone, Copy)]
struct Position {
    depth: usize,
    verbatim: bool,
    /// Where a value stands that is not written at all: after its `:` or `-`.
    empty_at: usize,
}

impl<'a> Builder<'a> {
    fn place(&self, range: Range<usize>) -> Place {
        Place::new(self.file, range)
    }

    fn next(&mut self) -> Result<(Event<'a>, Range<usize>), Diagnostic> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, bytes(&span))),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, self.file.text.len()..self.file.text.len())),
        }
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let at = error.marker().byte_offset().unwrap_or_default();
        Diagnostic::error("not valid YAML").at(self.place(at..at + 1)).label(error.info())
    }

    fn document(&mut self) -> Result<Node, Diagnostic> {
        let mut root = None;
        loop {
            let (event, range) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Diagnostic::error("a second document in one file")
                        .at(self.place(range))
                        .label("starts here")
                        .help("put it into a file of its own"));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                node => {
                    let position = Position { depth: 0, verbatim: false, empty_at: range.start };
                    root = Some(self.node(node, range, position)?.node);
                }
            }
        }
        Ok(root.unwrap_or_else(|| Node { value: Yaml::Null, place: self.place(0..0), style: Style::Plain, verbatim: false }))
    }

    fn node(&mut self, event: Event<'a>, range: Range<usize>, position: Position) -> Result<Anchored, Diagnostic> {
        if position.depth > MAX_DEPTH {
            return Err(self.too_deep(range));
        }
        let (anchor, built) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, self.scalar(&text, style, tag.as_deref(), range, position)?),
            Event::SequenceStart(_, anchor, tag) => {
                let verbatim = self.tag(tag.as_deref(), "seq", &range)? || position.verbatim;
                (anchor, self.sequence(range, Position { verbatim, ..position })?)
            }
            Event::MappingStart(_, anchor, tag) => {
                let verbatim = self.tag(tag.as_deref(), "map", &range)? || position.verbatim;
                (anchor, self.mapping(range, Position { verbatim, ..position })?)
            }
            Event::Alias(anchor) => return self.alias(anchor, range, position),
            other => unreachable!("the parser gives no {other:?} where a value stands"),
        };
        if anchor != 0 {
            let copy = Anchored { node: built.node.clone(), ..built };
            self.anchors.insert(anchor, copy);
        }
        Ok(built)
    }

    fn too_deep(&self, range: Range<usize>) -> Diagnostic {
        Diagnostic::error(format!("nested deeper than {MAX_DEPTH} levels")).at(self.place(range)).label("here")
    }

    fn alias(&mut self, anchor: usize, range: Range<usize>, position: Position) -> Result<Anchored, Diagnostic> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(Diagnostic::error("an alias inside its own anchor").at(self.place(range)).label("would never end"));
        };
        self.copied += target.bytes;
        if self.copied > MAX_COPIED {
            return Err(Diagnostic::error("aliases repeat too much")
                .at(self.place(range))
                .label(format!("with this the copies exceed {} MiB", MAX_COPIED >> 20)));
        }
        if position.depth + target.height > MAX_DEPTH {
            return Err(self.too_deep(range));
        }
        let mut node = target.node.clone();
        node.verbatim |= position.verbatim;
        Ok(Anchored { node, bytes: target.bytes, height: target.height })
    }

    /// Whether the tag is `!unsafe`; YAML's own tag of the expected kind changes nothing.
    fn tag(&self, tag: Option<&Tag>, expected: &str, range: &Range<usize>) -> Result<bool, Diagnostic> {
        let Some(tag) = tag else { return Ok(false) };
        if tag.core_suffix() == Some(expected) {
            return Ok(false);
        }
        let name = tag.original();
        let at = self.place(range.clone());
        match name.as_str() {
            "!unsafe" => Ok(true),
            "!vault" | "!vault-encrypted" => Err(Diagnostic::error("values encrypted with Ansible Vault are not supported yet")
                .at(at)
                .label("tagged `!vault`")
                .help("secrets are made on the node: see `secrets:` in `role.yml`; or pass the value with `-e @file`")),
            _ => Err(Diagnostic::error(format!("unknown tag `{name}`")).at(at).label("on this value")),
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        range: Range<usize>,
        position: Position,
    ) -> Result<Anchored, Diagnostic> {
        let plain = style == ScalarStyle::Plain;
        let range = if plain && text.is_empty() { position.empty_at..position.empty_at } else { range };
        let wanted = tag.and_then(Tag::core_suffix);
        let (value, style) = match wanted {
            Some("str") => (Yaml::Str(text.to_owned()), Style::Quoted),
            Some("int" | "float" | "bool" | "null") => (plain_value(text), Style::Plain),
            _ if plain => (plain_value(text), Style::Plain),
            _ => (Yaml::Str(text.to_owned()), Style::Quoted),
        };
        let fits = match wanted {
            None | Some("str") => true,
            Some("int") => matches!(value, Yaml::Int(_)),
            Some("float") => matches!(value, Yaml::Float(_) | Yaml::Int(_)),
            Some("bool") => matches!(value, Yaml::Bool(_)),
            Some(kind) => kind == "null" && value == Yaml::Null,
        };
        if !fits {
            let name = tag.map(Tag::original).unwrap_or_default();
            return Err(Diagnostic::error(format!("not what its tag `{name}` says")).at(self.place(range)).label("here"));
        }
        let verbatim = match wanted {
            Some(_) => false,
            None => self.tag(tag, "str", &range)?,
        } || position.verbatim;
        let node = Node { value, place: self.place(range), style, verbatim };
        Ok(Anchored { node, bytes: size_of::<Node>() + text.len(), height: 0 })
    }

    fn sequence(&mut self, start: Range<usize>, position: Position) -> Result<Anchored, Diagnostic> {
        let (mut items, mut bytes, mut height) = (Vec::new(), size_of::<Node>(), 0);
        let mut end = start.end;
        loop {
            let (event, range) = self.next()?;
            if event == Event::SequenceEnd {
                end = self.trimmed_end(start.start, end.max(range.end));
                break;
            }
            let inside = Position { depth: position.depth + 1, empty_at: range.start, ..position };
            let item = self.node(event, range, inside)?;
            bytes += item.bytes;
            height = height.max(item.height + 1);
            items.push(item.node);
        }
        Ok(self.collection(Yaml::Seq(items), start.start..end, position, bytes, height))
    }

    fn mapping(&mut self, start: Range<usize>, position: Position) -> Result<Anchored, Diagnostic> {
        let (mut entries, mut merged) = (Vec::<(Key, Node)>::new(), Vec::new());
        // A map of many keys is checked for duplicates in one step per key.
        let mut seen = HashMap::<String, usize>::new();
        let (mut bytes, mut height, mut end) = (size_of::<Node>(), 0, start.end);
        loop {
            let (event, range) = self.next()?;
            if event == Event::MappingEnd {
                end = self.trimmed_end(start.start, end.max(range.end));
                break;
            }
            let merges = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.key(event, range, start.start, position)?;
            if let Some(first) = seen.insert(key.name.clone(), entries.len())
                && let Some((first, _)) = entries.get(first)
            {
                return Err(Diagnostic::error(format!("the key `{}` comes twice", key.name))
                    .at(key.place)
                    .label("again here")
                    .also(first.place.clone(), "first here"));
            }
            let (event, range) = self.next()?;
            let inside = Position { depth: position.depth + 1, empty_at: self.after_colon(key.place.range.end), ..position };
            let value = self.node(event, range, inside)?;
            bytes += value.bytes + key.name.len() + size_of::<Key>();
            height = height.max(value.height + 1);
            if merges {
                merged.extend(self.merge(value.node)?);
                seen.remove("<<");
            } else {
                entries.push((key, value.node));
            }
        }
        for (key, value) in merged {
            // The map's own keys win, and of merged maps the earlier one.
            if !seen.contains_key(&key.name) {
                seen.insert(key.name.clone(), entries.len());
                entries.push((key, value));
            }
        }
        Ok(self.collection(Yaml::Map(entries), start.start..end, position, bytes, height))
    }

    fn collection(&self, value: Yaml, range: Range<usize>, position: Position, bytes: usize, height: usize) -> Anchored {
        let node = Node { value, place: self.place(range), style: Style::Plain, verbatim: position.verbatim };
        Anchored { node, bytes, height }
    }

    fn merge(&self, value: Node) -> Result<Vec<(Key, Node)>, Diagnostic> {
        let place = value.place.clone();
        let wrong = || Err(Diagnostic::error("`<<` takes a map or a list of maps").at(place.clone()).label("not a map"));
        match value.value {
            Yaml::Map(entries) => Ok(entries),
            Yaml::Seq(items) => {
                let mut all = Vec::new();
                for item in items {
                    let Yaml::Map(entries) = item.value else { return wrong() };
                    all.extend(entries);
                }
                Ok(all)
            }
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) => wrong(),
        }
    }

    fn key(&mut self, event: Event<'a>, range: Range<usize>, map: usize, position: Position) -> Result<Key, Diagnostic> {
        let is_scalar = matches!(event, Event::Scalar(..) | Event::Alias(_));
        let place = self.place(range.clone());
        if is_scalar {
            let node = self.node(event, range, Position { depth: position.depth + 1, ..position })?.node;
            if let Some(name) = node.scalar_text() {
                return Ok(Key { name: name.to_owned(), place });
            }
        }
        let at_template = self.file.text.get(map..).is_some_and(|text| text.starts_with("{{"));
        Err(if at_template {
            let line = self.file.text[map..].lines().next().unwrap_or_default();
            let end = line.find("}}").map_or(line.len(), |end| end + 2);
            Diagnostic::error("an expression without quotes")
                .at(self.place(map..map + end))
                .label("YAML takes this for a map")
                .help(format!("write \"{}\" in quotes", &line[..end]))
        } else {
            Diagnostic::error("a key must be text").at(place).label("not text")
        })
    }

    /// The offset after the `:` that follows a key.
    fn after_colon(&self, key_end: usize) -> usize {
        let rest = self.file.text.get(key_end..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        if rest[blank..].starts_with(':') { key_end + blank + 1 } else { key_end }
    }

    /// The parser ends a block collection where the next token starts; a place ends with its last character.
    fn trimmed_end(&self, start: usize, end: usize) -> usize {
        let text = self.file.text.get(start..end).unwrap_or_default();
        start + text.trim_end().len()
    }
}

fn bytes(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or(0..0)
}
