//! `file`: a directory, a link, an empty file or nothing at a path, and the access to an existing entry.

use serde::Deserialize;

use super::{
    Change, Diff, Files, Flag, Kind, Missing, NodeState, ParamError, Reach, RemotePath, Resource, Verdict,
    access::{Access, AccessDifference},
    content::blocked_by,
    decode,
    lock_out::{
        account::{self, Deed},
        tree,
    },
    put::{Backup, Put, SET_ACCESS, set_access},
    schema::{parameters, words},
};
use crate::{
    question::{
        Questions, Unanswered,
        kept::Kept,
        path::{Attributes, Entry, PathInfo, PathQuery, PathState},
        tree::{Tree, TreeKey},
        way::WAY,
    },
    script::Script,
    secret::Sealed,
};

/// The description of the kind for the loader.
pub(super) const KIND: Kind = Kind {
    name: "file",
    about: "Makes a directory or a link, sets owner and mode, or removes a path",
    example: r#"file:
  path: /srv/backups
  state: directory
  owner: postgres
  mode: "0700""#,
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    struct Parameters {
        /// The path.
        path | dest | name: RemotePath,
        /// The wanted entry: `file` only sets owner, group and mode of an existing file; `touch` makes an empty file; `absent` removes the path with all that is in it.
        state: State = "file",
        /// Owner, group and mode.
        access: Access,
        /// The target of the link, with `state: link`.
        src: Option<String>,
        /// Whether a link at the last part of the path is followed.
        follow: Flag = false,
        /// Whether a link replaces an existing file, and is made though it leads nowhere.
        force: Flag = false,
        /// Whether owner, group and mode also apply to all that is in the directory; no link is followed.
        recurse: Flag = false,
    }
}

words!(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Absent,
    Directory,
    #[default]
    File,
    Link,
    Touch,
}

/// The wanted state of the path.
#[derive(Debug)]
enum Wanted {
    Nothing,
    /// A directory; missing parents are made, with owner root and mode 0755.
    Directory(Access),
    /// A directory, and the same owner, group and mode for all that is in it.
    Tree(Access),
    /// A file that another task or program makes.
    File(Access),
    /// A file, empty when it is new.
    SomeFile(Access),
    /// A link with this target; with `force` it replaces a file.
    Link {
        target: String,
        force: bool,
    },
}

#[derive(Debug)]
struct FileState {
    path: RemotePath,
    wanted: Wanted,
    follow: bool,
}

fn from_parameters(parameters: serde_json::Value, _files: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let given: Parameters = decode(parameters)?;
    let access = given.access.clone();
    if matches!(given.state, State::Absent | State::Link) && access != Access::default() {
        let culprit = [("owner", access.owner.is_some()), ("group", access.group.is_some()), ("mode", access.mode.is_some())];
        let name = culprit.iter().find(|(_, present)| *present).map_or("", |(name, _)| name);
        let reason = if given.state == State::Link { "a link has no access of its own" } else { "an absent path has none" };
        return Err(ParamError::parameter(name, format!("{reason}; leave it out")));
    }
    if given.state != State::Link {
        if given.src.is_some() {
            return Err(ParamError::parameter("src", "goes with `state: link` only; to write a file use `copy` or `template`"));
        }
        if given.force.0 {
            return Err(ParamError::parameter("force", "goes with `state: link` only"));
        }
    }
    if given.recurse.0 {
        check_recurse(&given, &access)?;
    }
    let wanted = match given.state {
        State::Absent if given.path.parent().as_str() == "/" => {
            return Err(ParamError::parameter(
                "path",
                format!("`{}` is no path to remove with all that is in it; name something in it", given.path),
            ));
        }
        State::Absent => Wanted::Nothing,
        State::Directory if given.recurse.0 => Wanted::Tree(access),
        State::Directory => Wanted::Directory(access),
        State::File => Wanted::File(access),
        State::Touch => Wanted::SomeFile(access),
        State::Link => match given.src {
            Some(target) if !target.is_empty() && !target.contains(['\0', '\n']) => Wanted::Link { target, force: given.force.0 },
            Some(_) => return Err(ParamError::parameter("src", "is no path")),
            None => return Err(ParamError::parameter("", "say with `src` what the link leads to")),
        },
    };
    Ok(Box::new(FileState { path: given.path, wanted, follow: given.follow.0 }))
}

