"""A fine-tuned network starts as the pretrained one, but for what depends on the classes."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxpriors import InputError, RatioClassifier, RatioModel
from jaxpriors.generation.card import CARD
from jaxpriors.generation.jets import Generator
from jaxpriors.models.files import load_network, save_network, skeleton
from jaxpriors.models.pet import PETConfig
from jaxpriors.models.pet_dijet import PETTwoJetClassifierConfig
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.tokens import InputConfig
from jaxpriors.ratio import finetuning
from jaxpriors.ratio.finetuning import SHIPPED
from jaxpriors.ratio.presets import MODELS, preset
from jaxpriors.run.storage import read_json, write_json
from tests.helpers.jets import random_jets

TINY = PETConfig(
    num_classes=3, hidden_channels=8, num_heads=2, num_layers=1, num_local=1, neighbours=3,
    num_class_layers=1, num_gen_layers=1, layer_scale=0.1,
)  # fmt: skip
JETS, OTHERS = random_jets(48, 1), random_jets(48, 2)
EPOCH = dataclasses.replace(MODELS["pet-finetuned"].training["small"], epochs=1, buckets=1)


def _save(path, config=TINY, seed=0, heads=("cls", "gen")):
    """Write a PET with random tensors, and give it."""
    rng = np.random.default_rng(seed)
    empty = skeleton(config, heads)
    network = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), empty)
    save_network(path, network)
    return network


@pytest.mark.parametrize("mode", ["masked", "omnilearn"])
def test_all_but_the_classes_is_kept(tmp_path, mode):
    """Named as new: the output layer, and the class token where OmniLearn has none."""
    network = _save(tmp_path / "pet.safetensors", dataclasses.replace(TINY, mode=mode))
    ratio = RatioClassifier("pet-finetuned", pretrained=tmp_path / "pet.safetensors")
    classifier, origin = ratio.initial(jax.random.key(1))
    before, after = state_from_network(network), state_from_network(classifier.network)
    same = {n for n in after if n in before and np.array_equal(after[n], before[n])}
    token = {"cls.class_token"} if mode == "omnilearn" else set()
    new = {"cls.out.weight", "cls.out.bias", *token}
    assert set(origin.new) == new and origin.dropped == ("gen",)
    assert set(after) - same == new and origin.kept == len(same)
    assert classifier.network.gen is None
    assert after["cls.out.weight"].shape == (1, 8)
    assert {n.split(".")[0] for n in before if n not in after} == {"gen"}
    config = dataclasses.replace(TINY, num_classes=1, mode="masked", feature_drop=0.0)
    assert classifier.network.config == config == ratio.network


def test_the_body_computes_what_it_did(tmp_path):
    network = _save(tmp_path / "pet.safetensors")
    ratio = RatioClassifier("pet-finetuned", pretrained=tmp_path / "pet.safetensors")
    classifier, _ = ratio.initial(jax.random.key(1))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 9, 13)).astype(np.float32)
    mask = np.arange(9) < np.array([[9], [4]])
    found = classifier.network.body(features, mask)
    np.testing.assert_array_equal(found, network.body(features, mask))


def test_a_fine_tuned_model_travels_with_its_origin(tmp_path):
    """fit, save and load; a folder of a training from other weights is refused."""
    _save(tmp_path / "pet.safetensors")
    ratio = RatioClassifier(
        "pet-finetuned", training=EPOCH, pretrained=tmp_path / "pet.safetensors"
    )
    said = []
    model = ratio.fit(JETS, OTHERS, folder=tmp_path / "checkpoints", progress=said.append)
    stage = next(r["stage"] for r in said if "tensors of" in r.get("stage", ""))
    assert "new: " in stage and "cls.out.weight" in stage and stage.endswith("left out: gen")
    model.save(tmp_path / "model")
    again = RatioModel.load(tmp_path / "model")
    assert again.origin == model.origin and again.preprocessing == model.preprocessing
    np.testing.assert_array_equal(again.log_ratio(JETS), model.log_ratio(JETS))

    # the same weights elsewhere are the same training, other weights in that file are not
    (tmp_path / "pet.safetensors").rename(tmp_path / "moved.safetensors")
    moved = dataclasses.replace(ratio, pretrained=tmp_path / "moved.safetensors")
    resumed = moved.fit(JETS, OTHERS, folder=tmp_path / "checkpoints")
    np.testing.assert_array_equal(resumed.log_ratio(JETS), model.log_ratio(JETS))
    _save(tmp_path / "pet.safetensors", seed=5)
    other = dataclasses.replace(ratio, pretrained=tmp_path / "pet.safetensors")
    with pytest.raises(InputError, match="checkpoints of a training on other data"):
        other.fit(JETS, OTHERS, folder=tmp_path / "checkpoints")


def test_the_folder_of_a_pretraining_tells_its_inputs(tmp_path):
    (tmp_path / "model").mkdir()
    _save(tmp_path / "model" / "network.safetensors")

    def classifier():
        return RatioClassifier("pet-finetuned", pretrained=str(tmp_path))

    assert classifier().inputs == PointCloudConfig()
    content = {"kind": "point cloud", "inputs": {"normalisation": "h1"}}
    content["standardisation"] = {"mean": [0.0] * 4, "std": [1.0] * 4}
    write_json(tmp_path / "model" / "model.json", content)
    assert classifier().inputs == PointCloudConfig("h1")
    write_json(tmp_path / "model" / "model.json", {})
    with pytest.raises(InputError, match=r"model.json: inputs: found null, expected a table"):
        classifier()


def test_what_is_no_pretrained_pet_is_refused(tmp_path):
    path = tmp_path / "pet.safetensors"

    def classifier(**changes):
        return RatioClassifier("pet-finetuned", pretrained=path, **changes)

    with pytest.raises(InputError, match=r"pet.safetensors: no such file, expected a ported PET"):
        classifier()
    path.write_bytes(b"nothing of that kind")
    with pytest.raises(InputError, match=r"pet\.safetensors"):
        classifier()
    config = dataclasses.replace(preset("lgatr-slim", "small"), num_blocks=1)
    slim = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), skeleton(config))
    save_network(path, slim)
    with pytest.raises(InputError, match="found LGATrSlimConfig, expected a PET"):
        classifier()
    two_jets = PETTwoJetClassifierConfig(**vars(dataclasses.replace(TINY, num_classes=1)))
    save_network(path, jax.tree.map(lambda x: np.zeros(x.shape, np.float32), skeleton(two_jets)))
    with pytest.raises(InputError, match="found PETTwoJetClassifierConfig, expected a PET"):
        classifier()
    _save(path, dataclasses.replace(TINY, num_features=7))
    with pytest.raises(InputError, match="found a PET of 7 features and 4 of the jet, expected 13"):
        classifier()
    _save(path, heads=("gen",))
    with pytest.raises(InputError, match="without a head for classification"):
        classifier().initial(jax.random.key(0))
    _save(path)
    with pytest.raises(InputError, match="expected that of the pretrained weights"):
        classifier(network=TINY)
    known = classifier()
    _save(path, seed=5)
    with pytest.raises(InputError, match=r"pet.safetensors: was changed since it was chosen"):
        known.initial(jax.random.key(0))
    with pytest.raises(InputError, match=r"pretrained: found .* expected none for pet"):
        RatioClassifier("pet", pretrained=path)


def test_a_package_without_weights_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(finetuning, "SHIPPED", tmp_path / "pet.safetensors")
    with pytest.raises(InputError, match="this package holds no pretrained PET"):
        RatioClassifier("pet-finetuned")
    _save(tmp_path / "pet.safetensors")
    found = RatioClassifier("pet-finetuned").pretrained
    assert found.file == "jaxpriors/models/pretrained/network.safetensors"
    assert found.path == tmp_path / "pet.safetensors"


def test_inputs_belong_to_their_networks():
    with pytest.raises(InputError, match="inputs: found InputConfig, expected PointCloudConfig"):
        RatioClassifier("pet", inputs=InputConfig())
    with pytest.raises(InputError, match="inputs: found PointCloudConfig, expected InputConfig"):
        RatioClassifier("lgatr", inputs=PointCloudConfig())


@pytest.fixture(scope="module")
def fitted():
    network = dataclasses.replace(TINY, num_classes=1)
    return RatioClassifier("pet", network=network, training=EPOCH).fit(JETS, OTHERS)


def test_a_saved_pet_is_the_same_model(fitted, tmp_path):
    fitted.save(tmp_path)
    again = RatioModel.load(tmp_path)
    assert dataclasses.replace(again, classifier=None) == dataclasses.replace(
        fitted, classifier=None
    )
    np.testing.assert_array_equal(again.log_ratio(JETS), fitted.log_ratio(JETS))


def test_logits_do_not_depend_on_company_padding_or_order(fitted):
    """Neither on other events, nor on the padding, nor on the order of the constituents."""
    together = fitted.log_ratio(JETS)
    assert np.std(together) > 1e-3
    np.testing.assert_allclose(fitted.log_ratio(JETS[::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(fitted.log_ratio(JETS[:7]), together[:7], atol=1e-5)
    wider = dataclasses.replace(fitted, lengths=(fitted.lengths[-1] + 9,))
    np.testing.assert_allclose(wider.log_ratio(JETS), together, atol=1e-5)
    rng = np.random.default_rng(0)
    order = [
        a + rng.permutation(b - a) for a, b in zip(JETS.offsets, JETS.offsets[1:], strict=False)
    ]
    order = np.concatenate(order)
    shuffled = dataclasses.replace(JETS, p4=JETS.p4[order], pid=JETS.pid[order])
    np.testing.assert_allclose(fitted.log_ratio(shuffled), together, atol=1e-5)


CARD_KEYS = {"data", "command", "date", "network", "parameters", "losses", "test", "environment"}


def test_the_package_holds_the_network_of_its_card():
    card, network = read_json(SHIPPED.with_name(CARD)), load_network(SHIPPED)
    assert set(card) >= CARD_KEYS
    assert vars(network.config) == card["network"]
    assert sum(x.size for x in jax.tree.leaves(network)) == card["parameters"]
    assert sum(path.stat().st_size for path in SHIPPED.parent.iterdir()) < 3e6
    assert Generator.load(SHIPPED.parent).classes == len(card["data"]["made"]["labels"]) == 10


def test_fine_tuning_starts_from_them_without_an_argument():
    classifier, origin = RatioClassifier("pet-finetuned").initial(jax.random.key(0))
    shipped = load_network(SHIPPED)
    assert origin.new == ("cls.out.weight", "cls.out.bias") and origin.dropped == ("gen",)
    assert (classifier.network.body.embed[0].weight == shipped.body.embed[0].weight).all()
    assert (classifier.network.cls.class_token == shipped.cls.class_token).all()
