//! What a node's state can lack: on file, live behind its file, and by what others declared.

use super::{Damage, Ends, Node};

/// A part of a node. Damages of different parts can be combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Redis,
    Postgres,
    Firewall,
    System,
}

const fn damage(node: Node, part: Part, what: &'static str, hurts: bool) -> Damage {
    Damage { node, part, what, hurts, ends: Ends::Mended, task: None }
}

/// Of role `redis`. `true`: a client is hurt or a stranger gets in now, or from the next boot on, because a unit that serves or guards is not to
/// start then; or a database runs another program, or with other settings, than its files say. That a start would fail, the check says.
const fn redis(part: Part, what: &'static str, hurts: bool) -> Damage {
    damage(Node::Redis, part, what, hurts)
}

/// Of role `postgresql`.
const fn slm(part: Part, what: &'static str, hurts: bool) -> Damage {
    damage(Node::Slm, part, what, hurts)
}

/// As [`damage`], which a check and a deploy refuse in the same words; `mend` is the way out that they name.
const fn refused(node: Node, part: Part, what: &'static str, hurts: bool, mend: &'static str) -> Damage {
    Damage { node, part, what, hurts, ends: Ends::Refused { mend }, task: None }
}

impl Damage {
    /// With the task of role `redis` that mends it.
    const fn undoes(self, task: &'static str) -> Self {
        Self { task: Some(task), ..self }
    }
}

/// A command of redis-cli on the node, with the password.
macro_rules! cli {
    ($command:literal) => {
        concat!(
            "REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env) /opt/redis-stack/bin/redis-cli ",
            $command,
            " >/dev/null"
        )
    };
}

/// A statement of psql on the node.
macro_rules! sql {
    ($statement:literal) => {
        concat!("runuser -u postgres -- psql -qc \"", $statement, "\"")
    };
}

