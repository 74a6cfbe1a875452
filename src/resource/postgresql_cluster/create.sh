# Arguments: version, name, port, locale, encoding, initdb's option for checksums, and the directories of configurations, data and marks.
#
# The mark exists until the cluster is complete. A cluster with the mark whose server never ran holds no data: it is created again.
set -eu
umask 022
version=$1 name=$2 port=$3 locale=$4 encoding=$5 checksums=$6
configuration=$7/$1/$2 data=$8/$1/$2 mark=$9/cluster-$1-$2
if [ -e "$mark" ] && [ ! -e "$data/postmaster.opts" ]; then
    # Moved aside, not removed: a file that another process put there meanwhile can be found again.
    if [ -e "$data" ]; then mv -- "$data" "$data.unfinished-$(date -u +%Y%m%dT%H%M%SZ)"; fi
    rm -rf -- "$configuration"
fi
if [ ! -e "$configuration/postgresql.conf" ]; then
    # pg_createcluster would adopt this data with other settings than its own.
    if [ -e "$data/PG_VERSION" ]; then
        echo "$data holds data, and its configuration in $configuration is gone" >&2
        exit 1
    fi
    mkdir -p -m 0700 -- "${mark%/*}"
    : >"$mark"
    sync -- "$mark"
    pg_createcluster --port "$port" --locale "$locale" --encoding "$encoding" "$version" "$name" ${checksums:+-- "$checksums"}
    sync
fi
rm -f -- "$mark"
