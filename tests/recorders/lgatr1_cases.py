"""The cases of lgatr 1.4.3: classes, constructor arguments, calls."""

CONFIG = dict(use_fully_connected_subgroup=True, use_bivector=True, use_geometric_product=True)
NO_SUBGROUP = CONFIG | dict(use_fully_connected_subgroup=False)

FULL = dict(num_blocks=2, in_mv_channels=2, out_mv_channels=3, hidden_mv_channels=4,
            in_s_channels=3, out_s_channels=2, hidden_s_channels=8,
            attention=dict(num_heads=2), mlp={})  # fmt: skip
COND = dict(num_blocks=2, in_mv_channels=2, condition_mv_channels=3, out_mv_channels=2,
            hidden_mv_channels=4, in_s_channels=3, condition_s_channels=5, out_s_channels=2,
            hidden_s_channels=8, attention=dict(num_heads=2), crossattention=dict(num_heads=2),
            mlp={})  # fmt: skip
SLIM = dict(in_v_channels=2, out_v_channels=3, hidden_v_channels=4, in_s_channels=3,
            out_s_channels=2, hidden_s_channels=8, num_blocks=2, num_heads=2)  # fmt: skip
CSLIM = dict(in_v_channels=2, condition_v_channels=3, out_v_channels=2, hidden_v_channels=4,
             in_s_channels=3, condition_s_channels=5, out_s_channels=2, hidden_s_channels=8,
             num_blocks=2, num_heads=2)  # fmt: skip
NARROW = dict(in_mv_channels=1, out_mv_channels=1, in_s_channels=1, out_s_channels=1)
TWICE = dict(increase_hidden_channels=2)
EQUI = dict(in_mv_channels=3, out_mv_channels=5, in_s_channels=4, out_s_channels=6)
GLU = dict(in_v_channels=3, out_v_channels=5, in_s_channels=4, out_s_channels=6)
SELF = dict(in_mv_channels=4, out_mv_channels=4, in_s_channels=8, out_s_channels=8, num_heads=2)
CROSS = dict(in_q_mv_channels=4, in_kv_mv_channels=3, out_mv_channels=4, in_q_s_channels=8,
             in_kv_s_channels=5, out_s_channels=8, num_heads=2)  # fmt: skip


def without(table: dict, *names: str) -> dict:
    """The table without some of its names."""
    return {k: v for k, v in table.items() if k not in names}


