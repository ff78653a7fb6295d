#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A site of a later protocol version, as far as its HELLO: newer_peer.py PORT CA
# CERTIFICATE KEY HOW, PORT of the address $here. HOW is "hello" (the HELLO asks for
# versions 2 to 3) or "frame" (the frame itself has another version). Says what each
# caller answers.
import ctypes
import os
import socket
import ssl
import struct
import sys


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_128bits.restype = Hash128
xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def frame(version, kind, payload):
    head = struct.pack("<2sBBI16s", b"HV", version, kind, len(payload), b"\0" * 16)
    data = head + payload
    return head + struct.pack(">Q", xxhash.XXH3_128bits(data, len(data)).high) + payload


def hello(lowest, highest):
    return struct.pack("<IIQ16sQ32s64s24s", lowest, highest, 1, os.urandom(16), 7,
                       os.urandom(32), b"tomorrow", b"")


def take(channel, length):
    data = b""
    while len(data) < length:
        piece = channel.recv(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


port, authority, certificate, key, how = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(certificate, key)
context.load_verify_locations(authority)
context.verify_mode = ssl.CERT_REQUIRED
context.set_alpn_protocols(["hvrepl/1"])
listener = socket.create_server((os.environ["here"], int(port)))
print("listening", flush=True)
while True:
    try:
        plain, _ = listener.accept()
        plain.settimeout(10)
        channel = context.wrap_socket(plain, server_side=True)
        channel.sendall(b"hvrepl/1")  # The client's certificate is accepted.
        if how == "frame":
            channel.sendall(frame(2, 1, hello(1, 2)))
        else:
            channel.sendall(frame(1, 1, hello(2, 3)))
        while True:
            head = take(channel, 32)
            payload = take(channel, struct.unpack_from("<I", head, 4)[0])
            if head[3] == 3:
                print("bye", struct.unpack_from("<i", payload)[0],
                      payload[4:].decode(), flush=True)
    except (EOFError, OSError) as error:
        print("ended:", error, flush=True)
