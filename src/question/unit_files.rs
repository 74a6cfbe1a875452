//! What the files of a unit say: how it is to be enabled, and drop-ins that systemd may not have read. No program is run for this.

use super::{Kind, Output, Turn, Unanswered};
use crate::script::Script;

/// The files of one unit. The key is a name that [`super::unit::full_name`] returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFiles {
    /// The links by which `[Install]` wants it enabled, such as `multi-user.target.wants/redis.service`; an alias is a name alone. Those
    /// with specifiers of systemd are left out.
    pub wanted: Vec<String>,
    /// The links in directories of dependencies by which it is enabled.
    pub links: Vec<String>,
    /// Those of them in `/etc/systemd/system`, which `systemctl` makes and removes; the others are a package's.
    pub own_links: Vec<String>,
    /// Its aliases that exist, among those that `[Install]` wants.
    pub aliases: Vec<String>,
    /// The files with text in the directories for its drop-ins.
    pub drop_ins: Vec<String>,
}

impl UnitFiles {
    /// Returns the links that `[Install]` wants and that do not exist.
    #[must_use]
    pub fn missing(&self) -> Vec<&str> {
        self.wanted.iter().filter(|link| !self.has(link)).map(String::as_str).collect()
    }

    /// Whether there is this link, or this alias among those that `[Install]` wants.
    #[must_use]
    pub fn has(&self, link: &str) -> bool {
        self.links.iter().chain(&self.aliases).any(|known| known == link)
    }

    /// Returns the links that `[Install]` does not want: of a file from before, or of `systemctl add-wants`.
    #[must_use]
    pub fn stale(&self) -> Vec<&str> {
        self.own_links.iter().filter(|link| !self.wanted.contains(link)).map(String::as_str).collect()
    }

    /// Returns a drop-in that systemd has not read, if it has read `known`. Of files with one name, systemd reads one.
    #[must_use]
    pub fn unread_drop_in(&self, known: &[String]) -> Option<&str> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        self.drop_ins.iter().map(String::as_str).find(|path| !known.iter().any(|read| name(read) == name(path)))
    }
}

