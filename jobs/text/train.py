"""Learn to write like Python's manual, character by character, with a small transformer.

Read it from top to bottom: that is the order in which it runs. The model is the one of
GPT, made small; the five lines that make it a distributed program are numbered.
"""

import argparse
import math
import time
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from beowulf import train

# --- What may be changed from outside ---------------------------------------------------

parser = argparse.ArgumentParser(description="Train a small transformer on Python's manual.")
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--global-batch", type=int, default=32, help="samples per step, all ranks")
parser.add_argument("--context", type=int, default=64, help="characters the model looks back on")
parser.add_argument("--layers", type=int, default=4)
parser.add_argument("--heads", type=int, default=4)
parser.add_argument("--width", type=int, default=128, help="numbers per character, in each layer")
parser.add_argument("--learning-rate", type=float, default=2e-3)
parser.add_argument("--warm-up", type=int, default=100, help="steps until the full learning rate")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--shares", help="how to split each batch by hand, such as 5:2:1:0")
parser.add_argument("--micro-batch", type=int, help="the most samples one rank takes in one go")
parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="besides each minute")
parser.add_argument("--pause-s", type=float, default=0.0, help="wait in each step, to watch it")
parser.add_argument("--sample", type=int, default=600, help="characters to write at the end")
options = parser.parse_args()


# --- The data: what Python's help() says about the language --------------------------------


def read_text() -> tuple[str, str]:
    """Return the text to learn from and the text held out to test with.

    The same paragraphs stand under several topics. Each is kept once: what is held out
    must not have been seen in training.
    """
    paragraphs = list(dict.fromkeys("\n\n".join(topics.values()).split("\n\n")))
    held_out = paragraphs[9::10]
    training = [paragraph for i, paragraph in enumerate(paragraphs) if i % 10 != 9]
    return "\n\n".join(training), "\n\n".join(held_out)


def entropy_bits(text: str) -> float:
    """Return the bits per character that it costs to know how frequent each one is, no more."""
    _, counts = np.unique(list(text), return_counts=True)
    frequency = counts / counts.sum()
    return float(-(frequency * np.log2(frequency)).sum())


# --- The model: a transformer that predicts each next character ---------------------------
#
# It has no dropout. Dropout draws a random mask for each sample, and which rank draws
# which mask would depend on how the batch is split: the result would no longer be the
# same on any number of ranks. A model this small has no need of it.


class Block(nn.Module):
    """One layer: every character looks at those before it, then thinks by itself."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.before_thought = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)
        for into_the_sum in (self.mix, self.narrow):  # many layers add up: start each small
            nn.init.normal_(into_the_sum.weight, std=0.02 / math.sqrt(2 * layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the characters, shape (samples, length, width), have become."""
        samples, length, width = x.shape
        parts = self.query_key_value(self.before_attention(x)).split(width, dim=2)
        query, key, value = (
            part.view(samples, length, self.heads, -1).transpose(1, 2) for part in parts
        )
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(samples, length, width))
        return x + self.narrow(functional.gelu(self.widen(self.before_thought(x))))


