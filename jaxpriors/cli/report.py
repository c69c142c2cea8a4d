"""`jaxpriors report`."""

from pathlib import Path


def report(run: Path, /) -> int:
    """Print the tables of a finished run of any command, or of a study of `experiments`.

    Args:
        run: folder of the run.
    """
    from jaxpriors.errors import InputError
    from jaxpriors.report.tables import tables
    from jaxpriors.run.storage import read_json

    path = run / "metrics.json"
    try:
        print(tables(read_json(path)))
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    return 0
