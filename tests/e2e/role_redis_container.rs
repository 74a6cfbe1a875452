//! Role `redis_container`: refused without Docker, and brought up once with it. Docker itself is a script of this test, which records its
//! calls and starts the node's own Redis Stack as the image would: with the mounted file, at the published address.

use autobot_provision::source::{Node, SourceFile, Yaml, yaml};
use serde_json::json;

use crate::{
    harness::{Project, TestNode, eventually},
    truth::deploys_as_checked,
};

/// Records its calls. The container is the process of `docker.service`. `config` accepts a file that names an image.
const DOCKER: &str = r#"mkdir -p /srv/docker/data
cat >/usr/local/bin/docker <<'END'
#!/bin/sh
case $* in
  info) [ ! -e /srv/docker/daemon-is-off ] && exit 0; exit 1 ;;
  'compose version') [ ! -e /srv/docker/no-compose ] && exit 0; exit 125 ;;
  'restart autobot-redis') echo "$*" >>/srv/docker/calls; exec systemctl restart docker ;;
  'container inspect --format '*) printf 'running "redis" "0af1" "False"\n'; exit ;;
  'volume inspect autobot-redis_redis_data') [ -e /srv/docker/data/dump.rdb ] && printf '[\n    {\n        "Mountpoint": "/srv/docker/data",\n    }\n]\n'; exit ;;
esac
while [ "$1" != -f ]; do shift; done
file=$2
shift 2
case $* in
  'config --quiet') echo config >>/srv/docker/calls; grep -q '^    image: .*:.' "$file" || { echo 'services.redis.image is missing' >&2; exit 15; } ;;
  'exec -T redis redis-cli'*)
    systemctl --quiet is-active docker || { echo 'service "redis" is not running' >&2; exit 1; }
    shift 4
    exec /opt/redis-stack/bin/redis-cli "$@" ;;
  'config --hash *') echo 'redis 0af1' ;;
  'ps --all --quiet') ! systemctl --quiet is-active docker || echo 0123456789ab ;;
  'up --detach'*)
    echo "$*" >>/srv/docker/calls
    systemctl stop docker 2>/dev/null
    cp "${file%/*}/redis.conf" /redis-stack.conf
    sed -n 's/^ *- "\(.*\):\(.*\):6379".*/\1 \2/p' "$file" >/srv/docker/redis-at
    sed -n 's/^ *- "\(.*\):8001".*/\1/p' "$file" >/srv/docker/insight-at
    exec systemd-run --quiet --collect --unit=docker /srv/docker/container ;;
  *) echo "called with $*" >&2; exit 64 ;;
esac
END
# What the image's /entrypoint.sh starts.
cat >/srv/docker/container <<'END'
#!/bin/sh
read -r address port </srv/docker/redis-at
systemd-socket-activate -l "$(cat /srv/docker/insight-at)" /bin/cat &
set -- /redis-stack.conf --dir /srv/docker/data --protected-mode no --daemonize no --bind "$address" --port "$port"
for module in rediscompat redisearch redistimeseries rejson redisbloom; do
  [ ! -e "/opt/redis-stack/lib/$module.so" ] || set -- "$@" --loadmodule "/opt/redis-stack/lib/$module.so"
done
exec /opt/redis-stack/bin/redis-server "$@"
END
chmod 755 /usr/local/bin/docker /srv/docker/container"#;

fn project(node: &TestNode) -> Project {
    let project = Project::shipped(&[("box", node, "")]);
    project.inventory(&[("box", node, "")], "redis_container", "");
    project
}

fn calls(node: &TestNode) -> String {
    node.sh("cat /srv/docker/calls 2>/dev/null; rm -f /srv/docker/calls")
}

#[test]
fn without_docker_nothing_is_changed_and_the_error_says_what_to_install() {
    let node = TestNode::bare();
    let project = project(&node);
    let state = || node.sh("find /etc /opt /usr/local /var/lib -xdev -printf '%p %m %s %T@\\n' 2>/dev/null | sort | sha256sum");
    let refused = |arguments: &[&str]| {
        let ran = project.json(arguments);
        ran.assert_code(1);
        ran.failure("box")
    };
    let before = state();
    let error = refused(&["deploy"]);
    insta::assert_snapshot!(error, @"this node has no Docker: install docker-ce and docker-compose-plugin from Docker's own repository (https://docs.docker.com/engine/install/), start docker.service, and deploy again; or give the node role redis, which needs no container");
    assert_eq!(refused(&["deploy", "--check"]), error);
    assert_eq!(state(), before, "a refused deploy changed the node");

    node.sh(DOCKER);
    for (lacks, words) in
        [("no-compose", "Docker has no plugin `compose` here: install"), ("daemon-is-off", "the Docker daemon does not answer")]
    {
        node.sh(&format!("touch /srv/docker/{lacks}"));
        let error = refused(&["deploy"]);
        assert!(error.starts_with(words), "{error}");
        node.sh(&format!("rm /srv/docker/{lacks}; test ! -e /opt/autobot"));
    }
    // Another service has the port.
    node.sh("systemd-run --unit=squatter systemd-socket-activate -l 127.0.0.1:6379 /bin/cat");
    eventually("something listens", 10, || !node.sh("ss -Hlnt 'sport = :6379'").is_empty());
    let error = refused(&["deploy"]);
    assert!(error.contains("6379 is taken by") && error.contains("squatter.service"), "{error}");
    assert_eq!(calls(&node), "");
}

