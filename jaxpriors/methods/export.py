"""A fitted likelihood ratio as one program: preprocessing, network and weights.

The program runs wherever JAX does, without this package (`jax.export`): a portable form of what
the network computes, with the numbers of jets and of constituents left open.
"""

import dataclasses
import os

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.data.batching import Batch
from jaxpriors.data.files import written_whole
from jaxpriors.errors import InputError
from jaxpriors.methods.ensemble import around, networks_of
from jaxpriors.methods.ratio import RatioModel
from jaxpriors.models.pet import PET
from jaxpriors.porting.networks import build
from jaxpriors.porting.trees import state_from_network
from jaxpriors.preprocessing import columns_of

PLATFORMS = ("cpu", "cuda")


def program(model: RatioModel) -> jax.export.Exported:
    """log p_data / p_simulation (b,) float32, of an ensemble the mean, by four arrays:

    p4 (b, n, 4) float32, constituents as (E, px, py, pz) in GeV; pid (b, n) int32, PDG codes, 0 for
    unknown; length (b,) int32, how many of the n are constituents, the others are not looked at;
    jet_p4 (b, 4) float32.

    b and n are any positive numbers. A jet whose length is not in [0, n] has NaN for an answer. A
    PET in mode "omnilearn", whose answer depends on n, takes only n above its number of neighbours.
    Raises InputError for a network that reads columns of the events.
    """
    networks = networks_of(model.classifier)
    network = networks[0]
    if columns_of(model.preprocessing.config):
        raise InputError(
            f"export: found a network of the columns {columns_of(model.preprocessing.config)}, "
            "expected one of the constituents; what makes the columns would not be in the program"
        )
    constraints: tuple[str, ...] = ()
    width = "n"
    if not isinstance(network, PET):
        config = dataclasses.replace(network.config, attention_implementation="xla")
        # cuDNN's kernel is no CPU's
        networks = [build(config, state_from_network(network)) for network in networks]
    elif network.config.mode == "omnilearn":
        constraints = (f"n >= {network.config.neighbours + 1}",)
    else:  # padding changes nothing, and gives each row its number of neighbours
        width = f"max(n, {network.config.neighbours})"
    jets, size, padded = jax.export.symbolic_shape(f"b, n, {width}", constraints=constraints)
    # as plain arrays: weights that live on several devices would make a program for as many
    weights = jax.tree.map(np.asarray, around(networks))

    def log_likelihood_ratio(p4: Array, pid: Array, length: Array, jet_p4: Array) -> Array:
        rows = ((0, 0), (0, padded - size))
        batch = Batch(
            p4=jnp.pad(p4, (*rows, (0, 0))),
            pid=jnp.pad(pid, rows),
            length=length,
            jet_p4=jet_p4,
            columns=jnp.zeros((length.shape[0], 0), jnp.float32),
            label=jnp.zeros_like(length, jnp.float32),
            weight=jnp.ones_like(length, jnp.float32),
        )
        classifier = jax.tree.map(jnp.asarray, weights)
        logits = dataclasses.replace(model, classifier=classifier).logits(batch)
        return jnp.where((length >= 0) & (length <= p4.shape[1]), logits, jnp.nan)

    return jax.export.export(jax.jit(log_likelihood_ratio), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct((jets, size, 4), jnp.float32),
        jax.ShapeDtypeStruct((jets, size), jnp.int32),
        jax.ShapeDtypeStruct((jets,), jnp.int32),
        jax.ShapeDtypeStruct((jets, 4), jnp.float32),
    )


def write_program(
    path: str | os.PathLike[str], model: RatioModel, *, overwrite: bool = False
) -> None:
    """Write ``program(model)`` for `jax.export.deserialize`, whole or not at all.

    Raises InputError where the file exists and ``overwrite`` is false, where it cannot be written,
    and where the package flatbuffers is missing.
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise InputError("export needs flatbuffers: pip install 'jaxpriors[export]'") from None
    with written_whole(path, overwrite=overwrite) as scratch:
        scratch.write_bytes(program(model).serialize())
