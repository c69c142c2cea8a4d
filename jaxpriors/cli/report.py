"""`jaxpriors report`."""

from pathlib import Path


def report(run: Path, /) -> int:
    """Print the tables of a finished run of any command, or of a study of `experiments`.

    Args:
        run: folder of the run.
    """
    from jaxpriors.report.tables import tables
    from jaxpriors.run.storage import read_json

    print(tables(read_json(run / "metrics.json")))
    return 0
