//! Rendering within limits of time, memory and output.
//!
//! Tera has none, and one operation of it can take hours and gigabytes: a loop within a loop, a text that is doubled thirty times, the comparison
//! of values that share their parts. What may take long is therefore rendered by this program in a process of its own, which the kernel and a
//! watchdog end. It is started when it is first needed, and renders one template after the other.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Problem, Recipe, Shared, Template, Values, risk,
    values::{self, count},
};
use crate::controller::Controller;

/// The word on the command line that makes this program render for another process of its own.
pub const RENDER: &str = "__render";
/// The first line of such a process.
const GREETING: &str = "autobot-provision renders";
/// It may say so much before: the frame of tests does.
const MOST_BEFORE: u64 = 64 << 10;
/// The memory for values of such a process.
const MEMORY: u64 = 128 << 20;
/// The longest answer: JSON writes some characters with six.
const MOST_ANSWER: u64 = 48 << 20;
/// The exit status of such a process when a rendering took too long.
const TIMED_OUT: i32 = 124;
/// So many compiled templates are kept.
const MOST_COMPILED: usize = 64;

/// Renders templates. What may take long is rendered elsewhere.
#[derive(Debug)]
pub struct Renderer {
    controller: Arc<Controller>,
    /// Processes that wait for something to render.
    idle: Mutex<Vec<Worker>>,
}

/// What is rendered elsewhere.
#[derive(Serialize)]
struct Request<'a> {
    recipe: Recipe,
    files: Vec<(&'a str, &'a str)>,
    values: &'a Map<String, Value>,
    /// The shared values that it uses; their value if the process does not have it yet.
    shared: Vec<(&'a str, Option<&'a Value>)>,
    milliseconds: u64,
}

/// The same at the other end.
#[derive(Deserialize)]
struct Work {
    recipe: Recipe,
    files: Texts,
    values: Map<String, Value>,
    shared: Vec<(String, Option<Value>)>,
    milliseconds: u64,
}

type Answer = Result<Value, Problem>;

impl Renderer {
    /// Renders on this machine.
    #[must_use]
    pub fn new(controller: Arc<Controller>) -> Self {
        Self { controller, idle: Mutex::default() }
    }

    /// Renders a template with the values of its names.
    ///
    /// # Errors
    /// The first thing that goes wrong, or the limit that it exceeds.
    pub fn render(&self, template: &Template, values: &Values<'_>) -> Answer {
        if is_cheap(template, values) {
            return template.render(&values.context());
        }
        let limit = self.controller.limits.rendering;
        let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.ask(template, values, milliseconds).unwrap_or_else(|failure| {
            let (message, help) = failure.explain(limit);
            Err(template.at_risk(message, help))
        })
    }

    fn ask(&self, template: &Template, values: &Values<'_>, milliseconds: u64) -> Result<Answer, Failure> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // One that has ended while it waited is replaced.
        let begun = match idle {
            Some(mut worker) => worker.send(template, values, milliseconds)?.is_ok().then_some(worker),
            None => None,
        };
        let mut worker = if let Some(worker) = begun {
            worker
        } else {
            let mut worker = Worker::start(&self.controller).map_err(Failure::NotStarted)?;
            // If it has ended, its status says why.
            let _ = worker.send(template, values, milliseconds)?;
            worker
        };
        let answer = worker.answer()?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        Ok(answer)
    }
}

/// Whether a template costs little with these values, so that it needs no process of its own.
fn is_cheap(template: &Template, values: &Values<'_>) -> bool {
    let Some(own) = risk::size(values.own.values(), risk::MOST_VALUES) else { return false };
    count(own);
    let shared = values.shared.iter().fold(0, |sum: usize, (_, shared)| sum.saturating_add(shared.size()));
    let most = if template.is_plain { risk::MOST_SHARED } else { risk::MOST_VALUES - own };
    if template.risk.is_none() {
        return shared <= most;
    }
    // A loop must not go through what is shared: that may be large.
    template.repeats.as_ref().is_some_and(|repeats| values.shared.is_empty() && repeats.are_cheap(&values.own, own))
}

/// Why something was not rendered elsewhere.
enum Failure {
    NotStarted(io::Error),
    Ended(ExitStatus),
    Broken(String),
}

impl Failure {
    fn explain(self, limit: Duration) -> (String, Option<String>) {
        use std::os::unix::process::ExitStatusExt as _;
        let smaller = Some("loop over less, or make a variable of it that is given".to_owned());
        match self {
            Self::Ended(status) if status.code() == Some(TIMED_OUT) => {
                (format!("rendering took longer than {} s", limit.as_secs()), smaller)
            }
            Self::Ended(status) if status.signal().is_some() => {
                (format!("rendering needs more than {} MiB of memory, or nests too deeply", MEMORY >> 20), smaller)
            }
            Self::Ended(status) => (format!("the process that renders ended with {status}"), None),
            Self::Broken(why) => (format!("the process that renders cannot be understood: {why}"), None),
            Self::NotStarted(error) => (format!("the process that renders cannot be started: {error}"), None),
        }
    }
}

/// A process that renders.
#[derive(Debug)]
struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The shared values that it has, by name.
    has: HashMap<String, Arc<Shared>>,
}

