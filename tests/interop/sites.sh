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

# A port that nothing listens on now, below the ones that the kernel gives to whoever
# connects: one of those may be taken by a connection before the site asks for it.
free_port() {
	/usr/bin/python3 -c 'import random, socket
while True:
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", random.randrange(12000, 32000)))
        except OSError:
            continue
        print(s.getsockname()[1])
        break'
}

# site_conf NAME PORT PEER PEER_PORT [MORE]: writes $work/NAME.conf.
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
listen { address = "127.0.0.1" port = $2 }
peer "$3" { address = "127.0.0.1" port = $4 }
authorise "$3" {
	verbs = {"enable", "receive", "reverse", "overwrite", "delete-points", "verify"}
	trust-group = "drill"
}
policy "fast" { interval = "${interval:-1s}" points = 8 }
${5:-}
CONF
}

at() { # SITE VERB ...: a verb at that site, before a minute is over.
	local site=$1
	shift
	timeout 60 hvrepl "$@" --config "$work/$site.conf"
}
status_of() { # SITE VM FIELD
	at "$1" status "$2" --json | field "$3"
}
is() { # SITE VM FIELD VALUE
	[ "$(status_of "$1" "$2" "$3")" = "$4" ]
}

pairs="$TOP/tests/interop/nbd_pairs.py"

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
	within 15 is_connected east
}

# The two sites' disks as they are served, compared where the owner stands.
disk_of() { # SITE DISK [@POINT]: into a file; prints its name.
	local file="$work/$1-$2.out"
	rm -f "$file"
	nbdcopy "$(uri "$1" "web/$2${3:-}")" "$file"
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
# A point of now, at the standby.
point_now() { # OWNER STANDBY
	local cut
	at "$1" cut web --json
	cut=$(status_of "$1" web last_point)
	at "$2" wait web --point "$cut" --timeout 30 >/dev/null
	echo "$cut" >"$work/point"
}
same_at_point() { # OWNER STANDBY
	local point disk
	point_now "$1" "$2"
	point=$(cat "$work/point")
	for disk in root data log; do
		cmp "$(disk_of "$1" $disk)" "$(disk_of "$2" $disk "@$point")"
	done
}
is_connected() {
	[ "$(at "$1" status --json | field peers.0.connected)" = True ]
}
is_disconnected() {
	[ "$(at "$1" status --json | field peers.0.connected)" = False ]
}
initial_while_writing() {
	local writer
	at east enable web --peer west
	"$pairs" write "$work/east.nbd" web/data web/log 4 &
	writer=$!
	at east start-initial web
	at east wait web --state Replicating --timeout 40
	at west wait web --state Replicating --timeout 40
	wait $writer
	at west status
	same_at_point east west
}