# name: (class, constructor arguments, what else: shape of the tokens, config, mask, content)
CASES: dict[str, tuple[str, dict, dict]] = {
    "lgatr_tiny": ("LGATr", FULL, {}),
    "lgatr_tiny_22": ("LGATr", FULL | dict(attention=dict(num_heads=2) | TWICE, mlp=TWICE), {}),
    "lgatr_tiny_mq": ("LGATr", FULL | dict(attention=dict(num_heads=2, multi_query=True) | TWICE),
                      {}),
    "lgatr_tiny_headscale": ("LGATr", FULL | dict(attention=dict(num_heads=2, head_scale=True)),
                             {}),
    "lgatr_tiny_mq_headscale_reinsert": ("LGATr", FULL | dict(
        attention=dict(num_heads=2, head_scale=True, multi_query=True) | TWICE, mlp=TWICE,
        reinsert_mv_channels=[0], reinsert_s_channels=[0, 2]), {}),
    "lgatr_tiny_reinsert": ("LGATr", FULL | dict(reinsert_mv_channels=[0, 1],
                            reinsert_s_channels=[1]), {}),
    "lgatr_tiny_fulllorentz": ("LGATr", FULL, dict(config=NO_SUBGROUP)),
    "lgatr_tiny_nobivector": ("LGATr", FULL, dict(config=CONFIG | dict(use_bivector=False))),
    "lgatr_tiny_nogp": ("LGATr", FULL, dict(config=CONFIG | dict(use_geometric_product=False))),
    "lgatr_tiny_noscalarsio": ("LGATr", FULL | dict(in_s_channels=None, out_s_channels=None), {}),
    "lgatr_tiny_relu": ("LGATr", FULL | dict(mlp=dict(activation="relu") | TWICE), {}),
    "lgatr_tiny_sigmoid": ("LGATr", FULL | dict(mlp=dict(activation="sigmoid") | TWICE), {}),
    "lgatr_tiny_silu": ("LGATr", FULL | dict(mlp=dict(activation="silu") | TWICE), {}),
    "lgatr_tiny_mlp2": ("LGATr", FULL | dict(mlp=dict(num_hidden_layers=2) | TWICE), {}),
    "lgatr_tiny_oneheadchan": ("LGATr", FULL | dict(attention=dict(num_heads=8)), {}),
    "lgatr_mask_pad": ("LGATr", FULL, dict(tokens=(4, 9), mask="padding")),
    "lgatr_mask_float": ("LGATr", FULL, dict(mask="float")),
    "lgatr_mask_packed": ("LGATr", FULL, dict(tokens=(1, 14), mask="packed")),
    "lgatr_tagger": ("LGATr", dict(num_blocks=2, hidden_mv_channels=8, hidden_s_channels=16,
                     attention=dict(num_heads=4) | TWICE, mlp=TWICE) | NARROW
                     | dict(out_s_channels=None), dict(tokens=(3, 14), mask="padding",
                     content="jets")),
    "lgatr_paper1M": ("LGATr", dict(num_blocks=12, hidden_mv_channels=16, hidden_s_channels=32,
                      attention=dict(num_heads=8) | TWICE, mlp=TWICE) | NARROW,
                      dict(tokens=(2, 12))),
    "lgatr_gev": ("LGATr", dict(num_blocks=1, hidden_mv_channels=4, hidden_s_channels=8,
                  attention=dict(num_heads=2), mlp=TWICE) | NARROW,
                  dict(tokens=(2, 10), content="gev")),
    "lgatr_nobatch": ("LGATr", dict(num_blocks=1, hidden_mv_channels=2, hidden_s_channels=4,
                      attention=dict(num_heads=1), mlp=dict(increase_hidden_channels=1)) | NARROW,
                      dict(tokens=(4,))),
    "block": ("LGATrBlock", dict(mv_channels=2, s_channels=4, attention=dict(num_heads=2,
              additional_qk_mv_channels=2, additional_qk_s_channels=3), mlp=TWICE),
              dict(tokens=(2, 4))),
    "cond_block": ("ConditionalLGATrBlock", dict(mv_channels=2, s_channels=4,
                   condition_mv_channels=3, condition_s_channels=5, attention=dict(num_heads=2),
                   crossattention=dict(num_heads=1), mlp=TWICE),
                   dict(tokens=(2, 4), conditions=3)),
    "cond_lgatr_tiny": ("ConditionalLGATr", COND, {}),
    "cond_lgatr_tiny_mask": ("ConditionalLGATr", COND, dict(mask="padding")),
    "cond_lgatr_tiny_mq_hs": ("ConditionalLGATr", COND | dict(
        attention=dict(num_heads=2, multi_query=True, head_scale=True),
        crossattention=dict(num_heads=2, multi_query=True, head_scale=True) | TWICE), {}),
    "slim_tiny": ("LGATrSlim", SLIM, {}),
    "slim_tiny_ratios": ("LGATrSlim", SLIM | dict(mlp_ratio=3, attn_ratio=2, num_layers_mlp=3), {}),
    "slim_tiny_relu": ("LGATrSlim", SLIM | dict(nonlinearity="relu"), {}),
    "slim_tiny_sigmoid": ("LGATrSlim", SLIM | dict(nonlinearity="sigmoid"), {}),
    "slim_tiny_tanh": ("LGATrSlim", SLIM | dict(nonlinearity="tanh"), {}),
    "slim_tiny_silu": ("LGATrSlim", SLIM | dict(nonlinearity="silu"), {}),
    "slim_mask_pad": ("LGATrSlim", SLIM, dict(tokens=(4, 9), mask="padding")),
    "slim_mask_packed": ("LGATrSlim", SLIM, dict(tokens=(1, 14), mask="packed")),
    "slim_tiny_oneheadchan": ("LGATrSlim", SLIM | dict(num_heads=8), {}),
    "slim_paper": ("LGATrSlim", dict(in_v_channels=1, out_v_channels=1, hidden_v_channels=32,
                   in_s_channels=1, out_s_channels=1, hidden_s_channels=64, num_blocks=12,
                   num_heads=4), dict(tokens=(2, 12))),
    "slim_block": ("LGATrSlimBlock", dict(v_channels=3, s_channels=8, num_heads=2),
                   dict(tokens=(2, 5))),
    "cond_slim_block": ("ConditionalLGATrSlimBlock", dict(v_channels=3, s_channels=8, num_heads=2,
                        condition_v_channels=2, condition_s_channels=5),
                        dict(tokens=(2, 5), conditions=6)),
    "cond_slim_tiny": ("ConditionalLGATrSlim", CSLIM, {}),
    "cond_slim_tiny_mask": ("ConditionalLGATrSlim", CSLIM, dict(mask="padding")),
    "cond_slim_tiny_ratios": ("ConditionalLGATrSlim", CSLIM | dict(attn_ratio=2, num_layers_mlp=3,
                              nonlinearity="silu"), {}),
    "equilinear_s": ("EquiLinear", EQUI, {}),
    "equilinear_nos": ("EquiLinear", without(EQUI, "in_s_channels", "out_s_channels"), {}),
    "equilinear_nos_in": ("EquiLinear", without(EQUI, "in_s_channels"), {}),
    "equilinear_nos_out": ("EquiLinear", without(EQUI, "out_s_channels"), {}),
    "equilinear_nobias": ("EquiLinear", EQUI | dict(bias=False), {}),
    "equilinear_fulllorentz": ("EquiLinear", EQUI, dict(config=NO_SUBGROUP)),
    "equilayernorm": ("EquiLayerNorm", {}, dict(content="tiny")),
    "geometricbilinear": ("GeometricBilinear", EQUI | dict(hidden_mv_channels=4), {}),
    **{f"gated_{name}": ("ScalarGatedNonlinearity", dict(nonlinearity=name), {})
       for name in ("relu", "sigmoid", "gelu", "silu")},
    "selfattention": ("SA", SELF, {}),
    "selfattention_mq": ("SA", SELF | dict(multi_query=True), {}),
    "selfattention_hs": ("SA", SELF | dict(head_scale=True) | TWICE, {}),
    "crossattention": ("CA", CROSS, {}),
    "crossattention_mq": ("CA", CROSS | dict(multi_query=True, head_scale=True), {}),
    "geomlp": ("GM", dict(mv_channels=3, s_channels=4) | TWICE, {}),
    "geomlp_3": ("GM", dict(mv_channels=3, s_channels=4, num_hidden_layers=2) | TWICE, {}),
    "slim_linear": ("Linear", GLU, {}),
    "slim_linear_nobias": ("Linear", GLU | dict(bias=False), {}),
    "slim_rmsnorm": ("RMSNorm", {}, dict(content="tiny")),
    **{f"slim_glu_{name}": ("GatedLinearUnit", GLU | dict(nonlinearity=name), {})
       for name in ("relu", "sigmoid", "tanh", "gelu", "silu")},
    "slim_selfattention": ("SelfAttention", dict(v_channels=4, s_channels=8, num_heads=2,
                           attn_ratio=2), {}),
    "slim_mlp": ("MLP", dict(v_channels=4, s_channels=8, mlp_ratio=2, num_layers=3), {}),
    "slim_crossattention": ("CrossAttention", dict(q_v_channels=4, kv_v_channels=3, q_s_channels=8,
                            kv_s_channels=5, num_heads=2), {}),
    "train_lgatr": ("LGATr", dict(num_blocks=2, hidden_mv_channels=4, hidden_s_channels=8,
                    attention=dict(num_heads=2) | TWICE, mlp=TWICE) | NARROW
                    | dict(out_s_channels=None), {}),
    "train_slim": ("LGATrSlim", dict(in_v_channels=1, out_v_channels=1, hidden_v_channels=4,
                   in_s_channels=1, out_s_channels=1, hidden_s_channels=8, num_blocks=2,
                   num_heads=2), {}),
}  # fmt: skip
TABLES = ("primitives", "spurions", "init_stats")

