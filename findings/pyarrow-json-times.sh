#!/usr/bin/env bash
# pyarrow 26.0.1: its reader of JSON lines and its reader of CSV disagree on the same RFC 3339 time in UTC.
#
# Seen: `2027-01-15T08:00:00Z` is `timestamp[s]`, without a zone, where pyarrow.json reads it, and `timestamp[s, tz=UTC]` where
# pyarrow.csv does. With a fraction of a second (`2027-01-15T08:00:00.500000Z`) pyarrow.json leaves it as `string`, while pyarrow.csv reads
# `timestamp[ns, tz=UTC]`. So the type of a column of JSON depends on whether its times happen to be whole seconds.
#
# It matters to whoever exports records with times for such tools: in JSON lines a column of times has one type only if every time has a
# fraction (text then), and the zone survives in CSV alone.
#
# Needs python3 with venv. Runs by itself, in a temporary folder; exit code 1 if pyarrow does otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1
cat >times.py <<'END'
import io
import sys

import pyarrow.csv
import pyarrow.json

wanted = {
    "2027-01-15T08:00:00Z": ("timestamp[s]", "timestamp[s, tz=UTC]"),
    "2027-01-15T08:00:00.500000Z": ("string", "timestamp[ns, tz=UTC]"),
}
same = True
for text, types in wanted.items():
    by_json = pyarrow.json.read_json(io.BytesIO(f'{{"t": "{text}"}}\n'.encode()))
    by_csv = pyarrow.csv.read_csv(io.BytesIO(f"t\n{text}\n".encode()))
    seen = tuple(str(it.schema.field("t").type) for it in (by_json, by_csv))
    print(f"{text:<28} json: {seen[0]:<14} csv: {seen[1]}")
    same &= seen == types
sys.exit(0 if same else 1)
END
venv/bin/python times.py
