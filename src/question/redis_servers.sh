# Argument: the directory of processes. Each record has three fields, which end with NUL: names of directories may contain anything. A process that
# ends meanwhile is left out.
for process in "$1"/[0-9]*; do
    name='' group=''
    { IFS= read -r name <"$process/comm"; } 2>/dev/null || continue
    [ "$name" = redis-server ] || continue
    directory=$(readlink "$process/cwd") || continue
    while IFS= read -r line; do
        case $line in
            0::* | *:name=systemd:*) if [ -z "$group" ] || [ "$group" = / ]; then group=${line#*:*:}; fi ;;
        esac
    done 2>/dev/null <"$process/cgroup" || continue
    printf '%s\0%s\0%s\0' "${process##*/}" "$group" "$directory"
done
printf 'end\0\0\0'