PAIR = "multivectors:in_mv_channels scalars:in_s_channels"
SLIM_PAIR = "vectors:in_v_channels scalars:in_s_channels"
CONDITIONED = "{0}:{1}{2}_channels {0}_condition:condition_{2}_channels scalars:{1}s_channels \
scalars_condition:condition_s_channels"
# class: its tokens in the usual shape, and the arguments of its call with their channels, which
# are numbers or names of constructor arguments
CALLS: dict[str, tuple[tuple[int, ...], str]] = {
    "LGATr": ((2, 7), PAIR),
    "LGATrBlock": ((2, 4), "multivectors:mv_channels scalars:s_channels additional_qk_features_mv:"
                   "additional_qk_mv_channels additional_qk_features_s:additional_qk_s_channels"),
    "ConditionalLGATr": ((2, 7), CONDITIONED.format("multivectors", "in_", "mv")),
    "ConditionalLGATrBlock": ((2, 4), CONDITIONED.format("multivectors", "", "mv")),
    "LGATrSlim": ((2, 7), SLIM_PAIR),
    "LGATrSlimBlock": ((2, 5), "vectors:v_channels scalars:s_channels"),
    "ConditionalLGATrSlim": ((2, 7), CONDITIONED.format("vectors", "in_", "v")),
    "ConditionalLGATrSlimBlock": ((2, 5), CONDITIONED.format("vectors", "", "v")),
    "EquiLinear": ((2, 3), PAIR),
    "EquiLayerNorm": ((2, 3), "multivectors:5 scalars:7"),
    "GeometricBilinear": ((2, 3), PAIR),
    "ScalarGatedNonlinearity": ((2, 3), "multivectors:3 scalars:4"),
    "SA": ((2, 5), PAIR),
    "CA": ((2, 5), "multivectors_q:in_q_mv_channels multivectors_kv:in_kv_mv_channels "
           "scalars_q:in_q_s_channels scalars_kv:in_kv_s_channels"),
    "GM": ((2, 3), "multivectors:mv_channels scalars:s_channels"),
    "Linear": ((2, 5), SLIM_PAIR),
    "RMSNorm": ((2, 5), "vectors:3 scalars:4"),
    "GatedLinearUnit": ((2, 5), SLIM_PAIR),
    "SelfAttention": ((2, 5), "vectors:v_channels scalars:s_channels"),
    "MLP": ((2, 5), "vectors:v_channels scalars:s_channels"),
    "CrossAttention": ((2, 5), "vectors:q_v_channels vectors_condition:kv_v_channels "
                       "scalars:q_s_channels scalars_condition:kv_s_channels"),
}  # fmt: skip
