//! `redis …` on a node with the role's Redis: what is in it is told, what is old is deleted, and nothing else.

use serde_json::{Value, json};

use crate::{
    harness::{Booted, Project, Ran},
    secrets::search::{Needles, Sampler},
};

const HOST: &str = "database_vm";

fn project(node: &Booted) -> Project {
    Project::shipped(&[(HOST, node, "")])
}

fn password(node: &Booted) -> String {
    node.sh(". /etc/autobot/database-secrets.env; printf %s \"$REDIS_PASSWORD\"")
}

/// Commands for redis-cli on the node, one a line; none may fail. What it said.
fn cli(node: &Booted, commands: &str) -> String {
    let file = node.root.join("root/commands");
    std::fs::write(&file, commands).unwrap();
    let said = node.sh(". /etc/autobot/database-secrets.env; export REDISCLI_AUTH=$REDIS_PASSWORD
         /opt/redis-stack/bin/redis-cli --no-raw </root/commands");
    std::fs::remove_file(file).unwrap();
    assert!(!said.contains("(error)"), "{said}");
    said
}

fn host(ran: &Ran) -> Value {
    ran.assert_code(0);
    ran.host(HOST)
}

/// Keys of a layout as applications write them, and some that do not belong.
const FILLED: &str = r#"SELECT 0
HSET session:abc123 user_id u1 metadata {}
EXPIRE session:abc123 86400
HSET session:forgotten user_id u2
SET cache:api:health:default {} EX 300
RPUSH queue:workflows {}
SET ratelimit:u1:/api/chat 3 EX 60
RPUSH conversation:c1:messages {}
EXPIRE conversation:c1:messages 604800
SET "stray\n\x1b[2Jkey:1" x
SET fact:lost x
SELECT 1
HSET llama_index/vector_store/default/doc_1 embedding "\x00\x01" text x
HSET llama_index/vector_store/default/doc_2 embedding "\x00\x01" text x
HSET fact:f001 content x
ZADD index:documents 1 doc_1
SELECT 2
HSET prompt:system:chat_default content x
SELECT 3
HSET metrics:api:response_time:2025-01-15-10 count 1
HSET usage:2025-01-15:user_001 requests 1
SET counter:requests:1hour 5 EX 3600
SELECT 7
SET orphan 1
SELECT 0
FT.CREATE vectors ON HASH PREFIX 1 llama_index/vector_store/default SCHEMA text TEXT
"#;

#[test]
fn probe() {
    let node = Booted::converged();
    let project = project(&node);
    cli(&node, FILLED);
    for arguments in [
        &["info"][..],
        &["databases"],
        &["memory"],
        &["clients"],
        &["config", "--match", "*pass*"],
        &["slowlog"],
        &["cleanup", "cache", "--older-than", "1h", "--check"],
        &["cleanup", "analytics", "--older-than", "7d", "--check"],
        &["databases", "-o", "json"],
    ] {
        let ran = project.run(&[&["redis"], arguments].concat());
        println!("$ redis {arguments:?} -> {:?}\n{}{}", ran.code, ran.stdout, ran.stderr);
    }
}
