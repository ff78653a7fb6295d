# SPDX-License-Identifier: Apache-2.0
# Undoes what no flush had covered, as a power loss does: by the shim's journal.
#
# Sector by sector one of the contents since the last flush that covered it is
# chosen, file sizes likewise; of the names made, moved or taken away in a
# directory since its last flush a tail is undone.
import os
import shutil
import struct

SECTOR = 512
MAGIC = 0x4a564854
HEADER = struct.Struct("<IIQQQQIIII")
(UNDO, SIZE, FLUSHED, DOOMED, CREATED, RENAMED, GONE, NAMES_FLUSHED,
 DROPPED) = range(1, 10)


def records(path):
    with open(path, "rb") as journal:
        data = journal.read()
    at = 0
    while at + HEADER.size <= len(data):
        (magic, op, inode, offset, size, child, name_length, other_length,
         length, keep) = HEADER.unpack_from(data, at)
        assert magic == MAGIC, "the journal of file calls is not one"
        start = at + HEADER.size
        end = start + name_length + other_length + length
        if end > len(data):
            break  # The kill came while it was written: the call was not made.
        name = data[start:start + name_length].decode()
        other = data[start + name_length:start + name_length + other_length].decode()
        yield op, inode, offset, size, child, name, other, data[end - length:end], keep
        at = end


def trim(path):
    """A record that the kill broke off: its call was not made."""
    with open(path, "r+b") as journal:
        data = journal.read()
        at = 0
        while at + HEADER.size <= len(data):
            fields = HEADER.unpack_from(data, at)
            end = at + HEADER.size + sum(fields[6:9])
            if end > len(data):
                break
            at = end
        journal.truncate(at)


class File:
    """What of a file no flush covers: sector -> older contents, older sizes."""

    def __init__(self):
        self.sectors = {}
        self.sizes = []
        self.doomed = {}

    def write(self, offset, size, data):
        for at in range(0, len(data), SECTOR):
            old = data[at:at + SECTOR].ljust(SECTOR, b"\0")
            self.sectors.setdefault((offset + at) // SECTOR, []).append(old)
        self.sizes.append(size)

    def flushed(self):
        # What a failed flush lost stays lost, unless it was written again: the
        # newer write is what this flush covers.
        for sector, writes in list(self.sectors.items()):
            lost = self.doomed.get(sector, 0)
            if lost < len(writes):
                del self.sectors[sector]
                self.doomed.pop(sector, None)
        self.sizes = []

    def flush_failed(self):
        for sector, writes in self.sectors.items():
            self.doomed[sector] = len(writes)

    def dropped(self):
        # They read as the medium has them again: nothing of them is pending.
        for sector, lost in list(self.doomed.items()):
            if lost == len(self.sectors[sector]):
                del self.sectors[sector], self.doomed[sector]


def paths_by_inode(*roots):
    found = {}
    for root in roots:
        for folder, folders, files in os.walk(root):
            for name in folders + files:
                path = os.path.join(folder, name)
                found[os.lstat(path).st_ino] = path
    return found


def revert(path, file, choose):
    """Write one of the older contents where `choose(count)` says so."""
    undone = 0
    size = os.path.getsize(path)
    with open(path, "r+b", buffering=0) as image:
        for sector, writes in file.sectors.items():
            pick = choose(len(writes) + 1)
            if pick < len(writes):
                os.pwrite(image.fileno(), writes[pick], sector * SECTOR)
                undone += 1
        if file.sizes:
            pick = choose(len(file.sizes) + 1)
            size = file.sizes[pick] if pick < len(file.sizes) else size
        os.ftruncate(image.fileno(), size)
    return undone


def undo_name(folder, op, child, name, other, keep_dir, keep):
    path = os.path.join(folder, name)
    kept = os.path.join(keep_dir, str(keep))

    def stands(at):
        return os.path.lexists(at) and os.lstat(at).st_ino == child

    if op == CREATED and stands(path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    elif op == RENAMED and stands(os.path.join(folder, other)):
        os.rename(os.path.join(folder, other), path)
        if keep:
            os.link(kept, os.path.join(folder, other))
    elif op == GONE and keep and not os.path.lexists(path):
        os.link(kept, path)
    else:
        return 0
    return 1


def lose_power(root, journal, keep_dir, random):
    """Returns how many sectors and names were undone."""
    files, names = {}, {}
    for op, inode, offset, size, child, name, other, data, keep in records(journal):
        if op == UNDO:
            files.setdefault(inode, File()).write(offset, size, data)
        elif op == SIZE:
            files.setdefault(inode, File()).sizes.append(size)
        elif op == FLUSHED and inode in files:
            files[inode].flushed()
        elif op == DOOMED and inode in files:
            files[inode].flush_failed()
        elif op == DROPPED and inode in files:
            files[inode].dropped()
        elif op in (CREATED, RENAMED, GONE):
            names.setdefault(inode, []).append((op, child, name, other, keep))
        elif op == NAMES_FLUSHED:
            names.pop(inode, None)
    places = paths_by_inode(root, keep_dir)
    sectors = undone = 0
    for inode, file in files.items():
        if inode not in places:
            continue
        # A whole file lost, a whole file kept, or each sector for itself.
        kind = random.choice(("none", "all", "each", "each"))

        def choose(count, kind=kind):
            if kind == "none":
                return 0
            return count - 1 if kind == "all" else random.randrange(count)

        sectors += revert(places[inode], file, choose)
    # Names of inner directories go first: an outer one may then go whole.
    for inode in sorted(names, key=lambda i: -len(places.get(i, ""))):
        if inode in places and places[inode].startswith(root):
            tail = random.randrange(len(names[inode]) + 1)
            for entry in reversed(names[inode][tail:]):
                op, child, name, other, keep = entry
                undone += undo_name(places[inode], op, child, name, other,
                                    keep_dir, keep)
    open(journal, "wb").close()
    for name in os.listdir(keep_dir):
        os.unlink(os.path.join(keep_dir, name))
    return sectors, undone
