"""Read the handwritten digits of MNIST with a small convolutional network, in PyTorch.

Read it from top to bottom: that is the order in which it runs. The five lines that
make it a distributed program are numbered.
"""

import argparse
import gzip
import math
import struct
import sys
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional

from beowulf import train

# --- What may be changed from outside ---------------------------------------------------

parser = argparse.ArgumentParser(description="Train a small convolutional network on MNIST.")
parser.add_argument("--data", default="~/mnist", help="directory of the four files, on every node")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--steps", type=int, help="stop after so many steps")
parser.add_argument("--global-batch", type=int, default=128, help="samples per step, all ranks")
parser.add_argument("--learning-rate", type=float, default=0.05)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--shares", help="how to split each batch by hand, such as 5:2:1:0")
parser.add_argument("--micro-batch", type=int, help="the most samples one rank takes in one go")
parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="besides each minute")
options = parser.parse_args()


# --- The data: 70,000 images of 28 x 28 pixels, in four files -------------------------------
#
# They are in the IDX format: two bytes of zero, one for the type of the numbers (8: a byte
# each), one for how many dimensions there are; each dimension's size in four bytes, the
# highest first; then the numbers.

FILES = {
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}
SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images and labels, then test images and labels, as bytes."""
    directory = Path(options.data).expanduser()
    paths = {name: find(directory, name) for name in FILES}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        give_up(
            f"{directory.absolute()} lacks {', '.join(missing)}; download them, as .gz or "
            f"unpacked, from {SOURCE} into one directory and name it with --data DIRECTORY"
        )
    images, labels, test_images, test_labels = (
        read_idx(path, FILES[name]) for name, path in paths.items()
    )
    check(images, labels, paths["train-images-idx3-ubyte"], paths["train-labels-idx1-ubyte"])
    check(
        test_images, test_labels, paths["t10k-images-idx3-ubyte"], paths["t10k-labels-idx1-ubyte"]
    )
    return images, labels, test_images, test_labels


def find(directory: Path, name: str) -> Path | None:
    """Return where a file is, as it is or compressed."""
    return next((p for p in (directory / name, directory / f"{name}.gz") if p.is_file()), None)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return the numbers in an IDX file of bytes, in as many dimensions as there should be."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        give_up(f"{path} cannot be read ({error}); download it again")
    magic, header = bytes([0, 0, 8, dimensions]), 4 + 4 * dimensions
    if raw[:4] != magic:
        give_up(
            f"{path} begins with the bytes {raw[:4].hex(' ') or '(none)'}, where an IDX file of "
            f"its kind has {magic.hex(' ')}; download it again"
        )
    shape = struct.unpack(f">{dimensions}I", raw[4:header]) if len(raw) >= header else (0,)
    if len(raw) != header + math.prod(shape):
        give_up(
            f"{path} holds {len(raw)} bytes, where its header promises "
            f"{header + math.prod(shape)}; download it again"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def check(images: np.ndarray, labels: np.ndarray, of_images: Path, of_labels: Path) -> None:
    """Give up unless the images are of 28 x 28 pixels and each has a label from 0 to 9."""
    if len(images) == 0 or images.shape[1:] != (28, 28):
        size = " x ".join(map(str, images.shape))
        give_up(f"{of_images} holds {size} pixels, not some images of 28 x 28; is it MNIST's?")
    if len(images) != len(labels):
        give_up(f"{of_labels} has {len(labels)} labels for {len(images)} images; download both")
    if labels.max() > 9:
        give_up(f"{of_labels} has a label {labels.max()}, not only 0 to 9; is it MNIST's?")


def give_up(why: str) -> NoReturn:
    """End this rank, and with it the job, with one line that says why."""
    sys.exit(f"mnist: {why}")


def as_input(images: np.ndarray) -> torch.Tensor:
    """Return images as the network takes them: shape (samples, 1, 28, 28), about 0 on average."""
    return torch.from_numpy((images.astype(np.float32) / 255 - 0.13) / 0.31).unsqueeze(1)


# --- The model: two convolutions, each followed by a look from further away, 10 classes ------

torch.manual_seed(options.seed)
model = nn.Sequential(
    nn.Conv2d(1, 16, kernel_size=5, padding=2),
    nn.ReLU(),
    nn.MaxPool2d(2),  # 28 x 28 to 14 x 14
    nn.Conv2d(16, 32, kernel_size=5, padding=2),
    nn.ReLU(),
    nn.MaxPool2d(2),  # 7 x 7
    nn.Flatten(),
    nn.Linear(32 * 7 * 7, 10),
)
optimizer = torch.optim.SGD(model.parameters(), options.learning_rate, momentum=0.9)


# --- The picture ------------------------------------------------------------------------------


def draw(images: np.ndarray, labels: np.ndarray, read: np.ndarray, path: Path) -> None:
    """Draw which digit was read as which, and the first thirty that were misread."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, read), 1)
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subfigures(1, 2)

    axes = left.subplots()
    mistakes = counts * (1 - np.eye(10, dtype=int))
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(5, mistakes.max()))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            weight = "normal" if row == column else "bold"
            axes.text(column, row, count, ha="center", va="center", size=9, weight=weight)
    axes.set(xticks=range(10), yticks=range(10), xlabel="read as", ylabel="is")
    wrong = np.flatnonzero(labels != read)
    axes.set_title(f"{len(labels)} digits never seen in training, {len(wrong)} misread")

    right.suptitle("misread: what it is, and what was read" if len(wrong) else "none was misread")
    for place, axes in enumerate(right.subplots(5, 6).flat):
        axes.axis("off")
        if place < len(wrong):
            axes.imshow(images[wrong[place]], cmap="gray_r")
            axes.set_title(f"{labels[wrong[place]]}, not {read[wrong[place]]}", size=9)
    figure.savefig(path, dpi=100)


