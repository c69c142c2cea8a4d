"""After how many epochs a fine-tuned network is as good as one from scratch ever is."""

from experiments.finetuning import compare
from jaxpriors.report.tables import tables


def test_epochs_until_the_other_networks_best():
    scratch = [0.9, 0.6, 0.7]
    sooner = compare(3, scratch, [0.8, 0.5, 0.4])
    assert sooner["reached"] == 2
    assert sooner["scratch_best_epoch"] == 2 and sooner["finetuned_best_epoch"] == 3
    assert compare(0, scratch, [0.6, 0.8])["reached"] == 1
    never = compare(4, scratch, [0.7, 0.61])
    assert never["reached"] is None
    lines = tables({"finetuning": [sooner, never]}).splitlines()
    assert lines[2].split() == ["3", "0.60000", "(2)", "0.40000", "(3)", "2"]
    assert lines[3].split() == ["4", "0.60000", "(2)", "0.61000", "(2)", "never"]
