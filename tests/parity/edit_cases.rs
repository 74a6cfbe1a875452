//! Random edits: files with what edits stumble over, and tasks that meet it.

use serde_json::{Map, Value, json};

/// A case: a module with its parameters but `path`, and the file before.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) module: &'static str,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) before: Option<Vec<u8>>,
}

impl Case {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).and_then(Value::as_str)
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.parameters.get(name) == Some(&json!(true))
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.text("state") == Some("absent")
    }

    /// The patterns that it searches for.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &str> {
        ["regexp", "insertafter", "insertbefore"].into_iter().filter_map(|name| self.text(name))
    }
}

/// A small generator of random numbers (splitmix64): the same seed gives the same cases.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const LINES: &[&[u8]] = &[
    b"",
    b"",
    b"a=1",
    b"a=1",
    b"a=2",
    b"b=2",
    b"#a=1",
    b"# a",
    b"a",
    b"ab",
    b"aa",
    b"aaa",
    b"a ",
    b"a{",
    b"  x",
    b"x\ty",
    b"Port 22",
    b"#Port 22",
    b"#Port 23",
    b"Port 2222",
    b"[one]",
    b"[two]",
    b"server {",
    b"}",
    b"${HOME}",
    b"EOF",
    b"BOF",
    b"127.0.0.1 localhost",
    b"127.0.1.1 h",
    b"UsePAM",
    "# café".as_bytes(),
    "ü=1".as_bytes(),
    b"# caf\xe9",
    b"\xff\xfe",
    b"\xc3",
    b"a\rb",
    b"$1 \\1",
    b"&",
    b"~",
];

const TEXTS: &[&str] = &[
    "",
    "",
    "a=1",
    "a=2",
    "a=3",
    "b=2",
    "#a=1",
    "a",
    "aa",
    "Port 22",
    "Port 2222",
    "#Port 22",
    "UsePAM yes",
    "[one]",
    "server {",
    "}",
    "${HOME}",
    "café",
    "# café",
    "\u{e9}",
    "x",
    "\\1",
    "a\\nb",
    "a ",
    " a",
    "a\tb",
    "EOF",
    "127.0.0.1 localhost",
    "a=1\n",
    "a=1\r",
    "a\nb",
    "\n",
];

/// What `line` may be beside `backrefs`.
const TEMPLATES: &[&str] = &[
    "\\1", "\\1\\2", "\\g<1>3", "x\\1", "b=\\1", "\\1=3", "\\1 2222", "", "a=1", "\\1\\n", "\\1\\t", "\\\\1", "\\.", "\\1a",
    "\\g<0>", "\\g<k>=9", "\\2",
];

const PATTERNS: &[&str] = &[
    "^a",
    "^a=",
    "^#?a",
    "^#a",
    "^a=1$",
    "^#Port",
    "^#?Port\\b",
    "^Port\\s",
    "Port",
    "",
    "^",
    "$",
    "^$",
    "^\\s*$",
    "\\s+$",
    "\\s$",
    "\\W$",
    "\\S$",
    "a=1\\n",
    "a=1\n",
    "^UsePAM\\s",
    "^\\[one\\]\\s",
    "\\[one\\]",
    "^\\[",
    "server {",
    "server \\{",
    "^}",
    "\\${HOME}",
    "a{,2}$",
    "a{2}",
    "^a{2,}$",
    "a{",
    "a{x}",
    "{",
    "[[]",
    "[^[]",
    "^[^#]",
    "[a&&b]",
    "[~~]",
    "[a-]",
    "[]}]",
    "]",
    "(?i)port",
    "(?i)PORT 2",
    "(?m)^a",
    "(?m)^a=1\\n.*$",
    "(?m)^$",
    "(?s)a.",
    "(?a)\\w",
    "^(a=)(.*)$",
    "^#?(Port) (\\d+)$",
    "(?P<k>\\w+)=(.*)",
    "^(.*)$",
    "^(a+)$",
    "^(.*)(\\s*)$",
    "(a)|b",
    "caf.$",
    "^.{2}$",
    "^..$",
    "^.$",
    "caf.",
    "a\\Z",
    "\\Aa",
    "x\\ty",
    "^127\\.",
    "b$",
    "a|b",
    "\\bP",
    "\\Ba",
    "\\x61=",
    "\\141=",
    "(?#n)a",
    "(?x) a = # c",
    "[\\w]=",
    "[\\]\\[]",
    "^\\D+$",
    "\\.",
    "é",
    "café",
    "ü",
    "a+?",
    "a*",
    "(?:a|b)=",
    "(?i:A)=",
    "EOF",
    "BOF",
    "\r$",
    "\\r",
    "a.b",
    "^[^\\s]+$",
    "\\n",
    "[\\n]",
    "\\$1",
    "\\\\",
    "[^a-z]$",
    // These are refused, or are no patterns of Python's either.
    "^(?!a)",
    "(?<=a)=",
    "(a)\\1",
    "a++",
    "(?>a)",
    "\\xe9",
    "(",
    "a**",
    "\\q",
    "[b-a]",
];

