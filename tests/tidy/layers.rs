//! The table of layers: imports only go down.

#![allow(clippy::wildcard_enum_match_arm, reason = "syntax has many kinds, of which a few matter here")]

use std::fs;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Attribute, Item, ItemUse, Macro, Path, UseTree,
    visit::{self, Visit},
};

use super::{is_only_for_tests, shown_sources};

/// The modules of the library, from the ground floor up. A module imports from the floors below its own only.
const FLOORS: &[&[&str]] = &[
    &["controller"],
    &["firewall", "lab", "pg", "redis_client", "shell", "values"],
    &["event", "secret"],
    &["script", "source"],
    &["template"],
    &["job", "question", "transport", "vault"],
    &["inventory", "outside", "resource"],
    &["health"],
    &["role"],
    &["plan", "reference"],
    &["engine", "redis_ops"],
    &["app"],
    &["report"],
    &["cli"],
];

/// An import: the module, and where it is named.
struct Import {
    module: String,
    line: usize,
}

/// Collects the modules that a file imports by `crate::…`, in code that is not only for tests.
#[derive(Default)]
struct Imports(Vec<Import>);

impl Imports {
    fn add(&mut self, module: &impl ToString, span: Span) {
        self.0.push(Import { module: module.to_string(), line: span.start().line });
    }

    /// Adds each path of `use crate::{…}`.
    fn tree(&mut self, tree: &UseTree, below_crate: bool) {
        match tree {
            UseTree::Path(path) if below_crate => self.add(&path.ident, path.ident.span()),
            UseTree::Path(path) => self.tree(&path.tree, path.ident == "crate"),
            UseTree::Name(name) if below_crate => self.add(&name.ident, name.ident.span()),
            UseTree::Rename(name) if below_crate => self.add(&name.ident, name.ident.span()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, below_crate)),
            UseTree::Name(_) | UseTree::Rename(_) | UseTree::Glob(_) => {}
        }
    }

    /// Adds `crate::…` in the tokens of a macro, which are no syntax tree.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut after = 0;
        for token in tokens {
            after = match &token {
                TokenTree::Ident(ident) if ident == "crate" => 1,
                TokenTree::Punct(punct) if punct.as_char() == ':' && (1..=2).contains(&after) => after + 1,
                TokenTree::Ident(ident) if after == 3 => {
                    self.add(ident, ident.span());
                    0
                }
                _ => 0,
            };
            if let TokenTree::Group(group) = token {
                self.tokens(group.stream());
            }
        }
    }
}

/// Whether an item is compiled for tests only.
pub(super) fn is_for_tests(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&item.tree, false);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(module) = segments.next().filter(|_| path.segments.len() > 2)
        {
            self.add(&module.ident, module.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, code: &'ast Macro) {
        self.tokens(code.tokens.clone());
    }
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// Returns each import between modules: the importing module, `file:line`, the imported module.
fn imports() -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (path, shown) in shown_sources() {
        let module = shown.split('/').nth(1).unwrap().trim_end_matches(".rs").to_owned();
        if is_only_for_tests(&shown) || ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let mut imports = Imports::default();
        imports.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
        let to_others = imports.0.into_iter().filter(|import| import.module != module);
        all.extend(to_others.map(|import| (module.clone(), format!("{shown}:{}", import.line), import.module)));
    }
    assert!(all.len() > 300, "the imports were not found: {}", all.len());
    all
}

#[test]
fn imports_only_go_down() {
    let goes_down = |from: &str, to: &str| match (floor(from), floor(to)) {
        (Some(from), Some(to)) => to < from,
        _ => panic!("`{from}` or `{to}` has no floor in tests/tidy/layers.rs"),
    };
    let upward: Vec<String> = imports()
        .iter()
        .filter(|(from, _, to)| !goes_down(from, to))
        .map(|(from, place, to)| format!("{place}: `{from}` imports `{to}`, which is not below it"))
        .collect();
    assert!(upward.is_empty(), "imports that do not go down:\n{}", upward.join("\n"));
}
