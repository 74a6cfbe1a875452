//! Circles of imports between the files of one module. Two files may belong together; more need a reason.

#![allow(clippy::wildcard_enum_match_arm, reason = "syntax has many kinds, of which a few matter here")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use syn::{
    Attribute, Item, Path, UseTree, Visibility,
    visit::{self, Visit},
};

use super::{is_only_for_tests, shown_sources};

/// The circles of more than two files: a file of each, its size, and why it is one. A circle may shrink, and then its number here must.
const CIRCLES: &[(&str, usize, &str)] = &[
    ("inventory::draft", 4, "the formats fill one draft, and the draft asks the formats for the files that it finds"),
    ("lab", 5, "the parts of a lab take its options and directory from the module, which starts them"),
    (
        "plan::scope",
        14,
        "a step of the plan expands itself in a scope, where a variable may name a port, a source of secrets or another host's variables",
    ),
    ("role::task", 4, "a block holds tasks, and a task inherits from its block"),
    ("shell::before", 6, "the grammar of a shell is recursive: code within words within code"),
    ("template", 3, "what is wrong in a template is found by its syntax, and its syntax is told in terms of what is wrong"),
];

/// A file as a path of modules: `["engine", "apply", "secret"]`.
type File = Vec<String>;

/// Collects the paths of `use` that are not exports and not only for tests.
#[derive(Default)]
struct Uses(Vec<Vec<String>>);

impl Uses {
    fn tree(&mut self, before: &[String], tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                let mut longer = before.to_vec();
                longer.push(path.ident.to_string());
                self.tree(&longer, &path.tree);
            }
            UseTree::Name(name) => self.0.push([before, &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.0.push([before, &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.0.push(before.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &[],
        };
        let is_test = |attribute: &Attribute| {
            attribute.path().is_ident("cfg") && attribute.parse_args::<Path>().is_ok_and(|path| path.is_ident("test"))
        };
        if attributes.iter().any(is_test) {
            return;
        }
        match item {
            Item::Use(item) if matches!(item.vis, Visibility::Inherited) => self.tree(&[], &item.tree),
            Item::Use(_) => {}
            _ => visit::visit_item(self, item),
        }
    }
}

/// Returns the file that a path in `from` leads to.
fn target(from: &File, path: &[String], all: &BTreeMap<File, BTreeSet<File>>) -> Option<File> {
    let parts = |parts: &[String]| parts.to_vec();
    let mut absolute = match path.first()?.as_str() {
        "crate" => parts(&path[1..]),
        "self" => [from.clone(), parts(&path[1..])].concat(),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            [parts(&from[..from.len().saturating_sub(ups)]), parts(&path[ups..])].concat()
        }
        _ => [from.clone(), parts(path)].concat(),
    };
    while !absolute.is_empty() && !all.contains_key(&absolute) {
        absolute.pop();
    }
    (!absolute.is_empty() && absolute != *from && absolute[0] == from[0]).then_some(absolute)
}

/// Returns each file with the files of its module that it imports.
fn graph() -> BTreeMap<File, BTreeSet<File>> {
    let mut all = BTreeMap::new();
    let mut uses = Vec::new();
    for (path, shown) in shown_sources() {
        if is_only_for_tests(&shown) {
            continue;
        }
        let name = shown.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let file: File = name.split('/').map(str::to_owned).collect();
        let mut found = Uses::default();
        found.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
        all.insert(file.clone(), BTreeSet::new());
        uses.push((file, found.0));
    }
    for (file, paths) in uses {
        let targets: BTreeSet<File> = paths.iter().filter_map(|path| target(&file, path, &all)).collect();
        all.insert(file, targets);
    }
    assert!(all.values().map(BTreeSet::len).sum::<usize>() > 200, "the imports were not found");
    all
}

/// Returns all that a file reaches.
fn reached(from: &File, graph: &BTreeMap<File, BTreeSet<File>>) -> BTreeSet<File> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(file) = next.pop() {
        next.extend(graph[&file].iter().filter(|to| seen.insert((*to).clone())).cloned());
    }
    seen
}

#[test]
fn a_circle_of_files_has_a_reason() {
    let graph = graph();
    let reach: BTreeMap<&File, BTreeSet<File>> = graph.keys().map(|file| (file, reached(file, &graph))).collect();
    let circle =
        |file: &File| -> BTreeSet<File> { reach[file].iter().filter(|other| reach[*other].contains(file)).cloned().collect() };
    let circles: BTreeSet<BTreeSet<File>> = graph.keys().map(circle).filter(|circle| circle.len() > 2).collect();
    let shown = |circle: &BTreeSet<File>| circle.iter().map(|file| file.join("::")).collect::<Vec<_>>().join(", ");
    let is_known = |circle: &&BTreeSet<File>| {
        CIRCLES.iter().any(|(file, size, _)| {
            circle.len() == *size && circle.contains(&file.split("::").map(str::to_owned).collect::<File>())
        })
    };
    let unknown: Vec<String> = circles
        .iter()
        .filter(|circle| !is_known(circle))
        .map(|circle| format!("{} files that import each other: {}", circle.len(), shown(circle)))
        .collect();
    assert!(unknown.is_empty(), "no reason of this size is in tests/tidy/circles.rs:\n{}", unknown.join("\n"));
    assert_eq!(circles.len(), CIRCLES.len(), "a circle of tests/tidy/circles.rs no longer exists");
}
