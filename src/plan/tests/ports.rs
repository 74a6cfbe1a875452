//! `listening_allowed`, and when a run covers all ports that may be open.

use super::*;

const ROLE: &str = "tags: [app]\nhealth:\n  - {name: H, read: {listening: {port: 1}}}\n";

fn project(vars: &str) -> Sample {
    let sample = Sample::new(&[("roles/app/role.yml", ROLE), ("roles/base/role.yml", "tags: [base]\n")]);
    sample.write("inventory/hosts.yml", &format!("all:\n  hosts:\n    db:\n  vars:\n{vars}"));
    sample
}

fn allowed(vars: &str, extra: &str) -> String {
    let mut sample = project(&format!("    autobot_roles: [app]\n    {vars}\n"));
    sample.request.extra_vars = if extra.is_empty() { vec![] } else { vec![extra.to_owned()] };
    match sample.load() {
        Err(_) => sample.errors(),
        Ok(plan) => {
            let open = &plan.hosts[0].open_ports;
            let ports: Vec<u16> = (1..=65535).filter(|port| open.allowed.iter().any(|range| range.holds(*port))).collect();
            assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
            format!("{ports:?}")
        }
    }
}

#[test]
fn listening_allowed_takes_ports_and_ranges_in_every_form() {
    insta::assert_snapshot!([
        allowed("", ""), allowed("listening_allowed: [9100, '8000-8002', \"{{ 1 + 1 }}\"]", ""), allowed("listening_allowed: 80", ""),
        allowed("listening_allowed: 80", "listening_allowed=9100,9102-9103"), allowed("listening_allowed: []", ""),
        allowed("listening_allowed: [9100, http]", ""), allowed("listening_allowed: {a: 1}", ""), allowed("listening_allowed: [0]", ""),
        allowed("", "listening_allowed=2-1"),
    ].join("\n"), @"
    []
    [2, 8000, 8001, 8002, 9100]
    [80]
    [9100, 9102, 9103]
    []
    inventory/hosts.yml:6:31: wrong value of `listening_allowed`: `http` is neither a port such as 9100 nor a range such as 8000-8010
    inventory/hosts.yml:6:24: wrong value of `listening_allowed`: invalid type: map, expected a value or a list of values
    inventory/hosts.yml:6:25: wrong value of `listening_allowed`: `0` is neither a port such as 9100 nor a range such as 8000-8010
    -e:1:19: wrong value of `listening_allowed`: `2-1` is neither a port such as 9100 nor a range such as 8000-8010
    ");
}

#[test]
fn open_ports_are_complete_only_in_a_run_of_all_roles() {
    let partial = |vars: &str, change: &dyn Fn(&mut Request)| {
        let mut sample = project(vars);
        change(&mut sample.request);
        let plan = sample.load().unwrap_or_else(|errors| panic!("{errors}"));
        plan.hosts[0].open_ports.partial.clone().unwrap_or_else(|| "all".to_owned())
    };
    let (both, none) = ("    autobot_roles: [app, base]\n", "    x: 1\n");
    let role = |names: &'static [&str]| {
        move |request: &mut Request| {
            request.roles = names.iter().map(|name| (*name).to_owned()).collect();
            request.limit = Some("db".into());
        }
    };
    insta::assert_snapshot!([
        partial(both, &|_| {}), partial(both, &role(&["app", "base"])), partial(both, &role(&["app"])), partial(none, &role(&["app"])),
        partial(both, &|request| request.tags = vec!["app".into()]), partial(both, &|request| request.skip_tags = vec!["app".into()]),
    ].join("\n"), @"
    all
    all
    needs a run without --role: the host's other roles may listen too
    the inventory sets no `autobot_roles` for this host, so the ports of its roles are not known
    needs a run without --tags and --skip-tags: other roles may listen too
    needs a run without --tags and --skip-tags: other roles may listen too
    ");
}
