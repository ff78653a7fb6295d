# SPDX-License-Identifier: Apache-2.0
# What the interop tests share: cases that count, a site to start and kill.
set -eu
TOP=${HVREPL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
BUILD=${HVREPL_BUILD:-$TOP/build}
PATH=$BUILD/bin:/usr/sbin:/sbin:$PATH
export PATH
LC_ALL=C
export LC_ALL

passed=0
failed=0
work=$(mktemp -d "${TMPDIR:-/tmp}/hvrepl-interop.XXXXXX")

# spawn NAME COMMAND...: starts what lasts longer than a case. Cases run in shells
# of their own, so what lasts lies in files: NAME.pid, and one list of all, with
# the time each started, for a number may be another process's by then.
spawn() {
	local name=$1
	shift
	"$@" 9>&- &
	echo $! >"$work/$name.pid"
	echo "$! $(start_time $!)" >>"$work/spawned"
}
start_time() { # PID
	sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}
end_spawned() {
	local pid time place
	while read -r pid time; do
		[ "$(start_time "$pid")" != "$time" ] || kill -KILL "$pid" 2>/dev/null || true
	done 2>/dev/null <"$work/spawned"
	while read -r place; do
		umount -l "$place" 2>/dev/null || true
	done 2>/dev/null <"$work/mounts"
}
# small_volume PLACE SIZE: a file system of its own there, until the end.
small_volume() {
	mkdir -p "$1"
	mount -t tmpfs -o "size=$2" tmpfs "$1" || return
	echo "$1" >>"$work/mounts"
}
: >"$work/spawned"
: >"$work/mounts"

# Runs at the end whatever happens; should this shell be killed, then the one
# that waits for the end of pipe 9 does the same.
cleanup() {
	end_spawned || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
mkfifo "$work/end"
(
	trap '' HUP INT TERM
	cat >/dev/null
	end_spawned
	rm -rf "$work"
) <"$work/end" >/dev/null 2>&1 &
disown
exec 9>"$work/end"

# With a sanitizer in the plugin, nbdkit needs its runtime first; see first.c.
if [ -e "$BUILD/tests/libsanitizer-first.so" ]; then
	runtime=$(ldd "$BUILD/lib/nbdkit/plugins/nbdkit-hvrepl-plugin.so" |
		awk '$1 ~ /^lib[at]san/ { print $3 }')
	mkdir "$work/bin"
	cat >"$work/bin/nbdkit" <<SCRIPT
#!/bin/sh
LD_PRELOAD="$runtime $BUILD/tests/libsanitizer-first.so" exec $(command -v nbdkit) "\$@"
SCRIPT
	chmod +x "$work/bin/nbdkit"
	PATH=$work/bin:$PATH
fi

# check NAME COMMAND...: one case. What it printed is shown when it fails.
check() {
	local name=$1 status=0
	shift
	# set -e does not reach into a function called under a condition, so
	# the case runs in a shell of its own.
	set +e
	(set -e; "$@") >"$work/case.log" 2>&1 9>&-
	status=$?
	set -e
	if [ $status = 0 ]; then
		passed=$((passed + 1))
		echo "ok    $name"
	else
		failed=$((failed + 1))
		echo "FAILED $name (status $status)"
		sed 's/^/    /' "$work/case.log"
		for log in "$work"/*.site.log; do
			[ -e "$log" ] && { echo "    --- ${log##*/}"; tail -n 15 "$log" | sed 's/^/    /'; }
		done
	fi
	return 0
}

finish() {
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
	exit
}

# fails STATUS TEXT COMMAND...: it ends with STATUS and says TEXT.
fails() {
	local status=$1 text=$2 got=0
	shift 2
	if [ "$(type -t "$1")" = function ]; then
		"$@" >"$work/said" 2>&1 || got=$?
	else
		timeout 120 "$@" >"$work/said" 2>&1 || got=$?
	fi
	cat "$work/said"
	if [ "$got" != "$status" ]; then
		echo "ended with $got, not with $status"
		return 1
	fi
	grep -qF -- "$text" "$work/said" || { echo "did not say: $text"; return 1; }
}

# never COMMAND...: it fails, whatever it says. A `!` in the middle of a case is no
# check: set -e takes no notice of it.
never() {
	if "$@"; then
		echo "it did not fail: $*"
		return 1
	fi
}

# within SECONDS COMMAND...: until it succeeds. The time is for a machine that is
# slow and has other things to do: 120 wherever nothing else is meant.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { echo "not within the time: $*"; return 1; }
		sleep 0.05
	done
}

# start_site NAME: runs $work/NAME.conf and waits until it answers and has opened what
# it can. One that a failed case left running ends first.
start_site() {
	[ ! -e "$work/$1.pid" ] || kill_site "$1"
	spawn "$1" hvrepl site run --config "$work/$1.conf" >>"$work/$1.site.log" 2>&1
	if ! within 120 answers_or_gone "$1" ||
		! hvrepl status --config "$work/$1.conf" >/dev/null; then
		tail -n 20 "$work/$1.site.log"
		return 1
	fi
}
# Its VMs are opened once it answers: until then operations on them are refused.
answers_or_gone() { # SITE
	if hvrepl status --config "$work/$1.conf" >"$work/up"; then
		! grep -q ': opening$' "$work/up"
	else
		gone "$(cat "$work/$1.pid")"
	fi
}
# logged SITE PATTERN: a site says what it does when it has done it, and so perhaps
# later than it answers.
logged() {
	within 120 grep -q -- "$2" "$work/$1.site.log"
}
# Gone, or a zombie that its parent has not looked at; the first thread is one
# before the others have let go of the sockets.
gone() {
	[ ! -e "/proc/$1" ] || {
		grep -q '^State:.Z' "/proc/$1/status" &&
			[ "$(ls "/proc/$1/task" | wc -l)" -le 1 ]
	}
}
kill_site() { # NAME [SIGNAL]
	local pid
	pid=$(cat "$work/$1.pid")
	kill "-${2:-KILL}" "$pid" 2>/dev/null || true
	within 120 gone "$pid"
	rm "$work/$1.pid"
}

uri() { # SITE EXPORT
	echo "nbd+unix:///$2?socket=$work/$1.nbd"
}

# start_writer SITE EXPORT EXPORT: pairs are written from now on, see nbd_pairs.py,
# until stop_writer in the same case.
pairs="$TOP/tests/interop/nbd_pairs.py"
start_writer() {
	spawn writer "$pairs" write "$work/$1.nbd" "$2" "$3" >"$work/writer.out"
	within 120 grep -q begun "$work/writer.out"
}
stop_writer() {
	local pid
	pid=$(cat "$work/writer.pid")
	kill -TERM "$pid"
	wait "$pid"
	cat "$work/writer.out"
}

# field NAME: an integer or string out of the JSON on stdin.
field() {
	/usr/bin/python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    value = value[int(name)] if isinstance(value, list) else value[name]
print(value)' "$1"
}
