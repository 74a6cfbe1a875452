//! The truth of check, deploy and health over damaged states: a check names what the deploy changes, the second deploy changes nothing, and health
//! is red where a client would be hurt, and nowhere else.
//!
//! The states are made from a seed: a bare node, half installed ones, each damage of the table, and pairs of damages. `TRUTH_STATES=all` tries all of
//! them, a number so many; `TRUTH_SEED` repeats a run.

mod damages;

use std::{collections::BTreeSet, fmt::Write as _, sync::OnceLock};

use damages::{DAMAGES, Part};

use crate::{
    harness::{Project, RunResult, TestNode, say},
    truth::{RoleFile, is_of, settle},
};

/// How many states `tests/run` tries.
const SAMPLE: usize = 30;

/// How many states there are at least.
const LEAST: usize = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// With role `redis`.
    Redis,
    /// With role `postgresql`.
    Slm,
}

impl Node {
    fn host(self) -> &'static str {
        match self {
            Self::Redis => "database_vm",
            Self::Slm => "slm",
        }
    }

    fn project(self, node: &TestNode) -> Project {
        let hosts = [(self.host(), node, "")];
        let project = Project::shipped(&hosts);
        if self == Self::Slm {
            project.inventory(&hosts, "postgresql", "");
        }
        project
    }

    /// Boots a node on which its role has been deployed.
    fn converged(self) -> TestNode {
        static SLM: OnceLock<()> = OnceLock::new();
        match self {
            Self::Redis => TestNode::converged(),
            Self::Slm => {
                SLM.get_or_init(|| {
                    let node = TestNode::bare();
                    self.project(&node).run(&["deploy"]).assert_code(0);
                    node.freeze("truth-slm");
                });
                TestNode::copy("truth-slm")
            }
        }
    }
}

/// Something that is not as declared.
#[derive(Debug)]
pub struct Damage {
    node: Node,
    part: Part,
    /// The shell text that makes it.
    what: &'static str,
    /// Whether a client is hurt, or a stranger gets in, until it is mended.
    hurts: bool,
    ends: Ends,
    /// The task that mends it, where it is one of role `redis`.
    task: Option<&'static str>,
}

/// How a deploy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// It mends the damage.
    Mended,
    /// It refuses in the words of the check, and has changed nothing. The shell text is a way out.
    Refused { mend: &'static str },
}

/// A state of a node.
#[derive(Debug, Clone)]
enum State {
    Bare,
    /// After so many tasks of role `redis`, with the handlers pending.
    HalfInstalled(usize),
    Damaged(Vec<&'static Damage>),
}

/// A linear congruential generator (Knuth's MMIX), whose upper bits are used.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

/// Returns all states of a seed, and pairs until there are at least so many, in the order in which they are tried.
fn states(random: &mut Random, least: usize) -> Vec<State> {
    let [server, redis] = RoleFile::all();
    // Before its last tasks, Redis does not run yet.
    let most = redis.tasks.iter().position(|(name, _)| name == "Start Redis").unwrap();
    assert!(!server.tasks.is_empty());
    let mut states = vec![State::Bare];
    let mut cuts: Vec<usize> = (1..=most).collect();
    random.shuffle(&mut cuts);
    states.extend(cuts.into_iter().take(9).map(State::HalfInstalled));
    states.extend(DAMAGES.iter().map(|damage| State::Damaged(vec![damage])));
    // The rest are pairs.
    while states.len() < least {
        let (one, other) = (&DAMAGES[random.below(DAMAGES.len())], &DAMAGES[random.below(DAMAGES.len())]);
        let is_refused = |damage: &Damage| damage.ends != Ends::Mended;
        // A refusal ends the check: what the other damage needs is not said.
        if one.node == other.node && one.part != other.part && !is_refused(one) && !is_refused(other) {
            states.push(State::Damaged(vec![one, other]));
        }
    }
    random.shuffle(&mut states);
    states
}

/// What was counted over all states.
#[derive(Debug, Default)]
struct Tally {
    /// Items that a check predicted, and that changed.
    right: usize,
    /// Items that a check predicted, and that did not change.
    false_alarms: Vec<String>,
    /// Items that changed, and that no check predicted.
    missed: Vec<String>,
    /// States in which health was right.
    health_right: usize,
    other: Vec<String>,
}

impl Tally {
    fn compare(&mut self, state: &str, predicted: &BTreeSet<String>, changed: &BTreeSet<String>) {
        self.right += predicted.intersection(changed).count();
        for id in predicted.difference(changed) {
            say(&format!("predicted, not changed: {id}"));
            self.false_alarms.push(format!("{state}: {id}"));
        }
        for id in changed.difference(predicted) {
            say(&format!("changed, not predicted: {id}"));
            self.missed.push(format!("{state}: {id}"));
        }
    }

