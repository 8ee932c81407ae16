"""Images that sets are tested on, and whether transformed images stay in their sets."""

import torch

from lightning_smooth.verify import crown_bounds_of_forms
from tests.interpolation.cases import digits, pictures


def hard_images(height=8, width=8):
    """Name -> image (C, height, width), float64; scans where they fit."""
    found = {name: image.double() for name, image in pictures(height, width).items()}
    found["empty"] = torch.zeros(1, height, width, dtype=torch.float64)
    if (height, width) == (8, 8):
        found["digit"] = digits(3)[2].double()
    return found


def thetas(low, high, count=40, seed=0):
    """(N, B, P) parameters of boxes (B, P): all corners, a grid and random ones."""
    generator = torch.Generator().manual_seed(seed)
    parameters = low.shape[1]
    axis = torch.linspace(0, 1, 25 if parameters == 1 else 6, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * parameters).reshape(-1, 1, parameters)
    drawn = torch.rand(count, *low.shape, dtype=torch.float64, generator=generator)
    share = torch.cat([grid.expand(-1, *low.shape), drawn])
    return torch.where(share == 1, high, (low + (high - low) * share).clamp(low, high))


def evaluated(forms, theta):
    """Values (B, C, H, W) of the lower and the upper forms, at theta (B, P)."""
    low = forms.low_b + torch.einsum("bpchw,bp->bchw", forms.low_a, theta)
    return low, forms.up_b + torch.einsum("bpchw,bp->bchw", forms.up_a, theta)


def gap(forms):
    """Mean distance (B,) of the forms over boxes: that in the middle."""
    low, high = evaluated(forms, forms.box.mean(dim=2))
    return (high - low).flatten(1).mean(dim=1)


def check_enclosed(enclosure, image, low, high, *, count=40):
    """The sets of boxes, of which no image that float32 or float64 makes is outside."""
    forms = enclosure.regions(image, low, high)
    assert forms.low_b.shape == (len(low), *image.shape)
    assert torch.equal(forms.box, torch.stack([low, high], dim=2))
    theta, pixels = thetas(low, high, count), forms.pixels
    below, above = (
        b + torch.einsum("bpchw,nbp->nbchw", a, theta)
        for a, b in ((forms.low_a, forms.low_b), (forms.up_a, forms.up_b))
    )
    for dtype in (torch.float32, torch.float64):
        made = enclosure.transform(image[None].to(dtype), theta.flatten(0, 1)).double()
        made = made.view(below.shape)
        assert bool((below <= made).all()), float((below - made).max())
        assert bool((made <= above).all()), float((made - above).max())
        assert bool(((pixels.lower <= made) & (made <= pixels.upper)).all())
    return forms


def check_scores(model, enclosure, image, low, high):
    """Scores over boxes, within which a network's are for images that float32 makes."""
    forms = enclosure.regions(image, low, high)
    found = crown_bounds_of_forms(model, forms)
    with torch.no_grad():
        for theta in thetas(low, high, 20):
            scores = model(enclosure.transform(image[None].float(), theta)).double()
            assert bool(((found.lower <= scores) & (scores <= found.upper)).all())
    return found
