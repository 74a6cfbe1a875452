#!/usr/bin/env python3
"""A ProxyCommand that adds latency to a link: delay.py MILLISECONDS HOST PORT delays every byte by that time in each direction."""
import collections, os, selectors, socket, sys, time

delay, host, port = float(sys.argv[1]) / 1000, sys.argv[2], int(sys.argv[3])
link = socket.create_connection((host, port))
link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
ends = {0: (link.fileno(), collections.deque()), link.fileno(): (1, collections.deque())}
selector = selectors.DefaultSelector()
for source in ends:
    selector.register(source, selectors.EVENT_READ)
while ends:
    now = time.monotonic()
    due = [queue[0][0] for _, queue in ends.values() if queue]
    for key, _ in selector.select(max(0, min(due) - now) if due else None):
        data = os.read(key.fd, 65536)
        ends[key.fd][1].append((time.monotonic() + delay, data))
        if not data:
            selector.unregister(key.fd)
    for source, (sink, queue) in list(ends.items()):
        while queue and queue[0][0] <= time.monotonic():
            _, data = queue.popleft()
            if not data:
                del ends[source]
                if sink == 1:
                    sys.exit()
                link.shutdown(socket.SHUT_WR)
            while data:
                data = data[os.write(sink, data):]
