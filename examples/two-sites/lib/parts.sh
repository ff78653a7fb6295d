# SPDX-License-Identifier: Apache-2.0
# What the drill's steps share: sentences, the table, sites, links, guests.

step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
shown() { sed 's/^/   | /'; } # What a command of the operator answers.
die() {
	printf 'two-sites: %s\n' "$*" >&2
	exit 1
}

# What runs in the background, by name; each is ended by its id at the end.
declare -A pids=()
mounted=
cleanup() {
	local name
	trap - EXIT
	trap '' INT TERM HUP # A second Ctrl-C does not stop the cleaning.
	exec 2>/dev/null # The shell tells of each process that is killed.
	set +e
	# Who writes first, what they write to last: so the mount lets go.
	for name in database fio guest; do
		[ -z "${pids[$name]:-}" ] || stop "$name" KILL
	done
	[ -z "$mounted" ] || umount "$work/mnt" || umount -l "$work/mnt"
	for name in "${!pids[@]}"; do
		kill -KILL "${pids[$name]}"
	done
	wait
	# Its server is gone: nothing but umount can tell that it is mounted.
	umount -l "$work/fuse"
	rm -rf "$work"
}
start() { # NAME COMMAND...
	local name=$1
	shift
	"$@" &
	pids[$name]=$!
}
stop() { # NAME [SIGNAL]: ends it and waits until it is gone.
	kill "-${2:-TERM}" "${pids[$1]}" 2>/dev/null || true
	wait "${pids[$1]}" 2>/dev/null || true
	unset "pids[$1]"
}
ended() { # NAME: waits for one that ends by itself; its status.
	local status=0
	wait "${pids[$1]}" || status=$?
	unset "pids[$1]"
	return $status
}
within() { # SECONDS COMMAND...
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# A verdict is a word when it holds and a loud one when not.
bad=0
good() { # WORDS COMMAND...: sets verdict.
	local words=$1 status=0
	shift
	# set -e does not reach into a function called under a condition, so
	# it runs in a shell of its own.
	set +e
	(trap - EXIT; set -e; "$@") >"$work/said" 2>&1
	status=$?
	set -e
	if [ $status = 0 ]; then
		verdict="$words"
		say "$verdict"
	else
		verdict="NOT: $words"
		bad=$((bad + 1))
		say "$verdict"
		sed 's/^/      /' "$work/said"
		for site in east west; do
			echo "      --- site $site"
			tail -n 12 "$work/$site.log" | sed 's/^/      /'
		done
	fi
}
all() { # COMMAND...: each a line of words.
	local one
	for one in "$@"; do
		$one
	done
}
human() { # BYTES
	awk -v b="$1" 'BEGIN { split("B KiB MiB GiB", u); i = 1
		while (b >= 1024 && i < 4) { b /= 1024; i++ }
		printf (i == 1 ? "%d %s" : "%.1f %s"), b, u[i] }'
}
now_ms() { date +%s%3N; }
carried() { # Bytes on the wire until now, counted by the link.
	sleep 0.15
	cat "$work/link/bytes" 2>/dev/null || echo 0
}
rows=()
begin() { # A row of the table starts here.
	row_ms=$(now_ms)
	row_wire=$(carried)
}
# row STEP CHANGED POINT VERDICT; time and wire are since begin.
row() {
	local took=$(($(now_ms) - row_ms)) changed=-
	[ "$2" = - ] || changed=$(human "$2")
	wire=$(($(carried) - row_wire))
	rows+=("$1|$(awk -v t=$took 'BEGIN { printf "%.1f s", t / 1000 }')|$(human $wire)|$changed|$3|$4")
}
table() {
	printf '\n'
	{
		echo "||bytes on|bytes|recovery|"
		echo "step|time|the wire|changed|point|verdict"
		printf '%s\n' "${rows[@]}"
	} | awk -F'|' '{ for (i = 1; i <= NF; i++) { cell[NR, i] = $i
			if (length($i) > wide[i]) wide[i] = length($i) } }
		END { for (r = 1; r <= NR; r++) {
			printf "%-" wide[1] "s", cell[r, 1]
			for (i = 2; i <= 5; i++) printf "  %" wide[i] "s", cell[r, i]
			print "  " cell[r, 6] } }'
}

