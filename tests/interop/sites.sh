# SPDX-License-Identifier: Apache-2.0
# Two sites on this machine: a CA and certificates, their configurations.

# make_ca DIR NAME: a CA of its own.
make_ca() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout "$1/$2.key" -out "$1/$2.pem" -days 30 -subj "/CN=$2" \
		-addext basicConstraints=critical,CA:TRUE \
		-addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}
# make_cert DIR NAME CA DAYS: a certificate for both ends of a session.
make_cert() {
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout "$1/$2.key" -out "$1/$2.csr" -subj "/CN=$2" 2>/dev/null
	printf '%s\n' "subjectAltName=DNS:$2" \
		"extendedKeyUsage=serverAuth,clientAuth" \
		"keyUsage=critical,digitalSignature" \
		"basicConstraints=critical,CA:FALSE" >"$1/$2.ext"
	openssl x509 -req -in "$1/$2.csr" -CA "$1/$3.pem" -CAkey "$1/$3.key" \
		-CAcreateserial -days "$4" -out "$1/$2.pem" \
		-extfile "$1/$2.ext" 2>/dev/null
}

# All of 127/8 is this machine: a test that runs beside others listens on an address
# of its own, and whoever connects comes from 127.0.0.1. So a port that is free there
# stays free while a site is down, and no other test finds what listens on it.
here=127.$((1 + ($$ >> 8) % 254)).$(($$ % 256)).1
export here # To relay.py, greedy_peer.py and newer_peer.py.
# A port that nothing listens on now and that was not given out before, below the
# ones that the kernel gives to whoever wants any.
free_port() {
	/usr/bin/python3 -c 'import random, socket, sys
with open(sys.argv[2], "a+") as given:
    given.seek(0)
    ports = given.read().split()
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as s:
            try:
                s.bind((sys.argv[1], port))
            except OSError:
                continue
        if str(port) not in ports:
            break
    print(port, file=given)
    print(port)' "$here" "$work/ports"
}

# site_conf NAME PORT PEER PEER_PORT [MORE]: writes $work/NAME.conf. Of a policy's
# points there are as many as can be: the oldest goes when a new one comes, however
# slowly it is looked at. Where a former owner comes back to one that took over, its
# start_wait must be longer than the slowest machine takes to connect.
site_conf() {
	cat >"$work/$1.conf" <<CONF
site "$1" {
	state = "$1-state"
	storage = "$1-storage"
	replicas = "$1-replicas"
	control = "$1.sock"
	nbd = "$1.nbd"
	start-wait = "${start_wait:-1s}"
}
certificates {
	authority = "ca.pem"
	certificate = "$1.pem"
	key = "$1.key"
}
listen { address = "$here" port = $2 }
peer "$3" { address = "$here" port = $4 }
authorise "$3" {
	verbs = {"enable", "receive", "reverse", "overwrite", "delete-points", "verify"}
	trust-group = "drill"
}
policy "fast" { interval = "${interval:-1s}" points = 24 }
${5:-}
CONF
}

at() { # SITE VERB ...: a verb at that site, before three minutes are over.
	local site=$1
	shift
	timeout 180 hvrepl "$@" --config "$work/$site.conf"
}
status_of() { # SITE VM FIELD
	at "$1" status "$2" --json | field "$3"
}
is() { # SITE VM FIELD VALUE
	[ "$(status_of "$1" "$2" "$3")" = "$4" ]
}

