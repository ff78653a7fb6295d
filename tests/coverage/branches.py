# SPDX-License-Identifier: Apache-2.0
# Branches and how often each was taken, as gcov tells it from a build.
import json
import os
import subprocess


class Line:
    """A line of a file that has branches."""

    def __init__(self, function):
        self.function = function
        self.counts = []
        self.excluded = 0

    def add(self, counts):
        if len(self.counts) < len(counts):
            self.counts += [0] * (len(counts) - len(self.counts))
        for index, count in enumerate(counts):
            self.counts[index] += count

    def left(self):
        return sum(1 for count in self.counts if count == 0)


class Branches:
    """Per file and line, added up over all objects that a line is part of."""

    def __init__(self, source, build):
        self.source = source
        self.lines = {}
        notes = []
        for place, _, names in os.walk(os.path.join(build, "src")):
            notes += [os.path.join(place, name) for name in names if name.endswith(".gcno")]
        for note in sorted(notes):
            self._read(note)

    def _read(self, note):
        ran = subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--stdout",
                              note], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True)
        for text in ran.stdout.splitlines():
            if text.startswith("{"):
                report = json.loads(text)
                for entry in report["files"]:
                    self._add(os.path.join(report["current_working_directory"],
                                           entry["file"]), entry["lines"])

    def _add(self, path, lines):
        name = os.path.relpath(os.path.realpath(path), os.path.realpath(self.source))
        # Not there: of a build before the file was removed.
        if not name.startswith("src/") or not os.path.exists(path):
            return
        file = self.lines.setdefault(name, {})
        for line in lines:
            if line["branches"]:
                number = line["line_number"]
                if number not in file:
                    file[number] = Line(line.get("function_name", ""))
                file[number].add([branch["count"] for branch in line["branches"]])

    def files(self):
        return sorted(self.lines)

    def count(self, prefixes):
        """Taken, excluded and missing in the files that begin so."""
        taken = excluded = missing = 0
        for name, file in self.lines.items():
            if not any(name.startswith(prefix) for prefix in prefixes):
                continue
            for line in file.values():
                left = line.left()
                taken += len(line.counts) - left
                excluded += min(line.excluded, left)
                missing += max(left - line.excluded, 0)
        return taken, excluded, missing

    def say_missing(self, wanted):
        for name in self.files():
            if wanted not in name:
                continue
            with open(os.path.join(self.source, name), encoding="utf-8") as text:
                rows = text.read().splitlines()
            for number, line in sorted(self.lines[name].items()):
                if line.left() > line.excluded:
                    print("%s:%d %s() %s: %s" % (
                        name, number, line.function,
                        "".join("+" if count else "-" for count in line.counts),
                        rows[number - 1].strip() if number <= len(rows) else "?"))
