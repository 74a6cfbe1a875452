//! `autobot_trusted_owners`.

use super::*;

fn told(vars: &str, extra: &str) -> String {
    let mut sample = Sample::new(&[("roles/app/role.yml", "description: d\n")]);
    sample.write("inventory/hosts.yml", &format!("all:\n  hosts:\n    db:\n  vars:\n    autobot_roles: [app]\n    {vars}\n"));
    sample.request.extra_vars = if extra.is_empty() { vec![] } else { vec![extra.to_owned()] };
    match sample.load() {
        Err(_) => sample.errors(),
        Ok(plan) => {
            assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
            plan.hosts[0].trusted_owners.told_to("script".to_owned()).unwrap().replace('\n', "; ")
        }
    }
}

#[test]
fn trusted_owners_are_names_of_users_in_every_form() {
    insta::assert_snapshot!([
        told("", ""), told("autobot_trusted_owners: [deploy, \"{{ 'o' ~ 'ps' }}\"]", ""), told("autobot_trusted_owners: deploy", ""),
        told("autobot_trusted_owners: []", ""), told("autobot_trusted_owners: deploy", "autobot_trusted_owners=a,b"),
        told("autobot_trusted_owners: ['$(id)']", ""), told("autobot_trusted_owners: [1000]", ""), told("autobot_trusted_owners: {a: 1}", ""),
    ].join("\n"), @"
    script
    export trusted_owners='deploy ops'; script
    export trusted_owners='deploy'; script
    script
    export trusted_owners='a b'; script
    inventory/hosts.yml:6:29: wrong value of `autobot_trusted_owners`: `$(id)` is not a valid name of a user or group; a name has up to 32 letters, digits, `_`, `.` and `-`
    inventory/hosts.yml:6:29: wrong value of `autobot_trusted_owners`: invalid type: integer `1000`, expected a string
    inventory/hosts.yml:6:29: wrong value of `autobot_trusted_owners`: invalid type: map, expected a value or a list of values
    ");
}