pub const DAMAGES: &[Damage] = &[
    // Drifted on file.
    redis(Part::System, "chmod 0700 /etc/autobot", false).undoes("Create the configuration directory"),
    redis(Part::System, "rm /etc/apt/sources.list.d/redis.sources", false).undoes("Add the Redis repository"),
    redis(Part::System, "echo 'Package: *' >>/etc/apt/preferences.d/autobot-redis", false)
        .undoes("Restrict the Redis repository to Redis packages"),
    redis(Part::System, "chmod 0700 /etc/systemd/system/redis-stack-server.service.d", false)
        .undoes("Create the drop-in directory for the vendor's unit"),
    redis(Part::System, "rm -r /etc/systemd/system/redis-stack-server.service.d", false)
        .undoes("Prevent the vendor's unit from starting"),
    redis(Part::System, "rm /etc/systemd/system/redis-stack-server.service.d/10-autobot.conf", false)
        .undoes("Prevent the vendor's unit from starting"),
    redis(Part::Redis, "chown nobody /opt/redis-stack/bin", false).undoes("Give root ownership of the programs of Redis Stack"),
    redis(Part::Redis, "chown nobody:nogroup /opt/redis-stack/bin/redis-cli", false)
        .undoes("Give root ownership of the programs of Redis Stack"),
    redis(Part::Redis, "usermod -s /bin/sh redis", false).undoes("Create the user redis"),
    redis(Part::Redis, "systemctl stop autobot-database-redis; userdel redis; ! getent group redis || groupdel redis", true)
        .undoes("Create the group redis"),
    redis(Part::Redis, "systemctl stop autobot-database-redis; userdel redis; groupadd --system redis", true)
        .undoes("Create the user redis"),
    redis(Part::Redis, "chmod 0700 /opt/autobot", false).undoes("Create the parent directories of the data"),
    redis(Part::Redis, "chown redis /opt/autobot/data", false).undoes("Create the parent directories of the data"),
    redis(Part::Redis, "chmod 0755 /opt/autobot/data/redis", false).undoes("Close the Redis data directory to other users"),
    redis(Part::Redis, "chown nobody: /opt/autobot/data/redis/appendonlydir/*.incr.aof", false)
        .undoes("Create the Redis data directory"),
    // The next restart would shut clients out.
    redis(Part::Redis, "echo 'maxclients 5' >>/etc/autobot/redis.conf", true).undoes("Configure Redis"),
    redis(Part::Redis, "rm /etc/autobot/redis.conf", true).undoes("Configure Redis"),
    redis(Part::Redis, "chmod 0600 /etc/autobot/redis.conf", false).undoes("Configure Redis"),
    redis(Part::System, "rm -r /usr/local/lib/autobot", false).undoes("Create the AutoBot program directory"),
    redis(Part::System, "chmod 0644 /usr/local/lib/autobot/redis-ready", false).undoes("Install the readiness check"),
    redis(Part::Redis, "echo '# mine' >>/etc/systemd/system/autobot-database-redis.service", false)
        .undoes("Install the Redis unit"),
    redis(Part::System, "rm /etc/sysctl.d/60-autobot-redis.conf", false).undoes("Allow the kernel to overcommit memory"),
    redis(Part::System, "chmod 0644 /etc/autobot/database-secrets.env", false),
    redis(Part::System, "chown nobody /etc/autobot/database-secrets.env", false),
    redis(Part::System, "rm /etc/systemd/system/autobot-database-postgres.service", false)
        .undoes("Link the alias to PostgreSQL's unit"),
    redis(Part::Postgres, "rm /etc/systemd/system/postgresql.service.d/10-autobot-alias.conf", false)
        .undoes("Declare an alias for PostgreSQL's unit"),
    redis(Part::Postgres, "chmod 0700 /etc/systemd/system/postgresql.service.d", false)
        .undoes("Create the drop-in directory for PostgreSQL's unit"),
    redis(Part::Postgres, "chmod 0700 /etc/postgresql-common/createcluster.d", false)
        .undoes("Create the directories for settings of new clusters"),
    redis(Part::Postgres, "rm /etc/postgresql-common/createcluster.d/50-autobot.conf", false)
        .undoes("Prevent packages from creating clusters"),
    redis(Part::Postgres, "touch /var/lib/autobot-provision/cluster-15-main", false).undoes("Create the PostgreSQL cluster"),
    slm(Part::Postgres, "echo 'max_connections = 33' >>/etc/postgresql/15/main/conf.d/50-autobot.conf", true),
    slm(Part::Postgres, "rm /etc/postgresql/15/main/conf.d/50-autobot.conf", true),
    // The server goes by other rules than its file, and which ones cannot be asked.
    slm(Part::Postgres, "sed -i /autobot_slm/d /etc/postgresql/15/main/pg_hba.conf", true),
    slm(Part::System, "sed -i /^DATABASE_URL/d /etc/autobot/slm-secrets.env", false),
    slm(Part::System, "chmod 0644 /etc/autobot/slm-secrets.env", false),
    slm(Part::System, "rm /etc/systemd/system/autobot-slm-database.service", false),
    // Packages.
    redis(Part::System, "dpkg --purge --force-depends ca-certificates", false).undoes("Install CA certificates"),
    redis(Part::Redis, "systemctl stop autobot-database-redis; dpkg --purge --force-depends redis-stack-server", true)
        .undoes("Install Redis"),
    redis(Part::Firewall, "ufw --force disable; dpkg --purge --force-depends ufw", true).undoes("Install the firewall"),
    redis(Part::Postgres, "dpkg --remove --force-depends postgresql-15", true).undoes("Install PostgreSQL"),
    // Units.
    redis(Part::Redis, "systemctl stop autobot-database-redis", true).undoes("Start Redis"),
    redis(Part::Redis, "systemctl disable autobot-database-redis", true).undoes("Start Redis"),
    redis(Part::Redis, "systemctl kill -s KILL autobot-database-redis; systemctl stop autobot-database-redis", true),
    redis(
        Part::Redis,
        "systemctl stop autobot-database-redis; rm /etc/systemd/system/autobot-database-redis.service; systemctl daemon-reload",
        true,
    )
    .undoes("Install the Redis unit"),
    redis(
        Part::Redis,
        "u=/etc/systemd/system/autobot-database-redis.service; cp -p $u /tmp/u; echo Environment=A=b >>$u; systemctl daemon-reload; cp -p /tmp/u $u; touch $u",
        false,
    ),
    redis(
        Part::Redis,
        "d=/etc/systemd/system; rm $d/*.wants/autobot-database-redis.service; ln -s ../autobot-database-redis.service $d/graphical.target.wants/ 2>/dev/null || { mkdir -p $d/graphical.target.wants; ln -s ../autobot-database-redis.service $d/graphical.target.wants/; }",
        false,
    ),
    redis(Part::Postgres, "systemctl stop postgresql", true).undoes("Start PostgreSQL"),
    redis(Part::Postgres, "systemctl stop postgresql@15-main", true).undoes("Start PostgreSQL"),
    redis(Part::Postgres, "systemctl disable postgresql", true).undoes("Enable PostgreSQL at boot"),
    redis(Part::Postgres, "pg_dropcluster --stop 15 main", true).undoes("Create the PostgreSQL cluster"),
    slm(Part::Postgres, "systemctl stop postgresql@15-main", true),
    refused(
        Node::Redis,
        Part::Postgres,
        // A unit in /etc cannot be masked in /run.
        "systemctl stop postgresql; systemctl mask --runtime postgresql",
        true,
        "systemctl unmask --runtime postgresql",
    ),
    // Programs that were replaced under a running server.
    redis(Part::Redis, "cd /opt/redis-stack/bin; cp -p redis-server new-server; mv new-server redis-server", true)
        .undoes("Restart Redis if its program was replaced"),
    // The faults that the new program of a server for all users mends are live.
    redis(Part::Postgres, "cd /usr/lib/postgresql/15/bin; cp -p postgres new; mv new postgres", true)
        .undoes("Restart PostgreSQL if its program was replaced"),
    // Redis as it runs.
    redis(Part::Redis, cli!("config set maxmemory 1mb"), true),
    redis(Part::Redis, cli!("acl setuser default on nopass"), true).undoes("Set the running Redis back to its configuration"),
    redis(Part::Redis, cli!("config set requirepass another"), true).undoes("Set the running Redis back to its configuration"),
    redis(Part::Redis, cli!("acl setuser default resetkeys"), true),
    redis(Part::Redis, cli!("config set appendonly no"), true).undoes("Switch on an append-only file that was switched off"),
    redis(Part::Redis, cli!("config set save ''"), true),
    redis(Part::Redis, cli!("replicaof 127.0.0.1 6399"), true).undoes("Set the running Redis back to its configuration"),
    redis(Part::Redis, cli!("config set min-replicas-to-write 1"), true)
        .undoes("Set the running Redis back to its configuration"),
    redis(Part::Redis, cli!("acl setuser guest on nopass '~*' +@all"), true)
        .undoes("Set the running Redis back to its configuration"),
    // PostgreSQL as it runs.
    redis(Part::Postgres, sql!("alter role autobot_users createdb"), false).undoes("Create the owner of the users database"),
    redis(Part::Postgres, sql!("alter role autobot_users password 'another'"), true)
        .undoes("Create the owner of the users database"),
    redis(Part::Postgres, sql!("alter role autobot_users nologin"), true),
    redis(Part::Postgres, sql!("alter role autobot_users valid until '2020-01-01'"), true),
    redis(Part::Postgres, sql!("alter role autobot_users connection limit 0"), true),
    redis(Part::Postgres, sql!("alter database autobot_users connection limit 0"), true),
    refused(
        Node::Redis,
        Part::Postgres,
        sql!("alter database autobot_users owner to postgres"),
        true,
        sql!("alter database autobot_users owner to autobot_users"),
    ),
    redis(Part::Postgres, "runuser -u postgres -- psql -qc 'drop database autobot_users'", true)
        .undoes("Create the users database"),
    redis(Part::Postgres, "runuser -u postgres -- psql -qc 'drop database autobot_users' -c 'drop role autobot_users'", true)
        .undoes("Create the owner of the users database"),
    refused(
        Node::Redis,
        Part::Postgres,
        sql!("alter database autobot_users allow_connections false"),
        true,
        sql!("alter database autobot_users allow_connections true"),
    ),
    slm(Part::Postgres, sql!("alter role autobot_slm connection limit 0"), true),
    slm(Part::Postgres, sql!("alter role autobot_slm valid until '2020-01-01'"), true),
    slm(Part::Postgres, sql!("alter database autobot_slm connection limit 0"), true),
    // It refuses writes.
    refused(
        Node::Redis,
        Part::Postgres,
        sql!("alter database autobot_users set default_transaction_read_only = on"),
        true,
        sql!("alter database autobot_users reset default_transaction_read_only"),
    ),
    refused(
        Node::Slm,
        Part::Postgres,
        sql!("alter role autobot_slm set default_transaction_read_only = on"),
        true,
        sql!("alter role autobot_slm reset default_transaction_read_only"),
    ),
    refused(
        Node::Slm,
        Part::Postgres,
        concat!(
            sql!("alter system set default_transaction_read_only = on"),
            "; systemctl reload postgresql@15-main; until ! runuser -u postgres -- psql -qc 'create temporary table t ()'; do :; done"
        ),
        true,
        concat!(
            sql!("alter system reset default_transaction_read_only"),
            "; systemctl reload postgresql@15-main; until runuser -u postgres -- psql -qc 'create temporary table t ()'; do :; done"
        ),
    ),
    // A mode that was set by hand and taken back: nothing tells whether the server has the rules of the file.
    slm(Part::Postgres, "chmod 0600 /etc/postgresql/15/main/pg_hba.conf; chmod 0640 /etc/postgresql/15/main/pg_hba.conf", false),
    // The rules of pg_hba.conf that the server has loaded, with those on file as they should be.
    slm(
        Part::Postgres,
        "h=/etc/postgresql/15/main/pg_hba.conf; cp -p $h /tmp/h; sed -i '1i host all all 127.0.0.1/32 trust' $h; systemctl reload postgresql@15-main; until runuser -u postgres -- psql -Atc \"select 1 from pg_hba_file_rules where auth_method='trust'\" | grep -q 1; do :; done; cp -p /tmp/h $h; touch $h",
        true,
    ),
    refused(
        Node::Slm,
        Part::Postgres,
        sql!("alter system set listen_addresses = '*'"),
        false,
        sql!("alter system reset listen_addresses"),
    ),
    // The firewall.
    redis(Part::Firewall, "ufw allow from 198.18.0.0/16 to any port 22 proto tcp; ufw --force delete allow 22/tcp", false)
        .undoes("Allow SSH through the firewall"),
    redis(Part::Firewall, "ufw --force delete allow proto tcp from 198.18.0.0/16 to any port 6379", true)
        .undoes("Allow the fleet to reach Redis"),
    redis(Part::Firewall, "ufw --force disable", true).undoes("Enable the firewall and deny everything else"),
    redis(Part::Firewall, "ufw default allow incoming", true).undoes("Enable the firewall and deny everything else"),
    redis(Part::Firewall, "iptables -P INPUT ACCEPT; iptables -F; iptables -X", true),
    redis(Part::Firewall, "ip6tables -P INPUT ACCEPT; ip6tables -F; ip6tables -X", true),
    // In ufw's chains, where a deploy makes them anew.
    redis(Part::Firewall, "iptables -I ufw-before-input -p tcp --dport 6379 -j ACCEPT", true),
    redis(Part::Firewall, "iptables -R ufw-user-input 2 -p tcp --dport 6379 -j ACCEPT", true),
    redis(Part::Firewall, "sed -i s/^IPV6=yes/IPV6=no/ /etc/default/ufw; ufw reload; ip6tables -P INPUT ACCEPT", true),
    // Beside them, which is for their makers to mend.
    refused(
        Node::Redis,
        Part::Firewall,
        "iptables -A INPUT -p tcp --dport 6379 -j ACCEPT",
        true,
        "iptables -D INPUT -p tcp --dport 6379 -j ACCEPT",
    ),
    refused(
        Node::Redis,
        Part::Firewall,
        "iptables -N mine; iptables -A mine -p tcp --dport 6379 --syn -m limit --limit 100/s -j ACCEPT; iptables -A INPUT -j mine",
        true,
        "iptables -D INPUT -j mine; iptables -F mine; iptables -X mine",
    ),
    refused(
        Node::Redis,
        Part::Firewall,
        "sed -i '/^COMMIT/i -A ufw-before-input ! -s 10.0.0.0/8 -p tcp --dport 6379 -j ACCEPT' /etc/ufw/before.rules; ufw reload",
        true,
        "sed -i '/--dport 6379/d' /etc/ufw/before.rules; ufw reload",
    ),
    // From the next boot on, strangers would get in.
    redis(Part::Firewall, "systemctl disable ufw", true),
    redis(Part::Firewall, "ufw allow 6379", true),
    redis(Part::Firewall, "ufw allow log 6379/tcp", true),
    redis(Part::Firewall, "ufw allow in on host0 to any port 6379", true),
    refused(Node::Redis, Part::Firewall, "ufw allow 6000:7000/tcp", true, "ufw --force delete allow 6000:7000/tcp"),
    refused(Node::Redis, Part::Firewall, "ufw allow 6379,8001/tcp", true, "ufw --force delete allow 6379,8001/tcp"),
    refused(
        Node::Redis,
        Part::Firewall,
        "ufw insert 1 deny from 198.18.0.0/16 to any port 6379",
        true,
        "ufw --force delete deny from 198.18.0.0/16 to any port 6379",
    ),
    // What others declared.
    refused(
        Node::Redis,
        Part::System,
        "echo vm.overcommit_memory=0 >/etc/sysctl.d/99-other.conf",
        false,
        "rm /etc/sysctl.d/99-other.conf",
    ),
    refused(
        Node::Redis,
        Part::System,
        "sed -n 's/^URIs: //p' /etc/apt/sources.list.d/redis.sources | while read -r uri; do echo \"deb [trusted=yes] $uri bookworm main\"; done >/etc/apt/sources.list.d/vendor.list",
        false,
        "rm /etc/apt/sources.list.d/vendor.list",
    ),
    refused(
        Node::Redis,
        Part::Redis,
        "systemctl stop autobot-database-redis; dpkg --purge --force-depends redis-stack-server; apt-mark hold redis-stack-server",
        true,
        "apt-mark unhold redis-stack-server",
    ),
];
