//! Access by client address: one declaration controls PostgreSQL's addresses, its rules and the firewall's rules.

use super::{Pair, pair};
use crate::harness::TestNode;

/// What psql on a node comes to with this URL: the row, or the refusal.
fn query(node: &TestNode, url: &str) -> String {
    let sql = "SELECT current_user, current_database(), ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let output = node.try_sh(&format!("cd /; PGCONNECT_TIMEOUT=3 psql -wXAtc '{sql}' '{url}' 2>&1"));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[track_caller]
fn refused(node: &TestNode, url: &str, why: &str) {
    let said = query(node, url);
    assert!(said.contains(why), "{said}");
}

const IN: &str = "autobot_app|autobot_users|t";
const BY_FIREWALL: &str = "timeout expired";

fn listens(pair: &Pair) -> String {
    pair.database_vm.sh("ss -Hlnt 'sport = :5432' | awk '{print $4}' | sort | tr '\\n' ' '")
}

fn firewall(pair: &Pair) -> Vec<String> {
    let status = pair.database_vm.sh("ufw status");
    let rules = status.lines().filter(|line| line.starts_with("5432"));
    rules.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_backend_gets_in_with_the_url_that_it_is_told_and_nobody_from_elsewhere() {
    let pair = pair();
    let url = pair.url("AUTOBOT_USERS_DATABASE_URL");
    let stranger = TestNode::copy("users-slm");
    let no_rule = |node: &TestNode| format!("no pg_hba.conf entry for host \"{}\", user \"autobot_app\"", node.address);

    assert_eq!(query(&pair.slm, &url), IN);
    for (key, database) in [("SLM_DATABASE_URL", "slm"), ("SLM_USERS_DATABASE_URL", "slm_users")] {
        assert_eq!(query(&pair.slm, &pair.url(key)), format!("slm_app|{database}|t"));
    }
    refused(&pair.slm, &url.replace(&pair.app_password(), "wrong"), "password authentication failed for user \"autobot_app\"");
    refused(&pair.slm, &format!("{url}?sslmode=disable"), "no encryption");
    let owners = url.replace("autobot_app", "autobot_users").replace(&pair.app_password(), &pair.owner_password());
    refused(&pair.slm, &owners, "no pg_hba.conf entry");
    refused(&stranger, &url, BY_FIREWALL);
    assert_eq!(firewall(&pair), [format!("5432/tcp ALLOW {} # autobot postgresql", pair.slm.address)]);
    assert_eq!(listens(&pair), "0.0.0.0:5432 [::]:5432");

    // Without a firewall PostgreSQL itself knows who may come.
    pair.database_vm.sh("ufw disable");
    pair.deploy(&["-e", "firewall=false"]);
    assert!(pair.database_vm.sh("ufw status").contains("inactive"));
    assert_eq!(query(&pair.slm, &url), IN);
    refused(&stranger, &url, &no_rule(&stranger));

    // One more in the one list, and without TLS: that is all it takes. Then nobody.
    let both = format!(r#"{{"user_db_clients": ["{}", "{}/32"], "users_db_tls": false}}"#, pair.slm.address, stranger.address);
    pair.deploy(&["-e", &both]);
    assert_eq!(query(&pair.slm, &url), IN);
    assert_eq!(query(&stranger, &url), IN);
    assert_eq!(query(&stranger, &format!("{url}?sslmode=disable")), "autobot_app|autobot_users|f");
    assert_eq!(firewall(&pair).len(), 2);

    pair.deploy(&["-e", r#"{"user_db_clients": []}"#]);
    assert_eq!((listens(&pair).as_str(), firewall(&pair)), ("127.0.0.1:5432 [::1]:5432", vec![]));
    refused(&pair.slm, &url, BY_FIREWALL);
    pair.database_vm.sh("ufw disable");
    refused(&pair.slm, &url, "Connection refused");
}