# --- Certificates and sites.
make_ca() {
	"$hvrepl" cert init "$work" --name drill --days 2 >/dev/null
}
make_cert() { # SITE: good for both ends of a session.
	"$hvrepl" cert issue "$1" --ca "$work" --out "$work" --days 2 >/dev/null
}
free_port() {
	/usr/bin/python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}
site_conf() { # SITE PORT PEER PEER_PORT INTERVAL [MORE]
	cat >"$work/$1.conf" <<CONF
site "$1" {
	state = "$1/state"
	storage = "$1/storage"
	replicas = "$1/replicas"
	control = "$1.sock"
	nbd = "$1.nbd"
	start-wait = "1s"
}
certificates {
	authority = "ca.pem"
	certificate = "$1.pem"
	key = "$1.key"
}
listen { address = "127.0.0.1" port = $2 }
peer "$3" { address = "127.0.0.1" port = $4 }
authorise "$3" {
	verbs = {"enable", "receive", "reverse", "overwrite", "delete-points", "verify"}
	trust-group = "drill"
}
policy "drill" { interval = "$5" points = 24 }
${6:-}
CONF
}
at() { # SITE VERB...
	local site=$1
	shift
	timeout --foreground 90 "$hvrepl" "$@" --config "$work/$site.conf"
}
json() { # FIELD.FIELD: out of the JSON on stdin.
	/usr/bin/python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    value = value[int(name)] if isinstance(value, list) else value[name]
print(value)' "$1"
}
status_of() { # SITE FIELD
	at "$1" status web --json | json "$2"
}
connected() { # SITE True|False
	[ "$(at "$1" status --json | json peers.0.connected)" = "$2" ]
}
start_site() {
	start "$1" "$hvrepl" site run --config "$work/$1.conf" >>"$work/$1.log" 2>&1
	within 20 "$hvrepl" status --config "$work/$1.conf" || {
		tail -n 20 "$work/$1.log" >&2
		die "site $1 does not start"
	}
}
uri() { # SITE DISK[@POINT]
	echo "nbd+unix:///web/$2?socket=$work/$1.nbd"
}

# --- The guest that knows what it wrote; $g is the directory of its journal.
g=guest
guest() { "$drill/lib/guest.py" "$@"; }
guest_start() { # SITE
	start guest "$drill/lib/guest.py" write "$work/$1.nbd" web "$work/$g" >"$work/guest.said"
}
guest_writes() { # SITE COUNT: as fast as it goes.
	guest write "$work/$1.nbd" web "$work/$g" "$2" >"$work/guest.said"
}
guest_pause() {
	touch "$work/$g/pause"
	within 10 test -e "$work/$g/paused" || die "the guest does not pause"
}
guest_resume() { rm -f "$work/$g/pause"; }
guest_last() { guest last "$work/$g"; }
# guest_check SITE [@POINT]: prints how many of its writes are there; fails if
# they are not exactly the first ones.
guest_check() { guest check "$work/$1.nbd" web "$work/$g" "${2:-}"; }
holds_all() { # SITE [@POINT]: every write that was acknowledged.
	local newest
	newest=$(guest_check "$@")
	[ "$newest" = "$(guest_last)" ] || { echo "$newest, not $(guest_last)"; return 1; }
}
# fetch SITE DISK[@POINT]: what it serves, as a sparse file.
fetch() {
	rm -f "$work/fetched"
	nbdcopy "$(uri "$1" "$2")" "$work/fetched"
}
same_as_shadow() { # SITE [@POINT [DIR]]
	local disk
	for disk in system data; do
		fetch "$1" "$disk${2:-}"
		guest same "$work/fetched" "$work/${3:-$g}/$disk.shadow"
	done
}
# Identical, and their file systems clean.
whole_shadow() { # SITE
	local disk
	for disk in system data; do
		fetch "$1" "$disk"
		guest same "$work/fetched" "$work/$g/$disk.shadow"
		e2fsck -fn "$work/fetched"
	done
}
refused() { # SITE: a write ends with ESHUTDOWN.
	local out
	out=$(qemu-io -f raw -c "write -P 1 1910M 4k" "$(uri "$1" system)" 2>&1) && return 1
	echo "$out"
	echo "$out" | grep -qi 'shutdown\|shut down'
}
# A point of now at the standby; its number in $point.
point_now() { # OWNER STANDBY
	at "$1" cut web >/dev/null
	point=$(status_of "$1" last_point)
	at "$2" wait web --point "$point" --timeout 30s >/dev/null
}