# --- The training -----------------------------------------------------------------------------

with train.Run(  # 1. open a run
    global_batch=options.global_batch,
    seed=options.seed,
    shares=options.shares,
    micro_batch=options.micro_batch,
    checkpoint_every_steps=options.checkpoint_every,
) as run:
    images, labels, test_images, test_labels = run.dataset(load)  # 2. load once per node
    run.track(model=model, optimizer=optimizer)  # 3. what is kept safe
    run.say(f"{len(images):,} images to learn from, {len(test_images):,} to test with")

    for batch in run.batches(len(images), epochs=options.epochs, steps=options.steps):  # 4.
        optimizer.zero_grad()
        loss = 0.0
        for part in batch:  # the indices of this rank's samples; perhaps none
            scores = model(as_input(images[part]))
            wanted = torch.from_numpy(labels[part]).long()
            some = functional.cross_entropy(scores, wanted, reduction="sum")
            some.backward()  # adds to the gradients of the parts before
            loss += some.item()
        run.average(model, loss)  # 5. from sums over samples to the mean over the batch
        # The steps get smaller from epoch to epoch, so that the last ones settle.
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * (1 - (batch.epoch - 1) / options.epochs)
        optimizer.step()

    # --- What came of it ---------------------------------------------------------------------

    # Each rank reads its part of the test images, and all get to know what was read.
    mine = np.array_split(test_images, run.world_size)[run.rank]
    with torch.no_grad():
        read_by_me = [model(as_input(some)).argmax(1) for some in np.array_split(mine, 20)]
    read = np.concatenate(run.comm.allgather(torch.cat(read_by_me).numpy()))
    accuracy = (read == test_labels).mean()
    run.say(f"test accuracy {accuracy:.2%} on {len(read)} digits never seen in training")
    run.report(test_accuracy=accuracy)
    if run.rank == 0:
        draw(test_images, test_labels, read, run.directory / "misread.png")
    train.draw_loss_curve(run, title=f"mnist: {run.world_size} ranks, {accuracy:.2%} correct")
