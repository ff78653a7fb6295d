#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A peer with a good certificate that takes all it can get: greedy_peer.py PORT CA
# CERTIFICATE KEY SECONDS, PORT of the address $here. Three threads: connections that
# say nothing, TLS that says nothing more, and sessions as far as frames that mean
# nothing go; each again as soon as it was thrown out. Goes on for so long, and on a
# slow machine until he has done some of each. Says what became of them.
import ctypes
import hashlib
import hmac
import os
import socket
import ssl
import struct
import sys
import threading
import time


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_128bits.restype = Hash128
xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def frame(kind, payload):
    head = struct.pack("<2sBBI16s", b"HV", 1, kind, len(payload), b"\0" * 16)
    data = head + payload
    return head + struct.pack(">Q", xxhash.XXH3_128bits(data, len(data)).high) + payload


port, authority, certificate, key, seconds = sys.argv[1:]
begun = time.monotonic()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.check_hostname = False
context.load_cert_chain(certificate, key)
context.load_verify_locations(authority)
context.set_alpn_protocols(["hvrepl/1"])
counts = {"silent": 0, "stalled": 0, "flooded": 0, "refused": 0}
ENOUGH = {"silent": 51, "stalled": 6, "flooded": 6}
SECONDS_MAX = 120
lock = threading.Lock()


def going_on():
    spent = time.monotonic() - begun
    return spent < float(seconds) or (spent < SECONDS_MAX and any(
        counts[what] < least for what, least in ENOUGH.items()))


def count(what):
    with lock:
        counts[what] += 1


def connect():
    return socket.create_connection((os.environ["here"], int(port)), timeout=5)


def silent():
    held = []
    while going_on():
        try:
            held.append(connect())
            count("silent")
        except OSError:
            count("refused")
        held = held[-200:]
        time.sleep(0.002)


def stalled():
    held = []
    while going_on():
        try:
            held.append(context.wrap_socket(connect()))
            count("stalled")
        except OSError:
            count("refused")
        held = held[-100:]


def flooded():
    """HELLO, and then 20,000 of what is no BINDER: too early, too much, or both."""
    hello = struct.pack("<IIQ16sQ32s64s24s", 1, 1, 0, os.urandom(16), 7,
                        os.urandom(32), b"greedy", b"")
    # Nobody is proved by this: the library of Python gives no exporter value.
    binder = hmac.new(b"\0" * 32, hello, hashlib.sha256).digest()
    noise = frame(4, b"") * 500
    while going_on():
        try:
            channel = context.wrap_socket(connect())
        except OSError:
            count("refused")
            continue
        count("flooded")
        try:
            channel.sendall(frame(1, hello) + frame(2, binder))
            for _ in range(40):
                channel.sendall(noise)
        except OSError:
            pass  # Thrown out, as he should be.


threads = [threading.Thread(target=run) for run in (silent, stalled, flooded)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(" ".join("%s %d" % pair for pair in counts.items()), flush=True)
