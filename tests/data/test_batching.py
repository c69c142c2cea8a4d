"""Batches hold every event once, in few shapes, in an order that follows from (seed, epoch)."""

import numpy as np
import pytest

from jaxpriors.data.batching import (
    UNITS,
    TrainingBatches,
    gather,
    plan_buckets,
    prediction_batches,
    prefetch,
)
from tests.helpers.jets import random_jets

JETS = random_jets(300, seed=0)


def _batches(events=JETS, seed=3):
    return TrainingBatches(events, plan_buckets(events.multiplicity), batch_size=32, seed=seed)


def _numbers(batches, epoch):
    """Each part's events as (first momentum) keys; rows of weight 0 left out."""
    steps = [batches.epoch(epoch)(k) for k in range(batches.steps)]
    return [
        [tuple(p) for part in parts for p in np.asarray(part.p4[part.weight != 0, 0])]
        for parts in steps
    ]


def test_every_event_is_seen_once_an_epoch():
    seen = [key for step in _numbers(_batches(), 0) for key in step]
    assert len(seen) == len(JETS)
    assert set(seen) == {tuple(p) for p in JETS.p4[JETS.offsets[:-1]]}


def test_order_follows_from_seed_and_epoch():
    assert _numbers(_batches(), 1) == _numbers(_batches(), 1)
    assert _numbers(_batches(), 1) != _numbers(_batches(), 2)
    assert _numbers(_batches(), 1) != _numbers(_batches(seed=4), 1)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_every_batch_out(processes):
    """Their rows are disjoint and together, in their order, those of the batch."""
    whole = TrainingBatches(
        JETS, plan_buckets(JETS.multiplicity, 2), 64, 3, JETS.multiplicity * 1.0
    )
    each = [whole.of_process(i, processes) for i in range(processes)]
    assert {one.steps for one in each} == {whole.steps}
    assert {one.rows for one in each} == {whole.rows}
    for epoch, step in ((0, 0), (1, whole.steps - 1)):
        parts = [one.epoch(epoch)(step) for one in each]
        for together, *shares in zip(whole.epoch(epoch)(step), *parts, strict=True):
            assert len({len(share.weight) for share in shares}) == 1
            for name, array in vars(together).items():
                np.testing.assert_array_equal(
                    np.concatenate([getattr(share, name) for share in shares]), array
                )


def test_a_batch_that_cannot_be_shared_out():
    with pytest.raises(ValueError, match="cannot be divided among 3 processes"):
        _batches().of_process(0, 3)


def test_all_batches_have_the_same_shapes_and_nothing_is_cut():
    batches = _batches()
    shapes = set()
    for k in range(batches.steps):
        parts = batches.epoch(0)(k)
        shapes.add(tuple(part.p4.shape for part in parts))
    assert len(shapes) == 1
    ((*parts,),) = shapes
    assert sum(rows for rows, _, _ in parts) == 32
    total = sum(
        part.p4[part.weight != 0, :, 0].sum(dtype=np.float64)
        for k in range(batches.steps)
        for part in batches.epoch(0)(k)
    )
    assert total == pytest.approx(JETS.p4[:, 0].sum(dtype=np.float64), rel=1e-6)


def test_buckets_save_padding():
    one, four = (plan_buckets(JETS.multiplicity, count) for count in (1, 4))
    assert one.lengths == (JETS.multiplicity.max(),)
    assert sum(four.shares) == sum(one.shares) == UNITS
    cost = [np.dot(b.lengths, b.shares) for b in (one, four)]
    assert cost[1] < 0.6 * cost[0]


def test_a_sample_smaller_than_a_batch():
    few = JETS[:3]
    seen = [key for step in _numbers(_batches(few), 0) for key in step]
    assert len(seen) == 3


def test_rows_beyond_the_events_have_no_weight():
    batch = gather(JETS, np.array([5, 7]), 12, rows=4)
    assert batch.weight.tolist() == [1, 1, 0, 0]
    kept = min(12, JETS.multiplicity[7])
    own = JETS.p4[JETS.offsets[7] :][:kept].astype(np.float32)
    np.testing.assert_array_equal(batch.p4[1, :kept], own)
    assert not batch.p4[1, kept:].any()


def test_prediction_batches_cover_every_event():
    lengths = plan_buckets(JETS.multiplicity).lengths
    seen = []
    for index, batch in prediction_batches(JETS, lengths, rows=64):
        assert batch.p4.shape[0] == 64
        np.testing.assert_array_equal(batch.length[: len(index)], JETS.multiplicity[index])
        seen.extend(index)
    assert sorted(seen) == list(range(len(JETS)))


def test_prefetch_keeps_the_order_and_passes_errors_on():
    for threads in (1, 3, 8):
        assert list(prefetch(lambda k: k * k, 2, 7, threads)) == [4, 9, 16, 25, 36]
    assert list(prefetch(lambda k: k, 3, 3)) == []

    def fails(k):
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(prefetch(fails, 0, 2))


def test_batch_size_must_fit_the_buckets():
    with pytest.raises(ValueError, match="batch_size: found 40, expected a multiple of 16"):
        TrainingBatches(JETS, plan_buckets(JETS.multiplicity), batch_size=40, seed=0)


def test_classes_are_spread_evenly():
    """A rare class is in every batch, in its share."""
    label = (np.arange(len(JETS)) % 10 == 0).astype(int)
    batches = _batches(JETS.with_label(label))
    for k in range(batches.steps):
        parts = batches.epoch(0)(k)
        rare = sum(float(((part.label == 1) & (part.weight != 0)).sum()) for part in parts)
        assert 1 <= rare <= 6
