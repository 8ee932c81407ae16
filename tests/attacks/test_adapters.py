"""Attacks of other packages: judged as ours are, and an error that helps where one is missing."""

import pytest

from lightning_smooth.attacks import (
    BPDA,
    EOT,
    PGD,
    AutoAttack,
    FoolboxAttack,
    TorchattacksAttack,
    adapters,
)  # fmt: skip
from lightning_smooth.errors import InputError
from tests.attacks.images import Linear, Rejecting, answered, network, pictures, quantised, run


def missing(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (AutoAttack(0.1), r"autoattack or pyautoattack.*lightning-smooth\[attacks\]"),
        (FoolboxAttack("LinfPGD", 0.1), r"foolbox.*lightning-smooth\[attacks\]"),
        (TorchattacksAttack("PGD", 0.1), "torchattacks.*--no-deps torchattacks"),
    ],
)
def test_a_package_that_is_not_installed(attack, said, monkeypatch):
    monkeypatch.setattr(adapters, "import_module", missing)
    with pytest.raises(InputError, match=said):
        run(attack, network(), pictures())


def test_a_package_that_lacks_one_of_its_own(monkeypatch):
    monkeypatch.setattr(adapters, "import_module", lambda name: missing("eagerpy"))
    with pytest.raises(InputError, match="lacks eagerpy"):
        run(FoolboxAttack("LinfPGD", 0.1), network(), pictures())


def test_a_description_names_the_package_and_its_version(monkeypatch):
    def version(name):
        if name == "pyautoattack":
            return "0.2"
        raise adapters.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(adapters.metadata, "version", version)
    assert AutoAttack(0.1).describe()["package"] == "pyautoattack 0.2"
    assert FoolboxAttack("LinfPGD", 0.1).describe()["package"] == ""
    assert TorchattacksAttack("PGD", 0.1).describe()["package"] == ""


def test_gradients_that_a_package_cannot_take():
    with pytest.raises(InputError, match="plain `gradient`"):
        FoolboxAttack("LinfPGD", 0.1, gradient=EOT(3))


def test_foolbox():
    pytest.importorskip("foolbox")
    model, images = network(), pictures(10)
    attack = FoolboxAttack("LinfPGD", 0.05, settings={"steps": 10, "rel_stepsize": 0.25})
    found = run(attack, model, images)
    ours = run(PGD(0.05, steps=10), model, images)
    assert float(found.norm.max()) <= 0.05
    assert bool((ours.success | ~found.success).all())
    assert found.success.any()
    assert int(found.queries[0]) >= 10
    near = run(FoolboxAttack("L2DeepFoolAttack", None, norm="l2"), model, images)
    assert bool(near.success.all())
    with pytest.raises(InputError, match="LinfPGD"):
        run(FoolboxAttack("LinfPGB", 0.1), model, images)
    with pytest.raises(InputError, match="stepz"):
        run(FoolboxAttack("LinfPGD", 0.1, settings={"stepz": 3}), model, images)
    with pytest.raises(InputError, match="`norm`"):
        run(FoolboxAttack("LinfPGD", 0.1, norm="l2"), model, images)


def test_torchattacks():
    pytest.importorskip("torchattacks")
    model, images = network(), pictures(10)
    attack = TorchattacksAttack("PGD", 0.05, settings={"steps": 10, "alpha": 0.0125})
    found = run(attack, model, images)
    assert found.success.any()
    assert float(found.norm.max()) <= 0.05
    with pytest.raises(InputError, match="PGDL2"):
        run(TorchattacksAttack("pgd", 0.1), model, images)


def test_bpda_reaches_other_packages_too():
    pytest.importorskip("foolbox")
    model, images = quantised(levels=64), pictures(10)
    settings = {"steps": 10, "rel_stepsize": 0.25}
    for gradient, fooled in ((None, False), (BPDA({"steps": "identity"}), True)):
        attack = FoolboxAttack(
            "LinfPGD", 0.05, settings={**settings, "random_start": False}, gradient=gradient
        )
        found = run(attack, model, images)
        assert bool(found.success.any()) == fooled


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack(norm):
    pytest.importorskip("pyautoattack")
    shape = (1, 8, 8)
    inner, images = Linear(4, shape=shape).float(), pictures(6, shape=shape).float()
    model = Rejecting(inner, most=2.0)
    model.rejection_class = 4
    labels = answered(inner, images)
    bound = {"linf": 0.2, "l2": 1.0}[norm]  # its 5000 queries of Square are for what withstands
    found = run(AutoAttack(bound, norm, batch_size=3), model, images, labels)
    assert bool(found.success.all())
    assert bool((found.verdict.predicted >= 0).all())
    assert float(found.norm.max()) <= bound
