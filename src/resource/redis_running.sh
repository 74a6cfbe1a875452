# $1: redis-cli; $2, $3: host and port; $4, $5: the secrets file and its key; $6: the unit; $7: what to do with the default user
# (`reset` or nothing); $8: `restart` or nothing; $9: the configuration; ${10}: the container, or nothing; then lines of input for redis-cli.
set -eu
cli=$1 host=$2 port=$3 secrets=$4 key=$5 unit=$6 default=$7 restart=$8 config=$9
shift 9
container=$1
shift
read_password "$secrets" "$key" || { echo "there is no usable \`$key\` in $secrets ($trouble)" >&2; exit 1; }
own_host "$host" || { echo "Redis is to be asked at $host, which is no address of this node" >&2; exit 1; }
# The first reply is that to AUTH; a server that lets everyone in does not like it, and does the rest.
ask() {
  { printf 'AUTH "%s"\n' "$password"; cat; } | "$cli" --no-raw -h "$host" -p "$port" 2>&1
}
# Writes the rules of the user $1 as the file has them, anew.
give_user() {
  while IFS= read -r line; do
    line=${line#"${line%%[![:space:]]*}"}
    case $line in [Uu][Ss][Ee][Rr][[:space:]]*) ;; *) continue ;; esac
    line=${line#?????}
    line=${line#"${line%%[![:space:]]*}"}
    name=${line%%[[:space:]]*}
    [ "$name" != "$1" ] || printf 'ACL SETUSER %s reset%s\nCLIENT KILL USER %s\n' "$name" "${line#"$name"}" "$name"
  done <"$config"
}
replies=$(
  {
    # The door is closed first, and clients that came in through it have to log in. CONFIG REWRITE writes `requirepass`.
    if [ "$default" = reset ]; then
      printf 'ACL SETUSER default reset on ">%s" ~* &* +@all\nCONFIG SET requirepass "%s"\nCLIENT KILL USER default\n' "$password" "$password"
    fi
    for line do
      case $line in '@user '*) give_user "${line#@user }" ;; *) printf '%s\n' "$line" ;; esac
    done
  } | ask
) || :
old_ifs=$IFS first=yes failed=
IFS=$newline
set -f
for line in $replies; do
  case $first$line in
    yesOK | 'yes(error) '*) first=; continue ;;
  esac
  case $line in
    # Redis takes these from its file only.
    '(error) '*" - can't set immutable config" | '(error) '*" - can't set protected config") restart=restart ;;
    # It may repeat what it was told.
    '(error) '*'SETUSER modifier'*) echo 'Redis refuses the rules of a user in its file' >&2; failed=yes ;;
    '(error) '*"$password"*) echo 'Redis refuses the password' >&2; failed=yes ;;
    '(error) '* | 'Could not connect'*) printf '%s\n' "$line" >&2; failed=yes ;;
  esac
done
IFS=$old_ifs
set +f
[ "$restart" = restart ] || [ -z "$failed" ] || exit 1
# An append-only file that was just switched on is written anew, and does not hold all keys before that has ended.
case " $* " in
  *' appendonly '*)
    while :; do
      state=$(echo 'INFO persistence' | ask)
      case $state in
        *aof_rewrite_in_progress:1* | *aof_rewrite_scheduled:1*) ;;
        *aof_last_bgrewrite_status:ok*) break ;;
        *) echo 'Redis could not write its append-only file anew' >&2; exit 1 ;;
      esac
      unit_clock
      [ "$now" -lt "$unit_until" ] || { echo 'Redis is still writing its append-only file: run this again once it is done' >&2; exit 1; }
      sleep 0.2
    done ;;
esac
if [ "$restart" = restart ] && [ -n "$container" ]; then
  docker restart "$container" >/dev/null
  # Docker reports the start at once; Redis may still be reading a file.
  while :; do
    case $(echo PING | ask) in *PONG*) break ;; esac
    unit_clock
    [ "$now" -lt "$unit_until" ] || { echo "Redis does not answer in time after the restart of the container $container" >&2; exit 1; }
    sleep 0.2
  done
elif [ "$restart" = restart ]; then
  unit_read_files "$unit"
  unit_exists "$unit"
  unit_restart "$unit"
fi
