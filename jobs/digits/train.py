"""Learn to read handwritten digits, on as many ranks as there are. NumPy only.

Read it from top to bottom: that is the order in which it runs. The five lines that
make it a distributed program are marked with their numbers.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits

from beowulf import train

# --- What may be changed from outside ---------------------------------------------------

parser = argparse.ArgumentParser(description="Train a small network on handwritten digits.")
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--steps", type=int, help="stop after so many steps")
parser.add_argument("--global-batch", type=int, default=64, help="samples per step, all ranks")
parser.add_argument("--hidden", type=int, default=96, help="width of the hidden layer")
parser.add_argument("--learning-rate", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--shares", help="how to split each batch by hand, such as 5:2:1:0")
options = parser.parse_args()

MOMENTUM = 0.9
TEST_SAMPLES = 360


# --- The data: 1797 images of 8 x 8 pixels, written by 43 people, kept by scikit-learn -----


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images and labels, then test images and labels."""
    images, labels = load_digits(return_X_y=True)
    images = images / 16.0  # pixels come as 0 to 16
    order = np.random.default_rng(0).permutation(len(images))  # the same split for every seed
    test, training = order[:TEST_SAMPLES], order[TEST_SAMPLES:]
    return images[training], labels[training], images[test], labels[test]


# --- The model: 64 pixels, one hidden layer, 10 classes ------------------------------------

rng = np.random.default_rng(options.seed)
weights = {
    "hidden": rng.normal(0.0, np.sqrt(2 / 64), (64, options.hidden)),
    "hidden_bias": np.zeros(options.hidden),
    "output": rng.normal(0.0, np.sqrt(1 / options.hidden), (options.hidden, 10)),
    "output_bias": np.zeros(10),
}
velocity = {name: np.zeros_like(value) for name, value in weights.items()}


def forward(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hidden layer's activity and the probability of each digit."""
    hidden = np.maximum(images @ weights["hidden"] + weights["hidden_bias"], 0.0)
    scores = hidden @ weights["output"] + weights["output_bias"]
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, exponents / exponents.sum(axis=1, keepdims=True)


def add_gradients(gradients: dict, images: np.ndarray, labels: np.ndarray) -> float:
    """Add the gradients of these samples to what is there; return the sum of their losses."""
    hidden, probabilities = forward(images)
    rows = np.arange(len(labels))
    loss = -np.log(probabilities[rows, labels]).sum()
    at_scores = probabilities
    at_scores[rows, labels] -= 1.0
    at_hidden = (at_scores @ weights["output"].T) * (hidden > 0)
    gradients["output"] += hidden.T @ at_scores
    gradients["output_bias"] += at_scores.sum(axis=0)
    gradients["hidden"] += images.T @ at_hidden
    gradients["hidden_bias"] += at_hidden.sum(axis=0)
    return loss


# --- The training ---------------------------------------------------------------------

with train.Run(  # 1. open a run
    global_batch=options.global_batch, seed=options.seed, shares=options.shares
) as run:
    images, labels, test_images, test_labels = run.dataset(load)  # 2. load once per node
    run.track(weights=weights, velocity=velocity)  # 3. what is kept safe

    gradients = {name: np.zeros_like(value) for name, value in weights.items()}
    for batch in run.batches(len(images), epochs=options.epochs, steps=options.steps):  # 4.
        for gradient in gradients.values():
            gradient[...] = 0.0
        loss = 0.0
        for part in batch:  # the indices of this rank's samples; perhaps none
            loss += add_gradients(gradients, images[part], labels[part])
        run.average(gradients, loss)  # 5. from sums over samples to the mean over the batch
        for name, gradient in gradients.items():
            velocity[name] *= MOMENTUM
            velocity[name] -= options.learning_rate * gradient
            weights[name] += velocity[name]

    # --- What came of it -----------------------------------------------------------------

    _, probabilities = forward(test_images)
    accuracy = (probabilities.argmax(axis=1) == test_labels).mean()
    run.say(f"test accuracy {accuracy:.2%} on {len(test_labels)} digits never seen in training")
    run.report(test_accuracy=accuracy)
    train.draw_loss_curve(run, title=f"digits: {run.world_size} ranks, {accuracy:.1%} correct")
