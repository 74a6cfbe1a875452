//! Values that people or other tools have put into a secrets file: with special characters, spaces, quotes and Windows line ends.

use std::fs;

use super::refusal;
use crate::harness::{Project, TestNode};

const TOY: &str = r#"
secrets:
  EQUALS: {file: /etc/app/secrets.env}
  SPACES: {file: /etc/app/secrets.env}
  SINGLE: {file: /etc/app/secrets.env}
  DOUBLE: {file: /etc/app/secrets.env}
  INSIDE: {file: /etc/app/secrets.env}
  SHELL: {file: /etc/app/secrets.env}
  MADE: {file: /etc/app/secrets.env, length: 16}
tasks:
  - name: Hand them out
    copy:
      dest: /root/out
      content: "{{ secrets.EQUALS }}|{{ secrets.SPACES }}|{{ secrets.SINGLE }}|{{ secrets.DOUBLE }}|{{ secrets.INSIDE }}|{{ secrets.SHELL }}|{{ secrets.INSIDE | urlencode }}|{{ secrets.MADE }}\n"
"#;
const FILE: &str = "# ours\r\nEQUALS=a=b==\r\nSPACES=two words \r\nSINGLE='it is \"so\"'\r\nDOUBLE=\"don't\"\r\nINSIDE=a'b\"c d\r\nSHELL=$(reboot) `x` $HOME \\\\n#\r\n\r\nSTRANGER=\r\n";

#[test]
fn values_with_special_characters_quotes_and_windows_line_ends_are_read_as_intended() {
    let node = TestNode::bare();
    let project = Project::toy(&[("n", &node)], TOY);
    fs::create_dir(node.root.join("etc/app")).unwrap();
    let file = node.root.join("etc/app/secrets.env");
    fs::write(&file, FILE).unwrap();
    let check = project.json(&["deploy", "--check"]);
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(0);
    assert_eq!(check.ids("n", "changed"), deploy.ids("n", "changed"));
    // What stood there stands there still, byte for byte; the one that was missing came behind it.
    let text = fs::read_to_string(&file).unwrap();
    let made =
        text.strip_prefix(FILE).and_then(|added| added.strip_prefix("MADE=")).unwrap_or_else(|| panic!("{text:?}")).trim_end();
    let out = fs::read_to_string(node.root.join("root/out")).unwrap();
    let expected = "a=b==|two words|it is \"so\"|don't|a'b\"c d|$(reboot) `x` $HOME \\\\n#|a%27b%22c%20d|";
    assert_eq!(out, format!("{expected}{made}\n"));
    project.json(&["deploy", "--detailed-exitcode"]).assert_code(0);
}

/// Who gets in, with the passwords of the secrets file, and what is in there.
const STATE: &str = r#"
exec 2>&1; cd /
systemctl show -p MainPID --value autobot-database-redis; cksum /etc/autobot/redis.conf
runuser -u postgres -- psql -Atc "SELECT rolpassword FROM pg_authid WHERE rolname = 'autobot_users'" | cksum
"#;

#[test]
fn passwords_with_special_characters_work_unless_redis_does_not_accept_them() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("database_vm", &node, "")]);
    let file = node.root.join("etc/autobot/database-secrets.env");
    let saved = fs::read_to_string(&file).unwrap();
    let with = |redis: &str, users: &str| fs::write(&file, format!("REDIS_PASSWORD={redis}\nDB_PASSWORD={users}\n")).unwrap();

    for (redis, users) in [("'two words=#1; $(x)'", "\"a'b c=d\""), ("it's", "p\"q\\r s")] {
        with(redis, users);
        project.json(&["deploy"]).assert_code(0);
        project.json(&["deploy", "--detailed-exitcode"]).assert_code(0);
        project.json(&["health", "--exercise"]).assert_code(0);
    }

    let before = fs::read_to_string(&file).unwrap();
    for odd in ["a\"b", "a\\b"] {
        with(odd, "\"a'b c=d\"");
        let written = fs::read_to_string(&file).unwrap();
        let error = refusal(&node, &project, "database_vm", STATE, &[]);
        insta::allow_duplicates! { insta::assert_snapshot!(error, @r#"the value of `REDIS_PASSWORD` in `/etc/autobot/database-secrets.env` contains a character that is not allowed here: `"` `\`; change it there and wherever it is used, and run again"#); }
        assert_eq!(fs::read_to_string(&file).unwrap(), written);
    }
    fs::write(&file, &before).unwrap();
    project.json(&["deploy", "--detailed-exitcode"]).assert_code(0);
    fs::write(&file, &saved).unwrap();
    project.json(&["deploy"]).assert_code(0);
}
