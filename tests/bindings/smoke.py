#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A tracked disk from Python (cffi): callbacks, a ticket, a cut, errors, close.
import os
import re
import subprocess
import sys
import time

from cffi import FFI

INCLUDE, LIBRARY, SCRATCH = sys.argv[1:4]
counts = {True: 0, False: 0}


def check(held, what):
    counts[bool(held)] += 1
    if not held:
        print("FAILED: " + what)


# The declarations are the headers themselves, without what they include.
for name in ("stddef.h", "stdint.h"):
    open(os.path.join(SCRATCH, name), "w").close()
preprocess = ["gcc", "-E", "-P", "-nostdinc", "-I", SCRATCH, "-I", INCLUDE,
              os.path.join(INCLUDE, "hvrepl", "hvrepl.h")]
declarations = subprocess.run(preprocess, check=True, text=True,
                              stdout=subprocess.PIPE).stdout
macros = subprocess.run(preprocess + ["-dM"], check=True, text=True,
                        stdout=subprocess.PIPE).stdout
ffi = FFI()
ffi.cdef(declarations)
lib = ffi.dlopen(LIBRARY)
HV = {}
for name, value in re.findall(r"^#define HVREPL_(\w+) (\(?[-\du<() ]+\)?)$", macros, re.M):
    HV[name] = eval(re.sub(r"(\d)u\b", r"\1", value))  # Digits, shifts, brackets.

# cffi lays structs out by its own rules: compare with the compiler's.
lines = []
for name in sorted(set(re.findall(r"struct (hvrepl_\w+) \{", declarations))):
    kind = ffi.typeof("struct " + name)
    lines.append("_Static_assert(sizeof(struct %s) == %d, \"\");" % (name, ffi.sizeof(kind)))
    for field, member in kind.fields:
        lines.append("_Static_assert(offsetof(struct %s, %s) == %d, \"\");" % (
            name, field, member.offset))
layout = subprocess.run(["gcc", "-std=c11", "-I", INCLUDE, "-fsyntax-only", "-x", "c", "-"],
                        input="#include <hvrepl/hvrepl.h>\n" + "\n".join(lines), text=True)
check(layout.returncode == 0 and len(lines) > 50, "layout of every struct")

check(lib.hvrepl_version() == HV["VERSION_MAJOR"] * 10**6 + HV["VERSION_MINOR"] * 1000
      + HV["VERSION_PATCH"], "version")

callbacks = []  # What C holds a pointer to must stay alive.


def table(kind, **functions):
    made = ffi.new("struct %s *" % kind)
    made.struct_size = ffi.sizeof(made[0])
    for name, (function, error) in functions.items():
        pointer = ffi.typeof(getattr(made, name))
        callback = ffi.callback(pointer, function) if pointer.result.kind == "void" else \
            ffi.callback(pointer, function, error=error)
        callbacks.append(callback)
        setattr(made, name, callback)
    return made


def pieces(iov, count):
    return [ffi.buffer(iov[i].base, iov[i].length) for i in range(count)]


CALLBACK = HV["E_CALLBACK"]
disk = bytearray(8 << 20)
objects = {}
handles = {}  # A small integer stands for an object on the C side.
released = {"disk": 0, "storage": 0}
broken = False


def fill_random(_user, to, length):
    ffi.memmove(to, os.urandom(length), length)
    return 0


def disk_info(_user, out):
    out.size, out.block_size, out.flags = len(disk), 512, HV["DISK_EXCLUSIVE"]
    return 0


def disk_readv(_user, _op, at, iov, count):
    if broken:
        raise OSError("the disk is on fire")
    for piece in pieces(iov, count):
        piece[:] = bytes(disk[at:at + len(piece)])
        at += len(piece)
    return 0


def disk_writev(_user, _op, at, iov, count):
    for piece in pieces(iov, count):
        disk[at:at + len(piece)] = piece[:]
        at += len(piece)
    return 0


def of(handle):
    return handles[int(ffi.cast("intptr_t", handle))]


def resize(_user, handle, size):
    bytes_ = of(handle)
    bytes_[size:] = b""
    bytes_.extend(bytes(size - len(bytes_)))
    return 0


