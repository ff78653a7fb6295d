# SPDX-License-Identifier: Apache-2.0
# Two sites of one VM, their guest, and an operator who asks again until it is so.
import os
import random
import re
import shutil
import tempfile
import threading
import time

import nbd
import powerloss
import proxy
from shadow import SECTOR, Shadow
from site_daemon import Down, Failure, PATIENCE, Refused, Site, free_port, own_address

# One disk in sectors: small, so that it is read whole again and again.
SECTORS = 1024
DISKS = ("data", "log")
NOTHING, UNFLUSHED, POWER = range(3)
# What takes longer than this, in seconds, is told: it may wait for nothing.
SLOW = 5


class Writer(threading.Thread):
    """Writes at the owner until it is told to stop, refused, or cut off."""

    def __init__(self, pair):
        super().__init__(daemon=True)
        self.pair = pair
        self.site = pair.owner
        self.stopping = False
        self.failure = None
        self.start()

    def run(self):
        try:
            while not self.stopping and self.pair.write_some(self.site, 4):
                pass
        except Exception as error:  # Told to the thread that ends it.
            self.failure = error

    def stop(self):
        self.stopping = True
        self.join(PATIENCE)
        if self.is_alive():
            raise Failure("a guest's write hangs")
        if self.failure is not None:
            raise self.failure


