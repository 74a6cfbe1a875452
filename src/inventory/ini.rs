//! Inventories in INI format: `[group]`, `[group:children]`, `[group:vars]`.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::draft::Draft;
use super::{Dialect, UNGROUPED, literal, words};
use crate::source::{Diagnostic, Key, Node, SourceFile, Span, did_you_mean};

/// The characters at which Python ends a line.
const LINE_ENDS: [char; 10] = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
const SECTION_KINDS: [&str; 3] = ["hosts", "children", "vars"];

/// The kind of lines in a section.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SectionKind {
    Hosts,
    Children,
    Vars,
}

/// A section `[group:vars]`. The group may be defined later in the file.
struct VarsSection {
    group: String,
    span: Span,
    vars: Vec<(Key, Node)>,
}

struct Reader<'d> {
    draft: &'d mut Draft,
    file: &'d Arc<SourceFile>,
    group: String,
    kind: SectionKind,
    /// Children that are named before their own section, with their parents. They are added when the section is read, as in Ansible.
    awaited: IndexMap<String, Vec<(String, Span)>>,
    vars: Vec<VarsSection>,
    /// Groups that have only variables so far.
    undefined: HashSet<String>,
}

pub(super) fn load(draft: &mut Draft, file: &Arc<SourceFile>) {
    draft.dialect = Dialect::Ini;
    let (group, kind) = (UNGROUPED.to_owned(), SectionKind::Hosts);
    let mut reader = Reader { draft, file, group, kind, awaited: IndexMap::new(), vars: Vec::new(), undefined: HashSet::new() };
    let mut start = 0;
    for line in file.text.split_inclusive(LINE_ENDS) {
        let text = line.trim();
        let offset = start + line.len() - line.trim_start().len();
        start += line.len();
        if !text.is_empty() && !text.starts_with(['#', ';']) {
            let result = match header(text) {
                Some(header) => reader.section(header, offset + 1),
                None if text.starts_with('[') && (text.ends_with(']') || !text.contains(']')) => {
                    Err(reader.invalid_section(text, offset))
                }
                None => match reader.kind {
                    SectionKind::Hosts => reader.hosts(text, offset),
                    SectionKind::Children => reader.child(text, offset),
                    SectionKind::Vars => reader.var(text, offset),
                },
            };
            reader.draft.errors.keep(result);
        }
    }
    reader.finish();
}

