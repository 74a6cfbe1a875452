//! Where the outputs of the steps that run apart begin and end. The loop on the node says how they run.

use super::Frame;

/// How far one of the two outputs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Steps run apart.
    Running,
    /// All of theirs has arrived. What comes now is of something that they have left running.
    Cutting,
    /// What comes now is ours, and no step runs apart any more.
    Over,
}

/// How far both outputs are.
#[derive(Debug)]
pub(super) struct Apart {
    pub(super) stdout: Phase,
    pub(super) stderr: Phase,
    /// The process on the node that waits until all has arrived.
    process: Option<u32>,
}

impl Apart {
    pub(super) fn of(frame: &Frame) -> Self {
        let phase = if frame.apart > 0 { Phase::Running } else { Phase::Over };
        Self { stdout: phase, stderr: phase, process: None }
    }

    /// Returns whether this mark of standard output is about the pipes. What came before it is no output of a step then.
    pub(super) fn reads_stdout(&mut self, words: &str) -> bool {
        if let Some(process) = words.strip_prefix("apart ") {
            self.process = process.parse().ok();
        }
        step(&mut self.stdout, words)
    }

    /// As [`Self::reads_stdout`], of standard error.
    pub(super) fn reads_stderr(&mut self, words: &str) -> bool {
        step(&mut self.stderr, words)
    }

    /// Returns, once, the process that waits, when all of both outputs has arrived and something may still hold the pipes.
    pub(super) fn all_arrived(&mut self) -> Option<u32> {
        match (self.stdout, self.stderr) {
            (Phase::Running, _) | (_, Phase::Running) | (Phase::Over, Phase::Over) => None,
            (Phase::Cutting, _) | (_, Phase::Cutting) => self.process.take(),
        }
    }
}

fn step(phase: &mut Phase, words: &str) -> bool {
    let next = match (*phase, words.split(' ').next()) {
        (Phase::Running, Some("apart")) => Phase::Cutting,
        (Phase::Cutting, Some("cut")) => Phase::Over,
        _ => return false,
    };
    *phase = next;
    true
}
