# SPDX-License-Identifier: Apache-2.0
# A site's real daemon: started under the shim, killed, asked over its socket.
import itertools
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import time

import nbd

SOURCE = os.environ.get("HVREPL_SOURCE") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("HVREPL_BUILD") or os.path.join(SOURCE, "build")
PROGRAM = os.path.join(BUILD, "bin", "hvrepl")
SHIM = os.path.join(BUILD, "tests", "libchaos-shim.so")

# The control file of shim.c, in its order.
FIELDS = ("marks", "kill_at", "kill_late", "kill_mask", "fail_left", "fail_skip",
          "fail_mask", "fail_errno", "failed", "drop")
WRITES, FLUSHES, NAMES, READS = 1, 2, 4, 8
FOREVER = (1 << 64) - 1
# For anything that must come, in seconds: a busy machine takes its time.
PATIENCE = int(os.environ.get("HVREPL_CHAOS_PATIENCE", 180))


class Refused(Exception):
    """The daemon answered with an error object."""

    def __init__(self, error):
        super().__init__("%s: %s" % (error["name"], error["sentence"]))
        self.name = error["name"]
        self.sentence = error["sentence"]


class Down(Exception):
    """No answer: the daemon ended, or never was there."""


class Failure(Exception):
    """A promise was broken."""


class Control:
    def __init__(self, path):
        with open(path, "wb") as file:
            file.write(b"\0" * 4096)
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)

    def __getitem__(self, name):
        return struct.unpack_from("<Q", self.map, 8 * FIELDS.index(name))[0]

    def set(self, **values):
        for name in FIELDS:  # What arms a fault is told apart by what is zero.
            if name in values:
                struct.pack_into("<Q", self.map, 8 * FIELDS.index(name), values[name])

    def clear(self):
        self.set(kill_at=0, kill_mask=0, fail_left=0, fail_mask=0, fail_skip=0)

    def close(self):
        self.map.close()
        self.file.close()


def own_address(count=itertools.count()):
    """All of 127/8 is this machine. A port that is free on an address of one's own
    stays free while a daemon is down: others connect from 127.0.0.1."""
    return "127.%d.%d.%d" % (1 + (os.getpid() >> 8) % 254, os.getpid() % 256,
                             2 + next(count) % 250)


def free_port(address):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def make_certificates(folder, names):
    """A CA and a certificate for each name, made by the interop tests' own."""
    script = ". '%s/tests/interop/sites.sh'; make_ca '%s' ca" % (SOURCE, folder)
    for name in names:
        script += "; make_cert '%s' %s ca 30" % (folder, name)
    subprocess.run(["bash", "-c", script], check=True)


