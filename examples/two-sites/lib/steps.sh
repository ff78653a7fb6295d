# SPDX-License-Identifier: Apache-2.0
# The drill's steps, in the order they are played.

some_files() { # MIB DIRECTORY...: into $tree, as many as fit, with their names.
	local most=$1
	shift
	find "$@" -type f -size -8M -printf '%s %p\0' 2>/dev/null |
		awk -v RS='\0' -v ORS='\0' -v most="$most" \
			'(sum += $1) < most * 2^20 { sub(/^[0-9]+ /, ""); print }' |
		xargs -0 cp --parents -t "$tree" 2>/dev/null || true
}
prepare() {
	local east west tree
	step "A CA, two certificates, two sites: east (primary) and west (secondary)"
	mkdir "$work/east" "$work/west" "$work/link" "$work/guest"
	make_ca
	make_cert east
	make_cert west
	east=$(free_port)
	west=$(free_port)
	to_east=$(free_port)
	to_west=$(free_port)
	vm='vm "web" {
	policy = "drill"
	disk "system" { path = "east/system.img" }
	disk "data" { path = "east/data.img" }
}'
	site_conf east "$east" west "$to_west" 1s "$vm"
	site_conf west "$west" east "$to_east" 1s

	step "The disks of VM web: a system disk with files, an empty data disk"
	# The file systems leave room at the end, for writers that use none.
	tree="$work/tree"
	mkdir "$tree"
	some_files 40 /usr/share/doc
	some_files 60 /usr/lib/x86_64-linux-gnu /usr/bin
	truncate -s 2G "$work/east/system.img"
	truncate -s 512M "$work/east/data.img"
	mke2fs -q -F -t ext4 -d "$tree" "$work/east/system.img" 1792M
	say "system: 2 GiB, ext4 with $(find "$tree" -type f | wc -l) files, $(human $(($(stat -c %b "$work/east/system.img") * 512))) used; data: 512 MiB, empty"
	rm -rf "$tree"

	start link "$drill/lib/link.py" "$work/link" "$to_east:$east" "$to_west:$west"
	start_site east
	start_site west
	within 20 connected east True || die "the sites do not connect"
	at east test-connection west | shown
}

# SQLite on ext4 on the data disk, through FUSE and a loop device; without
# them (or root) a file system with a database comes whole, through NBD.
database_start() {
	if [ "$(id -u)" = 0 ] && [ -e /dev/fuse ]; then
		mkdir -p "$work/fuse" "$work/mnt"
		start fuse nbdfuse "$work/fuse" "$(uri east data)" >"$work/fuse.log" 2>&1
		if within 5 test -s "$work/fuse/nbd" &&
		   mke2fs -q -F -t ext4 "$work/fuse/nbd" 384M &&
		   mount -o loop "$work/fuse/nbd" "$work/mnt"; then
			mounted=yes
			say "SQLite writes to ext4 on the data disk, mounted over NBD"
			start database "$drill/lib/database.py" "$work/mnt/app.db" 6 >"$work/database.said"
			return
		fi
		stop fuse
		umount -l "$work/fuse" 2>/dev/null || true
	fi
	say "There is no FUSE for us here: a file system with an SQLite database is put on the data disk over NBD"
	mkdir "$work/tree"
	"$drill/lib/database.py" "$work/tree/app.db" 2 >"$work/database.said"
	truncate -s 512M "$work/whole.img"
	mke2fs -q -F -t ext4 -d "$work/tree" "$work/whole.img" 384M
	rm -rf "$work/tree"
	start database nbdcopy "$work/whole.img" "$(uri east data)"
}
database_stop() {
	ended database || die "the database's writer failed: $(cat "$work/database.said")"
	if [ -n "$mounted" ]; then
		umount "$work/mnt"
		mounted=
		stop fuse
		umount -l "$work/fuse" 2>/dev/null || true
	fi
}
database_whole() { # SITE [@POINT]
	fetch "$1" "data${2:-}"
	e2fsck -fn "$work/fetched"
	rm -f "$work/app.db"
	debugfs -R "dump /app.db $work/app.db" "$work/fetched"
	[ "$(/usr/bin/python3 -c 'import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("pragma integrity_check").fetchone()[0])' \
		"$work/app.db")" = ok ]
}

drill_1_initial() {
	step "Drill 1: initial replication, while writers go on"
	begin
	at east enable web --peer west >/dev/null
	database_start
	start fio fio --name=load --ioengine=nbd --uri="$(uri east system)" --rw=randwrite \
		--bs=16k --offset=1800M --size=96M --time_based --runtime=6 --iodepth=4 \
		--rate=8M --output="$work/fio.log"
	say "fio writes at random to the system disk; the initial copy starts now"
	at east start-initial web | shown
	at west wait web --state Replicating --timeout 60s >/dev/null
	say "The replica is whole; the writers still write, or have just ended"
	ended fio || die "fio failed: $(cat "$work/fio.log")"
	database_stop
	say "The database: $(cat "$work/database.said")"
	point_now east west
	fetch east system
	mv "$work/fetched" "$work/guest/system.shadow"
	fetch east data
	mv "$work/fetched" "$work/guest/data.shadow"
	good "the replica is identical" same_as_shadow west "@$point"
	row "1 initial, while written" \
		$((($(stat -c %b "$work/guest/system.shadow") + $(stat -c %b "$work/guest/data.shadow")) * 512)) \
		"$point" "$verdict"
	begin
	good "e2fsck clean, database whole" database_whole west "@$point"
	row "1 the database at the replica" - "$point" "$verdict"
}

