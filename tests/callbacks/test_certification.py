"""The certification callback: in validation, and as part of any Trainer's predict loop."""

import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from lightning_smooth import GaussianCertifier
from lightning_smooth.callbacks import CertificationCallback
from lightning_smooth.callbacks.pictures import choose
from lightning_smooth.callbacks.progress import CertificationProgress
from lightning_smooth.callbacks.subject import warn_of_slow_bf16
from lightning_smooth.certify import DistSPTxCertifier
from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.modules import GaussianAugmentation, SmoothAdv
from lightning_smooth.records.reading import read_records
from lightning_smooth.trainer import SmoothTrainer
from lightning_smooth.transforms import Preprocessing, Rotation


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def module():
    torch.manual_seed(0)
    return GaussianAugmentation(linear(), 0.25)


def trainer(*callbacks, kind=pl.Trainer, **settings):
    return kind(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=list(callbacks), num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def callback(tmp_path, **settings):
    settings = {"val_images": 0, "folder": str(tmp_path), **settings}
    return CertificationCallback(GaussianCertifier(0.25, n0=10, n=100), **settings)


def test_validation_logs_certified_accuracy_that_a_checkpoint_can_follow(tmp_path):
    certify = callback(tmp_path, val_images=20, val_n=50, val_n0=5, radii=[0, 0.25])
    best = ModelCheckpoint(
        tmp_path, monitor="val/certified_accuracy@0.25", mode="max", filename="best"
    )
    net = GaussianAugmentation(linear(), 0.1, lambda p: torch.optim.SGD(p, lr=2.0))
    fit = trainer(certify, best, max_epochs=3)
    fit.fit(net, datamodule=Digits(val_size=100))
    figures = fit.callback_metrics
    held = float(figures["val/certified_accuracy@0"])
    assert float(figures["val/certified_accuracy@0.25"]) <= held
    assert held > 0.3
    assert held * 20 == pytest.approx(round(held * 20), abs=1e-5)
    assert 0 <= float(figures["val/abstention"]) <= 1
    assert best.best_model_score is not None
    assert (tmp_path / "best.ckpt").exists()
    # it says what certifying the same sample by hand says
    data = fit.datamodule.val_dataloader().dataset
    places = np.linspace(0, 99, 20).astype(int)
    by_hand = [
        certify.val_certifier(net.model, data[int(p)][0], index=int(data[int(p)][2]),
                              label=int(data[int(p)][1])).correct
        for p in places
    ]  # fmt: skip
    assert held == pytest.approx(np.mean(by_hand))


def test_validation_certifies_only_when_due(tmp_path):
    certify = callback(tmp_path, val_images=2, val_n=10, val_n0=5, val_every_n_epochs=3)
    fit = trainer(certify, max_epochs=2, limit_train_batches=1, enable_checkpointing=False)
    fit.fit(module(), datamodule=Digits(val_size=10))
    assert "val/acr" not in fit.callback_metrics


def test_a_plain_trainer_s_predict_loop_certifies(tmp_path):
    certify = callback(tmp_path)
    trainer(certify).predict(module(), datamodule=Digits(limit=6, skip=2))
    assert [c.index for c in certify.certificates] == [0, 2, 4, 6, 8, 10]
    certifier, net, data = certify.certifier, module().model, Digits()
    data.setup("predict")
    for c in certify.certificates:
        image, label = data.test_item(c.index)
        again = certifier(net, image, index=c.index, label=label)
        assert (again.votes, again.radius, again.label) == (c.votes, c.radius, c.label)


def test_loaders_without_a_datamodule_are_certified_and_resumed(tmp_path):
    data = Digits(limit=5)
    data.setup("predict")
    for _ in range(2):
        certify = callback(tmp_path)
        trainer(certify).predict(module(), data.predict_dataloader())
        assert len(certify.certificates) == 5


def test_the_trainer_s_predict_verb_does_not_certify(tmp_path):
    certify = callback(tmp_path)
    plain = trainer(certify, kind=SmoothTrainer)
    plain.predict(module(), datamodule=Digits(limit=3))
    assert not (tmp_path / "records.jsonl").exists()
    with pytest.warns(UserWarning, match="as it was built"):
        plain.certify(module(), datamodule=Digits(limit=3))
    assert len(read_records(tmp_path / "records.jsonl").certificates) == 3


def test_smaller_selections_are_refused_and_larger_ones_go_on(tmp_path):
    trainer(callback(tmp_path)).predict(module(), datamodule=Digits(limit=5))
    with pytest.raises(RecordError, match="not asked for now"):
        trainer(callback(tmp_path)).predict(module(), datamodule=Digits(limit=4))
    larger = callback(tmp_path)
    trainer(larger).predict(module(), datamodule=Digits(limit=7))
    assert len(larger.certificates) == 7


def test_another_model_is_refused_even_where_all_is_recorded(tmp_path):
    trainer(callback(tmp_path)).predict(module(), datamodule=Digits(limit=3))
    other = module()
    with torch.no_grad():
        other.model[1].bias[0] += 1e-6
    with pytest.raises(RecordError, match=r"model\.weights"):
        trainer(callback(tmp_path)).predict(other, datamodule=Digits(limit=3))


def test_records_of_other_images_are_refused_where_the_data_have_no_fingerprint(tmp_path):
    def loader(seed, label):
        images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        batch = (images, torch.full((3,), label), torch.arange(3))
        return torch.utils.data.DataLoader([batch], batch_size=None)

    trainer(callback(tmp_path)).predict(module(), loader(0, 1))
    trainer(callback(tmp_path)).predict(module(), loader(0, 1))
    for other in (loader(1, 1), loader(0, 2)):
        with pytest.raises(RecordError, match="another one than that of the data now"):
            trainer(callback(tmp_path)).predict(module(), other)


def test_a_foreign_module_is_certified_as_its_forward_is(tmp_path):
    class Foreign(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = linear()

        def forward(self, x):
            return -self.model(x)

        def predict_step(self, batch, batch_idx):
            return None

    net = Foreign()
    certify = callback(tmp_path)
    trainer(certify).predict(net, datamodule=Digits(limit=2))
    data = Digits()
    data.setup("predict")
    expected = certify.certifier(net, data.test_item(0)[0], index=0)
    assert certify.certificates[0].votes == expected.votes


def test_predictions_after_a_certification_have_all_images(tmp_path):
    data, plain = Digits(limit=6), trainer(callback(tmp_path), kind=SmoothTrainer)
    plain.certify(module(), datamodule=data)
    plain.certify(module(), datamodule=data)
    assert len(torch.cat(plain.predict(module(), datamodule=data))) == 6


def test_leaving_batches_out_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"data\.limit"):
        trainer(callback(tmp_path), limit_predict_batches=1).predict(
            module(), datamodule=Digits(limit=3)
        )


def test_a_checkpoint_cannot_follow_what_is_measured_less_often(tmp_path):
    certify = callback(tmp_path, val_images=5, val_every_n_epochs=2)
    best = ModelCheckpoint(tmp_path, monitor="val/acr")
    with pytest.raises(InputError, match="monitors val/acr every 1 epochs"):
        trainer(certify, best, max_epochs=1).fit(module(), datamodule=Digits())
    with pytest.raises(InputError, match="monitors val/acr"):
        trainer(callback(tmp_path), best, max_epochs=1).fit(module(), datamodule=Digits())
    both = ModelCheckpoint(tmp_path, monitor="val/acr", every_n_epochs=2)
    fit = trainer(certify, both, max_epochs=2, limit_train_batches=1)
    fit.fit(module(), datamodule=Digits())
    assert both.best_model_score is not None


def test_validating_a_checkpoint_always_certifies(tmp_path):
    certify = callback(tmp_path, val_images=3, val_n=10, val_n0=5, val_every_n_epochs=7)
    (figures,) = trainer(certify).validate(module(), Digits(), verbose=False)
    assert "val/acr" in figures


def test_a_summary_that_fails_costs_no_certificate(tmp_path):
    (tmp_path / "summary.json").write_text("{damaged")
    certify = callback(tmp_path)
    with pytest.warns(UserWarning, match="records are complete"):
        trainer(certify).predict(module(), datamodule=Digits(limit=2))
    assert len(read_records(tmp_path / "records.jsonl").certificates) == 2


def test_two_sigmas_are_warned_about(tmp_path):
    certify = CertificationCallback(
        GaussianCertifier(0.5, n0=5, n=10), folder=str(tmp_path), val_images=0
    )
    with pytest.warns(UserWarning, match=r"set to sigma = 0.25.*sigma = 0.5"):
        trainer(certify).predict(module(), datamodule=Digits(limit=1))


def test_two_preprocessings_are_warned_about():
    behind = {blur: Preprocessing("circle", blur=blur) for blur in (3, 5)}
    module = SmoothAdv(linear(), 0.2, preprocessing=behind[3])

    def check(blur):
        certifier = DistSPTxCertifier(Rotation(), 30, 0.2, [0.0, 10.0], preprocessing=behind[blur])
        CertificationCallback(certifier).check(pl.Trainer(logger=False), module)

    with pytest.warns(UserWarning, match=r"blur=3, s=2\), and the certifier to .*blur=5"):
        check(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(3)


def test_the_trainer_wants_one_certification_callback():
    with pytest.raises(InputError, match="Expected one CertificationCallback"):
        trainer(kind=SmoothTrainer).certify(module(), datamodule=Digits(limit=1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"radii": []}, "radii"),
        ({"radii": [-1.0]}, "radii"),
        ({"records": "records.txt"}, "records"),
        ({"val_images": -1}, "val_images"),
        ({"val_n": 0}, "`n`"),
        ({"pictures": -1}, "pictures"),
    ],
)
def test_settings_out_of_range_are_named(settings, words, tmp_path):
    with pytest.raises(InputError, match=words):
        callback(tmp_path, **settings)


