"""Networks of lgatr in and out: every tensor finds its place or is named."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxpriors.cli.port import port_export, port_inspect, port_lgatr
from jaxpriors.errors import InputError
from jaxpriors.models.files import (
    FAMILIES,
    build,
    load_network,
    read_safetensors,
    save_network,
    skeleton,
    write_safetensors,
)
from jaxpriors.models.lgatr import LGATr, LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlimConfig
from jaxpriors.models.state_dicts import network_from_state, state_from_network
from jaxpriors.porting.lgatr import config_from_case, export, inspect, port
from jaxpriors.porting.lgatr_arguments import config_from_reference
from jaxpriors.porting.lgatr_inference import complete, infer
from tests.helpers.recorded import FIXTURES

CASES = {
    f"{path.parent.name}/{path.stem}": path
    for path in sorted(FIXTURES.glob("lgatr*/*.json"))
    if json.loads(path.read_text()).get("cls") in FAMILIES
}


def read(name):
    """(description, state dict, configuration) of a recorded network."""
    case = json.loads(CASES[name].read_text())
    return case, read_safetensors(CASES[name].with_suffix(".safetensors")), config_from_case(case)


def same(state, other):
    return state.keys() == other.keys() and all(
        state[name].tobytes() == other[name].tobytes() for name in state
    )


@pytest.mark.parametrize("name", CASES)
def test_state_dict_round_trip_and_inference(name):
    case, state, config = read(name)
    network = network_from_state(skeleton(config), state)
    assert same(state_from_network(network), state)

    inferred = infer(state)
    assert inferred.family == case["cls"]
    assert inferred.layout == case["lgatr"][:3]
    assert inferred.parameters == sum(
        value.size for key, value in state.items() if not key.endswith("metric")
    )
    untold = {*inferred.missing, *inferred.assumed}
    found = complete(inferred, {field: getattr(config, field) for field in untold})
    if config.num_layers_mlp == 1:
        found = dataclasses.replace(found, mlp_ratio=config.mlp_ratio)  # no hidden layer to tell
    assert found == config


@pytest.mark.parametrize("prefix", ["model.", "net.", "module.", "model.net.", "_orig_mod."])
def test_prefixes_of_trainers_are_found(prefix):
    _, state, config = read("lgatr/slim_tiny")
    network = build(config, {prefix + name: value for name, value in state.items()})
    assert same(state_from_network(network), state)


def test_tensors_outside_of_the_prefix():
    _, state, config = read("lgatr/slim_tiny")
    state_without_prefix, state = state, {f"net.{name}": v for name, v in state.items()}
    more = state | {"loss.weight": np.ones(2, np.float32)}
    with pytest.raises(InputError, match=r"unknown loss\.weight \(2\)"):
        build(config, more)
    with pytest.raises(InputError, match=r"give --prefix 'net\.' to leave out"):
        build(config, more)
    assert same(state_from_network(build(config, more, prefix="net")), state_without_prefix)
    compiled = {name.replace("net.", "net._orig_mod."): value for name, value in more.items()}
    compiled["_orig_mod.more.weight"] = np.ones(2, np.float32)
    with pytest.raises(InputError, match=r"unknown more\.weight \(2\)"):
        build(config, compiled)
    twice = state | {name.replace("net.", "ema."): value for name, value in state.items()}
    with pytest.raises(InputError, match=r"several networks, with the prefixes \['ema\.', 'net\.'"):
        build(config, twice)
    build(config, twice, prefix="ema.")


@pytest.mark.parametrize("given", ["module._orig_mod.", "module._orig_mod", "module.", "module"])
def test_a_prefix_is_found_with_and_without_what_compilation_adds(given):
    _, state, config = read("lgatr/slim_tiny")
    compiled = {f"module._orig_mod.{name}": value for name, value in state.items()}
    assert same(state_from_network(build(config, compiled, prefix=given)), state)
    twice = compiled | {"module.linear_in.weight_v": state["linear_in.weight_v"]}
    with pytest.raises(InputError, match=r"found module\.linear_in\.weight_v twice, with and with"):
        build(config, twice)


def test_a_checkpoint_with_an_average_must_be_told_which_weights(tmp_path):
    torch = pytest.importorskip("torch", reason="`make test-peers` runs this with PyTorch")
    _, state, _ = read("lgatr/slim_tiny")
    plain = {name: torch.tensor(value) for name, value in state.items()}
    moved = {name: value + 1 for name, value in plain.items() if not name.endswith("metric")}
    average = {"decay": 0.999, "shadow_params": list(moved.values()), "collected_params": None}
    path, out = tmp_path / "a.pt", tmp_path / "a.safetensors"
    torch.save({"model": plain, "ema": average}, path)
    given = {"num_heads": 2}
    with pytest.raises(InputError) as caught:
        port(path, out, given)
    assert (
        f"found several sets of weights, 'model' and 'ema.shadow_params' (a list of {len(moved)} "
        "tensors without names); choose one with --key"
    ) in str(caught.value)
    assert "others, chosen with --key: 'ema.shadow_params'" in inspect(path)
    port(path, out, given, key="model")
    assert same(read_safetensors(out), state)
    port(path, out, given, key="ema.shadow_params")
    found = read_safetensors(out)
    for name, value in moved.items():
        np.testing.assert_array_equal(found[name], value.numpy())


def test_every_fault_is_named_in_one_error():
    _, state, config = read("lgatr/lgatr_tiny")
    state = dict(state)
    del state["blocks.1.attention.out_linear.weight"]
    state["blocks.0.mlp.layers.2.weight"] = np.zeros((4, 3, 10), np.float32)
    state["linear_out.s2mvs.bias"] = np.zeros(6, np.int32)
    state["linear_in.weight"] = np.full((4, 2, 10), np.nan, np.float32)
    state["head.weight"] = np.zeros(3, np.float32)
    state["empty"] = np.zeros(0, np.float32)
    with pytest.raises(InputError) as caught:
        build(config, state)
    for fault in (
        "unknown head.weight (3)",
        "unknown empty (0)",
        "missing blocks.1.attention.out_linear.weight (4, 4, 10)",
        "misshapen blocks.0.mlp.layers.2.weight: found (4, 3, 10), expected (4, 16, 10)",
        "not floating linear_out.s2mvs.bias: found int32",
        "not finite linear_in.weight: 80 values",
    ):
        assert fault in str(caught.value)


def test_tensors_that_sizes_are_read_from(tmp_path):
    _, state, _ = read("lgatr/lgatr_tiny")
    path, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    wrong = np.zeros((4, 3, 10), np.float32)
    write_safetensors(path, state | {"linear_in.weight": wrong})
    with pytest.raises(InputError, match=r"sizes were read from linear_in\.weight \(4, 3, 10\), "):
        port(path, out, {"num_heads": 2})
    with pytest.raises(InputError, match=r"misshapen linear_in\.weight: found \(4, 3, 10\)"):
        port(path, out, {}, read("lgatr/lgatr_tiny")[0])
    del state["linear_out.weight"]
    with pytest.raises(InputError, match=r"LGATr: missing linear_out\.weight, expected \(out_mv_c"):
        infer(state)
    misshapen = state | {"linear_out.weight": np.zeros(())}
    with pytest.raises(InputError, match=r"misshapen linear_out\.weight: found \(\), expected"):
        infer(misshapen)
    assert not out.exists()


@pytest.mark.parametrize("more", [{}, {"attention": {"num_heads": 2, "multi_query": True}}])
def test_network_without_scalars(tmp_path, more):
    sizes = {"num_blocks": 1, "in_mv_channels": 2, "out_mv_channels": 1, "hidden_mv_channels": 4}
    sizes |= dict.fromkeys(("in_s_channels", "out_s_channels", "hidden_s_channels"), 0)
    products = {"geometric_product": False}
    ctor = sizes | {"attention": {"num_heads": 2}, "mlp": {}, "primitives": products} | more
    config = config_from_reference("LGATr", ctor, "2.0.0")
    assert isinstance(config, LGATrConfig)
    state = state_from_network(LGATr.init(jax.random.key(0), config))
    assert not any("s2s" in name or "s2mvs" in name for name in state)
    path, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_safetensors(path, state)
    for given, case in (({"num_heads": 2}, None), ({}, {"ctor": ctor})):
        port(path, out, given, case)
        assert load_network(out).config == config


@pytest.mark.parametrize("name", ["lgatr/lgatr_tiny", "lgatr2/slim"])
@pytest.mark.parametrize("dropout", [None, 0.0, 0.2])
def test_dropout_modules_keep_their_place(tmp_path, name, dropout):
    _, state, config = read(name)
    config = dataclasses.replace(config, dropout_prob=dropout)
    names = list(state_from_network(build(config, state)))  # gaps where there are modules
    renamed = {new: state[old] for new, old in zip(names, order_of(config, state), strict=True)}
    path, ported, back = (tmp_path / f"{n}.safetensors" for n in "abc")
    write_safetensors(path, renamed)
    assert (names != order_of(config, state)) == (dropout is not None)
    port(path, ported, {"num_heads": config.num_heads})
    network = load_network(ported)
    assert network.config.dropout_prob == (None if dropout is None else 0.0)
    save_network(ported, network)
    export(ported, back)
    assert same(read_safetensors(back), renamed)


def order_of(config, state):
    """The names of a state dict without dropout modules in the order of ours."""
    plain = dataclasses.replace(config, dropout_prob=None)
    return list(state_from_network(build(plain, state)))


def test_gate_of_the_old_slim_is_not_chosen():
    inferred = infer(read("lgatr/slim_tiny")[1])
    with pytest.raises(InputError, match=r"nonlinearity_v: given 'tanh', the gate .* 1\.4"):
        complete(inferred, {"num_heads": 2, "nonlinearity_v": "tanh"})


def test_commands_name_files_that_cannot_be_used(tmp_path):
    source = CASES["lgatr/slim_tiny"].with_suffix(".safetensors")
    missing, out = tmp_path / "missing.safetensors", tmp_path / "out.safetensors"
    for command in (
        lambda: port_lgatr(missing, out),
        lambda: port_inspect(missing),
        lambda: port_export(missing, out),
    ):
        with pytest.raises(InputError, match=r"missing\.safetensors: no such file"):
            command()
    with pytest.raises(InputError, match=r"missing\.json: no such file"):
        port_lgatr(source, out, config=tmp_path / "missing.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: this folder cannot be made"):
        port_lgatr(source, tmp_path / "file" / "out.safetensors", heads=2)
    with pytest.raises(InputError, match="found the key 'ema', a safetensors file holds one dict"):
        port_lgatr(source, out, key="ema")


def test_the_metric_is_checked():
    _, state, config = read("lgatr/cond_slim_tiny")
    name = "blocks.1.crossattention.metric"
    assert np.array_equal(state[name], [1, -1, -1, -1])
    wrong = state | {name: np.array([-1, 1, 1, 1], np.float32)}
    with pytest.raises(InputError, match=r"wrong blocks\.1\.crossattention\.metric"):
        build(config, wrong)
    without = {key: value for key, value in state.items() if not key.endswith("metric")}
    assert same(state_from_network(build(config, without)), state)


def test_other_precisions_become_float32():
    _, state, config = read("lgatr/slim_tiny")
    for dtype in (np.float64, np.float16):
        network = build(config, {name: value.astype(dtype) for name, value in state.items()})
        for leaf in jax.tree.leaves(network):
            assert leaf.dtype == np.float32


def test_what_the_tensors_do_not_tell_must_be_given():
    _, state, _ = read("lgatr/lgatr_paper1M")
    inferred = infer(state)
    with pytest.raises(InputError) as caught:
        complete(inferred, {})
    assert "num_heads: one of 1, 2, 4, 8, 16" in str(caught.value)
    assert inferred.assumed == {"nonlinearity": "gelu", "dropout_prob": None, "use_bivector": True}
    given = {"num_heads": 8}
    assert complete(inferred, given).attn_ratio == 2
    for wrong, message in (
        ({"num_heads": 3}, "num_heads: given 3, the tensors allow one of 1, 2, 4, 8, 16"),
        ({"num_blocks": 3}, "num_blocks: given 3, the tensors show 12"),
        ({"attn_ratio": 3}, "attn_ratio: given 3, the tensors show 2"),
        ({"width": 3}, "LGATr has no setting width"),
        ({"num_heads": 0}, "num_heads: given 0, the tensors allow one of 1, 2, 4, 8, 16"),
        ({"nonlinearity": "mish"}, "LGATr: nonlinearity is 'mish', expected one of"),
        ({"dropout_prob": 1.5}, r"LGATr: dropout_prob is 1\.5, expected in \[0, 1\)"),
        ({"reinsert_mv_channels": (7,)}, r"reinsert_mv_channels is \(7,\), expected numbers below"),
    ):
        with pytest.raises(InputError, match=message):
            complete(inferred, given | wrong)


def test_heads_and_reinserted_channels():
    _, state, config = read("lgatr/lgatr_tiny_mq_headscale_reinsert")
    inferred = infer(state)
    assert inferred.fields["num_heads"] == 2  # head_scale has one number per head
    assert set(inferred.missing) == {"reinsert_mv_channels", "reinsert_s_channels"}
    given = {"reinsert_mv_channels": (0,), "reinsert_s_channels": (0, 2)}
    assert complete(inferred, given) == config


def test_files_that_are_no_networks():
    with pytest.raises(InputError, match="not a network of lgatr"):
        infer({"weight": np.zeros((2, 2), np.float32)})
    _, state, _ = read("lgatr/slim_tiny")
    broken = {name: value for name, value in state.items() if "attention.linear_out" not in name}
    with pytest.raises(InputError, match=r"attention\.linear_out"):
        infer(broken)


@pytest.mark.parametrize(
    ("cls", "change", "message"),
    [
        ("LGATr", {"depth": 3}, "LGATr of lgatr 1.4.3: unknown argument depth"),
        ("LGATr", {"attention": {"heads": 2}}, "attention: unknown argument heads"),
        ("LGATr", {"mlp": {"mlp_ratio": 2}}, "mlp: unknown argument mlp_ratio"),
        ("LGATr", {"mlp": 3}, "mlp: found int, expected a table"),
        ("LGATr", {"num_blocks": None}, "num_blocks is missing"),
        ("LGATrGraph", {}, "class: found 'LGATrGraph'"),
    ],
)
def test_constructor_arguments_are_understood_or_named(cls, change, message):
    ctor = read("lgatr/lgatr_tiny")[0]["ctor"] | change
    ctor = {name: value for name, value in ctor.items() if name != "num_blocks" or value}
    with pytest.raises(InputError, match=message):
        config_from_reference(cls, ctor, "1.4.3")


def test_defaults_of_the_versions_differ():
    sizes = {"in_v_channels": 1, "out_v_channels": 1, "hidden_v_channels": 4, "num_blocks": 1}
    sizes |= {"in_s_channels": 1, "out_s_channels": 1, "hidden_s_channels": 8, "num_heads": 2}
    old = config_from_reference("LGATrSlim", sizes, "1.4.4")
    new = config_from_reference("LGATrSlim", sizes | {"compile": True}, "2.0.0")
    assert isinstance(old, LGATrSlimConfig)
    assert isinstance(new, LGATrSlimConfig)
    assert (old.qkv_bias, old.nonlinearity_v, old.gate_factor) == (True, None, 1.0)
    assert (new.qkv_bias, new.nonlinearity_v, new.gate_factor) == (False, "sigmoid", 0.5)
    with pytest.raises(InputError, match=r"found '1\.2\.0', expected 1\.4\.x or 2\.x"):
        config_from_reference("LGATrSlim", sizes, "1.2.0")
    ctor = read("lgatr/lgatr_tiny")[0]["ctor"]
    full = config_from_reference("LGATr", ctor, "1.4.3", {"use_bivector": False})
    assert isinstance(full, LGATrConfig)
    assert not full.use_bivector
    with pytest.raises(InputError, match="gatr_config: unknown argument use_bivectors"):
        config_from_reference("LGATr", ctor, "1.4.3", {"use_bivectors": False})


@pytest.mark.parametrize("name", ["lgatr/lgatr_tiny_mlp2", "lgatr2/lgatr_dropout", "lgatr2/slim"])
def test_ported_file_is_complete_and_exports_bit_for_bit(tmp_path, name):
    case, state, config = read(name)
    ported, exported = tmp_path / "network.safetensors", tmp_path / "lgatr.safetensors"
    source = tmp_path / "checkpoint.safetensors"
    write_safetensors(source, {f"model.{key}": value for key, value in state.items()})
    text = port(source, ported, {}, case)
    assert "prefix 'model.'" in text
    network = load_network(ported)
    assert network.config == config
    export(ported, exported)
    assert same(read_safetensors(exported), state)
    save_network(ported, network)
    export(ported, exported)
    assert same(read_safetensors(exported), state)


def test_ported_file_is_checked(tmp_path):
    source = CASES["lgatr/slim_tiny"].with_suffix(".safetensors")
    with pytest.raises(InputError, match="not a ported network"):
        load_network(source)
    path = tmp_path / "a.safetensors"
    state = read_safetensors(source)
    for text, message in (
        ("[", r"metadata jaxpriors: found Expecting value.*, expected JSON"),
        ('{"format": 2}', "found format 2, expected 1"),
        (
            '{"format": 1, "family": "LGATr", "config": {"width": 2}}',
            r"metadata jaxpriors\.config: found 'width', expected some of",
        ),
    ):
        write_safetensors(path, state, {"jaxpriors": text})
        with pytest.raises(InputError, match=message):
            load_network(path)


def test_commands_port_inspect_and_export_back(tmp_path, capsys):
    source = CASES["lgatr/slim_paper"].with_suffix(".safetensors")
    out, back = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert port_lgatr(source, out, heads=4) == 0
    text = capsys.readouterr().out
    for line in (
        "LGATrSlim, state dict of lgatr 1.4, prefix '', 646145 parameters",
        "num_blocks = 12 (from the tensors)",
        "dropout_prob = None (assumed)",
        "nonlinearity = 'gelu' (assumed)",
        "note: nonlinearity, dropout_prob: lgatr's default is assumed",
        "num_heads = 4 (given)",
    ):
        assert line in text
    assert port_inspect(out) == 0
    text = capsys.readouterr().out
    assert "blocks.11.attention.linear_in.weight_v" in text
    assert "ported network, LGATrSlim with the configuration\n" in text
    assert port_export(out, back) == 0
    assert same(read_safetensors(back), read_safetensors(source))
    with pytest.raises(
        InputError, match=r"slim_paper\.safetensors: (.|\n)*num_heads: one of 1, 2, 4"
    ):
        port_lgatr(source, out)
    config = CASES["lgatr/slim_paper"]
    assert port_lgatr(source, out, config=config) == 0
    with pytest.raises(InputError, match="found also num_heads"):
        port_lgatr(source, out, config=config, heads=4)


def test_inspect_lists_what_it_does_not_know(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"dense.kernel": np.zeros((2, 3), np.float32)})
    text = inspect(path)
    assert "dense.kernel  float32  (2, 3)" in text
    assert "not recognised: not a network of lgatr" in text


def test_checkpoint_of_pytorch(tmp_path):
    pytest.importorskip("torch", reason="`make test-peers` runs this with PyTorch")
    _, state, config = read("lgatr2/lgatr_prefixed")
    path = CASES["lgatr2/lgatr_prefixed"].with_suffix(".pt")
    assert "prefix 'module.net.'" in inspect(path)
    port(path, tmp_path / "a.safetensors", {"num_heads": 2})
    network = load_network(tmp_path / "a.safetensors")
    assert network.config == config
    assert same(state_from_network(network), state)
