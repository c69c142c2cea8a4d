"""Fitted ratios recover ratios that are known, and are the same after a detour through files."""

import dataclasses

import numpy as np
import pytest

from jaxpriors import Events, InputError, RatioClassifier, RatioModel
from jaxpriors.data.batching import split
from jaxpriors.data.samples import zjets
from jaxpriors.evaluation.discriminators import discriminator_floor, triangular_discriminator
from jaxpriors.evaluation.metrics import chi2_test, effective_sample_size
from jaxpriors.evaluation.observables import OBSERVABLES, observables
from jaxpriors.ratio.presets import MODELS, preset

pytestmark = pytest.mark.usefixtures("optimised")


def _classifier(model, epochs, **network):
    training = dataclasses.replace(MODELS[model].training["small"], epochs=epochs)
    config = dataclasses.replace(preset(model, "small"), **network)
    return RatioClassifier(model, training=training, network=config)


def _true_log_ratio(events: Events) -> np.ndarray:
    """A smooth function of the jet: of its multiplicity and of its mass over its pT."""
    from jaxpriors.evaluation.observables import jet_observables
    from jaxpriors.physics.kinematics import pt

    slender = jet_observables(events)["mass"] / pt(events.jet_p4.astype(np.float64))
    return 0.6 * np.tanh((events.multiplicity - 20) / 8) - 0.4 * np.tanh((slender - 0.07) / 0.03)


@pytest.fixture(scope="module")
def known_ratio():
    """(simulation, data, events to test with) of one mixture of both samples; data have weights."""
    events = Events.concatenate([zjets(name, "detector") for name in ("simulation", "data")])
    order = np.random.default_rng(0).permutation(len(events))
    simulation, data, test = (events[np.sort(i)] for i in np.split(order, [16000, 32000]))
    data = data.with_weight(np.exp(_true_log_ratio(data)))
    return simulation, data, test[np.random.default_rng(1).permutation(len(test))[:4000]]


@pytest.fixture(scope="module")
def fitted(known_ratio):
    simulation, data, _ = known_ratio
    return _classifier("lgatr-slim", epochs=2, num_blocks=1).fit(simulation, data)


def test_known_weights_are_recovered(known_ratio, fitted):
    """Of events that no training saw: every observable agrees with the truth within errors.

    Half of the events carry the weights found, the other half the true ones.
    """
    test = known_ratio[2]
    half = len(test) // 2
    values, truth = observables(test), np.exp(_true_log_ratio(test[half:]))
    found = fitted.reweight(test[:half])
    for name, observable in OBSERVABLES.items():
        samples = (values[name][half:], values[name][:half], observable.edges, truth, found)
        assert triangular_discriminator(*samples) < 2 * discriminator_floor(*samples), name
        assert chi2_test(*samples).p_value > 1e-3, name


def test_the_log_ratio_itself_is_recovered(known_ratio, fitted):
    test = known_ratio[2]
    truth = _true_log_ratio(test)
    assert np.var(fitted.log_ratio(test) - truth) < np.var(truth) / 3


def test_weights_keep_their_sum(known_ratio, fitted):
    test = known_ratio[2]
    weights = fitted.reweight(test.with_weight(np.full(len(test), 3.0)))
    assert weights.sum() == pytest.approx(3 * len(test))
    assert effective_sample_size(weights) < len(test)


def test_a_saved_model_is_the_same_model(known_ratio, fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = RatioModel.load(tmp_path / "model")
    assert dataclasses.replace(again, classifier=None) == dataclasses.replace(
        fitted, classifier=None
    )
    some = known_ratio[2][:300]
    np.testing.assert_array_equal(again.log_ratio(some), fitted.log_ratio(some))


def test_ratios_do_not_depend_on_the_company(known_ratio, fitted):
    """Neither on other events of the sample, their order, nor on the padding."""
    some = known_ratio[2][:200]
    together = fitted.log_ratio(some)
    np.testing.assert_allclose(fitted.log_ratio(some[::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(fitted.log_ratio(some[:7]), together[:7], atol=1e-5)
    wider = dataclasses.replace(fitted, lengths=(fitted.lengths[-1] + 9,))
    np.testing.assert_allclose(wider.log_ratio(some), together, atol=1e-5)


def test_damaged_models_are_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    for content, error in (("{}", "inputs: found null"), ("[]", "found list, expected a JSON")):
        (tmp_path / "model.json").write_text(content)
        with pytest.raises(InputError, match=f"model.json: {error}"):
            RatioModel.load(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        RatioModel.load(tmp_path / "nothing")


def test_one_generator_becomes_the_other():
    """What differs by more than three floors is halved at least, on events not trained on."""
    train, test = {}, {}
    for name in ("simulation", "data"):
        events = zjets(name, "detector")
        train[name], test[name] = (events[i] for i in split(len(events), (0.7, 0.3), seed=0))
    ratio = _classifier("lgatr-slim", epochs=3, num_blocks=1).fit(**train)
    weights = ratio.reweight(test["simulation"])
    values = {name: observables(events) for name, events in test.items()}
    differ = set()
    for name, observable in OBSERVABLES.items():
        samples = (values["data"][name], values["simulation"][name], observable.edges)
        before = triangular_discriminator(*samples)
        if before > 3 * discriminator_floor(*samples):
            differ.add(name)
            assert triangular_discriminator(*samples, None, weights) < before / 2, name
    assert {"width", "multiplicity"} <= differ
