#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A TCP relay that can be cut: relay.py LISTEN_PORT TARGET_PORT CUT_FILE, ports of the
# address $here. While the file exists all connections are broken and new ones end at
# once. While CUT_FILE.after exists they are broken, once, when as many bytes as it says
# have passed; then it is gone.
import os
import selectors
import socket
import sys

here = os.environ["here"]
listen_port, target_port, cut_file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
selector = selectors.DefaultSelector()
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((here, listen_port))
listener.listen(16)
selector.register(listener, selectors.EVENT_READ)
pairs = {}
after_file = cut_file + ".after"
passed = 0


def limit_of(name):
    try:
        with open(name) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):  # Another relay's it was; not written yet.
        return sys.maxsize


def drop(side):
    other = pairs.pop(side, None)
    if other is None:
        return
    pairs.pop(other, None)
    for end in (side, other):
        selector.unregister(end)
        end.close()


while True:
    ready = selector.select(timeout=0.1)
    if os.path.exists(cut_file):
        for side in list(pairs):
            drop(side)
    if passed > 0 and passed >= limit_of(after_file):
        passed = 0
        os.unlink(after_file)
        for side in list(pairs):
            drop(side)
    for key, _ in ready:
        side = key.fileobj
        if side is listener:
            inner, _ = listener.accept()
            try:
                if os.path.exists(cut_file):
                    raise OSError
                outer = socket.create_connection((here, target_port))
            except OSError:
                inner.close()
                continue
            pairs[inner], pairs[outer] = outer, inner
            selector.register(inner, selectors.EVENT_READ)
            selector.register(outer, selectors.EVENT_READ)
        elif side in pairs:
            try:
                data = side.recv(1 << 16)
                if not data:
                    raise OSError
                pairs[side].sendall(data)
                passed = passed + len(data) if os.path.exists(after_file) else 0
            except OSError:
                drop(side)
