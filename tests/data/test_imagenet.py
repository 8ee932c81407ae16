"""ImageNet's folders: cropping, colours, sizes, labels, what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_smooth.data import ImageNet, fakes, prepare
from lightning_smooth.errors import DataError, InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*class folders instead of 1000")


def test_greyscale_tiny_and_cmyk_images(imagenet_root: Path):
    folder = imagenet_root / "imagenet" / "val" / "n00000000"
    modes = [Image.open(path) for path in sorted(folder.iterdir())]
    assert [image.mode for image in modes] == ["L", "RGB", "CMYK", "RGB"]
    assert modes[1].size == (20, 30)
    data = ImageNet(str(imagenet_root), eval_batch_size=4)
    image, label, index = next(iter(data.predict_dataloader()))
    assert image.shape == (4, 3, 224, 224)
    assert label.tolist() == [0, 0, 0, 0]
    assert index.tolist() == [0, 1, 2, 3]
    assert torch.equal(image[0, 0], image[0, 1])
    assert torch.equal(image[0, 0], image[0, 2])
    assert image[1].std() > 0.05


def test_centre_crop_of_the_resized_image(tmp_path: Path):
    folder = tmp_path / "imagenet" / "val" / "n0"
    folder.mkdir(parents=True)
    picture = Image.new("RGB", (300, 200))
    picture.paste((255, 0, 0), (150, 0, 300, 200))
    picture.save(folder / "a.png")
    image, _ = ImageNet(str(tmp_path), resize=100, crop=50).test_item(0)
    # resized to 150 x 100, then cropped to columns 50..100: the edge at 75 is in the middle
    assert image.shape == (3, 50, 50)
    assert image[0, :, :24].max() == 0
    assert image[0, :, 26:].min() == 1
    assert image[1:].max() == 0


def test_training_images_are_cropped_at_random_and_validation_images_are_not(imagenet_root: Path):
    data = ImageNet(str(imagenet_root), 10, val_size=2, resize=64, crop=48, num_workers=2)
    torch.manual_seed(0)
    first = {int(i): x for x, _, i in zip(*next(iter(data.train_dataloader())), strict=True)}
    second = {int(i): x for x, _, i in zip(*next(iter(data.train_dataloader())), strict=True)}
    assert first.keys() == second.keys()
    assert len(first) == 10
    assert sum(torch.equal(first[i], second[i]) for i in first) <= 1
    held_out = [next(iter(data.val_dataloader())) for _ in range(2)]
    assert torch.equal(held_out[0][0], held_out[1][0])


def test_val_alone_is_enough_to_certify_but_not_to_train(tmp_path: Path):
    fakes.write_imagenet(tmp_path, train=False)
    data = ImageNet(str(tmp_path), val_size=0)
    data.prepare_data()
    data.setup("predict")
    assert data.test_indices() == list(range(12))
    missing = re.escape(f"the folder {tmp_path / 'imagenet' / 'train'} is missing")
    with pytest.raises(DataError, match=missing):
        data.setup("fit")
    assert prepare("imagenet", str(tmp_path)).startswith(
        "ImageNet (imagenet): no train and 12 test images of 3 x 224 x 224, 3 classes"
    )


def test_empty_root(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"cannot download ImageNet.*lightning-smooth data imagenet"
    ):
        ImageNet(str(tmp_path)).prepare_data()


def test_class_folder_without_images(imagenet_root: Path):
    (imagenet_root / "imagenet" / "val" / "n99999999").mkdir()
    with pytest.raises(DataError, match="n99999999"):
        ImageNet(str(imagenet_root)).setup("test")


def test_truncated_image(imagenet_root: Path):
    path = sorted((imagenet_root / "imagenet" / "val" / "n00000001").iterdir())[0]
    path.write_bytes(path.read_bytes()[:700])
    data = ImageNet(str(imagenet_root))
    with pytest.raises(DataError, match=rf"{re.escape(str(path))} cannot be read as an image"):
        data.test_item(4)
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=rf"{re.escape(str(path))} cannot be read as an image"):
        data.test_item(4)


@pytest.mark.filterwarnings("default:.*class folders")
def test_folders_are_numbered_and_a_warning_says_so(imagenet_root: Path):
    data = ImageNet(str(imagenet_root))
    assert data.num_classes == 1000
    with pytest.warns(UserWarning, match="holds 3 class folders instead of 1000.*`class_list`"):
        data.setup("test")
    assert data.num_classes == 3
    assert data.class_names == ["n00000000", "n00000001", "n00000002"]


def test_train_and_val_share_their_numbers(imagenet_root: Path):
    for path in (imagenet_root / "imagenet" / "val" / "n00000000").iterdir():
        path.unlink()
    (imagenet_root / "imagenet" / "val" / "n00000000").rmdir()
    data = ImageNet(str(imagenet_root))
    assert data.test_item(0)[1] == 1
    assert data.num_classes == 3


@pytest.mark.parametrize("form", ["json", "text"])
def test_class_list_fixes_the_labels(imagenet_root: Path, form: str):
    folders = ["n00000002", "n00000007", "n00000000", "n00000001"]
    path = imagenet_root / "classes"
    if form == "json":
        path.write_text(json.dumps({str(i): [f, f"name {f}"] for i, f in enumerate(folders)}))
    else:
        path.write_text("".join(f"{f} name {f}\n" for f in folders))
    data = ImageNet(str(imagenet_root), class_list=str(path))
    assert data.num_classes == 4, "known before anything is read"
    assert data.class_names[1] == "name n00000007"
    assert [data.test_item(i)[1] for i in (0, 4, 8)] == [2, 3, 0]
    plain = ImageNet(str(imagenet_root))
    assert data.fingerprint()["digest"] != plain.fingerprint()["digest"]


def test_class_list_without_a_folder(imagenet_root: Path):
    path = imagenet_root / "classes"
    path.write_text("n00000000\nn00000001\n")
    with pytest.raises(DataError, match="n00000002 is not in `class_list`"):
        ImageNet(str(imagenet_root), class_list=str(path)).setup("test")


@pytest.mark.parametrize(
    "content", ["", '{"0": ["a", "b"], "2": ["c", "d"]}', "{broken", "a\na\n", '{"0": 3}', None]
)
def test_class_list_that_cannot_be_read(tmp_path: Path, content: str | None):
    path = tmp_path / "classes"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="Expected `class_list`"):
        ImageNet(str(tmp_path), class_list=str(path))


def test_crop_larger_than_resize(tmp_path: Path):
    with pytest.raises(InputError, match="`resize` to be at least `crop` = 224, but got 200"):
        ImageNet(str(tmp_path), resize=200)


def test_fingerprint_knows_the_cropping_and_the_files(imagenet_root: Path):
    digest = ImageNet(str(imagenet_root)).fingerprint()["digest"]
    assert ImageNet(str(imagenet_root)).fingerprint()["digest"] == digest
    assert ImageNet(str(imagenet_root), resize=300).fingerprint()["digest"] != digest
    next((imagenet_root / "imagenet" / "val" / "n00000001").iterdir()).unlink()
    assert ImageNet(str(imagenet_root)).fingerprint()["digest"] != digest


def test_real_images_have_the_labels_of_the_class_index(real_imagenet: Path):
    index = Path(__file__).resolve().parents[3] / "shared/data/imagenet-sample/class_index.json"
    if not index.exists():
        pytest.skip(f"no {index}")
    data = ImageNet(str(real_imagenet), class_list=str(index), eval_batch_size=100, num_workers=2)
    image, label, _ = next(iter(data.predict_dataloader()))
    assert image.shape == (100, 3, 224, 224)
    assert label.tolist() == list(range(0, 1000, 10))
    assert data.class_names[0] == "tench"
