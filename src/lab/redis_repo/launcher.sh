#!/bin/bash
# Stand-in with the observable behaviour of the vendor's launcher, defects included:
# it reads its configuration from $1 or /opt/redis-stack/etc, never from /etc/redis-stack.conf; it passes dir and
# protected-mode after that file, so that they take precedence; and it does not exec, so the unit's main process is a shell.
prefix=/opt/redis-stack
data=/var/lib/redis-stack
mkdir -p "$data"
touch "$data/.testfile" || data=$PWD

configuration=()
if [ -f "${1:-}" ]; then
  configuration=("$1")
  shift
elif [ -f "$prefix/etc/redis-stack.conf" ]; then
  configuration=("$prefix/etc/redis-stack.conf")
fi

# Unquoted on purpose: these variables contain several words.
echo "Starting redis-stack-server, database path $data"
"$prefix/bin/redis-server" "${configuration[@]}" --dir "$data" --protected-mode no --daemonize no \
  --loadmodule "$prefix/lib/rediscompat.so" \
  --loadmodule "$prefix/lib/redisearch.so" ${REDISEARCH_ARGS:-MAXSEARCHRESULTS 10000 MAXAGGREGATERESULTS 10000} \
  --loadmodule "$prefix/lib/redistimeseries.so" $REDISTIMESERIES_ARGS \
  --loadmodule "$prefix/lib/rejson.so" $REDISJSON_ARGS \
  --loadmodule "$prefix/lib/redisbloom.so" $REDISBLOOM_ARGS \
  --loadmodule "$prefix/lib/redisgears.so" v8-plugin-path "$prefix/lib/libredisgears_v8_plugin.so" $REDISGEARS_ARGS \
  "$@"