/// Refuses parameters that cannot be combined with `recurse`.
fn check_recurse(given: &Parameters, access: &Access) -> Result<(), ParamError> {
    let refuse = |name: &str, message: String| Err(ParamError::parameter(name, message));
    if given.state != State::Directory {
        return refuse("recurse", "goes with `state: directory` only".to_owned());
    }
    if *access == Access::default() {
        return refuse("recurse", "say with `owner`, `group` or `mode` what everything in the directory must have".to_owned());
    }
    if given.follow.0 {
        return refuse("follow", "`recurse` follows no links: name the directory itself".to_owned());
    }
    if given.path.parent().as_str() == "/" {
        return refuse("path", format!("`{}` is no path to change with all that is in it; name something in it", given.path));
    }
    if let Some(mode) = access.mode.filter(|mode| mode.0 & 0o100 == 0) {
        let message = format!("with `recurse` it is the mode of directories, too, and {} lets no user enter them", mode.octal());
        return refuse("mode", format!("{message}: leave `mode` out, or give it to each file"));
    }
    Ok(())
}

impl Resource for FileState {
    fn reach(&self) -> Reach<'_> {
        Reach::Path(&self.path)
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<PathState>(self.look());
        if matches!(self.wanted, Wanted::Nothing) || account::may_concern(&self.path) {
            account::ask(ask);
        }
        match &self.wanted {
            Wanted::Directory(access) | Wanted::File(access) | Wanted::SomeFile(access) => access.questions(ask),
            Wanted::Tree(access) => {
                access.questions(ask);
                ask.ask::<Tree>(self.tree(access));
            }
            Wanted::Link { target, force } => {
                if let Some(target) = self.led_to(target).filter(|_| !force) {
                    ask.ask::<PathState>(target);
                }
            }
            Wanted::Nothing => {}
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let found = node.answers.get::<PathState>(&self.look())?;
        match &self.wanted {
            Wanted::Nothing => self.unless_locked_out(node, Deed::Remove, self.nothing(found)),
            Wanted::Link { target, force } if found.entry == Entry::Absent => self.link(node, found, target, *force),
            Wanted::Link { target, force } => self.unless_locked_out(node, Deed::Remove, self.link(node, found, target, *force)?),
            Wanted::Directory(access) => self.directory(node, found, access),
            Wanted::Tree(access) => match found.entry {
                Entry::Directory(ref actual) => self.whole_tree(node, access, actual),
                Entry::Absent | Entry::File(_) | Entry::Link(_) | Entry::Other(_) => self.directory(node, found, access),
            },
            Wanted::File(access) => self.file(node, found, access, false),
            Wanted::SomeFile(access) => self.file(node, found, access, true),
        }
    }
}

impl FileState {
    fn look(&self) -> PathQuery {
        let owner = match &self.wanted {
            Wanted::Nothing => return PathQuery::removal(&self.path),
            Wanted::Directory(access) | Wanted::Tree(access) | Wanted::File(access) | Wanted::SomeFile(access) => {
                access.owner.as_ref()
            }
            Wanted::Link { .. } => None,
        };
        PathQuery::attributes(&self.path).following(self.follow).owned_by(owner)
    }

    fn change(&self, summary: &str, diff: Diff, script: Script) -> Change {
        Change::new(summary, script).diff(diff.titled(self.path.as_str()))
    }

