//! What surrounds the process is read by the command line alone: its environment, working directory, home and terminal, and where temporary
//! files go. The library gets it as a value, `Controller`.

use std::{collections::HashMap, fs};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    ExprMethodCall, Item, ItemUse, Macro, Path, UseTree,
    visit::{self, Visit},
};

use super::{is_only_for_tests, layers::is_for_tests, shown_sources};

/// Calls that read the environment by their own means. A path ends with one of these.
const CALLS: &[(&[&str], &str)] = &[
    (&["std", "env"], "reads the environment"),
    (&["std", "path", "absolute"], "reads the working directory"),
    (&["Command", "new"], "runs a program in this process's environment; use `Controller::command`"),
    (&["tempfile", "tempdir"], "makes a file where the environment says; use `tempdir_in`"),
    (&["tempfile", "tempfile"], "makes a file where the environment says; use `tempfile_in`"),
    (&["tempfile", "env"], "reads the environment"),
    (&["TempDir", "new"], "makes a file where the environment says; use `TempDir::new_in`"),
    (&["TempDir", "with_prefix"], "makes a file where the environment says; use `TempDir::with_prefix_in`"),
    (&["NamedTempFile", "new"], "makes a file where the environment says; use `NamedTempFile::new_in`"),
    (&["io", "stdin"], "reads the terminal"),
    (&["io", "stdout"], "prints"),
    (&["io", "stderr"], "prints"),
    (&["IsTerminal"], "asks about the terminal"),
    (&["terminal_size"], "asks about the terminal"),
    (&["rpassword"], "asks on the terminal"),
    (&["TimeZone", "system"], "reads `TZ`"),
    (&["Zoned", "now"], "reads `TZ`"),
    (&["PgConnectOptions", "new"], "reads `PG*` and `.pgpass`"),
    (&["PgConnectOptions", "default"], "reads `PG*` and `.pgpass`"),
];

/// Methods that do the same on a value. `Builder` of tempfile is the only type here with the last two.
const METHODS: &[(&str, &str)] = &[
    ("is_terminal", "asks about the terminal"),
    ("tempdir", "makes a file where the environment says; use `tempdir_in`"),
    ("tempfile", "makes a file where the environment says; use `tempfile_in`"),
];

/// Macros that print, or read the environment when the program runs. (`env!` is read when it is compiled.)
const MACROS: &[&str] = &["println", "print", "eprintln", "eprint", "dbg"];

/// The parts that may: the command line, and what it is allowed.
fn may(path: &str, what: &str) -> bool {
    path.starts_with("src/cli/")
        || path == "src/main.rs"
        || (path.starts_with("src/report/") && what == "prints")
        || (path == "src/controller.rs" && what.starts_with("runs a program"))
}

/// Finds what reads the surroundings, in code that is not only for tests.
#[derive(Default)]
struct Readings {
    /// Imported names, and the whole paths that they stand for.
    names: HashMap<String, Vec<String>>,
    found: Vec<(usize, &'static str)>,
}

impl Readings {
    fn add(&mut self, span: Span, what: &'static str) {
        self.found.push((span.start().line, what));
    }

    /// Judges a path, whose first name may be imported.
    fn path(&mut self, path: &[String], span: Span) {
        let whole = match path.split_first() {
            Some((first, rest)) if self.names.contains_key(first) => [&self.names[first], rest].concat(),
            _ => path.to_vec(),
        };
        let names = |call: &[&str]| whole.windows(call.len()).any(|part| part.iter().zip(call).all(|(one, other)| one == other));
        if let Some((_, what)) = CALLS.iter().find(|(call, _)| names(call)) {
            self.add(span, what);
        }
    }

