# Arguments: the directories of control groups and of processes, then units. Each record has two fields, which end with NUL.
groups=$1 processes=$2
shift 2
for unit do
    for list in "$groups"/system.slice/"$unit"/cgroup.procs "$groups"/system.slice/*/"$unit"/cgroup.procs \
        "$groups"/*/system.slice/"$unit"/cgroup.procs "$groups"/*/system.slice/*/"$unit"/cgroup.procs; do
        [ -r "$list" ] || continue
        while read -r pid; do
            # A process that ends meanwhile has no program.
            program=$(readlink "$processes/$pid/exe") || continue
            case $program in *' (deleted)') printf 'replaced\0%s\0' "${program% (deleted)}" ;; esac
        done <"$list"
    done
    printf 'end\0\0'
done