    /// Returns the verdict, unless the change would keep this run's account, or every user of sudo, out.
    fn unless_locked_out(&self, node: &NodeState<'_>, deed: Deed<'_>, verdict: Verdict) -> Result<Verdict, Unanswered> {
        if matches!(verdict, Verdict::Converged { .. } | Verdict::Refused(_)) {
            return Ok(verdict);
        }
        let mut reason = match deed {
            Deed::Remove => None,
            Deed::Access(access, before) => tree::refuses_access(node, &self.path, access, before)?,
            Deed::Tree(access, before) => tree::refuses_access(node, &self.path, access, Some(before))?,
        };
        if reason.is_none() && (matches!(deed, Deed::Remove) || account::may_concern(&self.path)) {
            reason = account::refuses(node, &self.path, deed)?;
        }
        Ok(reason.map_or(verdict, Verdict::Refused))
    }

    fn refused(&self, why: &str) -> Verdict {
        Verdict::Refused(format!("`{}` is {why}", self.path))
    }

    fn nothing(&self, found: &PathInfo) -> Verdict {
        if found.entry == Entry::Absent {
            return Verdict::CONVERGED;
        }
        let mut diff = Diff::none();
        diff.removed(match &found.entry {
            Entry::Directory(_) => "a directory and all that is in it".to_owned(),
            Entry::File(file) => format!("a file, {} bytes", file.size),
            entry @ (Entry::Absent | Entry::Link(_) | Entry::Other(_)) => entry.describe(),
        });
        // A file system that is mounted below belongs to another task: rm then fails with its own message.
        let script = Script::new(REMOVE).using(WAY).arg(self.path.as_str());
        let script = tree::before(script, &self.path, tree::Change::Absent);
        let change = self.change("remove", diff, script).replacing(true);
        Verdict::Change(match &found.entry {
            Entry::File(_) | Entry::Link(_) => change.writing(Kept::File(self.path.clone())),
            Entry::Absent | Entry::Directory(_) | Entry::Other(_) => change,
        })
    }

    /// Returns the question whether there is what a link with this target leads to.
    fn led_to(&self, target: &str) -> Option<PathQuery> {
        let whole = if target.starts_with('/') { target.to_owned() } else { format!("{}/{target}", self.path.parent()) };
        let mut parts: Vec<&str> = Vec::new();
        for part in whole.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let path = RemotePath::new(&format!("/{}", parts.join("/"))).ok()?;
        Some(PathQuery::existence(&path))
    }

    fn link(&self, node: &NodeState<'_>, found: &PathInfo, target: &str, force: bool) -> Result<Verdict, Unanswered> {
        let before = match &found.entry {
            Entry::Absent => String::new(),
            Entry::Link(link) if link.target == target => return Ok(Verdict::CONVERGED),
            link @ Entry::Link(_) => link.describe(),
            Entry::File(file) if force => format!("a file, {} bytes", file.size),
            Entry::File(_) => return Ok(self.refused("a file, where a link is wanted; remove it first or say `force: true`")),
            Entry::Directory(_) => {
                return Ok(self.refused("a directory, where a link is wanted, and `force` replaces files only; remove it first"));
            }
            Entry::Other(_) => {
                return Ok(self.refused(
                    "a device, socket or pipe, where a link is wanted, and `force` replaces files only; remove it first",
                ));
            }
        };
        let mut diff = Diff::none();
        if !before.is_empty() {
            diff.removed(&before);
        }
        diff.added(format!("a link to `{target}`"));
        let script = Script::new(MAKE_LINK).using(WAY).arg(self.path.as_str()).arg(target);
        let script = tree::before(script, &self.path, tree::Change::Link);
        let summary = if before.is_empty() { "create" } else { "replace" };
        let mut missing = self.missing_parent(found);
        // A slip in the target would otherwise take effect in silence.
        if let Some(led_to) = self.led_to(target).filter(|_| !force)
            && matches!(node.answers.get::<PathState>(&led_to)?.seen(true), None | Some(Entry::Absent))
        {
            missing.push(Missing::LinkTarget(led_to.path.clone()));
        }
        let change = self.change(summary, diff, script).replacing(!before.is_empty()).writing(Kept::File(self.path.clone()));
        Ok(blocked_by(missing, change))
    }

