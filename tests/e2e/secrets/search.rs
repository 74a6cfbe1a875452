//! Looks for secrets where none may be: in texts, on disks, and in every process's arguments and environment while a run lasts.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose};

use crate::harness::TestNode;

/// Every form in which a value could be written, with the name of the value.
#[derive(Default)]
pub struct Needles(Vec<(String, String)>);

impl Needles {
    pub fn new(values: &[(&str, &str)]) -> Self {
        let mut needles = Self::default();
        for (name, value) in values {
            needles.add(name, value);
        }
        needles
    }

    pub fn add(&mut self, name: &str, value: &str) {
        assert!(value.len() >= 8, "`{name}` is too short to look for");
        let hex = value.bytes().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let mut forms =
            BTreeSet::from([value.to_owned(), hex.to_uppercase(), hex, percent(value), percent(value).to_lowercase()]);
        for engine in [general_purpose::STANDARD_NO_PAD, general_purpose::URL_SAFE_NO_PAD] {
            // Within a longer text the value may begin at any of three places of a group; what the neighbours decide is cut off.
            for before in 0..3 {
                let bytes = [&vec![0; before], value.as_bytes()].concat();
                let first = (before * 8).div_ceil(6);
                forms.insert(engine.encode(&bytes)[first..bytes.len() * 8 / 6].to_owned());
            }
        }
        self.0.extend(forms.into_iter().map(|form| (name.to_owned(), form)));
    }

    /// The names of the values that a text holds in any form, with what stands around the first place.
    pub fn within(&self, text: &str) -> Vec<String> {
        let found = self.0.iter().filter_map(|(name, form)| text.find(form.as_str()).map(|at| (name, form, at)));
        found
            .map(|(name, form, at)| format!("{name} as {form}: {}", text[..at + form.len()].lines().last().unwrap_or("")))
            .collect()
    }

    #[track_caller]
    pub fn assert_not_within(&self, what: &str, text: &str) {
        assert_eq!(self.within(text), Vec::<String>::new(), "in {what}");
    }

    /// The files below a directory of this machine that hold one, relative to it.
    pub fn files_below(&self, directory: &Path) -> BTreeSet<String> {
        let mut grep = Command::new("grep");
        grep.args(["-raFl", "-D", "skip", "-f", "-", "."]).current_dir(directory).env("LC_ALL", "C");
        let mut child = grep.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.lines().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "grep: {output:?}");
        String::from_utf8_lossy(&output.stdout).lines().map(|line| line[1..].to_owned()).collect()
    }

    /// The files in a node's memory file systems that hold one. The needles lie on the node's disk meanwhile.
    pub fn files_in_memory(&self, node: &TestNode) -> BTreeSet<String> {
        let list = node.root.join("root/needles");
        fs::write(&list, self.lines()).unwrap();
        // Files go away while grep reads, which it counts as a failure. That it read is known from what is laid out for it.
        let found = node
            .sh("cd /; set -- /run/canary /dev/shm/canary; for file; do tail -n 1 root/needles >$file || exit 9; done
            grep -raFls -D skip -f root/needles /run /dev/shm || [ $? -le 2 ] || exit 9; rm $*");
        fs::remove_file(list).unwrap();
        let mut found: BTreeSet<String> = found.lines().map(str::to_owned).collect();
        for canary in ["/run/canary", "/dev/shm/canary"] {
            assert!(found.remove(canary), "grep did not see {canary}");
        }
        found
    }

    fn lines(&self) -> String {
        self.0.iter().flat_map(|(_, form)| [form, "\n"]).collect()
    }
}

/// RFC 3986: all but unreserved characters.
pub fn percent(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// What a [`Sampler`] has seen.
#[derive(Default)]
pub struct Seen {
    /// Arguments of processes here and on all nodes (a node's processes are processes of this machine), and the environments of all but the runs.
    pub processes: HashSet<Vec<u8>>,
    /// The modes that each file of the watched directory ever had; our temporary files under one name.
    pub modes: BTreeMap<String, BTreeSet<u32>>,
}

impl Seen {
    /// All arguments and environments, a line each.
    pub fn processes(&self) -> String {
        self.processes.iter().map(|bytes| String::from_utf8_lossy(bytes).replace('\0', " ") + "\n").collect()
    }
}

type PathQuery = Box<dyn FnMut(&Mutex<Seen>) + Send>;

/// Looks at all processes, and at the modes of a directory's files, again and again.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Sampler {
    pub fn start(watched: PathBuf) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let repeat = |mut look: PathQuery| {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    look(&seen);
                    std::thread::sleep(Duration::from_micros(500));
                }
            })
        };
        let mut known = HashSet::new();
        let threads = vec![
            repeat(Box::new(move |seen| look_at_processes(&mut known, seen))),
            repeat(Box::new(move |seen| look_at_modes(&watched, seen))),
        ];
        Self { stop, seen, threads }
    }

    /// Whether a process with this in its arguments or environment was seen.
    pub fn saw(&self, text: &str) -> bool {
        self.seen.lock().unwrap().processes().contains(text)
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn look_at_processes(known: &mut HashSet<(String, Vec<u8>)>, seen: &Mutex<Seen>) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        // A process may be gone before it is looked at.
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
        if known.insert((name, arguments.clone())) {
            // What a run is given in its environment may be a secret; none of its children has it.
            let is_a_run =
                arguments.split(|byte| *byte == 0).next().is_some_and(|program| program.ends_with(b"/autobot-provision"));
            let environment = if is_a_run { Vec::new() } else { fs::read(entry.path().join("environ")).unwrap_or_default() };
            seen.lock().unwrap().processes.extend([arguments, environment]);
        }
    }
}

fn look_at_modes(directory: &Path, seen: &Mutex<Seen>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        let name = if name.starts_with(".autobot-provision-") { "temporary".to_owned() } else { name };
        seen.lock().unwrap().modes.entry(name).or_default().insert(metadata.permissions().mode() & 0o7777);
    }
}
