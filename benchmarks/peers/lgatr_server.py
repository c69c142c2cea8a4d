"""`lgatr` (PyTorch) as a process that is told what to run; see `serve` for the orders.

task is "forward" or "train" (forward, backward and an Adam step of the mean square of the outputs),
with the padded jets as they are; "-masked" hides the padding by a mask, "-flat" has all real
particles in one row under a mask of blocks, as lgatr's taggers do it. A batch of more than PIECE
jets is worked through in pieces, whose gradients add up: it would not fit into memory.
"""

import time

import lgatr
import numpy as np
import torch
from serve import growth, serve

PIECE = 64


class Server:
    """The network, its jets and its optimizer."""

    def build(self, cls, constructor, weights, compile):
        """The network with these weights."""
        torch.manual_seed(0)
        self.network = getattr(lgatr, cls)(**constructor)
        with np.load(weights) as file:
            self.network.load_state_dict({k: torch.from_numpy(file[k]) for k in file.files})
        torch._dynamo.config.cache_size_limit = 64
        self.call = torch.compile(self.network, dynamic=False) if compile else self.network
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.slim = cls == "LGATrSlim"

    def jets(self, file):
        """The jets, in pieces."""
        with np.load(file) as arrays:
            whole = [torch.from_numpy(arrays[k]) for k in ("momenta", "features", "multiplicity")]
        self.pieces = [
            self.piece(*part) for part in zip(*(a.split(PIECE) for a in whole), strict=True)
        ]

    def piece(self, momenta, features, multiplicity):
        """Padded arrays, and what is needed to have them in one row."""
        vectors = momenta if self.slim else lgatr.embed_vector(momenta)
        real = torch.arange(momenta.shape[1]) < multiplicity[:, None]
        jet = torch.arange(len(multiplicity))[:, None].expand_as(real)[real]
        first = torch.cat([torch.zeros(1).long(), multiplicity.long().cumsum(0)[:-1]])
        return vectors.unsqueeze(-2), features, real, (jet[:, None] == jet[None])[None, None], first

    def forward(self, piece, how=""):
        """One row of outputs for each jet: the scalars of its first particle."""
        vectors, features, real, blocks, first = piece
        if how == "flat":
            x, s = self.call(vectors[real][None], features[real][None], attn_mask=blocks)
            return self.outputs_of(x, s)[0, first]
        more = {} if how == "" else {"attn_mask": real[:, None, None]}
        return self.outputs_of(*self.call(vectors, features, **more))[:, 0]

    def outputs_of(self, x, s):
        """Of every token: slim's scalars, otherwise the scalar parts of its multivectors."""
        return s if self.slim else x[..., 0]

    def run(self, task, calls):
        """Seconds of so many calls."""
        task, _, how = task.partition("-")
        begin = time.perf_counter()
        for _ in range(calls):
            if task == "forward":
                with torch.no_grad():
                    for piece in self.pieces:
                        self.forward(piece, how)
                continue
            self.optimizer.zero_grad(set_to_none=True)
            for piece in self.pieces:
                loss = (self.forward(piece, how) ** 2).mean() / len(self.pieces)
                loss.backward()
            self.optimizer.step()
        return {"seconds": time.perf_counter() - begin}

    def outputs(self, file, how=""):
        """Write the outputs of the first piece."""
        with torch.no_grad():
            np.savez(file, outputs=self.forward(self.pieces[0], how).numpy())

    def memory(self, task):
        """How much the process grows."""
        return {"grown": growth(lambda: self.run(task, 1))}


if __name__ == "__main__":
    serve(Server())
