"""What leaves the parts of a network, noted for the recorded cases of both versions of lgatr."""

import torch


def watch(module: torch.nn.Module, record: dict[str, torch.Tensor]) -> None:
    """Note what leaves linear_in and each block."""

    def hook(name: str):
        def keep(_module, _inputs, output):
            for end, value in zip(("mv", "s"), output, strict=True):
                record[f"inter_{name}_{end}"] = value.detach()

        return keep

    module.linear_in.register_forward_hook(hook("linear_in"))
    for i, block in enumerate(module.blocks):
        block.register_forward_hook(hook(f"block{i}"))
