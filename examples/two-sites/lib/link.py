#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# The network between the sites: link.py STATE LISTEN:TARGET... relays TCP and
# keeps the bytes carried in STATE/bytes. While STATE/cut exists the sites are
# partitioned: connections break, new ones end at once.
import os
import selectors
import socket
import sys

state = sys.argv[1]
cut_file = os.path.join(state, "cut")
selector = selectors.DefaultSelector()
pairs = {}
carried = 0
written = -1

for spec in sys.argv[2:]:
    listen_port, target_port = map(int, spec.split(":"))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", listen_port))
    listener.listen(16)
    selector.register(listener, selectors.EVENT_READ, target_port)


def drop(side):
    other = pairs.pop(side, None)
    if other is None:
        return
    pairs.pop(other, None)
    for end in (side, other):
        selector.unregister(end)
        end.close()


def accept(listener, target_port):
    inner, _ = listener.accept()
    try:
        if os.path.exists(cut_file):
            raise OSError
        outer = socket.create_connection(("127.0.0.1", target_port))
    except OSError:
        inner.close()
        return
    for end in (inner, outer):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(end, selectors.EVENT_READ)
    pairs[inner], pairs[outer] = outer, inner


while True:
    ready = selector.select(timeout=0.05)
    if os.path.exists(cut_file):
        for side in list(pairs):
            drop(side)
    for key, _ in ready:
        side = key.fileobj
        if key.data is not None:
            accept(side, key.data)
        elif side in pairs:
            try:
                data = side.recv(1 << 18)
                if not data:
                    raise OSError
                pairs[side].sendall(data)
                carried += len(data)
            except OSError:
                drop(side)
    # The file is whole whenever it is read. Not for each of many pieces.
    if carried != written and (not ready or carried - written > 1 << 20):
        with open(os.path.join(state, "bytes.new"), "w") as out:
            out.write("%d\n" % carried)
        os.rename(os.path.join(state, "bytes.new"), os.path.join(state, "bytes"))
        written = carried
