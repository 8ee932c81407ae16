"""What the command line's parser says of a mistake, in words for the user."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

from jsonargparse import Namespace
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.cli import LightningArgumentParser

_ROOMS: Final = (
    "attacks", "callbacks", "certify", "data", "defenses", "maths", "models", "modules",
    "transforms", "verify",
)  # fmt: skip

_NEEDED: Final = {
    "certification.certifier": "a certifier: --config configs/certify/quick.yaml, or "
    "--certification.certifier CLASS with its settings",
    "attacking.attack": "an attack: --config configs/attack/naive.yaml, or --attacking.attack PGD "
    "--attacking.attack.bound .1",
    "diagnosis.test": "a test: --diagnosis.test GradientMaskingDiagnosis --diagnosis.test.bound .1",
}


class Parser(LightningArgumentParser):
    """LightningArgumentParser whose errors say what is missing, and which name was meant."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *rest: Any, **kwargs: Any
    ) -> Namespace:
        """As jsonargparse does, but a null for a class within a class arrives as one.

        `--model.model.mean null` is handed on to the parser of the inner class as `--mean=None`
        (jsonargparse 4.53), which is a text there.
        """
        if args is not None:
            args = [f"{word[:-5]}=null" if word.endswith("=None") else word for word in args]
        return super().parse_args(args, *rest, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message, clearer where it is known, and exit with status 2."""
        super().error(clearer(message), ex)
        raise SystemExit(2)


def clearer(message: str) -> str:
    """A parser's message; with what to do, where it is one of those that users meet.

    >>> clearer("the following arguments are required: attack.attacking.attack")[:36]
    'attack needs an attack: --config con'
    >>> clearer("Expected a dot import path string: PGDD").splitlines()[-1]
    'There is no class PGDD: did you mean PGD?'
    """
    missing = re.search(r"arguments are required: (\w+)\.([\w.]+)$", message)
    if missing and missing[2] in _NEEDED:
        return f"{missing[1]} needs {_NEEDED[missing[2]]}."
    unknown = re.search(r"Expected a dot import path string: (\w+)\s*$", message, re.MULTILINE)
    if unknown:
        known = {name.lower(): name for name in known_classes()}
        near = difflib.get_close_matches(unknown[1].lower(), known, n=3)
        meant = "give its import path."
        if near:
            meant = f"did you mean {' or '.join(known[name] for name in near)}?"
        return f"{message}\nThere is no class {unknown[1]}: {meant}"
    return message


def known_classes() -> list[str]:
    """Names of the classes that this package offers in configurations."""
    rooms = (import_module(f"lightning_smooth.{room}") for room in _ROOMS)
    names = {name for room in rooms for name in getattr(room, "__all__", ())}
    return sorted(name for name in names if name[0].isupper())


def configs_first(args: Sequence[str]) -> list[str]:
    """Move the YAML files before the other options, which so beat them wherever they stand."""
    configs: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word in ("-c", "--config"):
            configs += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith("--config="):
            configs.append(word)
        else:
            rest.append(word)
    return [*configs, *rest]


def let_be_optional(parser: LightningArgumentParser, argument: str, kind: type[Callback]) -> None:
    """Where the argument is not given, let a callback that does nothing take the place."""
    name = argument.rsplit(".", 1)[1]
    next(a for a in parser._actions if a.dest == argument).required = False

    def made(wanted: type[Callback], *args: Any, **kwargs: Any) -> Callback:
        return wanted(*args, **kwargs) if args or kwargs.get(name) is not None else Callback()

    parser.add_instantiator(made, kind, subclasses=False)
