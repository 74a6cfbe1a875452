if [ ! -e "$run/lock" ]; then
  # No run holds the node.
  eval "$9"
elif [ ! -d /run/systemd/system ] || ! command -v systemd-run >/dev/null; then
  echo "warning: this node does not run systemd: a lost link would end this step in the middle of its work" >&2
  eval "$9"
else
  job_start "$6" "$3" "$4" "$5" "$7" "$8" "$9" || exit 1
  job_follow 0 0
  status=$?
  job_remove
  exit "$status"
fi
