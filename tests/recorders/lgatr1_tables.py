"""Tables of lgatr 1.4.3 without weights: primitives of the algebra, spurions, initialisations."""

import itertools

import lgatr
import torch
from lgatr import layers, primitives
from lgatr.nets import lgatr_slim
from lgatr.primitives import attention, bilinear, invariants, linear, nonlinearities
from lgatr.primitives.normalization import equi_layer_norm


def algebra(given: dict | torch.Generator) -> dict[str, torch.Tensor]:
    """The primitives in float64 of given or drawn multivectors, vectors, coefficients, heads."""
    shapes = dict(x=(4, 3, 16), y=(4, 3, 16), coeffs=(5, 3, 10), v=(4, 3, 4))
    shapes |= {f"att_{k}_mv": (2, 2, 5, 3, 16) for k in "qkv"}
    shapes |= {f"att_{k}_s": (2, 2, 5, 4) for k in "qkv"}
    if isinstance(given, torch.Generator):
        given = {k: torch.randn(s, generator=given).double() for k, s in shapes.items()}
    made = {k: given[k] for k in shapes}
    x, y, v = made["x"], made["y"], made["v"]
    made["geometric_product"] = primitives.geometric_product(x, y)
    made["inner_product"] = primitives.inner_product(x, y)
    made["abs_squared_norm"] = primitives.abs_squared_norm(x)
    made["reverse"] = linear.reverse(x)
    made["grade_involute"] = linear.grade_involute(x)
    made["grade_project"] = linear.grade_project(x)
    made["equi_layer_norm"] = equi_layer_norm(x)
    made["equi_linear"] = linear.equi_linear(x, made["coeffs"])
    made["gp_tensor"] = bilinear._load_geometric_product_tensor().to(torch.int8)
    for name, subgroup in (("basis_subgroup", True), ("basis_full", False)):
        made[name] = linear._compute_pin_equi_linear_basis(subgroup).to(torch.int8)
    made["inner_product_factors"] = invariants._load_inner_product_factors().to(torch.int8)
    for name in ("relu", "sigmoid", "gelu", "silu"):
        made[f"gated_{name}"] = getattr(nonlinearities, f"gated_{name}")(x, x[..., :1])
    for kind in ("vector", "axialvector", "scalar", "pseudoscalar"):
        value = v[..., :1] if kind.endswith("scalar") else v
        made[f"embed_{kind}"] = getattr(lgatr, f"embed_{kind}")(value)
        made[f"extract_{kind}"] = getattr(lgatr, f"extract_{kind}")(x)
    heads = [made[f"att_{k}_mv"] for k in "qkv"] + [made[f"att_{k}_s"] for k in "qkv"]
    made["att_out_mv"], made["att_out_s"] = attention.sdp_attention(*heads)
    return made


def spurions() -> dict[str, torch.Tensor]:
    """The reference multivectors of all options, under the name <beam>_<time>_<mirror>."""
    beams = ("xyplane", "lightlike", "spacelike", "timelike", None)
    return {
        f"{beam}_{time}_{mirror}": lgatr.get_spurions(beam, bool(time), bool(mirror))
        for beam, time, mirror in itertools.product(beams, (1, 0), (1, 0))
    }


def starts() -> dict[str, torch.Tensor]:
    """[min, max, mean, std, numel] of each parameter of linear layers before training."""
    made: dict[str, torch.nn.Module] = {}
    for scheme in ("default", "small", "unit_scalar", "almost_unit_scalar"):
        made[f"EquiLinear_{scheme}"] = layers.EquiLinear(64, 48, 32, 40, initialization=scheme)
    made["EquiLinear_default_nos"] = layers.EquiLinear(64, 48)
    for scheme in ("default", "small"):
        made[f"slim_Linear_{scheme}"] = lgatr_slim.Linear(64, 48, 32, 40, initialization=scheme)
    found = {}
    for layer, module in made.items():
        for name, p in module.named_parameters():
            a = p.detach().double()
            values = [a.min(), a.max(), a.mean(), a.std(correction=0), a.numel()]
            found[f"{layer}/{name}"] = torch.tensor([float(x) for x in values], dtype=a.dtype)
    return found