    fn directory(&self, node: &NodeState<'_>, found: &PathInfo, access: &Access) -> Result<Verdict, Unanswered> {
        match found.seen(self.follow) {
            Some(Entry::Directory(actual)) => self.access(node, access, actual),
            Some(Entry::Absent) => {
                let AccessDifference { missing, diff: attributes, .. } = access.compare(node, None)?;
                if let Some(reason) = tree::refuses_access(node, &self.path, access, None)? {
                    return Ok(Verdict::Refused(reason));
                }
                let mut diff = Diff::none();
                diff.added("a directory");
                diff.lines.extend(attributes.lines);
                let script = Script::new(MAKE_DIRECTORY).using(WAY).using(SET_ACCESS).arg(self.path.as_str());
                Ok(blocked_by(missing, self.change("create", diff, access.arguments(script).arg(""))))
            }
            other => Ok(self.in_the_way(other, "a directory")),
        }
    }

    fn tree(&self, access: &Access) -> TreeKey {
        let Access { owner, group, mode } = access.clone();
        TreeKey { path: self.path.clone(), owner, group, mode }
    }

    /// Compares an existing directory and all that is in it.
    fn whole_tree(&self, node: &NodeState<'_>, access: &Access, actual: &Attributes) -> Result<Verdict, Unanswered> {
        let AccessDifference { missing, mut diff, mut summary, .. } = access.compare(node, Some(actual))?;
        let below = *node.answers.get::<Tree>(&self.tree(access))?;
        if below > 0 {
            let entries = format!("{below} {} below", if below == 1 { "entry" } else { "entries" });
            let wanted = access.compare(node, None)?.summary.join(", ");
            diff.attribute(&entries, "with another access", &wanted);
            summary.push(format!("{entries} → {wanted}"));
        }
        if summary.is_empty() {
            return Ok(Verdict::CONVERGED);
        }
        let script = Script::new("set_tree \"$@\"").using(WAY).using(SET_TREE).arg(self.path.as_str());
        let script = tree::before(access.arguments(script), &self.path, tree::Change::Tree);
        let verdict = blocked_by(missing, self.change(&summary.join(", "), diff, script).replacing(true));
        self.unless_locked_out(node, Deed::Tree(access, actual), verdict)
    }

    fn file(&self, node: &NodeState<'_>, found: &PathInfo, access: &Access, create: bool) -> Result<Verdict, Unanswered> {
        match found.seen(self.follow) {
            Some(Entry::File(file)) => self.access(node, access, &file.attributes),
            Some(Entry::Absent) => {
                let AccessDifference { mut missing, mut diff, mut summary, .. } = access.compare(node, None)?;
                if let Some(reason) = tree::refuses_access(node, &self.path, access, None)? {
                    return Ok(Verdict::Refused(reason));
                }
                let script = if create {
                    missing.extend(self.missing_parent(found));
                    summary = vec!["create".to_owned()];
                    diff.lines.insert(0, super::Line::Added("an empty file".to_owned()));
                    Put { path: &self.path, access: access.clone(), follow: false, backup: Backup::None, validate: None }
                        .script(Sealed::default(), node.secrets)
                } else {
                    missing.push(Missing::File(self.path.clone()));
                    set_access(&self.path, access, self.follow)
                };
                let summary = if summary.is_empty() { "made by another task".to_owned() } else { summary.join(", ") };
                Ok(blocked_by(missing, self.change(&summary, diff, script)))
            }
            Some(Entry::Directory(_)) => Ok(self.refused("a directory; say `state: directory`")),
            other => Ok(self.in_the_way(other, "a file")),
        }
    }