/// Pieces of which a pattern is made.
const ATOMS: &[&str] = &[
    "^", "$", "a", "b", "=", "1", "#", " ", "\\s", "\\w", "\\d", "\\S", "\\W", ".", "*", "+", "?", "{", "}", "{1}", "{,2}",
    "{1,}", "[", "]", "(", ")", "|", "[a]", "[^a]", "\\n", "(a|b)", "(?:", "\\b", "P", "-", ",", "&&", "\\[", "\\", "é",
    "[^\\n]", "\\.",
];

fn pattern(random: &mut Random) -> String {
    if random.one_in(4) {
        let count = 1 + random.below(5);
        return (0..count).map(|_| random.pick(ATOMS)).collect();
    }
    random.pick(PATTERNS).to_owned()
}

fn file(random: &mut Random, marks: bool) -> Option<Vec<u8>> {
    if random.one_in(14) {
        return None;
    }
    let ends: &[&[u8]] = match random.below(6) {
        0 => &[b"\r\n"],
        1 => &[b"\r\n", b"\n"],
        _ => &[b"\n"],
    };
    let mut lines: Vec<&[u8]> = (0..random.below(7)).map(|_| random.pick(LINES)).collect();
    // Two lines that are alike, as most files have.
    if lines.len() > 1 && random.one_in(3) {
        lines.push(lines[0]);
    }
    if marks && !random.one_in(3) {
        let begin = random.below(lines.len() + 1);
        lines.insert(begin, b"# BEGIN ANSIBLE MANAGED BLOCK");
        if !random.one_in(8) {
            let end = begin + 1 + random.below(lines.len() - begin);
            lines.insert(end, b"# END ANSIBLE MANAGED BLOCK");
        }
        if random.one_in(15) {
            lines.push(b"# END ANSIBLE MANAGED BLOCK");
        }
    }
    let mut text: Vec<u8> = lines.iter().flat_map(|line| [*line, random.pick(ends)].concat()).collect();
    if random.one_in(4) {
        let end = text.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
        text.truncate(end);
    }
    Some(text)
}

/// Sets what both modules have.
fn common(random: &mut Random, parameters: &mut Map<String, Value>) {
    let mut set = |name: &str, value: Value| parameters.insert(name.to_owned(), value);
    match random.below(7) {
        0 | 1 => drop(set("insertafter", json!(pattern(random)))),
        2 | 3 => drop(set("insertbefore", json!(pattern(random)))),
        4 => drop(set(random.pick(&["insertafter", "insertbefore"]), json!(random.pick(&["EOF", "BOF", ""])))),
        _ => {}
    }
    if random.one_in(4) {
        set("create", json!(true));
    }
    if random.one_in(4) {
        set("state", json!("absent"));
    }
}

pub(crate) fn lineinfile(random: &mut Random) -> Case {
    let mut parameters = Map::new();
    common(random, &mut parameters);
    let mut set = |name: &str, value: Value| parameters.insert(name.to_owned(), value);
    match random.below(6) {
        0..=2 => drop(set("regexp", json!(pattern(random)))),
        3 => drop(set("search_string", json!(random.pick(TEXTS)))),
        _ => {}
    }
    if random.one_in(5) {
        set("firstmatch", json!(true));
    }
    let backrefs = parameters.contains_key("regexp") && random.one_in(3);
    let mut set = |name: &str, value: Value| parameters.insert(name.to_owned(), value);
    if backrefs {
        set("backrefs", json!(true));
        set("line", json!(random.pick(TEMPLATES)));
    } else {
        set("line", json!(random.pick(TEXTS)));
    }
    Case { module: "lineinfile", parameters, before: file(random, false) }
}

pub(crate) fn blockinfile(random: &mut Random) -> Case {
    let mut parameters = Map::new();
    common(random, &mut parameters);
    let mut set = |name: &str, value: Value| parameters.insert(name.to_owned(), value);
    set("block", json!(random.pick(&["", "a=1", "a=1\nb=2", "x\n", "\n", "é\n\n", "a\r\nb\r\n", "server {\n}", "a=1\n"])));
    for name in ["append_newline", "prepend_newline"] {
        if random.one_in(4) {
            set(name, json!(true));
        }
    }
    Case { module: "blockinfile", parameters, before: file(random, true) }
}
