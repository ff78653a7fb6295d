# SPDX-License-Identifier: Apache-2.0
# A story of cycles, all drawn from one seed: what fails, when, and who is killed.
import errno
import itertools
import random
import time

import pair as pairs
import proxy
from site_daemon import Down, Refused, FLUSHES, NAMES, READS, WRITES

FOREVER = (1 << 64) - 1
# So long a fault waits for somebody to meet it, in seconds: on a slow machine it takes
# its time, and a kind that nobody met in a whole deck is a failure.
MEETING = 30

FILES = {
    "EIO": (WRITES, errno.EIO), "ENOSPC": (WRITES | NAMES, errno.ENOSPC),
    "flush fails": (FLUSHES, errno.EIO), "EIO read": (READS, errno.EIO),
    "ENOSPC flush": (FLUSHES, errno.ENOSPC)}
MARKS = (WRITES, FLUSHES, NAMES, WRITES | FLUSHES | NAMES)

# What happens in a hundred cycles: (method of Story, its arguments).
DECK = (
    [("kill_owner",)] * 16 + [("kill_standby",)] * 16 + [("kill_both",)] * 6 +
    [("kill_at_mark", mask) for mask in MARKS] * 4 +
    [("fail_files", kind) for kind in FILES] * 3 +
    [("bad_link", kind) for kind in proxy.KINDS] * 3 +
    [("planned",)] * 6 + [("unplanned",)] * 4 + [("cancel",)] * 3)
assert len(DECK) == 100
HANDS = 4
# What faults() counts, each of which a whole deck must meet.
KINDS = (["kill", "kill at a mark", "power loss", "planned failovers",
          "unplanned failovers", "cancelled failovers"] +
         ["disk: " + kind for kind in FILES] + ["link: " + kind for kind in proxy.KINDS])


