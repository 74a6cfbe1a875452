//! Inventories by example. The expectations are what ansible-core 2.19 does with them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::source::Yaml::{Bool, Int};

mod ansible;
mod errors;

/// Writes a program by means of another process: a program cannot be run while it is open for writing, and a child that another test is forking
/// at this moment might inherit the open file.
pub(crate) fn write_program(path: &Path, text: &str) {
    let source = path.with_extension("source");
    fs::write(&source, text).unwrap();
    assert!(Command::new("cp").args([&source, path]).status().unwrap().success());
    fs::remove_file(source).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A project in a temporary directory.
struct Project(tempfile::TempDir);

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if text.starts_with("#!") { write_program(&path, text) } else { fs::write(&path, text).unwrap() }
        }
        Self(dir)
    }

    fn try_load(&self, sources: &[&str]) -> Result<Inventory, Diagnostics> {
        let root = self.0.path();
        let source = |source: &&str| match InventorySource::from_argument(source) {
            InventorySource::Path(path) => InventorySource::Path(root.join(path)),
            hosts @ InventorySource::Hosts(_) => hosts,
        };
        Inventory::load(&sources.iter().map(source).collect::<Vec<_>>(), root)
    }

    fn load(&self, sources: &[&str]) -> Inventory {
        self.try_load(sources).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn errors(&self, sources: &[&str]) -> String {
        self.try_load(sources).unwrap_err().render(false)
    }
}

fn one(file: &str, text: &str) -> Inventory {
    Project::new(&[(file, text)]).load(&[file])
}

fn error_in(file: &str, text: &str) -> String {
    Project::new(&[(file, text)]).errors(&[file])
}

fn select(inventory: &Inventory, pattern: &str) -> String {
    match inventory.select(pattern) {
        Ok(hosts) => hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(" "),
        Err(error) => format!("{error} {}", error.help.as_deref().unwrap_or_default()).trim_end().to_owned(),
    }
}

fn value<'i>(inventory: &'i Inventory, host: &str, name: &str) -> &'i str {
    inventory.variable(host, name).map_or("", Node::spelling)
}

fn warnings(inventory: &Inventory) -> Vec<&str> {
    inventory.warnings.iter().map(|warning| warning.title.as_str()).collect()
}

const INI: &str = r#"
solo1
solo2:2222 a=5 b="5" c="'5'" d=true e=True f=[1,2] g='x y' h=0644 j='{"a": 1}' k=x\ y l= m=a#b # comment
[web]
web[01:03]
zed
[db]
web02
db[a:c] ansible_host=10.0.0.1
[top:children]
web
db
[top:vars]
x=1
y="5"
z=5 # c
w=hello # there
u = spaced value
[web:vars]
x=2
ansible_group_priority=10
[db:vars]
x=3
[empty]
"#;

const YAML: &str = "
all:
  hosts:
    direct:
  children:
    prod:
      children:
        web: {hosts: {w1: , w2: }}
        db: {hosts: {d1: {p: 1}, w2: }}
    ungrouped:
      hosts:
        loner:
  vars: {v: 1}
other:
  hosts:
    o[1:3:2]: {q: 1}
";

#[test]
fn ini_values_are_read_as_ansible_reads_them() {
    let inventory = one("hosts", INI);
    let solo2 = |name: &str| inventory.variable("solo2", name).map(|node| node.value.clone()).unwrap();
    let text = |text: &str| crate::source::Yaml::Str(text.to_owned());
    assert_eq!([solo2("ansible_port"), solo2("a"), solo2("b")], [Int(2222), Int(5), Int(5)]);
    assert_eq!([solo2("c"), solo2("d"), solo2("e")], [text("5"), text("true"), Bool(true)]);
    assert_eq!(
        [solo2("g"), solo2("h"), solo2("k"), solo2("l"), solo2("m")],
        [text("x y"), text("0644"), text("x y"), text(""), text("a")]
    );
    assert_eq!(inventory.variable("solo2", "f").unwrap().as_seq().unwrap().len(), 2);
    assert_eq!(inventory.variable("solo2", "j").unwrap().get("a").unwrap().value, Int(1));
    let zed = |name: &str| inventory.variable("zed", name).map(|node| node.value.clone()).unwrap();
    assert_eq!([zed("y"), zed("z")], [text("5"), Int(5)]);
    assert_eq!([zed("w"), zed("u")], [text("hello # there"), text("spaced value")]);
    assert_eq!(warnings(&inventory), ["the value of `m` ends at `#`"]);
}

