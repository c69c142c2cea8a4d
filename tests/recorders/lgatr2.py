"""Record cases from the real lgatr 2.0.0 (PyTorch) for the tests of porting.

    pip install torch lgatr==2.0.0 safetensors numpy
    python tests/recorders/lgatr2.py tests/fixtures/lgatr2

Each case is ``<name>.json`` (class, constructor arguments, shapes), ``<name>.safetensors`` (float32
state dict) and ``<name>.npz``: inputs ``in_*``, outputs ``out32_*`` and ``out64_*`` of the same
float32 weights computed in float32 and float64, ``inter_*`` after linear_in and after each block,
and for L = Σᵢ Σ outᵢ·cot_i the gradients ``gradin_<input>`` and ``grad/<parameter>``. Inside of the
slim networks the peer keeps vectors as (…, 4, C): so do the cases of its single slim layers and
``inter_*``.
"""

import copy
import json
import sys
from pathlib import Path

import lgatr
import numpy as np
import torch
from lgatr.layers import slim_layers
from lgatr.layers.attention.cross_attention import CrossAttention
from lgatr.layers.attention.self_attention import SelfAttention
from lgatr.layers.layer_norm import EquiLayerNorm
from lgatr.layers.linear import EquiLinear
from lgatr.layers.mlp.geometric_bilinears import GeometricBilinear
from lgatr.layers.mlp.mlp import GeoMLP
from lgatr.layers.mlp.nonlinearities import ScalarGatedNonlinearity
from safetensors.torch import save_file
from watching import watch

BATCH, TOKENS, CONDITIONS = 2, 6, 4

FULL = dict(num_blocks=2, in_mv_channels=2, out_mv_channels=2, hidden_mv_channels=4,
            in_s_channels=3, out_s_channels=2, hidden_s_channels=8,
            attention=dict(num_heads=2), mlp=dict(mlp_ratio=2))  # fmt: skip
COND = FULL | dict(mv_channels_cond=3, s_channels_cond=5, crossattention=dict(num_heads=2))
SLIM = dict(num_blocks=2, in_v_channels=2, out_v_channels=3, hidden_v_channels=4,
            in_s_channels=3, out_s_channels=2, hidden_s_channels=8, num_heads=2)  # fmt: skip
CSLIM = SLIM | dict(v_channels_cond=3, s_channels_cond=5)
HEADS = dict(num_heads=2, multi_query=True, head_scale=True, attn_ratio=2)
EQUI = dict(in_mv_channels=3, out_mv_channels=5, in_s_channels=4, out_s_channels=6)
GLU = dict(in_v_channels=3, out_v_channels=5, in_s_channels=4, out_s_channels=6)

