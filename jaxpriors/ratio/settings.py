"""The published settings of every training, each with its source, and the trainings they make.

The studies are those of arXiv:2603.08802 ("the paper"): ``omnifold`` (Section 3.1, Tables 2 and
3), ``dis`` (Section 3.2, Table 4) and ``anomaly`` (Section 3.3, Figure 4). PET is trained as its
authors' scripts do (OmniLearn, arXiv:2404.16091, github.com/ViniciusMikuni/OmniLearn). What still
differs, and why, is in ``docs/paper.md``.
"""

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

from jaxpriors.errors import InputError
from jaxpriors.models.lgatr import LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlimConfig
from jaxpriors.models.mlp import MLPConfig
from jaxpriors.models.pet import PETConfig
from jaxpriors.training.loop import TrainingConfig
from jaxpriors.training.optimizers import OptimizerConfig

STUDIES = ("omnifold", "dis", "anomaly")
PETS = ("pet", "pet-finetuned")
ROWS = {
    "omnifold": ("mlp", "lgatr-slim", "lgatr-1M", "lgatr-2M", *PETS),
    "dis": ("lgatr-1M", "lgatr-2M", "lgatr-slim", *PETS),
    "anomaly": ("lgatr", "lgatr-slim", *PETS),
}
MODEL_OF = {"lgatr-1M": "lgatr", "lgatr-2M": "lgatr"}  # of rows that are called otherwise


@dataclass(frozen=True)
class Setting:
    """Record one published value, of some rows of a study; source: where it is published."""

    study: str
    rows: tuple[str, ...]
    name: str
    value: Any
    source: str


