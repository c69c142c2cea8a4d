"""Serve `lgatr` (PyTorch) as a process that receives orders, see `serve`.

task is "forward" or "train" (forward, backward and an Adam step of the mean square of the outputs),
with the padded jets as they are; "-masked" hides the padding by a mask, "-flat" has all real
particles in one row under a mask of blocks, as lgatr's taggers do it. A batch that does not fit
is computed in pieces, whose gradients add up: of PIECE jets on CPUs, of as many as fit on GPUs.
Each file of jets starts from the weights of the beginning.
"""

import functools
import time

import lgatr
import numpy as np
import torch
from serve import growth, serve

PIECE = 64


class Server:
    """The network, its jets and its optimizer."""

    def build(self, cls, constructor, weights, compile, device):
        """Build the network with these weights, on "cpu" or "cuda"."""
        torch.manual_seed(0)
        self.device = device
        network = getattr(lgatr, cls)(**constructor)
        with np.load(weights) as file:
            self.weights = {k: torch.from_numpy(file[k]) for k in file.files}
        self.network = network.to(device)
        self.compute = "float32"
        torch._dynamo.config.cache_size_limit = 64
        self.call = torch.compile(self.network, dynamic=False) if compile else self.network
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.slim = cls == "LGATrSlim"

    def precision(self, compute):
        """Compute in "float32", "tensorfloat32" or, by autocast, "bfloat16" from now on."""
        if compute != self.compute:
            torch._dynamo.reset()
        self.compute = compute
        products = "high" if compute == "tensorfloat32" else "highest"
        torch.set_float32_matmul_precision(products)

    def jets(self, file):
        """Read the jets."""
        self.network.load_state_dict(self.weights)
        self.optimizer.state.clear()
        with np.load(file) as arrays:
            names = ("momenta", "features", "multiplicity")
            self.whole = [torch.from_numpy(arrays[k]).to(self.device) for k in names]
        self.split(PIECE if self.device == "cpu" else len(self.whole[0]))

    def split(self, size):
        """Split the jets into pieces of this size."""
        parts = zip(*(a.split(size) for a in self.whole), strict=True)
        self.size, self.pieces = size, [self.piece(*part) for part in parts]

    def piece(self, momenta, features, multiplicity):
        """Make padded arrays, and what is needed to put them in one row."""
        vectors = momenta if self.slim else lgatr.embed_vector(momenta)
        real = torch.arange(momenta.shape[1], device=self.device) < multiplicity[:, None]
        jet = torch.arange(len(multiplicity), device=self.device)[:, None].expand_as(real)[real]
        first = multiplicity.long().cumsum(0) - multiplicity
        blocks = functools.cache(lambda: (jet[:, None] == jet[None])[None, None])
        return vectors.unsqueeze(-2), features, real, blocks, first

    def forward(self, piece, how=""):
        """Compute one row of outputs for each jet: the scalars of its first particle."""
        half = self.compute == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16, enabled=half):
            return self.scalars(*piece, how).float()

    def scalars(self, vectors, features, real, blocks, first, how):
        """Compute the outputs in the type of the autocast."""
        if how == "flat":
            x, s = self.call(vectors[real][None], features[real][None], attn_mask=blocks())
            return self.outputs_of(x, s)[0, first]
        more = {} if how == "" else {"attn_mask": real[:, None, None]}
        return self.outputs_of(*self.call(vectors, features, **more))[:, 0]

    def outputs_of(self, x, s):
        """Select slim's scalars, otherwise the scalar parts of the multivectors, of every token."""
        return s if self.slim else x[..., 0]

    def run(self, task, calls):
        """Measure the seconds of ``calls`` calls."""
        return {"seconds": self.fitting(lambda: self.seconds(*task.partition("-")[::2], calls))}

    def fitting(self, call):
        """Return the result of a call; where memory is short, of one in smaller pieces."""
        while True:
            try:
                return call()
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
            torch.cuda.empty_cache()
            self.split(self.size // 2)

    def seconds(self, task, how, calls):
        """Measure the seconds of ``calls`` calls, with the pieces as they are."""
        begin = time.perf_counter()
        self.losses = []
        for _ in range(calls):
            if task == "forward":
                with torch.no_grad():
                    for piece in self.pieces:
                        self.forward(piece, how)
                continue
            self.optimizer.zero_grad(set_to_none=True)
            total = 0
            for piece in self.pieces:
                loss = (self.forward(piece, how) ** 2).mean() / len(self.pieces)
                loss.backward()
                total = total + loss.detach()
            self.optimizer.step()
            self.losses = [total]
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    def outputs(self, file, task):
        """Write the outputs of the first piece, or the losses (2,) of two steps.

        Answers the seconds of the first call, which compiles, and the size of the pieces.
        """
        task, _, how = task.partition("-")
        begin = time.perf_counter()
        if task == "train":
            self.fitting(lambda: self.seconds(task, how, 1))
            seconds, first = time.perf_counter() - begin, self.losses
            self.seconds(task, how, 1)
            found = torch.stack([*first, *self.losses])
        else:
            with torch.no_grad():
                found = self.fitting(lambda: self.forward(self.pieces[0], how)).cpu()
            seconds = time.perf_counter() - begin
        np.savez(file, outputs=found.cpu().numpy())
        return {"seconds": seconds, "piece": self.size}

    def memory(self, task):
        """Measure how much the process grows; on GPUs, what its arrays have at the peak."""
        if self.device == "cpu":
            return {"grown": growth(lambda: self.run(task, 1))}
        torch.cuda.reset_peak_memory_stats()
        self.run(task, 1)
        return {"grown": torch.cuda.max_memory_allocated()}

    def rest(self):
        """Give the memory of the jets back."""
        self.whole, self.pieces, self.losses = [], [], []
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        if self.device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    serve(Server())
