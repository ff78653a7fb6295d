# SPDX-License-Identifier: Apache-2.0
# An NBD client of its own: one request at a time, every answer looked at.
import socket
import struct


class Gone(Exception):
    """The server ended, or never answered: what was asked may have happened."""


class Refused(Exception):
    """The server answered with an error number."""

    def __init__(self, number):
        super().__init__("errno %d" % number)
        self.number = number


class Disk:
    def __init__(self, path, export, timeout):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.handle = 0
        try:
            self.socket.connect(path)
            magic, option, _ = struct.unpack(">QQH", self.take(18))
            assert magic == 0x4e42444d41474943 and option == 0x49484156454f5054
            self.send(struct.pack(">I", 3))  # Fixed newstyle, no zeroes.
            name = export.encode()
            self.send(struct.pack(">QII", option, 1, len(name)) + name)
            self.size, self.flags = struct.unpack(">QH", self.take(10))
        except OSError as error:
            self.socket.close()
            raise Gone(str(error)) from error
        except Gone:
            self.socket.close()
            raise

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def take(self, length):
        data = bytearray()
        while len(data) < length:
            try:
                piece = self.socket.recv(length - len(data))
            except OSError as error:
                raise Gone(str(error)) from error
            if not piece:
                raise Gone("the server closed")
            data += piece
        return bytes(data)

    def ask(self, command, offset, length, data=b"", flags=0):
        self.handle += 1
        self.send(struct.pack(">IHHQQI", 0x25609513, flags, command,
                              self.handle, offset, length) + data)
        magic, error, handle = struct.unpack(">IIQ", self.take(16))
        assert magic == 0x67446698 and handle == self.handle
        if error:
            raise Refused(error)

    def read(self, offset, length):
        self.ask(0, offset, length)
        return self.take(length)

    def write(self, offset, data):
        self.ask(1, offset, len(data), data)

    def flush(self):
        self.ask(3, 0, 0)

    def discard(self, offset, length):
        self.ask(4, offset, length)

    def zero(self, offset, length):
        self.ask(6, offset, length)

    def close(self):
        try:
            self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0))
        except OSError:
            pass
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def whole(path, export, timeout):
    """All bytes of an export."""
    with Disk(path, export, timeout) as disk:
        data = bytearray()
        while len(data) < disk.size:
            data += disk.read(len(data), min(1 << 20, disk.size - len(data)))
        return bytes(data)
