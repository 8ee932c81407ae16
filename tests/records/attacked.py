"""Attacks and certificates to compare, and their files."""

import json

from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.attacked import summarise_attack
from lightning_smooth.records.certificate import Certificate

CERTIFIER = {
    "method": "gaussian", "sigma": 0.5, "n0": 100, "n": 1000, "alpha": 0.001, "seed": 0,
    "precision": "float32",
}  # fmt: skip
PGD = {"method": "PGD", "bound": 0.5, "norm": "l2", "steps": 9, "gradient": "plain"}
MODEL = {**PGD, "judge": "model", "evaluations": 20, "seed": 0}
SMOOTHED = {**PGD, "judge": "smoothed", "n": 1000, "certifier": CERTIFIER, "seed": 0}
GRID = {
    "method": "grid", "transform": "Rotation()", "box": {"angle": [-20.0, 20.0]}, "steps": 3,
    "classifier": "smoothed", "n": 1000, "certifier": {}, "seed": 0,
}  # fmt: skip
HEAD = {
    "records": "lightning_smooth", "version": 1, "name": "mnist",
    "model": {"architecture": "small", "weights": "0123abcd"},
    "data": {"name": "mnist", "digest": "4567ef"},
}  # fmt: skip


def certificate(index, radius=0.75, label=3, predicted=3, **changes):
    bound = clopper_pearson_lower(990, 1000, 0.001)
    assert radius <= gaussian_radius(bound, 0.5)
    fields = {
        "index": index, "label": label, "candidate": 3, "predicted": predicted, "radius": radius,
        "radius_unit": "l2", "guarantee": "certified", "hits": 990, "n": 1000, "n0": 100,
        "p_lower": bound, "alpha": 0.001, "ledger": {"test": 0.001}, "method": "gaussian",
        "parameters": {"sigma": 0.5}, "seed": 0, "seconds": 0.5, "image": f"{index:016x}",
    }  # fmt: skip
    return Certificate(**(fields | changes))


def outcome(index, predicted=3, clean=3, distance=0.4, parts=SMOOTHED, **changes):
    broken = predicted not in (3, -1)
    smoothed = parts.get("judge") == "smoothed"
    missed = (990 if smoothed else 1) if broken else 480 if predicted == -1 else 0
    fields = {
        "index": index, "label": 3, "clean": clean, "theta": {}, "predicted": predicted,
        "loss": 1.0, "tried": 1, "wrong": int(broken), "method": parts["method"],
        "parameters": {**parts, "classes": 10}, "seed": 0, "seconds": 0.5,
        "image": f"{index:016x}", "norm": "l2", "bound": parts.get("bound"),
        "distance": distance, "queries": 40, "evaluations": 1000 if smoothed else 1,
        "misses": missed,
    }  # fmt: skip
    return AttackOutcome(**(fields | changes))


def turned(index, angle, predicted=3, parts=GRID, **changes):
    plain = {"norm": "", "bound": None, "distance": None, "queries": 0, "evaluations": 1}
    fields = {**plain, "misses": 0, "theta": {"angle": angle}} | changes
    return outcome(index, predicted, parts=parts, **fields)


def write(path, rows, torn="", **header):
    path.parent.mkdir(parents=True, exist_ok=True)
    first = {key: HEAD[key] for key in ("records", "version")}
    lines = [json.dumps(first | header | {**HEAD, **header}, separators=(",", ":"))]
    lines += [row if isinstance(row, str) else row.to_json() for row in rows]
    path.write_text("\n".join(lines) + "\n" + torn)
    return path


def attack_file(path, rows, parts=SMOOTHED, torn="", **header):
    asked = {"selection": {"images": len(rows)}} | header
    return write(path, rows, torn, **{"kind": "outcomes", "attack": parts} | asked)


def records_file(path, rows, **header):
    return write(
        path, rows, **({"certifier": CERTIFIER, "selection": {"images": len(rows)}} | header)
    )


def summary(path, rows, section="attack", **changes):
    figures = {"records": "attack.jsonl", **summarise_attack(rows), **changes}
    path.write_text(json.dumps({"fit": {}, section: figures}))
