# Prints the user whose name and rules are $1, with a mark in place of each password: `#` for one that is added, `!` for one that is taken away.
# `?` is said where the rules are quoted: they are not told apart from a part of a password.
show_user() {
    IFS=$old_ifs
    case $1 in
        *[\"\'\\]*) printf 'user %s ?\n' "${1%%[[:space:]]*}" ;;
        *)
            printf 'user'
            for word in $1; do
                case $word in
                    '>'* | '#'*) printf ' #' ;;
                    '<'* | '!'*) printf ' !' ;;
                    *) printf ' %s' "$word" ;;
                esac
            done
            echo
            ;;
    esac
    IFS=$newline
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
        value=${line#"$name"}
        value=${value#"${value%%[![:space:]]*}"}
        case $name in
            [Rr][Ee][Qq][Uu][Ii][Rr][Ee][Pp][Aa][Ss][Ss])
                unquote "${value%"${value##*[![:space:]]}"}"
                if [ "$unquoted" = "$password" ]; then requirepass=same; else requirepass=different; fi
                ;;
            [Mm][Aa][Ss][Tt][Ee][Rr][Aa][Uu][Tt][Hh] | [Tt][Ll][Ss]-*[Pp][Aa][Ss][Ss]) ;;
            [Uu][Ss][Ee][Rr]) show_user "$value" ;;
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
# Prints the rules of users, one user a line, with `#` in place of each digest of a password.
show_users() {
    set -f
    for word in $1; do
        case $word in
            '"user' | '(error)' | '"@end"') printf '\n%s' "$word" ;;
            '#'*) printf ' #' ;;
            # Numbers of the reply's lines.
            [0-9]*')') ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    set +f
    echo
}
# Arguments: number, redis-cli, socket or host, port (or empty), secrets file, its key, configuration file (or empty).
ask_redis() {
    printf '@@ instance %s\n' "$1"
    cli=$2 secrets=$5 key=$6 config=$7
    if [ ! -x "$cli" ]; then echo '@@ no-cli'; return; fi
    read_password "$secrets" "$key" || { printf '@@ %s\n' "$trouble"; return; }
    if [ -n "$4" ] && ! own_host "$3"; then
        printf '@@ anonymous\nCould not connect to Redis at %s: it is no address of this node\n@@ auth\n' "$host"
        return
    fi
    if [ -n "$4" ]; then set -- -h "$host" -p "$4"; else set -- -s "$3"; fi
    names=
    if [ -n "$config" ]; then show_config "$config"; fi
    replies=$(
        {
            # The connection is anonymous before AUTH.
            printf 'PING\nAUTH "%s"\n' "$password"
            printf 'ECHO "@ping"\nPING\nECHO "@info"\nINFO server\nINFO memory\nINFO persistence\nINFO replication\nINFO modules\n'
            # Those that no file needs to name are asked in any case.
            printf 'ECHO "@config"\nCONFIG GET%s %s\n' "$names" "$defaults"
            printf 'ECHO "@users"\nACL LIST\nECHO "@end"\n'
        } | "$cli" --no-raw "$@" 2>&1
    )
    printf '@@ anonymous\n%s\n@@ auth\n' "${replies%%"$newline"*}"
    case $replies in *"$newline"*) ;; *) return ;; esac
    replies=${replies#*"$newline"}
    reply=${replies%%"$newline"*}
    case $reply in
        OK) ;;
        # It lets everyone in, so that it has answered all the same.
        *' AUTH <password> called without any password '*) ;;
        # A server without AUTH repeats the password after a comma.
        *) printf '%s\n' "${reply%%,*}"; return ;;
    esac
    # In what the server says, the quotes around a mark are never bare.
    before=${replies%%'"@users"'*}
    printf '%s\n"@users"' "$before"
    # Not `#*`: dash tries each beginning of the text in turn, and looks through all of it each time, which took longer than Redis.
    case $replies in *'"@users"'*) show_users "${replies##"$before"'"@users"'}" ;; *) echo ;; esac
    pid=${replies#*process_id:}
    pid=${pid%%[!0-9]*}
    if [ -n "$pid" ]; then printf '@@ exe %s\n' "$(readlink "/proc/$pid/exe")"; fi
}
defaults=$1
shift
while [ $# -ge 7 ]; do
    ask_redis "$1" "$2" "$3" "$4" "$5" "$6" "$7"
    shift 7
done