# name: (class, constructor arguments, what else: "mask", "grad", "pt", …)
CASES: dict[str, tuple[str, dict, set[str]]] = {
    "lgatr": ("LGATr", FULL | dict(mlp={}, num_blocks=1), {"grad"}),
    "lgatr_noaffine": ("LGATr", FULL | dict(norm_elementwise_affine=False), {"grad"}),
    "lgatr_heads": ("LGATr", FULL | dict(attention=HEADS), {"grad"}),
    "lgatr_fulllorentz": ("LGATr", FULL | dict(primitives=dict(subgroup=False)), {"grad"}),
    "lgatr_nobivector": ("LGATr", FULL | dict(primitives=dict(bivector=False)), set()),
    "lgatr_nogp": ("LGATr", FULL | dict(primitives=dict(geometric_product=False)), set()),
    "lgatr_noscalarsio": ("LGATr", FULL | dict(in_s_channels=0, out_s_channels=0), {"grad"}),
    "lgatr_tanh": ("LGATr", FULL | dict(mlp=dict(mlp_ratio=1, nonlinearity="tanh")), set()),
    "lgatr_relu": ("LGATr", FULL | dict(mlp=dict(mlp_ratio=1, nonlinearity="relu")), set()),
    "lgatr_mlp3": ("LGATr", FULL | dict(mlp=dict(mlp_ratio=1, num_layers_mlp=3)), set()),
    "lgatr_mlp1": ("LGATr", FULL | dict(mlp=dict(num_layers_mlp=1)), set()),
    "lgatr_dropout": ("LGATr", FULL | dict(dropout_prob=0.1, mlp=dict(mlp_ratio=1)), {"eval"}),
    "lgatr_reinsert": ("LGATr", FULL | dict(attention=HEADS, mlp=dict(mlp_ratio=1),
                       reinsert_mv_channels=[0], reinsert_s_channels=[0, 2]), set()),
    "lgatr_mask_pad": ("LGATr", FULL | dict(mlp=dict(mlp_ratio=1)), {"mask"}),
    "lgatr_mask_float": ("LGATr", FULL | dict(mlp=dict(mlp_ratio=1)), {"floatmask"}),
    "lgatr_manyheads": ("LGATr", FULL | dict(attention=dict(num_heads=8)), set()),
    "lgatr_prefixed": ("LGATr", FULL | dict(num_blocks=1), {"pt"}),
    "cond_lgatr": ("ConditionalLGATr", COND, {"grad"}),
    "cond_lgatr_mask": ("ConditionalLGATr", COND | dict(num_blocks=1), {"mask"}),
    "cond_lgatr_heads": ("ConditionalLGATr", COND | dict(num_blocks=1, attention=HEADS,
                         crossattention=HEADS, norm_elementwise_affine=False), {"grad"}),
    "slim": ("LGATrSlim", SLIM, {"grad"}),
    "slim_noaffine": ("LGATrSlim", SLIM | dict(norm_elementwise_affine=False), {"grad"}),
    "slim_ratios": ("LGATrSlim", SLIM | dict(mlp_ratio=3, attn_ratio=2, num_layers_mlp=3), set()),
    "slim_gate_none": ("LGATrSlim", SLIM | dict(nonlinearity_v=None, nonlinearity="silu"),
                       {"grad"}),
    "slim_gate_tanh": ("LGATrSlim", SLIM | dict(nonlinearity_v="tanh", nonlinearity="relu"), set()),
    "slim_dropout": ("LGATrSlim", SLIM | dict(dropout_prob=0.1), {"eval"}),
    "slim_mask": ("LGATrSlim", SLIM, {"mask"}),
    "cond_slim": ("ConditionalLGATrSlim", CSLIM, {"grad"}),
    "cond_slim_mask": ("ConditionalLGATrSlim", CSLIM | dict(attn_ratio=2), {"mask"}),
    "equilinear": ("EquiLinear", EQUI | dict(primitives={}), {"grad"}),
    "equilinear_nos": ("EquiLinear", EQUI | dict(primitives={}, in_s_channels=0, out_s_channels=0),
                       {"grad"}),
    "equilinear_nos_in": ("EquiLinear", EQUI | dict(primitives={}, in_s_channels=0), {"grad"}),
    "equilinear_nobias": ("EquiLinear", EQUI | dict(primitives={}, bias=False), {"grad"}),
    "equilayernorm": ("EquiLayerNorm", dict(mv_channels=5, s_channels=7), set()),
    "equilayernorm_affine": ("EquiLayerNorm", dict(mv_channels=5, s_channels=7,
                             elementwise_affine=True), {"grad"}),
    "geometricbilinear": ("GeometricBilinear", EQUI | dict(primitives={}, hidden_mv_channels=4),
                          {"grad"}),
    "gated_gelu": ("ScalarGatedNonlinearity", dict(nonlinearity="gelu"), set()),
    "gated_tanh": ("ScalarGatedNonlinearity", dict(nonlinearity="tanh"), set()),
    "selfattention": ("SelfAttention", dict(in_mv_channels=4, out_mv_channels=4, in_s_channels=8,
                      out_s_channels=8, num_heads=2, primitives={}), {"grad"}),
    "crossattention": ("CrossAttention", dict(q_mv_channels=4, kv_mv_channels=3, out_mv_channels=4,
                       q_s_channels=8, kv_s_channels=5, out_s_channels=8, num_heads=2,
                       primitives={}), {"grad"}),
    "geomlp": ("GeoMLP", dict(mv_channels=3, s_channels=4, mlp_ratio=2, primitives={}), {"grad"}),
    "slim_linear": ("SlimLinear", GLU, {"grad"}),
    "slim_rmsnorm": ("SlimRMSNorm", dict(v_channels=5, s_channels=7), {"grad"}),
    "slim_glu": ("SlimGLU", GLU, {"grad"}),
    "slim_selfattention": ("SlimSelfAttention", dict(v_channels=4, s_channels=8, num_heads=2,
                           attn_ratio=2), {"grad"}),
    "slim_crossattention": ("SlimCrossAttention", dict(q_v_channels=4, kv_v_channels=3,
                            q_s_channels=8, kv_s_channels=5, num_heads=2), {"grad"}),
    "slim_mlp": ("SlimMLP", dict(v_channels=4, s_channels=8, num_layers=3), {"grad"}),
    "train_lgatr": ("LGATr", dict(num_blocks=1, in_mv_channels=1, out_mv_channels=1,
                    hidden_mv_channels=4, in_s_channels=1, out_s_channels=0, hidden_s_channels=8,
                    attention=dict(num_heads=2), mlp=dict(mlp_ratio=1)), {"train"}),
    "train_slim": ("LGATrSlim", dict(num_blocks=2, in_v_channels=1, out_v_channels=1,
                   hidden_v_channels=4, in_s_channels=1, out_s_channels=1, hidden_s_channels=8,
                   num_heads=2), {"train"}),
}  # fmt: skip


