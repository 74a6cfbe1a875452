# Arguments: the directories of control groups and of processes, then units. Each record has two fields, which end with NUL: first the processes of each
# unit, then each process whose program was replaced, with that.
groups=$1 processes=$2
shift 2
# A unit may be in any slice, and may have groups of its own below.
lists=$(find "$groups" -name cgroup.procs 2>/dev/null) || :
IFS='
'
set -f
all=
for unit do
    programs=
    for list in $lists; do
        case ${list#"$groups"} in */"$unit"/*) ;; *) continue ;; esac
        while read -r pid; do
            programs="$programs$processes/$pid/exe
"
        done 2>/dev/null <"$list"
    done
    printf 'unit\0%s\0' "$programs"
    all=$all$programs
done
# One process looks at all of them: a database has one for each connection. A process that ends meanwhile has no program.
[ -z "$all" ] || find $all -maxdepth 0 -lname '* (deleted)' -printf '%p\0%l\0' 2>/dev/null || :
printf 'end\0\0'
