//! Compares what `lineinfile` and `blockinfile` make of random files with what ansible-core's own modules make of them.
//!
//! What Ansible settles (its second run changes nothing), we settle alike: the same bytes, and the same answer whether anything changed; or we refuse it
//! before anything is changed, for a reason that docs/ROLES.md states. `EDITS` says how many cases of each module are tried, `SEED` repeats a run.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use autobot_provision::{
    question::{
        Answers, Questions,
        path::{Attributes, Entry, File, PathInfo, PathQuery, PathState},
    },
    resource::{self, Change, Files, NodeState, ParamError, Resource, Verdict},
    script::Script,
    secret::{Sealed, SecretValues},
    source::Diagnostic,
    values::{Mode, RemotePath},
};
use serde_json::{Value, json};

use crate::{
    ansible::{Ansible, Edit, ModuleRun},
    edit_cases::{Case, Random, blockinfile, lineinfile},
};

/// How many cases are also asked about and changed by a shell.
const BY_SHELL: usize = 40;

/// A project without files.
struct NoFiles;

impl Files for NoFiles {
    fn template(&mut self, name: &str) -> Result<Sealed, Diagnostic> {
        panic!("asked for template {name}")
    }
    fn file(&mut self, name: &str) -> Result<Sealed, Diagnostic> {
        panic!("asked for file {name}")
    }
}

/// What we do.
#[derive(Debug)]
enum Ours {
    /// Refused, for this reason, before anything is changed.
    Refused(String),
    Settled {
        changed: bool,
        content: Option<Vec<u8>>,
    },
}

fn load(case: &Case, path: &Path) -> Result<Box<dyn Resource>, String> {
    let kind = resource::KINDS.iter().find(|kind| kind.name == case.module).unwrap();
    let mut parameters = case.parameters.clone();
    parameters.insert("path".to_owned(), json!(path));
    (kind.decode)(Value::Object(parameters), &mut NoFiles).map_err(|error| match error {
        ParamError::Parameter { message, .. } => message,
        ParamError::Word { word, .. } => word.to_string(),
        ParamError::File(_) => panic!("{case:?}"),
    })
}

/// Compares, as the engine does before it makes a change.
fn verdict(resource: &dyn Resource, answers: &Answers) -> Verdict {
    let node = NodeState { answers, secrets: &SecretValues::default() };
    match resource.compare(&node).unwrap() {
        Verdict::Change(change) => resource.refuse(&node, &[]).map_or(Verdict::Change(change), Verdict::Refused),
        verdict @ (Verdict::Converged { .. } | Verdict::Blocked { .. } | Verdict::Refused(_)) => verdict,
    }
}

/// The answer about a file with this content.
fn answers(path: &Path, content: Option<&[u8]>) -> Answers {
    let attributes = Attributes { mode: Mode(0o644), owner: "root".into(), group: "root".into(), uid: 0, gid: 0, changed: 0 };
    let entry = content.map_or(Entry::Absent, |content| {
        Entry::File(File { attributes, size: content.len() as u64, content: Some(content.to_vec()), sha256: None })
    });
    let mut answers = Answers::default();
    let query = PathQuery::content(&RemotePath::new(path.to_str().unwrap()).unwrap()).following(true);
    answers.set::<PathState>(query, Ok(PathInfo { entry, parent_exists: true }));
    answers
}

fn written(change: &Change) -> Vec<u8> {
    change.script.sealed_input().reveal(&SecretValues::default()).unwrap().to_vec()
}

/// Makes the change in memory, and asserts that nothing is left to change then.
fn ours(case: &Case, path: &Path) -> Ours {
    let resource = match load(case, path) {
        Ok(resource) => resource,
        Err(reason) => return Ours::Refused(reason),
    };
    match verdict(resource.as_ref(), &answers(path, case.before.as_deref())) {
        Verdict::Converged { .. } => Ours::Settled { changed: false, content: case.before.clone() },
        Verdict::Refused(reason) => Ours::Refused(reason),
        Verdict::Blocked { missing, .. } => Ours::Refused(resource::do_not_exist(&missing)),
        Verdict::Change(change) => {
            let content = written(&change);
            let again = verdict(resource.as_ref(), &answers(path, Some(&content)));
            assert!(matches!(again, Verdict::Converged { .. }), "{case:?}: after {content:?} {again:?}");
            Ours::Settled { changed: true, content: Some(content) }
        }
    }
}