impl Worker {
    fn start(controller: &Controller) -> io::Result<Self> {
        let mut command = controller.command(&controller.renderer);
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        #[cfg(not(test))]
        command.arg(RENDER);
        // In tests of the library, this program is their own.
        #[cfg(test)]
        command.args([tests::WORKER, "--exact", "--nocapture"]).env(RENDER, "yes");
        let mut child = command.spawn()?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut worker = Self { child, requests, answers: BufReader::new(answers), has: HashMap::new() };
        let mut line = String::new();
        let mut before = (&mut worker.answers).take(MOST_BEFORE);
        while line.trim_end() != GREETING {
            line.clear();
            if before.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("`{}` is no program that renders", controller.renderer.display())));
            }
        }
        Ok(worker)
    }

    /// Sends a template with its values, those that are shared only if it does not have them. The inner error is that it has ended.
    fn send(&mut self, template: &Template, values: &Values<'_>, milliseconds: u64) -> Result<io::Result<()>, Failure> {
        let mut shared = Vec::new();
        for (name, value) in &values.shared {
            let known = self.has.insert((*name).to_owned(), Arc::clone(value));
            shared.push((*name, known.is_none_or(|known| !Arc::ptr_eq(&known, value)).then(|| value.value())));
        }
        let files = template.files.iter().map(|file| (file.name.as_str(), file.original.as_str())).collect();
        let request = Request { recipe: template.recipe, files, values: &values.own, shared, milliseconds };
        let request = serde_json::to_vec(&request).map_err(|error| Failure::Broken(error.to_string()))?;
        count(request.len());
        Ok(write(&mut self.requests, &request))
    }

    fn answer(&mut self) -> Result<Answer, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::Broken(error.to_string());
        match read(&mut self.answers, MOST_ANSWER) {
            Ok(Some(answer)) => serde_json::from_slice(&answer).map_err(|error| broken(&error)),
            Ok(None) => Err(self.child.wait().map_or_else(|error| broken(&error), Failure::Ended)),
            Err(error) => Err(broken(&error)),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&(bytes.len() as u64).to_be_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

/// Reads a message; none at the end.
fn read(from: &mut impl Read, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u64::from_be_bytes(length);
    if length > most {
        return Err(io::Error::other("it is too long"));
    }
    let mut bytes = Vec::new();
    let complete = from.take(length).read_to_end(&mut bytes)? as u64 == length;
    Ok(complete.then_some(bytes))
}

/// Renders what another process of this program asks for, until its end.
///
/// # Errors
/// What cannot be read or written.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    // Values that are large end this process, instead of the machine's memory; and without a copy of them on the disk.
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Data, limit(MEMORY))?;
    setrlimit(Resource::Core, limit(0))?;
    let (watchdog, mut compiled) = (watchdog(), Compiled::default());
    let mut known: HashMap<String, tera::Value> = HashMap::new();
    writeln!(output, "{GREETING}")?;
    output.flush()?;
    while let Some(request) = read(&mut input, u64::MAX)? {
        let Work { recipe, files, values, shared, milliseconds } = serde_json::from_slice(&request)?;
        drop(request);
        let _ = watchdog.send(Some(Duration::from_millis(milliseconds)));
        let mut context = values::context(&values);
        for (name, value) in shared {
            if let Some(value) = value {
                known.insert(name.clone(), tera::Value::from_serializable(&value));
            }
            if let Some(value) = known.get(&name) {
                context.insert_value(name, value.clone());
            }
        }
        let bytes = match compiled.get(recipe, files) {
            Ok(template) => {
                let bytes = serde_json::to_vec(&template.render(&context))?;
                let too_long = bytes.len() as u64 > MOST_ANSWER;
                if too_long { serde_json::to_vec(&Answer::Err(template.too_long()))? } else { bytes }
            }
            Err(problem) => serde_json::to_vec(&Answer::Err(problem))?,
        };
        let _ = watchdog.send(None);
        write(&mut output, &bytes)?;
    }
    Ok(())
}

/// The templates that were rendered lately: each is rendered for many hosts.
#[derive(Default)]
struct Compiled(Vec<(Recipe, Texts, Template)>);

/// The names and texts of files.
type Texts = Vec<(String, String)>;

impl Compiled {
    fn get(&mut self, recipe: Recipe, files: Texts) -> Result<&Template, Problem> {
        let known = self.0.iter().position(|(known, texts, _)| *known == recipe && *texts == files);
        let last = if let Some(at) = known {
            self.0.remove(at)
        } else {
            let template = recipe.compile(&files)?;
            (recipe, files, template)
        };
        if self.0.len() >= MOST_COMPILED {
            self.0.remove(0);
        }
        self.0.push(last);
        Ok(&self.0[self.0.len() - 1].2)
    }
}

/// Ends this process when something takes longer than was said before it.
fn watchdog() -> mpsc::Sender<Option<Duration>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut limit: Option<Duration> = None;
        loop {
            let next = match limit {
                None => told.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                Some(limit) => told.recv_timeout(limit),
            };
            match next {
                Ok(next) => limit = next,
                Err(mpsc::RecvTimeoutError::Timeout) => std::process::exit(TIMED_OUT),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    tell
}

#[cfg(test)]
mod tests;