def build(cls: str, ctor: dict) -> torch.nn.Module:
    """The peer's module of class ``cls``; configuration objects are made from the plain table."""
    ctor = copy.deepcopy(ctor)
    if cls in ("LGATr", "ConditionalLGATr", "LGATrSlim", "ConditionalLGATrSlim"):
        return getattr(lgatr, cls)(**ctor)
    primitives = {}
    if "primitives" in ctor:
        primitives = {"primitives": lgatr.PrimitivesConfig(**ctor.pop("primitives"))}
    if cls == "SelfAttention":
        return SelfAttention(lgatr.SelfAttentionConfig(**ctor), **primitives)
    if cls == "CrossAttention":
        return CrossAttention(lgatr.CrossAttentionConfig(**ctor), **primitives)
    if cls == "GeoMLP":
        return GeoMLP(lgatr.MLPConfig(**ctor), **primitives)
    layers = {
        c.__name__: c
        for c in (EquiLinear, EquiLayerNorm, GeometricBilinear, ScalarGatedNonlinearity)
    }
    return (layers.get(cls) or getattr(slim_layers, cls))(**ctor, **primitives)


def fill(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights N(0, 0.6²/fan-in); biases, gains and head scales away from their usual start."""
    for name, p in module.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        last = name.split(".")[-1]
        if last == "bias":
            p.data = 0.3 * noise
        elif p.ndim == 1 or last == "weight_mv":  # head scales and the gains of norms
            p.data = 1 + 0.3 * noise
        else:
            p.data = 0.6 * noise / p.shape[1] ** 0.5


def inputs(cls: str, ctor: dict, what: set[str], generator: torch.Generator) -> dict:
    """The positional tensors of the forward call by name, then the masks."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    def vectors(tokens: int, channels: int) -> torch.Tensor:
        return normal(BATCH, tokens, *((4, channels) if inner else (channels, last)))

    def sizes(*names: str) -> int:
        return next((ctor[n] for n in names if n in ctor), 0)

    slim = "Slim" in cls
    inner = cls.startswith("Slim")
    last, key = (4, "vectors") if slim else (16, "multivectors")
    short = "v" if slim else "mv"
    found: dict[str, torch.Tensor] = {}
    if cls.endswith("CrossAttention"):
        pairs = [("q", TOKENS, "_q"), ("kv", CONDITIONS, "_kv")]
        for side, n, end in pairs:
            found[key + end] = vectors(n, ctor[f"{side}_{short}_channels"])
        for side, n, end in pairs:
            found["scalars" + end] = normal(BATCH, n, ctor[f"{side}_s_channels"])
        return found
    channels = sizes(f"in_{short}_channels", f"{short}_channels") or 3
    scalars = sizes("in_s_channels", "s_channels") if cls != "ScalarGatedNonlinearity" else 4
    found[key] = vectors(TOKENS, channels)
    condition = cls.startswith("Conditional")
    if condition:
        found[key + "_cond"] = vectors(CONDITIONS, ctor[f"{short}_channels_cond"])
    if scalars:
        found["scalars"] = normal(BATCH, TOKENS, scalars)
    if condition:
        found["scalars_cond"] = normal(BATCH, CONDITIONS, ctor["s_channels_cond"])
    if "mask" in what:
        lengths = torch.tensor([TOKENS, TOKENS - 3])
        found["attn_mask"] = (torch.arange(TOKENS) < lengths[:, None])[:, None, None]
        if condition:
            lengths = torch.tensor([CONDITIONS - 1, CONDITIONS - 2])
            found["crossattn_mask"] = (torch.arange(CONDITIONS) < lengths[:, None])[:, None, None]
    if "floatmask" in what:
        found["attn_mask"] = normal(BATCH, 1, TOKENS, TOKENS)
    return found


def forward(module: torch.nn.Module, tensors: dict) -> tuple[torch.Tensor, ...]:
    """Run the module; its outputs without those that are None or empty."""
    plain = {k: v for k, v in tensors.items() if not k.endswith("_mask")}
    if "crossattn_mask" in tensors:
        plain["attn_kwargs"] = {"attn_mask": tensors["attn_mask"]}
        plain["crossattn_kwargs"] = {"attn_mask": tensors["crossattn_mask"]}
    elif "attn_mask" in tensors:
        plain["attn_mask"] = tensors["attn_mask"]
    return module(**plain)


def train(module: torch.nn.Module, cls: str, generator: torch.Generator) -> tuple[dict, dict]:
    """Five AdamW steps of a weighted classifier on the class token's logit."""
    events, tokens = 6, 9
    lengths = torch.tensor([9, 4, 6, 9, 3, 7])
    valid = torch.arange(tokens) < lengths[:, None]
    p3 = torch.randn((events, tokens, 3), generator=generator)
    p4 = torch.cat([p3.norm(dim=-1, keepdim=True), p3], -1) * valid[..., None]
    p4[:, 0] = 0
    scalars = torch.zeros((events, tokens, 1))
    scalars[:, 0] = 1
    labels = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    weights = 0.5 + torch.rand(events, generator=generator)
    arrays = dict(momenta=p4, scalars=scalars, valid=valid, labels=labels, event_weights=weights)
    hyper = dict(lr=0.003, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.05)
    table: dict = {}
    for bits, dtype in ((32, torch.float32), (64, torch.float64)):
        net = copy.deepcopy(module).to(dtype)
        optimizer = torch.optim.AdamW(net.parameters(), **hyper)
        losses, logits, norms = [], [], []
        for step in range(5):
            x = p4.to(dtype)[:, :, None]
            x = x if cls == "LGATrSlim" else lgatr.embed_vector(x)
            v, s = net(x, scalars.to(dtype), attn_mask=valid[:, None, None])
            logit = s[:, 0, 0] if cls == "LGATrSlim" else v[:, 0, 0, 0]
            each = torch.nn.functional.binary_cross_entropy_with_logits(
                logit, labels.to(dtype), reduction="none"
            )
            loss = (each * weights).sum() / weights.sum()
            optimizer.zero_grad()
            loss.backward()
            grads = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
            if step == 0 and bits == 64:
                arrays |= {f"grad0/{n}": g.clone() for n, g in grads.items()}
                table["params_without_grad"] = [
                    n for n, p in net.named_parameters() if p.grad is None
                ]
            norms.append(torch.stack([g.norm() for g in grads.values()]).norm().item())
            optimizer.step()
            losses.append(loss.item())
            logits.append(logit.detach().numpy())
        arrays[f"losses{bits}"] = torch.tensor(losses, dtype=torch.float64)
        arrays[f"logits{bits}"] = torch.tensor(np.stack(logits))
        arrays[f"gradnorm{bits}"] = torch.tensor(norms, dtype=torch.float64)
        if bits == 32:
            arrays |= {f"final32/{n}": v.clone() for n, v in net.state_dict().items()}
    return arrays, table | dict(optimizer="AdamW", hyper=hyper)


def record(folder: Path, name: str, seed: int) -> None:
    """Write the three files of one case."""
    cls, ctor, what = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    module = build(cls, ctor)
    if "eval" in what:
        module.eval()
    table = dict(case=name, lgatr="2.0.0", torch=torch.__version__, cls=cls, ctor=ctor, seed=seed)
    if "train" in what:
        arrays, more = train(module, cls, generator)
        table |= more
    else:
        fill(module, generator)
        tensors = inputs(cls, ctor, what, generator)
        arrays = {f"in_{k}": v for k, v in tensors.items()}
        ends = ("v" if "Slim" in cls else "mv", "s")
        double = copy.deepcopy(module).double()
        inter: dict[str, torch.Tensor] = {}
        if hasattr(double, "blocks"):
            watch(double, inter)
        wide = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
        leaves = [wide[k].requires_grad_() for k in wide if not k.endswith("_mask")]
        out64 = forward(double, wide)
        for end, a, b in zip(ends, forward(module, tensors), out64, strict=True):
            if a is not None and a.numel():
                arrays |= {f"out32_{end}": a.detach(), f"out64_{end}": b.detach()}
        arrays |= {k: v.float() for k, v in inter.items()}
        loss = torch.zeros((), dtype=torch.float64)
        for i, value in enumerate(o for o in out64 if o is not None and o.numel()):
            arrays[f"cot_{i}"] = torch.randn(value.shape, generator=generator)
            loss = loss + (value * arrays[f"cot_{i}"]).sum()
        loss.backward()
        names = [k for k in wide if not k.endswith("_mask")]
        arrays |= {f"gradin_{k}": x.grad for k, x in zip(names, leaves, strict=True)}
        if "grad" in what:
            arrays |= {
                f"grad/{k}": p.grad.float()
                for k, p in double.named_parameters()
                if p.grad is not None
            }
    state = {k: v.contiguous() for k, v in module.state_dict().items()}
    table["params"] = sum(p.numel() for p in module.parameters())
    table["state"] = {k: list(v.shape) for k, v in state.items()}
    table["arrays"] = {k: [list(v.shape), str(v.dtype).split(".")[1]] for k, v in arrays.items()}
    save_file(state, folder / f"{name}.safetensors")
    np.savez_compressed(folder / f"{name}.npz", **{k: v.numpy() for k, v in arrays.items()})
    (folder / f"{name}.json").write_text(json.dumps(table) + "\n")
    if "pt" in what:
        wrapped = {f"module.net.{k}": v for k, v in state.items()}
        torch.save({"model": wrapped, "epoch": 3}, folder / f"{name}.pt")


def main() -> None:
    """Record every case into the folder named on the command line."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(CASES):
        record(folder, name, 2000 + seed)


if __name__ == "__main__":
    main()
