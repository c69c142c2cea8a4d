"""The weights inside the package are those of their card, and fine-tuning starts from them."""

import jax

from jaxpriors import RatioClassifier
from jaxpriors.methods.card import CARD
from jaxpriors.methods.finetuning import SHIPPED
from jaxpriors.methods.generation import Generator
from jaxpriors.porting.networks import load_network
from jaxpriors.training.checkpoints import count_parameters
from jaxpriors.training.runs import read_json

CARD_KEYS = {"data", "command", "date", "network", "parameters", "losses", "test", "environment"}


def test_the_package_holds_the_network_of_its_card():
    card, network = read_json(SHIPPED.with_name(CARD)), load_network(SHIPPED)
    assert set(card) >= CARD_KEYS
    assert vars(network.config) == card["network"]
    assert count_parameters(network) == card["parameters"]
    assert sum(path.stat().st_size for path in SHIPPED.parent.iterdir()) < 3e6
    assert Generator.load(SHIPPED.parent).classes == len(card["data"]["made"]["labels"]) == 10


def test_fine_tuning_starts_from_them_without_an_argument():
    classifier, origin = RatioClassifier("pet-finetuned").initial(jax.random.key(0))
    shipped = load_network(SHIPPED)
    assert origin.new == ("cls.out.weight", "cls.out.bias") and origin.dropped == ("gen",)
    assert (classifier.network.body.embed[0].weight == shipped.body.embed[0].weight).all()
    assert (classifier.network.cls.class_token == shipped.cls.class_token).all()
