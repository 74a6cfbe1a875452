# Arguments: the number of directories above the paths; those directories; for each path a letter for the depth (`e`: only whether it exists), `f` to follow a link or `-`, the
# wanted owner or nothing, and the path itself, in one word.
#
# The output has sections that end with NUL: a digit per key for its parent directory; a record per entry; the error messages of `stat`, one
# line per missing entry; a record per link that leads to an entry; checksums. Then, for each key whose way is not plainly root's, its path and why it
# is not looked at. Contents come last, because they may contain anything; their lengths are known from the records.
export QUOTING_STYLE=literal
record='%n\0%f\0%s\0%u\0%g\0%U\0%G\0%Z\0%N\0'
nl='
'
directories=$1
shift
set -f
IFS=$nl
seen=$(stat --printf='%f:%u:%g:%U:%G:%n\n' -- $directories 2>/dev/null)
set +f
unset IFS
careful='' crowds=''
while IFS=: read -r bits uid gid user group at; do
    # `stat` says itself what is wrong below something that is neither a directory nor a link.
    case $bits in [4a]???) ;; *) continue ;; esac
    if ! judge '' "$at" "$bits" "$uid" "$gid" "$user" "$group"; then careful=$careful${at%/}/$nl
    elif crowded "$bits"; then crowds=$crowds$nl$at$nl; fi
done <<END
$seen
END
needs_care() {
    path=/${1#*/}
    case $1 in ?f*) [ ! -L "$path" ] || return 0 ;; esac
    parent=${path%/*}
    case $crowds in *"$nl${parent:-/}$nl"*) return 0 ;; esac
    rest=$careful
    while [ -n "$rest" ]; do
        case $path in "${rest%%"$nl"*}"*) return 0 ;; esac
        rest=${rest#*"$nl"}
    done
    return 1
}
entries() {
    count=$#
    for key do set -- "$@" "/${key#*/}"; done
    shift "$count"
    errors=''
    [ $# -eq 0 ] || { errors=$(stat --printf="$record" -- "$@" 2>&1 >&3); } 3>&1
}
link_targets() {
    count=$#
    for key do [ ! -L "/${key#*/}" ] || set -- "$@" "/${key#*/}"; done
    shift "$count"
    [ $# -eq 0 ] || stat -L --printf="$record" -- "$@" 2>/dev/null
}
# checksum FILE: as `sha256sum`, without the name. OpenSSL uses the processor's instructions, which Debian's sha256sum does not: a fifth of the time for a large file.
checksum() {
    sum=''
    ! command -v openssl >/dev/null || sum=$(openssl dgst -sha256 -r <"$1" 2>/dev/null)
    case ${sum%% *} in ????????????????????????????????????????????????????????????????) ;; *) sum=$(sha256sum <"$1") ;; esac
    [ -n "$sum" ] && printf '%s  ' "${sum%% *}"
}
checksums() {
    for path do
        [ "$path" = -- ] || { checksum "$path" && printf '%s\0' "$path"; }
    done
}
files() {
    letter=$1 command=$2
    shift 2
    count=$#
    for key do
        path=/${key#*/}
        case $key in "$letter"*) [ ! -f "$path" ] || [ -L "$path" ] || set -- "$@" "$path" ;; esac
    done
    shift "$count"
    [ $# -eq 0 ] || $command -- "$@"
}
# Looks at a path in a directory in which its owner, or every user, can put things: nothing is opened by its path.
look() (
    word=${1%%/*} path=/${1#*/} follow=''
    case $word in ?f*) follow=yes ;; esac
    refuse() { untrusted "$path"; printf '\0\0\0\0'; exit; }
    printf '%s\0' "$1"
    reach "${word#??}" "$path" "$follow"
    case $? in 0) ;; 2) printf '\0\0\0\0'; exit ;; *) refuse ;; esac
    entry=./$name
    if [ ! -L "$entry" ] && { [ -f "$entry" ] || [ -d "$entry" ]; }; then
        why="\`$path\` cannot be opened"
        { command exec 3<"$entry"; } 2>/dev/null && { [ "$word" = r- ] || sound "${word#??}"; } || refuse
        entry=-
    else
        command exec 3</dev/null
    fi
    printf '\0'
    [ -z "$follow" ] || [ ! -L "$path" ] || stat --printf="$record" -- "$path"
    stat --printf="$record" -- "$entry" <&3 2>/dev/null
    printf '\0'
    case $entry$word in -s*) [ -d /proc/self/fd/3 ] || checksum /proc/self/fd/3 ;; esac
    printf '\0'
    case $entry$word in -c*) [ -d /proc/self/fd/3 ] || head -c 65537 <&3 ;; esac
    printf '\0'
)
# exists KEY: as `look`, where only existence matters.
exists() {
    path=/${1#*/}
    printf '%s\0' "$1"
    # Several may be in one directory.
    if [ "${path%/*}" = "$resolved" ] || resolve "${path%/*}"; then
        [ "${path%/*}" = "$resolved" ] || resolved=${path%/*} resolved_way=$way
        printf '\0'
        path=$resolved_way/${path##*/}
        if [ -e "$path" ] || [ -L "$path" ]; then stat --printf="$record" -- "$path" 2>/dev/null; fi
    else
        untrusted "$path"
        printf '\0'
    fi
    printf '\0\0\0'
}
slow='' resolved='' resolved_way='' count=$#
for key do
    directory=/${key#*/}
    directory=${directory%/*}
    if [ -d "${directory:-/}" ]; then digit=1; else digit=0; fi
    if needs_care "$key"; then
        digit=$((digit + 2)) slow=$slow$key$nl
    else
        set -- "$@" "$key"
    fi
    printf %s "$digit"
done
shift "$count"
printf '\0'
entries "$@"
printf '\0%s\0' "$errors"
link_targets "$@"
printf '\0'
files s checksums "$@"
printf '\0'
files c 'head -v -c 65537' "$@"
set -f
IFS=$nl
set -- $slow
set +f
unset IFS
for key do case $key in e*) exists "$key" ;; *) look "$key" ;; esac; done
return 0
