# One process reads all files, because the shell's `read` takes a system call for each byte and this runs in every deploy.
# $1: the directory of /proc and /etc, for tests.
newline='
'
root=$1 facts=''
list_facts
set -f
# Only kernels since 6.1 have the file.
[ -r "$root/proc/sys/kernel/arch" ] || printf 'text.architecture=%s\n' "$(uname -m)"
text=${files-$(exec head -v -c 1048576 -- $facts 2>/dev/null)}
IFS=$newline
file='' last='' n=0
for line in $text; do
  case $file$line in
    *'==> '*' <==') file=${line#'==> '} file=${file%' <=='} file=${file#"$root"} ;;
    /proc/self/statusCpus_allowed_list:*)
      cpus=0 IFS=,
      for range in ${line#*:[[:space:]]}; do cpus=$((cpus + ${range#*-} - ${range%-*} + 1)); done
      IFS=$newline
      printf 'number.processor_vcpus=%s\n' "$cpus"
      ;;
    /proc/self/status*) ;;
    /proc/sys/kernel/arch*) printf 'text.architecture=%s\n' "$line" ;;
    /proc/sys/kernel/osrelease*) printf 'text.kernel=%s\n' "$line" ;;
    /proc/sys/kernel/ostype*) printf 'text.system=%s\n' "$line" ;;
    /proc/sys/kernel/hostname*) printf 'text.fqdn=%s\ntext.nodename=%s\ntext.hostname=%s\n' "$line" "$line" "${line%%.*}" ;;
    */os-releaseID=* | */os-releaseID_LIKE=* | */os-releaseVERSION_ID=* | */os-releaseVERSION_CODENAME=*) printf 'os.%s\n' "$line" ;;
    /proc/meminfoMemTotal:* | /proc/meminfoSwapTotal:*)
      number=${line#*:} number=${number%kB}
      case $line in M*) key=memtotal_mb ;; *) key=swaptotal_mb ;; esac
      printf 'number.%s=%s\n' "$key" "$((number / 1024))"
      ;;
    # The default routes, and the routes to directly connected networks (without a gateway).
    /proc/net/route*[[:space:]]00000000[[:space:]]*) printf 'route.=%s\n' "$line" ;;
    # The addresses that the kernel calls local, without iproute2.
    /proc/net/fib_trieLocal:) break ;;
    /proc/net/fib_trie*'|-- '*) last=${line##*'|-- '} ;;
    /proc/net/fib_trie*'/32 host LOCAL'*)
      case $last in 127.*) continue ;; esac
      printf 'address.%s=%s\n' "$n" "$last"
      n=$((n + 1))
      ;;
  esac
done
