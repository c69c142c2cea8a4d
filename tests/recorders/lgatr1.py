"""Record cases from the real lgatr 1.4.3 (PyTorch) for the tests, or record stored ones again.

    pip install torch==2.13.0 lgatr==1.4.3 safetensors numpy
    python tests/recorders/lgatr1.py FOLDER [CASE ...]
    python tests/recorders/lgatr1.py --again tests/fixtures/lgatr [CASE ...]

The first makes weights and inputs from a seed, which the table of the case states. The second takes
weights, inputs, masks and cotangents of stored cases, lets the package compute everything else
again, prints the largest difference of each array in units of its largest entry, and exits 1 where
one is above its bar. (Named ``lgatr.py``, this file would hide the package.)

A case is ``<name>.json`` (class, constructor arguments, global configuration, shapes),
``<name>.safetensors`` (float32 state dict) and ``<name>.npz``: inputs ``in_*``, outputs ``out32_*``
and ``out64_*`` of the same float32 weights computed in float32 and float64, ``inter_*`` after
linear_in and after each block, and for L = Σᵢ Σ outᵢ·cot_i the gradients ``gradin_<input>`` and
``grad/<parameter>``, or their norms ``gradnorm/<parameter>`` in large networks. ``primitives``,
``spurions`` and ``init_stats`` are tables without weights.
"""

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path

import lgatr
import numpy as np
import torch
from compare import gaps, report, summary
from lgatr import layers
from lgatr.nets import conditional_lgatr_slim, lgatr_slim
from lgatr1_cases import CALLS, CASES, CONFIG, TABLES
from lgatr1_tables import algebra, spurions, starts
from safetensors.torch import load_file, save_file
from watching import watch

BARS = {"float32": 1e-5, "float64": 1e-10}
GEV_BARS = {"float32": 2e-2, "float64": 1e-6}  # momenta in GeV leave so few digits
TRAINED_BAR = 1e-4  # of float32 weights and norms after steps of Adam, which scales rounding up
HALF, NORMED = 2000, 30_000  # parameters from which gradients are float32, or only norms


def build(cls: str, ctor: dict) -> torch.nn.Module:
    """The package's module of class ``cls``; configuration objects are made from plain tables."""
    ctor = copy.deepcopy(ctor)
    config = {
        "attention": lgatr.SelfAttentionConfig,
        "crossattention": lgatr.CrossAttentionConfig,
        "mlp": lgatr.MLPConfig,
    }
    alone = {"SA": "attention", "CA": "crossattention", "GM": "mlp"}
    classes = {"SA": layers.SelfAttention, "CA": layers.CrossAttention, "GM": layers.GeoMLP}
    if cls in alone:
        return classes[cls](config[alone[cls]](**ctor))
    if cls.endswith("Block"):
        ctor = {k: config[k](**v) if k in config else v for k, v in ctor.items()}
    rooms = (lgatr, layers, lgatr_slim, conditional_lgatr_slim)
    slim = cls in ("SelfAttention", "CrossAttention")  # the full ones are SA and CA
    for room in rooms[2:] if slim else rooms:
        if hasattr(room, cls):
            return getattr(room, cls)(**ctor)
    raise SystemExit(f"lgatr has no class {cls}")


def configure(values: dict) -> None:
    """Set the package's global configuration, which counts when modules are built and run."""
    for key, value in values.items():
        setattr(lgatr.gatr_config, key, value)


