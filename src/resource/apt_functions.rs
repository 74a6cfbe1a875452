//! Shell that calls apt: with deadlines, waiting for locks, and failing when a signature cannot be verified.

/// `apt_get ARGUMENT...` runs apt-get and copies its output to stderr line by line. It sets `$status`, `$found` (`no`: a name is unknown),
/// `$why`, a word for the problem with a repository, and `$held`, the message about a lock. It waits for a lock of another process.
///
/// - `apt-get update` exits 0 when a signature cannot be verified, unless `APT::Update::Error-Mode=any`.
/// - `DPkg::Lock::Timeout` covers only dpkg's lock: apt fails at once for others (lists, archives), so it is run again until they are free.
/// - The locale decides the encoding of the `PostgreSQL` cluster that the package creates, hence UTF-8.
/// - A separate line marks the end of the output: daemons that a package starts may keep the pipe open.
/// - The umask is the one that maintainer scripts expect.
pub(crate) const APT: &str = r#"
export DEBIAN_FRONTEND=noninteractive DEBIAN_PRIORITY=critical APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l
export LANG=C.UTF-8 LC_ALL=C.UTF-8
unset LANGUAGE
umask 022
apt_try() {
  outcome=$( { code=0; "$@" </dev/null 2>&1 || code=$?; echo "autobot-provision: status $code"; } | {
    status=1 locked=no found=yes why= held=
    while IFS= read -r line; do
      case $line in
        "autobot-provision: status "*) status=${line##* }; break;;
        "E: Could not get lock"*|"E: Unable to lock directory"*|"dpkg: error: dpkg "*" locked by another process"*) locked=yes; held=${held:-${line#E: }};;
        *"Unable to locate package"*|*"Couldn't find any package by"*|*"has no installation candidate"*|*"Version '"*"' for '"*"' was not found"*) found=no;;
        *"not readable by user"*|*"Permission denied"*) : "${why:=unreadable}";;
        *"unsupported filetype"*|*"unsupported format"*) why=misnamed;;
        *EXPKEYSIG*|*EXPSIG*|*"Expired on"*) why=expired;;
        *NO_PUBKEY*|*"Missing key"*|*"is not signed"*|*BADSIG*|*"verification failed"*) : "${why:=signature}";;
        *"does not have a Release file"*|*"404 "*|*"File not found"*) : "${why:=absent}";;
        *"Could not connect"*|*"Could not resolve"*|*"onnection timed out"*|*"Temporary failure resolving"*|*"Could not handshake"*|*"ertificate"*) : "${why:=connection}";;
      esac
      printf '%s\n' "$line" >&2
    done
    # A lock counts only if apt failed: apt waits for dpkg's lock by itself, with the message "Waiting for cache lock".
    [ "$status" != 0 ] || locked=no
    echo "$status $locked $found ${why:-unknown} $held"
  } )
  set -- $outcome
  status=$1 locked=$2 found=$3 why=$4
  shift 4
  held=$*
  held=${held#dpkg: error: }
}
apt_wait() {
  while apt_try "$@"; [ "$locked" = yes ]; do apt_waits; done
}
# Prints the holder of the lock last: people see only the last line, and apt prints advice after the line that names the holder.
apt_waits() {
  echo "waiting: $held" >&2
  sleep 1
}
# Without the last one, apt 2.6 upgrades all installed packages of a source with any of them: a database with the library of its clients.
apt_options='-q -y -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15
  -o DPkg::Lock::Timeout=-1 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold
  -o APT::Get::Upgrade-By-Source-Package=false'
apt_get() {
  apt_wait apt-get $apt_options "$@"
}
# `apt_spare PACKAGES ARGUMENT...`: fails when apt-get with these arguments would change or remove an installed package that is not among PACKAGES.
# Nothing is said of a simulation that fails: the real call fails with the same words.
apt_spare() {
  may_change=" "
  for name in $1; do may_change="$may_change${name%%:*} "; done
  shift
  simulated=$(apt-get -s $apt_options "$@" 2>/dev/null </dev/null) || return 0
  others=
  # `Inst NAME [OLD] (NEW …)`, without `[OLD]` for a new package; `Remv NAME [OLD]`.
  while read -r action name old new rest; do
    case $action/$old in Inst/\[* | Remv/*) ;; *) continue ;; esac
    case $may_change in *" ${name%%:*} "*) continue ;; esac
    old=${old#\[}
    case $action in
      Inst) others="$others, change $name from ${old%]} to ${new#\(}" ;;
      *) others="$others, remove $name" ;;
    esac
  done <<END
$simulated
END
  [ -z "$others" ] || {
    echo "apt-get would also${others#,}; nothing was changed: name in the task what may change, too, or change it by hand before" >&2
    exit 1
  }
}
"#;
