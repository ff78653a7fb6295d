#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Writes a counter to place A on one export and then, when that is done, to
# place B on another: at any instant B <= A <= B + 1. A cut that is not one
# instant over both disks breaks that. "check" looks at two images. It writes
# until SIGTERM, and says when the first pair is there.
import signal
import socket
import struct
import sys

PLACES = 64
STRIDE = 512 << 10
BLOCK = 4096


class Export:
    """A fixed-newstyle NBD client: as much of it as writing takes."""

    def __init__(self, path, name):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        magic, option, flags = struct.unpack(">QQH", self.read(18))
        assert magic == 0x4e42444d41474943 and option == 0x49484156454f5054
        self.socket.sendall(struct.pack(">I", 3))  # Fixed newstyle, no zeroes.
        name = name.encode()
        self.socket.sendall(struct.pack(">QII", option, 1, len(name)) + name)
        self.size, self.flags = struct.unpack(">QH", self.read(10))
        self.handle = 0

    def read(self, length):
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise EOFError("the server is gone")
            data += piece
        return data

    def write(self, offset, data):
        self.handle += 1
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1,
                                        self.handle, offset, len(data)) + data)
        magic, error, handle = struct.unpack(">IIQ", self.read(16))
        assert magic == 0x67446698 and handle == self.handle
        if error:
            raise OSError(error, "write")

    def close(self):
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0))
        self.socket.close()


def block(number):
    return struct.pack("<Q", number) * (BLOCK // 8)


def write(path, first, second):
    told = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    a, b = Export(path, first), Export(path, second)
    number = 0
    while not told:
        number += 1
        at = number % PLACES * STRIDE
        a.write(at, block(number))
        b.write(at, block(number))
        if number == 1:
            print("begun", flush=True)
    a.close()
    b.close()
    print("%d pairs" % number)


def check(first, second):
    newest = [0, 0]
    for index, path in enumerate((first, second)):
        with open(path, "rb") as image:
            for place in range(PLACES):
                image.seek(place * STRIDE)
                data = image.read(BLOCK)
                number = struct.unpack_from("<Q", data)[0]
                assert data == block(number), "torn block in %s" % path
                newest[index] = max(newest[index], number)
    a, b = newest
    print("%s has %d, %s has %d" % (first, a, second, b))
    assert b <= a <= b + 1, "not one instant"
    # Every older number is there too: none was overtaken.
    for path, last in ((first, a), (second, b)):
        with open(path, "rb") as image:
            for number in range(max(1, last - PLACES + 1), last + 1):
                image.seek(number % PLACES * STRIDE)
                assert struct.unpack("<Q", image.read(8))[0] == number


def fill(path, export, source):
    client = Export(path, export)
    with open(source, "rb") as data:
        for at in range(0, client.size, 1 << 20):
            piece = data.read(1 << 20)
            if not piece:
                break
            client.write(at, piece)
    client.close()


if sys.argv[1] == "write":
    write(*sys.argv[2:])
elif sys.argv[1] == "fill":
    fill(*sys.argv[2:])
else:
    check(*sys.argv[2:])
