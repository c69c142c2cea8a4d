"""Checkpoints with Orbax: atomic, asynchronous, resumable, self-describing."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax import Array

from jaxpriors import processes
from jaxpriors.errors import InputError

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells its every move at WARNING


def flatten(tree: Any) -> dict[str, Array]:
    """The arrays of a tree by the path that leads to them, ``blocks/mlp/weight``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(_name(p) for p in path): leaf for path, leaf in leaves}


def unflatten(template: Any, arrays: dict[str, Any], where: str) -> Any:
    """The tree of ``template``'s structure filled from ``flatten``'s result.

    Raises InputError naming an array that is missing, unknown, or of another shape or dtype.
    """
    wanted = flatten(template)
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
    _, structure = jax.tree_util.tree_flatten(template)
    return jax.tree.unflatten(structure, [arrays[name] for name in wanted])


def digest(tree: Any) -> str:
    """A hash of the numbers in a tree of arrays."""
    found = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(tree):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


class Checkpoints:
    """The checkpoints of one run: the last one, to go on from, and the best one, to use.

    Each holds the training state's arrays by name and a JSON document (``progress``). Saving
    returns at once and is complete or absent after a kill. Several processes save one checkpoint
    together, in a folder that all of them see; any number of them can restore it.
    """

    def __init__(self, folder: Path) -> None:
        policies = ocp.checkpoint_managers.preservation_policy
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
                        policies.BestN(n=1, get_metric_fn=_validation_loss, reverse=True),
                    ]
                ),
                best_fn=_validation_loss,
                best_mode="min",
                enable_async_checkpointing=True,
            ),
        )

    def save(self, step: int, state: Any, progress: dict[str, Any], validation_loss: float) -> None:
        """Save in the background; steps that end no epoch have a validation loss of infinity."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(flatten(state)),
                progress=ocp.args.JsonSave(progress),
            ),
            metrics={"validation_loss": min(validation_loss, 1e30)},
            force=True,
        )

    @property
    def latest(self) -> int | None:
        """Step of the last checkpoint, None where there is none."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the least validation loss."""
        return self._manager.best_step()

    def restore(self, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        """State and progress of a step; InputError where the arrays are not the template's.

        The arrays lie where the template's do, whatever devices they were saved from.
        """
        progress = self._manager.restore(
            step, args=ocp.args.Composite(progress=ocp.args.JsonRestore())
        )["progress"]
        found = self._arrays(step, jax.tree.leaves(template)[0].sharding)
        return unflatten(template, found, f"checkpoint {self.folder / str(step)}"), progress

    def _arrays(self, step: int, sharding: jax.sharding.Sharding) -> dict[str, Array]:
        metadata = self._manager.item_metadata(step)["state"]
        target = {
            name: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=sharding)
            for name, m in metadata.items()
        }
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
        )
        return restored["state"]

    def wait(self) -> None:
        """Until all that was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and let go of the folder."""
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        """Close, but for a process that fails alone: it would wait for others who wait for it."""
        if kind is None or processes.count() == 1:
            self.close()


def _validation_loss(metrics: dict[str, float]) -> float:
    return metrics["validation_loss"]


def _name(key: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    raise TypeError(f"no name for the path element {key!r}")


def count_parameters(params: Any) -> int:
    """Number of trainable numbers in a tree."""
    return int(sum(np.prod(x.shape) for x in jax.tree.leaves(params)))
