"""What the report says of attacks beside their table: how to read it, and where it is a warning."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_smooth.report.attack_tables import AttackFigures
from lightning_smooth.report.tables import CONFIDENCE, decimal, short

_PERCENT = f"{CONFIDENCE:.0%}".replace("%", " %")


def attack_note(figures: Sequence[AttackFigures]) -> list[str]:
    """What the columns mean, and what they do not, in paragraphs."""
    words = [
        "Accuracy without attack and under it, and its "
        f"{_PERCENT} Clopper-Pearson interval. An image counts as right under attack if it is "
        "right without it, too; broken: another class than the label is answered; abstained: "
        "none is. Median distance of the broken ones. An attack that breaks nothing proves "
        "nothing: accuracy under attack is an upper bound."
    ]
    compared = [f for f in figures if f.beside.certified is not None]
    if compared:
        words.append(
            "Certified: right and certified at the radius r that rules the attack out, on the "
            "very same images."
        )
    if any(not f.beside.same for f in compared):
        words.append(
            "A certificate is of a smoothed classifier: where another classifier was judged (the "
            "model itself, or one under other noise), accuracy under attack below certified "
            "accuracy is no contradiction."
        )
    told = [words for f in figures for words in (silent_words(f), _doubt_words(f)) if words]
    return [" ".join(words), *told]


def below_by_abstentions(f: AttackFigures) -> bool:
    """Whether accuracy under attack is below certified accuracy, and abstentions explain it."""
    b = f.beside
    return bool(b.silent) and not b.contradicted and b.withstood < b.held


def silent_words(f: AttackFigures) -> str:
    """What is said of certified images on which the smoothed classifier abstained; or nothing."""
    b = f.beside
    if not b.silent:
        return ""
    below = ""
    if below_by_abstentions(f):
        below = "Accuracy under attack is below certified accuracy by abstentions alone. "
    return (
        f"{f.name}, {f.title} ({f.attack.path.name}): {below}Of the images certified at r = "
        f"{short(b.radius or 0.0)} the smoothed classifier abstained on {listed(b.silent)}, and "
        "gave no other class. That is no contradiction: near the radius a class can win by too "
        "little for the draws to tell."
    )


def _doubt_words(f: AttackFigures) -> str:
    if not f.beside.doubted:
        return ""
    return (
        f"{f.name}, {f.title} ({f.attack.path.name}): another class than the certificate's is "
        f"answered on {listed(f.beside.doubted)}. The guarantee of those certificates is less "
        "than certified, so this may be."
    )


def contradiction_words(f: AttackFigures) -> str:
    """What the page and the terminal say of an attack that contradicts certificates; or nothing."""
    b = f.beside
    if not b.contradicted:
        return ""
    below = ""
    if b.certified is not None and b.withstood < b.held:
        below = (
            f" Accuracy under attack is {decimal(b.withstood / b.images)} on images of which "
            f"{decimal(b.certified)} are certified against it."
        )
    return (
        f"{f.name}, {f.title} ({f.attack.path.name}) contradicts the certificates of "
        f"{listed(b.contradicted)}: the smoothed classifier answered another class where they say "
        f"that there is none.{below} One certificate in 1 / alpha may be wrong by chance; more "
        "than that is a bug. Where alpha is 0 none may be: what the certificates assume (a stated "
        "Lipschitz constant, for one) is false."
    )


def listed(indices: Sequence[int], most: int = 20) -> str:
    """Name images by their indices.

    >>> listed([3]), listed([5, 8, 9], most=2)
    ('image 3', 'images 5, 8 and 1 more')
    """
    more = f" and {len(indices) - most:,} more" if len(indices) > most else ""
    shown = ", ".join(map(str, indices[:most]))
    return f"image{'s' * (len(indices) != 1)} {shown}{more}"