def _settings() -> tuple[Setting, ...]:
    """List all settings. Rates are peaks; initial and final rates are parts of the peak."""
    omnifold, h1, lhco = "train_omnifold.py", "README, train.py --dataset h1", "classify_lhco.py"
    appendix, as_peer = "paper, Appendix B", "paper, Appendix B: as OmniLearn, omnifold.py"
    tokens = ("lgatr-slim", "lgatr-1M", "lgatr-2M")
    slim, tuned = ("lgatr-slim",), ("pet-finetuned",)
    found: list[Setting] = []

    def add(study: str, rows: tuple[str, ...], source: str, **values: Any) -> None:
        found.extend(Setting(study, rows, name, value, source) for name, value in values.items())

    # Z+jets, OmniFold
    add("omnifold", ("mlp",), "arXiv:1911.09107, Section III", blocks=3, channels=(100,))
    add("omnifold", PETS, f"{omnifold} --lr", rate=3e-5)
    add("omnifold", PETS, f"{omnifold} --wd", weight_decay=0.1)
    add("omnifold", PETS, f"{omnifold} --b1 --b2", betas=(0.95, 0.99))
    add("omnifold", PETS, f"{omnifold} --batch", batch=512)
    add("omnifold", PETS, f"{omnifold} --epoch", epochs=20)
    add("omnifold", PETS, "omnifold.py, CompileModel", rule="lion", decay_all=True)
    add("omnifold", tuned, f"{omnifold} --lr_factor", body_factor=5.0)
    add("omnifold", tuned, "omnifold.py, CompileModel: wd at the rate / 5", slow_decay=True)
    add("omnifold", PETS, "omnifold.py, Classifier.train_step", regression=True)
    add("omnifold", PETS, "README, --local --layer_scale; PET.py", blocks=8, channels=(128,))
    add("omnifold", PETS, "PET.py", heads=4, neighbours=10, local=2, head_blocks=2)
    add("omnifold", ("lgatr-1M",), appendix, rate=3e-5, batch=512)
    add("omnifold", ("lgatr-2M",), "as lgatr-1M; to be read in Appendix B", rate=3e-5, batch=512)
    add("omnifold", slim, appendix, rate=2e-5, batch=1024)
    add("omnifold", tokens, appendix, rule="lion", weight_decay=0.1, epochs=20)
    add("omnifold", tokens, as_peer, decay_all=True, betas=(0.95, 0.99))
    add("omnifold", ("lgatr-1M",), appendix, blocks=12, channels=(16, 32), heads=8)
    add("omnifold", ("lgatr-2M",), appendix, blocks=24, channels=(16, 32), heads=8)
    add("omnifold", slim, appendix, blocks=12, channels=(32, 64), heads=4)
    for rows, source in ((PETS, "omnifold.py"), (tokens, as_peer)):
        add("omnifold", rows, source, warmup_epochs=3, initial_rate=1.0, final_rate=0.01)
        add("omnifold", rows, source, cosine_epochs=20, counted=1 / 0.9)
        add("omnifold", rows, source, patience=3, validation=0.1, later_rate=1e-6)
    both = (*tokens, *PETS)
    add("omnifold", both, "README, train_omnifold.py --num_iter 5; paper", iterations=5)
    add("omnifold", both, "paper, Tables 2 and 3", seeds=5)
    add("omnifold", tokens, "paper, Table 1: identities", features="full")
    add("omnifold", PETS, "preprocess_omnifold.py: 13 features", features="full")
    add("omnifold", PETS, "utils.py, OmniDataLoader", normalisation="jetclass")

    # deep-inelastic scattering
    add("dis", tokens, appendix, rule="lion", rate=3e-5, weight_decay=0.2, batch=512, epochs=20)
    add("dis", tokens, as_peer, decay_all=True, betas=(0.95, 0.99), warmup_epochs=3)
    add("dis", tokens, as_peer, initial_rate=1.0, final_rate=0.01, cosine_epochs=20, counted=1.0)
    add("dis", ("lgatr-1M",), appendix, blocks=12, channels=(16, 32), heads=8)
    add("dis", ("lgatr-2M",), appendix, blocks=15, channels=(20, 40), heads=4)
    add("dis", slim, appendix, blocks=12, channels=(32, 64), heads=4)
    add("dis", tokens, "paper, Table 1: identities for Z+jets only", features="kinematics")
    add("dis", PETS, f"{h1}: --lr", rate=3e-5)
    add("dis", PETS, f"{h1}: --wd", weight_decay=1e-5)
    add("dis", PETS, f"{h1}: --b1 --b2", betas=(0.95, 0.99))
    add("dis", PETS, f"{h1}: --batch --epoch --stop_epoch", batch=256, epochs=10, patience=3)
    add("dis", PETS, f"{h1}: --warm_epoch", warmup_epochs=3)
    add("dis", PETS, "train.py, configure_optimizers", rule="lion", decay_all=True, counted=1.0)
    add("dis", PETS, "train.py: CosineDecay", initial_rate=1.0, final_rate=0.0, cosine_epochs=10)
    add("dis", tuned, f"{h1}: --lr_factor", body_factor=2.0)
    add("dis", tuned, "train.py: wd times lr_factor", slow_decay=False)
    add("dis", PETS, "PET.py, train_step in mode classifier", regression=False)
    add("dis", PETS, "README, --local --layer_scale; PET.py", blocks=8, channels=(128,))
    add("dis", PETS, "PET.py", heads=4, neighbours=10, local=2, head_blocks=2)
    add("dis", PETS, "preprocess_h1.py; H1DataLoader: 8 features", features="charge")
    add("dis", PETS, "utils.py, H1DataLoader", normalisation="h1")
    add("dis", (*tokens, *PETS), "paper, Table 4", seeds=5)
    add("dis", (*tokens, *PETS), "preprocess_h1.py --npoints; paper", constituents=30)

    # anomaly detection
    ours = ("lgatr", "lgatr-slim")
    add("anomaly", ours, appendix, rule="adamw", rate=5e-4, weight_decay=1e-3, batch=1024)
    add("anomaly", ours, appendix, epochs=60, patience=10)
    jets = ("pt", "eta", "phi", "energy", "mass")
    add("anomaly", ours, "paper, Table 5", jet_features=jets)
    add("anomaly", ("lgatr",), appendix, blocks=12, channels=(16, 32), heads=8, parameters=1.8e6)
    add("anomaly", slim, "as in the other studies", blocks=12, channels=(32, 64), heads=4)
    add("anomaly", PETS, f"{lhco} --lr --batch --epoch", rate=3e-5, batch=128, epochs=10)
    add("anomaly", PETS, f"{lhco}, configure_optimizers", rule="lion", clip=1.0, weight_decay=0.0)
    add("anomaly", PETS, f"{lhco}: Lion, beta_2 of Keras", betas=(0.95, 0.99))
    add("anomaly", PETS, f"{lhco}: CosineDecay", warmup_epochs=3, cosine_epochs=10, counted=1.0)
    add("anomaly", PETS, f"{lhco}: CosineDecay", initial_rate=1.0, final_rate=0.0)
    add("anomaly", tuned, f"{lhco} --lr_factor", body_factor=10.0)
    add("anomaly", PETS, f"{lhco}: no early stopping", patience=None)
    add("anomaly", (*ours, *PETS), f"{lhco}: 35 555 of 355 555 events", validation=0.1)
    add("anomaly", PETS, "PET_lhco.py, train_step", regression=False)
    add("anomaly", PETS, "README, --local --layer_scale; PET_lhco.py", blocks=8, channels=(128,))
    add("anomaly", PETS, "utils.py, LHCODataLoader", normalisation="lhco")
    add("anomaly", PETS, "PET_lhco.py", heads=4, neighbours=10, local=2, head_blocks=2)
    add("anomaly", (*ours, *PETS), "paper, Figure 4; evaluate_classifiers_lhco.py", networks=10)

    # numbers of parameters, as the paper rounds them
    for study in ("omnifold", "dis"):
        add(study, ("lgatr-1M",), "paper, Table 6", parameters=1e6)
        add(study, ("lgatr-2M",), appendix, parameters=2e6)
        add(study, slim, "paper, Table 6", parameters=7e5)
    return tuple(found)


