"""Every published setting is what the presets have; PUBLISHED alone says what it is."""

import dataclasses
import inspect
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
import pytest

import experiments.dis
import experiments.unfolding
from jaxpriors import InputError, RatioClassifier
from jaxpriors.anomaly.training import search_classifier
from jaxpriors.models.lgatr import LGATr
from jaxpriors.models.pet_dijet import PETTwoJetClassifierConfig
from jaxpriors.preprocessing.clouds import DijetCloudConfig, PointCloudConfig
from jaxpriors.preprocessing.tokens import DijetConfig, InputConfig
from jaxpriors.ratio import settings
from jaxpriors.ratio.finetuning import SHIPPED
from jaxpriors.ratio.presets import MODELS, preset
from jaxpriors.ratio.published import PUBLISHED, STUDIES, classifier, later, rows
from jaxpriors.training.optimizers import learning_rate, schedule
from jaxpriors.unfolding.omnifold import OmniFold

PAGE = Path(__file__).parents[2] / "docs" / "paper.md"
ALL = [(study, row) for study in STUDIES for row in rows(study)]
PARTS = {"neighbours": "neighbours", "local": "num_local", "head_blocks": "num_class_layers"}
CHANNELS = {
    "mlp": ("hidden_channels",),
    "lgatr": ("hidden_mv_channels", "hidden_s_channels"),
    "lgatr-slim": ("hidden_v_channels", "hidden_s_channels"),
    "pet": ("hidden_channels",),
}


@lru_cache
def made(study, row) -> RatioClassifier:
    return classifier(study, row, pretrained=SHIPPED if row == "pet-finetuned" else None)


def keras_cosine(step, rate, initial, final, warmup, decay):
    """`keras.optimizers.schedules.CosineDecay` with a warm-up, of Keras 2.13 and later."""
    if step < warmup:
        return initial + (rate - initial) * step / warmup
    part = (min(step, decay + warmup) - warmup) / decay
    return rate * ((1 - final) * 0.5 * (1 + np.cos(np.pi * part)) + final)