    fn miss(&mut self, state: &str, what: &str, ran: &RunResult) {
        let miss = format!("{what}\n  {}", failures(ran).join("\n  "));
        say(&miss);
        self.other.push(format!("{state}: {miss}"));
    }

    fn expect(&mut self, holds: bool, state: &str, what: &str, ran: &RunResult) {
        if !holds {
            self.miss(state, what, ran);
        }
    }

    fn health(&mut self, state: &str, hurts: bool, ran: &RunResult) {
        let is_red = ran.code != Some(0);
        if is_red == hurts {
            self.health_right += 1;
        } else {
            let which = if is_red { "health is red, and no client is hurt" } else { "health is green, and a client is hurt" };
            self.miss(state, which, ran);
        }
    }
}

/// Returns what failed in a run, in its words.
fn failures(ran: &RunResult) -> Vec<String> {
    let hosts = ran.json()["hosts"].as_object().cloned().unwrap_or_default();
    let tasks = hosts.keys().flat_map(|host| ran.tasks(host)).filter(|task| task.status == "failed");
    tasks.map(|task| format!("{}: {}", task.id, task.error)).collect()
}

fn health(project: &Project) -> RunResult {
    project.json(&["health", "--exercise"])
}

#[test]
fn check_deploy_and_health_tell_the_truth_over_damaged_states() {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let seed = variable("TRUTH_SEED").map_or_else(|| u64::from(std::process::id()), |text| text.parse().unwrap());
    let mut random = Random(seed);
    let wanted = variable("TRUTH_STATES");
    let least = wanted.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0).max(LEAST);
    let mut states = states(&mut random, least);
    let all = states.len();
    match wanted.as_deref() {
        Some("all") => {}
        Some(text) if text.parse::<usize>().is_err() => {
            // Only the states whose words hold this text.
            states.retain(|state| format!("{state:?}").contains(text));
        }
        wanted => states.truncate(wanted.map_or(SAMPLE, |text| text.parse().unwrap())),
    }
    assert!(!states.is_empty());
    say(&format!("{} of {all} states, TRUTH_SEED={seed}", states.len()));
    let mut tally = Tally::default();
    let mut nodes: Vec<(Node, TestNode, Project)> = Vec::new();
    let count = states.len();
    for state in states {
        match state {
            State::Bare => new_node(&mut tally, None),
            State::HalfInstalled(tasks) => new_node(&mut tally, Some(tasks)),
            State::Damaged(damages) => {
                let kind = damages[0].node;
                let at = nodes.iter().position(|(known, ..)| *known == kind).unwrap_or_else(|| {
                    let node = kind.converged();
                    settle(&node);
                    let project = kind.project(&node);
                    project.json(&["deploy"]).assert_code(0);
                    nodes.push((kind, node, project));
                    nodes.len() - 1
                });
                let (_, node, project) = &nodes[at];
                if !damaged(&mut tally, node, project, &damages) {
                    // The next state begins on another node.
                    nodes.remove(at);
                }
            }
        }
    }
    let (predicted, changed) = (tally.right + tally.false_alarms.len(), tally.right + tally.missed.len());
    let mut report = format!(
        "check: {} of {predicted} predicted items changed (precision), {} of {changed} changed items were predicted (recall)\n",
        tally.right, tally.right
    );
    let _ = writeln!(report, "health: right in {} of {count} states", tally.health_right);
    for (title, misses) in
        [("predicted, not changed", &tally.false_alarms), ("changed, not predicted", &tally.missed), ("other", &tally.other)]
    {
        for miss in misses {
            let _ = writeln!(report, "{title}: {miss}");
        }
    }
    say(&report);
    assert!(tally.false_alarms.is_empty() && tally.missed.is_empty() && tally.other.is_empty(), "TRUTH_SEED={seed}\n{report}");
    assert_eq!(tally.health_right, count);
}

