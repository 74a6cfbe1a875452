//! Inventories in INI: `[group]`, `[group:children]`, `[group:vars]`.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::draft::Draft;
use super::{Dialect, UNGROUPED, literal, words};
use crate::source::{Diagnostic, Key, Node, Place, SourceFile, did_you_mean};

/// Where Python ends a line.
const LINE_ENDS: [char; 10] = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
const KINDS: [&str; 3] = ["hosts", "children", "vars"];

/// What the lines of a section are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hosts,
    Children,
    Vars,
}

/// `[group:vars]`: the group may be defined further down.
struct VarsSection {
    group: String,
    place: Place,
    vars: Vec<(Key, Node)>,
}

struct Reader<'d> {
    draft: &'d mut Draft,
    file: &'d Arc<SourceFile>,
    group: String,
    kind: Kind,
    /// Children that are named before their own section: they join their parents when it comes, as in Ansible.
    awaited: IndexMap<String, Vec<(String, Place)>>,
    vars: Vec<VarsSection>,
    /// Groups that have variables only, so far.
    undefined: HashSet<String>,
}

pub(super) fn load(draft: &mut Draft, file: &Arc<SourceFile>) {
    draft.dialect = Dialect::Ini;
    let (group, kind) = (UNGROUPED.to_owned(), Kind::Hosts);
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
                    Err(reader.no_section(text, offset))
                }
                None => match reader.kind {
                    Kind::Hosts => reader.hosts(text, offset),
                    Kind::Children => reader.child(text, offset),
                    Kind::Vars => reader.var(text, offset),
                },
            };
            reader.draft.problems.keep(result);
        }
    }
    reader.finish();
}