PUBLISHED: tuple[Setting, ...] = _settings()
"""Every published setting, in the order of the studies."""


def markdown(study: str) -> str:
    """Write the settings of a study as a table in Markdown, one line of each source.

    >>> markdown("anomaly").splitlines()[3]
    '| lgatr, lgatr-slim | jet_features pt, eta, phi, energy, mass | paper, Table 5 |'
    """
    lines = ["| rows | published | source |", "|---|---|---|"]
    ours = (s for s in PUBLISHED if s.study == study)
    for (of, source), some in itertools.groupby(ours, lambda s: (s.rows, s.source)):
        values = [(s.name, s.value if isinstance(s.value, tuple) else (s.value,)) for s in some]
        words = [f"{name} {', '.join(map(_short, value))}" for name, value in values]
        lines.append(f"| {', '.join(of)} | {'; '.join(words)} | {source} |")
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rows(study: str) -> tuple[str, ...]:
    """Give the rows of the paper's table of a study, in order; InputError for another study."""
    if study not in STUDIES:
        raise InputError(f"study: found {study!r}, expected one of {', '.join(STUDIES)}")
    return ROWS[study]


def published(study: str, row: str) -> dict[str, Any]:
    """Give the published settings of a row, by name; InputError for an unknown row.

    >>> published("dis", "pet")["batch"]
    256
    """
    if row not in rows(study):
        raise InputError(f"row: found {row!r}, expected one of {', '.join(rows(study))}")
    return {s.name: s.value for s in PUBLISHED if s.study == study and row in s.rows}


def training(study: str, row: str) -> TrainingConfig:
    """Configure the published training of a row. Raises InputError as ``published`` does."""
    if row == "mlp":
        published(study, row)
        rule = OptimizerConfig("adamw", 1e-3, 0.0, warmup=0.05)
        return TrainingConfig(rule, 1024, epochs=30, patience=5, micro_batch=1024, buckets=1)
    found = published(study, row)
    same = ("weight_decay", "decay_all", "betas", "clip", "body_factor", "slow_decay")
    optimizer = OptimizerConfig(
        found["rule"],
        found["rate"],
        **{name: found[name] for name in same if name in found},
    )
    if "warmup_epochs" in found:
        # of the schedule's epochs, which count the validation events too where ``counted`` says so
        length = found["counted"] / found["epochs"]
        optimizer = dataclasses.replace(
            optimizer,
            warmup=found["warmup_epochs"] * length,
            cosine=found["cosine_epochs"] * length,
            initial_rate=found["initial_rate"],
            final_rate=found["final_rate"],
        )
    return TrainingConfig(
        optimizer,
        batch_size=found["batch"],
        epochs=found["epochs"],
        patience=found.get("patience"),
    )


def network(study: str, row: str) -> LGATrConfig | LGATrSlimConfig | PETConfig | MLPConfig:
    """Configure the published network of a row, for events of one jet.

    Its input and output channels follow from the inputs. Raises InputError as ``published`` does.
    """
    found = published(study, row)
    if row == "mlp":
        return MLPConfig(num_layers=found["blocks"], hidden_channels=found["channels"][0])
    if row in PETS:
        return PETConfig(
            hidden_channels=found["channels"][0],
            num_layers=found["blocks"],
            num_heads=found["heads"],
            neighbours=found["neighbours"],
            num_local=found["local"],
            num_class_layers=found["head_blocks"],
            feature_drop=0.0,
        )
    if row == "lgatr-slim":
        vectors, scalars = found["channels"]
        return LGATrSlimConfig(
            in_v_channels=1,
            out_v_channels=1,
            in_s_channels=1,
            out_s_channels=1,
            hidden_v_channels=vectors,
            hidden_s_channels=scalars,
            num_blocks=found["blocks"],
            num_heads=found["heads"],
        )
    ratio = HIDDEN_FACTOR[study]
    multivectors, scalars = found["channels"]
    return LGATrConfig(
        in_mv_channels=1,
        out_mv_channels=1,
        in_s_channels=1,
        out_s_channels=None,
        hidden_mv_channels=multivectors,
        hidden_s_channels=scalars,
        num_blocks=found["blocks"],
        num_heads=found["heads"],
        attn_ratio=ratio,
        mlp_ratio=ratio,
    )


HIDDEN_FACTOR = {"omnifold": 2, "dis": 2, "anomaly": 3}
"""Hidden channels of attention and MLP of L-GATr, in units of its channels: the pair that gives the
published number of parameters best (docs/paper.md)."""
