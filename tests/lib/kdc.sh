#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes a Kerberos realm of its own below DIR, for one run of one test:
#   kdc.sh DIR PRINCIPAL...     then: krb5kdc -n with DIR/env in the environment
# Each principal HVREPL/NAME gets DIR/NAME.keytab; "NAME=OPTIONS" gives options
# of addprinc. An unprivileged port that the system chose, on an address of 127/8 of
# its own: whoever connects comes from 127.0.0.1, so that nobody has it by the time
# that the KDC asks for it, or while it is down.
set -euo pipefail
PATH=/usr/sbin:/usr/bin:/sbin:/bin
dir=$1
shift
realm=HVREPL.TEST
enctypes=${KDC_ENCTYPES:-aes256-cts-hmac-sha384-192 aes128-cts-hmac-sha256-128}
mkdir -p "$dir/db" "$dir/rcache"
cd "$dir"
here=127.$((1 + ($$ >> 8) % 254)).$(($$ % 256)).254
port=$(/usr/bin/python3 -c 'import socket, sys
while True:
    tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    tcp.bind((sys.argv[1], 0))
    try:
        udp.bind(tcp.getsockname())
        break
    except OSError:
        pass
print(tcp.getsockname()[1])' "$here")
echo "$here $port" >address
cat >krb5.conf <<CONF
[libdefaults]
	default_realm = $realm
	dns_lookup_kdc = false
	dns_lookup_realm = false
	dns_canonicalize_hostname = false
	rdns = false
	udp_preference_limit = 1
	permitted_enctypes = $enctypes
	allow_weak_crypto = true
	allow_rc4 = true
	clockskew = ${KDC_CLOCKSKEW:-2}
	default_ccache_name = FILE:$dir/cc
	default_rcache_name = file2:$dir/rcache/seen
[realms]
	$realm = {
		kdc = $here:$port
	}
CONF
cat >kdc.conf <<CONF
[kdcdefaults]
	kdc_listen = $here:$port
	kdc_tcp_listen = $here:$port
[realms]
	$realm = {
		database_name = $dir/db/principal
		key_stash_file = $dir/db/stash
		max_life = 10h
		max_renewable_life = 1d
		supported_enctypes = $(printf '%s:normal ' $enctypes)
		master_key_type = aes256-cts-hmac-sha384-192
	}
[logging]
	kdc = FILE:$dir/kdc.log
CONF
cat >env <<ENV
export KRB5_CONFIG=$dir/krb5.conf KRB5_KDC_PROFILE=$dir/kdc.conf
ENV
. ./env
kdb5_util create -s -r $realm -P masterkey >create.log 2>&1
# One kadmin.local for all of them, which is where the time goes.
for entry in "$@"; do
	principal=${entry%%=*}
	options=${entry#"$principal"}
	name=${principal#*/}
	echo "addprinc -randkey ${options#=} $principal"
	echo "ktadd -norandkey -k $dir/$name.keytab $principal"
done | kadmin.local -r $realm >kadmin.log 2>&1
