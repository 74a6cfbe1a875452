//! The state of systemd units, in one `systemctl show`.

use std::collections::HashMap;

use super::{
    Kind, Lane, Output, Unanswered,
    unit_state::{ActiveState, LoadState, UnitFileState},
};
use crate::script::Script;

/// A unit as systemd shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its primary name, which differs from the requested name when that is an alias.
    pub id: String,
    /// All its names, including aliases.
    pub names: Vec<String>,
    /// Whether systemd has read its files.
    pub load: LoadState,
    /// Whether it is up.
    pub active: ActiveState,
    /// The finer state, such as `running`, `exited`, `auto-restart`.
    pub sub: String,
    /// Whether it starts at boot.
    pub file_state: UnitFileState,
    /// Whether its files have changed since systemd read them.
    pub needs_reload: bool,
    /// Its main process; 0 when there is none.
    pub main_pid: u32,
    /// When the main process was started, in microseconds of the monotonic clock; 0 if never.
    pub started: u64,
    /// When the unit became active, in microseconds of the monotonic clock; 0 if never.
    pub active_since: u64,
    /// The file that defines it; empty when there is none.
    pub file: String,
    /// The drop-ins that systemd has read.
    pub drop_ins: Vec<String>,
    /// Whether another unit starts it, or a request on D-Bus.
    pub is_wanted: bool,
    /// Whether it runs once and is inactive afterwards (`Type=oneshot` without `RemainAfterExit`).
    pub runs_once: bool,
}

impl Unit {
    /// Returns whether systemd knows the unit. A masked unit exists too.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.load != LoadState::NotFound
    }

    /// Returns whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.active, ActiveState::Active | ActiveState::Reloading | ActiveState::Refreshing)
    }
}

impl Unit {
    /// Returns whether it starts at boot: it is enabled for good, or it cannot be enabled and something starts it.
    #[must_use]
    pub fn starts_at_boot(&self) -> bool {
        match self.file_state {
            UnitFileState::Enabled | UnitFileState::Alias => true,
            UnitFileState::Static | UnitFileState::Generated | UnitFileState::Indirect => self.is_wanted,
            UnitFileState::NoFile
            | UnitFileState::EnabledRuntime
            | UnitFileState::Linked
            | UnitFileState::LinkedRuntime
            | UnitFileState::Masked
            | UnitFileState::MaskedRuntime
            | UnitFileState::Disabled
            | UnitFileState::Transient
            | UnitFileState::Bad
            | UnitFileState::Other(_) => false,
        }
    }

    /// Returns when it was last started, in microseconds since boot; 0 if it was not started in this boot.
    #[must_use]
    pub fn started_at(&self) -> u64 {
        self.started.max(self.active_since)
    }
}

/// Returns the name with its suffix: `redis` becomes `redis.service`.
///
/// # Errors
/// Returns what is wrong with the name (systemd.unit(5), "String escaping": letters, digits and `:-_.\`, with `@` for instances).
pub fn full_name(name: &str) -> Result<String, String> {
    const SUFFIXES: [&str; 11] =
        ["service", "socket", "timer", "target", "mount", "automount", "path", "slice", "scope", "swap", "device"];
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if name.is_empty() || name.starts_with('-') || name.len() > 240 || !name.bytes().all(valid) {
        return Err(format!("`{name}` is not a valid unit name"));
    }
    let has_suffix = name.rsplit_once('.').is_some_and(|(_, suffix)| SUFFIXES.contains(&suffix));
    let full = if has_suffix { name.to_owned() } else { format!("{name}.service") };
    if full.contains("@.") {
        return Err(format!("`{full}` is a template; name an instance of it, such as `{}`", full.replace("@.", "@main.")));
    }
    Ok(full)
}

impl Kind for Unit {
    /// A name that [`full_name`] returned.
    type Key = String;
    type Answer = Self;
    const NAME: &'static str = "unit";
    const LANE: Lane = Lane::Servers;

    fn script(names: &[&String]) -> Script {
        Script::new(
            "systemctl show --no-pager -p Id,Names,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,MainPID,\
             ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic,FragmentPath,DropInPaths,WantedBy,RequiredBy,\
             UpheldBy,TriggeredBy,Type,RemainAfterExit -- \"$@\" 2>&1",
        )
        .args(names.iter().map(|name| (*name).clone()))
    }

    fn read(names: &[&String], output: &Output) -> Vec<Result<Self, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("units", names.len());
        }
        // One block for each name, in order, separated by an empty line.
        let text = String::from_utf8_lossy(&output.stdout);
        let blocks: Vec<&str> = text.trim().split("\n\n").collect();
        if blocks.len() != names.len() {
            let reason = format!("asking for {} units gave {} answers", names.len(), blocks.len());
            return names.iter().map(|_| Err(Unanswered(reason.clone()))).collect();
        }
        names.iter().zip(blocks).map(|(name, block)| parse(name, block)).collect()
    }
}

fn parse(name: &str, block: &str) -> Result<Unit, Unanswered> {
    let properties: HashMap<&str, &str> = block.lines().filter_map(|line| line.split_once('=')).collect();
    let text = |key: &str| properties.get(key).map(|value| (*value).to_owned()).unwrap_or_default();
    let number = |key: &str| properties.get(key).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let names: Vec<String> = text("Names").split(' ').map(str::to_owned).collect();
    if !names.iter().any(|known| known == name) && text("Id") != name {
        return Err(Unanswered(format!("systemd answered about `{}` instead of `{name}`", text("Id"))));
    }
    let (load, active) = (text("LoadState"), text("ActiveState"));
    if load.is_empty() || active.is_empty() {
        return Err(Unanswered(format!("systemd did not report the state of `{name}`")));
    }
    Ok(Unit {
        id: text("Id"),
        names,
        load: load.as_str().into(),
        active: active.as_str().into(),
        sub: text("SubState"),
        file_state: text("UnitFileState").as_str().into(),
        needs_reload: text("NeedDaemonReload") == "yes",
        main_pid: u32::try_from(number("MainPID")).unwrap_or(0),
        started: number("ExecMainStartTimestampMonotonic"),
        active_since: number("ActiveEnterTimestampMonotonic"),
        file: text("FragmentPath"),
        drop_ins: quoted_words(&text("DropInPaths")),
        is_wanted: ["WantedBy", "RequiredBy", "UpheldBy", "TriggeredBy"].iter().any(|by| !text(by).is_empty())
            || text("Type") == "dbus",
        runs_once: text("Type") == "oneshot" && text("RemainAfterExit") == "no",
    })
}