def cards(seed):
    """A story's cycles without end. Four seeds from a multiple of four on share
    out a deck, and another for every 25 cycles more: nothing stays away by chance."""
    for turn in itertools.count():
        deck = list(DECK)
        random.Random("%d %d" % (seed // HANDS, turn)).shuffle(deck)
        yield from deck[seed % HANDS::HANDS]


class Story:
    def __init__(self, certificates, seed, verbose, drop=False):
        self.pair = pairs.Pair(certificates, seed)
        self.drop = drop
        for site in self.pair.sites.values():
            site.control.set(drop=int(drop))
        self.random = self.pair.random
        self.verbose = verbose
        self.steps = []
        self.seed = seed
        self.cycles = 0

    def end(self):
        self.pair.end()

    def note(self, text):
        self.steps.append(text)
        if self.verbose:
            print("  %s" % text, flush=True)

    def history(self):
        text = "seed %d, the last of %d steps:\n" % (self.seed, len(self.steps))
        text += "".join("  %s\n" % step for step in self.steps[-12:])
        for site in self.pair.sites.values():
            text += "--- %s\n%s" % (site.name, site.log_tail())
            try:
                status = site.status()
                text += "%s\n" % {name: status[name] for name in (
                    "mode", "state", "ownership", "writable", "connected", "job",
                    "sentence", "reasons", "allowed_operations")}
            except (Down, Refused) as error:
                text += "%s\n" % error
        return text

    def faults(self):
        counts = dict(self.pair.faults)
        for relay in self.pair.proxies.values():
            for kind, count in relay.faults.items():
                counts["link: " + kind] = counts.get("link: " + kind, 0) + count
        return counts

    def tell(self, cycles):
        """Cycles, then everything heals and both sides are the same."""
        pair = self.pair
        pair.begin()
        pair.compare()
        for cycle, (act, *kind) in enumerate(itertools.islice(cards(self.seed), cycles), 1):
            started, kills = time.monotonic(), pair.kills
            getattr(self, act)(*kind)
            if pair.kills == kills:  # A mark beyond the end of what it was to hit.
                pair.kill(self.some_site())
            self.heal()
            pair.revive()
            pair.look(pair.owner)
            self.cycles = cycle
            if cycle % 5 == 0:
                pair.compare()
            self.note("  %.2f s" % (time.monotonic() - started))
        pair.compare()
        for site in pair.sites.values():
            site.kill(15)

    def wait_for(self, met, seconds=MEETING):
        """Until a fault has been met by what was to meet it, within reason."""
        end = time.monotonic() + seconds
        while not met() and time.monotonic() < end:
            time.sleep(0.002)
        return met()

    def heal(self):
        for relay in self.pair.proxies.values():
            if relay.mode != proxy.PASS:
                relay.set(proxy.PASS)
        for site in self.pair.sites.values():
            failed = site.control["failed"]
            if failed:
                self.pair.count("file calls that failed", failed)
                site.control.set(failed=0)
            site.control.clear()

    def write_a_while(self, most=0.05):
        writer = pairs.Writer(self.pair)
        time.sleep(self.random.uniform(0, most))
        return writer

    # ---- One cycle each. ----

    def kill_owner(self):
        self.note("kill the owner, %s" % self.pair.owner.name)
        writer = self.write_a_while()
        self.pair.kill(self.pair.owner)
        writer.stop()

    def kill_standby(self):
        self.note("kill the standby, %s" % self.pair.standby.name)
        writer = self.write_a_while()
        self.pair.kill(self.pair.standby)
        writer.stop()

    def kill_both(self):
        self.note("kill both")
        writer = self.write_a_while()
        order = [self.pair.owner, self.pair.standby]
        self.random.shuffle(order)
        for site in order:
            self.pair.kill(site)
        writer.stop()

    def some_site(self):
        return self.random.choice((self.pair.owner, self.pair.standby))

    def kill_at_mark(self, mask):
        site = self.some_site()
        number = self.random.choice((1, 1, 2, 3, 5, 8, 13, 21))
        late = self.random.random() < 0.5
        self.note("kill %s %s call %d of %d" % (
            site.name, "after" if late else "before", number, mask))
        self.pair.mark(site, number, late, mask)
        writer = pairs.Writer(self.pair)
        self.wait_for(lambda: not site.alive(), 0.4)
        writer.stop()
        if site.alive():
            self.pair.kill(site)
        self.pair.revive()

    def fail_files(self, kind):
        mask, number = FILES[kind]
        site = self.some_site()
        count = self.random.choice((1, 1, 3, 20, FOREVER))
        skip = self.random.randrange(6)
        self.note("%s at %s, %s calls after %d" % (
            kind, site.name, "all" if count == FOREVER else count, skip))
        site.control.set(fail_left=count, fail_skip=skip, fail_mask=mask,
                         fail_errno=number)
        writer = pairs.Writer(self.pair)
        if self.wait_for(lambda: site.control["failed"]):
            self.pair.count("disk: " + kind)
            time.sleep(self.random.uniform(0, 0.1))
        writer.stop()
        if self.drop and mask & FLUSHES and site is self.pair.owner and site.control["failed"]:
            self.pair.shadow.flush_failed()
        self.heal()
        self.pair.kill(site)

    def bad_link(self, kind):
        """On both ways to connect, or on the one in use: the other one heals it."""
        relays = list(self.pair.proxies.values())
        if self.random.random() < 0.3:
            relays = [relay for relay in relays if relay.sides] or relays
        self.note("link: %s%s" % (kind, "" if len(relays) > 1 else ", one way"))
        for relay in relays:
            relay.set(kind)
        writer = pairs.Writer(self.pair)
        self.wait_for(lambda: any(relay.met == kind for relay in relays))
        time.sleep(self.random.uniform(0, 0.1))
        self.pair.kill(self.some_site())
        self.pair.revive()
        time.sleep(self.random.uniform(0, 0.1))
        writer.stop()

    def planned(self):
        """With a kill in the middle of one of its parts."""
        pair = self.pair
        pair.settle()
        site, number = self.some_site(), self.random.randrange(1, 40)
        late = self.random.random() < 0.5
        part = self.random.choice(("failover", "rest"))
        self.note("planned failover to %s, %s killed at call %d of its %s" % (
            pair.standby.name, site.name, number, part))
        writer = pairs.Writer(pair)
        if part == "failover":
            pair.mark(site, number, late)
        pair.planned(at=self.some_site(), commit=False, writer=writer)
        if part == "rest":
            pair.mark(site, number, late)
        pair.commit_and_reverse()
        pair.count("planned failovers")

    def unplanned(self):
        pair = self.pair
        pair.compare()
        self.note("the owner %s is lost; unplanned failover" % pair.owner.name)
        writer = self.write_a_while()
        pair.kill(pair.owner)
        writer.stop()
        site, number = self.some_site(), self.random.randrange(1, 40)
        if site is pair.standby:
            pair.mark(site, number, self.random.random() < 0.5)
        pair.unplanned()
        pair.count("unplanned failovers")

    def cancel(self):
        pair = self.pair
        pair.compare()
        self.note("the owner %s is lost; unplanned failover, cancelled" % pair.owner.name)
        writer = self.write_a_while()
        pair.kill(pair.owner)
        writer.stop()
        number = self.random.randrange(1, 30)
        pair.unplanned(cancel=True, before_cancel=lambda: pair.mark(pair.standby, number))
        pair.count("cancelled failovers")
