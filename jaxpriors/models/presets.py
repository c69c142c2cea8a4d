"""Named sizes of networks: a table of numbers.

``paper`` are the networks of arXiv:2603.08802, Appendix B, OmniLearn's PET (arXiv:2404.16091) and
MultiFold's MLP (arXiv:1911.09107), which has one size; ``small`` train in minutes on two cores.
``LGATR_2M`` is the larger L-GATr of the paper's deep-inelastic scattering. The numbers of in and
out channels follow from the inputs.
"""

from jaxpriors.models.lgatr import LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlimConfig
from jaxpriors.models.mlp import MLPConfig
from jaxpriors.models.pet import PETConfig

NetworkConfig = LGATrConfig | LGATrSlimConfig | PETConfig | MLPConfig


def _lgatr(channels: int, scalars: int, blocks: int, heads: int) -> LGATrConfig:
    return LGATrConfig(
        in_mv_channels=1,
        out_mv_channels=1,
        hidden_mv_channels=channels,
        in_s_channels=1,
        out_s_channels=None,
        hidden_s_channels=scalars,
        num_blocks=blocks,
        num_heads=heads,
        attn_ratio=2,
        mlp_ratio=2,
    )


def _slim(channels: int, scalars: int, blocks: int, heads: int) -> LGATrSlimConfig:
    return LGATrSlimConfig(
        in_v_channels=1,
        out_v_channels=1,
        hidden_v_channels=channels,
        in_s_channels=1,
        out_s_channels=1,
        hidden_s_channels=scalars,
        num_blocks=blocks,
        num_heads=heads,
    )


_PET: dict[str, NetworkConfig] = {
    "small": PETConfig(
        hidden_channels=48, num_layers=3, neighbours=5, layer_scale=0.1, feature_drop=0.0
    ),
    "paper": PETConfig(feature_drop=0.0),
}

# model → size → channels of multivectors or vectors, of scalars, blocks, heads
PRESETS: dict[str, dict[str, NetworkConfig]] = {
    "lgatr": {"small": _lgatr(4, 16, 2, 4), "paper": _lgatr(16, 32, 12, 8)},
    "lgatr-slim": {"small": _slim(8, 24, 3, 4), "paper": _slim(32, 64, 12, 4)},
    "pet": _PET,
    "mlp": {"small": MLPConfig(), "paper": MLPConfig()},
}
LGATR_2M = _lgatr(20, 40, 15, 4)


def preset(model: str, size: str) -> NetworkConfig:
    """The network of that name and size; ValueError for others."""
    if model not in PRESETS:
        raise ValueError(f"model: found {model!r}, expected one of {sorted(PRESETS)}")
    if size not in PRESETS[model]:
        raise ValueError(f"size: found {size!r}, expected one of {sorted(PRESETS[model])}")
    return PRESETS[model][size]