def fill(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights N(0, 0.6²/fan-in); biases and head scales away from their usual start."""
    for name, p in module.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        last = name.split(".")[-1]
        if last == "bias":
            p.data = 0.3 * noise
        elif last == "head_scale":
            p.data = 1 + 0.3 * noise
        else:
            p.data = 0.6 * noise / p.shape[1] ** 0.5


def inputs(cls: str, ctor: dict, what: dict, generator: torch.Generator) -> dict:
    """The tensors of the forward call by name, then the masks."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    usual, call = CALLS[cls]
    tokens = what.get("tokens", usual)
    conditions = what.get("conditions", 4)
    known = ctor | ctor.get("attention", {})
    found: dict[str, torch.Tensor] = {}
    for word in call.split():
        name, _, key = word.partition(":")
        channels = int(key) if key.isdigit() else known.get(key)
        if channels is not None:
            other = name.endswith(("_condition", "_kv"))
            shape = (*tokens[:-1], conditions, channels) if other else (*tokens, channels)
            full = name.startswith("multivectors") or name.endswith("_mv")
            last = (16,) if full else (4,) if name.startswith("vectors") else ()
            found[name] = normal(*shape, *last)
    count = tokens[-1]
    lengths = count - torch.arange(tokens[0]) * 3 % count
    content = what.get("content")
    if content == "tiny":
        for tensor in found.values():
            tensor[0, 0] *= 0.01
    elif content == "jets":  # class token, spurions, massless particles
        p3 = normal(*tokens, 3)
        p4 = torch.cat([p3.norm(dim=-1, keepdim=True), p3], -1)
        found["multivectors"] = lgatr.embed_vector(p4)[:, :, None]
        spurions = lgatr.get_spurions("lightlike", True, True)
        found["multivectors"][:, 0] = 0
        found["multivectors"][:, 1 : 1 + len(spurions)] = spurions[:, None]
        found["multivectors"][torch.arange(count) >= lengths[:, None]] = 0
        found["scalars"] = torch.zeros_like(found["scalars"])
        found["scalars"][:, 0] = 1
    elif content == "gev":  # pions around the direction (1, 0, 1)
        pt = 100 ** torch.rand(tokens, generator=generator)
        eta, phi = 0.9 + 0.2 * normal(*tokens), 0.2 * normal(*tokens)
        p3 = torch.stack([pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()], -1)
        energy = (p3.square().sum(-1, keepdim=True) + 0.1396**2).sqrt()
        found["multivectors"] = lgatr.embed_vector(torch.cat([energy, p3], -1))[:, :, None]
    if what.get("mask") == "padding":
        found["attn_mask"] = (torch.arange(count) < lengths[:, None])[:, None, None]
        if cls.startswith("Conditional"):
            lengths = conditions - 1 - torch.arange(tokens[0])
            found["crossattn_mask"] = (torch.arange(conditions) < lengths[:, None])[:, None, None]
    elif what.get("mask") == "float":
        found["attn_mask"] = normal(tokens[0], 1, count, count)
    elif what.get("mask") == "packed":
        owner = torch.repeat_interleave(torch.arange(4), torch.tensor([4, 1, 3, count - 8]))
        found["attn_mask"] = (owner[:, None] == owner)[None, None]
    return found


def forward(module: torch.nn.Module, cls: str, tensors: dict) -> list[torch.Tensor | None]:
    """Run the module with its masks."""
    plain = {k: v for k, v in tensors.items() if not k.endswith("_mask")}
    if "crossattn_mask" in tensors:
        masks = {
            "attn_kwargs": {"attn_mask": tensors["attn_mask"]},
            "crossattn_kwargs": {"attn_mask": tensors["crossattn_mask"]},
        }
        # 1.4.3 hands the first table to its slim blocks as their arguments
        plain |= {"attn_kwargs": masks} if cls == "ConditionalLGATrSlim" else masks
    elif "attn_mask" in tensors:
        plain["attn_mask"] = tensors["attn_mask"]
    return list(module(**plain))


def outputs(
    module: torch.nn.Module, cls: str, tensors: dict, cotangents: list | torch.Generator
) -> dict[str, torch.Tensor]:
    """What the module computes of these inputs, and the gradients for the cotangents.

    Cotangents are given, or drawn.
    """
    ends = ("mv" if any(k.startswith("multivectors") for k in tensors) else "v", "s")
    size = sum(p.numel() for p in module.parameters())
    double = copy.deepcopy(module).double()
    arrays: dict[str, torch.Tensor] = {}
    inter: dict[str, torch.Tensor] = {}
    if hasattr(double, "blocks"):
        watch(double, inter)
    wide = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
    leaves = {k: v.requires_grad_() for k, v in wide.items() if not k.endswith("_mask")}
    single, out64 = forward(module, cls, tensors), forward(double, cls, wide)
    loss = torch.zeros((), dtype=torch.float64)
    for i, (end, a, b) in enumerate(zip(ends, single, out64, strict=True)):
        if a is not None and b is not None:
            arrays |= {f"out32_{end}": a.detach(), f"out64_{end}": b.detach()}
            if isinstance(cotangents, torch.Generator):
                arrays[f"cot_{i}"] = torch.randn(b.shape, generator=cotangents)
            else:
                arrays[f"cot_{i}"] = cotangents[i]
            loss = loss + (b * arrays[f"cot_{i}"]).sum()
    arrays |= {k: v.float() if size > NORMED * 3 else v for k, v in inter.items()}
    loss.backward()
    arrays |= {f"gradin_{k}": v.grad for k, v in leaves.items()}
    for name, p in double.named_parameters():
        if p.grad is not None and size > NORMED:
            arrays[f"gradnorm/{name}"] = p.grad.norm()
        elif p.grad is not None:
            arrays[f"grad/{name}"] = p.grad.float() if size > HALF else p.grad
    return arrays


def jets(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Events of the training cases: a class token and massless particles, labels, weights."""
    events, tokens = 6, 9
    lengths = torch.tensor([9, 4, 6, 9, 3, 7])
    valid = torch.arange(tokens) < lengths[:, None]
    p3 = torch.randn((events, tokens, 3), generator=generator)
    p4 = torch.cat([p3.norm(dim=-1, keepdim=True), p3], -1) * valid[..., None]
    p4[:, 0] = 0
    scalars = torch.zeros((events, tokens, 1))
    scalars[:, 0] = 1
    weights = 0.5 + torch.rand(events, generator=generator)
    labels = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    return dict(momenta=p4, scalars=scalars, valid=valid, labels=labels, event_weights=weights)


def train(module: torch.nn.Module, cls: str, data: dict) -> tuple[dict, dict]:
    """Five AdamW steps of a weighted classifier on the class token's logit: table and arrays."""
    hyper = dict(lr=0.003, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.05)
    table: dict = dict(optimizer="AdamW", hyper=hyper)
    arrays: dict[str, torch.Tensor] = {}
    for bits, dtype in ((32, torch.float32), (64, torch.float64)):
        net = copy.deepcopy(module).to(dtype)
        optimizer = torch.optim.AdamW(net.parameters(), **hyper)
        steps: list[tuple] = []
        labels, weights = data["labels"].to(dtype), data["event_weights"].to(dtype)
        for step in range(5):
            x = data["momenta"].to(dtype)[:, :, None]
            x = x if cls == "LGATrSlim" else lgatr.embed_vector(x)
            v, s = net(x, data["scalars"].to(dtype), attn_mask=data["valid"][:, None, None])
            logit = s[:, 0, 0] if cls == "LGATrSlim" else v[:, 0, 0, 0]
            each = torch.nn.functional.binary_cross_entropy_with_logits(
                logit, labels, reduction="none"
            )
            loss = (each * weights).sum() / weights.sum()
            optimizer.zero_grad()
            loss.backward()
            grads = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
            if step == 0 and bits == 64:
                arrays |= {f"grad0/{n}": g.clone() for n, g in grads.items()}
                parameters = dict(net.named_parameters())
                table["params_without_grad"] = [n for n in parameters if n not in grads]
            norm = torch.stack([g.norm() for g in grads.values()]).norm()
            optimizer.step()
            steps.append((loss.detach().double(), logit.detach(), norm.double()))
        names = ("losses", "logits", "gradnorm")
        for name, values in zip(names, zip(*steps, strict=True), strict=True):
            arrays[f"{name}{bits}"] = torch.stack(values)
        arrays |= {f"final{bits}/{n}": v.clone() for n, v in net.state_dict().items()}
    return table, arrays


def make(name: str, seed: int) -> tuple[dict, dict, dict]:
    """Table, state dict and arrays of a case from a seed."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    table = dict(case=name, lgatr=lgatr.__version__, torch=torch.__version__, seed=seed)
    if name == "primitives":
        return table, {}, algebra(generator)
    if name == "spurions":
        arrays = spurions()
        return table | dict(num={k: len(v) for k, v in arrays.items()}), {}, arrays
    if name == "init_stats":
        return table, {}, starts()
    cls, ctor, what = CASES[name]
    config = what.get("config", CONFIG)
    configure(config)
    module = build(cls, ctor)
    table |= dict(cls=cls, ctor=ctor, gatr_config=config)
    state = {k: v.clone().contiguous() for k, v in module.state_dict().items()}
    if name.startswith("train_"):
        data = jets(generator)
        more, arrays = train(module, cls, data)
        table, arrays = table | more, data | arrays
    else:
        fill(module, generator)
        state = {k: v.contiguous() for k, v in module.state_dict().items()}
        tensors = inputs(cls, ctor, what, generator)
        arrays = {f"in_{k}": v for k, v in tensors.items()}
        arrays |= outputs(module, cls, tensors, generator)
    configure(CONFIG)
    table["params"] = sum(p.numel() for p in module.parameters())
    return table | dict(state={k: list(v.shape) for k, v in state.items()}), state, arrays


def record(folder: Path, name: str, seed: int) -> None:
    """Write the files of one case."""
    table, state, arrays = make(name, seed)
    table["arrays"] = {k: [list(v.shape), str(v.dtype).split(".")[1]] for k, v in arrays.items()}
    if name not in TABLES:
        save_file(state, folder / f"{name}.safetensors")
    np.savez_compressed(folder / f"{name}.npz", **{k: v.numpy() for k, v in arrays.items()})
    (folder / f"{name}.json").write_text(json.dumps(table) + "\n")


def again(folder: Path, name: str) -> list[tuple[str, float, float]]:
    """Let the package compute a stored case again: (array, difference, bar) of each."""
    with np.load(folder / f"{name}.npz") as file:
        stored = dict(file)
    tensors = {k: torch.from_numpy(v) for k, v in stored.items()}
    table = json.loads((folder / f"{name}.json").read_text())
    if name == "primitives":
        return gaps(stored, arrays_of(algebra(tensors)), bar(name))
    if name in TABLES:
        torch.manual_seed(0)
        return gaps(stored, arrays_of(make(name, 0)[2]), bar(name))
    cls, ctor, what = CASES[name]
    config = what.get("config", CONFIG)
    if (table["cls"], table["ctor"], table.get("gatr_config", config)) != (cls, ctor, config):
        raise SystemExit(f"{name}: the stored class, arguments or configuration are not ours")
    state = load_file(folder / f"{name}.safetensors")
    configure(config)
    module = build(cls, ctor)
    module.load_state_dict(state)
    if name.startswith("train_"):
        more, made = train(module, cls, tensors)
        if any(table[key] != more[key] for key in more):
            raise SystemExit(f"{name}: the stored optimizer or idle parameters are not ours")
        given = set(jets(torch.Generator()))
        final = {k: state[k.split("/")[1]] for k in stored if k.startswith("final32/")}
        if all(torch.equal(tensors[k], v) for k, v in final.items()):
            print(f"{name}: final32 hold the weights before training, by an error of the recording")
            made |= final
    else:
        arguments = {k[3:]: v for k, v in tensors.items() if k.startswith("in_")}
        cotangents = [tensors.get(f"cot_{i}") for i in range(2)]
        made = outputs(module, cls, arguments, cotangents)
        given = {k for k in stored if k.startswith(("in_", "cot_"))}
    configure(CONFIG)
    recorded = {k: v for k, v in stored.items() if k not in given}
    return gaps(recorded, arrays_of(made), bar(name))


def arrays_of(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The tensors as arrays."""
    return {k: v.detach().numpy() for k, v in tensors.items()}


def bar(name: str) -> Callable[[str, np.ndarray], float]:
    """The bar of each array of a case, by its name and dtype."""

    def of(array: str, value: np.ndarray) -> float:
        if name == "init_stats":  # other random numbers: five deviations of a mean of so many
            return 5 * (2 / 12 / value[4]) ** 0.5 * (value[1] - value[0]) / np.abs(value).max()
        if value.dtype.kind != "f":
            return 0.0
        if array.startswith(("final32", "gradnorm32")):
            return TRAINED_BAR
        bars = GEV_BARS if name == "lgatr_gev" else BARS
        return bars["float32" if array.endswith("32") else str(value.dtype)]

    return of


def kind(case: str, array: str) -> str:
    """The kind of an array, told by its name; tables and momenta in GeV are of their own."""
    head = array.split("/")[0] if "/" in array else array.split("_")[0]
    return case if case in TABLES else f"{head} GeV" if case == "lgatr_gev" else head


def main() -> None:
    """Record the cases named, or all; or compute stored ones again and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--again", action="store_true", help="compute the folder's cases again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [*CASES, *TABLES]
    cases = arguments.cases or names
    if not arguments.again:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for name in cases:
            record(arguments.folder, name, 1000 + names.index(name))
        return
    found = {name: again(arguments.folder, name) for name in cases}
    bad = sum(report(name, rows) for name, rows in found.items())
    summary(found, kind)
    if bad:
        raise SystemExit(f"{bad} arrays are above their bars")


if __name__ == "__main__":
    main()
