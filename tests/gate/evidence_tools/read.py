"""Opens the exports in a folder as their readers do, and prints what each reader found: as JSON, by reader and format.

Nothing is told to a reader that its user would have to know beforehand, but for one thing that `docs/evidence.md` says: pyarrow reads the
stored records with a schema that leaves their facts out.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import pandas
import pyarrow
import pyarrow.csv
import pyarrow.json

FOLDER = Path(sys.argv[1])
FORMATS = ["jsonl", "flat-jsonl", "csv", "grants-csv"]
# The columns whose values are compared, that of the id first.
RECORD = "hash chain n occurred_at what request_id grant_id correlation_id stored_at fact".split()
GRANT = "grant_id request_id requested_by port reason decided_at shut_at late_seconds break_glass".split()
COLUMNS = {"jsonl": ["hash", "chain", "n"], "flat-jsonl": RECORD, "csv": RECORD, "grants-csv": GRANT}
TIMES = {
    "csv": ["occurred_at"],
    "grants-csv": ["asked_at", "decided_at", "starts_at", "opened_at", "agreed_end", "shut_at"],
}
STORED = pyarrow.schema(
    [(name, pyarrow.string()) for name in ["chain", "at", "prev", "hash"]] + [("n", pyarrow.int64())]
)


def path(form):
    [found] = [it for it in (FOLDER / form).iterdir() if it.name != "manifest.json"]
    return str(found)


def with_duckdb(form):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    read = "read_csv" if form.endswith("csv") else "read_json"
    relation = f"{read}('{path(form)}')"
    names = [it[0] for it in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()]
    # Each column by its name alone, without quotation marks. The stored records have one that a dialect may reserve.
    columns = [f'"{it}"' if form == "jsonl" else it for it in names]
    table = connection.sql(f"SELECT {', '.join(columns)} FROM {relation}").to_arrow_table()
    return table.to_pylist(), {it.name: str(it.type) for it in table.schema}


def with_pyarrow(form):
    if form.endswith("csv"):
        table = pyarrow.csv.read_csv(path(form))
    elif form == "jsonl":
        options = pyarrow.json.ParseOptions(explicit_schema=STORED, unexpected_field_behavior="ignore")
        table = pyarrow.json.read_json(path(form), parse_options=options)
    else:
        table = pyarrow.json.read_json(path(form))
    return table.to_pylist(), {it.name: str(it.type) for it in table.schema}


def with_pandas(form):
    if form.endswith("csv"):
        frame = pandas.read_csv(path(form), parse_dates=TIMES[form])
    else:
        frame = pandas.read_json(path(form), lines=True)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return rows, {name: str(it) for name, it in frame.dtypes.items()}


def cell(value):
    """A value as text, where one reader has a time, a boolean or nothing, and another one has text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return str(value)


def seen(reader, form):
    rows, types = reader(form)
    return {
        "lines": [[cell(row[it]) for it in COLUMNS[form]] for row in rows],
        "times": [types[it] for it in TIMES.get(form, [])],
        "columns": list(types),
    }


READERS = {"duckdb": with_duckdb, "pyarrow": with_pyarrow, "pandas": with_pandas}
json.dump({name: {it: seen(reader, it) for it in FORMATS} for name, reader in READERS.items()}, sys.stdout)
