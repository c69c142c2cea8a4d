"""Steps of Lion that OmniLearn made are made again: losses, gradients, weights, averages."""

from pathlib import Path

import numpy as np
import pytest

from jaxpriors.models.pet import PETConfig
from jaxpriors.verification.checks import Case, read_case
from jaxpriors.verification.pet_training import recorded_config, verify_lion, verify_pet_training
from jaxpriors.verification.verify import verify_case

CASES = Path(__file__).parents[1] / "fixtures" / "omnilearn"


def _undecided(checks) -> int:
    """Weights that were left out, by the notes on the last step."""
    last = max(check.name[:2] for check in checks if check.name[:2] in ("w3", "w5"))
    notes = [c.note for c in checks if c.name.startswith(last) and "ema_" not in c.name]
    return sum(int(note.split()[0]) for note in notes if note)


@pytest.mark.parametrize(
    ("name", "least"),
    [("train_all_small", 500), ("train_generator_small", 420), ("train_classifier_small", 420)],
)
def test_recorded_trainings_of_pet_are_followed(name, least):
    checks = verify_case(CASES / f"{name}.json")
    assert [str(check) for check in checks if not check.ok] == []
    assert len(checks) >= least
    weights = sum(
        array.size
        for key, array in read_case(CASES / f"{name}.json").arrays.items()
        if key.startswith("w3:")
    )
    assert _undecided(checks) < 0.03 * weights


def test_training_of_omnifolds_classifier_and_what_is_wrong_is_told():
    """All agrees but for the three arrays that we change."""
    case = read_case(CASES / "train_omnifold_small.json")
    wrong = {"w1:body.embed.0.kernel": 1e-4, "g0:cls.out.bias": 1e-2, "losses": 1e-2}
    for name, change in wrong.items():
        case.arrays[name] = case.arrays[name] + np.float32(change)
    checks = verify_pet_training(case)
    failed = {check.name for check in checks if not check.ok}
    assert failed == {*wrong} - {"losses"} | {"losses[first]", "losses[later]"}
    assert len(checks) > 300
    assert _undecided(checks) < 100


def test_lion_and_its_schedule():
    checks = verify_case(CASES / "lion_cosine.json")
    assert {check.name: check.ok for check in checks} == {"lr": True, "w": True, "w_clipnorm": True}
    case = read_case(CASES / "lion_cosine.json")
    case.arrays["w"] = np.append(case.arrays["w"][:-1], case.arrays["w"][-1:] + 1e-3, axis=0)
    assert [check.name for check in verify_lion(case) if not check.ok] == ["w"]


def test_arguments_that_reach_pet_make_its_configuration():
    """OmniFold's classifier takes more of them than it hands on."""
    given = {"num_classes": 3, "num_layers": 1, "projection_dim": 24, "num_heads": 3, "K": 5}
    head = {"simple": True, "num_gen_layers": 1, "num_class_layers": 3}
    sizes = dict(num_classes=3, num_layers=1, mode="omnilearn")

    def config(cls, override=None, **kwargs):
        return recorded_config(Case("x", {"cls": cls, "kwargs": kwargs} | (override or {}), {}, {}))

    assert config("PET", **given, **head, num_local=1, talking_head=True) == PETConfig(
        **sizes, hidden_channels=24, num_heads=3, neighbours=5, num_local=1, talking_head=True,
        simple=True, num_gen_layers=1, num_class_layers=3,
    )  # fmt: skip
    found = config("PET", num_classes=3, num_layers=1, local=False, layer_scale=False, num_local=2)
    assert found == PETConfig(**sizes, num_local=0, layer_scale=None)
    assert config("omnifold.Classifier", **given) == PETConfig(**sizes)
    override = {"pet_override": {"projection_dim": 16}}
    assert config("omnifold.Classifier", override, **given) == PETConfig(
        **sizes, hidden_channels=16
    )
