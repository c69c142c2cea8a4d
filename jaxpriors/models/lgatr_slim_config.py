"""Sizes and switches of L-GATr-slim, and the switches that tell lgatr 1.4 and 2.0 apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from jaxpriors.layers.attention import Implementation
from jaxpriors.layers.core import check_counts, check_options
from jaxpriors.models.lgatr_versions import versioned

VERSIONS: dict[str, dict[str, Any]] = {
    "1.4": {
        "qkv_bias": True,
        "norm_elementwise_affine": False,
        "gelu": "exact",
        "nonlinearity_v": None,
        "gate_factor": 1.0,
        "zero_bias": False,
    },
    "2.0": {
        "qkv_bias": False,
        "norm_elementwise_affine": True,
        "gelu": "tanh",
        "nonlinearity_v": "sigmoid",
        "gate_factor": 0.5,
        "zero_bias": True,
    },
}
"""Settings that reproduce a release of ``lgatr``, see ``LGATrSlimConfig.of_version``."""


@dataclass(frozen=True, kw_only=True)
class LGATrSlimConfig:
    """Sizes and switches of `LGATrSlim`; ValueError for values that make no network.

    attn_ratio and mlp_ratio multiply the hidden channels inside attention and MLP; num_layers_mlp
    counts linear maps, all but the last of them gated. nonlinearity_v (None: as nonlinearity) acts
    on gate_factor times the Minkowski product that gates a vector. zero_bias concerns the
    initialisation alone. checkpoint_blocks recomputes each block in the backward pass. dropout_prob
    None is 0 without the dropout modules that ``lgatr`` counts in the names of its tensors.
    """

    in_v_channels: int
    out_v_channels: int
    hidden_v_channels: int
    in_s_channels: int
    out_s_channels: int
    hidden_s_channels: int
    num_blocks: int
    num_heads: int
    nonlinearity: str = "gelu"
    nonlinearity_v: str | None = None
    mlp_ratio: int = 2
    attn_ratio: int = 1
    num_layers_mlp: int = 2
    dropout_prob: float | None = None
    checkpoint_blocks: bool = False
    qkv_bias: bool = True
    norm_elementwise_affine: bool = False
    gelu: Literal["exact", "tanh"] = "exact"
    gate_factor: float = 1.0
    zero_bias: bool = False
    attention_implementation: Implementation = "xla"

    @classmethod
    def of_version(cls, version: str, **settings: Any) -> Self:
        """The configuration that computes what ``lgatr`` "1.4" or "2.0" does.

        ``settings`` are all other fields, with the defaults of this class. ValueError for another
        version.
        """
        return versioned(cls, VERSIONS, version, settings)

    def __post_init__(self) -> None:
        least = dict.fromkeys(("hidden_v_channels", "hidden_s_channels", "num_blocks"), 1)
        least |= {"num_heads": 1, "attn_ratio": 1, "mlp_ratio": 1, "num_layers_mlp": 2}
        check_counts(self, least)
        check_options(self.dropout_prob, self.nonlinearity, self.nonlinearity_v)

    def head_channels(self) -> tuple[int, int]:
        """(vectors, scalars) of one attention head."""
        v = self.attn_ratio * self.hidden_v_channels // self.num_heads
        s = self.attn_ratio * self.hidden_s_channels // self.num_heads
        return max(v, 1), max(s, 4)

    def activations(self) -> tuple[str, str]:
        """(scalars, vector gates): names in `core.ACTIVATIONS`."""
        tanh = {"gelu": "gelu_tanh"} if self.gelu == "tanh" else {}
        gate = self.nonlinearity_v or self.nonlinearity
        return tanh.get(self.nonlinearity, self.nonlinearity), tanh.get(gate, gate)


@dataclass(frozen=True, kw_only=True)
class ConditionalLGATrSlimConfig(LGATrSlimConfig):
    """Sizes and switches of `ConditionalLGATrSlim`: those of the encoder and the condition's."""

    v_channels_cond: int
    s_channels_cond: int
