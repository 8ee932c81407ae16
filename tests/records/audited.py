"""Real records to audit, and files of a few of them, one of them changed."""

import json
from pathlib import Path

REAL = Path(__file__).parents[2] / "docs" / "results" / "mnist" / "records.jsonl"
HEADER, *ROWS = [json.loads(line) for line in REAL.read_text().splitlines()]
IMAGE = 20
PLACE = 1
GOOD = ROWS[PLACE]


def write(path, rows, header=HEADER, torn=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(header),
        *(row if isinstance(row, str) else json.dumps(row) for row in rows),
    ]
    path.write_text("\n".join(lines) + "\n" + torn)
    return path


def few(path, changed=None, count=6, **header):
    """A file of the first certificates, one of them changed, whose header asks for just them."""
    rows = [*ROWS[:count]]
    rows[PLACE] = {**rows[PLACE], **(changed or {})}
    selection = {"skip": 20, "limit": count, "images": count}
    return write(path / "records.jsonl", rows, HEADER | {"selection": selection} | header)


def found(faults):
    return {(fault.check, fault.kind) for fault in faults}


def parameters(**changes):
    return {"parameters": GOOD["parameters"] | changes}
