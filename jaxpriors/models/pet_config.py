"""Sizes and switches of PET."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from jaxpriors.layers.core import check_counts

Mode = Literal["omnilearn", "masked"]


@dataclass(frozen=True, kw_only=True)
class PETConfig:
    """Sizes and switches of `PET`; ValueError for values that make no network.

    num_local counts the edge convolutions over ``neighbours`` neighbours, num_layers the blocks of
    the body, num_class_layers and num_gen_layers those of the heads. layer_scale is the initial
    scale of the residual branches, or None without it. simple replaces the blocks of both heads by
    a mean over particles and an MLP. num_diffusion is the number of features that are generated.

    mode "omnilearn" computes the function of OmniLearn, which depends on the amount of padding and
    has neither a trained class token nor active drops. In mode "masked" padding changes nothing,
    the class token is trained, and in training, with a key: feature_drop is the probability that an
    event loses its features beyond the first num_keep (the particle identities), drop_path that it
    skips a residual branch, dropout that of a hidden value to be zero.

    checkpoint_blocks recomputes each block in the backward pass.
    """

    num_features: int = 13
    num_jet_features: int = 4
    num_classes: int = 10
    hidden_channels: int = 128
    num_heads: int = 4
    num_layers: int = 8
    num_local: int = 2
    neighbours: int = 10
    num_class_layers: int = 2
    num_gen_layers: int = 2
    layer_scale: float | None = 1e-5
    talking_head: bool = False
    simple: bool = False
    mode: Mode = "masked"
    feature_drop: float = 0.1
    num_keep: int = 7
    drop_path: float = 0.0
    dropout: float = 0.0
    num_diffusion: int = 3
    checkpoint_blocks: bool = False

    def __post_init__(self) -> None:
        least = {"num_features": 2, "num_local": 0, "num_keep": 0, "num_diffusion": 1}
        sizes = ("num_jet_features", "num_classes", "hidden_channels", "num_heads", "num_layers")
        layers = ("neighbours", "num_class_layers", "num_gen_layers")
        check_counts(self, least | dict.fromkeys(sizes + layers, 1))
        if self.hidden_channels % self.num_heads:
            raise ValueError(
                f"hidden_channels is {self.hidden_channels}, expected a multiple of num_heads = "
                f"{self.num_heads}"
            )
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode is {self.mode!r}, expected one of {get_args(Mode)}")
        if self.num_diffusion > self.num_features:
            raise ValueError(
                f"num_diffusion is {self.num_diffusion}, expected at most num_features = "
                f"{self.num_features}"
            )
        for name in ("feature_drop", "drop_path", "dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected in [0, 1)")
