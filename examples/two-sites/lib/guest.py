#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A guest that writes through NBD to both disks of the VM, in one order, and
# keeps a journal and a shadow of them. So it knows what any point must hold:
# exactly its first k writes, for one k on both disks.
#
#   guest.py write SOCKET VM DIR [COUNT]  until COUNT, SIGTERM or a refusal
#   guest.py check SOCKET VM DIR [@POINT] prints k, or says what is wrong
#   guest.py digest SOCKET VM DIR @POINT  the whole disks of the point against
#                                         the first k writes; prints k, digest
#   guest.py forget DIR K                 a failover lost what came after K;
#                                         the shadow goes back to it, too
#   guest.py last DIR                     the newest write
#   guest.py count DIR K                  how many writes came after K
#   guest.py changed DIR K                how many bytes they changed
#   guest.py same FILE FILE               two images, byte for byte
#
# DIR/journal says which numbers were written. While DIR/pause exists it writes
# nothing, and says so with DIR/paused.
import hashlib
import os
import pickle
import random
import signal
import socket
import struct
import subprocess
import sys
import time

DISKS = (("system", 1920 << 20), ("data", 448 << 20))
SLOTS = 128
SIZE = 16384
RATE = 150


class Refused(Exception):
    pass


class Export:
    """A fixed-newstyle NBD client: as much of it as reading and writing takes."""

    def __init__(self, path, name):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        magic, option, _ = struct.unpack(">QQH", self.read(18))
        assert magic == 0x4e42444d41474943 and option == 0x49484156454f5054
        self.socket.sendall(struct.pack(">I", 3))
        name = name.encode()
        self.socket.sendall(struct.pack(">QII", option, 1, len(name)) + name)
        self.size, _ = struct.unpack(">QH", self.read(10))
        self.handle = 0

    def read(self, length):
        data = bytearray()
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise EOFError("the server is gone")
            data += piece
        return bytes(data)

    def request(self, command, offset, length, data=b""):
        self.handle += 1
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, command,
                                        self.handle, offset, length) + data)
        magic, error, handle = struct.unpack(">IIQ", self.read(16))
        assert magic == 0x67446698 and handle == self.handle
        if error:
            raise Refused("refused: %s" % os.strerror(error))
        return self.read(length) if command == 0 else b""


def content(number):
    """What write `number` writes: it does not compress, and names itself."""
    return struct.pack("<Q", number) + random.Random(number).randbytes(SIZE - 8)


def place(number):
    """Disk and slot of a write: a function of its number alone."""
    value = random.Random(number * 7919 + 1).getrandbits(16)
    return value & 1, value >> 1 & (SLOTS - 1)


def history(directory):
    """Ranges of numbers written, oldest first. A failover that loses some ends
    one; the next begins at a round number, so that no content comes twice."""
    with open(os.path.join(directory, "journal")) as journal:
        return [tuple(map(int, line.split())) for line in journal]


def remember(directory, ranges):
    name = os.path.join(directory, "journal")
    with open(name + ".new", "w") as journal:
        journal.writelines("%d %d\n" % pair for pair in ranges)
    os.rename(name + ".new", name)


def numbers(ranges, after, upto):
    for first, last in ranges:
        yield from range(max(first, after + 1), min(last, upto) + 1)


def state(ranges, upto):
    """The number that each slot of each disk holds after write `upto`."""
    slots = [[0] * SLOTS for _ in DISKS]
    for number in numbers(ranges, 0, upto):
        disk, slot = place(number)
        slots[disk][slot] = number
    return slots


def write(path, vm, directory, count="0"):
    exports = [Export(path, vm + "/" + disk) for disk, _ in DISKS]
    shadows = [open(os.path.join(directory, disk + ".shadow"), "r+b", 0)
               for disk, _ in DISKS]
    ranges = history(directory) if os.path.exists(
        os.path.join(directory, "journal")) else [(1, 0)]
    first, number = ranges.pop()
    pause, paused = (os.path.join(directory, name) for name in ("pause", "paused"))
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    end = number + int(count) if int(count) else 1 << 60
    started = time.monotonic()
    done = 0
    reason = "told to stop"
    while not stop and number < end:
        if os.path.exists(pause):
            remember(directory, ranges + [(first, number)])
            open(paused, "w").close()
            while os.path.exists(pause) and not stop:
                time.sleep(0.005)
            os.unlink(paused)
            started = time.monotonic() - done / RATE
        disk, slot = place(number + 1)
        offset = DISKS[disk][1] + slot * SIZE
        data = content(number + 1)
        try:
            exports[disk].request(1, offset, SIZE, data)
        except Refused as refused:
            reason = str(refused)
            break
        except (EOFError, OSError):
            number += 1  # It may have been written: nobody knows.
            reason = "the site is gone"
            break
        number += 1
        done += 1
        os.pwrite(shadows[disk].fileno(), data, offset)
        if done % 32 == 0:
            remember(directory, ranges + [(first, number)])
        ahead = started + done / RATE - time.monotonic()
        if ahead > 0 and end == 1 << 60:
            time.sleep(ahead)
    remember(directory, ranges + [(first, number)])
    print("%d writes; %s" % (done, reason))