class Pair:
    def __init__(self, certificates, seed, power=True, say=None):
        self.random = random.Random(seed)
        self.power = power          # A kill may also be a power loss.
        self.say = say or (lambda text: None)
        self.folder = tempfile.mkdtemp(prefix="hvrepl-chaos.")
        self.kills = 0
        self.guest = threading.Lock()
        # What each site may have lost since its disks were last looked at.
        self.lost = {"east": NOTHING, "west": NOTHING}
        # How many writes were acknowledged when a site last lost power.
        self.lost_at = {}
        self.faults = {}
        self.slow = []
        self.sites = {}
        self.proxies = {}
        self.shadow = Shadow(DISKS, SECTORS)
        for name in os.listdir(certificates):
            shutil.copy(os.path.join(certificates, name), self.folder)
        vm = 'vm "web" {\n\tpolicy = "fast"\n'
        for disk in DISKS:
            vm += '\tdisk "%s" { path = "east/%s.img" }\n' % (disk, disk)
        listen = {}
        for name in ("east", "west"):
            address = own_address()
            listen[name] = (address, free_port(address))
        for name in listen:
            self.proxies[name] = proxy.Proxy(0, listen[name])
        for name, peer in (("east", "west"), ("west", "east")):
            self.sites[name] = Site(self.folder, name, listen[name], peer,
                                    self.proxies[peer].port,
                                    vm + "}\n" if name == "east" else "")
        for disk in DISKS:
            with open(os.path.join(self.folder, "east", disk + ".img"), "wb") as image:
                image.truncate(SECTORS * SECTOR)
        self.owner, self.standby = self.sites["east"], self.sites["west"]

    def end(self):
        for site in self.sites.values():
            site.end()
        for relay in self.proxies.values():
            relay.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def count(self, kind, by=1):
        self.faults[kind] = self.faults.get(kind, 0) + by

    # ---- The guest. ----

    def write_some(self, site, count):
        """True when all of them were acknowledged."""
        with self.guest:  # One write at a time is what the shadow knows.
            return self.write_now(site, count)

    def write_now(self, site, count):
        shadow, pick = self.shadow, self.random
        disks = {}
        try:
            for _ in range(count):
                disk = pick.choice(DISKS)
                length = pick.choice((1, 1, 3, 8, 8, 24))
                at = pick.randrange(SECTORS - length + 1)
                zero = pick.random() < 0.1
                if disk not in disks:
                    disks[disk] = site.disk(disk)
                number, data = shadow.begin(disk, at, length, zero)
                try:
                    if zero:
                        disks[disk].zero(at * SECTOR, length * SECTOR)
                    else:
                        disks[disk].write(at * SECTOR, data)
                except nbd.Refused:
                    return False  # It may have been made, or not.
                shadow.done(number, disk, at, length)
                if pick.random() < 0.1:
                    for open_disk in DISKS:
                        if open_disk not in disks:
                            disks[open_disk] = site.disk(open_disk)
                        disks[open_disk].flush()
                    shadow.flush_done(number)
            return True
        except (nbd.Gone, nbd.Refused):
            return False
        finally:
            for disk in disks.values():
                disk.close()

    def images(self, site, point=None):
        return {disk: site.image(disk, point) for disk in DISKS}

    # ---- Kills and starts. ----

    def kill(self, site):
        if site.alive():
            site.kill()
            self.count("kill")
        self.after_death(site)

    def after_death(self, site):
        """It is dead, by whatever: perhaps its machine lost power."""
        site.kill()
        site.control.clear()
        self.kills += 1
        powerloss.trim(site.journal)
        # On an overlay what is written counts with the next flush: which blocks
        # it holds is known to the daemon alone until then.
        if self.on_overlay(site):
            self.lost[site.name] = max(self.lost[site.name], UNFLUSHED)
        if self.power and self.random.random() < 0.5:
            powerloss.lose_power(site.home, site.journal, site.keep, self.random)
            self.lost[site.name] = POWER
            self.lost_at[site.name] = self.shadow.writes
            self.count("power loss")
        # A guest that goes on writing flushes what it writes from now on: that says
        # nothing of what it wrote before and what is gone.
        if self.lost[site.name] != NOTHING:
            with self.guest:
                self.shadow.flush_failed()

    def on_overlay(self, site):
        return any(name.startswith("store.ovl.")
                   for _, _, names in os.walk(site.home) for name in names)

    def start(self, site, alone=False):
        if not site.start(alone=alone):
            raise Failure("site %s did not start" % site.name)

    def revive(self):
        """Starts again what was killed at a mark."""
        for site in self.sites.values():
            if site.process is not None and not site.alive():
                self.count("kill at a mark")
                self.after_death(site)
            if site.process is None:
                self.start(site)

    def mark(self, site, number, late=False, mask=7):
        site.control.set(marks=0, kill_mask=mask, kill_late=int(late), kill_at=number)

    # ---- The operator. ----

    def until(self, what, reached, act=None, seconds=PATIENCE):
        """Acts again and again until it is so; the last refusal is told."""
        started = time.monotonic()
        end = started + seconds
        said = "never asked"
        while True:
            try:
                if reached():
                    if time.monotonic() > started + SLOW:
                        self.slow.append("%s took %.1f s; %s" % (
                            what, time.monotonic() - started, said))
                    return
            except (Down, Refused) as error:
                said = str(error)
            self.one_writer()
            if time.monotonic() > end:
                raise Failure("%s: not within %d s; %s" % (what, seconds, said))
            self.revive()
            try:
                if act is not None:
                    act()
            except (Down, Refused) as error:
                said = str(error)
            time.sleep(0.01)

    def one_writer(self):
        """Never do both sites let a guest write."""
        try:
            if all(self.sites[name].status()["writable"]
                   for name in ("west", "east", "west")):
                self.fail("both sites let their guests write")
        except (Down, Refused):
            pass

    def operate(self, site, operation, **more):
        """One request, followed to its end or the daemon's."""
        job = site.operate(operation, **more)
        end = time.monotonic() + 15
        while time.monotonic() < end:
            answer = site.job(job, 200)
            if answer["done"]:
                if answer["code"] < 0:
                    raise Refused({"name": str(answer["code"]),
                                   "sentence": answer["sentence"]})
                return answer
            # It may wait for the other site, killed at a mark meanwhile.
            self.revive()
        raise Down("the job goes on")

    def ask(self, site, operation, reached, **more):
        self.until("%s at %s" % (operation, site.name), reached,
                   lambda: self.operate(site, operation, **more))

    def writable(self, site):
        status = site.status()
        return status["writable"] and status["ownership"] == "owner"

    def replicating(self):
        owner, standby = self.owner.status(), self.standby.status()
        return (owner["state"] == standby["state"] == "Replicating" and
                owner["ownership"] == "owner" and owner["writable"] and
                standby["ownership"] == "standby" and owner["connected"])

    def mend(self):
        """What an operator does about a pair that does not replicate."""
        for site in (self.owner, self.standby):
            allowed = site.status()["allowed_operations"]
            state = site.status()["state"]
            if state in ("Error", "Suspended", "ResynchronizeSuspended") and "resume" in allowed:
                self.operate(site, "resume")
            elif "resync" in allowed and state.startswith("WaitingForStart"):
                self.operate(site, "resync")

    def settle(self):
        self.until("both replicate", self.replicating, self.mend)

    def begin(self):
        for site in self.sites.values():
            self.start(site)
        self.until("sites connect", lambda: self.owner.get("/v1/status")["peers"][0]["connected"])
        # Somebody may be killed while it is enabled, or soon after.
        if self.random.random() < 0.5:
            self.mark(self.random.choice((self.owner, self.standby)),
                      self.random.randrange(1, 60), self.random.random() < 0.5)
        self.until("enable", lambda: self.owner.status()["mode"] == "Primary",
                   lambda: self.operate(self.owner, "enable", peer="west"))
        self.write_some(self.owner, 30)
        self.until("initial replication", self.replicating,
                   lambda: self.operate(self.owner, "start-initial"))
        for site in self.sites.values():
            site.control.clear()
        self.revive()
        self.look(self.owner)

    # ---- What must hold. ----

    def fail(self, what):
        raise Failure(what)

    def look(self, site):
        """The owner's disks hold what its guest was promised."""
        self.until("%s serves" % site.name, lambda: self.writable(site))
        images = self.images(site)
        lost = self.lost[site.name]
        wrong = (self.shadow.check_durable(images) if lost else
                 self.shadow.check_now(images))
        if wrong:
            self.fail("site %s after %s: %s" % (
                site.name, ("a kill", "a kill on an overlay", "a power loss")[lost],
                wrong))
        self.lost[site.name] = NOTHING
        # What is seen after a power loss is on the disks, but for what was
        # written since.
        self.shadow.settle(images, lost == POWER and
                           self.lost_at[site.name] == self.shadow.writes)

    def compare(self):
        """The newest point of the standby is the owner's disks, byte for byte."""
        self.settle()

        def same():
            number = self.shadow.number
            self.operate(self.owner, "cut")
            images = self.images(self.owner)
            point = self.standby.status()["last_point"]
            try:
                copies = self.images(self.standby, point)
            except nbd.Gone:
                return False  # It has just gone from the list.
            for disk in DISKS:
                if images[disk] != copies[disk]:
                    self.fail("point %d differs from disk %s" % (point, disk))
            self.shadow.pointed = number
            return True

        self.until("a point at the standby", same, self.settle)

    def planned(self, at=None, commit=True, writer=None):
        """Planned failover; whoever is killed is started, and asked again."""
        target = self.standby
        self.ask(at or target, "planned-failover", lambda: self.writable(target))
        if writer is not None:
            writer.stop()
        images = self.images(target)
        # Without a power loss nothing that was acknowledged may be missing; the
        # source's own loss counts, the target holds what was handed over.
        wrong = (self.shadow.check_durable(images) if self.lost[self.owner.name] else
                 self.shadow.check_now(images))
        if wrong:
            self.fail("after the planned failover: %s" % wrong)
        self.lost = dict.fromkeys(self.lost, NOTHING)
        self.shadow.settle(images, True)
        self.owner, self.standby = target, self.owner
        if commit:
            self.commit_and_reverse()

    def commit_and_reverse(self, between=None):
        owner, standby = self.owner, self.standby
        self.ask(owner, "commit",
                 lambda: owner.status()["state"] != "FailedOverWaitingCompletion")
        if between is not None:
            between()
        self.write_some(owner, 4)

        def reverse():
            try:
                self.operate(owner, "reverse")
            except Refused as error:
                # The lost end of an earlier failover is still kept there.
                lost = re.search(r"lost epoch ([0-9a-f-]{36})", error.sentence)
                if lost is None:
                    raise
                self.operate(standby, "discard", epoch=lost.group(1))

        self.until("reverse at %s" % owner.name, lambda: self.replicating() or
                   standby.status()["ownership"] == "standby" and
                   owner.status()["mode"] == "Primary", reverse)
        self.settle()

    def unplanned(self, cancel=False, before_cancel=None, before_start=None):
        """The owner is dead. The standby takes over, at one instant of the past
        that is not before the last point it is known to hold."""
        target, old = self.standby, self.owner
        shadow = self.shadow
        self.ask_alone(target, "unplanned-failover", lambda: self.writable(target))
        images = self.images(target)
        _, wrong = shadow.check_instant(images, shadow.pointed)
        if wrong:
            self.fail("after the unplanned failover: %s" % wrong)
        if cancel:
            kept = shadow.copy()
            shadow.settle(images, True)
            self.write_some(target, 4)
            if before_cancel is not None:
                before_cancel()
            self.ask_alone(target, "cancel", lambda: target.status()["ownership"] == "standby")
            kept.number = shadow.number
            self.shadow = kept
            self.start(old)
            self.look(old)
            self.settle()
            return
        shadow.settle(images, True)
        self.owner, self.standby = target, old
        self.lost = dict.fromkeys(self.lost, NOTHING)
        self.write_some(target, 4)
        if before_start is not None:
            before_start()
        old.start()  # It may be killed while it starts.
        self.until("the old owner is superseded",
                   lambda: old.status()["ownership"] == "superseded")
        self.commit_and_reverse()

    def ask_alone(self, site, operation, reached, **more):
        """As ask(), with the other site down."""
        other = self.sites["west" if site.name == "east" else "east"]
        assert other.process is None

        def revive_one():
            if site.process is not None and not site.alive():
                self.count("kill at a mark")
                self.after_death(site)
            if site.process is None:
                self.start(site, alone=True)

        saved, self.revive = self.revive, revive_one
        try:
            self.ask(site, operation, reached, **more)
        finally:
            self.revive = saved