#[test]
fn ini_values_know_their_places() {
    let inventory = one("hosts", INI);
    let span = |host: &str, name: &str| {
        let node = inventory.variable(host, name).unwrap();
        format!("{} {}", node.span, node.spelling())
    };
    assert_eq!(span("solo2", "ansible_port"), "hosts:3:7 2222");
    assert_eq!(span("solo2", "b"), "hosts:3:18 \"5\"");
    assert_eq!(span("solo2", "g"), "hosts:3:54 'x y'");
    assert_eq!(span("zed", "u"), "hosts:18:5 spaced value");
    assert_eq!(inventory.hosts["web02"].span.to_string(), "hosts:5:1");
}

#[test]
fn group_priority_decides_between_groups_of_equal_depth() {
    let inventory = one("hosts", INI);
    assert_eq!([value(&inventory, "web02", "x"), value(&inventory, "dba", "x"), value(&inventory, "solo1", "x")], ["2", "3", ""]);
    assert!(error_in("hosts", "[a:vars]\nansible_group_priority=high\n[a]\nb\n").contains("must be a whole number"));
}

#[test]
fn patterns_select_the_same_hosts_as_ansible_in_the_same_order() {
    let ini = one("hosts", INI);
    for (pattern, hosts) in [
        ("all", "solo1 solo2 web01 web02 web03 zed dba dbb dbc"),
        ("*", "solo1 solo2 web01 web02 web03 zed dba dbb dbc"),
        ("web:db", "web01 web02 web03 zed dba dbb dbc"),
        ("db,web", "web02 dba dbb dbc web01 web03 zed"),
        ("top", "web01 web02 web03 zed dba dbb dbc"),
        ("all:!web", "solo1 solo2 dba dbb dbc"),
        ("!web", "solo1 solo2 dba dbb dbc"),
        ("web:&db", "web02"),
        ("!zed:&web:all", "web01 web02 web03"),
        ("db[0]", "web02"),
        ("db[-1]", "dbc"),
        ("db[1:2]", "dba dbb"),
        ("db[2:]", "dbb dbc"),
        ("top[0:1]", "web01 web02"),
        ("~web.*2", "web02"),
        ("~(solo|db)", "web02 dba dbb dbc solo1 solo2"),
        ("w*", "web01 web02 web03 zed"),
        ("db?", "dba dbb dbc"),
        ("db[!a]", "dbb dbc"),
        ("zed:web", "zed web01 web02 web03"),
        ("ungrouped", "solo1 solo2"),
        ("all:!empty", "solo1 solo2 web01 web02 web03 zed dba dbb dbc"),
    ] {
        assert_eq!(select(&ini, pattern), hosts, "{pattern}");
    }
    let yaml = one("hosts.yml", YAML);
    for (pattern, hosts) in [
        ("all", "direct loner o1 o3 w1 w2 d1"),
        ("prod", "w1 w2 d1"),
        ("other:prod", "o1 o3 w1 w2 d1"),
        ("prod[1]", "w2"),
        ("o*", "o1 o3"),
    ] {
        assert_eq!(select(&yaml, pattern), hosts, "{pattern}");
    }
}

#[test]
fn a_pattern_can_come_from_a_file() {
    let project = Project::new(&[("hosts", INI), ("limit", "# failed\nzed\n\n  dba\ndbb\n")]);
    let inventory = project.load(&["hosts"]);
    assert_eq!(select(&inventory, &format!("@{}", project.0.path().join("limit").display())), "zed dba dbb");
}

#[test]
fn groups_know_depth_parents_and_hosts() {
    let inventory = one("hosts.yml", YAML);
    assert_eq!(inventory.group_names("w2"), ["db", "prod", "web"]);
    assert_eq!(inventory.group_names("direct"), ["ungrouped"]);
    let depth = |name: &str| inventory.groups[name].depth;
    assert_eq!([depth("all"), depth("prod"), depth("web"), depth("other")], [0, 1, 2, 1]);
    assert_eq!(inventory.hosts_by_group()["ungrouped"], ["loner", "direct"]);
    assert_eq!(inventory.hosts_by_group()["db"], ["d1", "w2"]);
    assert_eq!(inventory.groups["all"].children, ["ungrouped", "prod", "other"]);
}

