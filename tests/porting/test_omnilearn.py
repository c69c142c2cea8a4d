"""OmniLearn's files: every tensor has a weight_name, or is named."""

import json
import re

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.cli.port import port_export, port_inspect, port_omnilearn
from jaxpriors.errors import InputError
from jaxpriors.models.files import load_network, replace_classes, save_network, skeleton
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.porting.keras import read_keras
from jaxpriors.porting.omnilearn import port, read_omnilearn
from jaxpriors.porting.omnilearn_export import export
from jaxpriors.porting.omnilearn_files import read_contents, state_name, to_keras, to_ours
from jaxpriors.preprocessing.normalisation import relative_normalisation
from jaxpriors.verification.checks import Case
from jaxpriors.verification.pet_finetune import is_finetune, verify_finetune
from tests.helpers import keras_files
from tests.helpers.pet import FIXTURES, NAMES, weights

INSIDE = keras_files.INSIDE


def table(name):
    return json.loads((FIXTURES / f"{name}.json").read_text())


def same(state, other):
    return state.keys() == other.keys() and all(
        np.array_equal(state[name], other[name]) for name in state
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_has_its_role(name):
    contents = read_contents(weights(name))
    recorded = {
        path: weight_name for path, weight_name in table(name)["h5_to_role"].items() if weight_name
    }
    unused = [weight_name for weight_name in contents.paths if weight_name.startswith("pet.")]
    assert {p: r for r, p in contents.paths.items() if r not in unused} == recorded
    everything = read_keras(weights(name))
    assert len(contents.paths) + sum(contents.ignored.values()) == len(everything)
    assert len(unused) == (131 if name == "lhco_classifier_small" else 0)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("small")])
def test_configuration_is_inferred(name):
    settings = table(name)["kwargs"]
    network, lines = read_omnilearn(weights(name), neighbours=settings.get("K"))
    expected = PETConfig(
        num_features=settings["num_feat"],
        num_jet_features=settings["num_jet"],
        num_classes=settings["num_classes"],
        hidden_channels=settings["projection_dim"],
        num_heads=settings.get("num_heads", 4),
        num_layers=settings["num_layers"],
        num_local=settings.get("num_local", 2) if settings.get("local", True) else 0,
        neighbours=settings.get("K", 10),
        num_class_layers=settings.get("num_class_layers", 2),
        num_gen_layers=settings.get("num_gen_layers", 2),
        layer_scale=1e-5 if settings.get("layer_scale", True) else None,
        talking_head=settings.get("talking_head", False),
        simple=settings.get("simple", False),
        mode="omnilearn",
    )
    assert network.config == expected
    source = "given" if "K" in settings else "assumed, OmniLearn's default"
    assert f"  neighbours = {expected.neighbours} ({source})" in lines
    assert "left out _metrics: 12 tensors (metrics)" in lines
    assert lines[0] == "OmniLearn's PET, layout of TensorFlow 2.14"


def test_parameters_are_those_recorded():
    network, lines = read_omnilearn(weights("small_all"))
    counts = table("small_all")["nparams"]
    for part, head in (("body", network.body), ("classifier", network.cls)):
        count = sum(leaf.size for leaf in jax.tree.leaves(head))
        assert count == counts[{"classifier": "classifier_head"}.get(part, part)]
        assert any(f"taken {part}: " in line and f" {count} parameters" in line for line in lines)


def test_averages_are_a_network_of_their_own():
    network, _ = read_omnilearn(weights("small_all"))
    average, lines = read_omnilearn(weights("small_all"), ema=True)
    contents = read_contents(weights("small_all"))
    assert average.cls is None
    for weight_name in ("body.block.1.mlp.0.kernel", "gen.label.kernel"):
        at = state_name(weight_name)
        value = to_ours(weight_name, contents.tensors[f"ema_{weight_name}"])
        np.testing.assert_array_equal(state_from_network(average)[at], value)
        assert not np.array_equal(state_from_network(network)[at], value)
    assert "note: there is no moving average of the classifier head" in lines
    assert any(line.startswith("left out body: 51 tensors") for line in lines)
    with pytest.raises(InputError, match=r"omnifold_small.*OmniFold classifier has no moving aver"):
        read_omnilearn(weights("train_omnifold_small"), ema=True)


