"""Groups of options that several commands share.

A parameter of type ``In[Group]`` stands for the options of the group, without a prefix. Nothing
here imports JAX, so that commands answer before it is loaded.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from jaxpriors.ratio.names import Size
from jaxpriors.training.options import Compute

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.data.matched import Simulation
    from jaxpriors.data.reading import Reading
    from jaxpriors.preprocessing.registry import InputsConfig

T = TypeVar("T")
In = Annotated[T, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class RunOptions:
    """Hold the folder of a run, and the processes that share it.

    Args:
        out: folder of the run; must not exist, unless --resume.
        resume: resume the run in the folder.
        devices: devices of each process: a number, or all.
        coordinator: HOST:PORT on the machine of process 0, for a run of several processes
            without srun or mpirun (docs/scaling.md).
        processes: number of processes.
        process: index of this process, from 0.
    """

    out: Path
    resume: bool = False
    # removed from the command line before the command begins (`cli.main.with_launch`)
    devices: str | None = None
    coordinator: str | None = None
    processes: str | None = None
    process: str | None = None


@dataclass(frozen=True)
class NetworkOptions:
    """Hold the size, start and precision of networks.

    Args:
        size: small (minutes on two cores) or paper (arXiv:2603.08802, and for PET OmniLearn,
            arXiv:2404.16091).
        pretrained: for pet-finetuned: a PET ported by `jaxpriors port omnilearn`, or the folder of
            a pretraining; by default the small one in this package. Size paper needs OmniLearn's.
        precision: precision of the networks; weights, losses and norms are float32 either way.
    """

    size: Size = "small"
    pretrained: Path | None = None
    precision: Compute = "float32"

    def pretrained_for(self, models: tuple[str, ...]) -> dict[str, Path | None]:
        """Give each model its pretrained weights; raise InputError where no model has any."""
        from jaxpriors.errors import InputError
        from jaxpriors.ratio.presets import find_model

        accepting = {name: find_model(name).pretrained for name in models}
        if self.pretrained is not None and not any(accepting.values()):
            raise InputError(
                f"pretrained: found {self.pretrained} for {', '.join(models)}, expected "
                "'pet-finetuned'"
            )
        return {name: self.pretrained if taken else None for name, taken in accepting.items()}


@dataclass(frozen=True)
class InputOptions:
    """Choose what networks see.

    Args:
        features: for lgatr, lgatr-slim and PET: full (kinematics and identities of the
            constituents) or momenta (four-momenta alone; PET: the features that follow from them).
        beam: for lgatr and lgatr-slim: reference vectors that stand for the beam.
        time: for lgatr and lgatr-slim: whether a reference vector stands for the time direction.
        inputs: for mlp: columns of the events that it sees, instead of the six observables.
    """

    features: Literal["full", "momenta"] = "full"
    beam: Literal["lightlike", "spacelike", "timelike", "xyplane", "none"] = "lightlike"
    time: bool = True
    inputs: tuple[str, ...] = ()

    def inputs_for(
        self, models: tuple[str, ...], pretrained: dict[str, Path | None]
    ) -> dict[str, InputsConfig | None]:
        """Give each model its inputs, None for its own; raise InputError where none has any.

        pretrained: as `NetworkOptions.pretrained_for` gives it.
        """
        from jaxpriors.errors import InputError
        from jaxpriors.preprocessing.clouds import PointCloudConfig
        from jaxpriors.preprocessing.columns import ColumnsConfig
        from jaxpriors.preprocessing.tokens import InputConfig
        from jaxpriors.ratio import finetuning
        from jaxpriors.ratio.presets import find_model

        chosen = InputConfig(self.features, self.beam, self.time)
        kinds = {name: find_model(name).inputs for name in models}
        tokens = [name for name in models if kinds[name] is InputConfig]
        clouds = [name for name in models if kinds[name] is PointCloudConfig]
        of_both = dataclasses.replace(InputConfig(), features=self.features)
        if chosen != InputConfig() and not tokens and (chosen != of_both or not clouds):
            raise InputError(
                f"features, beam, time: found {chosen} for {models}, which have no tokens"
            )
        if self.inputs and "mlp" not in models:
            raise InputError(
                f"inputs: found {', '.join(self.inputs)} for {', '.join(models)}, expected 'mlp'"
            )
        found: dict[str, InputsConfig | None] = dict.fromkeys(models)
        found |= dict.fromkeys(tokens, chosen)
        if self.inputs:
            found["mlp"] = ColumnsConfig(self.inputs)
        for name in clouds if self.features != "full" else ():
            own = PointCloudConfig()
            if find_model(name).pretrained:
                own = finetuning.inputs_config(finetuning.find(pretrained[name]))
            found[name] = dataclasses.replace(own, features=self.features)
        return found


@dataclass(frozen=True)
class SampleOptions:
    """Choose how to read files of events: HDF5, npz, ROOT, parquet, or prepared folders.

    Args:
        level: particle or detector, where a file holds both.
        columns: our names and the file's, as in --columns p4 jets/momenta pid jets/id, for all
            files of the command; of a tree, expressions of its branches.
        coordinates: coordinates of the momenta: E,px,py,pz or pt,eta,phi,m or pt,eta,phi,E or
            px,py,pz,E or pt,y,phi,pid and the like.
        ignore: names in the files, or patterns as "*Weight*", that are knowingly not read.
        padding: value of the first component of padded rows, where it is not 0.
        identities: pdg (as they are), ignore, or codes of the file with PDG codes, as in
            --identities 1=130 2=22.
        unit: of energies, momenta and masses in the files.
        tree: name of the tree in a ROOT file.
        group: branch with the index of the jet of each constituent.
        cut: condition on the events of a tree.
        mapping: TOML file with any of these.
    """

    level: str | None = None
    columns: dict[str, str] | None = None
    coordinates: str | None = None
    ignore: tuple[str, ...] = ()
    padding: float | None = None
    identities: tuple[str, ...] = ()
    unit: Literal["GeV", "MeV"] = "GeV"
    tree: str | None = None
    group: str | None = None
    cut: str | None = None
    mapping: Path | None = None

    def reading(self) -> Reading:
        """Say how files are read; raise InputError for words that are not known."""
        from jaxpriors.data.mapping import read_mapping
        from jaxpriors.data.reading import Reading

        given = asdict(self) | {
            "columns": self.columns or {},
            "identities": _identities(self.identities),
        }
        del given["mapping"]
        reading = Reading(**given)
        return reading if self.mapping is None else read_mapping(self.mapping, reading)

    def as_json(self) -> dict[str, Any]:
        """Give the options as JSON can hold them."""
        return asdict(self) | {"mapping": None if self.mapping is None else str(self.mapping)}

    def read(self, first: Path, second: Path) -> tuple[Events, Events]:
        """Read the events of two files; the level counts for files that hold several."""
        return self.read_one(first), self.read_one(second)

    def read_one(self, path: Path) -> Events:
        """Read the events of a file, as `read`."""
        from jaxpriors.data.formats.opening import read_sample

        return read_sample(path, self.reading())


@dataclass(frozen=True)
class LevelOptions:
    """Say how the simulation and the data of an unfolding are read.

    Args:
        simulation_weight: the simulation's column with the event weights, at both levels.
        data_weight: the data's column with the event weights.
        particle: our names of columns and the simulation's at particle level, where they are not
            those of jaxpriors; of a tree, expressions of its branches. Needs detector as well.
        detector: the same at detector level.
        data_columns: the same of the data; by default those of the detector level, without the
            event weights and pass_reco.
        samples: how to read the files.
    """

    simulation_weight: str | None = None
    data_weight: str | None = None
    particle: dict[str, str] | None = None
    detector: dict[str, str] | None = None
    data_columns: dict[str, str] | None = None
    samples: In[SampleOptions] = SampleOptions()

    def read(self, simulation: Path, data: Path) -> tuple[Simulation, Events]:
        """Read the samples; raise InputError for names of one level alone."""
        from jaxpriors.data.formats.opening import read_levels, read_sample
        from jaxpriors.data.matched import read_data, read_simulation
        from jaxpriors.errors import InputError

        particle, detector, columns = self.particle, self.detector, self.data_columns
        weight, reading = self.simulation_weight, self.samples.reading()
        if (particle is None) != (detector is None) or reading.columns:
            given = {"--particle": particle, "--detector": detector, "--columns": reading.columns}
            found = ", ".join(name for name, columns in given.items() if columns)
            raise InputError(f"columns: found {found}, expected both --particle and --detector")
        if particle is None or detector is None:
            simulated = read_simulation(simulation, weight, reading)
        else:
            if weight is not None:
                raise InputError(f"simulation-weight: found {weight} beside --particle, expected "
                                 "it among the columns (weight NAME)")  # fmt: skip
            levels = (reading.replace(columns=names) for names in (particle, detector))
            simulated = read_levels(simulation, *levels)
            own = {n: at for n, at in detector.items() if n not in ("weight", "pass_reco", "label")}
            columns = own if columns is None else columns
        if columns is None:
            return simulated, read_data(data, self.data_weight, reading)
        if self.data_weight is not None:
            columns = {**columns, "weight": self.data_weight}
        return simulated, read_sample(data, reading.replace(columns=columns))

    def as_json(self) -> dict[str, Any]:
        """Give the options that a run keeps with its sources."""
        found: dict[str, Any] = {
            "simulation_weight": self.simulation_weight,
            "data_weight": self.data_weight,
        }
        named = {n: getattr(self, n) for n in ("particle", "detector", "data_columns")}
        if any(named.values()) or self.samples != SampleOptions():
            found["read as"] = {**named, **self.samples.as_json()}
        return found


def _identities(words: tuple[str, ...]) -> str | dict[int, int]:
    from jaxpriors.errors import InputError

    if words in ((), ("pdg",), ("ignore",)):
        return words[0] if words else "pdg"
    found = {}
    for word in words:
        code, _, pdg = word.partition("=")
        try:
            found[int(code)] = int(pdg)
        except ValueError:
            raise InputError(
                f"identities: found {word!r}, expected pdg, ignore, or codes as in 1=130"
            ) from None
    return found
