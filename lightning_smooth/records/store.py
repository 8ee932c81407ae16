"""Records on disk: append-only, resumable, bound to what they were measured on.

A records file is JSON lines: a header, then one result an image, a line. While images are measured,
each rank appends to a file of its own under `<name>.parts/`; at the end they are merged, sorted
by index, into the records file, which is replaced in one step. A process killed at any moment
loses at most the line that it was writing; that torn line is put aside in a file `*.torn` beside
it, and its image is certified again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Generic

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.reading import (
    FORMAT,
    VERSION,
    R,
    differences,
    fingerprint,
    gather_kind,
)

_SYNC_SECONDS = 1.0


class RecordStore(Generic[R]):
    """The records of one certification, or of one attack, shared by its ranks.

    Order of use: `recover` on one rank, then (after a barrier) `read` on every rank, `open` and
    `append` on every rank, and (after a barrier) `merge` on the first. From `recover` to the end
    of `merge` (or `release`) no other process can use the records.

    Args:
        path: the records file.
        rank: number of this process.
        kind: class of the records; None for `Certificate`.
        option: the command's option that names another file, for messages.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        rank: int = 0,
        kind: type[R] | None = None,
        option: str = "--certification.records",
    ) -> None:
        self.path = Path(path)
        self.parts = self.path.with_name(self.path.stem + ".parts")
        self.rank = rank
        self.header: dict[str, Any] | None = None
        self.results: list[R] = []
        self.kind: type[Any] = kind or Certificate
        self.option = option
        self._file: FileIO | None = None
        self._guard: FileIO | None = None
        self._synced = 0.0
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            probe = self.parts / f".probe{rank}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"The output folder {self.path.parent} cannot be written ({error.strerror}): "
                "choose another with --output.folder."
            ) from error

    @property
    def certificates(self) -> list[R]:
        """`results`, where they are certificates."""
        return self.results

    def recover(self) -> list[str]:
        """Gather what earlier processes left into the records file.

        Returns:
            What was done about torn lines, a sentence each.

        Raises:
            RecordError: a file is damaged, files contradict each other, or another process is
                writing here.
        """
        self._guard = _locked(self.parts / "lock")
        for part in self._part_files():  # a rank that outlived its launcher holds its own
            _locked(part).close()
        notes = [note for file in self._files() for note in _repair(file)]
        self.read()
        if self.header is not None:
            self._replace(self.header, self.results)
        for part in self._part_files():
            part.unlink()
        return notes

    def read(self) -> None:
        """Read what is recorded into `header` and `results`, sorted by index.

        Raises:
            RecordError: a file is damaged, or files contradict each other.
        """
        self.header, self.results, _ = gather_kind(self._files(), self.kind)

    def check(self, header: Mapping[str, Any]) -> None:
        """Check that the records belong to what `header` describes.

        Raises:
            RecordError: they do not; the message says what differs.
        """
        if self.header is None:
            return
        changed = differences(fingerprint(header), fingerprint(self.header))
        if changed:
            raise RecordError(
                f"The records {self.path} belong to something else:\n  "
                + "\n  ".join(changed)
                + "\nGive the settings that they were made with, or another records file "
                f"({self.option} NAME.jsonl), or another --output.folder."
            )

    def open(self, header: Mapping[str, Any]) -> None:
        """Start appending under `header`, which is checked against what is recorded.

        Raises:
            RecordError: the records belong to something else, or another process is writing.
        """
        self.check(header)
        if self.kind is not Certificate:
            header = {"kind": self.kind.plural, **header}
        self.header = _with_history(header, self.header)
        self._file = _locked(self._part(self.rank))
        if self._file.tell() == 0:
            self._write(json.dumps(self.header, separators=(",", ":")))

    def append(self, one: R) -> None:
        """Write one result; it is with the operating system when this returns.

        Raises:
            RecordError: the store is not open, or the disk refuses the line.
        """
        self._write(one.to_json())

    def close(self) -> None:
        """Stop appending."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def release(self) -> None:
        """Stop appending, and let other processes use the records."""
        self.close()
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def merge(self) -> list[R]:
        """Merge every rank's file into the records file, and return the results by index.

        Raises:
            RecordError: files are damaged or contradict each other, or there is nothing to merge.
        """
        self.close()
        latest = self.header
        self.read()
        header = _with_history(latest, self.header) if latest else self.header
        if header is None:
            raise RecordError(f"There is nothing to merge at {self.path}.")
        self._replace(header, self.results)
        for part in self._part_files():
            part.unlink()
        self.release()
        with contextlib.suppress(OSError):
            (self.parts / "lock").unlink(missing_ok=True)
            self.parts.rmdir()  # stays where a torn line was put aside in it
        return self.results

    def _write(self, line: str) -> None:
        if self._file is None:
            raise RecordError("The record store is not open: call `open` first.")
        try:
            content = f"{line}\n".encode()
            written = self._file.write(content)
            if written != len(content):
                os.ftruncate(self._file.fileno(), self._file.tell() - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise RecordError(
                f"{self._part(self.rank)} cannot be written ({error.strerror}): make room and run "
                "the same command again; what is recorded is kept."
            ) from error

    def _part(self, rank: int) -> Path:
        return self.parts / f"rank{rank}.jsonl"

    def _part_files(self) -> list[Path]:
        return sorted(self.parts.glob("rank*.jsonl"))

    def _files(self) -> Iterator[Path]:
        if self.path.exists():
            yield self.path
        yield from self._part_files()

    def _replace(self, header: Mapping[str, Any], results: Iterable[R]) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        lines = [json.dumps(header, separators=(",", ":")), *(one.to_json() for one in results)]
        try:
            with fresh.open("w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise RecordError(
                f"{self.path} cannot be written ({error.strerror}): make room and run the same "
                f"command again; what is recorded lies in {self.parts}."
            ) from error


def _with_history(header: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> dict[str, Any]:
    """Head records that go on: what is said now, and the environments of the parts before."""
    complete = {"records": FORMAT, "version": VERSION, **header}
    if earlier is None or earlier.get("environment") == header.get("environment"):
        history = list((earlier or {}).get("earlier_environments", []))
    else:
        history = [*earlier.get("earlier_environments", []), earlier.get("environment", {})]
    return {**complete, "earlier_environments": history} if history else complete


def _repair(path: Path) -> Iterator[str]:
    """Cut a torn last line off, and keep it beside the file."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end == len(content):
        if not content:
            path.unlink()
        return
    aside = path.with_suffix(".torn")
    with aside.open("ab") as file:
        file.write(content[end:] + b"\n")
    if end == 0:
        path.unlink()
    else:
        with path.open("r+b") as file:
            file.truncate(end)
    yield (
        f"The last line of {path} was cut off: moved to {aside.name}, "
        "and its image will be measured again."
    )


def _locked(path: Path) -> FileIO:
    """Open a file for appending, held by this process alone until it is closed."""
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        import fcntl
    except ImportError:  # not on Windows: two writers are then the user's care
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RecordError(
            f"Another process is writing {path}: wait for it, or choose another --output.folder."
        ) from None
    return file
