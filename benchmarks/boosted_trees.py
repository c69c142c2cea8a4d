"""Train boosted trees on the observables of jets, to compare the networks of the study with.

    pip install '.[simulation]' scikit-learn
    python -m benchmarks.boosted_trees

Trees learn to separate the two samples of `experiments.dis` by four observables of the jet, and by
eight. Validation events decide when they stop, and which of three sizes is used. The area under the
ROC curve is that of the events with which the study tests its networks.
"""

from __future__ import annotations

import numpy as np
import tyro

from experiments import dis
from jaxpriors.data.events import Events
from jaxpriors.evaluation.metrics import auc
from jaxpriors.evaluation.observables import observables
from jaxpriors.physics import kinematics
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.reweighting import Reweighting, prepare_reweighting
from jaxpriors.run.folder import shown

FEW = "pt", "eta", "mass", "multiplicity"
LEAVES = 7, 15, 31


def compare(events: int = 100_000, constituents: int = 30) -> int:
    """Train the trees and print the table.

    Args:
        events: number of events of each sample, made at the first call.
        constituents: number of the hardest constituents of each jet that count.
    """
    with shown() as display:
        pair = dis.simulated(events, constituents, (), display)[dis.TABLE]
    prepared = prepare_reweighting(
        *pair, Reweighting((RatioClassifier("lgatr-slim"),), observables="jet")
    )
    parts = {name: observed(*prepared.part(name)) for name in ("train", "validation", "test")}
    for name, chosen in (
        (", ".join(FEW), FEW),
        ("these and the substructure", tuple(parts["test"][0])),
    ):
        data = {
            part: (np.stack([columns[c] for c in chosen], axis=1), label)
            for part, (columns, label) in parts.items()
        }
        found = auc(scores(data), data["test"][1])
        print(f"{name}: AUC {found.value:.4f} ± {found.error:.4f}")
    return 0


def observed(simulation: Events, data: Events) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Compute observables of both samples, and the labels."""
    both = Events.concatenate([simulation, data])
    jet = {"pt": kinematics.pt(both.jet_p4), "eta": kinematics.eta(both.jet_p4)}
    return jet | observables(both), np.repeat([0, 1], [len(simulation), len(data)])


def scores(data: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Score the test events by the trees that have the least loss of the validation events."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import log_loss

    best: tuple[float, np.ndarray] | None = None
    for leaves in LEAVES:
        trees = HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=500, max_leaf_nodes=leaves, random_state=0,
            early_stopping=True, n_iter_no_change=20,
        ).fit(*data["train"])  # fmt: skip
        features, label = data["validation"]
        loss = log_loss(label, trees.predict_proba(features)[:, 1])
        if best is None or loss < best[0]:
            best = loss, trees.decision_function(data["test"][0])
    assert best is not None
    return best[1]


if __name__ == "__main__":
    raise SystemExit(tyro.cli(compare))
