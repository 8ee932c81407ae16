"""The command `lightning-smooth data`: get a data set, check the one that is there, corrupt one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lightning_smooth.data.corrupted import CORRUPTED_MODULES
from lightning_smooth.data.corruption_kinds import CORRUPTIONS
from lightning_smooth.data.make_corrupted import MAKEABLE, make_corrupted
from lightning_smooth.data.prepare import DATA_MODULES, prepare

_EXAMPLES = """\
examples:
  lightning-smooth data mnist --root data
  lightning-smooth data cifar10 --root /datasets --no-download
  lightning-smooth data cifar10c --root /datasets
  lightning-smooth data corrupt cifar10 --root /datasets --workers 2
"""

_CORRUPT_EXAMPLES = """\
examples:
  lightning-smooth data corrupt cifar10 --root data --workers 2
  lightning-smooth data corrupt mnist --root data --severities 3 --corruptions fog contrast
"""


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: arguments after `data`; those after `corrupt` are another command's.

    Returns:
        0.

    Raises:
        SmoothError: the name is unknown, or a file is missing or damaged.
    """
    if argv and argv[0] == "corrupt":
        return corrupt(argv[1:])
    parser = argparse.ArgumentParser(
        prog="lightning-smooth data",
        description="Fetch what is missing of a data set, read and check all of it, describe it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help=", ".join((*DATA_MODULES, *CORRUPTED_MODULES)))
    parser.add_argument("--root", default="data", help="folder of all data sets (default: data)")
    parser.add_argument(
        "--no-download", action="store_true", help="only check what is there, fetch nothing"
    )
    arguments = parser.parse_args(list(argv))
    print(prepare(arguments.name, arguments.root, download=not arguments.no_download))
    return 0


def corrupt(argv: Sequence[str]) -> int:
    """Run the command `data corrupt`.

    Args:
        argv: arguments after `corrupt`.

    Returns:
        0.

    Raises:
        SmoothError: an argument is out of range, or the clean data set is missing.
    """
    parser = argparse.ArgumentParser(
        prog="lightning-smooth data corrupt",
        description=(
            "Corrupt a test split with the published parameters of CIFAR-10-C, in the published "
            "layout. What is made is like the published set, and not that set: made_by.json says "
            "so. A run that was interrupted goes on."
        ),
        epilog=_CORRUPT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="SET", help=", ".join(MAKEABLE))
    parser.add_argument("--root", default="data", help="folder of all data sets (default: data)")
    parser.add_argument("--out", help="folder for CIFAR-10-C and its like (default: root)")
    parser.add_argument(
        "--corruptions", nargs="+", metavar="NAME", help=f"default: all of {', '.join(CORRUPTIONS)}"
    )
    parser.add_argument(
        "--severities", nargs="+", type=int, metavar="N", help="1..5 (default: all; mnist: 3)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.add_argument("--limit", type=int, help="at most this many test images (default: all)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--frost", metavar="DIR", help="photographs of frost (default: those of imagecorruptions)"
    )
    given = parser.parse_args(list(argv))
    folder = make_corrupted(
        given.name,
        given.root,
        given.out,
        corruptions=given.corruptions,
        severities=given.severities,
        seed=given.seed,
        limit=given.limit,
        workers=given.workers,
        frost=given.frost,
        report=lambda line: print(line, flush=True),
    )
    print(f"wrote {folder.resolve()}")
    return 0
