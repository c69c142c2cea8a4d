"""What OmniLearn's code computes of a model and its inputs: outputs, trainings, samples, tables.

Each run takes the peer's modules, a model and the inputs by name, and gives what it adds to the
table of the case, and the arrays that it made.
"""

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from omnilearn_roles import number, values, variables
from tensorflow import keras

OVERRIDE = dict(projection_dim=16)  # of the PET inside, to which the peer does not hand its own
LION = dict(lr_body=2e-4, lr_head=1e-3, weight_decay=0.1, beta_1=0.95, beta_2=0.99)
COSINE = dict(initial_learning_rate=6e-6, warmup_target=1.2e-5, warmup_steps=30, decay_steps=200,
              alpha=0.01)  # fmt: skip
SCHEDULE = "CosineDecay(1e-2,10,alpha=0.1,warmup_target=2e-2,warmup_steps=4)"

Arrays = dict[str, np.ndarray]
Result = tuple[dict, Arrays]


def import_peer(folder: Path) -> types.SimpleNamespace:
    """The modules of the clone; a horovod of one process takes the place of the real one."""
    hvd = types.ModuleType("horovod.tensorflow.keras")
    hvd.init, hvd.size, hvd.rank = (lambda: None), (lambda: 1), (lambda: 0)
    sys.modules |= {"horovod": types.ModuleType("horovod"),
                    "horovod.tensorflow": types.ModuleType("horovod.tensorflow"),
                    "horovod.tensorflow.keras": hvd}  # fmt: skip
    sys.modules["horovod"].tensorflow = sys.modules["horovod.tensorflow"]
    sys.modules["horovod.tensorflow"].keras = hvd
    sys.path.insert(0, str(folder / "scripts"))
    import omnifold
    import PET
    import PET_lhco

    return types.SimpleNamespace(PET=PET, omnifold=omnifold, PET_lhco=PET_lhco)


def build(peer: Any, cls: str, kwargs: dict) -> tuple[Any, Any]:
    """A new model, and the PET inside; layers are numbered from zero again."""
    keras.backend.clear_session()
    module, _, name = cls.rpartition(".")
    if not module:
        model = peer.PET.PET(**kwargs)
        return model, model
    inner: list = []

    def narrow(**given: Any) -> Any:
        inner.append(peer.PET.PET(**given | OVERRIDE))
        return inner[0]

    room = getattr(peer, module)
    kept, room.PET = room.PET, narrow
    try:
        return getattr(room, name)(**kwargs), inner[0]
    finally:
        room.PET = kept


def parts_of(model: Any) -> dict[str, Any]:
    """The models of the parts whose weights count."""
    kind = type(model).__name__
    if kind == "PET":
        return dict(body=model.body, cls=model.classifier_head, gen=model.generator_head,
                    ema_body=model.ema_body, ema_gen=model.ema_generator_head)  # fmt: skip
    if kind == "PET_lhco":
        return dict(body=model.body, gen=model.head, jetmodel=model.model_jet,
                    ema_body=model.ema_body, ema_gen=model.ema_head,
                    ema_jetmodel=model.ema_jet)  # fmt: skip
    both = dict(body=model.body, cls=model.head)
    return both | (dict(jetenc=model.model) if type(model).__module__ == "PET_lhco" else {})


def pet_outputs(pet: Any, given: Arrays) -> dict[str, Arrays]:
    """Body, classes, regression of the jet and velocity at time zero and at the random times."""
    features, points, mask, jet, label = (
        given[f"input_{name}"] for name in ("features", "points", "mask", "jet", "label")
    )
    found = {}
    for end, time in (("t0", given["input_time"]), ("tr", given["time_rand"])):
        body = pet.body([features, points, mask, time])
        classes, regression = pet.classifier_head([body, jet])
        velocity = pet.generator_head([body, jet, mask, time, label])
        parts = dict(body=body, cls=classes, jet=regression, gen=velocity)
        found[end] = {name: value.numpy() for name, value in parts.items()}
    return found


