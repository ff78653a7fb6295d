# SPDX-License-Identifier: Apache-2.0
# What the guest wrote, and what its disks may therefore hold.
#
# One writer, one write at a time over all disks, numbered. A sector names the
# write it came from, so that an image tells which writes are in it. An event of a
# sector is (number, version, sure): from that number on the sector holds that
# version - or may, where nobody knows whether the write happened.
import functools
import struct

SECTOR = 512
NOISE = bytes(range(256)) * 2


@functools.lru_cache(maxsize=1 << 17)  # The same ones are looked at again and again.
def content(version, position):
    """The bytes of a sector: version 0 is zeroes."""
    if version == 0:
        return b"\0" * SECTOR
    head = struct.pack("<QQ", version, position)
    # Half of it compresses, half of it does not.
    turn = (version * 167 + position * 31) & 0xff
    noise = NOISE[turn:turn + 112:2] + NOISE[255 - turn:255 - turn + 56]
    return head + noise * 2 + b"\x5a" * (SECTOR - len(head) - 2 * len(noise))


class Shadow:
    def __init__(self, disks, sectors):
        self.disks = tuple(disks)
        self.sectors = sectors
        self.number = 0
        self.events = {(disk, at): [(0, 0, True)]
                       for disk in self.disks for at in range(sectors)}
        self.flushed = 0   # Writes up to here survive a power loss.
        self.pointed = 0   # Writes up to here are in a point the peer holds.
        self.writes = 0
        # Writes (after, up to) that a failed flush was to cover: the system may
        # have dropped them, and no later flush says so.
        self.dropped = []

    def copy(self):
        other = Shadow(self.disks, 0)
        other.sectors = self.sectors
        other.number, other.flushed = self.number, self.flushed
        other.pointed, other.writes = self.pointed, self.writes
        other.dropped = list(self.dropped)
        other.events = {key: list(events) for key, events in self.events.items()}
        return other

    def begin(self, disk, at, count, zero=False):
        """The next write: returns its number and its bytes."""
        self.number += 1
        version = 0 if zero else self.number
        for sector in range(at, at + count):
            self.events[disk, sector].append((self.number, version, False))
        return self.number, b"".join(content(version, sector)
                                     for sector in range(at, at + count))

    def done(self, number, disk, at, count):
        """It was acknowledged."""
        for sector in range(at, at + count):
            events = self.events[disk, sector]
            assert events[-1][0] == number
            events[-1] = (number, events[-1][1], True)
        self.writes += 1

    def flush_done(self, number):
        self.flushed = max(self.flushed, number)

    def flush_failed(self):
        self.dropped.append((self.flushed, self.number))

    def is_dropped(self, number):
        return any(low < number <= high for low, high in self.dropped)

    def versions(self, disk, image):
        """The version of each sector of an image; a torn one is a failure."""
        if len(image) != self.sectors * SECTOR:
            return None, "%s has %d bytes" % (disk, len(image))
        found = []
        for at in range(self.sectors):
            data = image[at * SECTOR:(at + 1) * SECTOR]
            version, position = struct.unpack_from("<QQ", data)
            if version > self.number or data != content(version, at if version else 0):
                return None, "%s sector %d is garbage: %s" % (disk, at, data[:24].hex())
            if version and position != at:
                return None, "%s sector %d holds sector %d" % (disk, at, position)
            found.append(version)
        return found, None

    def all_versions(self, images):
        found = {}
        for disk in self.disks:
            versions, wrong = self.versions(disk, images[disk])
            if wrong:
                return None, wrong
            for at, version in enumerate(versions):
                found[disk, at] = version
        return found, None

    def check_from(self, images, floor):
        """Each sector holds its last sure version up to `floor`, or any later.
        Returns what is wrong, or None."""
        found, wrong = self.all_versions(images)
        if wrong:
            return wrong
        for key, version in found.items():
            events = self.events[key]
            if version == events[-1][1]:
                continue  # What was written last is always allowed.
            first = max(i for i, (number, _, sure) in enumerate(events)
                        if sure and number <= floor and not self.is_dropped(number))
            if version not in [v for _, v, _ in events[first:]]:
                return ("%s sector %d holds write %d; allowed: %s" %
                        (key + (version, [v for _, v, _ in events[first:]])))
        return None

    def check_now(self, images):
        """Nothing acknowledged is missing."""
        return self.check_from(images, self.number)

    def check_durable(self, images):
        """Nothing that was flushed is missing."""
        return self.check_from(images, self.flushed)

    def check_instant(self, images, floor):
        """There is one write up to which everything is there and after which
        nothing is. Returns (that write or None, what is wrong)."""
        found, wrong = self.all_versions(images)
        if wrong:
            return None, wrong
        change = {}
        for key, version in found.items():
            events = self.events[key]
            legal = []
            for i, (number, v, _) in enumerate(events):
                if v != version:
                    continue
                end = self.number + 1
                for later, other, sure in events[i + 1:]:
                    if sure:
                        end = later
                        break
                if legal and legal[-1][1] >= number:
                    legal[-1][1] = max(legal[-1][1], end)
                else:
                    legal.append([number, end])
            if not legal:
                return None, "%s sector %d holds write %d, never written there" % (
                    key + (version,))
            for start, end in legal:
                change[start] = change.get(start, 0) + 1
                change[end] = change.get(end, 0) - 1
        count, best, need = 0, None, len(found)
        marks = sorted(change)
        for i, mark in enumerate(marks):
            count += change[mark]
            end = marks[i + 1] if i + 1 < len(marks) else self.number + 1
            if count == need and end - 1 >= floor:
                best = end - 1 if best is None else max(best, end - 1)
        if best is None:
            newest = max(found.values())
            return None, ("not one instant at or after write %d; newest seen %d, "
                          "last written %d" % (floor, newest, self.number))
        return best, None

    def settle(self, images, durable):
        """From here on the disks hold exactly this."""
        found, wrong = self.all_versions(images)
        assert wrong is None, wrong
        self.number += 1
        for key, version in found.items():
            events = self.events[key]
            if (not events[-1][2] or events[-1][1] != version or
                    self.is_dropped(events[-1][0])):
                events.append((self.number, version, True))
        # Who lost a cache dropped it: what is seen is there, or waits for a flush.
        self.dropped = []
        if durable:
            self.flushed = self.number