class Site:
    """`folder`/NAME holds what the site keeps; the shim looks only there."""

    def __init__(self, folder, name, listen, peer, peer_port, vm=""):
        self.name = name
        self.home = os.path.join(folder, name)
        self.process = None
        self.starts = 0
        self.socket = os.path.join(folder, name + ".sock")
        self.nbd = os.path.join(folder, name + ".nbd")
        self.conf = os.path.join(folder, name + ".conf")
        self.log = os.path.join(folder, name + ".log")
        self.journal = os.path.join(folder, name + ".journal")
        self.keep = os.path.join(folder, name + ".keep")
        os.makedirs(self.home)
        os.makedirs(self.keep)
        open(self.journal, "wb").close()
        self.control = Control(os.path.join(folder, name + ".control"))
        self.options = {
            "name": name, "peer": peer, "address": listen[0], "port": listen[1],
            "peer_port": peer_port, "interval": "100ms", "points": 4, "vm": vm}

    def start(self, wait=True, alone=False):
        """`alone`: its operator knows that nobody is there to wait for. Else a
        former owner waits for the other site, however slow the machine is."""
        with open(self.conf, "w") as conf:
            conf.write(CONFIGURATION % dict(
                self.options, start_wait="100ms" if alone else "5m"))
        environment = dict(os.environ, LD_PRELOAD=SHIM,
                           HVREPL_CHAOS_ROOT=self.home,
                           HVREPL_CHAOS_CONTROL=self.control.file.name,
                           HVREPL_CHAOS_JOURNAL=self.journal,
                           HVREPL_CHAOS_KEEP=self.keep)
        with open(self.log, "ab") as log:
            log.write(b"--- start\n")
            log.flush()
            self.process = subprocess.Popen(
                [PROGRAM, "site", "run", "--config", self.conf],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment)
        self.starts += 1
        return self.answers() if wait else True

    def answers(self, seconds=PATIENCE):
        """True when the control socket answers, False when the daemon ended."""
        end = time.monotonic() + seconds
        while self.alive():
            try:
                self.get("/v1/status")
                return True
            except Down:
                pass
            if time.monotonic() > end:
                raise Failure("site %s does not answer" % self.name)
            time.sleep(0.005)
        return False

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, number=signal.SIGKILL):
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                if number == signal.SIGTERM:
                    raise Failure("site %s does not end" % self.name)
            if number == signal.SIGTERM and self.process.returncode != 0:
                raise Failure("site %s ended with status %d" % (
                    self.name, self.process.returncode))
        self.process = None

    def end(self):
        self.kill()
        self.control.close()

    def request(self, method, path, body=None, timeout=PATIENCE):
        text = b"" if body is None else json.dumps(body).encode()
        head = "%s %s HTTP/1.1\r\nHost: site\r\nConnection: close\r\n" % (method, path)
        if body is not None:
            head += "Content-Type: application/json\r\nContent-Length: %d\r\n" % len(text)
        answer = b""
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(timeout)
                sock.connect(self.socket)
                sock.sendall(head.encode() + b"\r\n" + text)
                while True:
                    piece = sock.recv(1 << 16)
                    if not piece:
                        break
                    answer += piece
        except OSError as error:
            raise Down(str(error)) from error
        header, _, text = answer.partition(b"\r\n\r\n")
        if not header:
            raise Down("no answer")
        if b"chunked" in header.lower():
            raise Failure("an answer in chunks")
        try:
            value = json.loads(text)
        except ValueError as error:
            raise Down("half an answer") from error
        if "error" in value:
            raise Refused(value["error"])
        return value

    def get(self, path):
        return self.request("GET", path)

    def status(self, vm="web"):
        return self.get("/v1/vms/" + vm)

    def operate(self, operation, vm="web", **more):
        """Start an operation; returns its job's number."""
        return self.request("POST", "/v1/vms/%s/operations" % vm,
                            dict(more, operation=operation))["job"]

    def job(self, number, wait_ms=0):
        return self.get("/v1/jobs/%s?wait_ms=%d" % (number, wait_ms))

    def disk(self, name, vm="web"):
        return nbd.Disk(self.nbd, "%s/%s" % (vm, name), PATIENCE)

    def image(self, name, point=None, vm="web"):
        at = "" if point is None else "@%d" % point
        return nbd.whole(self.nbd, "%s/%s%s" % (vm, name, at), PATIENCE)

    def log_tail(self, lines=40):
        """What is said again and again counts as one line."""
        with open(self.log, errors="replace") as log:
            runs = [(line, len(list(run))) for line, run in itertools.groupby(log)]
        return "".join(line if count == 1 else "%s  ... %d times\n" % (line, count)
                       for line, count in runs[-lines:])


CONFIGURATION = """site "%(name)s" {
	state = "%(name)s/state"
	storage = "%(name)s/storage"
	replicas = "%(name)s/replicas"
	control = "%(name)s.sock"
	nbd = "%(name)s.nbd"
	start-wait = "%(start_wait)s"
	retry = "10ms"
	retry-max = "100ms"
}
certificates {
	authority = "ca.pem"
	certificate = "%(name)s.pem"
	key = "%(name)s.key"
}
listen { address = "%(address)s" port = %(port)d }
peer "%(peer)s" { address = "127.0.0.1" port = %(peer_port)d }
authorise "%(peer)s" {
	verbs = {"enable", "receive", "reverse", "overwrite", "delete-points", "verify"}
	trust-group = "drill"
}
policy "fast" { interval = "%(interval)s" points = %(points)d }
%(vm)s
"""