/// Returns the value at a path of keys.
fn value_at<'a>(node: &'a Node, path: &[&str]) -> &'a Node {
    path.iter().fold(node, |node, key| node.get(key).unwrap_or_else(|| panic!("no `{key}` in {path:?}")))
}

fn texts(node: &Node) -> Vec<&str> {
    node.as_seq().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn with_docker_the_container_is_brought_up_once_and_replaced_when_its_files_change() {
    // Converged only because it has Redis Stack, which runs in place of the container.
    let node = TestNode::converged();
    let project = project(&node);
    node.sh(". /etc/autobot/database-secrets.env; printf 'SET kept 1\\nSAVE\\n' | REDISCLI_AUTH=$REDIS_PASSWORD /opt/redis-stack/bin/redis-cli >/dev/null");
    node.sh("systemctl disable --now --quiet autobot-database-redis");
    node.sh(DOCKER);
    // The volume of a container that wrote snapshots only: with an append-only file, Redis would start empty and overwrite them.
    node.sh("cp /opt/autobot/data/redis/dump.rdb /srv/docker/data/");
    for arguments in [&["deploy", "--check"][..], &["deploy"]] {
        let refused = project.json(arguments);
        refused.assert_code(1);
        assert!(
            refused.failure("box").starts_with("/srv/docker/data/dump.rdb holds keys and has no append-only file"),
            "{}",
            refused.stdout
        );
    }
    assert_eq!(calls(&node), "");
    node.sh("rm /srv/docker/data/dump.rdb");
    let check = project.json(&["deploy", "--check"]);
    check.assert_code(0);
    assert_eq!(calls(&node), "", "a check brings nothing up");
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(0);
    assert_eq!(check.ids("box", "changed"), deploy.ids("box", "changed"), "{}", deploy.stdout);
    insta::assert_snapshot!(calls(&node), @"
    config
    up --detach
    up --detach --force-recreate
    ");
    // The files that Docker gets.
    let compose = node.sh("cat /opt/autobot/redis-container/docker-compose.yml");
    let read = yaml::parse(&SourceFile::new("docker-compose.yml", format!("{compose}\n"))).unwrap();
    let redis = value_at(&read, &["services", "redis"]);
    assert_eq!(value_at(redis, &["image"]).as_str(), Some("redis/redis-stack:7.4.0-v4"));
    assert_eq!(value_at(redis, &["container_name"]).as_str(), Some("autobot-redis"));
    assert_eq!(value_at(redis, &["restart"]).as_str(), Some("unless-stopped"));
    assert_eq!(texts(value_at(redis, &["ports"])), ["127.0.0.1:6379:6379", "127.0.0.1:8002:8001"]);
    assert_eq!(texts(value_at(redis, &["volumes"])), ["redis_data:/data", "./redis.conf:/redis-stack.conf:ro"]);
    assert_eq!(texts(value_at(redis, &["networks"])), ["autobot-network"]);
    assert!(matches!(value_at(&read, &["volumes", "redis_data"]).value, Yaml::Null));
    assert_eq!(value_at(&read, &["networks", "autobot-network", "name"]).as_str(), Some("autobot-network"));
    let password = node.sh(". /etc/autobot/database-secrets.env; printf %s \"$REDIS_PASSWORD\"");
    let config = node.sh("cat /opt/autobot/redis-container/redis.conf");
    assert!(password.len() == 32 && config.contains(&format!("\nrequirepass \"{password}\"\n")), "{config}");
    for line in ["port 6379", "save 900 1", "appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"] {
        assert!(config.lines().any(|configured| configured == line), "{line}");
    }
    assert!(!compose.contains(&password));
    assert_eq!(node.sh("stat -c '%a %U' /opt/autobot/redis-container/*"), "644 root\n755 root\n600 root");
    assert!(!deploy.stdout.contains(&password));

    // The container runs: nothing is left to do.
    let again = project.json(&["deploy", "--detailed-exitcode"]);
    again.assert_code(0);
    assert_eq!((again.host("box")["round_trips"].as_u64(), calls(&node)), (Some(1), String::new()), "{}", again.stdout);
    // Redis uses the mounted file, and can be examined like any other Redis.
    let info = project.run(&["redis", "info"]);
    info.assert_code(0);
    assert!(info.stdout.contains("append-only    on") && info.stdout.contains("ReJSON"), "{}", info.stdout);
    let config = project.json(&["redis", "config", "box"]);
    assert_eq!(
        (&config.host("box")["config"]["maxclients"], &config.host("box")["config"]["save"]),
        (&json!("10000"), &json!("900 1 300 10 60 10000"))
    );
    let databases = project.json(&["redis", "databases"]);
    databases.assert_code(0);
    assert_eq!(databases.host("box")["databases"][0]["name"], "main", "{}", databases.stdout);

    let well = project.run(&["health"]);
    assert!(
        well.assert_code(0).stdout.contains("4 ok") && well.stdout.contains("PONG, NOAUTH without password; saved "),
        "{}",
        well.stdout
    );
    // What was changed while it runs, behind its file.
    let redis = |command: &str| node.sh(&format!("redis-cli -a '{password}' --no-auth-warning {command} 2>&1"));
    let set_back = "redis_container/Set the running Redis back to its configuration";
    for (command, words, restarts) in [
        ("acl setuser guest on nopass '~*' +@all", "the user `guest` needs no password", ""),
        ("config set maxmemory 1mb", "`maxmemory` is `1048576`, the file says", ""),
        ("replicaof 127.0.0.1 6399", "it is a replica of 127.0.0.1:6399", ""),
        ("config set requirepass other", "it does not accept the password `REDIS_PASSWORD`", "restart autobot-redis"),
    ] {
        assert_eq!(redis(command), "OK");
        let sick = project.run(&["health"]);
        assert!(sick.assert_code(1).stdout.contains(words), "{command}: {}", sick.stdout);
        assert_eq!(deploys_as_checked(&project, "box", command, &[]), [set_back.to_owned()].into(), "{command}");
        assert_eq!(calls(&node), restarts, "{command}");
        project.run(&["health"]).assert_code(0);
    }
    // The container stopped, and its files are unchanged.
    node.sh("systemctl stop docker");
    let down = project.run(&["health"]);
    down.assert_code(1);
    for words in ["service \"redis\" is not running", "nothing listens on port 6379", "nothing listens on port 8002"] {
        assert!(down.stdout.contains(words), "{}", down.stdout);
    }
    let check = project.json(&["deploy", "--check"]);
    assert_eq!(
        check.ids("box", "changed").into_iter().collect::<Vec<_>>(),
        ["redis_container/Start the container", "redis_container/Wait until Redis answers"]
    );
    project.json(&["deploy"]).assert_code(0);
    assert_eq!(calls(&node), "up --detach");
    // Another image: the container is created again, with the new configuration.
    let newer = project.json(&["deploy", "-e", "redis_image_tag=7.4.0-v5", "-e", "redis_maxclients=77"]);
    newer.assert_code(0);
    assert!(newer.ids("box", "changed").contains("redis_container/replace the container"), "{}", newer.stdout);
    assert_eq!(calls(&node), "config\nup --detach --force-recreate");
    assert_eq!(project.json(&["redis", "config"]).host("box")["config"]["maxclients"], "77");
    // Another process than Docker took the port.
    node.sh("systemctl stop docker; systemd-run --unit=squatter systemd-socket-activate -l 127.0.0.1:6379 /bin/cat");
    eventually("something listens", 10, || !node.sh("ss -Hlnt 'sport = :6379'").is_empty());
    let taken = project.run(&["health"]);
    taken.assert_code(1);
    assert!(taken.stdout.contains("6379 belongs to") && taken.stdout.contains("not to docker.service"), "{}", taken.stdout);
    node.sh("systemctl stop squatter");
    // A compose file that Docker does not accept is not installed.
    let before = node.sh("sha256sum /opt/autobot/redis-container/docker-compose.yml");
    let refused = project.json(&["deploy", "-e", "redis_image_tag="]);
    refused.assert_code(1);
    assert!(refused.failure("box").contains("services.redis.image is missing"), "{}", refused.stdout);
    assert_eq!(node.sh("sha256sum /opt/autobot/redis-container/docker-compose.yml"), before);
}