def tapped(pet: Any) -> keras.Model:
    """The body with what its layers compute on the way, by name."""
    groups: dict[str, list] = {}
    for layer in pet.body.layers:
        groups.setdefault(layer.name.rstrip("0123456789").rstrip("_"), []).append(layer)
    groups = {kind: sorted(group, key=number) for kind, group in groups.items()}
    taps, sums = {}, [layer.output for layer in groups["add"]]
    for i, layer in enumerate(groups.get("tf.math.reduce_mean", [])):
        taps[f"local{i}"] = layer.output
    for i, layer in enumerate(groups.get("tf.math.top_k", [])):
        taps[f"topk_idx{i}"] = layer.output[1]
    if taps:  # with local layers the first sum is theirs
        taps["embed_plus_local"] = sums.pop(0)
    for i in range(len(sums) // 2):
        taps[f"block{i}_attn_res"] = sums[2 * i]
        taps[f"block{i}_mlp_res_unmasked"] = sums[2 * i + 1]
    return keras.Model(pet.body.inputs, taps)


def pet_everywhere(peer: Any, pet: Any, given: Arrays) -> Result:
    """Outputs of PET on the inputs of all three kinds."""
    made: Arrays = {}
    for prefix, end in (("", "out"), ("chaos_", "chaos"), ("allmask_", "allmask")):
        inputs = {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
        for time, outputs in pet_outputs(pet, inputs).items():
            made |= {f"{end}_{part}_{time}": value for part, value in outputs.items()}
    taps = tapped(pet)
    inputs = [given[f"input_{name}"] for name in ("features", "points", "mask")]
    for end, time in (("t0", given["input_time"]), ("tr", given["time_rand"])):
        made |= {f"tap_{k}_{end}": v.numpy() for k, v in taps([*inputs, time]).items()}
    call = {k: v for k, v in given.items() if k.startswith("input_")}
    predicted = pet.predict(call | dict(input_mask=call["input_mask"][..., 0]), verbose=0)
    if pet.mode == "generator":
        made["predict_out"] = predicted
    else:
        made["predict_cls"], made["predict_jet"] = predicted
    padded = [np.pad(a, ((0, 0), (0, 12), (0, 0))) for a in inputs]
    body = pet.body([*padded, given["input_time"]])
    made["padded12_cls_t0"] = pet.classifier_head([body, given["input_jet"]])[0].numpy()
    parts = ("body", "classifier_head", "generator_head")
    return dict(nparams={p: getattr(pet, p).count_params() for p in parts}), made


def compile_lion(model: Any, weight_decay: float | None, clipnorm: float | None = None) -> None:
    """Lion as the peer uses it, slower for the body."""
    body, head = (
        keras.optimizers.Lion(LION[rate], beta_1=LION["beta_1"], beta_2=LION["beta_2"],
                              weight_decay=weight_decay, clipnorm=clipnorm)
        for rate in ("lr_body", "lr_head")
    )  # fmt: skip
    model.compile(body, head)


@contextmanager
def injected(uniform: list[np.ndarray], normal: list[np.ndarray]) -> Iterator[None]:
    """Give these arrays in place of random numbers, in turn."""
    kept = tf.random.uniform, tf.random.normal
    numbers = iter(uniform), iter(normal)

    def draw(which: int) -> Callable[..., Any]:
        return lambda *_, **__: tf.constant(next(numbers[which]))

    tf.random.uniform, tf.random.normal = draw(0), draw(1)
    try:
        yield
    finally:
        tf.random.uniform, tf.random.normal = kept


def logged(model: Any, step: Callable[[Any], dict], inputs: Any) -> dict[str, float]:
    """The logs of one step with fresh metrics."""
    for metric in model.metrics:
        metric.reset_state()
    return {name: float(value) for name, value in step(inputs).items()}


def train_pet(peer: Any, pet: Any, given: Arrays) -> Result:
    """Three steps of PET's training with given times and noise, then one of validation."""
    found = variables(parts_of(pet))
    compile_lion(pet, LION["weight_decay"])
    names = ("features", "points", "mask", "jet")
    x = {f"input_{n}": tf.constant(given[f"input_{n}"]) for n in names}
    x["input_mask"] = x["input_mask"][..., 0]
    y, made = tf.constant(given["input_label"]), tagged("w0", found)
    logs = []
    times, noise = given["t_injected"], given["eps_injected"]
    for step in range(3):
        with injected([times[step]], [noise[step]]):
            logs.append(logged(pet, pet.train_step, (dict(x), y)))
        if step in (0, 2):
            made |= tagged(f"w{step + 1}", found)
    with injected([times[0]], [noise[0]]):
        last = logged(pet, pet.test_step, (dict(x), y))
    made |= {f"log_{name}": np.array([log[name] for log in logs]) for name in logs[0]}
    return dict(lion=LION, train_logs=logs, test_step_logs_after3_with_t0_eps0=last), made


def train_omnifold(peer: Any, model: Any, given: Arrays) -> Result:
    """Five steps of OmniFold's classifier on one batch, with the first gradients."""
    parts = parts_of(model)
    compile_lion(model, LION["weight_decay"])
    names = ("features", "points", "mask", "jet", "time")
    x = {f"input_{n}": tf.constant(given[f"input_{n}"]) for n in names}
    y, made = tf.constant(given["y"]), tagged("w0", variables(parts))
    with tf.GradientTape(persistent=True) as tape:
        logits, jet = model.model(x)
        main = peer.omnifold.weighted_binary_crossentropy(y, logits)
        events = keras.losses.mse(x["input_jet"], jet)
        both = main + events
    for part, loss in (("body", main), ("cls", both)):
        found = variables({part: parts[part]})
        gradients = tape.gradient(loss, found)
        made |= {f"g0:{role}": g.numpy() for role, g in gradients.items() if g is not None}
    made |= dict(loss_pred0=main.numpy(), loss_evt0=events.numpy())
    losses = []
    for step in range(5):
        losses.append(logged(model, model.train_step, (dict(x), y))["loss"])
        if step in (0, 4):
            made |= tagged(f"w{step + 1}", variables(parts))
    made["losses"] = np.array(losses)
    made["test_loss_after5"] = np.float32(logged(model, model.test_step, (dict(x), y))["loss"])
    return dict(lion=LION), made


def finetune(peer: Any, model: Any, given: Arrays) -> Result:
    """Outputs of OmniFold's classifier before training, and OmniFold's weights of the events."""
    inputs = [given[f"input_{n}"] for n in ("features", "points", "mask", "jet", "time")]
    classes, regression = model.model(inputs)
    omnifold = peer.omnifold.OmniFold("test", 1, "")
    weights = omnifold.reweight(peer.omnifold.convert_to_dict(inputs), model, batch_size=8)
    made = dict(out_cls=classes.numpy(), out_jet=regression.numpy(), reweight=weights)
    return {}, made


def lhco_generator(peer: Any, model: Any, given: Arrays) -> Result:
    """Velocities of jets and particles, samples of both, and one step of training."""
    features, mask, jet, y = (
        tf.constant(given[k]) for k in ("input_features", "input_mask", "input_jet", "y")
    )
    made: Arrays = {"out_jet_v": model.model_jet([jet, given["t_jet"], y]).numpy()}
    single = tf.reshape(features, (-1, *features.shape[2:]))
    label = tf.repeat(y, 2, axis=0)
    arguments = [single, single[:, :, :2], tf.reshape(mask, (-1, mask.shape[2], 1)),
                 tf.reshape(jet, (-1, jet.shape[2])), given["t_part"], label]  # fmt: skip
    made["out_part_v"] = model.model_part(arguments).numpy()
    common = dict(const_shape=model.shape, w=0.0)
    model.prior_sde = lambda _: tf.constant(given["noise_jet"])
    made["ddpm_jet_8"] = model.DDPMSampler(
        y, model.ema_jet, data_shape=list(jet.shape), num_steps=8, **common
    ).numpy()
    model.prior_sde = lambda _: tf.constant(given["noise_part"])
    made["ddpm_part_4"] = model.DDPMSampler(
        y, [model.ema_body, model.ema_head], data_shape=list(given["noise_part"].shape),
        jet=jet[:, 0], mask=tf.constant(given["ddpm_mask"]), num_steps=4, **common
    ).numpy()  # fmt: skip
    x = dict(input_features=features, input_mask=mask, input_jet=jet)
    with injected([given["t_jet"], given["t_part"]], [given["eps_jet"], given["eps_part"]]):
        logs = logged(model, model.train_step, (x, y))
    return dict(train_step_logs=logs), made | tagged("w1", variables(trained(model)))


def lhco_classifier(peer: Any, model: Any, given: Arrays) -> Result:
    """Outputs of the classifier of two jets, and one step of training."""
    names = ("features", "points", "jet", "mask", "time", "mass")
    x = {f"input_{n}": tf.constant(given[f"input_{n}"]) for n in names}
    classes, regression = model.model(x)
    made: Arrays = dict(out_cls=classes.numpy(), out_jet=regression.numpy())
    compile_lion(model, None, clipnorm=1.0)
    logs = logged(model, model.train_step, (x, tf.constant(given["y"])))
    return dict(train_step_logs=logs), made | tagged("w1", variables(trained(model)))


def trained(model: Any) -> dict[str, Any]:
    """The parts that the peer trains: neither averages nor the classifier's encoder of jets."""
    parts = parts_of(model)
    return {name: parts[name] for name in parts if not name.startswith(("ema_", "jetenc"))}


def tagged(tag: str, found: dict[str, Any]) -> Arrays:
    """The values of variables under ``<tag>:<role>``."""
    return {f"{tag}:{role}": value for role, value in values(found).items()}


def schedule(peer: Any, model: Any, given: Arrays) -> Result:
    """The diffusion's schedule, and the embedding of times that the two dense layers see."""
    keras.backend.clear_session()
    made = dict(zip(("logsnr", "alpha", "sigma"), peer.PET.get_logsnr_alpha_sigma(given["t"]),
                    strict=True))  # fmt: skip
    time = keras.Input((1,))
    whole = keras.Model(time, peer.PET.FourierProjection(time, 8))
    first = next(layer for layer in whole.layers if isinstance(layer, keras.layers.Dense))
    made["fourier_embedding"] = keras.Model(time, first.input)(given["t"])
    return dict(logsnr_min=-20, logsnr_max=20), {k: v.numpy() for k, v in made.items()}


def lion(peer: Any, model: Any, given: Arrays) -> Result:
    """Learning rates of the cosine, and weights under given gradients, with decay and clipped."""
    rate = keras.optimizers.schedules.CosineDecay(**COSINE)
    made = dict(lr=np.array([float(rate(int(step))) for step in given["step"]]))
    warm = keras.optimizers.schedules.CosineDecay(
        1e-2, 10, alpha=0.1, warmup_target=2e-2, warmup_steps=4
    )
    decayed = dict(weight_decay=0.1, beta_1=0.95, beta_2=0.99)
    clipped = dict(beta_1=0.95, beta_2=0.97, clipnorm=1.0)
    rules = {"w": (1, keras.optimizers.Lion(warm, **decayed)),
             "w_clipnorm": (5, keras.optimizers.Lion(1e-2, **clipped))}  # fmt: skip
    for name, (factor, optimizer) in rules.items():
        weight = tf.Variable(given[name][0])
        path = [weight.numpy()]
        for gradient in given["grads"]:
            optimizer.apply_gradients([(tf.constant(factor * gradient), weight)])
            path.append(weight.numpy())
        made[name] = np.stack(path)
    table = dict(cosine=COSINE, lion=dict(schedule=SCHEDULE) | decayed,
                 lion_clip=dict(lr=1e-2, grads="grads*5", weight_decay=None) | clipped)  # fmt: skip
    return table, made
