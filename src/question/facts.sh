# Builtins and /proc wherever they do: this runs in every deploy.
for file in /etc/os-release /usr/lib/os-release; do
  [ -r "$file" ] || continue
  while IFS= read -r line; do
    case $line in ID=*|ID_LIKE=*|VERSION_ID=*|VERSION_CODENAME=*) printf 'os.%s\n' "$line" ;; esac
  done <"$file"
  break
done
while read -r key value _; do
  case $key in
    MemTotal:) printf 'number.memtotal_mb=%s\n' "$((value / 1024))" ;;
    SwapTotal:) printf 'number.swaptotal_mb=%s\n' "$((value / 1024))"; break ;;
  esac
done </proc/meminfo
printf 'number.processor_vcpus=%s\n' "$(nproc)"
set -- $(uname -snrm)
printf 'text.system=%s\ntext.fqdn=%s\ntext.kernel=%s\ntext.architecture=%s\n' "$1" "$2" "$3" "$4"
printf 'text.hostname=%s\ntext.nodename=%s\n' "${2%%.*}" "$2"
# The default route, and the addresses that the kernel calls local, without iproute2.
while read -r interface destination gateway _; do
  if [ "$destination" = 00000000 ]; then
    printf 'text.default_interface=%s\n' "$interface"
    printf 'text.default_gateway=%d.%d.%d.%d\n' "0x${gateway#??????}" "0x$(g=${gateway#????}; printf %s "${g%??}")" \
      "0x$(g=${gateway#??}; printf %s "${g%????}")" "0x${gateway%??????}"
    break
  fi
done </proc/net/route
n=0; last=
while IFS= read -r line; do
  case $line in
    *'|-- '*) last=${line##*'|-- '} ;;
    *'/32 host LOCAL'*)
      case $last in 127.*) ;; *) printf 'address.%s=%s\n' "$n" "$last"; [ "$n" -gt 0 ] || printf 'text.default_address=%s\n' "$last"; n=$((n + 1)) ;; esac ;;
    'Local:'*) break ;;
  esac
done </proc/net/fib_trie
