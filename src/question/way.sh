# The way of root to a file leads through nothing that another user could put there or replace. Trusted are root, the account of this run and
# $trusted_owners. FOR is the wanted owner of the file, or nothing, or `*` for the user who owns the directories, if it is one only: he is
# trusted below his own directories, but no link is followed there.

trusted() { # UID USER [FOR]
    case $1 in 0 | "${SUDO_UID:-0}") return 0 ;; esac
    case $2 in UNKNOWN | '') return 1 ;; esac
    case " ${trusted_owners-} ${3-} " in *" $2 "*) return 0 ;; esac
    return 1
}
# of FOR UID USER: as `trusted`, and sets `loose` where only FOR is.
of() {
    trusted "$2" "$3" && return
    case $1 in '*') one=${one:-$3}; set -- "$one" "$2" "$3" ;; esac
    trusted "$2" "$3" "$1" && loose=his
}
# whose UID USER: sets `who`.
whose() { case $2 in UNKNOWN) who="user $1" ;; *) who=$2 ;; esac; }
# judge FOR NAME MODE UID GID USER GROUP: whether no other user can rename in the directory NAME. Sets `why`; `loose` where FOR can.
judge() {
    whose "$4" "$6"
    case $3 in 4???) ;; *) why="\`$2\` was replaced at this very moment"; return 1 ;; esac
    of "$1" "$4" "$6" || { why="\`$2\` belongs to $who"; return 1; }
    [ $((0x$3 & 01000)) = 0 ] || return 0
    [ $((0x$3 & 2)) = 0 ] || { why="every user may write to \`$2\`, which belongs to $who (\`chmod o-w\` ends that)"; return 1; }
    [ $((0x$3 & 020)) = 0 ] || [ "$5" = 0 ] || { why="the group $7 may write to \`$2\`, which belongs to $who (\`chmod g-w\` ends that)"; return 1; }
}
# crowded MODE: whether others may make entries in a directory that is sticky.
crowded() { [ $((0x$1 & 01000)) != 0 ] && [ $((0x$1 & 022)) != 0 ]; }
# survey FOR DIRECTORY: judges the records in `seen` of all directories from / to this one. Leaves the next record in its variables.
survey() {
    at='' ahead=$2 last=''
    while IFS=: read -r w_bits w_uid w_gid w_user w_group more; do
        case $ahead in end) return 0 ;; esac
        judge "$1" "${at:-/}" "$w_bits" "$w_uid" "$w_gid" "$w_user" "$w_group" || return 1
        last=$w_bits
        case $ahead in '') ahead=end; continue ;; esac
        ahead=${ahead#/}
        at=$at/${ahead%%/*}
        case $ahead in */*) ahead=/${ahead#*/} ;; *) ahead='' ;; esac
    done <<END
$seen
END
    why="\`${2:-/}\` was replaced at this very moment"
    return 1
}
# resolve PATH: sets `way` to PATH with its links replaced, none of which another user could put there or replace.
resolve() {
    way='' rest=$1/ hops=0
    while rest=${rest#"${rest%%[!/]*}"}; [ -n "$rest" ]; do
        part=${rest%%/*} rest=${rest#*/}
        case $part in .) continue ;; ..) way=${way%/*}; continue ;; esac
        if [ ! -L "$way/$part" ]; then way=$way/$part; continue; fi
        [ "$((hops += 1))" -le 20 ] || { why="\`$1\` leads through too many links"; return 1; }
        leads || return 1
        case $target in /*) way='' ;; esac
        rest=$target/$rest
    done
}
# leads: judges the link `way`/`part`, and sets `target`. With the names, `stat` tells what the link leads to.
leads() {
    set -- "$way/$part"
    up=$way
    while [ -n "$up" ]; do set -- "$up" "$@"; up=${up%/*}; done
    seen=$(QUOTING_STYLE=escape stat --printf='%f:%u:%g:%U:%G:%N.\n' -- / "$@" 2>/dev/null)
    set -- "$seen"
    survey '' "$way" || { why="\`$way/$part\` is a link, and $why"; return 1; }
    whose "$w_uid" "$w_user"
    trusted "$w_uid" "$w_user" || { why="\`$way/$part\` is a link that belongs to $who"; return 1; }
    ! crowded "$last" || { why="\`$way/$part\` is a link in a directory that every user may write to"; return 1; }
    target=${1##*":$way/$part -> "}
    # Where a name is not plain, it is not in the record as it is.
    case $1:$target in
        *\\* | "$1:$1") target=$(readlink -n -- "$way/$part" && echo .) || { why="\`$way/$part\` was replaced at this very moment"; return 1; } ;;
    esac
    target=${target%.}
}
# arrive FOR: judges the working directory, which must be `way`, and all above it.
arrive() {
    wanted=$1 up=$way dots=''
    set -- .
    while [ -n "$up" ]; do dots=../$dots up=${up%/*}; set -- "${dots%/}" "$@"; done
    seen=$(QUOTING_STYLE=literal stat --printf='%f:%u:%g:%U:%G:%N.\n' -- "$@" /proc/self/cwd 2>/dev/null)
    survey "$wanted" "$way" || return 1
    seen=${seen##*:/proc/self/cwd -> }
    [ "${seen%.}" = "${way:-/}" ] || { why="\`${way:-/}\` was replaced at this very moment"; return 1; }
    ! crowded "$last" || loose=${loose:-sticky}
}
# reach FOR PATH FOLLOW [PARENTS]: makes the directory of PATH, whose last link is followed with FOLLOW, the working directory, and sets `name`.
# With PARENTS, missing directories are made. Returns 1 where the way is bad, with `why`, and 2 where there is no directory.
reach() {
    why='' loose='' missing='' one=''
    if [ -n "$3" ]; then resolve "$2"; else resolve "${2%/*}" && way=$way/${2##*/}; fi || return 1
    name=${way##*/} way=${way%/*}
    while [ -n "$way" ] && [ ! -e "$way" ] && [ ! -L "$way" ]; do missing=/${way##*/}$missing way=${way%/*}; done
    cd -P -- "$way/" 2>/dev/null || return 2
    arrive "$1" || return 1
    [ -z "$missing" ] || [ -n "${4-}" ] || return 2
    while [ -n "$missing" ]; do
        missing=${missing#/}
        part=${missing%%/*}
        case $missing in */*) missing=/${missing#*/} ;; *) missing='' ;; esac
        mkdir -m 0755 -- "./$part" && cd -P -- "./$part" || return
        way=$way/$part
        arrive "$1" || return 1
    done
}
# sound FOR: whether the entry `name`, on which descriptor 3 is open, is one that no other user put there.
sound() {
    [ -n "$loose" ] || return 0
    set -- "$1" $(stat -c '%d:%i:%f %u %h %U' -- - "./$name" <&3 2>/dev/null)
    [ $# = 9 ] && [ "$2" = "$6" ] || { why="\`$way/$name\` was replaced at this very moment"; return 1; }
    whose "$3" "$5"
    kind=$loose
    of "$1" "$3" "$5" || { why="\`$way/$name\` belongs to $who"; return 1; }
    if [ "$kind" = his ] && trusted "$3" "$5" && [ "$4" != 1 ] && [ ! -d "./$name" ]; then
        why="\`$way/$name\`, which belongs to $who, has another name elsewhere"
        return 1
    fi
}
# untrusted PATH: prints `why`, and what to do.
untrusted() {
    printf '%s: nothing at `%s` was read or changed. Where that account may do here what root may, name it in `autobot_trusted_owners`; a file of its own, below directories of its own and behind no link, is written with `owner:`\n' "$why" "$1"
}
# go FOR PATH FOLLOW [PARENTS]: as `reach`, and ends the script where it cannot.
go() {
    reach "$@" && return
    case $? in
        2) printf 'there is no directory %s\n' "$way$missing" >&2 ;;
        *) untrusted "$2" >&2 ;;
    esac
    exit 1
}
# check FOR PATH: as `sound`, and ends the script where it is not.
check() { sound "$1" || { untrusted "$2" >&2; exit 1; }; }
