"""Export of a fitted likelihood ratio as one program: preprocessing, network and weights.

The program runs wherever JAX does, without this package (`jax.export`), for any number of jets and
of constituents.
"""

import dataclasses
import os

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.data.batching import Batch
from jaxpriors.errors import InputError
from jaxpriors.models.files import build
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.ratio.model import RatioModel
from jaxpriors.ratio.networks import from_networks, networks_of
from jaxpriors.run.storage import written_whole

PLATFORMS = ("cpu", "cuda")


def program(model: RatioModel) -> jax.export.Exported:
    """Export log p_data / p_simulation (b,) float32 (of an ensemble the mean) as a program.

    It takes five arrays: p4 (b, n, 4) float32, the constituents' (E, px, py, pz) in GeV; pid (b, n)
    int32, PDG codes, 0 for unknown; length (b,) int32, the number of constituents among the n, the
    rest is ignored; jet_p4 (b, 4) float32; and jet_mass (b,) float32, computed in double precision,
    as that of a forward jet is lost in single precision.

    b and n are any positive integers. A jet with a length outside [0, n] gives NaN. A PET in mode
    "omnilearn", whose output depends on n, needs n above its number of neighbours. Raises
    InputError for a network that reads columns of the events.
    """
    networks = networks_of(model.classifier)
    network = networks[0]
    config = network.config
    if model.preprocessing.config.columns:
        raise InputError(
            f"export: found a network of the columns {model.preprocessing.config.columns}, "
            "expected one of the constituents; what makes the columns would not be in the program"
        )
    constraints: tuple[str, ...] = ()
    width = "n"
    if hasattr(config, "attention_implementation"):  # cuDNN's kernel is no CPU's
        config = dataclasses.replace(config, attention_implementation="xla")
        networks = [build(config, state_from_network(network)) for network in networks]
    elif config.mode == "omnilearn":
        constraints = (f"n >= {config.neighbours + 1}",)
    else:  # padding changes no output, and gives each row enough neighbours
        width = f"max(n, {config.neighbours})"
    jets, size, padded = jax.export.symbolic_shape(f"b, n, {width}", constraints=constraints)
    # plain arrays, as weights on several devices would make a program for several devices
    weights = jax.tree.map(np.asarray, from_networks(networks))

    def log_likelihood_ratio(
        p4: Array, pid: Array, length: Array, jet_p4: Array, jet_mass: Array
    ) -> Array:
        rows = ((0, 0), (0, padded - size))
        batch = Batch(
            p4=jnp.pad(p4, (*rows, (0, 0))),
            pid=jnp.pad(pid, rows),
            length=length,
            jet_p4=jet_p4,
            jet_mass=jet_mass,
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
        jax.ShapeDtypeStruct((jets,), jnp.float32),
    )


def write_program(
    path: str | os.PathLike[str], model: RatioModel, *, overwrite: bool = False
) -> None:
    """Write ``program(model)`` for `jax.export.deserialize`, whole or not at all.

    Raises InputError where the file exists and ``overwrite`` is false, where the file cannot be
    written, and where the package flatbuffers is missing.
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise InputError("export needs flatbuffers: pip install 'jaxpriors[export]'") from None
    with written_whole(path, overwrite=overwrite) as scratch:
        scratch.write_bytes(program(model).serialize())