#[test]
fn variables_win_in_ansibles_order() {
    let project = Project::new(&[
        (
            "inventory/hosts.yml",
            "all:\n  vars: {l: all-inline}\n  children:\n    p:\n      vars: {l: p-inline}\n      children:\n        b: {hosts: {h: {l: h-inline}}, vars: {l: b-inline}}\n        a: {hosts: {h: }, vars: {l: a-inline}}\n",
        ),
        ("inventory/group_vars/all.yml", "l: all-beside"),
        ("inventory/group_vars/p/2.yml", "l: p-beside-2"),
        ("inventory/group_vars/p/1", "l: p-beside-1"),
        ("inventory/group_vars/p/sub/x.yaml", "l: p-beside-sub"),
        ("inventory/group_vars/p/skipped.txt", "not: read"),
        ("inventory/group_vars/p/.hidden.yml", "not: read"),
        ("inventory/group_vars/b.json", "{\"l\":\t\"b-beside\"}"),
        ("inventory/group_vars/a", "l: a-beside"),
        ("inventory/host_vars/h.yml", "l: h-beside"),
        ("group_vars/all.yaml", "l: all-project"),
        ("group_vars/a.yml", "l: a-project"),
        ("host_vars/h", "l: h-project"),
    ]);
    let inventory = project.load(&["inventory"]);
    let layers: Vec<String> =
        inventory.layers("h").iter().map(|layer| format!("{} {}", layer.origin, layer.vars[0].1.spelling())).collect();
    insta::assert_snapshot!(layers.join("\n"), @r##"
    inventory/hosts.yml all-inline
    inventory/hosts.yml p-inline
    inventory/hosts.yml a-inline
    inventory/hosts.yml b-inline
    inventory/group_vars/all.yml all-beside
    group_vars/all.yaml all-project
    inventory/group_vars/p/1 p-beside-1
    inventory/group_vars/p/2.yml p-beside-2
    inventory/group_vars/p/sub/x.yaml p-beside-sub
    inventory/group_vars/a a-beside
    inventory/group_vars/b.json "b-beside"
    group_vars/a.yml a-project
    inventory/hosts.yml h-inline
    inventory/host_vars/h.yml h-beside
    host_vars/h h-project
    "##);
    assert_eq!(value(&inventory, "h", "l"), "h-project");
    assert!(warnings(&inventory).is_empty(), "{:?}", warnings(&inventory));
}

#[test]
fn groups_rank_by_their_first_section_even_if_it_holds_variables() {
    let inventory = one("hosts", "[b:vars]\nx=1\n[a]\na1\n[b]\nb1\n");
    assert_eq!(select(&inventory, "all"), "b1 a1");
}

#[test]
fn host_lists_need_no_file() {
    let inventory = Project::new(&[("group_vars/all.yml", "a: 1")]).load(&["10.0.0.1,db[1:2]:2222, 2001:db8::1,"]);
    assert_eq!(select(&inventory, "all"), "10.0.0.1 db1 db2 2001:db8::1");
    assert_eq!(select(&inventory, "2001:db8::1"), "2001:db8::1");
    assert_eq!([value(&inventory, "db2", "ansible_port"), value(&inventory, "db2", "a")], ["2222", "1"]);
    let errors = Project::new(&[]).errors(&["db1,-oX,"]);
    insta::assert_snapshot!(errors, @r##"
    error: `-oX` is not a valid host name
     --> -i db1,-oX,:1:5
      |
    1 | db1,-oX,
      |     ^^^ use letters, digits, `-`, `_`, `.` and ranges such as `[01:20]`

    1 error
    "##);
}

#[test]
fn several_sources_are_merged_and_the_later_wins() {
    let project = Project::new(&[("a.yml", "all: {hosts: {h: {x: 1, y: 1}}}"), ("b.ini", "[web]\nh x=2\n")]);
    let inventory = project.load(&["a.yml", "b.ini"]);
    assert_eq!([value(&inventory, "h", "x"), value(&inventory, "h", "y")], ["2", "1"]);
    assert_eq!(inventory.group_names("h"), ["web"]);
    assert!(inventory.hosts_in_group("ungrouped").is_empty());
}

#[test]
fn a_directory_is_read_in_order_without_the_files_that_ansible_skips() {
    let project = Project::new(&[
        ("inventory/b", "[db]\nh x=2\n"),
        ("inventory/a.yml", "all: {hosts: {h: {x: 1}}}"),
        ("inventory/c/deep.yml", "web: {hosts: {w: }}"),
        ("inventory/README.md", "# not an inventory"),
        ("inventory/.git/x", "nonsense ="),
        ("inventory/group_vars/db.yml", "y: 3"),
    ]);
    let inventory = project.load(&["inventory"]);
    assert_eq!(select(&inventory, "all"), "h w");
    assert_eq!([value(&inventory, "h", "x"), value(&inventory, "h", "y")], ["2", "3"]);
    assert!(project.errors(&["nowhere.yml"]).starts_with("error: the inventory `nowhere.yml` does not exist"));
}

#[test]
fn a_file_without_extension_may_be_either_format() {
    assert_eq!(select(&one("hosts", "# x\n---\nall:\n  hosts:\n    h:\n"), "all"), "h");
    assert_eq!(select(&one("hosts", "web: # c\n  hosts: {h: }\n"), "web"), "h");
    assert_eq!(select(&one("hosts", "h:2222 a=1\n"), "all"), "h");
    assert_eq!(select(&one("hosts", "\u{feff}[web]\r\nh a=1\r\n"), "web"), "h");
}

#[test]
fn programs_can_be_inventories() {
    let project = Project::new(&[
        (
            "inv.sh",
            "#!/bin/sh\n[ \"$*\" = --list ] && echo '{\"web\": {\"hosts\": [\"w1\"], \"vars\": {\"x\": \"\\ud83d\\ude00\"}, \"children\": [\"sub\"]}, \"sub\": [\"s1\"], \"_meta\": {\"hostvars\": {\"w1\": {\"ansible_host\": \"10.0.0.1\", \"d\": {\"n\": [1]}}}}}'\n",
        ),
        ("old.sh", "#!/bin/sh\n[ \"$1\" = --host ] && echo \"{\\\"me\\\": \\\"$2\\\"}\" || echo '{\"old\": [\"o1\", \"w1\"]}'\n"),
        ("group_vars/web.yml", "y: 2"),
    ]);
    let inventory = project.load(&["inv.sh", "old.sh"]);
    assert_eq!(select(&inventory, "web"), "w1 s1");
    assert_eq!(value(&inventory, "s1", "x"), "\"😀\"");
    assert_eq!(value(&inventory, "w1", "ansible_host"), "\"10.0.0.1\"");
    assert_eq!([value(&inventory, "o1", "me"), value(&inventory, "w1", "me")], ["\"o1\"", "\"w1\""]);
    assert_eq!(value(&inventory, "s1", "y"), "2");
    insta::assert_snapshot!(error_in("inv.sh", "#!/bin/sh\necho '{\"web\": {\"host\": [\"w1\"], \"children\": {}}}'\n").replace(" \n", "\n"), @r##"
    error: unknown key `host` in a group
     --> inv.sh --list (output):3:5
      |
    3 |     "host": [
      |     ^^^^^^ not known here
      |
      = help: did you mean `hosts`?

    error: `children` must be a list of names, not a map
     --> inv.sh --list (output):6:17
      |
    6 |     "children": {}
      |                 ^^ here

    2 errors
    "##);
}

#[test]
fn a_large_inventory_loads_quickly() {
    let text = format!(
        "[web]\nweb[1:5000] a=1\n{}",
        (1..=500).map(|group| format!("[g{group}]\nweb{group}\n")).collect::<Vec<_>>().concat()
    );
    let inventory = one("hosts", &text);
    assert_eq!(inventory.select("all").unwrap().len(), 5000);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]
    #[test]
    fn no_inventory_and_no_pattern_causes_a_panic(text in "[-\\[\\]:a-c0-2 ='\"\\\\#\n~*!&@,é{}]{0,60}", pattern in "[-\\[\\]:ab01~*?!&,é(^]{0,20}") {
        let mut draft = draft::Draft::new(Path::new("/nowhere"), &FilesRead::default());
        ini::load(&mut draft, &SourceFile::new("hosts", text.as_str()));
        yaml_file::load(&mut draft, &SourceFile::new("hosts.yml", text.as_str()));
        draft.reconcile();
        let _ = (draft.errors.render(false), draft.inventory.select(&pattern));
        for host in draft.inventory.hosts.values() {
            proptest::prop_assert!(!draft.inventory.layers(&host.name).is_empty() || !host.groups.is_empty());
            proptest::prop_assert!(draft.inventory.hosts_in_group(ALL).contains(&host.name.as_str()));
        }
    }
}
