"""Options out of their range are refused where the configuration is made, in one line."""

import dataclasses

import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.errors import InputError
from jaxpriors.generation.jets import SamplingConfig
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.reweighting import Reweighting
from jaxpriors.run.ranges import check_number, check_whole
from jaxpriors.training.loop import TrainingConfig
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.options import TrainingOptions
from jaxpriors.unfolding.omnifold import OmniFold

HUGE = 10**20
MLP = RatioClassifier("mlp")


def test_numbers_within_their_range_pass():
    check_whole("epochs", np.int64(3), 1)
    check_number("clip", np.float32(1.5), 1, open_at=(1,))
    check_number("share", 1, 0, 1)


@pytest.mark.parametrize("value", [True, 1.5, "3", None, np.float64(2)])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(InputError, match=r"epochs: found .*, no whole number, expected 1 … 9"):
        check_whole("epochs", value, 1, 9)


@pytest.mark.parametrize("field", ["batch_size", "epochs", "patience", "micro_batch", "buckets"])
@pytest.mark.parametrize("value", [0, -(2**70), HUGE])
def test_a_training(field, value):
    with pytest.raises(
        InputError, match=rf"^{field}: found {value}, expected (at least 1|1 … \d+)"
    ):
        TrainingConfig(**{field: value})


@pytest.mark.parametrize("option", ["seed", "epochs", "batch_size", "micro_batch"])
def test_options_of_the_command_line(option):
    with pytest.raises(InputError, match=f"^{option}: found {HUGE}, expected"):
        TrainingConfig().with_options(TrainingOptions(**{option: HUGE}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 1e300),
        ("learning_rate", 1e-300),
        ("weight_decay", float("inf")),
        ("warmup", 1.5),
        ("final_rate", -1),
        ("clip", float("inf")),
        ("clip", 0),
        ("clip", float("nan")),
        ("betas", (0.9, 1.0)),
        ("betas", (0.9,)),
    ],
)
def test_an_update_rule(field, value):
    with pytest.raises(InputError, match=f"^{field}: found"):
        OptimizerConfig(**{field: value})


@pytest.mark.parametrize("clip", [float("inf"), float("nan"), 0, -1, 1])
def test_the_limit_of_an_unfolding(clip):
    with pytest.raises(
        InputError, match=f"^clip: found {clip}, expected a finite number greater than 1$"
    ):
        OmniFold(MLP, MLP, clip=clip)


@pytest.mark.parametrize("field", ["iterations", "members", "replicas", "seed"])
def test_the_numbers_of_an_unfolding(field):
    with pytest.raises(InputError, match=f"^{field}: found {HUGE}, expected"):
        OmniFold(MLP, MLP, **{field: HUGE})


def test_members_and_replicas_are_networks_of_one_program():
    with pytest.raises(InputError, match=r"members × replicas: found 100100, expected"):
        OmniFold(MLP, MLP, members=100, replicas=1000)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dataclasses.replace(MLP, ensemble=HUGE),
        lambda: dataclasses.replace(MLP, validation=0.0),
        lambda: dataclasses.replace(MLP, validation=float("nan")),
        lambda: Reweighting((MLP,), seed=HUGE),
        lambda: Reweighting((MLP,), (0.5, float("nan"), 0.5)),
        lambda: SamplingConfig(steps=HUGE),
        lambda: SamplingConfig(batch_size=HUGE),
        lambda: SamplingConfig(seed=-1),
    ],
)
def test_other_configurations(make):
    with pytest.raises(
        InputError, match=r"^(ensemble|validation|seed|fractions|steps|batch_size): found .*, expec"
    ):
        make()


@pytest.mark.parametrize(
    "options",
    [
        ("reweight", "--seed", str(HUGE)),
        ("reweight", "--micro-batch", str(HUGE)),
        ("reweight", "--ensemble", str(HUGE)),
        ("unfold", "--clip", "inf"),
        ("unfold", "--replicas", str(HUGE)),
    ],
)
def test_a_command_makes_nothing(tmp_path, capsys, options):
    command, name, value = options
    folder = tmp_path / "run"
    given = [command, "a.h5", "b.h5", "--model", "mlp", "--out", str(folder), name, value]
    assert run(given) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {name[2:].replace('-', '_')}: found {value}, expected")
    assert said.count("\n") == 1 and not folder.exists()
