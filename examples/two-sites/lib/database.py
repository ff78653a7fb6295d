#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# An application's database: database.py FILE SECONDS, a row per transaction.
import sqlite3
import sys
import time

database = sqlite3.connect(sys.argv[1])
database.execute("create table if not exists t(i integer primary key, v blob)")
end = time.monotonic() + float(sys.argv[2])
rows = 0
while time.monotonic() < end:
    with database:
        database.execute("insert into t(v) values (randomblob(3000))")
    rows += 1
    time.sleep(0.002)
database.close()
print("%d transactions in SQLite" % rows)
