"""Learn to read handwritten digits with PyTorch's own DistributedDataParallel.

Nothing here is beowulf's: the script runs under torchrun as well. Beowulf starts the ranks,
on this computer or on a cluster, and sets what torch.distributed looks for. Read it from top
to bottom: that is the order in which it runs. What makes it distributed is numbered.
"""

import argparse

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

parser = argparse.ArgumentParser(description="Train a small network with PyTorch's DDP.")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--global-batch", type=int, default=64, help="samples per step, all ranks")
parser.add_argument("--learning-rate", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

TEST_SAMPLES = 360

# 1. The ranks meet. Where, and who is who, is in MASTER_ADDR, MASTER_PORT, RANK and
#    WORLD_SIZE; gloo is the backend for computers without graphics cards.
dist.init_process_group("gloo")
rank, world_size = dist.get_rank(), dist.get_world_size()

# --- The data: 1797 images of 8 x 8 pixels, kept by scikit-learn ------------------------------

pixels, digits = load_digits(return_X_y=True)
images = torch.tensor(pixels / 16, dtype=torch.float32)
labels = torch.tensor(digits)
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
test, training = order[:TEST_SAMPLES], order[TEST_SAMPLES:]

# 2. Each rank reads its own part of the samples, and takes its part of each batch.
dataset = TensorDataset(images[training], labels[training])
sampler = DistributedSampler(dataset, shuffle=True, seed=options.seed)
batches = DataLoader(
    dataset, batch_size=max(1, options.global_batch // world_size), sampler=sampler
)

# --- The model ----------------------------------------------------------------------------

torch.manual_seed(options.seed)
network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
# 3. From here on, every backward pass averages the gradients over the ranks.
model = DistributedDataParallel(network)
optimizer = torch.optim.SGD(model.parameters(), lr=options.learning_rate, momentum=0.9)
criterion = nn.CrossEntropyLoss()

# --- The training ---------------------------------------------------------------------------

for epoch in range(1, options.epochs + 1):
    sampler.set_epoch(epoch)  # another order in each epoch, the same on all ranks
    total = torch.zeros(1)
    for batch_images, batch_labels in batches:
        optimizer.zero_grad()
        loss = criterion(model(batch_images), batch_labels)
        loss.backward()
        optimizer.step()
        total += loss.detach()
    # 4. Each rank knows the loss of its own samples only: add them up.
    dist.all_reduce(total)
    if rank == 0:
        mean = total.item() / (len(batches) * world_size)
        print(f"epoch {epoch} of {options.epochs}: loss {mean:.4f}")

# --- What came of it --------------------------------------------------------------------------

if rank == 0:
    with torch.no_grad():
        right = (network(images[test]).argmax(dim=1) == labels[test]).float().mean().item()
    print(f"{world_size} ranks, test accuracy {right:.2%} on {len(test)} digits")
dist.destroy_process_group()