/// Splits a list as systemctl prints it: a word with a blank or a special character is in double quotes, with backslashes.
fn quoted_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(first) = characters.find(|character| !character.is_whitespace()) {
        let is_quoted = first == '"';
        let mut word = if is_quoted { String::new() } else { String::from(first) };
        while let Some(character) = characters.next_if(|next| is_quoted || !next.is_whitespace()) {
            match character {
                '"' if is_quoted => break,
                '\\' if is_quoted => word.extend(characters.next()),
                other => word.push(other),
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of systemd 252.
    const GOLDEN: &str = "Type=oneshot\nRemainAfterExit=yes\nMainPID=0\nExecMainStartTimestampMonotonic=7\nId=postgresql.service\nNames=postgresql.service autobot-slm-database.service\nLoadState=loaded\nActiveState=active\nSubState=exited\nFragmentPath=/lib/systemd/system/postgresql.service\nDropInPaths=/etc/systemd/system/postgresql.service.d/a.conf /run/x.conf\nWantedBy=multi-user.target\nUnitFileState=enabled\nActiveEnterTimestampMonotonic=9\nNeedDaemonReload=no\n\nId=nosuch.service\nNames=nosuch.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nNeedDaemonReload=no\n";

    fn read(names: &[&str], status: i32, stdout: &str) -> Vec<Result<Unit, Unanswered>> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Unit::read(&names.iter().collect::<Vec<_>>(), &Output { status, stdout: stdout.into() })
    }

    #[test]
    fn an_alias_answers_with_its_unit_and_an_unknown_unit_is_not_found() {
        let answers = read(&["autobot-slm-database.service", "nosuch.service"], 0, GOLDEN);
        let postgresql = answers[0].as_ref().unwrap();
        assert_eq!((postgresql.id.as_str(), postgresql.active_since, postgresql.started), ("postgresql.service", 9, 7));
        assert!(postgresql.is_up() && postgresql.exists() && !postgresql.runs_once && !postgresql.needs_reload);
        assert!(postgresql.is_wanted && postgresql.drop_ins.len() == 2);
        let nosuch = answers[1].as_ref().unwrap();
        assert!(!nosuch.exists() && !nosuch.is_up() && !nosuch.is_wanted && nosuch.drop_ins.is_empty());
    }

    #[test]
    fn the_names_of_drop_ins_may_have_blanks() {
        assert_eq!(
            quoted_words(r#"/a/x.conf "/b/10 my.conf" "/c/q\"\\\$.conf""#),
            ["/a/x.conf", "/b/10 my.conf", "/c/q\"\\$.conf"]
        );
        assert_eq!(quoted_words(""), Vec::<String>::new());
        assert_eq!(quoted_words("\"/open ended"), ["/open ended"]);
    }

    #[test]
    fn whether_a_unit_starts_at_boot_is_told_by_its_links_or_by_who_wants_it() {
        let of = |file_state: &str, is_wanted: bool| {
            Unit { file_state: file_state.into(), is_wanted, ..Unit::default() }.starts_at_boot()
        };
        for state in ["enabled", "alias"] {
            assert!(of(state, false), "{state}");
        }
        for state in ["static", "generated", "indirect"] {
            assert!(of(state, true) && !of(state, false), "{state}");
        }
        for state in ["", "disabled", "enabled-runtime", "masked", "linked"] {
            assert!(!of(state, true), "{state}");
        }
    }

    #[test]
    fn answers_that_do_not_match_the_questions_are_failures() {
        assert!(read(&["a.service"], 0, GOLDEN)[0].as_ref().unwrap_err().0.contains("asking for 1 units gave 2 answers"));
        assert!(read(&["a.service", "nosuch.service"], 0, GOLDEN)[0].as_ref().unwrap_err().0.contains("instead of"));
        assert!(read(&["a.service"], 0, "Id=a.service\n")[0].as_ref().unwrap_err().0.contains("did not report"));
    }

    #[test]
    fn a_node_without_systemd_is_a_failure() {
        let message = "System has not been booted with systemd as init system (PID 1). Can't operate.\n";
        assert!(read(&["a.service"], 1, message)[0].as_ref().unwrap_err().0.contains("not been booted with systemd"));
        assert!(read(&["a.service"], 127, "sh: systemctl: not found\n")[0].as_ref().unwrap_err().0.contains("127"));
    }

    #[test]
    fn names_get_their_suffix() {
        assert_eq!(full_name("redis").unwrap(), "redis.service");
        assert_eq!(full_name("postgresql@15-main").unwrap(), "postgresql@15-main.service");
        assert_eq!(full_name("apt-daily.timer").unwrap(), "apt-daily.timer");
        assert_eq!(full_name("a.b").unwrap(), "a.b.service");
        for invalid in ["", "-x", "a b", "re*", "a\nb", "$(x)", "a/b", "getty@", "getty@.service"] {
            assert!(full_name(invalid).is_err(), "{invalid:?}");
        }
    }
}
