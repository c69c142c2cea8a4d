"""Estimate the cost of the networks on GPUs, from XLA's counts here and data sheets.

    python -m benchmarks.on_paper

Nothing runs on a GPU. Operations, bytes and instructions are those of the forward pass as XLA
compiles it for the CPU of this machine; for a GPU it fuses in other ways, so that bytes and the
number of launches are only a guide. A time is the largest of operations over the rate of matrix
products, bytes over the bandwidth, and launches times ``LAUNCH``: what a program could do, not what
it does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import tyro

from benchmarks.networks import MEAN, MODELS, PARTICLES, benchmarked
from jaxpriors.layers.multivector_attention import head_sizes
from jaxpriors.models.lgatr import LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlimConfig
from jaxpriors.models.pet import PETConfig
from jaxpriors.ratio.networks import NetworkConfig
from jaxpriors.ratio.presets import preset

LAUNCH = 3e-6  # seconds from one kernel to the next
BATCH = 512
CALLS = r"= \S+ (fusion|dot|custom-call|reduce|sort|copy|transpose|concatenate|gather|call)\("


@dataclass(frozen=True)
class Device:
    """A GPU's data sheet: FLOP/s of matrix products in float32 and bfloat16, bytes/s of memory."""

    name: str
    float32: float
    bfloat16: float
    bandwidth: float


DEVICES = (
    Device("A100 40 GB", 19.5e12, 312e12, 1.555e12),
    Device("H100 SXM", 67e12, 989e12, 3.35e12),
)


def head_size(config: NetworkConfig) -> int:
    """Return the size of one head of the attention of the blocks."""
    if isinstance(config, LGATrConfig):
        mv, s = head_sizes(*config.hidden_channels(), config.num_heads, config.attn_ratio)
        return 16 * mv + (s or 0)
    if isinstance(config, LGATrSlimConfig):
        vectors, scalars = config.head_channels()
        return 4 * vectors + scalars
    assert isinstance(config, PETConfig)
    return config.hidden_channels // config.num_heads


def on_paper(models: Sequence[str] = MODELS, size: str = "paper") -> int:
    """Print the table.

    Args:
        models: any of lgatr, lgatr-slim, pet.
        size: paper or small.
    """
    print(f"{'':11}{'FLOP':>9}{'bytes':>9}{'launches':>10}{'head':>6}", end="")
    print("".join(f"{f'{d.name}, 1 jet':>20}{f'{BATCH} jets, {MEAN} each':>24}" for d in DEVICES))
    for model in models:
        task = benchmarked(model, size)
        network = jax.eval_shape(task.init, jax.random.key(0))
        compiled = jax.jit(task.forward).lower(network, *task.jets(1)).compile()
        counted = compiled.cost_analysis()
        assert counted is not None
        flop, moved = float(counted["flops"]), float(counted["bytes accessed"])
        _, _, entry = (compiled.as_text() or "").partition("ENTRY")
        launches = len(re.findall(CALLS, entry))
        print(f"{model:11}{flop:9.2e}{moved:9.2e}{launches:10d}", end="")
        print(f"{head_size(preset(model, size)):6d}", end="")
        for device in DEVICES:
            one = max(flop / device.float32, moved / device.bandwidth, launches * LAUNCH)
            jets = BATCH * MEAN / PARTICLES
            # the activations alone grow with the batch; in bfloat16 they are half as large
            many = max(
                jets * flop / device.bfloat16,
                jets * moved / 2 / device.bandwidth,
                launches * LAUNCH,
            )
            print(f"{1e3 * one:17.2f} ms{1e3 * many:21.2f} ms", end="")
        print(flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(tyro.cli(on_paper))