fn run(script: &str, input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("sh").args(["-c", script]).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // A script that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Asks a shell, and lets it make the change, as on a node.
fn ours_by_shell(case: &Case, path: &Path) -> Option<Vec<u8>> {
    let resource = load(case, path).unwrap();
    let asked = || {
        let mut questions = Questions::default();
        resource.questions(&mut questions);
        let composed = questions.compose("f00dfeed").unwrap();
        let answers = composed.read(&run(composed.script(), b""));
        verdict(resource.as_ref(), &answers)
    };
    fs::write(path, case.before.clone().unwrap_or_default()).unwrap();
    if case.before.is_none() {
        fs::remove_file(path).unwrap();
    }
    if let Verdict::Change(Change { script, .. }) = asked() {
        let render = |script: &Script| script.render().unwrap();
        run(&format!("umask 077\n{}", render(&script)), &script.sealed_input().reveal(&SecretValues::default()).unwrap());
        assert!(matches!(asked(), Verdict::Converged { .. }), "{case:?}");
    }
    fs::read(path).ok()
}

/// A difference that docs/ROLES.md states, in these words.
struct Known {
    words: &'static str,
    /// Whether a case is of this kind, given what we do.
    holds: fn(&Case, &Ours) -> bool,
    /// The case that means to Ansible what this one means to us, if there is one: then Ansible makes of it what we make of this one.
    means: Option<fn(&Case) -> Case>,
}

const fn known(words: &'static str, holds: fn(&Case, &Ours) -> bool) -> Known {
    Known { words, holds, means: None }
}

fn refuses(ours: &Ours, words: &[&str]) -> bool {
    matches!(ours, Ours::Refused(reason) if words.iter().any(|words| reason.contains(words)))
}

const MARKS: [&str; 2] = ["# BEGIN ANSIBLE MANAGED BLOCK", "# END ANSIBLE MANAGED BLOCK"];

/// The case with `\n` after each mark: to Ansible, a mark before another line end is none.
fn with_marks(case: &Case) -> Case {
    let mut rest = case.before.as_deref().unwrap_or_default();
    let mut text = Vec::new();
    while let Some(first) = rest.first() {
        text.push(*first);
        rest = &rest[1..];
        if MARKS.iter().any(|mark| text.ends_with(mark.as_bytes())) {
            text.push(b'\n');
            rest = rest.strip_prefix(b"\r").unwrap_or(rest);
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
    }
    Case { before: case.before.is_some().then_some(text), ..case.clone() }
}

/// The bytes with a sign of ASCII in place of each letter of several bytes and of each byte that is no text: to Ansible, each byte is one character.
fn with_signs(bytes: &[u8]) -> Vec<u8> {
    let mut signs = Vec::new();
    for chunk in bytes.utf8_chunks() {
        signs.extend(chunk.valid().chars().map(|letter| match letter {
            'é' => b'%',
            'ü' => b'@',
            letter => u8::try_from(letter).unwrap(),
        }));
        signs.extend(chunk.invalid().iter().map(|byte| match byte {
            0xe9 => b';',
            0xff => b'`',
            0xfe => b'"',
            _ => b'\'',
        }));
    }
    signs
}

/// The case with signs in place of letters, in the file and in the task.
fn in_ascii(case: &Case) -> Case {
    let sign =
        |value: &Value| value.as_str().map_or_else(|| value.clone(), |text| json!(text.replace('é', "%").replace('ü', "@")));
    let parameters = case.parameters.iter().map(|(name, value)| (name.clone(), sign(value))).collect();
    Case { before: case.before.as_deref().map(with_signs), parameters, ..case.clone() }
}

/// Whether the file or a pattern has letters of several bytes, or bytes that are no text.
fn is_ascii(case: &Case) -> bool {
    case.before.as_deref().is_none_or(<[u8]>::is_ascii) && case.patterns().all(str::is_ascii)
}

fn is_block(case: &Case) -> bool {
    case.module == "blockinfile"
}

fn means_no_block(case: &Case) -> bool {
    is_block(case) && (case.is_absent() || case.text("block") == Some(""))
}

const KNOWN: &[Known] = &[
    known("look-around, references to a group, possessive repetitions, bytes", |_, ours| {
        refuses(ours, &["looks around", "refers to a group", "possessive", "atomic group", "names a byte"])
    }),
    known("a group that the pattern does not have", |_, ours| refuses(ours, &["there is no group"])),
    known("A `line` of several lines is these lines, and a line end at its end is none more", |case, _| {
        !is_block(case) && case.text("line").is_some_and(|line| line.contains(['\n', '\r']))
    }),
    known("a block of which one mark is missing", |case, ours| is_block(case) && refuses(ours, &["but not `#"])),
    known("Where no block is wanted and none is there, nothing is changed", |case, ours| {
        means_no_block(case) && matches!(ours, Ours::Settled { changed: false, .. })
    }),
    Known {
        words: "an empty `block` is the same as `state: absent`",
        holds: |case, _| means_no_block(case) && (case.is("append_newline") || case.is("prepend_newline")),
        means: Some(|case| {
            let mut meant = in_ascii(&with_marks(case));
            meant.parameters.retain(|name, _| !name.ends_with("_newline"));
            meant
        }),
    },
    known("a `\\r` alone, which Ansible's `(?m)` does not count", |case, _| {
        let text = case.before.as_deref().unwrap_or_default();
        is_block(case)
            && case.patterns().any(|pattern| pattern.contains("(?m"))
            && text.windows(2).any(|two| two[0] == b'\r' && two[1] != b'\n')
    }),
    known("`insertafter: BOF` of `blockinfile`", |case, ours| is_block(case) && refuses(ours, &["`BOF` is a pattern here"])),
    Known {
        words: "marks of a block before `\\r\\n`, or at the end of the file without a line break",
        holds: |case, _| is_block(case) && with_marks(case).before != case.before,
        means: Some(|case| in_ascii(&with_marks(case))),
    },
    Known { words: "finds letters, not bytes", holds: |case, _| !is_ascii(case), means: Some(in_ascii) },
];

type Content = Option<Vec<u8>>;

fn content(run: &ModuleRun) -> Content {
    run.content.as_ref().map(|text| text.chars().map(|byte| u8::try_from(byte).unwrap()).collect())
}

/// How both compare.
enum Comparison {
    As(&'static str),
    Known(&'static Known),
    Different(String),
}

fn compare(case: &Case, ours: &Ours, theirs: &Edit) -> Comparison {
    let [first, second] = &theirs.runs;
    match (ours, &first.error) {
        (Ours::Refused(_), Some(_)) => return Comparison::As("both refuse"),
        (Ours::Refused(_), _) | (_, Some(_)) if !theirs.patterns => return Comparison::As("no pattern in Python"),
        (_, Some(error)) if ["IndexError", "TypeError"].iter().any(|kind| error.starts_with(kind)) => {
            return Comparison::As("ansible crashes");
        }
        // We do, or say why nothing would.
        (_, None) if second.changed || second.error.is_some() => return Comparison::As("ansible does not settle"),
        (Ours::Settled { changed, content: ours }, None) if (*changed, ours) == (first.changed, &content(first)) => {
            return Comparison::As("alike");
        }
        (Ours::Settled { .. } | Ours::Refused(_), _) => {}
    }
    if let Some(known) = KNOWN.iter().find(|known| (known.holds)(case, ours)) {
        return Comparison::Known(known);
    }
    Comparison::Different(difference(case, ours, theirs))
}

fn difference(case: &Case, ours: &Ours, theirs: &Edit) -> String {
    let shown = |text: Content| text.map(|text| text.escape_ascii().to_string());
    let ours = match ours {
        Ours::Refused(reason) => format!("refused: {reason}"),
        Ours::Settled { changed, content } => format!("changed {changed} {:?}", shown(content.clone())),
    };
    let runs: Vec<_> = theirs.runs.iter().map(|run| (&run.error, run.changed, shown(content(run)))).collect();
    let parameters = Value::Object(case.parameters.clone());
    format!("{} {parameters}\n    of {:?}\n    ours    {ours}\n    ansible {runs:?}", case.module, shown(case.before.clone()))
}

/// Runs the cases with Ansible's modules.
fn theirs(ansible: &mut Ansible, cases: &[Case], path: &Path) -> Vec<Edit> {
    let mut edits = Vec::new();
    for cases in cases.chunks(500) {
        let parameters: Vec<Value> = cases
            .iter()
            .map(|case| {
                let mut parameters = case.parameters.clone();
                parameters.insert("path".to_owned(), json!(path));
                Value::Object(parameters)
            })
            .collect();
        let text = |case: &Case| case.before.as_ref().map(|bytes| bytes.iter().map(|byte| char::from(*byte)).collect());
        let queries: Vec<_> =
            cases.iter().zip(&parameters).map(|(case, parameters)| (case.module, parameters, text(case))).collect();
        edits.extend(ansible.edit(&queries, path.parent().unwrap()));
    }
    edits
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn edits_settle_as_ansible_s_own_do() {
    let count = usize::try_from(variable("EDITS").unwrap_or(1500)).unwrap();
    let seed = variable("SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{count} cases of each edit: SEED={seed}");
    let mut random = Random(seed);
    let cases: Vec<Case> = (0..count).flat_map(|_| [lineinfile(&mut random), blockinfile(&mut random)]).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let begun = Instant::now();
    let mut ansible = Ansible::start();
    let first = theirs(&mut ansible, &cases, &path);
    let (mut kinds, mut differences, mut by_shell) = (BTreeMap::<(&str, &str), usize>::new(), Vec::new(), 0);
    let mut translated = Vec::new();
    for (case, theirs) in cases.iter().zip(&first) {
        let ours = ours(case, &path);
        let kind = match compare(case, &ours, theirs) {
            Comparison::As(kind) => kind,
            Comparison::Known(known) => {
                translated.extend(known.means.map(|means| (case, means(case))));
                known.words
            }
            Comparison::Different(difference) => {
                differences.push(difference);
                "different"
            }
        };
        *kinds.entry((case.module, kind)).or_default() += 1;
        if let (Ours::Settled { content, changed: true }, true) = (&ours, by_shell < BY_SHELL) {
            by_shell += 1;
            assert_eq!(ours_by_shell(case, &path), *content, "{case:?}: SEED={seed}");
        }
    }
    let meant: Vec<Case> = translated.iter().map(|(_, meant)| meant.clone()).collect();
    for ((case, meant), theirs) in translated.iter().zip(theirs(&mut ansible, &meant, &path)) {
        let ours = ours(case, &path);
        let in_signs = match &ours {
            Ours::Refused(_) => None,
            Ours::Settled { content, .. } => Some(content.as_deref().map(with_signs)),
        };
        let settles = theirs.patterns && theirs.runs.iter().all(|run| run.error.is_none()) && !theirs.runs[1].changed;
        let is_known = KNOWN.iter().any(|known| known.means.is_none() && (known.holds)(case, &ours));
        if settles && !is_known && in_signs != Some(content(&theirs.runs[0])) {
            differences.push(format!("{}\n    as {}", difference(case, &ours, &theirs), difference(meant, &ours, &theirs)));
        }
    }
    for ((module, kind), count) in &kinds {
        println!("{count:6} {module}: {kind}");
    }
    println!("in {:?}", begun.elapsed());
    assert!(differences.is_empty(), "SEED={seed}: {} differences:\n{}", differences.len(), differences.join("\n"));
    // Cases that are mostly refused would prove little.
    for module in ["lineinfile", "blockinfile"] {
        assert!(kinds[&(module, "alike")] > count / 2, "SEED={seed}: {kinds:?}");
    }
}

#[test]
fn every_known_difference_is_documented() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ROLES.md")).unwrap();
    let (_, section) = guide.split_once("## Where it is stricter than Ansible\n").unwrap();
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section).replace('\n', " ");
    for Known { words, .. } in KNOWN {
        assert!(section.contains(words), "docs/ROLES.md does not say: {words}");
    }
}
