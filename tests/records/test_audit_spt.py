"""DistSPT is computed again from its looks and its errors; what was changed is found."""

import dataclasses

import pytest
import torch
from torch import nn

from lightning_smooth.certify import DistSPTDCertifier, DistSPTxCertifier, IndivSPTCertifier
from lightning_smooth.interpolation.population import PopulationError
from lightning_smooth.maths.spt import PAIRS
from lightning_smooth.records.audit import audit
from lightning_smooth.records.runs import load_run
from lightning_smooth.records.store import RecordStore
from lightning_smooth.transforms import PreBlur, Preprocessing, Rotation, Translation

CERTIFIER = DistSPTxCertifier(
    Rotation(), 15.0, 0.25, [0.0, 5.0, 10.0], preprocessing=Preprocessing(margin=1.0),
    error_draws=(40, 100), n=150, inner=400,
)  # fmt: skip


class Weighted(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        score = (x * self.weight).flatten(1).sum(dim=1) - 0.6 * self.weight.square().sum()
        return torch.stack([-score, score], dim=1)


@pytest.fixture(scope="module")
def certificates():
    bar = torch.zeros(1, 1, 12, 12)
    bar[..., 5:7, 3:9] = 1.0
    image = PreBlur(5)(bar)[0]
    return [
        CERTIFIER(Weighted(weight), image, index=place, label=1)
        for place, weight in enumerate([image, image * 0.5, image.flip(1).roll(3, 2)])
    ]


def individual():
    bar = torch.zeros(1, 1, 12, 12)
    bar[..., 5:7, 3:9] = 1.0
    image = PreBlur(5)(bar)[0]
    method = IndivSPTCertifier(
        Rotation(), 15.0, 0.25, [0.0, 2.0], preprocessing=Preprocessing(margin=1.0),
        pieces=16, n=150, inner=400,
    )  # fmt: skip
    return method, method(Weighted(image), image, index=0, label=1)


def records(path, found, certifier=CERTIFIER):
    store = RecordStore(path / "records.jsonl")
    store.recover()
    header = {"name": "test", "model": "m", "certifier": certifier.describe(), "data": "d"}
    store.open({**header, "selection": {"skip": 1, "limit": None, "images": len(found)}})
    for certificate in found:
        store.append(certificate)
    store.merge()
    return path / "records.jsonl"


def test_what_was_measured_passes(certificates, tmp_path):
    assert certificates[0].radius == 10.0
    result = audit(records(tmp_path, certificates))
    assert result.faults == ()
    assert result.tallies["bound"].passed == result.tallies["decisions"].passed == 3


def measured(**changed):
    return lambda c: dataclasses.replace(c, measured={**c.measured, **changed})


def parameters(**changed):
    return lambda c: dataclasses.replace(c, parameters={**c.parameters, **changed})


@pytest.mark.parametrize(
    "change",
    [
        measured(failures=8),
        measured(failures=0.9),
        measured(E=0.0),
        measured(size=0.0),
        measured(passes=1),
        lambda c: dataclasses.replace(
            c, parameters={k: v for k, v in c.parameters.items() if k != "stored"}
        ),
        measured(failures=-1),
        measured(failures=101),
        measured(error_draws=4000),
        measured(rho=0.001),
        parameters(scale=60.0),
        parameters(level=0.2),
        parameters(radii=[0.0, 5.0]),
        parameters(largest=5.0),
        parameters(transform="Shear()"),
        parameters(error_draws=[5, 4000]),
        lambda c: dataclasses.replace(c, radius=15.0),
        lambda c: dataclasses.replace(c, p_lower=c.p_lower * 1.001),
        lambda c: dataclasses.replace(c, radius_unit="pixels"),
        lambda c: dataclasses.replace(c, decisions={**c.decisions, "5.0": "not held"}),
        lambda c: dataclasses.replace(c, ledger={**c.ledger, "error": c.ledger["error"] / 2}),
        lambda c: dataclasses.replace(c, measured={}),
    ],
)
def test_what_was_changed_is_found(certificates, change, tmp_path):
    faults = audit(records(tmp_path, [change(certificates[0]), *certificates[1:]])).faults
    assert faults
    assert {fault.index for fault in faults} <= {0, None}


def test_individual_certificates_are_computed_again(tmp_path):
    method, certificate = individual()
    assert certificate.radius == 2.0
    assert audit(records(tmp_path / "whole", [certificate], method)).faults == ()
    changes = [
        measured(pieces=0),
        parameters(level=0.3),
        lambda c: dataclasses.replace(c, radius=3.0),
        lambda c: dataclasses.replace(c, decisions={"0.0": "held"}),
    ]
    for place, change in enumerate(changes):
        assert audit(records(tmp_path / str(place), [change(certificate)], method)).faults


def test_translations_have_no_errors_to_bound_and_are_computed_again(tmp_path):
    bar = torch.zeros(1, 1, 12, 12)
    bar[..., 5:7, 3:9] = 1.0
    image = PreBlur(5)(bar)[0]
    method = DistSPTxCertifier(
        Translation(), 1.0, 0.25, [0.0, 0.5], preprocessing=Preprocessing(None), n=150, inner=400
    )
    seen = Preprocessing(None)(image[None])[0]
    certificate = method(Weighted(seen), image, index=0, label=1)
    assert certificate.radius == 0.5
    assert certificate.parameters["error_draws"] is None
    assert audit(records(tmp_path / "whole", [certificate], method)).faults == ()
    changes = [
        parameters(error_draws=[100, 400]),
        parameters(bin=1.0),
        parameters(errors=None),
        parameters(level=0.3),
        parameters(transform="Rotation()"),
        parameters(sigma=-1.0),
        parameters(laws={"angle": {"kind": "gaussian", "scale": 1.0}}),
        measured(rho=0.4),
        measured(failures=150),
        measured(E=0.0),
        lambda c: dataclasses.replace(c, measured={"passes": c.measured["passes"]}),
        lambda c: dataclasses.replace(c, ledger={**c.ledger, "error": 0.002}),
        lambda c: dataclasses.replace(c, radius=1.0),
        lambda c: dataclasses.replace(c, decisions={"0.0": "held"}),
    ]
    for place, change in enumerate(changes):
        assert audit(records(tmp_path / str(place), [change(certificate)], method)).faults


def test_rotations_need_their_errors(certificates, tmp_path):
    c = certificates[0]
    without = {k: v for k, v in c.ledger.items() if k != "error"}
    bare = dataclasses.replace(c, ledger=without)
    assert audit(records(tmp_path / "bare", [bare])).faults
    posing = {"transform": "Translation()", "error_draws": None, "errors": PAIRS}
    posed = dataclasses.replace(
        bare,
        parameters={**c.parameters, **posing, "margin": None, "bin": None},
        radius_unit="pixels",
        alpha=sum(without.values()),
        measured={"E": 0.1, "passes": c.measured["passes"]},
    )
    assert audit(records(tmp_path / "posed", [posed])).faults


POPULATION = PopulationError(
    size=0.2, rho=0.02, level=0.05, alpha=0.01, attempt=2, draws=(20, 400), chosen=(0, 1),
    earlier=(2, 3), verified=tuple(range(10, 110)), failures=(0,) * 90 + (3,) * 6 + (40,) * 4,
    margin=1.1, transform="Rotation()", scale=15.0, largest=10.0, stored="float32",
    preprocessing="Preprocessing('circle', margin=1, blur=5, s=2)", shape=(1, 12, 12), data="bars",
    seed=0,
)  # fmt: skip


def distributional():
    bar = torch.zeros(1, 1, 12, 12)
    bar[..., 5:7, 3:9] = 1.0
    image = PreBlur(5)(bar)[0]
    method = DistSPTDCertifier(
        Rotation(), 15.0, 0.25, [0.0, 10.0], POPULATION, Preprocessing(margin=1.0), n=150, inner=400
    )
    return method, method(Weighted(image), image, index=0, label=1)


def population(**changed):
    return lambda c: dataclasses.replace(
        c, parameters={**c.parameters, "population": {**c.parameters["population"], **changed}}
    )


def test_the_fraction_of_a_distribution_is_computed_again(tmp_path):
    method, certificate = distributional()
    assert certificate.radius == 10.0
    path = records(tmp_path / "whole", [certificate], method)
    assert audit(path).faults == ()
    assert load_run(path).guarantee == "certified for a fraction 0.863 of the distribution"
    assert certificate.measured["q"] == pytest.approx(0.86397, abs=1e-5)
    changes = [
        population(q=0.95),
        population(q=0.0),
        population(rho=0.001),
        population(level=0.5),
        population(attempt=40),
        population(attempt=0),
        population(alpha=1e-9),
        population(draws=4),
        population(draws=40000),
        population(failures={"0": 90, "3": 6, "40": 400}),
        population(failures={"0": 90.5}),
        population(failures={"none": 100}),
        population(failures=[100]),
        population(failures={}),
        population(largest=5.0),
        parameters(population=None),
        parameters(holds_for="each image"),
        lambda c: dataclasses.replace(
            c, parameters={k: v for k, v in c.parameters.items() if k != "holds_for"}
        ),
        measured(q=0.99),
        measured(rho=0.0),
        measured(E=0.3),
        lambda c: dataclasses.replace(c, radius=12.0),
    ]
    for place, change in enumerate(changes):
        changed = [change(certificate)]
        assert audit(records(tmp_path / str(place), changed, method)).faults, place
