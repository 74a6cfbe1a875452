//! What a resource changes, as far as the way in could depend on it: whether the next login arrives, and whether it becomes root.

use crate::{
    question::{account::AccountName, own_account::LoggedIn, way_in},
    values::{Missing, RemotePath},
};

/// What a resource changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach<'a> {
    /// Nothing on which a login could depend, or nothing that is known.
    Unknown,
    /// Nothing that is there: something new is made, such as a group.
    Nothing,
    /// What a server or the firewall keeps for itself, such as rows, settings or one more rule that lets packets in; and files in these directories alone.
    /// No account, and nothing on which a login depends.
    Contained(&'static [&'static str]),
    /// The entry at a path, which may be a whole directory.
    Path(&'a RemotePath),
    /// The state of a unit, by its full name.
    Unit(&'a str),
    /// A user's account.
    User(&'a AccountName),
    /// A group.
    Group(&'a AccountName),
    /// Which packets the firewall lets through.
    Firewall,
    /// Packages.
    Packages(Vec<&'a str>),
    /// A setting of the kernel, by its name, and the file that sets it at boot.
    Setting(&'a str, &'a RemotePath),
}

/// The files in a home that sshd and login shells read.
const HOME_FILES: &[&str] =
    &[".ssh", ".profile", ".bash_profile", ".bash_login", ".bashrc", ".zshenv", ".zprofile", ".kshrc", ".cshrc", ".tcshrc"];

/// The files that hold the accounts.
const ACCOUNTS: &[&str] = &["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"];

/// Packages whose installation, upgrade or removal replaces or restarts what a login goes through.
const PACKAGES: &[&str] = &[
    "openssh-server",
    "sudo",
    "ifupdown",
    "netplan.io",
    "network-manager",
    "resolvconf",
    "systemd-resolved",
    "firewalld",
    "iptables-persistent",
    "netfilter-persistent",
    "nftables",
    "fail2ban",
    "sssd",
];

/// How the names of packages begin that are modules of a login.
const MODULES: &[&str] = &["libpam-", "libnss-"];

impl<'a> Reach<'a> {
    /// Returns the file that is declared, or all below this directory.
    #[must_use]
    pub fn path(&self) -> Option<&'a RemotePath> {
        match self {
            Self::Path(path) | Self::Setting(_, path) => Some(path),
            Self::Unknown
            | Self::Nothing
            | Self::Contained(_)
            | Self::Unit(_)
            | Self::User(_)
            | Self::Group(_)
            | Self::Firewall
            | Self::Packages(_) => None,
        }
    }

    /// Whether a change of this could change what is in a file; where it is not known what is changed, it could.
    #[must_use]
    pub fn may_change_file(&self, file: &RemotePath) -> bool {
        match self {
            Self::Unknown => true,
            Self::Path(path) | Self::Setting(_, path) => touches(file.as_str(), path.as_str()),
            Self::Contained(directories) => directories.iter().any(|directory| touches(file.as_str(), directory)),
            Self::Nothing | Self::Unit(_) | Self::User(_) | Self::Group(_) | Self::Firewall | Self::Packages(_) => false,
        }
    }

    /// Whether a change of this could change or remove one of these accounts; where it is not known what is changed, it could.
    #[must_use]
    pub fn may_change_account(&self, names: &[String]) -> bool {
        match self {
            Self::Unknown => true,
            Self::Path(path) => ACCOUNTS.iter().any(|file| touches(path.as_str(), file)),
            Self::User(name) | Self::Group(name) => names.iter().any(|known| known == name.as_str()),
            Self::Nothing | Self::Contained(_) | Self::Unit(_) | Self::Firewall | Self::Packages(_) | Self::Setting(..) => false,
        }
    }

    /// Whether a change of this could end the way in of this account; `None` where it is not known.
    #[must_use]
    pub fn may_lock_out(&self, own: Option<&LoggedIn>) -> bool {
        match self {
            Self::Unknown | Self::Nothing | Self::Contained(_) => false,
            Self::Path(path) => {
                let path = path.as_str();
                let mut trees =
                    way_in::TREES.iter().map(|tree| format!("/{tree}")).chain(ACCOUNTS.iter().map(ToString::to_string));
                trees.any(|tree| touches(path, &tree)) || is_of_home(path, own)
            }
            Self::Unit(unit) => way_in::UNITS.contains(&unit.strip_suffix(".service").unwrap_or(unit)),
            Self::User(name) => own.is_none_or(|own| own.name == name.as_str()),
            Self::Group(name) => own.is_none_or(|own| own.is_in(name.as_str())),
            Self::Firewall => true,
            Self::Packages(names) => names.iter().any(|name| {
                let name = name.split(':').next().unwrap_or_default();
                PACKAGES.contains(&name) || MODULES.iter().any(|module| name.starts_with(module))
            }),
            Self::Setting(name, _) => {
                let name = name.replace('/', ".");
                ["net.ipv4.", "net.ipv6."].iter().any(|family| name.starts_with(family))
            }
        }
    }
}

impl Reach<'_> {
    /// Whether a change of this may create what is missing. What is not known may create anything.
    #[must_use]
    pub fn may_create(&self, missing: &Missing) -> bool {
        match (self, missing) {
            // `group: present` takes nothing away, and makes its group. What a unit's programs make is not known.
            (Self::Unknown | Self::Packages(_) | Self::User(_), _)
            | (_, Missing::Other(_))
            | (Self::Nothing | Self::Group(_), Missing::Group(_)) => true,
            (
                Self::Contained(directories),
                Missing::Directory(_) | Missing::File(_) | Missing::LinkTarget(_) | Missing::Unit(_),
            ) => !directories.is_empty(),
            (Self::Path(path), Missing::Directory(wanted) | Missing::File(wanted) | Missing::LinkTarget(wanted)) => {
                touches(path.as_str(), wanted.as_str())
            }
            (Self::Path(path), Missing::User(_) | Missing::Group(_)) => {
                ACCOUNTS.iter().any(|file| touches(path.as_str(), file)) || path.as_str().contains("sysusers.d")
            }
            (Self::Path(path), Missing::Unit(_)) => path.as_str().contains("systemd") || path.as_str().contains("/init.d"),
            (Self::Unit(known), missing) => !matches!(missing, Missing::Unit(unit) if unit != known),
            (Self::Nothing | Self::Contained(_) | Self::Group(_) | Self::Firewall | Self::Setting(..), _) => false,
        }
    }
}

/// Whether one of two paths is the other or lies within it.
fn touches(one: &str, other: &str) -> bool {
    let within =
        |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    one == "/" || within(one, other) || within(other, one)
}

/// Whether a path is, in some home, a file on which a login depends.
pub(super) fn is_home_file(path: &str) -> bool {
    path.split('/').any(|part| HOME_FILES.contains(&part))
}

/// Whether a path is a file in the home of the account on which its login depends, or a directory above it.
fn is_of_home(path: &str, own: Option<&LoggedIn>) -> bool {
    match own {
        Some(own) => HOME_FILES.iter().any(|file| touches(path, &format!("{}/{file}", own.entry.home.trim_end_matches('/')))),
        None => is_home_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::account::UserEntry;

    fn own() -> LoggedIn {
        let entry = UserEntry {
            uid: 1000,
            gid: 1000,
            group: Some("ops".into()),
            comment: String::new(),
            home: "/srv/ops".into(),
            shell: "/bin/sh".into(),
            groups: vec!["sudo".into()],
        };
        LoggedIn { name: "ops".into(), entry, named_groups: vec!["sudo".into()] }
    }

    #[test]
    fn a_path_may_lock_out_where_a_login_reads_it() {
        for (path, expected) in [
            ("/etc/ssh/sshd_config", true),
            ("/etc/ssh/sshd_config.d/50-ours.conf", true),
            ("/etc/sudoers.d/x", true),
            ("/etc/sudoers.dx", false),
            ("/etc/pam.d", true),
            ("/etc", true),
            ("/etc/systemd/system", true),
            ("/etc/systemd/system/toy.service", false),
            ("/etc/shadow", true),
            ("/etc/autobot/redis.conf", false),
            ("/etc/resolv.conf", true),
            ("/srv/ops", true),
            ("/srv", true),
            ("/srv/ops/.ssh/authorized_keys", true),
            ("/srv/ops/.bashrc", true),
            ("/srv/ops/data", false),
            ("/srv/other/.ssh/authorized_keys", false),
            ("/home/deploy/.bashrc", false),
        ] {
            let remote = RemotePath::new(path).unwrap();
            assert_eq!(Reach::Path(&remote).may_lock_out(Some(&own())), expected, "{path}");
        }
        let other = RemotePath::new("/home/deploy/.ssh/authorized_keys").unwrap();
        assert!(Reach::Path(&other).may_lock_out(None), "it is not known whose home it is");
    }

    #[test]
    fn a_file_is_no_user_and_another_directory() {
        let path = |text: &str| RemotePath::new(text).unwrap();
        let name = AccountName::new("app").unwrap();
        let (file, passwd, unit) = (path("/srv/app/x"), path("/etc/passwd"), path("/etc/systemd/system/app.service"));
        let user = Missing::User("app".into());
        for (reach, missing, expected) in [
            (Reach::Path(&file), user.clone(), false),
            (Reach::Path(&passwd), user.clone(), true),
            (Reach::User(&name), user.clone(), true),
            (Reach::Packages(vec!["redis"]), user.clone(), true),
            (Reach::Unknown, user.clone(), true),
            (Reach::Setting("vm.swappiness", &file), user.clone(), false),
            (Reach::Contained(&["/etc/postgresql"]), user, false),
            (Reach::Contained(&["/etc/postgresql"]), Missing::Unit("postgresql@15-main.service".into()), true),
            (Reach::Contained(&[]), Missing::Directory(path("/etc/x")), false),
            (Reach::User(&name), Missing::Directory(path("/home/app")), true),
            (Reach::Path(&file), Missing::Directory(path("/srv/app")), true),
            (Reach::Path(&file), Missing::Directory(path("/srv/application")), false),
            (Reach::Path(&file), Missing::Other("a key".into()), true),
            (Reach::Firewall, Missing::File(path("/etc/x")), false),
            (Reach::Path(&unit), Missing::Unit("app.service".into()), true),
            (Reach::Path(&file), Missing::Unit("app.service".into()), false),
            (Reach::Nothing, Missing::Group("app".into()), true),
            (Reach::Nothing, Missing::User("app".into()), false),
        ] {
            assert_eq!(reach.may_create(&missing), expected, "{reach:?} {missing:?}");
        }
    }

    #[test]
    fn a_file_and_an_account_may_be_changed_by_what_reaches_them() {
        let path = |path| RemotePath::new(path).unwrap();
        let (file, directory, other, passwd) = (path("/srv/a/x"), path("/srv/a"), path("/srv/ab"), path("/etc/passwd"));
        let (gu1, gu2) = (AccountName::new("gu1").unwrap(), AccountName::new("gu2").unwrap());
        let names = ["gu1".to_owned()];
        for (reach, changes_file, changes_account) in [
            (Reach::Unknown, true, true),
            (Reach::Nothing, false, false),
            (Reach::Contained(&[]), false, false),
            (Reach::Contained(&["/srv/a"]), true, false),
            (Reach::Setting("vm.swappiness", &file), true, false),
            (Reach::Path(&file), true, false),
            (Reach::Path(&directory), true, false),
            (Reach::Path(&other), false, false),
            (Reach::Path(&passwd), false, true),
            (Reach::User(&gu1), false, true),
            (Reach::Group(&gu1), false, true),
            (Reach::User(&gu2), false, false),
            (Reach::Packages(vec!["curl"]), false, false),
        ] {
            assert_eq!(
                (reach.may_change_file(&file), reach.may_change_account(&names)),
                (changes_file, changes_account),
                "{reach:?}"
            );
        }
    }

    #[test]
    fn units_accounts_packages_and_settings_may_lock_out() {
        let file = RemotePath::new("/etc/sysctl.d/60-x.conf").unwrap();
        let (ops, sudo, redis) =
            (AccountName::new("ops").unwrap(), AccountName::new("sudo").unwrap(), AccountName::new("redis").unwrap());
        for (reach, expected) in [
            (Reach::Unit("ssh.service"), true),
            (Reach::Unit("ssh.socket"), true),
            (Reach::Unit("redis.service"), false),
            (Reach::User(&ops), true),
            (Reach::User(&redis), false),
            (Reach::Group(&sudo), true),
            (Reach::Group(&redis), false),
            (Reach::Packages(vec!["curl", "sudo"]), true),
            (Reach::Packages(vec!["curl"]), false),
            (Reach::Packages(vec!["openssh-server:amd64"]), true),
            (Reach::Setting("net/ipv4/conf.all.rp_filter", &file), true),
            (Reach::Setting("net.core.somaxconn", &file), false),
            (Reach::Contained(&["/etc/postgresql"]), false),
            (Reach::Firewall, true),
            (Reach::Unknown, false),
            (Reach::Nothing, false),
        ] {
            assert_eq!(reach.may_lock_out(Some(&own())), expected, "{reach:?}");
        }
    }
}