def object_open(_user, identity, flags, out):
    name, create = ffi.string(identity), bool(flags & HV["OBJECT_CREATE"])
    if (name in objects) == create:
        return HV["E_EXISTS"] if create else HV["E_NOT_FOUND"]
    handles[len(handles) + 1] = objects.setdefault(name, bytearray())
    out[0] = ffi.cast("void *", len(handles))
    return 0


def object_size(_user, handle, out):
    out[0] = len(of(handle))
    return 0


def object_read(_user, _op, handle, at, to, length):
    ffi.buffer(to, length)[:] = bytes(of(handle)[at:at + length])
    return 0


def object_write(user, _op, handle, at, iov, count):
    for piece in pieces(iov, count):
        if len(of(handle)) < at + len(piece):
            resize(user, handle, at + len(piece))
        of(handle)[at:at + len(piece)] = piece[:]
        at += len(piece)
    return 0


def object_list(_user, prefix, found, argument):
    for name in sorted(objects):
        if name.startswith(ffi.string(prefix)):
            rc = found(argument, name, len(objects[name]))
            if rc < 0:
                return rc
    return 0


env = table("hvrepl_env",
            monotonic_ns=(lambda _user: time.monotonic_ns(), 0),
            utc_ns=(lambda _user: time.time_ns(), 0),
            random=(fill_random, CALLBACK))
disk_ops = table("hvrepl_disk_ops", info=(disk_info, CALLBACK),
                 readv=(disk_readv, HV["E_DISK_IO"]), writev=(disk_writev, HV["E_DISK_IO"]))
storage_ops = table(
    "hvrepl_storage_ops", open=(object_open, CALLBACK),
    close=(lambda _user, _handle: None, None), size=(object_size, CALLBACK),
    read=(object_read, CALLBACK), write=(object_write, CALLBACK),
    flush=(lambda _user, _op, _handle: 0, CALLBACK), resize=(resize, CALLBACK),
    remove=(lambda _user, name: 0 if objects.pop(ffi.string(name), None) is not None
            else HV["E_NOT_FOUND"], CALLBACK),
    list=(object_list, CALLBACK))


def lend(kind, ops):
    @ffi.callback("void(void *)")
    def release(_user):
        released[kind] += 1
    callbacks.append(release)
    made = ffi.new("struct hvrepl_%s *" % kind)
    made.ops, made.release = ops, release
    return made


error = ffi.new("struct hvrepl_error *", {"struct_size": ffi.sizeof("struct hvrepl_error")})
group_out, tracker_out, cut_out = (ffi.new("hvrepl_%s **" % kind)
                                   for kind in ("group", "tracker", "cut"))

lacking = ffi.new("struct hvrepl_env *", env[0])
lacking.random = ffi.NULL
check(lib.hvrepl_group_create(lacking, ffi.NULL, error, group_out) == HV["E_INVALID"]
      and b"random" in ffi.string(error.sentence) and not group_out[0],
      "a missing callback is refused with a sentence")

woken = []
options = table("hvrepl_group_options", wake=(lambda _user: woken.append(1), None))
options.write_wait_ns = 60 * 10**9
check(lib.hvrepl_group_create(env, options, error, group_out) == 0, "group")
group = group_out[0]

name = ffi.new("char[]", b"disk.hvt")
tracking = table("hvrepl_tracker_options")
tracking.object_id = name
tracking.disk.bytes[0] = 1
lent = lend("disk", disk_ops), lend("storage", storage_ops)
rc = lib.hvrepl_tracker_attach(group, *lent, tracking, error, tracker_out)
check(rc == HV["E_NOT_FOUND"] and error.error_class == HV["CLASS_CALLER"]
      and ffi.string(error.sentence), "a missing tracker file is refused with a sentence")
check(released == {"disk": 1, "storage": 1}, "what was taken is let go once")
tracking.flags = HV["TRACKER_CREATE"]
check(lib.hvrepl_tracker_attach(group, *lent, tracking, error, tracker_out) == 0, "attach")
tracker = tracker_out[0]
check(lib.hvrepl_group_destroy(group) == HV["E_BUSY"], "destroy while in use")

