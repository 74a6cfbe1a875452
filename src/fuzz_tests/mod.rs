//! Fuzz harnesses on the stable toolchain, without any tool: what reads the words of users, nodes and strangers meets hostile inputs.
//!
//! Each target runs every file of `tests/corpus/TARGET/`, and then changed copies of them for a second. `FUZZ_SECONDS` lengthens that, `FUZZ_SEED`
//! repeats a run. A failure prints the seed and the input: as a file of the corpus, the input is a test for ever.

mod frames;
mod input;
mod inventories;
mod patterns;
mod roles;
mod secrets;
mod shell_text;
mod spans;
mod templates;
mod vaults;
mod words;
mod yaml;

use std::{
    any::Any,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use input::Random;

/// The largest input.
const LARGEST: usize = 64 << 10;
/// What an input of the largest size may cost this machine's processor: a tenth of it is usual (a hundred errors in a line of 64 KiB need the half),
/// and quadratic work takes more.
const MOST_CPU: Duration = Duration::from_secs(10);
/// What any input may cost: a few bytes make the most hosts that an inventory may have.
const ALLOWED_CPU: Duration = Duration::from_secs(3);
/// When an input is taken for one that never ends.
const MOST_WAIT: Duration = Duration::from_mins(2);
/// The most changed inputs unless `FUZZ_SECONDS` says for how long.
const MOST_INPUTS: usize = 20_000;

/// What is fuzzed: the directory of its corpus, words that mean something to it, and what must hold for every input.
struct Target {
    name: &'static str,
    words: &'static [&'static str],
    /// What is before, again and again in, and after large inputs: those that once took quadratic time, or might.
    pumps: &'static [(&'static str, &'static str, &'static str)],
    property: fn(&[u8]),
}

/// What the worker is doing, for a watcher that may have to say it in its place.
type Current = Arc<Mutex<(String, Vec<u8>)>>;

impl Target {
    /// Runs the corpus, and changed copies of it.
    #[expect(clippy::print_stdout, reason = "a run that fails elsewhere can be repeated")]
    fn fuzz(self) {
        let name = self.name;
        let number = |variable: &str| std::env::var(variable).ok().map(|value| value.parse::<u64>().unwrap());
        let seed = number("FUZZ_SEED").unwrap_or_else(Random::any_seed);
        let (seconds, most, largest) = match number("FUZZ_SECONDS") {
            Some(seconds) => (seconds, usize::MAX, LARGEST),
            None => (1, MOST_INPUTS, LARGEST / 4),
        };
        let corpus = corpus(name);
        let current = Current::default();
        let (done, ended) = mpsc::channel::<()>();
        let shared = Arc::clone(&current);
        let worker = thread::spawn(move || {
            let _done = done;
            for (file, input) in &corpus {
                self.judge(&shared, &format!("tests/corpus/{name}/{file}"), input);
            }
            for (before, again, after) in self.pumps {
                let length = largest - before.len() - after.len();
                let input = [*before, &again.repeat(length / again.len()), *after].concat();
                self.judge(&shared, &format!("{name}, the pump {before:?} {again:?} {after:?}"), input.as_bytes());
            }
            let inputs: Vec<&[u8]> = corpus.iter().map(|(_, input)| input.as_slice()).collect();
            let (mut random, began, mut count) = (Random::new(seed), Instant::now(), 0);
            while count < most && began.elapsed() < Duration::from_secs(seconds) {
                let input = random.changed(&inputs, self.words);
                self.judge(&shared, &format!("{name}, input {count}: FUZZ_SEED={seed}"), &input);
                count += 1;
            }
            count
        });
        let (mut last, mut since) = (String::new(), Instant::now());
        while ended.recv_timeout(Duration::from_millis(100)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let (what, input) = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if what != last {
                (last, since) = (what, Instant::now());
            }
            assert!(since.elapsed() < MOST_WAIT, "{last}: takes longer than {MOST_WAIT:?} for {}", shown(&input));
        }
        match worker.join() {
            Ok(count) => println!("{name}: {count} changed inputs, FUZZ_SEED={seed}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs the property, and says of which input it does not hold.
    fn judge(&self, current: &Current, what: &str, input: &[u8]) {
        *current.lock().unwrap_or_else(PoisonError::into_inner) = (what.to_owned(), input.to_owned());
        let began = cpu();
        let judged = catch_unwind(AssertUnwindSafe(|| (self.property)(input)));
        let cost = cpu().saturating_sub(began);
        if let Err(panic) = judged {
            panic!("{what}: {}\nfor {}", said(&*panic), shown(input));
        }
        let most = ALLOWED_CPU.max(MOST_CPU * u32::try_from(input.len()).unwrap() / u32::try_from(LARGEST).unwrap());
        assert!(cost < most, "{what}: {cost:?} of the processor for {} bytes: {}", input.len(), shown(input));
    }
}

/// The files of a corpus by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<(String, Vec<u8>)> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect();
    files.sort();
    assert!(files.len() >= 10, "{}: {} files", directory.display(), files.len());
    files
}

/// The time for which a processor has worked for this thread. That of the clock would depend on what else the machine does.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// An input as a literal of Rust, cut if it is very long.
fn shown(input: &[u8]) -> String {
    let cut = &input[..input.len().min(8 << 10)];
    format!("b\"{}\"{}", cut.escape_ascii(), if cut.len() < input.len() { " and so on" } else { "" })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

#[test]
#[should_panic(expected = "FUZZ_SEED=")]
fn a_property_that_does_not_hold_is_reported_with_the_seed() {
    let property = |input: &[u8]| assert!(corpus("patterns").iter().any(|(_, known)| known == input), "not of the corpus");
    Target { name: "patterns", words: &[], pumps: &[], property }.fuzz();
}

#[test]
#[should_panic(expected = "of the processor for")]
fn an_input_that_takes_too_long_is_reported() {
    let property = |_: &[u8]| {
        let began = cpu();
        while cpu().saturating_sub(began) < ALLOWED_CPU {
            std::hint::spin_loop();
        }
    };
    Target { name: "patterns", words: &[], pumps: &[], property }.fuzz();
}
