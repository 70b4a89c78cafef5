"""Learn to read handwritten digits with TensorFlow's MultiWorkerMirroredStrategy.

Nothing here is beowulf's. Beowulf starts the ranks, which TensorFlow calls workers, on this
computer or on a cluster, and tells each in TF_CONFIG where all of them are. Read it from top
to bottom: that is the order in which it runs. What makes it distributed is numbered.
"""

import argparse
import json
import os

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description="Train a small network with TensorFlow.")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--global-batch", type=int, default=64, help="samples per step, all workers")
parser.add_argument("--learning-rate", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

TEST_SAMPLES = 360

# 1. The workers meet, each at its own address in TF_CONFIG. Nothing of TensorFlow comes before.
strategy = tf.distribute.MultiWorkerMirroredStrategy()
workers = strategy.num_replicas_in_sync
is_chief = json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 0

# --- The data: 1797 images of 8 x 8 pixels, kept by scikit-learn ------------------------------

pixels, digits = load_digits(return_X_y=True)
images = (pixels / 16).astype(np.float32)
labels = digits.astype(np.int32)
order = np.random.default_rng(0).permutation(len(images))
test, training = order[:TEST_SAMPLES], order[TEST_SAMPLES:]
steps_per_epoch = len(training) // options.global_batch

# 2. Every worker sees all samples in the same order, and takes each batch's part that is its own.
samples = tf.data.Dataset.from_tensor_slices((images[training], labels[training]))
samples = samples.shuffle(len(training), seed=options.seed).repeat()
samples = samples.batch(options.global_batch, drop_remainder=True)
sharding = tf.data.Options()
sharding.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
batches = iter(strategy.experimental_distribute_dataset(samples.with_options(sharding)))

# --- The model ----------------------------------------------------------------------------

rng = np.random.default_rng(options.seed)
initial = [
    rng.normal(0.0, np.sqrt(2 / 64), (64, 128)),
    np.zeros(128),
    rng.normal(0.0, np.sqrt(1 / 128), (128, 10)),
    np.zeros(10),
]
# 3. Each worker has a copy of the weights, and changes it as all the others do.
with strategy.scope():
    weights = [
        tf.Variable(value.astype(np.float32), aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        for value in initial
    ]


def scores(batch: tf.Tensor) -> tf.Tensor:
    """Return for each image ten numbers, the largest at the digit that it seems to be."""
    hidden = tf.nn.relu(batch @ weights[0] + weights[1])
    return hidden @ weights[2] + weights[3]


def step(batch_images: tf.Tensor, batch_labels: tf.Tensor) -> tf.Tensor:
    """Learn from this worker's part of a batch; return its part of the loss."""
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch_labels, scores(batch_images))
        loss = tf.reduce_sum(losses) / options.global_batch
    # 4. The gradients of all parts are added up.
    gradients = tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM, tape.gradient(loss, weights)
    )
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.assign_sub(options.learning_rate * gradient)
    return loss


@tf.function
def train_step(batch: tuple) -> tf.Tensor:
    """Have all workers learn from one batch; return its mean loss."""
    parts = strategy.run(step, args=batch)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)


# --- The training ---------------------------------------------------------------------------

for epoch in range(1, options.epochs + 1):
    mean = sum(float(train_step(next(batches))) for _ in range(steps_per_epoch)) / steps_per_epoch
    if is_chief:
        print(f"epoch {epoch} of {options.epochs}: loss {mean:.4f}")

# --- What came of it --------------------------------------------------------------------------

if is_chief:
    right = np.mean(np.argmax(scores(tf.constant(images[test])), axis=1) == labels[test])
    print(f"{workers} workers, test accuracy {right:.2%} on {len(test)} digits")