results = []
ticket = table("hvrepl_ticket", complete=(lambda _ticket, result: results.append(result), None))
rc = lib.hvrepl_tracker_write_begin(tracker, 8192, 4096, HV["WRITE_DATA"], ticket)
check(rc == HV["PENDING"] and woken, "the first write of a region waits for its mark")
for _ in range(100):
    if results or rc != HV["PENDING"]:
        break
    lib.hvrepl_group_process(group)
check(results == [0], "the ticket is completed by the pump")
disk[8192:12288] = b"\xc5" * 4096
check(lib.hvrepl_tracker_write_end(tracker, ticket, 0) == 0, "write_end")

check(lib.hvrepl_group_cut(group, 0, error, cut_out) == 0, "cut")
cut = cut_out[0]
extents, count, end = (ffi.new("struct hvrepl_extent[4]"), ffi.new("uint32_t *", 4),
                       ffi.new("uint64_t *"))
check(lib.hvrepl_cut_next_extents(cut, 0, 0, extents, count, end) == 0 and count[0] == 1
      and (extents[0].offset, extents[0].length) == (8192, 4096),
      "the cut names what was written")
content = bytearray(4096)
check(lib.hvrepl_cut_read(cut, 0, 8192, ffi.from_buffer(content), 4096) == 0
      and content == b"\xc5" * 4096, "the cut reads what was written")
broken = True
stderr, sys.stderr = sys.stderr, open(os.devnull, "w")  # cffi prints the trace.
check(lib.hvrepl_cut_read(cut, 0, 8192, ffi.from_buffer(content), 4096) == HV["E_DISK_IO"],
      "an exception in a callback is a failure of the callback")
sys.stderr = stderr
broken = False
check(lib.hvrepl_cut_close(cut, 0) == 0, "acknowledge")
check(lib.hvrepl_tracker_detach(tracker, HV["DETACH_CLEAN"]) == 0, "detach")
check(released == {"disk": 2, "storage": 2}, "released exactly once each")
check(lib.hvrepl_group_destroy(group) == 0, "destroy")
# A node from create to close: its state table, its events, its errors.
blobs = {}


def state_get(_user, key, to, length, version):
    if ffi.string(key) not in blobs:
        return HV["E_NOT_FOUND"]
    blob, version[0] = blobs[ffi.string(key)]
    ffi.memmove(to, blob, min(len(blob), length[0]))
    length[0] = len(blob)
    return 0


def state_put(_user, _op, key, blob, length, expected):
    blobs[ffi.string(key)] = (bytes(ffi.buffer(blob, length)), expected + 1)
    return 0


state_ops = table("hvrepl_state_ops", get=(state_get, CALLBACK), put=(state_put, CALLBACK),
                  list=(lambda _user, _prefix, _found, _argument: 0, CALLBACK))
config = table("hvrepl_node_config")
config.env = env
released["state"] = 0
lent_state = lend("state", state_ops)
config.state = lent_state[0]
node_out = ffi.new("hvrepl_node **")
check(lib.hvrepl_node_create(config, node_out, error) == HV["E_INVALID"]
      and ffi.string(error.sentence) and released["state"] == 1,
      "a node without a site name is refused with a sentence")
site = ffi.new("char[]", b"east")
config.site = site
check(lib.hvrepl_node_create(config, node_out, error) == 0 and blobs,
      "node, which saved who it is")
node = node_out[0]
operation = table("hvrepl_operation")
operation.type = HV["OPERATION_SUSPEND"]
check(lib.hvrepl_node_operate(node, operation, ffi.new("uint64_t *"), error)
      == HV["E_NOT_FOUND"] and ffi.string(error.sentence),
      "an unknown VM is refused with a sentence")
check(lib.hvrepl_node_destroy(node) == HV["E_BUSY"], "destroy before close")
check(lib.hvrepl_node_close(node) == 0, "close")
event = table("hvrepl_event")
seen = []
for _ in range(100):
    lib.hvrepl_node_process(node, 0)
    while lib.hvrepl_node_next_event(node, event) == 1:
        seen.append(event.type)
check(HV["EVENT_CLOSED"] in seen and event.seq > 0, "the event CLOSED arrives")
check(lib.hvrepl_node_destroy(node) == 0 and released["state"] == 2,
      "destroy, released exactly once")
print("%d passed, %d failed" % (counts[True], counts[False]))
sys.exit(counts[False] != 0)
