# Arguments: number, status file, directory, timer.
while [ $# -ge 4 ]; do
    printf '@@ backup %s\nnow %s\n' "$1" "$(date +%s)"
    status=$2 directory=$3 timer=$4
    shift 4
    if since=$(stat -c %Y -- "/etc/systemd/system/timers.target.wants/$timer" 2>/dev/null); then printf 'since %s\n' "$since"; fi
    (
        success=
        set --
        if [ -e "$status" ]; then
            # It is written by the backup user, not by root, who may put something else in its place.
            reach '*' "$status" '' && [ -f "./$name" ] && exec 3<"./$name" && sound '*' || { printf 'refused %s\n' "$(untrusted "$status")"; exit; }
            echo file
            # A status file is short. This one must not be trusted to be.
            content=$(head -c 65536 <&3) || exit
            while IFS= read -r line; do
                printf 'status %s\n' "$line"
                case $line in
                    success=?*) success=yes ;;
                    archive=*) line=${line#* } && set -- "$@" "./${line##*/}" ;;
                esac
            done <<END
$content
END
        fi
        if [ $# -gt 0 ] && reach '*' "$directory/." ''; then stat -c 'there %s %n' -- "$@" 2>/dev/null; fi
        if [ -z "$success" ]; then printf 'next %s\n' "$(TZ=UTC systemctl show -p NextElapseUSecRealtime --value -- "$timer" 2>/dev/null)"; fi
    )
done