/// A bare node, or one on which the role was interrupted after some tasks.
fn new_node(tally: &mut Tally, tasks: Option<usize>) {
    let node = TestNode::bare();
    let project = Node::Redis.project(&node);
    if let Some(tasks) = tasks {
        let part = Node::Redis.project(&node);
        let [_, redis] = RoleFile::all();
        part.write("roles/redis/role.yml", &redis.first(tasks));
        part.json(&["deploy"]).assert_code(1);
    }
    let state = tasks.map_or_else(|| "bare".to_owned(), |tasks| format!("half installed, {tasks} tasks"));
    say(&state);
    tally.health(&state, true, &health(&project));
    mends(tally, &state, &project, Node::Redis.host());
    tally.expect(health(&project).code == Some(0), &state, "after the deploy, health is red", &health(&project));
}

/// Makes the damages, and returns whether the node is as declared again.
fn damaged(tally: &mut Tally, node: &TestNode, project: &Project, damages: &[&'static Damage]) -> bool {
    let host = damages[0].node.host();
    let state = damages.iter().map(|damage| format!("`{}`", damage.what)).collect::<Vec<_>>().join(" and ");
    say(&state);
    for damage in damages {
        node.sh(&format!("cd /\n{}", damage.what));
    }
    let before = tally.other.len();
    tally.health(&state, damages.iter().any(|damage| damage.hurts), &health(project));
    if let Ends::Refused { mend } = damages[0].ends {
        let check = project.json(&["deploy", "--check"]);
        let deploy = project.json(&["deploy"]);
        let changed = deploy.ids(host, "changed");
        tally.expect(check.code == Some(1) && deploy.code == Some(1), &state, "was not refused", &check);
        tally.expect(failures(&check) == failures(&deploy), &state, "check and deploy refuse in other words", &deploy);
        tally.expect(changed.is_empty(), &state, &format!("was refused, and changed {changed:?}"), &deploy);
        node.sh(&format!("cd /\n{mend}"));
    }
    let changed = mends(tally, &state, project, host);
    for task in damages.iter().filter_map(|damage| damage.task) {
        let item = changed.iter().find(|id| is_of(id, task));
        if item.is_none() {
            tally.other.push(format!("{state}: `{task}` did not mend it, but {changed:?}"));
        }
    }
    let after = health(project);
    tally.expect(after.code == Some(0), &state, "after the deploy, health is red", &after);
    tally.other.len() == before
}

/// Deploys as a check predicts, and returns what changed; the second deploy changes nothing.
fn mends(tally: &mut Tally, state: &str, project: &Project, host: &str) -> BTreeSet<String> {
    let check = project.json(&["deploy", "--check"]);
    let deploy = project.json(&["deploy"]);
    tally.expect(check.code == Some(0), state, "the check fails", &check);
    tally.expect(deploy.code == Some(0), state, "the deploy fails", &deploy);
    tally.expect(check.ids(host, "unknown").is_empty(), state, "the check leaves something open", &check);
    let changed = deploy.ids(host, "changed");
    tally.compare(state, &check.ids(host, "changed"), &changed);
    let again = project.json(&["deploy"]);
    let left = again.ids(host, "changed");
    tally.expect(again.code == Some(0) && left.is_empty(), state, &format!("the second deploy changes {left:?}"), &again);
    changed
}

#[test]
fn every_task_that_can_change_something_has_a_damage() {
    let node = TestNode::converged();
    let check = Node::Redis.project(&node).json(&["deploy", "--check"]).host(Node::Redis.host());
    let declares = |task: &&serde_json::Value| {
        task["kind"] == "task"
            && task["status"] != "skipped"
            && !["assert", "port_owner", "redis_existing_data", "redis_settings", "command"]
                .contains(&task["resource"].as_str().unwrap())
    };
    let ids = check["tasks"].as_array().unwrap().iter().filter(declares).map(|task| task["id"].as_str().unwrap());
    let has_one = |id: &str| DAMAGES.iter().filter_map(|damage| damage.task).any(|task| is_of(id, task));
    let missing: Vec<&str> = ids.filter(|id| !has_one(id)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "how are these undone?");
}