@pytest.mark.parametrize(
    ("rename", "layout"),
    [(keras_files.counted_twice, "2.12 or 2.13"), (keras_files.numbered_models, "2.15")],
)
@pytest.mark.parametrize("name", ["small_all", "small_simple", "train_omnifold_small"])
def test_layouts_of_other_releases(tmp_path, rename, layout, name):
    arrays = read_keras(weights(name))
    path = keras_files.write(tmp_path / "a.weights.h5", arrays, rename)
    assert read_keras(path).keys() != arrays.keys()
    network, lines = read_omnilearn(path)
    expected, _ = read_omnilearn(weights(name))
    assert lines[0].endswith(f"layout of TensorFlow {layout}")
    assert network.config == expected.config
    assert same(state_from_network(network), state_from_network(expected))
    if name != "train_omnifold_small":
        average, expected = (read_omnilearn(p, ema=True)[0] for p in (path, weights(name)))
        assert same(state_from_network(average), state_from_network(expected))


def test_a_file_like_the_public_checkpoint(tmp_path):
    """Default sizes, written after training: with the states of two optimizers and metrics."""
    config = PETConfig(mode="omnilearn")
    rng = np.random.default_rng(1)
    network = jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape, np.float32)), skeleton(config)
    )
    ours, path = tmp_path / "a.safetensors", tmp_path / "b.weights.h5"
    save_network(ours, network)
    export(ours, path)
    contents = read_contents(path)
    momenta = {
        optimizer: [
            v for weight_name, v in contents.tensors.items() if weight_name.startswith(parts)
        ]
        for optimizer, parts in (("body_optimizer", "body."), ("optimizer", ("cls.", "gen.")))
    }
    with h5py.File(path, "a") as file:
        for optimizer, values in momenta.items():
            file[f"{optimizer}/vars/0"] = np.array(1234, np.int64)
            for i, value in enumerate(values, 1):
                file[f"{optimizer}/vars/{i}"] = value
        for name in ("mean", "mean_1", "categorical_accuracy"):
            file[f"_metrics/{name}/vars/1"][...] = 1234.0  # batches that were counted
    assert 22e6 < path.stat().st_size < 26e6
    found, lines = read_omnilearn(path)
    assert found.config == config
    assert same(state_from_network(found), state_from_network(network))
    for line in (
        "taken body: 159 tensors, 1318784 parameters",
        "taken classifier: 48 tensors, 269326 parameters",
        "taken generator: 49 tensors, 417165 parameters",
        "left out ema_body: 159 tensors, 1318784 parameters (the moving average)",
        "left out body_optimizer: 160 tensors (optimizer)",
        "left out optimizer: 98 tensors (optimizer)",
        "left out _metrics: 12 tensors (metrics)",
    ):
        assert line in lines


def test_models_of_two_jets():
    network, lines = read_omnilearn(weights("lhco_generator_usemean"), use_mean=True)
    mean, std = relative_normalisation()
    assert (network.config.feature_mean, network.config.feature_std) == (mean, std)
    assert network.config.num_jet_layers == 6
    assert f"  feature_mean = {mean} (given)" in lines
    plain, lines = read_omnilearn(weights("lhco_generator_usemean"))
    assert plain.config.feature_mean == ()
    assert "  feature_mean = () (assumed, OmniLearn's default)" in lines
    with pytest.raises(InputError, match="use_mean is for the LHC Olympics generator alone"):
        read_omnilearn(weights("small_all"), use_mean=True)
    _, lines = read_omnilearn(weights("lhco_classifier_small"))
    assert "left out layers/pet/generator: 49 tensors, 9021 parameters (not used here)" in lines


def test_masked_mode_has_a_class_token(tmp_path):
    ours, back = tmp_path / "a.safetensors", tmp_path / "b.weights.h5"
    port(weights("small_all"), ours, mode="masked")
    network = load_network(ours)
    assert network.config.mode == "masked"
    assert not np.any(network.cls.class_token)
    assert "mode 'masked'" in export(ours, back)
    before = read_keras(weights("small_all"))
    assert all(np.array_equal(before[n], v) for n, v in read_keras(back).items() if "ema" not in n)
    trained = jax.tree.map(lambda leaf: leaf + 1, network)
    save_network(ours, trained)
    with pytest.raises(InputError, match="the class token is trained, that of OmniLearn is always"):
        export(ours, back)


def test_new_classes_replace_nothing_else():
    network, _ = read_omnilearn(weights("small_all"), mode="masked")
    fewer, replaced = replace_classes(network, 3, jax.random.key(0))
    assert replaced == ("cls.out.weight", "cls.out.bias", "gen.label.weight")
    assert fewer.config.num_classes == fewer.cls.config.num_classes == 3
    assert (fewer.cls.out.weight.shape, fewer.gen.label.weight.shape) == ((3, 16), (16, 3))
    assert not np.any(fewer.cls.out.bias)
    assert np.ptp(fewer.cls.out.weight) > 0.1
    before, after = state_from_network(network), state_from_network(fewer)
    assert before.keys() == after.keys()
    assert {n for n in before if not np.array_equal(before[n], after[n])} == {*replaced}
    unchanged, replaced = replace_classes(network, 10, jax.random.key(0))
    assert unchanged is network
    assert replaced == ()
    average, _ = read_omnilearn(weights("small_all"), ema=True)
    assert replace_classes(average, 2, jax.random.key(0))[1] == ("gen.label.weight",)
    with pytest.raises(InputError, match="num_classes is 0, expected at least 1"):
        replace_classes(network, 0, jax.random.key(0))
    two_jets, _ = read_omnilearn(weights("lhco_generator_small"))
    with pytest.raises(InputError, match="has conditions in place of classes"):
        replace_classes(two_jets, 3, jax.random.key(0))


