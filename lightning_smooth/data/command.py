"""The command `lightning-smooth data`: get a data set, or check the one that is there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lightning_smooth.data.prepare import DATA_MODULES, prepare

_EXAMPLES = """\
examples:
  lightning-smooth data mnist --root data
  lightning-smooth data cifar10 --root /datasets --no-download
"""


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: arguments after `data`.

    Returns:
        0.

    Raises:
        SmoothError: the name is unknown, or a file is missing or damaged.
    """
    parser = argparse.ArgumentParser(
        prog="lightning-smooth data",
        description="Fetch what is missing of a data set, read and check all of it, describe it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help=", ".join(DATA_MODULES))
    parser.add_argument("--root", default="data", help="folder of all data sets (default: data)")
    parser.add_argument(
        "--no-download", action="store_true", help="only check what is there, fetch nothing"
    )
    arguments = parser.parse_args(list(argv))
    print(prepare(arguments.name, arguments.root, download=not arguments.no_download))
    return 0
