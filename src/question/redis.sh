unset REDISCLI_AUTH
newline='
'
carriage_return=$(printf '\r')
# Sets $password to the value of key $2 in the secrets file $1. No process is started that would show it in its arguments.
read_password() {
    password=
    [ -r "$1" ] || return 1
    while IFS= read -r line; do
        case $line in
            "$2="*) password=${line#*=} ;;
        esac
    done <"$1"
    password=${password%"$carriage_return"}
    unquote "$password"
    password=$unquoted
    [ -n "$password" ]
}
unquote() {
    case $1 in
        \"*\") unquoted=${1#?} unquoted=${unquoted%?} ;;
        \'*\') unquoted=${1#?} unquoted=${unquoted%?} ;;
        *) unquoted=$1 ;;
    esac
}
# Prints the lines of the configuration file $1 without secrets, and sets $names to the names of its directives.
show_config() {
    names=
    requirepass=none
    lines=$(cat "$1" 2>/dev/null) || { echo '@@ no-config'; return; }
    echo '@@ file'
    old_ifs=$IFS
    IFS=$newline
    set -f
    for line in $lines; do
        line=${line#"${line%%[![:space:]]*}"}
        name=${line%%[[:space:]]*}
        case $name in
            '' | *[!A-Za-z0-9-]*) continue ;;
        esac
        case $name in
            requirepass)
                value=${line#requirepass}
                value=${value#"${value%%[![:space:]]*}"}
                unquote "${value%"${value##*[![:space:]]}"}"
                if [ "$unquoted" = "$password" ]; then requirepass=same; else requirepass=different; fi
                ;;
            masterauth | tls-key-file-pass | tls-client-key-file-pass | user) ;;
            *)
                names="$names $name"
                printf '%s\n' "$line"
                ;;
        esac
    done
    IFS=$old_ifs
    set +f
    printf '@@ requirepass %s\n' "$requirepass"
}
# Arguments: number, redis-cli, socket or host, port (or empty), secrets file, its key, configuration file (or empty).
ask_redis() {
    printf '@@ instance %s\n' "$1"
    cli=$2 secrets=$5 key=$6 config=$7
    if [ ! -x "$cli" ]; then echo '@@ no-cli'; return; fi
    if ! read_password "$secrets" "$key"; then echo '@@ no-password'; return; fi
    # redis-cli splits its input into words; inside double quotes only these two characters are special.
    case $password in
        *[\"\\]*) echo '@@ odd-password'; return ;;
    esac
    if [ -n "$4" ]; then set -- -h "$3" -p "$4"; else set -- -s "$3"; fi
    names=
    if [ -n "$config" ]; then show_config "$config"; fi
    replies=$(
        {
            # The connection is anonymous before AUTH.
            printf 'PING\nAUTH "%s"\n' "$password"
            printf 'ECHO "@ping"\nPING\nECHO "@info"\nINFO server\nINFO memory\nINFO persistence\nINFO modules\n'
            if [ -n "$names" ]; then printf 'ECHO "@config"\nCONFIG GET%s\n' "$names"; fi
            printf 'ECHO "@end"\n'
        } | "$cli" --no-raw "$@" 2>&1
    )
    printf '@@ anonymous\n%s\n@@ auth\n' "${replies%%"$newline"*}"
    case $replies in *"$newline"*) ;; *) return ;; esac
    replies=${replies#*"$newline"}
    reply=${replies%%"$newline"*}
    # A server without AUTH repeats the password after a comma.
    if [ "$reply" != OK ]; then printf '%s\n' "${reply%%,*}"; return; fi
    printf '%s\n' "$replies"
    pid=${replies#*process_id:}
    pid=${pid%%[!0-9]*}
    if [ -n "$pid" ]; then printf '@@ exe %s\n' "$(readlink "/proc/$pid/exe")"; fi
}
while [ $# -ge 7 ]; do
    ask_redis "$1" "$2" "$3" "$4" "$5" "$6" "$7"
    shift 7
done