/// `group`, `group:vars` of `[group:vars] # comment`.
fn header(text: &str) -> Option<&str> {
    let (header, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (name, kind) = header.split_once(':').unwrap_or((header, "hosts"));
    let is_word = !kind.is_empty() && kind.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    let is_end = rest.trim_start().is_empty() || rest.trim_start().starts_with('#');
    (is_word && is_end && !name.is_empty() && !name.contains(char::is_whitespace)).then_some(header)
}

impl Reader<'_> {
    fn place(&self, offset: usize, text: &str) -> Place {
        Place::new(self.file, offset..offset + text.len())
    }

    fn no_section(&self, text: &str, offset: usize) -> Diagnostic {
        let error = |title: &str| Diagnostic::error(title.to_owned()).at(self.place(offset, text)).label("here");
        if text.contains(']') {
            error("not the name of a section").help("write `[group]`, `[group:children]` or `[group:vars]`, without blanks")
        } else {
            error("a section without its `]`")
        }
    }

    /// `header` is what stands in the brackets, at this offset.
    fn section(&mut self, header: &str, offset: usize) -> Result<(), Diagnostic> {
        let (name, kind) = header.split_once(':').map_or((header, "hosts"), |(name, kind)| (name, kind));
        let place = self.place(offset, name);
        // Lines of a section that is wrong still belong to its group, so that they bring no errors of their own.
        name.clone_into(&mut self.group);
        self.kind = match kind {
            "hosts" => Kind::Hosts,
            "children" => Kind::Children,
            "vars" => Kind::Vars,
            wrong => {
                self.kind = Kind::Vars;
                return Err(Diagnostic::error(format!("unknown kind of section `{wrong}`"))
                    .at(self.place(offset + name.len() + 1, wrong))
                    .label("not one of `hosts`, `children`, `vars`")
                    .suggest(did_you_mean(wrong, KINDS)));
            }
        };
        let is_new = !self.draft.inventory.groups.contains_key(name);
        // Also `[group:vars]` gives a group its rank in the order of groups, but it does not define it.
        self.draft.group(name, Some(&place));
        if self.kind == Kind::Vars {
            if is_new {
                self.undefined.insert(name.to_owned());
            }
            self.vars.push(VarsSection { group: name.to_owned(), place, vars: Vec::new() });
            return Ok(());
        }
        self.undefined.remove(name);
        for (parent, place) in self.awaited.shift_remove(name).unwrap_or_default() {
            self.draft.child(&parent, name, &place);
        }
        Ok(())
    }

    fn hosts(&mut self, text: &str, offset: usize) -> Result<(), Diagnostic> {
        let words = words::split(text).map_err(|at| {
            let label = "not closed before the end of the line";
            Diagnostic::error("an open quote or a lone backslash").at(self.place(offset + at, &text[at..])).label(label)
        })?;
        let Some((host, assignments)) = words.split_first() else { return Ok(()) };
        let mut vars = Vec::new();
        for word in assignments {
            let written = &text[word.range.clone()];
            let at = offset + word.range.start;
            let Some((name, value)) = word.text.split_once('=') else {
                return Err(Diagnostic::error("expected `name=value` after a host")
                    .at(self.place(at, written))
                    .label("no `=`")
                    .help("one host per line; comments begin with `#`"));
            };
            let value_at = written.find('=').map_or(0, |equals| equals + 1);
            let place = self.place(at + value_at, &written[value_at..]);
            if let Some(cut) = word.cut_at {
                let warning = Diagnostic::warning(format!("the value of `{name}` ends at `#`"));
                let warning = warning.at(self.place(offset + cut, "#")).label("begins a comment");
                self.draft.inventory.warnings.push(warning.help("quote the value if the `#` belongs to it"));
            }
            let node = literal::value(value, &place);
            vars.push((Key { name: name.to_owned(), place: self.place(at, &written[..value_at.saturating_sub(1)]) }, node));
        }
        let place = self.place(offset + host.range.start, &text[host.range.clone()]);
        let group = self.group.clone();
        self.draft.hosts(&host.text, &place, &group, &vars);
        Ok(())
    }

    fn child(&mut self, text: &str, offset: usize) -> Result<(), Diagnostic> {
        // A `#` begins a comment only after a blank.
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim_start();
        if name.contains([':', ']']) || !(rest.is_empty() || rest.starts_with('#')) {
            let name = text;
            let place = self.place(offset, text);
            return Err(Diagnostic::error(format!("`{name}` cannot be the name of a group"))
                .at(place)
                .label("expected one name per line"));
        }
        let place = self.place(offset, name);
        if self.draft.inventory.groups.contains_key(name) {
            let group = self.group.clone();
            self.draft.child(&group, name, &place);
        } else {
            self.awaited.entry(name.to_owned()).or_default().push((self.group.clone(), place));
        }
        Ok(())
    }

    fn var(&mut self, text: &str, offset: usize) -> Result<(), Diagnostic> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Diagnostic::error("expected `name=value`").at(self.place(offset, text)).label("no `=`"));
        };
        let key = Key { name: name.trim().to_owned(), place: self.place(offset, name.trim()) };
        let value_at = name.len() + 1 + value.len() - value.trim_start().len();
        let node = literal::value(value.trim(), &self.place(offset + value_at, value.trim()));
        if let Some(section) = self.vars.last_mut() {
            section.vars.push((key, node));
        }
        Ok(())
    }

    /// Sections may come in any order, so what they refer to is looked up at the end.
    fn finish(self) {
        let Self { draft, file, awaited, vars, undefined, .. } = self;
        let unknown = |draft: &mut Draft, name: &str, place: Place, label: &str| {
            let defined = draft.inventory.groups.keys().filter(|group| !undefined.contains(*group));
            let known = did_you_mean(name, defined.map(String::as_str));
            let error = Diagnostic::error(format!("the group `{name}` is not defined")).at(place).label(label.to_owned());
            let error = if known.is_some() { error.suggest(known) } else { error.help(format!("add a section `[{name}]`")) };
            draft.problems.push(error);
        };
        for (name, parents) in awaited {
            for (parent, place) in parents {
                unknown(draft, &name, place, &format!("named as a child of `{parent}`"));
            }
        }
        for VarsSection { group, place, vars } in vars {
            if undefined.contains(&group) {
                unknown(draft, &group, place, "has variables only");
            } else {
                draft.group_vars(&group, &file.shown, vars);
            }
        }
    }
}
