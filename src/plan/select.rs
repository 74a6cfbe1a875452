//! The order of a host's roles, and the selection of tasks by tags.

use indexmap::IndexMap;

use crate::{
    role::{Name, Role},
    source::{Diagnostic, Diagnostics, SourceFile, Span, did_you_mean},
};

const SPECIAL: &[&str] = &["all", "tagged", "untagged", "always", "never"];

/// `--tags` and `--skip-tags`.
#[derive(Debug)]
pub(super) struct Tags<'a> {
    pub(super) only: &'a [String],
    pub(super) skip: &'a [String],
}

impl Tags<'_> {
    /// Whether an item with these tags is selected, by Ansible's rules.
    pub(super) fn select(&self, tags: &[Name]) -> bool {
        let has = |wanted: &str| tags.iter().any(|tag| tag.text == wanted);
        let matches = |wanted: &String| match wanted.as_str() {
            "all" => !has("never"),
            "tagged" => !tags.is_empty() && !has("never"),
            "untagged" => tags.is_empty(),
            wanted => has(wanted),
        };
        let asked =
            if self.only.is_empty() { !has("never") } else { self.only.iter().any(matches) || has("always") && !has("never") };
        let skipped = self.skip.iter().any(|skip| match skip.as_str() {
            // `--skip-tags all` still runs what is tagged `always`.
            "all" => !has("always"),
            "tagged" => !tags.is_empty(),
            "untagged" => tags.is_empty(),
            skip => has(skip),
        });
        asked && !skipped
    }

    /// Reports tags that nothing in these roles has.
    pub(super) fn check(&self, roles: &[&Role], errors: &mut Diagnostics) {
        let tasks = roles.iter().flat_map(|role| role.tasks.iter().flat_map(|task| &task.tags));
        let health = roles.iter().flat_map(|role| role.health.iter().flat_map(|health| &health.tags));
        let mut known: Vec<&str> = tasks.chain(health).map(|tag| tag.text.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        for (option, tags) in [("--tags", self.only), ("--skip-tags", self.skip)] {
            for tag in tags.iter().filter(|tag| !SPECIAL.contains(&tag.as_str()) && !known.contains(&tag.as_str())) {
                let diagnostic =
                    Diagnostic::error(format!("no task or health check has the tag `{tag}`")).at(argument(option, tag));
                errors.push(match did_you_mean(tag, known.iter().copied()) {
                    Some(tag) => diagnostic.suggest(Some(tag)),
                    None if known.is_empty() => diagnostic,
                    None => diagnostic.help(format!("known tags: {}", known.join(", "))),
                });
            }
        }
    }
}

/// Returns a span for an argument of the command line.
pub(super) fn argument(option: &str, value: &str) -> Span {
    Span::new(&SourceFile::new(option, value), 0..value.len())
}

/// Sorts roles so that each comes after those that it requires, otherwise in the given order. Required roles are added.
pub(super) fn in_order(names: &[String], roles: &IndexMap<String, Role>) -> Vec<String> {
    fn visit(name: &str, roles: &IndexMap<String, Role>, seen: &mut Vec<String>, ordered: &mut Vec<String>) {
        if seen.iter().any(|known| known == name) {
            return;
        }
        seen.push(name.to_owned());
        // A role that could not be read has been reported.
        let Some(role) = roles.get(name) else { return };
        for required in &role.requires {
            visit(&required.text, roles, seen, ordered);
        }
        ordered.push(name.to_owned());
    }
    let (mut seen, mut ordered) = (Vec::new(), Vec::new());
    for name in names {
        visit(name, roles, &mut seen, &mut ordered);
    }
    ordered
}

/// Reports roles that require each other in a cycle, each cycle once.
pub(super) fn circles(roles: &IndexMap<String, Role>, errors: &mut Diagnostics) {
    let mut found: Vec<Vec<&str>> = Vec::new();
    for role in roles.values() {
        let mut path = vec![role.name.as_str()];
        walk(&mut path, roles, &mut found, errors);
    }
}

fn walk<'a>(path: &mut Vec<&'a str>, roles: &'a IndexMap<String, Role>, found: &mut Vec<Vec<&'a str>>, errors: &mut Diagnostics) {
    let Some(role) = path.last().and_then(|name| roles.get(*name)) else { return };
    for required in &role.requires {
        if let Some(start) = path.iter().position(|name| *name == required.text) {
            let circle = &path[start..];
            let mut sorted = circle.to_vec();
            sorted.sort_unstable();
            if start == 0 && !found.contains(&sorted) {
                let chain = [circle, &[required.text.as_str()]].concat().join(" -> ");
                errors.push(Diagnostic::error(format!("roles require each other: {chain}")).at(required.span.clone()));
                found.push(sorted);
            }
        } else if let Some((name, _)) = roles.get_key_value(&required.text) {
            path.push(name);
            walk(path, roles, found, errors);
            path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(only: &str, skip: &str, tags: &str) -> bool {
        let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let span = argument("x", "x");
        let names: Vec<Name> = split(tags).into_iter().map(|text| Name { text, span: span.clone() }).collect();
        Tags { only: &split(only), skip: &split(skip) }.select(&names)
    }

    #[test]
    fn tags_select_as_in_ansible() {
        for (only, skip, tags, expected) in [
            ("", "", "", true),
            ("", "", "a", true),
            ("", "", "never", false),
            ("", "", "never a", false),
            ("a", "", "never a", true),
            ("never", "", "never a", true),
            ("a", "", "", false),
            ("a", "", "a b", true),
            ("a", "", "always", true),
            ("a", "always", "always", false),
            ("a", "b", "a b", false),
            ("all", "", "never", false),
            ("all", "", "", true),
            ("tagged", "", "a", true),
            ("tagged", "", "", false),
            ("untagged", "", "", true),
            ("untagged", "", "a", false),
            ("", "tagged", "a", false),
            ("", "all", "always", true),
            ("", "all", "a", false),
            ("", "untagged", "", false),
        ] {
            assert_eq!(selected(only, skip, tags), expected, "--tags {only} --skip-tags {skip} on [{tags}]");
        }
    }
}