class Transformer(nn.Module):
    """From character codes, shape (samples, length), to scores for each next character."""

    def __init__(self, characters: int, context: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.character = nn.Embedding(characters, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[Block(width, heads, layers) for _ in range(layers)])
        self.before_scores = nn.LayerNorm(width)
        nn.init.normal_(self.character.weight, std=0.02)
        nn.init.normal_(self.position.weight, std=0.02)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Return one score for each character that may come next, at every place."""
        x = self.character(codes) + self.position.weight[: codes.shape[1]]
        x = self.before_scores(self.blocks(x))
        return x @ self.character.weight.T  # what reads characters also writes them


def bits(model: nn.Module, codes: torch.Tensor) -> torch.Tensor:
    """Return the bits per character that the model needs for each sample, summed over samples.

    Each row of ``codes`` is one sample: a character and, after it, those to predict.
    """
    scores = model(codes[:, :-1])
    nats = functional.cross_entropy(scores.flatten(0, 1), codes[:, 1:].flatten(), reduction="sum")
    return nats / math.log(2) / (codes.shape[1] - 1)


@torch.no_grad()
def write(model: nn.Module, start: str, alphabet: str) -> str:
    """Let the model write on from ``start``, one character after the other."""
    chance = torch.Generator().manual_seed(options.seed)
    codes = [alphabet.index(character) for character in start]
    for _ in range(options.sample):
        scores = model(torch.tensor([codes[-options.context :]]))[0, -1]
        likely = torch.softmax(scores / 0.8, dim=0)  # below 1: rather the likely ones
        codes.append(int(torch.multinomial(likely, 1, generator=chance)))
    return "".join(alphabet[code] for code in codes)


# --- The training -------------------------------------------------------------------------

with train.Run(  # 1. open a run
    global_batch=options.global_batch,
    seed=options.seed,
    shares=options.shares,
    micro_batch=options.micro_batch,
    checkpoint_every_steps=options.checkpoint_every,
) as run:
    # Rank 0's text counts: another version of Python on another node has another manual.
    training_text, held_out_text = run.comm.bcast(read_text() if run.rank == 0 else None)
    alphabet = "".join(sorted(set(training_text + held_out_text)))

    def load() -> tuple[np.ndarray, np.ndarray]:
        """Return the training and the held-out text as codes: positions in the alphabet."""
        code = {character: number for number, character in enumerate(alphabet)}
        texts = (training_text, held_out_text)
        return tuple(np.array([code[c] for c in text], dtype=np.int64) for text in texts)

    training, held_out = run.dataset(load)  # 2. load once per node
    # A sample is a stretch of text and may start anywhere; these see all of them at once.
    stretch = options.context + 1
    samples = np.lib.stride_tricks.sliding_window_view(training, stretch)
    tests = np.lib.stride_tricks.sliding_window_view(held_out, stretch)[:: options.context]

    torch.manual_seed(options.seed)
    model = Transformer(
        len(alphabet), options.context, options.layers, options.heads, options.width
    )
    # The order in which numbers are added up changes their last bits, so every split of the
    # batch has rounding noise of its own. Adam could make it grow, since it divides each
    # gradient by that gradient's usual size. Two things keep it as small as it is, which
    # is a few 1e-7 of the loss after 200 steps. The learning rate warms up: with five
    # times this rate and no warm-up the training jumps about, and the losses of 1 and of 3
    # ranks differ by a per cent after 200 steps. And eps, which is added to the usual size,
    # lies far below the gradients that matter (1e-5 to 1e-2 here) and far above mere noise
    # (1e-10), so that a gradient that is nothing but noise does not make a full step.
    optimizer = torch.optim.AdamW(
        model.parameters(), options.learning_rate, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1
    )
    run.track(model=model, optimizer=optimizer)  # 3. what is kept safe

    parameters = sum(parameter.numel() for parameter in model.parameters())
    run.say(f"{len(training):,} characters to learn from, {parameters:,} parameters")
    for batch in run.batches(len(samples), steps=options.steps):  # 4. take batches from it
        optimizer.zero_grad()
        loss = 0.0
        for part in batch:  # the indices of this rank's samples; perhaps none
            some = bits(model, torch.from_numpy(samples[part]))
            some.backward()
            loss += some.item()
        run.average(model, loss)  # 5. from sums over samples to the mean over the batch
        # Up in a straight line, then down along a cosine to a tenth.
        up = min(1.0, batch.step / options.warm_up)
        down = 0.55 + 0.45 * math.cos(math.pi * batch.step / options.steps)
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * up * down
        optimizer.step()
        time.sleep(options.pause_s)

    # --- What came of it ---------------------------------------------------------------------

    # Each rank tests on its part of the held-out text; the sum is everybody's.
    with torch.no_grad():
        mine = torch.from_numpy(tests[run.rank :: run.world_size].copy())
        total = sum(bits(model, some).item() for some in mine.split(64))
    tested = run.comm.allreduce(total) / len(tests)
    unigram = entropy_bits(training_text)
    run.say(f"{tested:.3f} bits per character of text never seen, {unigram:.3f} from letter counts")
    run.report(bits_per_character=tested, unigram_bits_per_character=unigram)
    if run.rank == 0:
        text = write(model, "\n\n", alphabet)
        (run.directory / "sample.txt").write_text(text.strip() + "\n")
        print(f"\nWhat it writes by itself:\n{text.rstrip()}\n", flush=True)
    train.draw_loss_curve(
        run,
        title=f"text: {run.world_size} ranks, {tested:.2f} bits per character of unseen text",
        unit="bits per character",
        levels={"letter counts": unigram, "held-out text at the end": tested},
    )
