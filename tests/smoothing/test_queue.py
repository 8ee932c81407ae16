"""Draws of many plans in one batch: what is counted, what shares a batch, and who draws."""

import threading
import time

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.smoothing import GaussianNoise, NoiseKey
from lightning_smooth.smoothing.plans import Draws
from lightning_smooth.smoothing.queue import DrawQueue
from lightning_smooth.smoothing.rng import standard_normal
from lightning_smooth.smoothing.sharing import Share

CPU = torch.device("cpu")
LAW = GaussianNoise(1.0)
SHAPE = (1, 2, 3)


def signs(x):
    """Class 1 where the first pixel is positive."""
    return torch.stack([-x[:, 0, 0, 0], x[:, 0, 0, 0]], dim=1)


def expected(index, first, count):
    key = NoiseKey(0, index, "estimation")
    noise = torch.cat([standard_normal(key, b, SHAPE, CPU) for b in range(5)])
    positive = int((noise[first : first + count, 0, 0, 0] + index / 10 > 0).sum())
    return [count - positive, positive]


def asks(index, *spans):
    found = []
    for first, count in spans:
        image = torch.full(SHAPE, index / 10)
        counts = yield Draws(image, NoiseKey(0, index, "estimation"), first, count)
        found.append(counts.tolist())
    return index, found


def drain(queue, plans):
    queue.feed(plans)
    results = []
    while batch := queue.advance():
        results += [value for value, _ in batch]
    return results


@pytest.mark.parametrize("batch_size", [1, 10, 64, 128, 129, 400, 4096])
def test_every_plan_is_sent_the_counts_of_its_own_draws(batch_size):
    spans = {0: [(0, 100), (100, 28), (128, 300)], 1: [(64, 1)], 2: [], 3: [(5, 500), (0, 3)]}
    queue = DrawQueue(signs, LAW, device=CPU, batch_size=batch_size)
    results = dict(drain(queue, (asks(i, *wanted) for i, wanted in spans.items())))
    assert results == {i: [expected(i, *s) for s in wanted] for i, wanted in spans.items()}


def test_batches_are_full_but_for_the_last():
    sizes = []

    def model(x):
        sizes.append(len(x))
        return signs(x)

    queue = DrawQueue(model, LAW, device=CPU, batch_size=128)
    drain(queue, (asks(i, (0, 50), (50, 30)) for i in range(16)))
    assert sum(sizes) == 16 * 80
    assert sizes[:-2] == [128] * (len(sizes) - 2)


def test_plans_are_started_when_there_is_room_and_not_before():
    started = []

    def watched(index):
        started.append(index)
        return (yield from asks(index, (0, 100)))

    queue = DrawQueue(signs, LAW, device=CPU, batch_size=128)
    queue.feed(watched(i) for i in range(100))
    queue.advance()
    assert len(started) <= 3


def test_time_is_shared_among_those_who_drew():
    queue = DrawQueue(signs, LAW, device=CPU, batch_size=128)
    queue.feed([asks(0, (0, 512)), asks(1, (0, 64))])
    seconds = {}
    while batch := queue.advance():
        seconds |= {value[0]: spent for value, spent in batch}
    assert seconds[0] > seconds[1] > 0


def test_what_a_plan_computes_itself_is_its_own_time():
    def slow(index):
        time.sleep(0.25)
        found = yield from asks(index, (0, 40))
        time.sleep(0.25)
        return found

    queue = DrawQueue(signs, LAW, device=CPU, batch_size=128)
    queue.feed([asks(0, (0, 60)), slow(1), asks(2, (0, 60))])
    seconds = {}
    while batch := queue.advance():
        seconds |= {value[0]: spent for value, spent in batch}
    assert seconds[1] >= 0.5
    assert max(seconds[0], seconds[2]) < 0.5


def together(world, plans, batch_size=64):
    """Run the same plans in `world` threads that share draws; return what each found and drew."""
    barrier, box, found, drawn = threading.Barrier(world), [None] * world, {}, [0] * world

    def process(rank):
        def total(counts):
            box[rank] = counts
            barrier.wait()
            summed = torch.stack(box).sum(dim=0)
            barrier.wait()
            return summed

        def model(x):
            drawn[rank] += len(x)
            return signs(x)

        queue = DrawQueue(
            model, LAW, device=CPU, batch_size=batch_size, share=Share(rank, world, total)
        )
        found[rank] = drain(queue, plans())

    threads = [threading.Thread(target=process, args=[rank]) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return found, drawn


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_processes_that_share_draws_are_sent_the_same_totals(world):
    spans = [(0, 100), (100, 3), (103, 400)]
    found, drawn = together(world, lambda: [asks(i, *spans) for i in range(4)])
    assert all(
        results == [(i, [expected(i, *s) for s in spans]) for i in range(4)]
        for results in found.values()
    )
    # a process without a draw of its own in the ask of 3 makes one for nothing
    assert sum(drawn) == 4 * (503 + max(world - 3, 0))


def test_a_model_without_finite_scores_is_named():
    queue = DrawQueue(lambda x: signs(x) * torch.nan, LAW, device=CPU)
    queue.feed([asks(7, (0, 10))])
    with pytest.raises(InputError, match="image 7"):
        queue.advance()
