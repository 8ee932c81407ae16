"""The command `lightning-smooth VERB`: finds the verb, and turns errors into sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from lightning_smooth._version import __version__
from lightning_smooth.allocator import keep_memory
from lightning_smooth.errors import SmoothError

_VERBS = {
    "run": "train, certify and report, as a YAML says; goes on where it was stopped",
    "fit": "train a classifier",
    "certify": "certify test images into resumable records",
    "attack": "attack test images into resumable records",
    "diagnose": "look for signs that a classifier masks its gradients",
    "report": "tables, curves and one HTML page, from runs or published logs",
    "audit": "check certificates again, from the counts in their records",
    "data": "get a data set, or check the one that is there",
    "validate": "measure clean and noisy accuracy on the validation images",
    "test": "measure clean and noisy accuracy on the test images",
    "predict": "the base classifier's classes, without certificates",
}

_HELP = """usage: lightning-smooth VERB [options]

Train, certify and report image classifiers whose robustness is proven.

verbs:
{verbs}

  lightning-smooth VERB --help      the verb's options
  lightning-smooth --version

examples:
  lightning-smooth run --config configs/digits.yaml
  lightning-smooth run --config configs/mnist.yaml --model.sigma .25 \\
      --certification.certifier.sigma .25
  lightning-smooth report runs/mnist/*
  lightning-smooth audit runs/mnist/*
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 where `audit` found a fault, or 2 for a mistake that the user can mend, or 130
        where the user stopped it, or 141 where the reader of its output is gone.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        verbs = "\n".join(f"  {verb:<10}{text}" for verb, text in _VERBS.items())
        print(_HELP.format(verbs=verbs))
        return 0
    if arguments[0] == "--version":
        print(f"lightning-smooth {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in _VERBS:
        print(
            f"lightning-smooth: error: there is no verb {verb!r}; the verbs are "
            f"{', '.join(_VERBS)}.",
            file=sys.stderr,
        )
        return 2
    try:
        status = _run(verb, rest, own=argv is None)
        sys.stdout.flush()
    except SmoothError as error:
        print(f"lightning-smooth {verb}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


def _run(verb: str, arguments: Sequence[str], *, own: bool) -> int:
    rooms = {
        "report": "lightning_smooth.report",
        "audit": "lightning_smooth.report.audit",
        "data": "lightning_smooth.data.command",
    }
    if verb in rooms:
        command: Callable[[Sequence[str]], int] = import_module(rooms[verb]).main
        return command(arguments)
    if own:
        keep_memory()
    from lightning_smooth import cli

    cli.main(verb, None if own else arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
