"""Learn to read handwritten digits, on as many ranks as there are. NumPy only.

Read it from top to bottom: that is the order in which it runs. The five lines that
make it a distributed program are marked with their numbers.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

from beowulf import train

# --- What may be changed from outside ---------------------------------------------------

parser = argparse.ArgumentParser(description="Train a small network on handwritten digits.")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--steps", type=int, help="stop after so many steps")
parser.add_argument("--global-batch", type=int, default=256, help="samples per step, all ranks")
parser.add_argument("--hidden", type=int, default=384, help="width of the hidden layer")
parser.add_argument("--copies", type=int, default=100, help="distorted copies of each image")
parser.add_argument("--learning-rate", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--shares", help="how to split each batch by hand, such as 5:2:1:0")
parser.add_argument("--micro-batch", type=int, help="the most samples one rank takes in one go")
parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="besides each minute")
parser.add_argument("--pause-s", type=float, default=0.0, help="wait in each step, to watch it")
options = parser.parse_args()

MOMENTUM = 0.9
TEST_SAMPLES = 360


# --- The data: 1797 images of 8 x 8 pixels, written by 13 people, kept by scikit-learn -----


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images and labels, then test images and labels; an image is a row.

    A pixel is one byte, 0 to 255, as in most data sets of images: many fit into memory.
    """
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) * (255 / 16)  # pixels come as 0 to 16
    rng = np.random.default_rng(0)  # the same images for every --seed
    order = rng.permutation(len(images))
    test, training = order[:TEST_SAMPLES], order[TEST_SAMPLES:]
    copies = [distort(images[training], rng) for _ in range(options.copies)]
    return (
        np.concatenate(copies).reshape(-1, 64).round().astype(np.uint8),
        np.tile(labels[training], options.copies),
        images[test].reshape(-1, 64).round().astype(np.uint8),
        labels[test],
    )


def distort(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return each image turned, resized and shifted a little, as another hand would write it.

    1437 images are few: a network soon knows them by heart. The copies are made once,
    before the first step, so that sample number n is the same image on every rank.
    """
    count = len(images)
    angle = rng.uniform(-0.25, 0.25, (count, 1, 1))  # in radians
    size = rng.uniform(0.9, 1.15, (count, 1, 1))
    down, right = rng.uniform(-0.8, 0.8, (2, count, 1, 1))  # in pixels
    # Where in the original each pixel of the copy comes from. The original gets an
    # empty border two pixels wide, hence the centre 3.5 becomes 5.5.
    y, x = np.mgrid[:8, :8] - 3.5
    row = (size * (np.cos(angle) * y - np.sin(angle) * x) + down + 5.5).clip(0, 10.99)
    column = (size * (np.sin(angle) * y + np.cos(angle) * x) + right + 5.5).clip(0, 10.99)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    # That is between four pixels, each of which counts by how near it is.
    image = np.arange(count)[:, None, None]
    top, left = row.astype(int), column.astype(int)
    below, beside = row - top, column - left
    upper = (1 - beside) * padded[image, top, left] + beside * padded[image, top, left + 1]
    lower = (1 - beside) * padded[image, top + 1, left] + beside * padded[image, top + 1, left + 1]
    return (1 - below) * upper + below * lower


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
    global_batch=options.global_batch,
    seed=options.seed,
    shares=options.shares,
    micro_batch=options.micro_batch,
    checkpoint_every_steps=options.checkpoint_every,
) as run:
    images, labels, test_images, test_labels = run.dataset(load)  # 2. load once per node
    run.track(weights=weights, velocity=velocity)  # 3. what is kept safe

    gradients = run.gradients(weights)  # arrays of zeros, where they can be sent from
    for batch in run.batches(len(images), epochs=options.epochs, steps=options.steps):  # 4.
        for gradient in gradients.values():
            gradient[...] = 0.0
        loss = 0.0
        for part in batch:  # the indices of this rank's samples; perhaps none
            loss += add_gradients(gradients, images[part] / 255, labels[part])
        run.average(gradients, loss)  # 5. from sums over samples to the mean over the batch
        # From here on every rank does the same with the same numbers. The steps get
        # smaller from epoch to epoch, so that the last ones settle.
        rate = options.learning_rate * (1 - (batch.epoch - 1) / options.epochs)
        for name, gradient in gradients.items():
            velocity[name] *= MOMENTUM
            velocity[name] -= rate * gradient
            weights[name] += velocity[name]
        time.sleep(options.pause_s)

    # --- What came of it -----------------------------------------------------------------

    _, probabilities = forward(test_images / 255)
    accuracy = (probabilities.argmax(axis=1) == test_labels).mean()
    run.say(f"test accuracy {accuracy:.2%} on {len(test_labels)} digits never seen in training")
    run.report(test_accuracy=accuracy)
    train.draw_loss_curve(run, title=f"digits: {run.world_size} ranks, {accuracy:.1%} correct")
