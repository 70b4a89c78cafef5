"""Take the state of a run apart into plain arrays and JSON, and put it back together.

What may be tracked: NumPy arrays, ``numpy.random.Generator``, anything with
``state_dict`` and ``load_state_dict`` (PyTorch modules, optimizers, schedulers), and
dicts and lists of these and of numbers and strings. Nothing is pickled, so a
checkpoint can hold nothing that runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.errors import CheckpointError, TrainingError

if TYPE_CHECKING:
    from mpi4py import MPI
    from numpy.typing import NDArray

OWN = "beowulf."  # begins names of what a run adds to what the script tracks
PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class PackedState:
    """A state as a JSON tree with references into a list of arrays."""

    tree: Any
    arrays: list[NDArray[Any]] = field(default_factory=list)


def pack(tracked: dict[str, Any]) -> PackedState:
    """Take the tracked objects apart. Arrays are not copied: use the result at once.

    Raises:
        TrainingError: There is something in it that cannot be saved.
    """
    arrays: list[NDArray[Any]] = []
    return PackedState(_pack(tracked, arrays, "track"), arrays)


def _pack(value: Any, arrays: list[NDArray[Any]], where: str) -> Any:  # noqa: PLR0911 - a kind each
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return {"$array": _add(arrays, value)}
    if isinstance(value, np.random.Generator):
        return {"$generator": _pack(value.bit_generator.state, arrays, where)}
    if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
        return {"$state": _pack(value.state_dict(), arrays, where)}
    if _is_tensor(value):
        return _pack_tensor(value, arrays)
    if isinstance(value, dict):
        items = [
            [_pack(k, arrays, where), _pack(v, arrays, f"{where}.{k}")] for k, v in value.items()
        ]
        return {"$dict": items}
    if isinstance(value, list | tuple):
        kind = "$list" if isinstance(value, list) else "$tuple"
        return {kind: [_pack(item, arrays, f"{where}[{i}]") for i, item in enumerate(value)]}
    raise TrainingError(
        f"{where}: a {type(value).__name__} cannot be saved; track NumPy arrays, random "
        "generators, things with a state_dict, or dicts and lists of them"
    )


def _add(arrays: list[NDArray[Any]], array: NDArray[Any]) -> int:
    arrays.append(array)
    return len(arrays) - 1


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _pack_tensor(tensor: Any, arrays: list[NDArray[Any]]) -> dict[str, Any]:
    """Store a tensor as its bytes, since NumPy does not know all of PyTorch's types."""
    import torch  # noqa: PLC0415 - optional extra; here it is imported already

    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    name = str(tensor.dtype).removeprefix("torch.")
    return {"$tensor": _add(arrays, flat.numpy()), "type": name, "shape": list(tensor.shape)}


def copied(packed: PackedState) -> PackedState:
    """Return a packed state that keeps as it is whatever becomes of what was packed."""
    return PackedState(packed.tree, [array.copy() for array in packed.arrays])


def restore(tracked: dict[str, Any], packed: PackedState, optional: str | None = None) -> None:
    """Put a packed state into the tracked objects, in place.

    Names that begin with ``optional`` are set if both sides have them, and else passed over.

    Raises:
        CheckpointError: The state belongs to other objects (names or shapes differ).
    """
    saved = _unpack(packed.tree, packed.arrays)
    if optional is not None:
        passed_over = {name for name in {*saved} ^ {*tracked} if name.startswith(optional)}
        saved = {name: value for name, value in saved.items() if name not in passed_over}
        tracked = {name: value for name, value in tracked.items() if name not in passed_over}
    if set(saved) != set(tracked):
        raise CheckpointError(
            f"the checkpoint holds {sorted(saved)}, but this script tracks {sorted(tracked)}"
        )
    for name, target in tracked.items():
        _restore_into(target, saved[name], name)


