# A way to a port of the node without sshd's forwarding: this program connects, and copies between the connection and its own input and output.
# It needs bash, whose /dev/tcp makes connections. Set before this text: nonce, host and port.
# Comments and empty lines are left out when it is sent.
#
# It says `NONCE ready` or `NONCE refused` in a line of its own, which follows whatever the login shell has written. After `ready` every byte
# belongs to the connection.
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
if ! command exec 3<>"/dev/tcp/$host/$port"; then
  printf '\n%s refused\n' "$nonce"
  exit 1
fi
printf '\n%s ready\n' "$nonce"
cat <&3 2>/dev/null &
# Our output ends when the service's does: only that `cat` holds it. sshd passes its end on when that of standard error has come, too.
exec >&- 2>/dev/null
cat >&3
# The client has sent all. bash cannot tell the service so, which therefore gets a moment to end by itself.
sleep 5 3>&- &
wait -n
kill $(jobs -p)
