"""Have PyTorch's stores be served without libuv, with which Debian's PyTorch was not built.

The variable USE_LIBUV should say so; as of PyTorch 2.6, torchrun's own stores don't heed it.
"""

from typing import Any

import torch.distributed as dist

store: Any = vars(dist)["TCPStore"]
with_libuv = store.__init__


def without_libuv(self: object, *words: Any, **options: Any) -> None:
    """Make a store, whatever was said about libuv."""
    with_libuv(self, *words, **{**options, "use_libuv": False})


store.__init__ = without_libuv
