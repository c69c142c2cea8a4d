"""Print what networks of a study see and how they are trained (arXiv:2603.08802, Tables 1, 5, 7).

    python -m experiments.settings anomaly

Settings are those of `jaxpriors.ratio.settings.PUBLISHED`, with their sources; inputs are those of
the classifiers that the studies train.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import tyro

from jaxpriors.data.dijets import JET_COLUMNS
from jaxpriors.physics.jet_features import FEATURES, JET_FEATURES
from jaxpriors.preprocessing.clouds import SEEN, DijetCloudConfig, PointCloudConfig
from jaxpriors.preprocessing.tokens import KINDS, KINEMATICS, DijetConfig, InputConfig
from jaxpriors.ratio import published, settings
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.run.launch import guarded


def main(study: Literal["omnifold", "dis", "anomaly"], /) -> int:
    """Print inputs and settings.

    Args:
        study: which one.
    """
    print("Inputs\n")
    for row in published.rows(study):
        if row != "pet-finetuned":  # those of its weights, PET's
            print(f"{row}: {seen(published.classifier(study, row))}")
    print(f"\nSettings\n\n{settings.markdown(study)}")
    return 0


def seen(one: RatioClassifier) -> str:
    """Say in words what a classifier's network sees.

    >>> seen(published.classifier("omnifold", "mlp"))
    'columns mass, width, multiplicity, groomed_mass, zg, tau21'
    """
    inputs = one.inputs
    if isinstance(inputs, InputConfig | DijetConfig):
        names, two = inputs.learnt, isinstance(inputs, DijetConfig)
        if isinstance(inputs, InputConfig) and inputs.features != "full":
            of_jets = names[names.index("jet_pt") :]
            names = (*KINEMATICS, *of_jets) if inputs.features == "kinematics" else ()
        return (
            f"four-momenta of the constituents and of {'both jets' if two else 'the jet'}; scalars "
            f"{', '.join(names) or 'none'}, one-hot of the token's kind ({len(KINDS)})"
            f"{', one-hot of its jet (2)' if two else ''}; reference vectors: beam {inputs.beam}"
            f"{', time' if inputs.time else ''}"
        )
    if isinstance(inputs, PointCloudConfig | DijetCloudConfig):
        width = SEEN[inputs.features] if isinstance(inputs, PointCloudConfig) else SEEN["momenta"]
        jets = JET_FEATURES if isinstance(inputs, PointCloudConfig) else JET_COLUMNS
        return (
            f"clouds of {', '.join(FEATURES[:width])}; of the jet {', '.join(jets)}; normalised as "
            f"OmniLearn's {inputs.normalisation}"
        )
    return f"columns {', '.join(dataclasses.asdict(inputs)['columns'])}"


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.cli(main)))
