//! Parses YAML into nodes with places. The only file that uses the YAML crate.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_yaml::granit_parser::{
    Event, Options, Parser, ScalarStyle, ScanError, Span as ParserSpan, StrInput, StructureStyle, Tag,
};

use super::node::{Key, Node, Quoting, Vaulted, Yaml, plain_value};
use super::{Diagnostic, SourceFile, Span};

/// Ansible's tags for encrypted values.
const VAULT: &str = "!vault";
const VAULT_ENCRYPTED: &str = "!vault-encrypted";
/// The same in Ansible's JSON, as inventory programs print it: a map with only this key.
pub(crate) const VAULT_KEY: &str = "__ansible_vault";
/// The deepest nesting of collections; far more than any inventory or role needs, far less than the stack can hold.
const MAX_DEPTH: usize = 64;
/// How much the aliases of one file may copy, in bytes.
const MAX_COPIED: usize = 16 << 20;
/// How much memory the values of one file may take, in bytes: a short value takes many times what its text does.
const MAX_MADE: usize = 64 << 20;

/// Parses a file that contains one document. An empty file is `Null`.
///
/// # Errors
/// The first problem found: a syntax error, a duplicate key, an unknown tag, aliases that copy too much, nesting deeper
/// than 64 levels, or a second document.
pub fn parse(file: &Arc<SourceFile>) -> Result<Node, Diagnostic> {
    let mut options = Options::default();
    options.emit_comments = false;
    let parser = Parser::new_from_str_with_options(&file.text, options);
    let mut builder = Builder { file, parser, anchors: HashMap::new(), copied: 0, made: 0, end: 0 };
    builder.document()
}

/// The value of an anchor, with the cost of copying it.
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
    /// The size of all values so far, with their copies.
    made: usize,
    /// Where the last scalar, alias or closing bracket ended.
    end: usize,
}

/// The position of a node in the tree.
#[derive(Clone, Copy)]
struct Position {
    depth: usize,
    verbatim: bool,
    /// The offset of a value that is not written at all: after its `:` or `-`.
    empty_at: usize,
}

impl<'a> Builder<'a> {
    fn span(&self, range: Range<usize>) -> Span {
        Span::new(self.file, range)
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
        Diagnostic::error("not valid YAML").at(self.span(at..at + 1)).label(error.info())
    }

