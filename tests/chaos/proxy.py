# SPDX-License-Identifier: Apache-2.0
# A TCP relay in user space that treats what passes as badly as it is told.
import os
import random
import selectors
import socket
import threading
import time

PASS, DELAY, DROP, CORRUPT, BYTEWISE, STALL, CUT = (
    "pass", "delay", "drop", "corrupt", "bytewise", "stall", "cut")
KINDS = (DELAY, DROP, CORRUPT, BYTEWISE, STALL, CUT)
# Bytes sent one at a time before a connection goes on as usual.
BYTEWISE_MAX = 600


class Side:
    """One direction's end: what is to be sent to it, and not before when."""

    def __init__(self, sock):
        self.socket = sock
        self.other = None
        self.queue = []  # (time, bytes) to be sent to this socket.
        self.sent_bytewise = 0


class Proxy:
    """Listens on `port`, connects to `target`, in a thread of its own."""

    def __init__(self, port, target):
        self.target = target  # (address, port)
        self.mode = PASS
        self.met = None  # The kind that is set, once bytes have met it.
        self.faults = dict.fromkeys(KINDS, 0)
        self.random = random.Random(port)
        self.sides = {}
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.listener.listen(16)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.wake_in, self.wake_out = os.pipe()
        self.selector.register(self.wake_in, selectors.EVENT_READ)
        self.ended = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def set(self, mode):
        """From any thread. One shot for drop and corrupt, else until changed."""
        self.met = None
        self.mode = mode
        os.write(self.wake_out, b".")

    def meet(self, kind):
        if self.met != kind:
            self.met = kind
            self.faults[kind] += 1

    def end(self):
        self.ended = True
        os.write(self.wake_out, b".")
        self.thread.join()
        for side in list(self.sides.values()):
            side.socket.close()
        self.listener.close()
        self.selector.close()
        os.close(self.wake_in)
        os.close(self.wake_out)

    def drop(self, side):
        for end in (side, side.other):
            if end is not None and end.socket in self.sides:
                del self.sides[end.socket]
                self.selector.unregister(end.socket)
                end.socket.close()

    def accept(self):
        inner, _ = self.listener.accept()
        if self.mode == CUT:
            self.meet(CUT)
            inner.close()
            return
        try:
            outer = socket.create_connection(self.target, 5)
        except OSError:
            inner.close()
            return
        a, b = Side(inner), Side(outer)
        a.other, b.other = b, a
        for side in (a, b):
            side.socket.setblocking(True)
            side.socket.settimeout(5)
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sides[side.socket] = side
            self.selector.register(side.socket, selectors.EVENT_READ)

    def receive(self, side):
        if side.socket not in self.sides:
            return
        if self.mode == STALL:
            self.meet(STALL)
            return  # It stays in the sender's socket.
        try:
            data = side.socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data or self.mode == DROP:
            if data:
                self.meet(DROP)
                self.mode = PASS
            self.drop(side)
            return
        if self.mode == CORRUPT:
            self.meet(CORRUPT)
            at = self.random.randrange(len(data))
            data = (data[:at] + bytes([data[at] ^ (1 << self.random.randrange(8))]) +
                    data[at + 1:])
            self.mode = PASS
        due = time.monotonic()
        if self.mode == DELAY:
            self.meet(DELAY)
            due += 0.05
        if side.other.queue:
            due = max(due, side.other.queue[-1][0])
        side.other.queue.append((due, data))

    def send_due(self):
        now = time.monotonic()
        for side in list(self.sides.values()):
            while side.socket in self.sides and side.queue and side.queue[0][0] <= now:
                data = side.queue.pop(0)[1]
                try:
                    if self.mode == BYTEWISE and side.sent_bytewise < BYTEWISE_MAX:
                        self.meet(BYTEWISE)
                        head, data = data[:BYTEWISE_MAX], data[BYTEWISE_MAX:]
                        side.sent_bytewise += len(head)
                        for byte in head:
                            side.socket.sendall(bytes([byte]))
                    side.socket.sendall(data)
                except OSError:
                    self.drop(side)

    def run(self):
        while not self.ended:
            due = [side.queue[0][0] for side in self.sides.values() if side.queue]
            wait = max(0, min(due) - time.monotonic()) if due else 0.2
            if self.mode == STALL:
                time.sleep(0.01)  # Readable sockets are left alone.
                wait = 0
            for key, _ in self.selector.select(wait):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj == self.wake_in:
                    os.read(self.wake_in, 64)
                elif key.fileobj in self.sides:
                    self.receive(self.sides[key.fileobj])
            if self.mode == CUT:
                for side in list(self.sides.values()):
                    self.meet(CUT)
                    self.drop(side)
            self.send_due()
