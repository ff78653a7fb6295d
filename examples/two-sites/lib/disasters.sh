# SPDX-License-Identifier: Apache-2.0
# The drill's disasters: a primary that is killed, sites that cannot see each other.

tail_point() { # SITE: the number of the kept end of a lost epoch, or nothing
	at "$1" points web --json | /usr/bin/python3 -c 'import json, sys
for point in json.load(sys.stdin)["points"]:
    if point["tail"]:
        print(point["point"], point["epoch"])'
}
tail_holds() { # SITE POINT NUMBER: what was acknowledged, and never arrived.
	local newest
	newest=$(g=lost guest_check "$1" "@$2")
	[ "$newest" = "$3" ] || [ "$newest" = $(($3 - 1)) ] || { echo "$newest, not $3"; return 1; }
}
no_tail() { [ -z "$(tail_point "$1")" ]; }

drill_4_unplanned() {
	local last lost changed kept tail
	step "Drill 4: the primary is killed in the middle of writes"
	begin
	point_now east west
	guest_start east
	sleep 2
	stop east KILL
	ended guest
	last=$(guest_last)
	say "SIGKILL to east's daemon. The guest: $(cat "$work/guest.said")"
	at west failover web --unplanned
	at west wait web --ownership owner --timeout 20s >/dev/null
	kept=$(guest_check west)
	point=$(status_of west last_point)
	lost=$(guest changed "$work/$g" "$kept")
	say "West stands at write $kept of $last: $((last - kept)) writes ($(human "$lost")) are lost"
	cp -r "$work/$g" "$work/lost"
	guest forget "$work/$g" "$kept"
	good "one instant, e2fsck clean" whole_shadow west
	row "4 unplanned failover" - "$point" "$verdict"

	begin
	guest_writes west 300
	changed=$(guest changed "$work/$g" "$kept")
	start_site east
	at east wait web --ownership superseded --timeout 30s >/dev/null
	good "the old primary is superseded and refuses writes" refused east
	row "4 the old primary comes back" - - "$verdict"

	begin
	settle west east
	point_now west east
	wire=$(($(carried) - row_wire))
	say "Changed: $(human "$changed") at west, $(human "$lost") lost at east; on the wire: $(human $wire)"
	good "only what differs travelled" no_more $wire $(((changed + lost) * 11 / 10 + (4 << 20)))
	[ "${verdict#NOT}" != "$verdict" ] || good "$verdict; identical" same_as_shadow east "@$point"
	row "4 reverse" $((changed + lost)) "$point" "$verdict"

	begin
	read -r tail epoch <<<"$(tail_point east)" || true
	at east points web
	good "the lost writes are readable as point ${tail:-?}" tail_holds east "${tail:-0}" "$last"
	row "4 the lost tail at east" "$lost" "${tail:--}" "$verdict"
	begin
	at east discard web --epoch "$epoch"
	within 10 no_tail east
	move west east
	settle east west
	good "tail discarded; back at east, identical" whole east
	row "4 fail back" - - "$verdict"
}
whole_shadow() { # SITE
	same_as_shadow "$1"
	file_systems_clean "$1"
}
