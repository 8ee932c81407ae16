"""Whether several runs are about the same images: indices, labels, digests; and the same draws.

An image is known by its data set index. Where headers name the same data (their digest), two
labels or two digests of one image are a fault; otherwise they are only said. Runs of one model,
certifier and data have the same votes, but for scores that are equal to within rounding on one
machine and not on another: how many agree is said, and is no fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_smooth.records.audit import Audit, fault_json
from lightning_smooth.records.audit_files import part_of
from lightning_smooth.records.audit_lines import Entry, Fault
from lightning_smooth.records.reading import fingerprint


@dataclass(frozen=True)
class Statement:
    """Whether runs agree in something: None where they do not tell; `said` is the detail."""

    what: str
    same: bool | None
    said: str


@dataclass(frozen=True)
class Comparison:
    """What several runs have in common, and where they contradict each other."""

    statements: tuple[Statement, ...]
    faults: tuple[Fault, ...]


def compare(audits: Sequence[Audit]) -> Comparison:
    """Compare two or more audited runs image by image."""
    faults: list[Fault] = []
    statements = [
        _data(audits),
        _images(audits),
        _values(audits, "label", lambda e: e.certificate.label, faults),
        _values(audits, "digest", lambda e: e.certificate.image or None, faults),
        *_votes(audits),
    ]
    return Comparison(tuple(statements), tuple(faults))


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison, in the plain types of JSON."""
    return {
        "statements": {s.what: {"same": s.same, "said": s.said} for s in comparison.statements},
        "faults": [fault_json(fault) for fault in comparison.faults],
    }


def _data_digest(audit: Audit) -> str | None:
    digest = part_of(audit.header, "data").get("digest")
    return digest if isinstance(digest, str) and digest else None


def _data(audits: Sequence[Audit]) -> Statement:
    digests = [_data_digest(audit) for audit in audits]
    named = sorted({str(part_of(audit.header, "data").get("name")) for audit in audits})
    names = ", ".join(named)
    if None in digests:
        return Statement("data", None, f"not every header has a digest of its data ({names})")
    if len(set(digests)) == 1:
        return Statement("data", True, f"{names}, by the digest of the data set")
    return Statement("data", False, f"{len(set(digests))} data sets, by their digests ({names})")


def _images(audits: Sequence[Audit]) -> Statement:
    sets = [set(audit.entries) for audit in audits]
    common, some = set.intersection(*sets), set.union(*sets)
    if common == some:
        return Statement("images", True, f"the same {len(common):,} in each")
    lacking = f"{len(some - common):,} not in all, image {min(some - common)} first"
    return Statement("images", False, f"{len(common):,} in each; {lacking}")


def _values(
    audits: Sequence[Audit],
    what: str,
    value_of: Callable[[Entry], object],
    faults: list[Fault],
) -> Statement:
    shared = differing = 0
    first = ""
    for index in sorted({index for audit in audits for index in audit.entries}):
        told = [
            (audit, value)
            for audit in audits
            if index in audit.entries and (value := value_of(audit.entries[index])) is not None
        ]
        shared += len(told) > 1
        other = next(((a, v) for a, v in told[1:] if v != told[0][1]), None)
        if other is None:
            continue
        differing += 1
        first = first or f"image {index} first: {told[0][1]} and {other[1]}"
        faults += _contradictions(what, index, told)
    plural = f"{what}s"
    if not shared:
        return Statement(plural, None, "told by fewer than two runs for every image")
    if differing:
        return Statement(plural, False, f"{differing:,} of {shared:,} differ, {first}")
    return Statement(plural, True, f"of all {shared:,} images that two or more tell them for")


def _contradictions(what: str, index: int, told: Sequence[tuple[Audit, object]]) -> list[Fault]:
    """Faults where a run says otherwise than an earlier one on the same data."""
    found = []
    for place, (audit, value) in enumerate(told):
        data = _data_digest(audit)
        earlier = [(a, v) for a, v in told[:place] if data and _data_digest(a) == data]
        other = next(((a, v) for a, v in earlier if v != value), None)
        if other is not None:
            entry = audit.entries[index]
            found.append(
                Fault(
                    check=what,
                    kind="contradiction",
                    index=index,
                    recorded=value,
                    expected=f"{other[1]}, as {other[0].path} says",
                    file=entry.file,
                    line=entry.line,
                )
            )
    return found


def _votes(audits: Sequence[Audit]) -> list[Statement]:
    """Votes of the images that runs of one fingerprint share; nothing where there are none."""
    shared = differing = 0
    for place, audit in enumerate(audits):
        for other in audits[:place]:
            if fingerprint(audit.header) != fingerprint(other.header) or not audit.header:
                continue
            for index in audit.entries.keys() & other.entries.keys():
                one, two = audit.entries[index].certificate, other.entries[index].certificate
                shared += 1
                # Older records of ranges have no votes of their anchors.
                votes = one.votes != two.votes and bool(one.votes) == bool(two.votes)
                differing += votes or (one.hits, one.votes0) != (two.hits, two.votes0)
    if not shared:
        return []
    if differing:
        said = f"{differing:,} of {shared:,} differ, though model, certifier and data are the same"
        return [Statement("votes", False, said)]
    return [Statement("votes", True, f"of all {shared:,} images of the same model and certifier")]
