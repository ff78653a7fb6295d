# SPDX-License-Identifier: Apache-2.0
# The list of branches that nothing can take: read, and held against the source.
import os
import re

KINDS = {
    "invariant": "held by the code that makes the value",
    "checked": "refused before, by the code named",
    "compiler": "made by the compiler, not in the source",
    "size": "would take more than a test can make",
    "race": "another thread between two instructions; taken now and then, or not",
}


class Mistake(Exception):
    """The list itself cannot be read."""


class Entry:
    def __init__(self, where, fields):
        self.where = where
        self.file, self.function, number, self.kind, self.text, self.why = fields
        self.number = int(number)


class Exclusions:
    """Lines FILE | FUNCTION | BRANCHES | KIND | TEXT OF THE LINE | WHY."""

    def __init__(self, path):
        self.entries = []
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                where = "%s:%d" % (os.path.basename(path), number)
                # A space on both sides: a || in the text is not taken for two.
                fields = [field.strip() for field in re.split(r"\s\|\s", line.strip())]
                if (len(fields) != 6 or not all(fields) or fields[3] not in KINDS or
                        not re.fullmatch(r"[1-9][0-9]*", fields[2])):
                    raise Mistake("%s: not FILE | FUNCTION | BRANCHES | KIND | TEXT | WHY"
                                  % where)
                self.entries.append(Entry(where, fields))

    def apply(self, branches, source):
        """Marks them; what no longer is as the list says."""
        wrong = []
        for entry in self.entries:
            found = self._lines(entry, branches, source)
            if len(found) != 1:
                wrong.append("%s: %d lines of %s() in %s read so and have branches: %s" % (
                    entry.where, len(found), entry.function, entry.file, entry.text))
            elif entry.kind == "race" and found[0].left() < entry.number:
                found[0].excluded = found[0].left()
            elif found[0].left() != entry.number:
                wrong.append("%s: %d branches were not taken, not %d: %s" % (
                    entry.where, found[0].left(), entry.number, entry.text))
                found[0].excluded = min(entry.number, found[0].left())
            else:
                found[0].excluded = entry.number
        return wrong

    @staticmethod
    def _lines(entry, branches, source):
        try:
            with open(os.path.join(source, entry.file), encoding="utf-8") as file:
                rows = file.read().splitlines()
        except OSError:
            return []
        return [line for number, line in sorted(branches.lines.get(entry.file, {}).items())
                if line.function == entry.function and number <= len(rows) and
                rows[number - 1].strip() == entry.text]

    def say(self):
        for kind, meaning in KINDS.items():
            entries = [entry for entry in self.entries if entry.kind == kind]
            print("excluded: %4d branches of %3d lines, %s: %s" % (
                sum(entry.number for entry in entries), len(entries), kind, meaning))
