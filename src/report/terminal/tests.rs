use super::*;
use crate::event::ItemSubject;
use crate::report::{
    Colour,
    tally::tests::{ended, finished, finished_item, item, run_finished, started},
};

fn shown(events: &[Event], width: Option<usize>, detail: Detail) -> String {
    let mut out = Vec::new();
    let mut terminal = Terminal::new(&mut out, std::io::sink(), Style { colour: Colour::No, width }, false, detail);
    for event in events {
        terminal.event(event);
    }
    String::from_utf8(out).unwrap()
}

fn run() -> Vec<Event> {
    let mut diff = Diff::none().titled("/etc/autobot/redis.conf");
    diff.removed("requirepass …");
    diff.added("requirepass ‹REDIS_PASSWORD›");
    vec![
        started(Purpose::APPLY, &["database_vm", "slm"]),
        finished("database_vm", "Create directories", Outcome::new(Status::Ok, "")),
        finished("database_vm", "Configure Redis", Outcome { diff, ..Outcome::new(Status::Changed, "content") }),
        finished("database_vm", "Start Redis", Outcome::failed("exit status 1: no\x1b[31m such unit\nlook")),
        ended("database_vm", HostResult::Failed { error: None }, Counts { ok: 1, changed: 1, failed: 1, ..Counts::default() }),
        ended("slm", HostResult::Ok, Counts::default()),
        run_finished(false),
    ]
}

#[test]
fn items_that_are_simply_ok_are_not_shown() {
    insta::assert_snapshot!(shown(&run(), Some(80), Detail::default()), @r"
    database_vm  changed  redis/Configure Redis: content
    database_vm  failed   redis/Start Redis
        exit status 1: no�[31m such unit
        look
        at roles/redis/role.yml:12

    database_vm  1 changed, 1 ok, 1 failed  in 1.2 s
    slm          0 changed, 0 ok  in 1.2 s
    ");
}

#[test]
fn diff_and_verbose_show_more() {
    insta::assert_snapshot!(shown(&run()[..3], Some(80), Detail { diff: true, verbose: 1 }), @r"
    run r1
    database_vm  ok       redis/Create directories
    database_vm  changed  redis/Configure Redis: content
        /etc/autobot/redis.conf
        - requirepass …
        + requirepass ‹REDIS_PASSWORD›
    ");
}

#[test]
fn health_is_a_table() {
    let events = [
        started(Purpose::HEALTH, &["database_vm"]),
        finished("database_vm", "Redis answers", Outcome { warning: Some("but slowly".into()), ..Outcome::new(Status::Ok, "") }),
        finished("database_vm", "The backend is healthy", Outcome::new(Status::Skipped, "there is none")),
        finished("database_vm", "Redis listens", Outcome::failed("nothing listens on 6379")),
        ended(
            "database_vm",
            HostResult::Failed { error: None },
            Counts { ok: 1, warnings: 1, skipped: 1, failed: 1, ..Counts::default() },
        ),
        run_finished(false),
    ];
    insta::assert_snapshot!(shown(&events, Some(80), Detail::default()), @"
    HOST         ROLE   STATE    CHECK, FOUND
    database_vm  redis  warning  Redis answers
                                   but slowly
    database_vm  redis  skipped  The backend is healthy
                                   there is none
    database_vm  redis  failed   Redis listens
                                   nothing listens on 6379

    database_vm  1 ok (1 warning), 1 failed, 1 skipped  in 1.2 s
    ");
    insta::assert_snapshot!(shown(&events, Some(80), Detail { diff: false, verbose: 1 }), @"
    run r1
    HOST         ROLE   STATE    CHECK, FOUND
    database_vm  redis  warning  Redis answers
                                   but slowly
                                   at roles/redis/role.yml:12
    database_vm  redis  skipped  The backend is healthy
                                   there is none
                                   at roles/redis/role.yml:12
    database_vm  redis  failed   Redis listens
                                   nothing listens on 6379
                                   at roles/redis/role.yml:12

    database_vm  1 ok (1 warning), 1 failed, 1 skipped  in 1.2 s, 1 round trip, 8123 bytes sent
    ");
}

#[test]
fn a_deploy_shows_only_the_warnings_of_health_checks() {
    let check = |name: &str, found: &str, warning: Option<&str>| {
        let item = Item { subject: ItemSubject::Health("redis".into()), ..item(name) };
        let outcome = Outcome { warning: warning.map(str::to_owned), ..Outcome::new(Status::Ok, found) };
        finished_item("db", item, outcome)
    };
    let events =
        [started(Purpose::APPLY, &["db"]), check("Redis answers", "PONG", None), check("Versions", "", Some("no version"))];
    insta::assert_snapshot!(shown(&events, Some(80), Detail::default()), @"ok       redis/Versions: warning: no version");
}

#[test]
fn notes_and_errors_are_wrapped_and_not_truncated() {
    let note = "the kernel refuses to change vm.overcommit_memory here; the file is written and takes effect at the next boot";
    let error =
        format!("{note}: {}\nsecond line", "/a/path/that/is/longer/than/the/line/and/must/stay/whole/to/be/copied/by/its/reader");
    let events = [
        started(Purpose::CHECK, &["database_vm", "slm"]),
        finished("slm", "Let the kernel overcommit", Outcome::new(Status::Ok, note)),
        finished("slm", "Start Redis", Outcome::failed(error)),
    ];
    insta::assert_snapshot!(shown(&events, Some(80), Detail::default()), @"
    slm          ok       redis/Let the kernel overcommit: the kernel refuses to
                          change vm.overcommit_memory here; the file is written and
                          takes effect at the next boot
    slm          failed   redis/Start Redis
        the kernel refuses to change vm.overcommit_memory here; the file is written
        and takes effect at the next boot:
        /a/path/that/is/longer/than/the/line/and/must/stay/whole/to/be/copied/by/its/reader
        second line
        at roles/redis/role.yml:12
    ");
}

#[test]
fn lines_fit_the_terminal() {
    let long = finished("database_vm", &"long ".repeat(40), Outcome::new(Status::Changed, "x"));
    let text = shown(&[started(Purpose::CHECK, &["database_vm"]), long], Some(80), Detail::default());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn of_many_hosts_those_are_named_that_are_not_well() {
    let names: Vec<String> = (0..30).map(|number| format!("n{number:02}")).collect();
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut events = vec![started(Purpose::CHECK, &hosts)];
    for (number, host) in hosts.iter().enumerate() {
        let unreachable = || HostResult::Unreachable { error: "no answer".to_owned(), help: None };
        let (result, counts) = match number {
            3 => (unreachable(), Counts::default()),
            4 => (HostResult::Failed { error: Some("no files".to_owned()) }, Counts::default()),
            5 | 6 => (HostResult::Changed, Counts { changed: 2, ok: 1, ..Counts::default() }),
            _ => (HostResult::Ok, Counts { ok: 3, ..Counts::default() }),
        };
        events.push(ended(host, result, counts));
    }
    events.push(run_finished(false));
    let text = shown(&events, Some(80), Detail::default());
    insta::assert_snapshot!(text.split_once("\n\n").unwrap().1, @"
    n03  unreachable  in 1.2 s
    n04  failed  in 1.2 s
    30 hosts: 26 ok, 2 would change, 2 not well (above); -v names them all
    This was a check: nothing was changed.
    ");
    let all = shown(&events, Some(80), Detail { verbose: 1, ..Detail::default() });
    assert_eq!(all.lines().filter(|line| line.contains(" ok  in ")).count(), 28);
}
