"""Name the layers of OmniLearn's models: the order that Keras gives to the layers of a class.

Keras numbers the layers of a functional model by decreasing depth in its graph, not in the order in
which they were made. A ``Part`` lists, for every class, the layers in that order by the names they
have in our trees (``block.0.mlp.1`` is ``blocks.0.mlp.1``), and counts the layers without weights,
which leave empty groups in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jaxpriors.porting.keras import layer_name

ATTENTION = "multi_head_attention"
TALKING = "talking_head_attention"
NORM = "group_normalization"
SCALE = "layer_scale"
VARIABLES = {"dense": ("kernel", "bias"), NORM: ("gamma", "beta"), SCALE: ("gamma",)}
SUBLAYERS = {
    ATTENTION: {
        "_query_dense": "query",
        "_key_dense": "key",
        "_value_dense": "value",
        "_output_dense": "out",
    },
    TALKING: {name: name for name in ("qkv", "proj", "proj_l", "proj_w")},
}
EMPTY_SUBLAYERS = {
    ATTENTION: ("_dropout_layer", "_softmax"),
    TALKING: ("attn_drop", "proj_drop", "softmax"),
}


@dataclass(frozen=True)
class Part:
    """One functional model: its layers by class in Keras' order, and those without bias.

    ``weightless`` counts its layers without weights by class.
    """

    layers: Mapping[str, list[str]]
    unbiased: frozenset[str] = frozenset()
    weightless: Mapping[str, int] = field(default_factory=dict)

    def weight_names(self) -> dict[str, str]:
        """Map every variable to its weight name: {``dense_3/vars/0``: ``embed.1.kernel``}."""
        table: dict[str, str] = {}
        for cls, stems in self.layers.items():
            sublayers = SUBLAYERS.get(cls)
            for rank, stem in enumerate(stems):
                layer = layer_name(cls, rank)
                if sublayers is None:
                    parameters = VARIABLES[cls][: 1 if stem in self.unbiased else None]
                    table |= {f"{layer}/vars/{i}": f"{stem}.{p}" for i, p in enumerate(parameters)}
                    continue
                for theirs, ours in sublayers.items():
                    for i, parameter in enumerate(VARIABLES["dense"]):
                        table[f"{layer}/{theirs}/vars/{i}"] = f"{stem}.{ours}.{parameter}"
        return table

    def counts(self) -> dict[str, int]:
        """Count the layers with weights of each class."""
        return {cls: len(stems) for cls, stems in sorted(self.layers.items()) if stems}

    def empty(self) -> list[str]:
        """List the groups ``<layer>/vars`` without variables."""
        groups = empty_layers(self.weightless)
        for cls, names in EMPTY_SUBLAYERS.items():
            for rank in range(len(self.layers.get(cls, ()))):
                layer = layer_name(cls, rank)
                groups += [f"{layer}/vars", *(f"{layer}/{name}/vars" for name in names)]
        return groups


def empty_layers(counts: Mapping[str, int]) -> list[str]:
    """List the groups of layers without weights, ``add_3/vars``; ``counts`` are by class."""
    return [
        f"{layer_name(cls, rank)}/vars" for cls, count in counts.items() for rank in range(count)
    ]


def pair(stem: str) -> list[str]:
    """Return ``<stem>.0`` and ``<stem>.1``."""
    return [f"{stem}.0", f"{stem}.1"]


def in_blocks(count: int, names: Iterable[str]) -> list[str]:
    """List ``block.<i>.<name>`` block after block."""
    names = list(names)
    return [f"block.{i}.{name}" for i in range(count) for name in names]


def _transformer(count: int, scaled: bool, norms: Iterable[str]) -> dict[str, list[str]]:
    return {
        ATTENTION: in_blocks(count, ["attn"]),
        NORM: in_blocks(count, norms),
        SCALE: in_blocks(count, ["ls1", "ls2"]) if scaled else [],
    }


def body(num_layers: int, num_local: int, talking: bool, scaled: bool) -> Part:
    """Describe PET's body: the last local layer follows the time embedding, others precede."""
    local = [layer for i in range(num_local) for layer in pair(f"local.{i}")]
    early, last = local[: 2 * max(num_local - 1, 0)], local[2 * max(num_local - 1, 0) :]
    time = [*pair("time"), "time.film"]
    middle = [*pair("embed"), *time]
    layers = _transformer(num_layers, scaled, ["norm1", "norm2"])
    if talking:
        layers[TALKING] = layers.pop(ATTENTION)
    layers["dense"] = early + middle + last + in_blocks(num_layers, ["mlp.0", "mlp.1"])
    some = num_local > 0
    weightless = {
        "add": 2 * num_layers + some,
        "dropout": num_layers,
        "input_layer": 4,
        "random_drop": 1,
        "slicing_op_lambda": 2 + some + 3 * num_local,
        "stochastic_depth": 2 * num_layers,
        "tf_op_lambda": 14 + 3 * some + 24 * num_local + num_layers,
    }
    return Part(layers, frozenset(time), weightless)


