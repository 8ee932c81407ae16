"""What is checked of the records of an attack: of each outcome, and of the file as a whole.

An outcome claims little that can be computed again: that an answer was given no record can show.
What is checked is that its figures go together, and with the header's settings; and that the run's
summary says what the records say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lightning_smooth.errors import SmoothError
from lightning_smooth.maths.hypothesis import top_two_p_value
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.attacked import summarise_attack
from lightning_smooth.records.audit_case import Problem
from lightning_smooth.records.audit_files import FILE_CHECKS, Files, Outcome, part_of
from lightning_smooth.records.audit_lines import Fault
from lightning_smooth.types import ABSTAIN

_SUMMED: Final = 1e-9
"""By how much, relatively, a figure of the summary may differ."""

Header = Mapping[str, Any]


def _counts(o: AttackOutcome, header: Header) -> list[Problem] | None:
    del header
    return [*_compare_counts(o)]


def _compare_counts(o: AttackOutcome) -> Iterator[Problem]:
    for name in ("index", "seed", "queries", "seconds", "loss"):
        if getattr(o, name) < 0:
            yield Problem("contradiction", f"{name} = {getattr(o, name)}", "at least 0")
    if o.tried < 1 or o.evaluations < 1:
        said = f"tried = {o.tried}, evaluations = {o.evaluations}"
        yield Problem("contradiction", said, "at least 1 of each")
    for name in ("bound", "distance"):
        value = getattr(o, name)
        if value is not None and value < 0:
            yield Problem("contradiction", f"{name} = {value!r}", "at least 0")
    if o.distance is None and o.bound is not None:
        yield Problem("contradiction", f"bound = {o.bound!r}, and no distance", "both or none")
    if (o.distance is None) != (o.norm == ""):
        said = f"norm {o.norm!r}, distance = {o.distance!r}"
        yield Problem("contradiction", said, "both or none")


def _answer(o: AttackOutcome, header: Header) -> list[Problem] | None:
    """What is answered against the evaluations that missed, as far as they tell."""
    parts = _part(header)
    if "judge" not in parts:  # an attack on parameters does not count its evaluations
        return None
    smoothed = parts["judge"] == "smoothed"
    found = [*(_predict(o, parts) if smoothed else _vote(o))]
    if (o.tried == 1 or (not smoothed and o.evaluations == 1)) and o.broken != (o.wrong > 0):
        said = f"predicted = {o.predicted}, wrong = {o.wrong}"
        found.append(Problem("contradiction", said, "wrong > 0 just where another class is"))
    return found


def _vote(o: AttackOutcome) -> Iterator[Problem]:
    """The class answered most often, another than the label if as often."""
    said = f"predicted = {o.predicted}, {o.misses} of {o.evaluations} missed"
    if o.withstood and not o.evaluations - o.misses > _runner_up(o):
        yield Problem("contradiction", said, "the label more often than any class")
    elif o.broken and not o.misses:
        yield Problem("contradiction", said, "the class to have an answer")
    elif o.abstained and o.misses == o.evaluations:
        yield Problem("contradiction", said, "a rejection among the answers")


def _predict(o: AttackOutcome, parts: Mapping[str, Any]) -> Iterator[Problem]:
    """A class that PREDICT answers leads by more than chance, at the best that the misses allow."""
    alpha = part_of(parts, "certifier").get("alpha")
    if o.abstained or not isinstance(alpha, float):
        return
    votes = (o.evaluations - o.misses, _runner_up(o)) if o.withstood else (o.misses, 0)
    try:
        held = top_two_p_value(*votes) <= alpha
    except SmoothError:  # the runner-up has more
        held = False
    if not held:
        said = f"predicted = {o.predicted}, {o.misses} of {o.evaluations} missed"
        yield Problem("contradiction", said, f"{ABSTAIN}: too few votes to answer")


def _runner_up(o: AttackOutcome) -> int:
    """The fewest votes that the best of the other classes can have."""
    classes = o.parameters.get("classes")
    if not isinstance(classes, int) or classes < 2:
        return min(o.misses, 1)
    return -(-o.misses // (classes - 1))


def _within(o: AttackOutcome, header: Header) -> list[Problem] | None:
    """Parameters against the attack's box; pixels have none."""
    parts = _part(header)
    if "judge" in parts:
        return [Problem("contradiction", dict(o.theta), "no parameters")] if o.theta else None
    box = parts.get("box")
    if not isinstance(box, Mapping):
        return None
    found = []
    for name, ends in box.items():
        value = o.theta.get(name)
        if value is None or not ends[0] <= value <= ends[1]:
            found.append(Problem("contradiction", f"{name} = {value!r}", f"{ends} (header)"))
    return found


def _settings(o: AttackOutcome, header: Header) -> list[Problem] | None:
    parts = _part(header)
    return [*_compare_settings(o, parts)] if parts else None