def test_pictures_are_a_mix_of_verdicts(tmp_path):
    certify = callback(tmp_path)
    trainer(certify).predict(module(), datamodule=Digits(limit=40))
    chosen = choose(certify.certificates, 8)
    assert len({c.index for c in chosen}) == len(chosen) == 8
    samples = np.load(tmp_path / "samples.npz", allow_pickle=False)
    assert samples["clean"].dtype == np.uint8
    data = Digits()
    data.setup("predict")
    first = int(samples["index"][0])
    expected = (data.test_item(first)[0] * 255).round().numpy().astype(np.uint8)
    assert np.array_equal(samples["clean"][0], expected)
    assert choose(certify.certificates[:3], 8) != []
    assert choose([], 8) == []


def test_progress_says_images_draws_time_and_accuracy(tmp_path, capsys):
    certify = callback(tmp_path)
    trainer(certify).predict(module(), datamodule=Digits(limit=4))
    progress = CertificationProgress(8, [0.0, 0.5])
    for c in certify.certificates:
        progress.update(c)
    progress.stop()
    line = capsys.readouterr().err
    rate = sum(c.correct for c in certify.certificates) / 4
    assert "4/8 images" in line
    assert "draws/s" in line
    assert "left" in line
    assert f"{rate:.3f} at r=0" in line


@pytest.mark.parametrize(("supported", "warned"), [(False, True), (True, False)])
def test_bf16_on_a_cpu_without_it_is_warned_about(monkeypatch, supported, warned):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warn_of_slow_bf16(trainer, GaussianCertifier(0.5, n=10, precision="bf16"))
        warn_of_slow_bf16(trainer, GaussianCertifier(0.5, n=10))
    assert [("ten times slower" in str(w.message)) for w in said] == [True] * warned
