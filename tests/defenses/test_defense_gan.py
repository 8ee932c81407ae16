"""Defense-GAN: projections against a dense search, another optimiser, and a plain loop."""

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from scipy.optimize import minimize
from torch import nn

from lightning_smooth.defenses import DefenseGAN
from lightning_smooth.errors import InputError
from lightning_smooth.models import Generator


def network(latent=3, size=8, dtype=torch.float64, channels=1):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = Generator(latent, channels, size, width=4).to(dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
    return model


def image(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(call, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return call()


def made(generator, count, seed=7):
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return generator(torch.randn(count, generator.latent, generator=drawn, dtype=torch.float64))


def test_images_of_the_generator_are_found_again():
    generator = network()
    images = made(generator, 4)
    defence = DefenseGAN(generator, steps=200, restarts=6)
    latents, errors = seeded(lambda: defence.project(images))
    assert latents.shape == (4, 3)
    assert float(errors.max()) < 1e-3 * float(images.var())
    found = seeded(lambda: defence(images))
    torch.testing.assert_close(found, generator(latents).detach())
    torch.testing.assert_close((found - images).square().flatten(1).mean(dim=1), errors)


def test_one_latent_number_is_the_best_of_a_dense_grid():
    generator, images = network(latent=1), image(3, 1, 8, 8)
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        apart = generator(grid)[None] - images[:, None]
    least = apart.square().flatten(2).mean(dim=2).min(dim=1).values
    _, errors = seeded(lambda: DefenseGAN(generator, 200, 20).project(images))
    assert (errors < least * 1.001 + 1e-9).all()


def test_it_reaches_what_another_optimiser_does():
    generator, images = network(), image(2, 1, 8, 8)
    defence = DefenseGAN(generator, 300, 8)
    _, errors = seeded(lambda: defence.project(images))
    starts = seeded(lambda: torch.randn(16, 3, dtype=torch.float64)).view(2, 8, 3)

    def fun(z, target):
        latent = torch.tensor(z[None], requires_grad=True)
        error = (generator(latent) - target).square().mean()
        (slope,) = torch.autograd.grad(error, latent)
        return error.item(), slope[0].numpy()

    for target, own, error in zip(images, starts, errors, strict=True):
        ends = [minimize(fun, z.numpy(), (target,), jac=True, method="L-BFGS-B").fun for z in own]
        assert float(error) == pytest.approx(min(ends), rel=0.02)


def test_descent_is_a_plain_loop_with_momentum_and_the_best_restart():
    generator, images = network(), image(2, 1, 8, 8)
    defence = DefenseGAN(generator, steps=5, restarts=3, lr=4.0)
    latents, errors = seeded(lambda: defence.project(images))
    starts = seeded(lambda: torch.randn(6, 3, dtype=torch.float64)).view(2, 3, 3)
    for number, target in enumerate(images):
        ends = []
        for start in starts[number]:
            z, speed = start.clone().requires_grad_(), 0
            for step in range(5):
                error = (generator(z[None])[0] - target).square().mean()
                (slope,) = torch.autograd.grad(error, z)
                speed = 0.7 * speed + slope
                rate = 4.0 * (1 + np.cos(np.pi * step / 5)) / 2
                z = (z - rate * speed).detach().requires_grad_()
            ends.append((float((generator(z[None])[0] - target).square().mean().detach()), z))
        error, z = min(ends, key=lambda end: end[0])
        assert float(errors[number]) == pytest.approx(error)
        torch.testing.assert_close(latents[number], z.detach())


def test_it_draws_from_the_global_generator():
    defence, images = DefenseGAN(network(), 2, 2), image(3, 1, 8, 8)
    assert defence.stochastic is True
    one, again = (seeded(lambda: defence(images)) for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, seeded(lambda: defence(images), seed=1))


def test_batches_do_not_matter():
    generator, images = network(), image(3, 1, 8, 8)
    whole = seeded(lambda: DefenseGAN(generator, 20, 4)(images))
    for size in (1, 5, 7):
        parts = seeded(lambda size=size: DefenseGAN(generator, 20, 4, batch_size=size)(images))
        torch.testing.assert_close(parts, whole)


def test_gradients_are_its_own_whatever_surrounds():
    generator, images = network(), image(2, 1, 8, 8).requires_grad_()
    defence = DefenseGAN(generator, 10, 2)
    plain = seeded(lambda: defence(images))
    assert not plain.requires_grad
    assert all(p.requires_grad and p.grad is None for p in generator.parameters())
    with torch.no_grad():
        assert torch.equal(seeded(lambda: defence(images)), plain)
    with torch.inference_mode():
        assert torch.equal(seeded(lambda: defence(images.detach() * 1)), plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(seeded(lambda: defence(images)), plain)


def test_latents_that_diverge_do_not_count():
    generator, images = network(), image(2, 1, 8, 8)
    with torch.no_grad():
        generator.layers[0].bias[0] = torch.nan
    _, errors = seeded(lambda: DefenseGAN(generator, 1, 2).project(images))
    assert torch.equal(errors, torch.full((2,), torch.inf).double())


def test_shape_and_dtype_stay():
    defence = DefenseGAN(network(dtype=torch.float32, channels=3), 2, 2)
    for dtype in (torch.float32, torch.float64):
        found = defence(image(2, 3, 8, 8).to(dtype))
        assert (found.shape, found.dtype) == ((2, 3, 8, 8), dtype)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert defence(torch.zeros(0, 3, 8, 8)).shape == (0, 3, 8, 8)


def test_it_is_built_from_plain_arguments_and_a_file(tmp_path):
    source = network(dtype=torch.float32)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    parser = ArgumentParser()
    parser.add_argument("--defence", type=nn.Module)
    sizes = {"latent": 3, "image_size": 8, "width": 4}
    given = {
        "class_path": "lightning_smooth.defenses.DefenseGAN",
        "init_args": {
            "generator": {"class_path": "lightning_smooth.models.Generator", "init_args": sizes},
            "steps": 3,
            "weights": str(tmp_path / "w.pt"),
        },
    }
    defence = parser.instantiate(parser.parse_object({"defence": given})).defence
    images = image(2, 1, 8, 8).float()
    expected = seeded(lambda: DefenseGAN(source, 3)(images))
    assert torch.equal(seeded(lambda: defence(images)), expected)
    assert "steps=3, restarts=10" in repr(defence)


def test_what_is_refused(tmp_path):
    with pytest.raises(InputError, match="`generator` to be a Generator, but got Linear"):
        DefenseGAN(nn.Linear(1, 1))
    for fault in ({"steps": -1}, {"restarts": 0}, {"lr": 0.0}, {"batch_size": 0}):
        with pytest.raises(InputError, match=f"`{next(iter(fault))}`"):
            DefenseGAN(network(), **fault)
    with pytest.raises(InputError, match=r"of shape \(B, 1, 8, 8\).* but got \(1, 1, 4, 4\)"):
        DefenseGAN(network())(image(1, 1, 4, 4))
    with pytest.raises(InputError, match="does not exist"):
        DefenseGAN(network(), weights=str(tmp_path / "none.safetensors"))


def test_restarts_one_by_one_and_the_best_of_them():
    generator, images = network(), image(3, 1, 8, 8)
    defence = DefenseGAN(generator, 30, 4)
    latents, errors = seeded(lambda: defence.restarted(images, 4))
    assert latents.shape == (3, 4, 3)
    with torch.no_grad():
        apart = generator(latents.flatten(0, 1)).view(3, 4, 1, 8, 8) - images[:, None]
    torch.testing.assert_close(errors, apart.square().flatten(2).mean(dim=2))
    best, least = seeded(lambda: defence.project(images))
    assert torch.equal(least, errors.min(dim=1).values)
    assert torch.equal(best, latents[torch.arange(3), errors.argmin(dim=1)])


def test_unrolled_steps_give_the_derivative_of_the_minimum():
    generator, images = network(latent=1), image(2, 1, 8, 8)
    defence = DefenseGAN(generator, 200, 1)
    latents, _ = seeded(lambda: defence.project(images))
    latents = defence.unrolled(latents, images, 200).detach()
    leaf = images.clone().requires_grad_()
    found = defence.unrolled(latents, leaf, 100)
    torch.testing.assert_close(found.detach(), latents, rtol=0, atol=1e-6)
    slope = torch.randn(2, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(found, leaf, slope)

    def by_latent(z, x):
        moving = z.detach().requires_grad_() if not z.requires_grad else z
        error = (generator(moving[None])[0] - x).square().mean()
        return torch.autograd.grad(error, moving, create_graph=True)[0]

    for row in range(2):
        # dz / dx = -H^-1 d^2 e / dz dx at the minimum
        z, x = latents[row], images[row]
        curvature = torch.autograd.functional.jacobian(lambda z, x=x: by_latent(z, x), z)
        mixed = torch.autograd.functional.jacobian(lambda x, z=z: by_latent(z, x), x)
        inverse = torch.linalg.solve(curvature, mixed.flatten(1))
        expected = -(slope[row] @ inverse).view(1, 8, 8)
        torch.testing.assert_close(gradient[row], expected, rtol=1e-3, atol=1e-6)
    assert torch.equal(defence.unrolled(latents, images, 0).detach(), latents)