# East has VM web with three disks, one of them ext4; west gets its replica.
two_sites_setup() {
	make_ca "$work" ca
	make_cert "$work" east ca 30
	make_cert "$work" west ca 30
	east_port=$(free_port)
	west_port=$(free_port)
	# Each site reaches the other through a relay that the test can cut.
	to_east=$(free_port)
	to_west=$(free_port)
	site_conf east "$east_port" west "$to_west" 'vm "web" {
	policy = "fast"
	disk "root" { path = "root.img" }
	disk "data" { path = "data.img" }
	disk "log" { path = "log.img" }
}'
	site_conf west "$west_port" east "$to_east"
	truncate -s 48M "$work/root.img" "$work/data.img" "$work/log.img"
	mke2fs -q -t ext4 -d "$TOP/src" "$work/root.img"
}
two_sites_start() {
	spawn relay1 "$TOP/tests/interop/relay.py" "$to_east" "$east_port" "$work/cut"
	spawn relay2 "$TOP/tests/interop/relay.py" "$to_west" "$west_port" "$work/cut"
	start_site east
	start_site west
	within 120 is_connected east
}

# The two sites' disks as they are served, compared where the owner stands.
disk_of() { # SITE DISK [@POINT]: into a file; prints its name.
	local file="$work/$1-$2.out"
	rm -f "$file"
	nbdcopy "$(uri "$1" "web/$2${3:-}")" "$file" || return 1
	echo "$file"
}
write_at() { # SITE DISK PATTERN OFFSET LENGTH
	qemu-io -f raw -c "write -P $3 $4 $5" -c flush "$(uri "$1" "web/$2")"
}
refused() { # SITE: writes end with an error.
	local out
	out=$(write_at "$1" data 0x77 1M 4k 2>&1) && { echo "$out"; return 1; }
	echo "$out" | grep -qi 'shutdown\|shut down'
}
# A point of now, at the standby. After a start of either they may not have met yet,
# or the session of before is only just found to be over.
cut_unless_alone() { # OWNER
	at "$1" cut web --json >"$work/cut.said" 2>&1 ||
		never grep -q 'HVREPL_E_UNAVAILABLE\|HVREPL_E_DISCONNECTED' "$work/cut.said"
}
point_now() { # OWNER STANDBY
	local cut
	within 120 cut_unless_alone "$1"
	cat "$work/cut.said"
	grep -q '"code":0' "$work/cut.said"
	cut=$(status_of "$1" web last_point)
	at "$2" wait web --point "$cut" --timeout 120 >/dev/null
	echo "$cut" >"$work/point"
}
holds() { # SITE POINT
	at "$1" points web --json >"$work/held" || return 0
	/usr/bin/python3 -c 'import json, sys
held = json.load(sys.stdin)["points"]
sys.exit(int(sys.argv[1]) not in [int(point["point"]) for point in held])' "$2" <"$work/held"
}
# copy_newest STANDBY DISK...: its disks at its newest point, in $work/STANDBY-DISK.out.
# Where newer ones came so fast that it has gone meanwhile, at another one.
copy_newest() {
	local standby=$1 point
	shift
	for _ in 1 2 3 4 5; do
		point=$(status_of "$standby" web last_point)
		! copied "$standby" "$point" "$@" || return 0
		never holds "$standby" "$point"
	done
	return 1
}
copied() { # SITE POINT DISK...
	local disk
	for disk in "${@:3}"; do
		disk_of "$1" "$disk" "@$2" || return 1
	done
}
# same_at_point OWNER STANDBY [DISK...]: while the guest writes nothing, each point
# from now on is the owner's disks.
same_at_point() {
	local owner=$1 standby=$2 disk
	shift 2
	[ $# -gt 0 ] || set -- root data log
	point_now "$owner" "$standby"
	copy_newest "$standby" "$@"
	for disk; do
		cmp "$(disk_of "$owner" "$disk")" "$work/$standby-$disk.out"
	done
}
is_connected() {
	[ "$(at "$1" status --json | field peers.0.connected)" = True ]
}
is_disconnected() {
	[ "$(at "$1" status --json | field peers.0.connected)" = False ]
}
initial_while_writing() {
	at east enable web --peer west
	start_writer east web/data web/log
	at east start-initial web
	at east wait web --state Replicating --timeout 120
	at west wait web --state Replicating --timeout 120
	stop_writer
	at west status
	same_at_point east west
}
