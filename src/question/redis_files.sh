# Arguments, for each place: `directory` or `volume`, and its path or name. Each record has two fields, which end with NUL: names may contain anything.
# Redis removes files of its own while they are looked at.
unreadable() {
    if [ -e "$1" ]; then printf 'unreadable\0%s\0' "$1"; fi
    return 1
}
# An RDB file selects a database before its first key; files without keys are small. An append-only file is a list of commands.
has_keys() {
    [ -f "$1" ] && [ -s "$1" ] || return 1
    # In one line; each byte is a blank and two digits.
    bytes=$(od -An -v -tx1 -w4096 -N4096 -- "$1" 2>/dev/null) || {
        bytes=$(stat -L -c %s -- "$1" 2>/dev/null) && [ "$bytes" -ge 4096 ] || unreadable "$1"
        return
    }
    [ "${#bytes}" -lt 12288 ] || return 0
    case $bytes in
        ' 52 45 44 49 53 '*) case $bytes in *' fe '??' fb '* | *' fe '??' '??' fb '*) ;; *) return 1 ;; esac ;;
    esac
}
look() {
    [ -d "$1" ] || return 0
    [ -r "$1" ] && [ -x "$1" ] || { unreadable "$1"; return; }
    printf 'directory\0%s\0' "$1"
    if [ -e "$1/appendonlydir/appendonly.aof.manifest" ]; then printf 'append-only\0\0'; fi
    for file in "$1"/*.rdb "$1"/*.aof "$1"/appendonlydir/*.rdb "$1"/appendonlydir/*.aof; do
        if has_keys "$file"; then printf 'keys\0%s\0' "${file#"$1"/}"; fi
    done
}
while [ $# -gt 1 ]; do
    place=$2
    # Without Docker, and where its daemon does not answer, there is no volume: what starts the container says so, and refuses.
    [ "$1" = directory ] || place=$(docker volume inspect "$2" 2>/dev/null | sed -n 's/^ *"Mountpoint": "\(.*\)",*$/\1/p')
    look "$place"
    printf 'end\0\0'
    shift 2
done
