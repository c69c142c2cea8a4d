"""Checkpoints with Orbax: atomic, asynchronous, resumable, self-describing."""

import logging
from contextlib import AbstractContextManager
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.run import processes

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells its every move at WARNING


def flatten(tree: Any) -> dict[str, Array]:
    """Return the arrays of a tree by the path that leads to them, ``blocks/mlp/weight``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


RENAMED = {"NumbersConfig(": "ColumnsConfig("}  # in the identities of the first versions


def rename_schedule(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return a state's arrays by today's names.

    Checkpoints of the first versions have the learning rate's schedule under ``course``, where
    optax has it under ``hyperparams``, and one count of updates where optax has two.
    """
    found = {name.replace("/course/", "/hyperparams/"): x for name, x in arrays.items()}
    for name in arrays:
        if name.endswith("/course/peak"):
            stage = name.removesuffix("/course/peak")
            found[f"{stage}/inner_state/count"] = jnp.copy(arrays[f"{stage}/count"])
    return found


class Checkpoints(AbstractContextManager["Checkpoints"]):
    """The checkpoints of one run: the last one, to go on from, and the best one, to use.

    Each holds the training state's arrays by name and a JSON document (``progress``). Saving
    returns at once and is complete or absent after a kill. Several processes save one checkpoint
    together, in a folder that all of them see; any number of them can restore it.

    ``latest()`` and ``best()`` give the step of the last one and of the one with the least
    validation loss, None where there is none; ``wait()`` waits until all is on disk.
    """

    def __init__(self, folder: Path) -> None:
        policies = ocp.checkpoint_managers.preservation_policy
        validation_loss = itemgetter("validation_loss")
        self.folder = folder.absolute()
        self._manager = ocp.CheckpointManager(
            self.folder,
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "progress": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(1),
                        policies.BestN(n=1, get_metric_fn=validation_loss, reverse=True),
                    ]
                ),
                best_fn=validation_loss,
                best_mode="min",
                enable_async_checkpointing=True,
            ),
        )
        self.latest, self.best = self._manager.latest_step, self._manager.best_step
        self.wait = self._manager.wait_until_finished

    def save(self, step: int, state: Any, progress: dict[str, Any], validation_loss: float) -> None:
        """Save a copy in the background, so that the state's own memory may be given away.

        Steps that end no epoch have a validation loss of infinity.
        """
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(flatten(jax.tree.map(jnp.copy, state))),
                progress=ocp.args.JsonSave(progress),
            ),
            metrics={"validation_loss": min(validation_loss, 1e30)},
            force=True,
        )

    def restore(self, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        """Return state and progress of a step; the arrays lie where the template's do.

        Raises InputError naming an array that is missing, unknown, or of another shape or dtype.
        """
        read = ocp.args.Composite(progress=ocp.args.JsonRestore())
        progress = self._manager.restore(step, args=read)["progress"]
        for old, new in RENAMED.items():
            progress["identity"] = progress["identity"].replace(old, new)
        leaves, structure = jax.tree.flatten(template)
        target = {
            name: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=leaves[0].sharding)
            for name, m in self._manager.item_metadata(step)["state"].items()
        }
        read = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        arrays = self._manager.restore(step, args=read)["state"]
        if any("/course/" in name for name in arrays):
            arrays = rename_schedule(arrays)
        where, wanted = f"checkpoint {self.folder / str(step)}", flatten(template)
        unknown, missing = sorted(set(arrays) - set(wanted)), sorted(set(wanted) - set(arrays))
        if unknown or missing:
            raise InputError(
                f"{where}: missing arrays {missing}, unknown arrays {unknown}; expected exactly "
                f"those of the configured network and optimizer ({len(wanted)})"
            )
        for name, leaf in wanted.items():
            found = arrays[name]
            if found.shape != leaf.shape or found.dtype != leaf.dtype:
                raise InputError(
                    f"{where}: array {name} is {found.dtype}{list(found.shape)}, expected "
                    f"{leaf.dtype}{list(leaf.shape)}"
                )
        return jax.tree.unflatten(structure, [arrays[name] for name in wanted]), progress

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        """Close, but for a process that fails alone: it would wait for others who wait for it."""
        if kind is None or processes.count() == 1:
            self.wait()
            self._manager.close()