def classifier(num_layers: int, scaled: bool, inputs: int = 1) -> Part:
    """Describe the classifier head with a class token; ``inputs`` counts its input layers."""
    layers = _transformer(num_layers, scaled, ["norm1", "norm_attn", "norm2"])
    layers[NORM].append("norm")
    layers["dense"] = ["film", *in_blocks(num_layers, ["mlp.0", "mlp.1"]), "out", "reg"]
    weightless = {
        "add": 2 * num_layers,
        "dropout": num_layers,
        "input_layer": inputs,
        "slicing_op_lambda": 5 + num_layers,
        "tf_op_lambda": 8 + num_layers,
    }
    return Part(layers, frozenset(), weightless)


def simple_classifier(inputs: int = 1) -> Part:
    """Describe the classifier head that averages over particles."""
    layers = {"dense": [*pair("jet"), "merge", "out", "reg"], NORM: ["norm"]}
    weightless = {"global_average_pooling1d": 1, "input_layer": inputs, "tf_op_lambda": 1}
    return Part(layers, frozenset(), weightless)


CONDITION = ["time.0", "time.1", "jet", "cond.0", "label", "cond.1"]
UNBIASED_CONDITION = frozenset(["time.0", "time.1", "label"])


def generator(num_layers: int, scaled: bool, inputs: int = 1) -> Part:
    """Describe the generator head of transformer blocks."""
    layers = _transformer(num_layers, scaled, ["norm1", "norm2"])
    layers[NORM].append("norm")
    layers["dense"] = [*CONDITION, *in_blocks(num_layers, ["mlp.0", "mlp.1"]), "out"]
    weightless = {
        "add": 1 + 3 * num_layers,
        "input_layer": inputs,
        "slicing_op_lambda": 2,
        "stochastic_depth": 1,
        "tf_op_lambda": 12,
    }
    return Part(layers, UNBIASED_CONDITION, weightless)


def simple_generator(inputs: int = 1) -> Part:
    """Describe the generator head of one modulated MLP."""
    layers = {"dense": [*CONDITION, "film", "mlp", "out"], NORM: ["norm"]}
    weightless = {
        "add": 1,
        "dropout": 1,
        "input_layer": inputs,
        "slicing_op_lambda": 2,
        "stochastic_depth": 1,
        "tf_op_lambda": 15,
    }
    return Part(layers, UNBIASED_CONDITION, weightless)


JET_NORMS = ["norm1", "norm_attn", "norm2"]


def jet_generator(num_layers: int, scaled: bool, inputs: int = 1) -> Part:
    """Describe the diffusion model of the dijet kinematics in the LHC Olympics generator."""
    unbiased = [*pair("label"), *pair("time")]
    layers = _transformer(num_layers, scaled, JET_NORMS)
    layers[NORM] = ["norm_embed", *layers[NORM], "norm"]
    layers["dense"] = [
        *unbiased,
        "embed.0",
        "film",
        "embed.1",
        *in_blocks(num_layers, ["mlp.0", "mlp.1"]),
        "out",
    ]
    weightless = {
        "add": 1 + 2 * num_layers,
        "input_layer": inputs,
        "slicing_op_lambda": 2,
        "stochastic_depth": 1,
        "tf_op_lambda": 12,
    }
    return Part(layers, frozenset(unbiased), weightless)


def event_classifier(num_layers: int, scaled: bool) -> Part:
    """Describe jet encoder, mass embedding and particle norm of the LHC Olympics classifier.

    Keras' order has the mass MLP between the last two blocks of the jet encoder.
    """
    blocks = _transformer(num_layers, scaled, JET_NORMS)
    layers = {cls: [f"jetenc.{stem}" for stem in stems] for cls, stems in blocks.items()}
    layers[NORM] += ["part_norm", "jetenc.norm"]
    mlps = [f"jetenc.{stem}" for stem in in_blocks(num_layers, ["mlp.0", "mlp.1"])]
    embed = pair("jetenc.embed")
    layers["dense"] = [*embed, *mlps[:-2], *pair("mass"), *mlps[-2:], "jetenc.out"]
    weightless = {
        "add": 2 * num_layers,
        "global_average_pooling1d": 1,
        "input_layer": 6,
        "slicing_op_lambda": 3,
        "tf_op_lambda": 13,
    }
    return Part(layers, frozenset(), weightless)