def rates(study, row):
    """Learning rates of our training and of the published schedule at some of its steps.

    OmniLearn counts steps of all events, where ``counted`` of them are trained on.
    """
    found, one = settings.published(study, row), made(study, row)
    counted = 180_000  # events of an epoch as the schedule has it
    epoch = counted / found["batch"]
    steps = round(found["epochs"] * epoch / found["counted"])
    warmup, decay = (round(found[name] * epoch) for name in ("warmup_epochs", "cosine_epochs"))
    at = np.array([0, warmup // 2, warmup - 1, warmup, warmup + decay // 3, steps - 1])
    initial = found["initial_rate"] * found["rate"]
    expected = [
        keras_cosine(step, found["rate"], initial, found["final_rate"], warmup, decay)
        for step in at
    ]
    return learning_rate(at, **schedule(one.training.optimizer, steps)), expected


@pytest.mark.parametrize(
    ("study", "row"), [(s, r) for s, r in ALL if "warmup_epochs" in settings.published(s, r)]
)
def test_learning_rates_follow_keras_schedule(study, row):
    found, expected = rates(study, row)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_schedule_ends_before_its_cosine():
    """As docs/paper.md says, in parts of the peak."""
    ends = {("omnifold", "pet"): 0.155, ("dis", "lgatr-1M"): 0.064, ("dis", "pet"): 0.206}
    for (study, row), end in ends.items():
        peak = settings.published(study, row)["rate"]
        assert float(rates(study, row)[0][-1]) / peak == pytest.approx(end, abs=2e-3)


def parameters(study, row):
    shapes = jax.eval_shape(lambda key: made(study, row).initial(key)[0], jax.random.key(0))
    return sum(x.size for x in jax.tree.leaves(shapes))


def test_every_published_setting_is_what_the_presets_have():
    for setting in PUBLISHED:
        for row in setting.rows:
            one = made(setting.study, row)
            optimizer, training, network = one.training.optimizer, one.training, one.network
            channels = CHANNELS[one.model.removesuffix("-finetuned")]
            found = {
                "rule": optimizer.rule,
                "rate": optimizer.learning_rate,
                "weight_decay": optimizer.weight_decay,
                "decay_all": optimizer.decay_all,
                "slow_decay": optimizer.slow_decay,
                "betas": optimizer.betas,
                "clip": optimizer.clip,
                "body_factor": optimizer.body_factor,
                "initial_rate": optimizer.initial_rate,
                "final_rate": optimizer.final_rate,
                "batch": training.batch_size,
                "epochs": training.epochs,
                "patience": training.patience,
                "validation": one.validation,
                "regression": one.regression,
                "features": getattr(one.inputs, "features", None),
                "jet_features": getattr(one.inputs, "jet_features", None),
                "normalisation": getattr(one.inputs, "normalisation", None),
                "iterations": OmniFold(one, one).iterations,
                "seeds": len(
                    inspect.signature(experiments.unfolding.paper).parameters["seeds"].default
                ),
                "constituents": experiments.dis.CONSTITUENTS,
                "networks": inspect.signature(search_classifier).parameters["networks"].default,
            }
            if setting.study == "omnifold":
                found["later_rate"] = later("omnifold", row).optimizer.learning_rate
            if one.pretrained is None:  # otherwise the network is that of the weights
                found |= {
                    "channels": tuple(getattr(network, name) for name in channels),
                    "blocks": getattr(network, "num_blocks", getattr(network, "num_layers", None)),
                    "heads": getattr(network, "num_heads", None),
                    **{name: getattr(network, ours, None) for name, ours in PARTS.items()},
                    "parameters": parameters(setting.study, row)
                    if setting.name == "parameters"
                    else None,
                }
            elif (
                setting.name in ("channels", "blocks", "heads", "neighbours", "local")
                or setting.name == "head_blocks"
            ):
                continue
            if setting.name in ("warmup_epochs", "cosine_epochs", "counted"):
                continue  # by the learning rates, above
            expected = setting.value
            if setting.name == "parameters":  # published with one or two digits
                expected = pytest.approx(expected, rel=0.081)
            assert found[setting.name] == expected, (setting, row)


def test_size_paper_is_that_of_the_unfolding():
    for row in rows("omnifold"):
        one = made("omnifold", row)
        if row == "lgatr-2M":
            continue
        model = MODELS[one.model]
        assert one.training == model.training["paper"] and one.size == "paper"
        if not model.pretrained:
            assert preset(one.model, "paper") == settings.network("omnifold", row)
        one = RatioClassifier(one.model, "paper", pretrained=one.pretrained)
        assert one == dataclasses.replace(made("omnifold", row), validation=one.validation)


def test_the_page_holds_every_setting():
    page = PAGE.read_text()
    for study in STUDIES:
        begin, end = (f"<!-- {study}: {what} -->" for what in ("begin", "end"))
        held = page[page.index(begin) + len(begin) : page.index(end)].strip()
        assert held == settings.markdown(study), f"write settings.markdown({study!r}) there"


def test_the_factor_of_hidden_channels_is_the_best():
    """docs/paper.md holds the numbers of parameters for all pairs of whole factors."""
    network, page = settings.network("anomaly", "lgatr"), PAGE.read_text()
    scalars = DijetConfig().scalars
    published = settings.published("anomaly", "lgatr")["parameters"]
    found = {}
    for attention in (1, 2, 3, 4):
        for mlp in (1, 2, 3, 4):
            config = dataclasses.replace(
                network, attn_ratio=attention, mlp_ratio=mlp, in_s_channels=scalars
            )
            shapes = jax.eval_shape(lambda key, c=config: LGATr.init(key, c), jax.random.key(0))
            number = sum(x.size for x in jax.tree.leaves(shapes))
            found[attention, mlp] = abs(number - published)
            assert f"{number / 1e6:.3f}" in page, (attention, mlp, number)
    assert min(found, key=found.get) == (network.attn_ratio, network.mlp_ratio)


def test_momenta_alone_are_seen_by_both_networks():
    for study, normalisation in (("omnifold", "jetclass"), ("dis", "h1")):
        assert classifier(study, "lgatr-1M", features="momenta").inputs == InputConfig("momenta")
        found = classifier(study, "pet", features="momenta").inputs
        assert found == PointCloudConfig(normalisation, "momenta")


def test_dijets_have_networks_and_constituents():
    one = classifier("anomaly", "pet", networks=4, constituents=7, seed=3)
    assert (one.ensemble, one.each_best, one.training.seed) == (4, True, 3)
    assert one.inputs == DijetCloudConfig("lhco", 7)
    assert isinstance(one.network, PETTwoJetClassifierConfig)
    again = search_classifier("pet", "paper", networks=4, constituents=7, seed=3)
    assert again == one


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("zjets", "pet"), {}, "study: found 'zjets', expected one of omnifold, dis, anomaly"),
        (("dis", "mlp"), {}, "row: found 'mlp', expected one of lgatr-1M, lgatr-2M, lgatr-slim"),
        (("dis", "pet"), {"constituents": 30}, "constituents: found 30, expected none for dis"),
        (("anomaly", "pet"), {"features": "momenta"}, "features: found 'momenta', expected 'full'"),
        (("omnifold", "mlp"), {"features": "momenta"}, "features: found 'momenta'"),
        (("dis", "pet"), {"pretrained": SHIPPED}, "expected none for pet"),
        (("omnifold", "pet-finetuned"), {}, "PET_jetclass_8_local_layer_scale_token_baseline_all"),
    ],
)
def test_rows_and_options_that_are_not_published(arguments, options, message):
    with pytest.raises(InputError, match=message):
        classifier(*arguments, **options)
    with pytest.raises(InputError, match="study: found 'dis', expected omnifold"):
        later("dis", "pet")
