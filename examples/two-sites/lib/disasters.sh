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

estimate_of() { # SITE: bytes that it says were lost; empty: not known.
	at "$1" status web --json | /usr/bin/python3 -c 'import json, sys
loss = json.load(sys.stdin)["loss"] or {}
print(next((loss[name] for name in ("bytes", "said_bytes")
            if loss.get(name) is not None), ""))'
}

drill_4_unplanned() {
	local last lost changed kept tail epoch estimate
	step "Drill 4: the primary is killed in the middle of writes"
	begin
	point_now east west
	guest_start east
	sleep 2
	stop east KILL
	ended guest
	last=$(guest_last)
	say "SIGKILL to east's daemon. The guest: $(cat "$work/guest.said")"
	at west failover web --unplanned | shown
	at west wait web --ownership owner --timeout 20s >/dev/null
	kept=$(guest_check west)
	point=$(status_of west last_point)
	lost=$(guest changed "$work/$g" "$kept")
	estimate=$(estimate_of west)
	say "West stands at write $kept of $last. Lost: $((last - kept)) writes, $(human "$lost"); west estimated $([ -n "$estimate" ] && human "$estimate" || echo nothing)"
	cp -r "$work/$g" "$work/lost"
	guest forget "$work/$g" "$kept"
	good "one instant, e2fsck clean" whole_shadow west
	row "4 unplanned failover" "$lost" "$point" "$verdict; says what is lost"

	begin
	guest_writes west 300
	changed=$(guest changed "$work/$g" "$kept")
	start_site east
	at east wait web --ownership superseded --timeout 30s >/dev/null
	good "superseded: it refuses writes" refused east
	tail -n 1 "$work/said" | shown
	row "4 old primary comes back" - - "$verdict"

	begin
	settle west east
	point_now west east
	wire=$(($(carried) - row_wire))
	say "Changed: $(human "$changed") at west, $(human "$lost") lost at east; on the wire: $(human $wire)"
	good "only what differs travelled; identical" \
		all "no_more $wire $(((changed + lost) * 11 / 10 + (4 << 20)))" \
		"same_as_shadow east @$point"
	row "4 reverse" $((changed + lost)) "$point" "$verdict"

	begin
	read -r tail epoch <<<"$(tail_point east)" || true
	at east points web | shown
	good "the lost writes are readable there" tail_holds east "${tail:-0}" "$last"
	row "4 the lost end, at east" "$lost" "${tail:--}" "$verdict"
	begin
	at east discard web --epoch "$epoch" | shown
	within 10 no_tail east
	move west east
	settle east west
	good "back at east, protected, identical" whole east
	row "4 fail back" - "$point" "$verdict"
}

# What a site refuses is shown, and that it refuses is the verdict.
refuses() { # SITE VERB...
	local site=$1
	shift
	! at "$site" "$@"
}
drill_5_partition() {
	local kept tail epoch east west
	step "Drill 5: the sites cannot see each other, and both write"
	begin
	point_now east west
	touch "$work/link/cut"
	within 15 connected west False || die "the link is not cut"
	say "The link is cut. East's guest writes on; somebody starts a failover at west"
	guest_writes east 250
	say "The guest at east: $(cat "$work/guest.said")"
	at west failover web --unplanned | shown
	at west wait web --ownership owner --timeout 20s >/dev/null
	point=$(status_of west last_point)
	# Two guests from here on, each with a journal and a shadow of its own.
	cp -r "$work/$g" "$work/fork"
	kept=$(g=fork guest_check west)
	guest forget "$work/fork" "$kept"
	g=fork guest_writes west 150
	say "The guest at west: $(cat "$work/guest.said")"
	east=$(guest changed "$work/$g" "$kept")
	west=$(guest changed "$work/fork" "$kept")
	rm "$work/link/cut"
	at east wait web --ownership diverged --timeout 40s >/dev/null
	at west wait web --ownership diverged --timeout 40s >/dev/null
	say "The link is back. What the operator sees at east:"
	at east status web | shown
	say "And at west:"
	at west status web | shown
	say "The guests know: since then $(human "$east") were written at east, $(human "$west") at west"
	say "Neither is overwritten. To replicate from west to east, without choosing first:"
	good "diverged; refuses to overwrite either" refuses west reverse web
	shown <"$work/said"
	row "5 both sites write" $((east + west)) "$point" "$verdict"

	begin
	say "Comparing both sites with what their guests wrote, e2fsck on both"
	good "both histories whole, e2fsck clean" both_whole
	row "5 nothing is overwritten" - - "$verdict"

	begin
	epoch=$(status_of east epoch)
	say "The operator keeps west's history: east's epoch is to lose"
	at west commit web | shown
	at west discard web --epoch "$epoch" | shown
	at east wait web --ownership superseded --timeout 30s >/dev/null
	good "east refuses writes" refused east
	tail -n 1 "$work/said" | shown
	at west reverse web | shown
	at east wait web --state Replicating --ownership standby --timeout 60s >/dev/null
	point_now west east
	wire=$(($(carried) - row_wire))
	good "only what differs travelled; identical" \
		all "no_more $wire $(((east + west) * 11 / 10 + (4 << 20)))" "fork_at east @$point"
	row "5 east's epoch discarded" $((east + west)) "$point" "$verdict"

	begin
	read -r tail epoch <<<"$(tail_point east)" || true
	at east points web | shown
	good "readable, identical to what was written" same_as_shadow east "@${tail:-0}"
	row "5 the loser's end, at east" "$east" "${tail:--}" "$verdict"

	begin
	at east discard web --epoch "$epoch" | shown
	within 10 no_tail east
	g=fork
	move west east
	settle east west
	good "back at east, protected, identical" whole east
	row "5 fail back" - "$point" "$verdict"
}
both_whole() {
	whole_shadow east
	g=fork whole_shadow west
}
fork_at() { # SITE @POINT
	g=fork same_as_shadow "$@"
}