    // The crate's event enum is non-exhaustive.
    #[expect(clippy::wildcard_enum_match_arm)]
    fn document(&mut self) -> Result<Node, Diagnostic> {
        let mut root = None;
        loop {
            let (event, range) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Diagnostic::error("a second document in one file")
                        .at(self.span(range))
                        .label("starts here")
                        .help("move it to a file of its own"));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                node => {
                    let position = Position { depth: 0, verbatim: false, empty_at: range.start };
                    root = Some(self.node(node, range, position)?.node);
                }
            }
        }
        Ok(root.unwrap_or_else(|| Node { value: Yaml::Null, span: self.span(0..0), quoting: Quoting::Plain, verbatim: false }))
    }

    // The crate's event enum is non-exhaustive.
    #[expect(clippy::wildcard_enum_match_arm)]
    fn node(&mut self, event: Event<'a>, range: Range<usize>, position: Position) -> Result<Anchored, Diagnostic> {
        if position.depth > MAX_DEPTH {
            return Err(self.too_deep(range));
        }
        let text = if let Event::Scalar(text, ..) = &event { text.len() } else { 0 };
        self.count(size_of::<(Key, Node)>() + text, &range)?;
        let (anchor, built) = match event {
            Event::Scalar(text, quoting, anchor, tag) => (anchor, self.scalar(&text, quoting, tag.as_deref(), range, position)?),
            Event::SequenceStart(quoting, anchor, tag) => {
                let verbatim = self.tag(tag.as_deref(), "seq", &range)? || position.verbatim;
                (anchor, self.sequence(quoting, range, Position { verbatim, ..position })?)
            }
            Event::MappingStart(quoting, anchor, tag) => {
                let verbatim = self.tag(tag.as_deref(), "map", &range)? || position.verbatim;
                (anchor, self.mapping(quoting, range, Position { verbatim, ..position })?)
            }
            Event::Alias(anchor) => {
                self.end = range.end;
                let place = range.clone();
                let copy = self.alias(anchor, range, position)?;
                self.count(copy.bytes, &place)?;
                return Ok(copy);
            }
            _ => {
                return Err(Diagnostic::error("not valid YAML").at(self.span(range)).label("a value is missing here"));
            }
        };
        if anchor != 0 {
            self.count(built.bytes, &built.node.span.range)?;
            let copy = Anchored { node: built.node.clone(), ..built };
            self.anchors.insert(anchor, copy);
        }
        Ok(built)
    }

    /// Counts the size of values.
    fn count(&mut self, bytes: usize, at: &Range<usize>) -> Result<(), Diagnostic> {
        self.made += bytes;
        if self.made <= MAX_MADE {
            return Ok(());
        }
        Err(Diagnostic::error(format!("the values of this file take more than {} MiB", MAX_MADE >> 20))
            .at(self.span(at.clone()))
            .label("with this one"))
    }

    fn too_deep(&self, range: Range<usize>) -> Diagnostic {
        Diagnostic::error(format!("nested deeper than {MAX_DEPTH} levels")).at(self.span(range)).label("here")
    }

    fn alias(&mut self, anchor: usize, range: Range<usize>, position: Position) -> Result<Anchored, Diagnostic> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(Diagnostic::error("an alias inside its own anchor").at(self.span(range)).label("this would never end"));
        };
        self.copied += target.bytes;
        if self.copied > MAX_COPIED {
            return Err(Diagnostic::error("aliases repeat too much")
                .at(self.span(range))
                .label(format!("with this alias, the copies exceed {} MiB", MAX_COPIED >> 20)));
        }
        if position.depth + target.height > MAX_DEPTH {
            return Err(self.too_deep(range));
        }
        let mut node = target.node.clone();
        node.verbatim |= position.verbatim;
        Ok(Anchored { node, bytes: target.bytes, height: target.height })
    }

    /// Returns whether the tag is `!unsafe`. YAML's own tag for the expected kind has no effect.
    fn tag(&self, tag: Option<&Tag>, expected: &str, range: &Range<usize>) -> Result<bool, Diagnostic> {
        let Some(tag) = tag else { return Ok(false) };
        if tag.core_suffix() == Some(expected) {
            return Ok(false);
        }
        let name = tag.original();
        let at = self.span(range.clone());
        match name.as_str() {
            "!unsafe" => Ok(true),
            VAULT | VAULT_ENCRYPTED => Err(Diagnostic::error("`!vault` marks a single value that Ansible Vault encrypted")
                .at(at)
                .label("this is not such a value")
                .help("`ansible-vault encrypt_string` prints such a value; whole files need no tag")),
            _ => Err(Diagnostic::error(format!("unknown tag `{name}`")).at(at).label("on this value")),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        quoting: ScalarStyle,
        tag: Option<&Tag>,
        range: Range<usize>,
        position: Position,
    ) -> Result<Anchored, Diagnostic> {
        let plain = quoting == ScalarStyle::Plain;
        let range = if plain && text.is_empty() { position.empty_at..position.empty_at } else { range };
        self.end = range.end.max(position.empty_at);
        if tag.is_some_and(|tag| [VAULT, VAULT_ENCRYPTED].contains(&tag.original().as_str())) {
            let value = Yaml::Vaulted(Vaulted::Encrypted(text.into()));
            let node = Node { value, span: self.span(range), quoting: Quoting::Quoted, verbatim: position.verbatim };
            return Ok(Anchored { node, bytes: size_of::<Node>() + text.len(), height: 0 });
        }
        let expected = tag.and_then(Tag::core_suffix);
        let (value, quoting) = match expected {
            Some("str") => (Yaml::Str(text.to_owned()), Quoting::Quoted),
            Some("float") => (text.parse().map_or_else(|_| plain_value(text), Yaml::Float), Quoting::Plain),
            Some("int" | "bool" | "null") => (plain_value(text), Quoting::Plain),
            _ if plain => (plain_value(text), Quoting::Plain),
            _ => (Yaml::Str(text.to_owned()), Quoting::Quoted),
        };
        let fits = match expected {
            None | Some("str") => true,
            Some("int") => matches!(value, Yaml::Int(_)),
            Some("float") => matches!(value, Yaml::Float(_) | Yaml::Int(_)),
            Some("bool") => matches!(value, Yaml::Bool(_)),
            Some(kind) => kind == "null" && value == Yaml::Null,
        };
        if !fits {
            let name = tag.map(Tag::original).unwrap_or_default();
            return Err(Diagnostic::error(format!("the value does not match its tag `{name}`"))
                .at(self.span(range))
                .label("here"));
        }
        let verbatim = match expected {
            Some(_) => false,
            None => self.tag(tag, "str", &range)?,
        } || position.verbatim;
        let node = Node { value, span: self.span(range), quoting, verbatim };
        Ok(Anchored { node, bytes: size_of::<Node>() + text.len(), height: 0 })
    }

    fn sequence(&mut self, quoting: StructureStyle, start: Range<usize>, position: Position) -> Result<Anchored, Diagnostic> {
        let start = self.at_dash(start.start);
        let (mut items, mut bytes, mut height) = (Vec::new(), size_of::<Node>(), 0);
        loop {
            let (event, range) = self.next()?;
            if event == Event::SequenceEnd {
                self.close(quoting, range.end);
                break;
            }
            let inside = Position { depth: position.depth + 1, empty_at: range.start, ..position };
            let item = self.node(event, range, inside)?;
            bytes += item.bytes;
            height = height.max(item.height + 1);
            items.push(item.node);
        }
        Ok(self.collection(Yaml::Seq(items), start, position, bytes, height))
    }

    fn mapping(&mut self, quoting: StructureStyle, start: Range<usize>, position: Position) -> Result<Anchored, Diagnostic> {
        let (mut entries, mut merged) = (Vec::<(Key, Node)>::new(), Vec::new());
        // Finds duplicates in constant time per key, for maps with many keys.
        let mut seen = HashMap::<String, usize>::new();
        let (mut bytes, mut height) = (size_of::<Node>(), 0);
        loop {
            let (event, range) = self.next()?;
            if event == Event::MappingEnd {
                self.close(quoting, range.end);
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.key(event, range, start.start, position)?;
            if let Some(first) = seen.insert(key.name.clone(), entries.len())
                && let Some((first, _)) = entries.get(first)
            {
                return Err(Diagnostic::error(format!("duplicate key `{}`", key.name))
                    .at(key.span)
                    .label("defined again here")
                    .also(first.span.clone(), "first defined here"));
            }
            let (event, range) = self.next()?;
            let inside = Position { depth: position.depth + 1, empty_at: self.after_colon(key.span.range.end), ..position };
            let value = self.node(event, range, inside)?;
            bytes += value.bytes + key.name.len() + size_of::<Key>();
            height = height.max(value.height + 1);
            if is_merge {
                merged.extend(merge(value.node)?);
                seen.remove("<<");
            } else {
                entries.push((key, value.node));
            }
        }
        for (key, value) in merged {
            // The map's own keys win; among merged maps, the earlier one wins.
            if !seen.contains_key(&key.name) {
                seen.insert(key.name.clone(), entries.len());
                entries.push((key, value));
            }
        }
        let value = match entries.as_slice() {
            [(key, Node { value: Yaml::Str(text), .. })] if key.name == VAULT_KEY => {
                Yaml::Vaulted(Vaulted::Encrypted(text.as_str().into()))
            }
            _ => Yaml::Map(entries),
        };
        Ok(self.collection(value, start.start, position, bytes, height))
    }

    fn collection(&self, value: Yaml, start: usize, position: Position, bytes: usize, height: usize) -> Anchored {
        let range = start..self.end.max(start);
        let node = Node { value, span: self.span(range), quoting: Quoting::Plain, verbatim: position.verbatim };
        Anchored { node, bytes, height }
    }

    fn key(&mut self, event: Event<'a>, range: Range<usize>, map: usize, position: Position) -> Result<Key, Diagnostic> {
        let is_scalar = matches!(event, Event::Scalar(..) | Event::Alias(_));
        let span = self.span(range.clone());
        if is_scalar {
            let node = self.node(event, range, Position { depth: position.depth + 1, ..position })?.node;
            if let Some(name) = node.scalar_text() {
                // `True` as a key stays `True`.
                let name = if let Yaml::Bool(_) = node.value { node.spelling().to_owned() } else { name.into_owned() };
                return Ok(Key { name, span });
            }
        }
        let at_template = self.file.text.get(map..).is_some_and(|text| text.starts_with("{{"));
        Err(if at_template {
            let line = self.file.text[map..].lines().next().unwrap_or_default();
            let end = line.find("}}").map_or(line.len(), |end| end + 2);
            Diagnostic::error("an expression without quotes")
                .at(self.span(map..map + end))
                .label("YAML reads this as a map")
                .help("quote it: `\"{{ name }}\"`")
        } else {
            let written = span.text().trim();
            // Only `Null`, `null`, `NULL`, `~` and nothing come here as words.
            if written.eq_ignore_ascii_case("null") || written == "~" {
                let title = format!("a key must be text, but YAML reads `{written}` as nothing");
                return Err(Diagnostic::error(title)
                    .at(span.clone())
                    .label("not text")
                    .help(format!("quote it: `\"{written}\":`")));
            }
            Diagnostic::error("a key must be text").at(span).label("not text")
        })
    }

    /// Returns the offset after the `:` that follows a key.
    fn after_colon(&self, key_end: usize) -> usize {
        let rest = self.file.text.get(key_end..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        if rest[blank..].starts_with(':') { key_end + blank + 1 } else { key_end }
    }

    /// Returns the offset of the first `-` of a list. For a list that is not indented below its key, the parser reports the offset after it.
    fn at_dash(&self, start: usize) -> usize {
        let before = self.file.text.get(..start).unwrap_or_default().trim_end();
        let opens = self.file.text.get(start..).unwrap_or_default();
        let is_inside = before.ends_with('-') && !opens.starts_with(['-', '[']);
        if is_inside { before.len() - 1 } else { start }
    }

    /// Records where a flow collection ends. The parser ends a block collection where the next token starts; here it ends with its last value.
    fn close(&mut self, quoting: StructureStyle, end: usize) {
        if quoting == StructureStyle::Flow {
            self.end = end;
        }
    }
}

/// Returns the entries that `<<` merges in.
fn merge(value: Node) -> Result<Vec<(Key, Node)>, Diagnostic> {
    let span = value.span.clone();
    let error = || Err(Diagnostic::error("`<<` takes a map or a list of maps").at(span.clone()).label("not a map"));
    match value.value {
        Yaml::Map(entries) => Ok(entries),
        Yaml::Seq(items) => {
            let mut all = Vec::new();
            for item in items {
                let Yaml::Map(entries) = item.value else { return error() };
                all.extend(entries);
            }
            Ok(all)
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) => error(),
    }
}

fn bytes(span: &ParserSpan) -> Range<usize> {
    span.byte_range().unwrap_or(0..0)
}

#[cfg(test)]
mod tests;