def finetuning():
    path = FIXTURES / "omnifold_finetune_from_small_all.json"
    return Case(path.stem, table(path.stem), {}, dict(np.load(path.with_suffix(".npz"))))


def test_recorded_fine_tuning():
    case = finetuning()
    assert is_finetune(case)
    checks = verify_finetune(case, FIXTURES)
    assert [check.name for check in checks] == [
        "loaded",
        "skipped",
        "out_cls",
        "out_jet",
        "reweight",
    ]
    assert [str(check) for check in checks if not check.ok] == []
    case.arrays["init:cls.out.kernel"] = case.arrays["init:cls.out.kernel"] * 1.01
    case.arrays["init:cls.reg.kernel"] = np.zeros((16, 4), np.float32)
    case.table["skipped"].append("cls.reg.kernel")
    wrong = {check.name for check in verify_finetune(case, FIXTURES) if not check.ok}
    assert wrong == {"skipped", "out_cls", "reweight", "init:cls.reg.kernel"}


def test_shapes_of_attention():
    rng = np.random.default_rng(0)
    kernel, back = rng.normal(size=(6, 2, 3)), rng.normal(size=(2, 3, 6))
    x, heads = rng.normal(size=6), rng.normal(size=(2, 3))
    weight_name = "body.block.0.attn.query.kernel"
    np.testing.assert_allclose(
        to_ours(weight_name, kernel) @ x, np.einsum("c,chd->hd", x, kernel).reshape(-1)
    )
    np.testing.assert_array_equal(to_keras(weight_name, to_ours(weight_name, kernel), 2), kernel)
    weight_name = "body.block.0.attn.out.kernel"
    expected = np.einsum("hd,hdc->c", heads, back)
    np.testing.assert_allclose(to_ours(weight_name, back) @ heads.reshape(-1), expected)
    np.testing.assert_array_equal(to_keras(weight_name, to_ours(weight_name, back), 2), back)


def test_heads_that_are_absent_stay_absent(tmp_path):
    config = PETConfig(hidden_channels=8, num_heads=2, num_layers=1, num_local=1, num_classes=2)
    for heads in ((), ("cls",), ("gen",)):
        network = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), skeleton(config, heads))
        save_network(tmp_path / "a.safetensors", network)
        loaded = load_network(tmp_path / "a.safetensors")
        assert isinstance(loaded, PET)
        assert jax.tree.structure(loaded) == jax.tree.structure(network)


def test_commands_port_and_export_back(tmp_path, capsys):
    source, out, back = weights("small_all"), tmp_path / "a.safetensors", tmp_path / "b.weights.h5"
    assert port_omnilearn(source, out, classes=2, neighbours=7) == 0
    text = capsys.readouterr().out
    assert "  neighbours = 7 (given)" in text
    assert (
        "replaced for 2 classes instead of 10: cls.out.weight, cls.out.bias, gen.label.weight; all "
        "other tensors are kept" in text
    )
    assert port_inspect(source) == 0
    text = capsys.readouterr().out
    assert re.search(r"body/\S+/dense_2/vars/0 +float32  \(13, 32\) body\.embed\.0\.kernel\n", text)
    assert "  hidden_channels = 16 (from the tensors)" in text
    assert port_inspect(out) == 0
    text = capsys.readouterr().out
    assert "ported network, PET with the configuration\n" in text
    assert "not recognised" not in text
    assert port_export(out, back) == 0
    assert "248 tensors of OmniLearn's PET written to" in capsys.readouterr().out
    assert read_omnilearn(back, neighbours=7)[0].config == load_network(out).config
    with pytest.raises(InputError, match="neighbours is 0, expected at least 1"):
        port_omnilearn(source, out, neighbours=0)
    with pytest.raises(InputError, match=r"missing\.h5: no such file"):
        port_omnilearn(tmp_path / "missing.h5", out)
    with pytest.raises(InputError, match=r"a\.safetensors: not an HDF5 file"):
        port_omnilearn(out, tmp_path / "c.safetensors")