    fn import(&mut self, tree: &UseTree, above: &[String]) {
        let below = |ident: &proc_macro2::Ident| [above, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &below(&path.ident)),
            UseTree::Name(name) if name.ident == "self" => self.keep(above.last().cloned(), above.to_vec(), name.ident.span()),
            UseTree::Name(name) => self.keep(Some(name.ident.to_string()), below(&name.ident), name.ident.span()),
            UseTree::Rename(name) => self.keep(Some(name.rename.to_string()), below(&name.ident), name.ident.span()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, above)),
            UseTree::Glob(_) => {}
        }
    }

    fn keep(&mut self, name: Option<String>, whole: Vec<String>, span: Span) {
        self.path(&whole, span);
        self.names.extend(name.filter(|name| name != "_").map(|name| (name, whole)));
    }

    /// Judges the paths and macros in the tokens of a macro, which are no syntax tree.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        path.clear();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                    self.path(&path.clone(), ident.span());
                    if let Some((_, what)) = METHODS.iter().find(|(method, _)| path.len() == 1 && ident == method) {
                        self.add(ident.span(), what);
                    }
                }
                TokenTree::Punct(punct) => {
                    if punct.as_char() == '!' && path.last().is_some_and(|name| MACROS.contains(&name.as_str())) {
                        self.add(punct.span(), "prints");
                    }
                    colons = if punct.as_char() == ':' { colons + 1 } else { 0 };
                }
                TokenTree::Group(group) => {
                    (path, colons) = (Vec::new(), 0);
                    self.tokens(group.stream());
                }
                TokenTree::Literal(_) => (path, colons) = (Vec::new(), 0),
            }
        }
    }
}

impl<'ast> Visit<'ast> for Readings {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.path(&names, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if let Some((_, what)) = METHODS.iter().find(|(method, _)| call.method == method) {
            self.add(call.method.span(), what);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, code: &'ast Macro) {
        if let Some(name) = code.path.segments.last().filter(|name| MACROS.iter().any(|word| name.ident == word)) {
            self.add(name.ident.span(), "prints");
        }
        self.tokens(code.tokens.clone());
    }
}

fn readings(text: &str) -> Vec<(usize, &'static str)> {
    let mut readings = Readings::default();
    readings.visit_file(&syn::parse_file(text).unwrap());
    readings.found.dedup();
    readings.found
}

#[test]
fn only_the_command_line_reads_what_surrounds_the_process() {
    let (mut wrong, mut allowed) = (Vec::new(), 0);
    for (path, shown) in shown_sources().into_iter().filter(|(_, shown)| !is_only_for_tests(shown)) {
        for (line, what) in readings(&fs::read_to_string(&path).unwrap()) {
            if may(&shown, what) { allowed += 1 } else { wrong.push(format!("{shown}:{line}: {what}")) }
        }
    }
    assert!(allowed > 20, "what the command line itself reads was not found: {allowed}");
    assert!(wrong.is_empty(), "outside of the command line:\n{}", wrong.join("\n"));
}

#[test]
fn each_kind_of_reading_is_found_and_others_are_not() {
    let found = |code: &str| readings(code).iter().map(|(line, _)| *line).collect::<Vec<_>>();
    let kinds = [
        "fn f() { std::env::var(\"A\"); }",
        "use std::env::current_dir;",
        "use std::{env, fs};",
        "use std::env::{self as e};",
        "fn f() { x(std::env::home_dir()) }",
        "fn f() { std::path::absolute(p); }",
        "use std::path::{self, Path}; fn f() { path::absolute(p); }",
        "fn f() { tokio::process::Command::new(\"ssh\"); }",
        "use std::process; fn f() { process::Command::new(\"ssh\"); }",
        "use std::process::Command as Program; fn f() { Program::new(\"ssh\"); }",
        "fn f() { tempfile::tempdir(); }",
        "use tempfile::tempdir;",
        "fn f() { tempfile::Builder::new().tempdir(); }",
        "fn f() { tempfile::NamedTempFile::new(); }",
        "use tempfile::TempDir; fn f() { TempDir::new(); }",
        "fn f(s: S) { s.is_terminal(); }",
        "use std::io; fn f() { io::stdin(); }",
        "use std::io::stdout;",
        "fn f() { println!(); }",
        "fn f() { std::eprint!(\"a\"); }",
        "fn f() { dbg!(1); }",
        "fn f() { vec![std::env::args()]; }",
        "fn f() { vec![eprintln!()]; }",
        "fn f() { jiff::Zoned::now(); }",
        "fn f() { PgConnectOptions::new(); }",
    ];
    for code in kinds {
        assert_eq!(found(code), [1], "{code}");
    }
    let others = [
        "#[cfg(test)]\nmod tests { use std::env; }",
        "fn f() { env!(\"A\"); tempfile::tempdir_in(p); tempfile::Builder::new().tempdir_in(p); }",
        "use std::process::Command; fn f(c: Command) -> Command { c.env(\"A\", \"b\") }",
        "fn f() { Source::Env(name); writeln!(out, \"a\"); }",
    ];
    for code in others {
        assert_eq!(found(code), [0; 0], "{code}");
    }
}