/// Returns the text in the brackets of a section header: `group:vars` for `[group:vars] # comment`.
fn header(text: &str) -> Option<&str> {
    let (header, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (name, kind) = header.split_once(':').unwrap_or((header, "hosts"));
    let is_word = !kind.is_empty() && kind.chars().all(|character| character.is_alphanumeric() || character == '_');
    let is_end = rest.trim_start().is_empty() || rest.trim_start().starts_with('#');
    (is_word && is_end && !name.is_empty() && !name.contains(char::is_whitespace)).then_some(header)
}

impl Reader<'_> {
    fn span(&self, offset: usize, text: &str) -> Span {
        Span::new(self.file, offset..offset + text.len())
    }

    fn invalid_section(&self, text: &str, offset: usize) -> Diagnostic {
        let error = |title: &str| Diagnostic::error(title.to_owned()).at(self.span(offset, text)).label("here");
        if text.contains(']') {
            error("not a valid section name").help("write `[group]`, `[group:children]` or `[group:vars]`, without spaces")
        } else {
            error("a section name without its closing `]`")
        }
    }

    /// Begins a section; `header` is the text in the brackets, at this offset.
    fn section(&mut self, header: &str, offset: usize) -> Result<(), Diagnostic> {
        let (name, kind) = header.split_once(':').map_or((header, "hosts"), |(name, kind)| (name, kind));
        let span = self.span(offset, name);
        // The lines of an invalid section are still read as part of its group, so that they cause no further errors.
        name.clone_into(&mut self.group);
        self.kind = match kind {
            "hosts" => SectionKind::Hosts,
            "children" => SectionKind::Children,
            "vars" => SectionKind::Vars,
            unknown => {
                self.kind = SectionKind::Vars;
                return Err(Diagnostic::error(format!("unknown kind of section `{unknown}`"))
                    .at(self.span(offset + name.len() + 1, unknown))
                    .label("not one of `hosts`, `children`, `vars`")
                    .suggest(did_you_mean(unknown, SECTION_KINDS)));
            }
        };
        let is_new = !self.draft.inventory.groups.contains_key(name);
        // `[group:vars]` also determines the position of a group in the order of groups, but it does not define the group.
        self.draft.group(name, Some(&span));
        if self.kind == SectionKind::Vars {
            if is_new {
                self.undefined.insert(name.to_owned());
            }
            self.vars.push(VarsSection { group: name.to_owned(), span, vars: Vec::new() });
            return Ok(());
        }
        self.undefined.remove(name);
        for (parent, span) in self.awaited.shift_remove(name).unwrap_or_default() {
            self.draft.child(&parent, name, &span);
        }
        Ok(())
    }

    fn hosts(&mut self, text: &str, offset: usize) -> Result<(), Diagnostic> {
        let words = words::split(text).map_err(|at| {
            let label = "not closed before the end of the line";
            Diagnostic::error("an unclosed quote or a trailing backslash").at(self.span(offset + at, &text[at..])).label(label)
        })?;
        let Some((host, assignments)) = words.split_first() else { return Ok(()) };
        let mut vars = Vec::new();
        for word in assignments {
            let written = &text[word.range.clone()];
            let at = offset + word.range.start;
            let Some((name, value)) = word.text.split_once('=') else {
                return Err(Diagnostic::error("expected `name=value` after a host")
                    .at(self.span(at, written))
                    .label("no `=`")
                    .help("write one host per line; comments begin with `#`"));
            };
            let value_at = written.find('=').map_or(0, |equals| equals + 1);
            let span = self.span(at + value_at, &written[value_at..]);
            if let Some(cut) = word.cut_at {
                let warning = Diagnostic::warning(format!("the value of `{name}` ends at `#`"));
                let warning = warning.at(self.span(offset + cut, "#")).label("begins a comment");
                self.draft.inventory.warnings.push(warning.help("quote the value if the `#` belongs to it"));
            }
            let node = literal::value(value, &span);
            vars.push((Key { name: name.to_owned(), span: self.span(at, &written[..value_at.saturating_sub(1)]) }, node));
        }
        let span = self.span(offset + host.range.start, &text[host.range.clone()]);
        let group = self.group.clone();
        self.draft.hosts(&host.text, &span, &group, &vars);
        Ok(())
    }

    fn child(&mut self, text: &str, offset: usize) -> Result<(), Diagnostic> {
        // A `#` begins a comment only after whitespace.
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim_start();
        if name.contains([':', ']']) || !(rest.is_empty() || rest.starts_with('#')) {
            let name = text;
            let span = self.span(offset, text);
            return Err(Diagnostic::error(format!("`{name}` is not a valid group name"))
                .at(span)
                .label("expected one name per line"));
        }
        let span = self.span(offset, name);
        if self.draft.inventory.groups.contains_key(name) {
            let group = self.group.clone();
            self.draft.child(&group, name, &span);
        } else {
            self.awaited.entry(name.to_owned()).or_default().push((self.group.clone(), span));
        }
        Ok(())
    }

    fn var(&mut self, text: &str, offset: usize) -> Result<(), Diagnostic> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Diagnostic::error("expected `name=value`").at(self.span(offset, text)).label("no `=`"));
        };
        let key = Key { name: name.trim().to_owned(), span: self.span(offset, name.trim()) };
        let value_at = name.len() + 1 + value.len() - value.trim_start().len();
        let node = literal::value(value.trim(), &self.span(offset + value_at, value.trim()));
        if let Some(section) = self.vars.last_mut() {
            section.vars.push((key, node));
        }
        Ok(())
    }

    /// Resolves references between sections. They may come in any order, so this happens at the end.
    fn finish(self) {
        let Self { draft, file, awaited, vars, undefined, .. } = self;
        let unknown = |draft: &mut Draft, name: &str, span: Span, label: &str| {
            let defined = draft.inventory.groups.keys().filter(|group| !undefined.contains(*group));
            let known = did_you_mean(name, defined.map(String::as_str));
            let error = Diagnostic::error(format!("the group `{name}` is not defined")).at(span).label(label.to_owned());
            let error = if known.is_some() { error.suggest(known) } else { error.help(format!("add a section `[{name}]`")) };
            draft.errors.push(error);
        };
        for (name, parents) in awaited {
            for (parent, span) in parents {
                unknown(draft, &name, span, &format!("named as a child of `{parent}`"));
            }
        }
        for VarsSection { group, span, vars } in vars {
            if undefined.contains(&group) {
                unknown(draft, &group, span, "it has only variables");
            } else {
                draft.group_vars(&group, &file.shown, vars);
            }
        }
    }
}