# Waits for the next point at the standby that was cut after now.
next_point() { # OWNER STANDBY
	point=$(($(status_of "$1" last_cut) + 1))
	at "$2" wait web --point "$point" --timeout 60s >/dev/null
}
# The guest pauses over one cut: that point is its shadow, byte for byte.
paused_point() { # OWNER STANDBY
	guest_pause
	next_point "$1" "$2"
	rm -rf "$work/cut"
	mkdir "$work/cut"
	cp "$work/$g/system.shadow" "$work/$g/data.shadow" "$work/cut/"
	guest_resume
	good "point $point is byte for byte what the guest had written at its cut" \
		same_as_shadow "$2" "@$point" cut
}
points_after() { # SITE N: the numbers of the points it holds, newer than N.
	at "$1" points web --json | /usr/bin/python3 -c 'import json, sys
for point in json.load(sys.stdin)["points"]:
    if point["point"] > int(sys.argv[1]) and not point["tail"]:
        print(point["point"])' "$2"
}
has_points() { # SITE N COUNT
	[ "$(points_after "$1" "$2" | wc -l)" -ge "$3" ]
}
point_time() { # SITE POINT: of its cut, in tenths of a second.
	at "$1" points web --json | /usr/bin/python3 -c 'import json, sys
print(next(p["utc_ns"] for p in json.load(sys.stdin)["points"]
           if p["point"] == int(sys.argv[1])) // 100000000)' "$2"
}
interval() { # SITE TIME: the operator edits the policy, the site takes it.
	sed -i "s/interval = \"[^\"]*\"/interval = \"$2\"/" "$work/$1.conf"
	at "$1" site reload | shown
}
# Both disks of each point against what the guest had written at its cut, by a
# digest of their whole content; the cuts must come in the guest's order.
by_digest() { # SITE POINT...
	local site=$1 one said last=0
	shift
	for one in "$@"; do
		said=$(guest digest "$work/$site.nbd" web "$work/$g" "@$one")
		[ "${said% *}" -ge "$last" ] || { echo "point $one is older than the one before"; return 1; }
		last=${said% *}
		echo "point $one: write $last, sha256 ${said#* }"
	done
}
drill_2_cycles() {
	local from first cut before count n
	step "Drill 2: twenty cycles at 1 second, two at 30 seconds"
	begin
	say "A guest writes to both disks, in one order, and knows what it wrote"
	echo 1 0 >"$work/guest/journal"
	guest_start east
	first=$(status_of west last_point)
	for n in 4 9 14; do
		within 60 has_points west "$first" $n || die "points do not come: $(at west status)"
		paused_point east west
	done
	within 60 has_points west "$first" 20 || die "points do not come: $(at west status)"
	say "Twenty cycles are over. The policy's interval becomes 30 s; no restart, the guest writes on"
	interval east 30s
	point_now east west
	before=$(point_time west "$point")
	count=$(points_after west "$first" | wc -l)
	changed=$(guest changed "$work/$g" 0)
	cut=$point
	good "$count points by digest, 3 byte for byte" \
		by_digest west $(points_after west "$first")
	sed -n '1p;$p' "$work/said" | shown
	row "2 cycles of 1 s" "$changed" "$point" "$verdict"

	begin
	from=$(guest_last)
	for n in 1 2; do
		next_point east west
		cut=$(point_time west "$point")
		say "Point $point was cut $(awk -v t=$((cut - before)) 'BEGIN { printf "%.1f", t / 10 }') s after the one before"
		before=$cut
	done
	good "both points by digest" by_digest west $((point - 1)) "$point"
	shown <"$work/said"
	stop guest
	row "2 cycles of 30 s" "$(guest changed "$work/$g" "$from")" "$point" "$verdict"
	interval east 1s
	point_now east west
	at east verify web | shown
}

# The VM moves from one site to the other while the guest writes.
move() { # FROM TO
	at "$2" failover web --planned | shown
	at "$2" wait web --ownership owner --timeout 30s >/dev/null
	point=$(status_of "$2" last_point)
}
settle() { # OWNER STANDBY: the failover is kept, replication turns round.
	at "$1" commit web | shown
	at "$1" reverse web | shown
	at "$2" wait web --state Replicating --ownership standby --timeout 60s >/dev/null
}
whole() { # SITE
	holds_all "$1"
	whole_shadow "$1"
}
# no_more BYTES ALLOWED: what was sent is in the order of what changed.
no_more() {
	[ "$1" -le "$2" ] || { echo "$1 bytes sent, at most $2 expected"; return 1; }
}

drill_3_planned() {
	local from changed
	step "Drill 3: planned failover to west, and back"
	begin
	from=$(guest_last)
	guest_start east
	sleep 1
	say "The guest writes; west takes over"
	move east west
	ended guest
	say "The guest at east: $(cat "$work/guest.said")"
	good "nothing lost: identical, e2fsck clean" whole west
	row "3 planned failover" "$(guest changed "$work/$g" "$from")" "$point" "$verdict"

	begin
	from=$(guest_last)
	settle west east
	guest_writes west 400
	changed=$(guest changed "$work/$g" "$from")
	say "The guest wrote at west: $(human "$changed") changed; back to east"
	move west east
	settle east west
	wire=$(($(carried) - row_wire))
	say "On the wire on the way back: $(human $wire); the disks are 2.5 GiB"
	good "only what changed travelled; identical, clean" \
		all "no_more $wire $((changed * 11 / 10 + (1 << 20)))" "whole east"
	row "3 fail back" "$changed" "$point" "$verdict"
}
