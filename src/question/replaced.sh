# Arguments: the directories of control groups and of processes, then units. Each record has two fields, which end with NUL.
groups=$1 processes=$2
shift 2
# A unit may be in any slice, and may have groups of its own below.
lists=$(find "$groups" -name cgroup.procs 2>/dev/null) || :
IFS='
'
set -f
for unit do
    for list in $lists; do
        case ${list#"$groups"} in */"$unit"/*) ;; *) continue ;; esac
        while read -r pid; do
            # A process that ends meanwhile has no program.
            program=$(readlink "$processes/$pid/exe") || continue
            case $program in *' (deleted)') printf 'replaced\0%s\0' "${program% (deleted)}" ;; esac
        done 2>/dev/null <"$list"
    done
    printf 'end\0\0'
done