    /// Compares the access of an existing entry of the wanted kind.
    fn access(&self, node: &NodeState<'_>, access: &Access, actual: &Attributes) -> Result<Verdict, Unanswered> {
        let AccessDifference { missing, diff, summary, .. } = access.compare(node, Some(actual))?;
        if summary.is_empty() {
            return Ok(Verdict::CONVERGED);
        }
        let script = set_access(&self.path, access, self.follow);
        let verdict = blocked_by(missing, self.change(&summary.join(", "), diff, script).replacing(true));
        self.unless_locked_out(node, Deed::Access(access, Some(actual)), verdict)
    }

    fn in_the_way(&self, entry: Option<&Entry>, wanted: &str) -> Verdict {
        match entry {
            None => self.refused("a link that leads nowhere; remove it or make what it leads to"),
            Some(link @ Entry::Link(_)) => {
                self.refused(&format!("{}; say `follow: true` to mean what it leads to, or remove it", link.describe()))
            }
            Some(Entry::Other(_)) => self.refused(&format!(
                "a device, socket or pipe, whose access is set by the unit or program that makes it; remove it first, if {wanted} is wanted"
            )),
            Some(entry) => self.refused(&format!("{}, where {wanted} is wanted; remove it first", entry.describe())),
        }
    }

    fn missing_parent(&self, found: &PathInfo) -> Vec<Missing> {
        if found.parent_exists { Vec::new() } else { vec![Missing::Directory(self.path.parent())] }
    }
}

/// `PATH`. A path whose directory is gone is gone, too.
const REMOVE: &str = r#"reach '' "$1" '' || {
    [ "$?" != 2 ] || exit 0
    untrusted "$1" >&2
    exit 1
}
rm -rf --one-file-system -- "./$name""#;

/// `PATH OWNER GROUP MODE ''`. Parents get owner root and mode 0755. A directory is never more open than declared, even before chown.
const MAKE_DIRECTORY: &str = r#"set -eu
go "$2" "$1" '' parents
if [ ! -d "./$name" ]; then
    mkdir -m "${4:-0755}" -- "./$name"
fi
access_here "$@""#;

/// `set_tree PATH OWNER GROUP MODE` changes a directory and all that is in it. No link is followed: the directory is entered once and then
/// checked, and chown changes links themselves. chmod follows a link that is swapped in while it runs: it runs as root only where no other user
/// can do that, and else as the new owner of all, who can change nothing but his own.
const SET_TREE: &str = r#"set_tree() (
    set -u
    go "$2" "$1" ''
    refuse() { printf '%s\n' "$1" >&2; exit 1; }
    [ ! -L "./$name" ] || refuse "$1 is a link: not followed"
    { command exec 3<"./$name"; } && check "$2" "$1" || exit
    cd -P -- "./$name" || exit
    [ . -ef /proc/self/fd/3 ] || refuse "$1 was replaced at this very moment"
    exec 3<&-
    if [ -n "$2$3" ]; then
        chown -R -h -P -- "$2${3:+:$3}" . || exit
    fi
    [ -n "$4" ] || exit 0
    other=$(find -P . -type d \( ! -user 0 -o -perm -0002 ! -perm -1000 -o -perm -0020 ! -group 0 ! -perm -1000 \) -printf '%p, of %u:%g' -quit) || exit
    if [ -z "$other" ]; then
        chmod -R -- "$4" .
        exit
    fi
    case $2 in
        '' | root) refuse "in $1 are directories into which others can put links ($other): say with owner whose all is to be, or leave mode out" ;;
    esac
    group=${3:-$(id -g -- "$2")} || exit
    setpriv --reuid "$2" --regid "$group" --init-groups chmod -R -- "$4" .
)"#;

/// `PATH TARGET`. The new link is renamed into place, so that the path always exists.
const MAKE_LINK: &str = r#"set -eu
go '' "$1" ''
temporary=$(mktemp -u -- ./.autobot-provision-XXXXXXXXXX)
trap 'trap "" HUP INT TERM; rm -f -- "$temporary"' EXIT
trap 'trap "" HUP INT TERM; exit 143' HUP INT TERM
ln -s -- "$2" "$temporary"
mv -T -f -- "$temporary" "./$name"
trap - EXIT"#;

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