/// The directories of unit files that are not made by generators, in the order in which systemd looks (systemd.unit(5)).
pub const DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Whether a path is in a directory of unit files.
#[must_use]
pub fn is_unit_file(path: &str) -> bool {
    DIRECTORIES.iter().any(|directory| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')))
}

/// Returns the file of the template of an instance: `a@.service` for `a@b.service`.
#[must_use]
pub fn template_of(name: &str) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

/// `$1`: the root; then pairs of a unit and its template, which may be empty.
///
/// Where /lib is a link to /usr/lib, it is not read twice. Any word of `[Install]` may be an alias: a line may go on in the next one.
const ASK: &str = r#"
root=$1 dirs='etc/systemd/system run/systemd/system usr/local/lib/systemd/system usr/lib/systemd/system'
[ -L "$root/lib" ] || dirs="$dirs lib/systemd/system"
shift
install_of() {
  section=no
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      '[Install]'*) section=yes;;
      '['*) section=no;;
      '' | '#'* | ';'*) ;;
      *) [ "$section" = no ] || { printf 'install %s\n' "$line"; words="$words ${line#*=}"; };;
    esac
  done <"$1"
}
while [ $# -gt 0 ]; do
  name=$1 template=$2 file= words=
  shift 2
  printf 'unit %s\n' "$name"
  for one in "$name" $template; do
    for dir in $dirs; do
      [ -n "$file" ] || [ ! -f "$root/$dir/$one" ] || file=$root/$dir/$one
    done
  done
  [ -z "$file" ] || install_of "$file"
  for one in "$name" $template; do
    for dir in $dirs; do
      for drop in "$root/$dir/$one.d"/*.conf; do
        if [ -f "$drop" ] && [ -s "$drop" ]; then printf 'drop-in %s\n' "$drop"; install_of "$drop"; fi
      done
    done
  done
  for dir in $dirs; do
    kind=link
    [ "$dir" != etc/systemd/system ] || kind=own-link
    for link in "$root/$dir"/*.wants/"$name" "$root/$dir"/*.requires/"$name" "$root/$dir"/*.upholds/"$name"; do
      [ ! -L "$link" ] || printf '%s %s\n' "$kind" "${link#"$root/$dir/"}"
    done
    set -f
    for word in $words; do
      [ ! -L "$root/$dir/$word" ] || printf 'alias %s\n' "$word"
    done
    set +f
  done
done
"#;

/// Returns the script for files below `root`, which is empty except in tests.
fn script_below(root: &str, names: &[&String]) -> Script {
    let pairs = names.iter().flat_map(|name| [(*name).clone(), template_of(name).unwrap_or_default()]);
    Script::new(ASK).arg(root).args(pairs)
}

impl Kind for UnitFiles {
    type Key = String;
    type Answer = Self;
    const NAME: &'static str = "unit-files";
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;

    fn script(names: &[&String]) -> Script {
        script_below("", names)
    }

    fn read(names: &[&String], output: &Output) -> Vec<Result<Self, Unanswered>> {
        let text = String::from_utf8_lossy(&output.stdout);
        let blocks = text.split_inclusive('\n').fold(Vec::<String>::new(), |mut blocks, line| {
            match (line.strip_prefix("unit "), blocks.last_mut()) {
                (Some(_), _) | (None, None) => blocks.push(line.to_owned()),
                (None, Some(block)) => block.push_str(line),
            }
            blocks
        });
        if output.status != 0 || blocks.len() != names.len() {
            return output.unanswered("the files of units", names.len());
        }
        names.iter().zip(&blocks).map(|(name, block)| Ok(parse(name, block))).collect()
    }
}

/// Reads one block of the answer.
fn parse(name: &str, block: &str) -> UnitFiles {
    let mut files = UnitFiles::default();
    let mut links_of_names = Vec::new();
    let mut open = String::new();
    for line in block.lines() {
        let Some((word, rest)) = line.split_once(' ') else { continue };
        match word {
            "drop-in" => files.drop_ins.push(rest.to_owned()),
            "link" | "own-link" => {
                if word == "own-link" {
                    files.own_links.push(rest.to_owned());
                }
                if !files.links.iter().any(|link| link == rest) {
                    files.links.push(rest.to_owned());
                }
            }
            "alias" => links_of_names.push(rest.to_owned()),
            "install" => match rest.strip_suffix('\\') {
                Some(part) => open.push_str(part),
                None => wanted_by(name, &(std::mem::take(&mut open) + rest), &mut files.wanted),
            },
            _ => {}
        }
    }
    files.aliases = files.wanted.iter().filter(|wanted| links_of_names.contains(wanted)).cloned().collect();
    files
}

/// Returns the links by which the text of a file of this unit wants it enabled, as [`UnitFiles::wanted`].
#[must_use]
pub fn wanted_by_text(name: &str, text: &str) -> Vec<String> {
    let (mut wanted, mut open, mut is_install) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        match line.as_bytes().first() {
            Some(b'[') => is_install = line.starts_with("[Install]"),
            None | Some(b'#' | b';') => {}
            Some(_) if !is_install => {}
            Some(_) => match line.strip_suffix('\\') {
                Some(part) => open.push_str(part),
                None => wanted_by(name, &(std::mem::take(&mut open) + line), &mut wanted),
            },
        }
    }
    wanted
}

/// Adds the links that a line of `[Install]` wants. An empty value takes back those before it.
fn wanted_by(name: &str, line: &str, wanted: &mut Vec<String>) {
    let Some((key, value)) = line.split_once('=') else { return };
    let directory = match key.trim() {
        "WantedBy" => ".wants/",
        "RequiredBy" => ".requires/",
        "UpheldBy" => ".upholds/",
        "Alias" => "",
        _ => return,
    };
    if value.trim().is_empty() {
        wanted.retain(|link| if directory.is_empty() { link.contains('/') } else { !link.contains(directory) });
    }
    for target in value.split_whitespace().filter(|target| !target.contains('%')) {
        let place = if directory.is_empty() { target.to_owned() } else { format!("{target}{directory}{name}") };
        if place != name && !wanted.contains(&place) {
            wanted.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;
    use crate::resource::trial;

    fn ask(root: &Path, names: &[&str]) -> Vec<Result<UnitFiles, Unanswered>> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let names: Vec<&String> = names.iter().collect();
        let done = trial::run(&script_below(root.to_str().unwrap(), &names), Path::new("/nonexistent"));
        UnitFiles::read(&names, &Output { status: done.status, stdout: done.stdout })
    }

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn link(root: &Path, file: &str) {
        fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        symlink("/nonexistent", root.join(file)).unwrap();
    }

    #[test]
    fn a_text_wants_the_links_that_the_node_would_read_from_it() {
        let text = "[Unit]\nWantedBy=no.target\n[Install]\n# WantedBy=no.target\nWantedBy = a.target \\\n  b.target\n\n[Service]\nAlias=no.service";
        assert_eq!(wanted_by_text("one.service", text), ["a.target.wants/one.service", "b.target.wants/one.service"]);
        assert_eq!(wanted_by_text("one.service", "[Install]\nWantedBy=a.target\nWantedBy=\nAlias=x.service\n"), ["x.service"]);
    }

    #[test]
    fn the_links_that_install_wants_are_compared_with_those_that_exist() {
        let root = tempfile::tempdir().unwrap();
        let unit = "[Unit]\nWants=x.service\n[Install]\n# WantedBy=no.target\nWantedBy = multi-user.target \\\n  graphical.target\nRequiredBy=a.service\nAlias=other.service one.service\nAlso=x.socket\nWantedBy=%i.target";
        write(root.path(), "usr/lib/systemd/system/one.service", "[Install]\nWantedBy=old.target\n");
        write(root.path(), "etc/systemd/system/one.service", unit);
        link(root.path(), "etc/systemd/system/multi-user.target.wants/one.service");
        link(root.path(), "etc/systemd/system/old.target.wants/one.service");
        link(root.path(), "etc/systemd/system/other.service");
        link(root.path(), "etc/systemd/system/multi-user.target.wants/two.service");
        let answers = ask(root.path(), &["one.service", "none.service"]);
        let one = answers[0].as_ref().unwrap();
        assert_eq!(
            one.wanted,
            [
                "multi-user.target.wants/one.service",
                "graphical.target.wants/one.service",
                "a.service.requires/one.service",
                "other.service"
            ]
        );
        assert_eq!(one.missing(), ["graphical.target.wants/one.service", "a.service.requires/one.service"]);
        assert_eq!(one.stale(), ["old.target.wants/one.service"]);
        assert_eq!(answers[1], Ok(UnitFiles::default()));
    }

    #[test]
    fn instances_have_the_files_of_their_template_and_drop_ins_count() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "usr/lib/systemd/system/job@.timer", "[Install]\nWantedBy=timers.target\n");
        write(root.path(), "etc/systemd/system/job@a.timer.d/10 x.conf", "[Install]\nWantedBy=\nWantedBy=b.target\n");
        write(root.path(), "run/systemd/system/job@.timer.d/20.conf", "[Timer]\n");
        write(root.path(), "run/systemd/system/job@.timer.d/30.conf", "");
        write(root.path(), "run/systemd/system/job@.timer.d/README", "x");
        let one = ask(root.path(), &["job@a.timer"]).remove(0).unwrap();
        assert_eq!(one.drop_ins.len(), 2, "{one:?}");
        assert!(one.unread_drop_in(&[]).unwrap().ends_with("/10 x.conf"));
        assert!(one.unread_drop_in(&["/x/10 x.conf".into()]).unwrap().ends_with("/20.conf"));
        assert_eq!(one.unread_drop_in(&["/x/10 x.conf".into(), "/y/20.conf".into()]), None);
        assert_eq!(one.wanted, ["b.target.wants/job@a.timer"]);
    }

    #[test]
    fn a_short_output_is_a_failure() {
        let names = ["a.service".to_owned(), "b.service".to_owned()];
        let names: Vec<&String> = names.iter().collect();
        for (status, text) in [(0, "unit a.service\n"), (0, ""), (1, "unit a.service\nunit b.service\n")] {
            let answers = UnitFiles::read(&names, &Output { status, stdout: text.into() });
            assert!(answers.iter().all(Result::is_err), "{text}");
        }
    }
}
