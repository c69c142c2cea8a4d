"""Serve OmniLearn (TensorFlow) as a process that receives orders, see `serve`.

The first argument is the folder of OmniLearn's `PET.py`. task is "forward" or "train" (forward,
backward and an Adam step of the mean square of the logits), compiled by `tf.function`; padding is
zero features with a mask, as OmniLearn has it.
"""

import sys
import time

import numpy as np
import tensorflow as tf
from serve import growth, serve

sys.path.insert(0, sys.argv[1])


class Server:
    """The network, its jets and its optimizer."""

    def build(self, cls, constructor, weights, compile):
        """Build the network with these weights; compile: by XLA."""
        import PET

        self.network = getattr(PET, cls)(**constructor)
        self.network.load_weights(weights)
        body, head = self.network.body, self.network.classifier_head
        variables = body.trainable_variables + head.trainable_variables
        optimizer = tf.keras.optimizers.Adam(1e-4)
        optimizer.build(variables)

        def forward(features, mask, jet):
            points, time = features[:, :, :2], tf.zeros((tf.shape(features)[0], 1))
            return head([body([features, points, mask, time]), jet])[0]

        def train(*jets):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(forward(*jets) ** 2)
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

        self.programs = {
            "forward": tf.function(forward, jit_compile=compile),
            "train": tf.function(train, jit_compile=compile),
        }

    def jets(self, file):
        """Read features, mask and jet's features."""
        with np.load(file) as arrays:
            momenta, features, multiplicity = (
                arrays[k] for k in ("momenta", "features", "multiplicity")
            )
        mask = np.arange(momenta.shape[1]) < multiplicity[:, None]
        arrays = features, mask[..., None].astype(np.float32), momenta[:, 0]
        self.arrays = [tf.constant(a) for a in arrays]

    def run(self, task, calls):
        """Measure the seconds of ``calls`` calls."""
        program = self.programs[task]
        begin = time.perf_counter()
        for _ in range(calls):
            result = program(*self.arrays)
            if result is not None:
                result.numpy()
        return {"seconds": time.perf_counter() - begin}

    def outputs(self, file, task):
        """Write the logits."""
        np.savez(file, outputs=self.programs[task](*self.arrays).numpy())

    def memory(self, task):
        """Measure how much the process grows."""
        return {"grown": growth(lambda: self.run(task, 1))}


if __name__ == "__main__":
    serve(Server())
