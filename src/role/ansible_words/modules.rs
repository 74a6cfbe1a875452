//! Ansible's modules that are no resources here.

use super::{
    Belongs::{Defaults, Handler, Health, Role, Secrets},
    Word,
};

const READ: &str = "ask with a command that only reads, and use its registered output";
const NODES_ARE_DEBIAN: &str = "nodes run Debian: install packages with `apt`";
const APT: &str = "apt: {name: [curl], state: present}";
const REPOSITORY: &str = "declare the repository and its key together";
const DEB822: &str = "deb822_repository: {name: app, uris: \"https://example.org/deb\", suites: bookworm, components: [main], signed_by: \"https://example.org/key.asc\"}";
const ONE_FILE: &str = "write the tasks here: a role is one file, and `block` gives several tasks one condition";
const OTHER_ROLE: &str = "a role that must come first is required";
const INSTALLER: &str = "run the program with a guard that says when its work is done, or install a Debian package with `apt`";
const PIP: &str =
    "command: {cmd: /opt/app/venv/bin/pip install -r /opt/app/requirements.txt, creates: /opt/app/venv/bin/uvicorn}";
const GUARDED: &str = "run the program with a guard that says when its work is done";
const SQL: &str = "run the SQL with a guard that checks whether it is done";
const EXTENSION: &str = "command: {cmd: \"psql -d app -c 'CREATE EXTENSION citext'\", unless: \"psql -d app -Atc '\\\\dx citext' | grep -q .\"}, become_user: postgres";
const COMPOSE: &str = "let a unit run `docker compose up`, as the role `redis_container` does, and start it";
const COMPOSE_UNIT: &str = "systemd: {name: app-compose.service, state: started, enabled: true}";
const OPENSSL: &str = "command: {cmd: openssl genpkey -algorithm ed25519 -out /etc/app/key.pem, creates: /etc/app/key.pem}";
const EDIT: &str = "write the whole file with `template`, or change single lines";
const LINE: &str = "lineinfile: {path: /etc/app.conf, regexp: \"^port \", line: port 6379}";
const DISK: &str = "disks are prepared before a deploy; where a role must do it, give the command a guard";
const RULE: &str = "the firewall is ufw";
const UFW: &str = "ufw: {rule: allow, port: \"6379\", proto: tcp, from_ip: 198.18.0.0/16}";
const IN_THE_INVENTORY: &str = "hosts and groups belong in the inventory: a run cannot add any";
const NO_MESSAGES: &str = "nodes send no messages: the exit code and `--output json` report what a deploy did";
const NO_STATE: &str = "this is a maintenance step, not a state that can be declared: do it by hand, then deploy again";
const IS_ACTIVE: &str = "command: {cmd: systemctl is-active app, reads: true, ok_rc: [0, 3]}, register: app";
const TEST: &str = "command: {cmd: test -e /etc/app.conf, reads: true, ok_rc: [0, 1]}, register: found";
const CAT: &str = "command: {cmd: cat /etc/app.version, reads: true}, register: version";

