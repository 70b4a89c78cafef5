"""Keep track of a set of buckets: which are complete, and which have left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from beowulf.train.buckets import BUCKET_BYTES, lay_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from beowulf.train.buckets import Bucket, Outline


class Shipment:
    """The buckets of one set of gradients, which leave in their order.

    A bucket leaves early once all gradients in it are ready and all buckets before it
    have left; the rest leaves at the end. The last one never leaves early: behind its
    gradients is room for what is known only then. Gradients may become ready in several
    threads (PyTorch computes those of each device in one).
    """

    def __init__(
        self,
        outlines: Sequence[Outline],
        *,
        room_behind: int,
        first_index: int = 0,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self.buckets, self.places, self.behind = lay_out(
            outlines, bucket_bytes, room_behind=room_behind, first_index=first_index
        )
        self.first_index = first_index
        self.divides = True  # what comes back is divided where it lies
        bucket_of = {
            id(place): number
            for number, bucket in enumerate(self.buckets)
            for place in bucket.places
        }
        self._bucket_of = [bucket_of[id(place)] for place in self.places]
        self._members = [len(bucket.places) for bucket in self.buckets]
        self._missing = list(self._members)
        self._left = 0
        self._lock = threading.Lock()

    def body(self, bucket: Bucket) -> NDArray[np.floating]:
        """Return the part of a bucket that holds gradients."""
        if self.behind.size and bucket is self.buckets[-1]:
            return bucket.flat[: -self.behind.size]
        return bucket.flat

    @property
    def can_split(self) -> bool:
        """Whether there is more than one bucket, so that some can leave early."""
        return len(self.buckets) > 1

    @property
    def left_early(self) -> int:
        """How many buckets are on their way already."""
        return self._left

    def is_gone(self, index: int) -> bool:
        """Say whether the bucket of this array has left: the array must not change then."""
        return self._bucket_of[index] < self._left

    def ready(self, index: int, send: Callable[[Bucket], None]) -> None:
        """Note that an array is complete, and send what can leave by that."""
        with self._lock:
            self._missing[self._bucket_of[index]] -= 1
            while self._left < len(self.buckets) - 1 and self._missing[self._left] == 0:
                send(self.buckets[self._left])
                self._left += 1

    def not_ready(self, index: int) -> None:
        """Take back that an array is complete. Its bucket has not left yet."""
        with self._lock:
            self._missing[self._bucket_of[index]] += 1

    def forget(self) -> None:
        """Take back what is ready and what has left: the step begins anew."""
        with self._lock:
            self._left = 0
            self._missing[:] = self._members

    def send_rest(self, send: Callable[[Bucket], None]) -> None:
        """Send what has not left yet, and expect the next step's gradients."""
        for bucket in self.buckets[self._left :]:
            send(bucket)
        self.forget()