def _restore_into(target: Any, saved: Any, where: str) -> None:
    if isinstance(target, np.ndarray):
        _restore_array(target, saved, where)
    elif isinstance(target, np.random.Generator):
        _restore_generator(target, saved, where)
    elif hasattr(target, "load_state_dict"):
        try:
            target.load_state_dict(saved)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{where}: the checkpoint does not fit: {error}") from error
    elif isinstance(target, dict | list):
        _restore_container(target, saved, where)
    else:
        raise TrainingError(
            f"track: {where} is a {type(target).__name__}, which cannot be changed in place; "
            "put it in a dict"
        )


def _restore_array(target: NDArray[Any], saved: Any, where: str) -> None:
    wanted = f"{target.dtype}{list(target.shape)}"
    if not isinstance(saved, np.ndarray):
        raise CheckpointError(
            f"{where}: the checkpoint holds a {_kind(saved)}, the script {wanted}"
        )
    if saved.shape != target.shape or saved.dtype != target.dtype:
        held = f"{saved.dtype}{list(saved.shape)}"
        raise CheckpointError(f"{where}: the checkpoint holds {held}, the script {wanted}")
    target[...] = saved


def _restore_generator(target: np.random.Generator, saved: Any, where: str) -> None:
    wanted = type(target.bit_generator).__name__
    held = saved.get("bit_generator") if isinstance(saved, dict) else _kind(saved)
    if held != wanted:
        raise CheckpointError(f"{where}: the checkpoint holds {held}, the script a {wanted}")
    target.bit_generator.state = saved


def _restore_container(target: Any, saved: Any, where: str) -> None:
    if not isinstance(saved, dict | list | tuple):
        raise CheckpointError(
            f"{where}: the checkpoint holds {_kind(saved)}, not a {_kind(target)}"
        )
    keys = list(target) if isinstance(target, dict) else list(range(len(target)))
    saved_keys = list(saved) if isinstance(saved, dict) else list(range(len(saved)))
    if set(keys) != set(saved_keys):
        raise CheckpointError(f"{where}: the checkpoint holds {saved_keys}, the script {keys}")
    for key in keys:
        name = f"{where}[{key!r}]"
        if not isinstance(target[key], (np.generic, *PLAIN)):
            _restore_into(target[key], saved[key], name)
        elif isinstance(saved[key], PLAIN):
            target[key] = saved[key]
        else:
            raise CheckpointError(f"{name}: the checkpoint holds {_kind(saved[key])}, not a value")


def _kind(value: object) -> str:
    return type(value).__name__


def _unpack(node: Any, arrays: list[NDArray[Any]]) -> Any:
    """Return the value of a tree, with arrays and tensors in their places."""
    if not isinstance(node, dict):
        return node
    if "$tensor" in node:
        return _unpack_tensor(node, arrays)
    ((kind, content),) = node.items()
    if kind == "$array":
        return arrays[content]
    if kind in ("$generator", "$state"):
        return _unpack(content, arrays)
    if kind == "$dict":
        return {_unpack(k, arrays): _unpack(v, arrays) for k, v in content}
    items = [_unpack(item, arrays) for item in content]
    return items if kind == "$list" else tuple(items)


def _unpack_tensor(node: dict[str, Any], arrays: list[NDArray[Any]]) -> Any:
    import torch  # noqa: PLC0415 - optional extra; the script that saved tensors has it

    flat = torch.from_numpy(arrays[node["$tensor"]].copy())
    dtype = getattr(torch, node["type"])
    if flat.numel() == 0:  # nothing to look at in another way
        return torch.empty(node["shape"], dtype=dtype)
    return flat.view(dtype).reshape(node["shape"])


def broadcast(comm: MPI.Intracomm, packed: PackedState | None, root: int = 0) -> PackedState:
    """Send one rank's state to every rank. Collective: a missing rank leaves the others waiting."""
    outline = None
    if packed is not None:
        outline = (packed.tree, [(array.dtype, array.shape) for array in packed.arrays])
    tree, kinds = comm.bcast(outline, root)
    arrays = []
    for index, (dtype, shape) in enumerate(kinds):
        array = (
            np.ascontiguousarray(packed.arrays[index]).reshape(shape)
            if packed is not None
            else np.empty(shape, dtype)
        )
        comm.Bcast(array.reshape(-1).view(np.uint8), root)
        arrays.append(array)
    return PackedState(tree, arrays)
