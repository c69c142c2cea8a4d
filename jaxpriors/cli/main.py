"""The console command `jaxpriors`."""

import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import tyro

from jaxpriors.cli import convert, data, port
from jaxpriors.cli.anomaly import anomaly, template
from jaxpriors.cli.export import export
from jaxpriors.cli.generate import generate
from jaxpriors.cli.pretrain import pretrain
from jaxpriors.cli.report import report
from jaxpriors.cli.reweight import ratio, reweight
from jaxpriors.cli.tune import tune
from jaxpriors.cli.unfold import apply, unfold
from jaxpriors.cli.unfold_checks import check, leakage
from jaxpriors.data.units import Unit
from jaxpriors.data.unread import Unread
from jaxpriors.errors import InputError
from jaxpriors.run import processes
from jaxpriors.run.launch import OPTIONS, guarded


def _data() -> None:
    """Public data sets; prepare, check, simulate and convert samples."""


def _port() -> None:
    """Import, inspect, export and verify weights of other packages."""


COMMANDS: dict[str, Callable[..., Any]] = {
    "anomaly": anomaly,
    "anomaly template": template,
    "data": _data,
    "data list": data.data_list,
    "data info": data.data_info,
    "data prepare": data.data_prepare,
    "data check": data.data_check,
    "data simulate": data.data_simulate,
    "data convert": convert.data_convert,
    "export": export,
    "generate": generate,
    "port": _port,
    "port lgatr": port.port_lgatr,
    "port omnilearn": port.port_omnilearn,
    "port inspect": port.port_inspect,
    "port export": port.port_export,
    "port verify": port.port_verify,
    "pretrain": pretrain,
    "ratio": ratio,
    "report": report,
    "reweight": reweight,
    "tune": tune,
    "unfold": unfold,
    "unfold apply": apply,
    "unfold check": check,
    "unfold leakage": leakage,
}
GROUPS = ("data", "port")  # are no commands themselves
ALONE = ("data", "port", "tune")  # run as a single process
ONCE = (
    *ALONE,
    "export",
    "generate",
    "report",
    "unfold apply",
    "unfold check",
    "unfold leakage",
)  # leave no run to resume
LAUNCH = """Commands that train also take --devices (a number, or all) and, for a run of several
processes without srun or mpirun, --coordinator HOST:PORT, --processes and --process:
docs/scaling.md."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit.

    The exit code is 0, 1 (failure), 2 (bad input), 75 (ended by SIGTERM, can be resumed), 130
    (interrupted, can be resumed) or 141 (nobody reads the output on).
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code."""
    try:
        if arguments[:1] != ["data"]:  # data commands have another --processes
            arguments = with_launch(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    first = arguments[0] if arguments else ""
    outer = first in GROUPS or " ".join(arguments[:2]) in COMMANDS
    before, rest = (f"{first} ", arguments[1:]) if outer else ("", arguments)
    offered = {
        name.removeprefix(before): command
        for name, command in COMMANDS.items()
        if name.startswith(before) and " " not in name.removeprefix(before)
    }
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.showwarning = _noted
        return guarded(
            lambda: tyro.extras.subcommand_cli_from_dict(
                offered,
                prog=f"jaxpriors {before}".rstrip(),
                description=None if before else LAUNCH,
                args=rest or ["--help"],
            ),
            alone=first in ALONE,
            again="the same command" if {first, " ".join(arguments[:2])} & {*ONCE} else "--resume",
        )


def _noted(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of what a file holds as one line, and others as Python does."""
    if processes.index() == 0:
        ours = issubclass(category, (Unread, Unit))
        usual = warnings.formatwarning(message, category, filename, lineno, line)
        (file or sys.stderr).write(f"note: {message}\n" if ours else usual)


def with_launch(arguments: list[str]) -> list[str]:
    """Remove the options of `run.launch` from the arguments, and set their variables.

    Raises InputError for such an option without a value.
    """
    rest, left = [], iter(arguments)
    for argument in left:
        name, given, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in OPTIONS:
            rest.append(argument)
            continue
        found = value if given else next(left, None)
        if found is None:
            raise InputError(f"{argument}: found nothing behind it, expected a value")
        os.environ[f"JAXPRIORS_{name.upper()}"] = found
    return rest
