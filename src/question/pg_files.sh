# Arguments: the directories of configurations, data, marks and programs. Each record has three fields, which end with NUL: names may contain
# anything. pg_lsclusters is not used, because it exists only where a package of PostgreSQL is installed.
etc=$1 data=$2 marks=$3 programs=$4
# As PostgreSQL reads it: the last setting counts, the `=` may be missing, and the default is 5432.
read_port() {
    port=$(sed -nE "s/^[[:space:]]*port[[:space:]]*=?[[:space:]]*'?([0-9]+).*/\1/Ip" "$1" 2>/dev/null)
    port=${port##*[!0-9]} port=${port:-5432}
}
for directory in "$etc"/*/*; do
    [ -e "$directory/postgresql.conf" ] || continue
    read_port "$directory/postgresql.conf"
    printf 'configuration\0%s\0%s\0' "${directory#"$etc"/}" "$port"
done
for directory in "$data"/*/*; do
    if [ -e "$directory/PG_VERSION" ]; then printf 'data\0%s\0\0' "${directory#"$data"/}"; fi
    if [ -e "$directory/postmaster.opts" ]; then printf 'started\0%s\0\0' "${directory#"$data"/}"; fi
done
for mark in "$marks"/cluster-*-*; do
    [ -e "$mark" ] || continue
    name=${mark#"$marks"/cluster-}
    printf 'mark\0%s/%s\0\0' "${name%%-*}" "${name#*-}"
done
for program in "$programs"/*/bin/initdb; do
    [ -x "$program" ] || continue
    version=${program#"$programs"/}
    printf 'program\0%s\0\0' "${version%/bin/initdb}"
done
if command -v pg_createcluster >/dev/null 2>&1; then printf 'program\0pg_createcluster\0\0'; fi
printf 'end\0\0\0'
