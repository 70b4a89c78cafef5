"""Be one node's agent of torchrun, whose arguments it takes."""

import without_libuv  # noqa: F401 - for what it changes in PyTorch
from torch.distributed.run import main

main()