def _compare_settings(o: AttackOutcome, parts: Mapping[str, Any]) -> Iterator[Problem]:
    given = {k: v for k, v in o.parameters.items() if k != "classes"}
    for name in sorted({*given, *parts}):
        if given.get(name) != parts.get(name):
            said = f"{name} = {given.get(name)!r:.60}"
            yield Problem("contradiction", said, f"{parts.get(name)!r:.60} (header)")
    for name in ("method", "seed", *(("norm", "bound") if "norm" in parts else ())):
        if name in parts and getattr(o, name) != parts[name]:
            said = f"{name} = {getattr(o, name)!r}"
            yield Problem("contradiction", said, f"{parts[name]!r} (header)")
    judge = parts.get("judge")
    allowed = {parts.get("n")} if judge == "smoothed" else {1, parts.get("evaluations")}
    if judge is not None and o.evaluations not in allowed:
        listed = " or ".join(sorted(map(str, allowed)))
        yield Problem("contradiction", f"evaluations = {o.evaluations}", f"{listed} (header)")


def _label(o: AttackOutcome, header: Header) -> list[Problem] | None:
    names, own = header.get("class_names"), o.parameters.get("classes")
    counts = [len(names)] if isinstance(names, list) and names else []
    counts += [own] if isinstance(own, int) else []
    most = min(counts, default=math.inf)
    answers = {"label": o.label, "clean": o.clean, "predicted": o.predicted}
    least = {"label": 0, "clean": ABSTAIN, "predicted": ABSTAIN}
    return [
        Problem("contradiction", f"{name} = {value}", f"a class, below {most}")
        for name, value in answers.items()
        if not least[name] <= value < most
    ]


def _digest(o: AttackOutcome, header: Header) -> list[Problem] | None:
    del header
    if o.image == "":
        return None
    known = isinstance(o.image, str) and re.fullmatch(r"[0-9a-f]{16}", o.image) is not None
    return [] if known else [Problem("contradiction", o.image, "16 hex digits")]


def _part(header: Header) -> Mapping[str, Any]:
    return part_of(header, "attack")


OUTCOME_CHECKS: Final[
    Mapping[str, tuple[str, Callable[[AttackOutcome, Header], list[Problem] | None]]]
] = {
    "counts": ("numbers are in range, and go together", _counts),
    "answer": ("predicted goes with the evaluations that missed", _answer),
    "within": ("parameters are in the attack's box", _within),
    "settings": ("settings are those of the header", _settings),
    "label": ("label and answers are classes", _label),
    "digest": ("the image's digest is well formed", _digest),
}
"""Checks of each outcome, with a word on each; None where its record does not tell enough."""


def _order(files: Files) -> Outcome:
    faults = []
    passed = 0
    for content in files.contents:
        if content.file.parent.suffix == ".parts":
            continue
        pairs = zip(content.entries, content.entries[1:], strict=False)
        later = [(one, two) for one, two in pairs if two.record.index < one.record.index]
        passed += not later
        faults += [
            Fault(
                check="order",
                kind="contradiction",
                index=two.record.index,
                recorded=f"after image {one.record.index}",
                expected="images by their index",
                file=two.file,
                line=two.line,
            )
            for one, two in later
        ]
    return Outcome(passed, faults)


def _summary(files: Files) -> Outcome:
    """The section of the run's summary, once everything is merged."""
    merged = files.contents[0].file
    stem = merged.stem
    section = "attack" if stem in ("records", "attack") else f"attack {stem}"
    path = merged.with_name("summary.json")
    try:
        told = json.loads(path.read_text(encoding="utf-8")).get(section)
    except (OSError, ValueError, AttributeError):
        told = None
    whole = all(content.file.parent.suffix != ".parts" for content in files.contents)
    if not isinstance(told, Mapping) or not whole:
        return Outcome(0, unchecked=1)
    outcomes = [e.record for e in files.entries.values() if isinstance(e.record, AttackOutcome)]
    figures = {"records": merged.name, **summarise_attack(outcomes)}
    faults = [
        Fault(
            check="summary",
            kind="contradiction",
            index=None,
            recorded=f"{section}: {name} = {told.get(name)!r:.60}",
            expected=f"{value!r:.60}, by the records",
            file=path,
        )
        for name, value in figures.items()
        if not _same(told.get(name), value)
    ]
    return Outcome(len(figures) - len(faults), faults)


def _same(told: object, computed: object) -> bool:
    real = isinstance(told, int | float) and not isinstance(told, bool)
    if real and isinstance(computed, float):
        return math.isclose(told, computed, rel_tol=_SUMMED)  # type: ignore[arg-type]
    return told == computed


ATTACK_FILE_CHECKS: Final = {
    **FILE_CHECKS,
    "order": ("images stand in the order of their index", _order),
    "summary": ("summary.json says what the records say", _summary),
}
"""Checks of an attack's files, with a word on each."""