def newest_of(path, vm, directory, point=""):
    """The k that a point is of; ends with what is wrong if there is none."""
    found = []
    for disk, base in DISKS:
        export = Export(path, vm + "/" + disk + point)
        for slot in range(0, SLOTS, 32):
            data = export.request(0, base + slot * SIZE, 32 * SIZE)
            found += [data[i:i + SIZE] for i in range(0, len(data), SIZE)]
    newest = max(struct.unpack_from("<Q", data)[0] for data in found)
    ranges = history(directory)
    first, last_known = ranges[-1]
    if last_known < newest <= last_known + 64 and newest >= first:
        ranges[-1] = (first, newest)  # The guest writes on.
    expected = sum(state(ranges, newest), [])
    for i, (data, number) in enumerate(zip(found, expected)):
        if data != (content(number) if number else bytes(SIZE)):
            sys.exit("disk %s slot %d holds write %d, not %d (newest %d)" % (
                DISKS[i // SLOTS][0], i % SLOTS,
                struct.unpack_from("<Q", data)[0], number, newest))
    if newest and not any(first <= newest <= last for first, last in ranges):
        sys.exit("write %d was never made" % newest)
    return newest, ranges


def check(*arguments):
    print(newest_of(*arguments)[0])


def forget(directory, number):
    number = int(number)
    ranges = [(first, min(last, number)) for first, last in history(directory)
              if first <= number]
    first = (number // 1000000 + 1) * 1000000
    remember(directory, ranges + [(first, first - 1)])
    for disk, (name, base) in enumerate(DISKS):
        with open(os.path.join(directory, name + ".shadow"), "r+b", 0) as shadow:
            for slot, newest in enumerate(state(ranges, number)[disk]):
                shadow.seek(base + slot * SIZE)
                shadow.write(content(newest) if newest else bytes(SIZE))


def count(directory, after):
    print(sum(1 for _ in numbers(history(directory), int(after), 1 << 60)))


def changed(directory, after):
    print(SIZE * len({place(number) for number in
                      numbers(history(directory), int(after), 1 << 60)}))


def last(directory):
    print(max(last for first, last in history(directory) if last >= first))


def data_of(file, size):
    """Where it may hold something: the rest is holes."""
    at = 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(file, start, os.SEEK_HOLE)
        yield start, at


BLOCK = 1 << 20


def blocks_of(file):
    """Numbers of the blocks that may hold something."""
    numbers = set()
    for start, end in data_of(file, os.fstat(file).st_size):
        numbers.update(range(start // BLOCK, (end + BLOCK - 1) // BLOCK))
    return numbers


def digest_of(blocks, size):
    """Over the disk's content: a block of zeros and a hole are the same."""
    whole = hashlib.sha256(struct.pack("<Q", size))
    for number, block in sorted(blocks.items()):
        if block is not None:
            whole.update(struct.pack("<Q", number) + block)
    return whole.hexdigest()


def hash_block(data):
    return hashlib.sha256(data).digest() if data.count(0) != len(data) else None


def shadow_digest(directory, disk, slots):
    """What the disk held when the guest had written what `slots` say. Only the
    guest writes, and only to its slots: the rest is hashed once."""
    name, base = DISKS[disk]
    cache = os.path.join(directory, name + ".blocks")
    file = os.open(os.path.join(directory, name + ".shadow"), os.O_RDONLY)
    size = os.fstat(file).st_size
    if os.path.exists(cache):
        with open(cache, "rb") as saved:
            blocks = pickle.load(saved)
    else:
        blocks = {number: hash_block(os.pread(file, BLOCK, number * BLOCK))
                  for number in blocks_of(file)}
        with open(cache, "wb") as saved:
            pickle.dump(blocks, saved)
    os.close(file)
    area = b"".join(content(number) if number else bytes(SIZE) for number in slots)
    for at in range(0, len(area), BLOCK):
        blocks[(base + at) // BLOCK] = hash_block(area[at:at + BLOCK])
    return digest_of(blocks, size)


def digest(path, vm, directory, point):
    newest, ranges = newest_of(path, vm, directory, point)
    slots = state(ranges, newest)
    found = []
    for disk, (name, _) in enumerate(DISKS):
        copy = os.path.join(directory, name + ".point")
        if os.path.exists(copy):
            os.unlink(copy)
        subprocess.run(["nbdcopy", "nbd+unix:///%s/%s%s?socket=%s" % (
            vm, name, point, path), copy], check=True)
        file = os.open(copy, os.O_RDONLY)
        found.append(digest_of(
            {number: hash_block(os.pread(file, BLOCK, number * BLOCK))
             for number in blocks_of(file)}, os.fstat(file).st_size))
        os.close(file)
        os.unlink(copy)
        if found[-1] != shadow_digest(directory, disk, slots[disk]):
            sys.exit("disk %s at point %s is not what it was after write %d" % (
                name, point, newest))
    print(newest, hashlib.sha256("".join(found).encode()).hexdigest()[:16])


def same(*names):
    files = [os.open(name, os.O_RDONLY) for name in names]
    size = os.fstat(files[0]).st_size
    if os.fstat(files[1]).st_size != size:
        sys.exit("%s and %s differ in size" % names)
    for file in files:
        for start, end in data_of(file, size):
            for at in range(start, end, 1 << 20):
                length = min(1 << 20, end - at)
                if os.pread(files[0], length, at) != os.pread(files[1], length, at):
                    sys.exit("%s and %s differ after %d" % (*names, at))


{"write": write, "same": same, "check": check, "digest": digest, "forget": forget, "changed": changed,
 "count": count, "last": last}[sys.argv[1]](*sys.argv[2:])
