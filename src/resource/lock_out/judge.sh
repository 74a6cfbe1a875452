# The files that sshd or sudo reads are judged by its own program, with a change in them, before that is live: in a mount namespace of its own, in which
# copies lie over the files. `$judged` is the program: `sshd` or `visudo`; with `$private`, no line of a file is shown.

# tried_out PATH HOW [WITH...]: ends the script where the program refuses what it would find. HOW is `put`, with the new file as WITH; `absent`; `link`, with
# the target; `access`, with owner, group, mode and `-R` or nothing.
tried_out() (
    set +e
    program=$(command -v "$judged") || exit 0
    case $judged in sshd) by='sshd -t' ;; *) by='visudo -c' ;; esac
    refuse() { printf '%s\n' "$1" >&2; exit 1; }
    for needed in unshare mount; do
        command -v "$needed" >/dev/null || refuse "\`$by\` cannot judge $1 before it is live, because there is no \`$needed\` (package $([ "$needed" = mount ] && echo mount || echo util-linux)); nothing was changed"
    done
    words=$(judge_apart "$@")
    case $? in
        0) exit 0 ;;
        9) ;;
        *) refuse "\`$by\` cannot judge $1 before it is live: $words; nothing was changed" ;;
    esac
    before=$(judge_apart "$1" live)
    case $? in
        0) before='' ;;
        *)
            [ -n "$(printf '%s\n' "$words" | tr -d 0-9 | grep -vxFe "$(printf '%s\n' "$before" | tr -d 0-9)")" ] || exit 0
            before="
the files were wrong before, too: $before"
            ;;
    esac
    refuse "\`$by\` refuses the files as they would be, so $1 stays as it was:
$words$before"
)
# judge_apart PATH HOW [WITH...]: prints what the program has against the files, and returns 9 then.
judge_apart() { unshare --mount --propagation private -- sh -c "$JUDGE" judge "$judged" "$program" "${private-}" "$@" 2>&1; }
JUDGE='set -eu
judged=$1 program=$2 private=$3 path=$4 how=$5
shift 5
directory=${path%/*}
cover() {
    exec 4<"$1"
    mount -t tmpfs -o mode=0700 tmpfs "$1"
    cp -a -- /proc/self/fd/4/. "$1"
    exec 4<&-
}
case $how in
    live) ;;
    absent | access)
        [ -e "$path" ] || [ -L "$path" ] || exit 0
        if [ "$how" = access ] && [ -L "$path" ]; then
            exit 0
        elif [ -d "$path" ] && [ ! -L "$path" ]; then
            if [ "$how" = absent ]; then mount -t tmpfs -o mode=0755 tmpfs "$path"; else cover "$path"; fi
        elif [ "$directory" != /etc ]; then
            cover "$directory"
            [ "$how" = access ] || rm -f -- "$path"
        elif [ "$how" = absent ]; then
            printf "%s: without it no user may do anything\n" "$path"
            exit 9
        fi ;;
    put)
        if [ -f "$path" ] && [ ! -L "$path" ]; then
            mount --bind -- "$1" "$path"
        elif [ "$directory" != /etc ]; then
            cover "$directory"
            mv -T -f -- "$1" "$path"
        fi ;;
    link)
        if [ "$directory" != /etc ]; then
            cover "$directory"
            ln -s -f -n -- "$1" "$path"
        fi ;;
esac
if [ "$how" = access ] && { [ "$directory" != /etc ] || [ -d "$path" ]; }; then
    [ -z "$1$2" ] || chown ${4:+-R} -h -- "$1${2:+:$2}" "$path"
    [ -z "$3" ] || chmod ${4:+-R} -- "$3" "$path"
fi
if [ "$judged" = visudo ]; then
    words=$("$program" -c 2>&1 </dev/null) && exit 0
    # sudo itself takes files with other modes, and the wrong ones were refused before.
    words=$(printf "%s\n" "$words" | grep -v -e ": parsed OK\$" -e ": bad permissions, " -e ": wrong owner " -e "^Warning: ") || exit 0
else
    if [ ! -d /run/sshd ]; then
        mount -t tmpfs -o mode=0755 tmpfs /run
        mkdir -m 0755 /run/sshd
    fi
    words=$("$program" -t 2>&1 </dev/null) && exit 0
fi
[ -z "$private" ] || words=$(printf "%s\n" "$words" | grep -E "^(>>> |parse error in )?/") || words="(its words could show a secret)"
printf "%s\n" "$words" | tr -d "\r"
exit 9'