/// Every module with its advice.
pub(crate) const MODULES: &[Word] = &[
    Word::task("yum", NODES_ARE_DEBIAN, APT),
    Word::task("dnf", NODES_ARE_DEBIAN, APT),
    Word::task("dnf5", NODES_ARE_DEBIAN, APT),
    Word::task("zypper", NODES_ARE_DEBIAN, APT),
    Word::task("pacman", NODES_ARE_DEBIAN, APT),
    Word::task("apk", NODES_ARE_DEBIAN, APT),
    Word::task("homebrew", NODES_ARE_DEBIAN, APT),
    Word::task("snap", NODES_ARE_DEBIAN, APT),
    Word::task("flatpak", NODES_ARE_DEBIAN, APT),
    Word::task("apt_repository", REPOSITORY, DEB822),
    Word::task("apt_key", REPOSITORY, DEB822),
    Word::task("rpm_key", REPOSITORY, DEB822),
    Word::task("yum_repository", REPOSITORY, DEB822),
    Word::task(
        "debconf",
        GUARDED,
        "command: {cmd: \"echo 'app app/port string 80' | debconf-set-selections\", unless: \"debconf-show app | grep -q 'app/port: 80'\"}",
    ),
    Word::task("dpkg_selections", GUARDED, "command: {cmd: apt-mark hold redis, unless: apt-mark showhold | grep -qx redis}"),
    Word::task(
        "stat",
        "ask with a command that only reads and compare its `.rc`, or give the next command a guard such as `creates`",
        TEST,
    ),
    Word::new("debug", "leave the task out: `autobot-provision explain HOST VARIABLE` shows a value, and `--diff` what changes"),
    Word::part(
        "set_fact",
        Defaults,
        "declare a variable, whose value may be a template",
        "app_url: \"http://{{ inventory_hostname }}:8080\"",
    ),
    Word::task("fail", "assert what must hold instead", "assert: {that: app_port != 22, fail_msg: port 22 belongs to sshd}"),
    Word::task(
        "cron",
        "write a unit and its timer with two `template` tasks, and start the timer",
        "systemd: {name: app-clean.timer, state: started, enabled: true}",
    ),
    Word::task(
        "at",
        "write a unit and its timer with two `template` tasks, and start the timer",
        "systemd: {name: app-clean.timer, state: started, enabled: true}",
    ),
    Word::part(
        "uri",
        Health,
        "an HTTP request that changes something is not a state that can be declared; check a page with a health check",
        "exercise: {http: {url: \"http://127.0.0.1:8080/health\", status_code: 200}}",
    ),
    Word::task(
        "unarchive",
        "fetch the archive with `get_url`, and unpack it with a guard",
        "command: {cmd: tar -xzf /opt/app.tar.gz -C /opt/app --strip-components 1, creates: /opt/app/bin/app}",
    ),
    Word::task("archive", GUARDED, "command: {cmd: tar -czf /srv/app.tar.gz -C /opt app, creates: /srv/app.tar.gz}"),
    Word::new("include_tasks", ONE_FILE),
    Word::new("import_tasks", ONE_FILE),
    Word::new("include", ONE_FILE),
    Word::part("include_role", Role, OTHER_ROLE, "requires: [base]"),
    Word::part("import_role", Role, OTHER_ROLE, "requires: [base]"),
    Word::new("import_playbook", "a deploy takes its hosts from the inventory and each host's roles from `autobot_roles`"),
    Word::new(
        "include_vars",
        "variables belong under `defaults:` of the role, or in `group_vars/` and `host_vars/` of the inventory",
    ),
    Word::new(
        "meta",
        "leave it out: handlers run after the role's tasks; what must run after them goes into a role that has this one under `requires:`",
    ),
    Word::task(
        "pause",
        "wait for a condition, with a task or with `ready:` of a handler; a deploy asks no questions",
        "wait_for: {port: 5432, timeout: 60}",
    ),
    Word::task(
        "authorized_key",
        "the keys are lines of a file",
        "lineinfile: {path: /home/app/.ssh/authorized_keys, line: ssh-ed25519 AAAA app, create: true, owner: app, group: app, mode: \"0600\"}",
    ),
    Word::task(
        "known_hosts",
        "the keys are lines of a file",
        "lineinfile: {path: /etc/ssh/ssh_known_hosts, line: db ssh-ed25519 AAAA, create: true, mode: \"0644\"}",
    ),
    Word::task("hostname", GUARDED, "command: {cmd: hostnamectl set-hostname db1, unless: 'test \"$(hostname)\" = db1'}"),
    Word::task(
        "timezone",
        GUARDED,
        "command: {cmd: timedatectl set-timezone Etc/UTC, unless: 'test \"$(timedatectl show -p Timezone --value)\" = Etc/UTC'}",
    ),
    Word::task(
        "locale_gen",
        GUARDED,
        "command: {cmd: localedef -i en_US -f UTF-8 en_US.UTF-8, unless: locale -a | grep -qx en_US.utf8}",
    ),
    Word::task("pip", INSTALLER, PIP),
    Word::task("pipx", INSTALLER, PIP),
    Word::task("npm", INSTALLER, "command: {cmd: npm ci, chdir: /opt/app, creates: /opt/app/node_modules/.package-lock.json}"),
    Word::task(
        "yarn",
        INSTALLER,
        "command: {cmd: yarn install --frozen-lockfile, chdir: /opt/app, creates: /opt/app/node_modules/.yarn-integrity}",
    ),
    Word::task("gem", INSTALLER, "command: {cmd: gem install bundler, unless: gem list -i bundler}"),
    Word::task(
        "composer",
        INSTALLER,
        "command: {cmd: composer install --no-dev, chdir: /opt/app, creates: /opt/app/vendor/autoload.php}",
    ),
    Word::task("cargo", INSTALLER, "command: {cmd: cargo install ripgrep --root /usr/local, creates: /usr/local/bin/rg}"),
    Word::task("make", GUARDED, "command: {cmd: make install, chdir: /opt/src, creates: /usr/local/bin/app}"),
    Word::task("git", GUARDED, "command: {cmd: git clone https://example.org/app.git /opt/app, creates: /opt/app/.git}"),
    Word::task("subversion", GUARDED, "command: {cmd: svn checkout https://example.org/app /opt/app, creates: /opt/app/.svn}"),
    Word::new("ping", "leave the task out: a deploy connects before its first task, and `health` shows whether a node works"),
    Word::new("setup", "leave the task out: facts are always available as `ansible_facts`"),
    Word::new("gather_facts", "leave the task out: facts are always available as `ansible_facts`"),
    Word::new("wait_for_connection", "leave the task out: a deploy connects before its first task"),
    Word::new("reboot", NO_STATE),
    Word::new("shutdown", NO_STATE),
    Word::task(
        "raw",
        "`command` runs a line of shell with a guard, and needs no Python on the node",
        "command: {cmd: touch /etc/app.done, creates: /etc/app.done}",
    ),
    Word::task(
        "script",
        "write the script with `copy`, and run it with a guard",
        "command: {argv: [/usr/local/sbin/prepare], creates: /var/lib/app/prepared}",
    ),
    Word::task(
        "expect",
        "give the program its input with `stdin`",
        "command: {argv: [prepare], stdin: \"yes\\n\", creates: /var/lib/app/prepared}",
    ),
    Word::task("slurp", READ, CAT),
    Word::task("find", READ, "command: {cmd: find /var/log/app -name '*.log', reads: true}, register: logs"),
    Word::task("fetch", READ, CAT),
    Word::task("getent", READ, "command: {cmd: getent passwd app, reads: true, ok_rc: [0, 2]}, register: app"),
    Word::task("service_facts", READ, IS_ACTIVE),
    Word::task("package_facts", READ, "command: {argv: [dpkg-query, -W, redis], reads: true, ok_rc: [0, 1]}, register: redis"),
    Word::task("mount_facts", READ, "command: {cmd: findmnt -n /srv, reads: true, ok_rc: [0, 1]}, register: mounted"),
    Word::task("listen_ports_facts", READ, "command: {cmd: ss -Hltn, reads: true}, register: listening"),
    Word::task(
        "synchronize",
        "copy single files with `copy`; bring a tree as a package or an archive: fetch it with `get_url`, and unpack it with a guard",
        "command: {cmd: tar -xzf /opt/app.tar.gz -C /opt/app, creates: /opt/app/bin/app}",
    ),
    Word::task("replace", EDIT, LINE),
    Word::task("ini_file", EDIT, LINE),
    Word::task("xml", EDIT, LINE),
    Word::task(
        "assemble",
        "write the file with one `template`, which may `{% include %}` its parts",
        "template: {src: app.conf.tera, dest: /etc/app.conf}",
    ),
    Word::task(
        "tempfile",
        "let the command make and remove its temporary file",
        "command: {cmd: 'work=$(mktemp -d) && rmdir \"$work\"', unless: test -e /opt/app}",
    ),
    Word::task(
        "mount",
        "write a mount unit with `template`, and start it",
        "systemd: {name: srv-data.mount, state: started, enabled: true}",
    ),
    Word::task("filesystem", DISK, "command: {cmd: mkfs.ext4 /dev/vdb, unless: blkid /dev/vdb}"),
    Word::task("parted", DISK, "command: {cmd: parted -s /dev/vdb mklabel gpt mkpart data 1MiB 100%, creates: /dev/vdb1}"),
    Word::task("lvg", DISK, "command: {cmd: vgcreate data /dev/vdb, unless: vgs data}"),
    Word::task("lvol", DISK, "command: {cmd: lvcreate -n db -L 10G data, unless: lvs data/db}"),
    Word::task(
        "modprobe",
        "name the module in a file that is read at boot, and load it with a guard",
        "command: {cmd: modprobe br_netfilter, creates: /sys/module/br_netfilter}",
    ),
    Word::task(
        "kernel_blacklist",
        "the names are lines of a file",
        "copy: {dest: /etc/modprobe.d/app.conf, content: \"blacklist pcspkr\\n\"}",
    ),
    Word::new("selinux", "nodes run Debian with AppArmor: leave the task out"),
    Word::new("seboolean", "nodes run Debian with AppArmor: leave the task out"),
    Word::new("sefcontext", "nodes run Debian with AppArmor: leave the task out"),
    Word::task("firewalld", RULE, UFW),
    Word::task("iptables", RULE, UFW),
    Word::task("nftables", RULE, UFW),
    Word::task(
        "alternatives",
        GUARDED,
        "command: {cmd: update-alternatives --set editor /usr/bin/vim.basic, unless: 'test \"$(readlink /etc/alternatives/editor)\" = /usr/bin/vim.basic'}",
    ),
    Word::task(
        "acl",
        GUARDED,
        "command: {cmd: setfacl -m u:app:rX /srv/data, unless: getfacl -p /srv/data | grep -q '^user:app:r-x'}",
    ),
    Word::task(
        "capabilities",
        GUARDED,
        "command: {cmd: setcap cap_net_bind_service=+ep /opt/app/bin/app, unless: getcap /opt/app/bin/app | grep -q cap_net_bind_service}",
    ),
    Word::task(
        "pam_limits",
        "write a separate file",
        "copy: {dest: /etc/security/limits.d/app.conf, content: \"app soft nofile 65536\\n\"}",
    ),
    Word::task(
        "sudoers",
        "write a separate file, validated by visudo",
        "copy: {dest: /etc/sudoers.d/app, content: \"app ALL=(root) NOPASSWD: /usr/bin/systemctl restart app\\n\", mode: \"0440\", validate: visudo -cf %s}",
    ),
    Word::task(
        "nmcli",
        "write the connection's file with `template`, and notify a handler that reads it",
        "template: {src: app.conf.tera, dest: /etc/app.conf}",
    ),
    Word::task("docker_container", COMPOSE, COMPOSE_UNIT),
    Word::task("docker_compose", COMPOSE, COMPOSE_UNIT),
    Word::task("docker_compose_v2", COMPOSE, COMPOSE_UNIT),
    Word::task("podman_container", COMPOSE, COMPOSE_UNIT),
    Word::task("docker_image", GUARDED, "command: {cmd: docker pull redis:8, unless: docker image inspect redis:8}"),
    Word::task("docker_network", GUARDED, "command: {cmd: docker network create app, unless: docker network inspect app}"),
    Word::task("docker_volume", GUARDED, "command: {cmd: docker volume create app, unless: docker volume inspect app}"),
    Word::part("postgresql_ping", Health, "use a health check", "read: {postgresql: {database: app, owner: app}}"),
    Word::part("postgresql_info", Health, "use a health check", "read: {postgresql: {database: app, owner: app}}"),
    Word::task("postgresql_ext", SQL, EXTENSION),
    Word::task("postgresql_query", SQL, EXTENSION),
    Word::task("postgresql_script", SQL, EXTENSION),
    Word::task("postgresql_schema", SQL, EXTENSION),
    Word::task("postgresql_table", SQL, EXTENSION),
    Word::task("postgresql_owner", SQL, EXTENSION),
    Word::task("postgresql_tablespace", SQL, EXTENSION),
    Word::task(
        "postgresql_pg_hba",
        "put your rules into a separate part",
        "pg_hba: {part: app, rules: [{type: host, database: app, user: app, address: 198.18.0.0/16, method: scram-sha-256}]}",
    ),
    Word::task(
        "postgresql_set",
        "declare the settings, which are written to a file in `conf.d`",
        "postgresql_conf: {settings: {max_connections: 200}}",
    ),
    Word::task("postgresql_membership", "declare it on the member", "postgresql_user: {name: app, member_of: [readers]}"),
    Word::new("redis_data", "keys are data, not state that a role declares: the `redis` commands inspect them and clean them up"),
    Word::part(
        "redis_info",
        Health,
        "use a health check",
        "read: {redis: {socket: /run/redis/redis.sock, password_file: /etc/app/redis.env, password_key: REDIS_PASSWORD}}",
    ),
    Word::task("openssl_privatekey", GUARDED, OPENSSL),
    Word::task(
        "openssl_csr",
        GUARDED,
        "command: {cmd: openssl req -new -key /etc/app/key.pem -subj /CN=app -out /etc/app/app.csr, creates: /etc/app/app.csr}",
    ),
    Word::task("openssl_dhparam", GUARDED, "command: {cmd: openssl dhparam -out /etc/app/dh.pem 2048, creates: /etc/app/dh.pem}"),
    Word::task(
        "x509_certificate",
        GUARDED,
        "command: {cmd: openssl req -x509 -new -key /etc/app/key.pem -subj /CN=app -days 365 -out /etc/app/cert.pem, creates: /etc/app/cert.pem}",
    ),
    Word::task(
        "openssh_keypair",
        GUARDED,
        "command: {cmd: ssh-keygen -q -t ed25519 -N '' -f /etc/app/ssh, creates: /etc/app/ssh}",
    ),
    Word::part(
        "htpasswd",
        Secrets,
        "declare the password, and write the file with `template`",
        "APP_PASSWORD: {file: /etc/app/app.env, length: 32}",
    ),
    Word::part("supervisorctl", Handler, "services are systemd's units", "systemd: {name: app.service, state: restarted}"),
    Word::task("sysvinit", "services are systemd's units", "systemd: {name: app.service, state: started, enabled: true}"),
    Word::task("runit", "services are systemd's units", "systemd: {name: app.service, state: started, enabled: true}"),
    Word::task(
        "async_status",
        "a deploy waits for each task: give it a `timeout` that is long enough",
        "command: {cmd: prepare, creates: /var/lib/app/prepared}, timeout: 2h",
    ),
    Word::new("add_host", IN_THE_INVENTORY),
    Word::new("group_by", IN_THE_INVENTORY),
    Word::new("set_stats", NO_MESSAGES),
    Word::new("mail", NO_MESSAGES),
    Word::new("slack", NO_MESSAGES),
    Word::part(
        "validate_argument_spec",
        Defaults,
        "variables have types, which are checked before a node is contacted",
        "app_port: {type: port, default: 8080}",
    ),
    Word::task("patch", EDIT, LINE),
    Word::new("nagios", NO_MESSAGES),
];
