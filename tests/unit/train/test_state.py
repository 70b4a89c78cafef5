"""A run's state comes back as it was, into the same objects, and never into others."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from beowulf.errors import CheckpointError, TrainingError
from beowulf.train.checkpoints import Checkpoint, CheckpointStore
from beowulf.train.state import PackedState, pack, restore

if TYPE_CHECKING:
    from pathlib import Path


def stored(state: PackedState, directory: Path) -> PackedState:
    """Write a state to the disk and read it back."""
    store = CheckpointStore(directory / "checkpoints")
    store.save(Checkpoint(1, {}, state))
    loaded = store.load()
    assert loaded.checkpoint is not None, loaded.rejected
    return loaded.checkpoint.state


# --- NumPy --------------------------------------------------------------------------------

DTYPES = (
    np_st.scalar_dtypes()
    | np_st.array_dtypes(allow_subarrays=False)
    | np_st.byte_string_dtypes()
    | np_st.unicode_string_dtypes()
)
# NumPy tells that field names beyond ASCII need a newer reader, which every NumPy here is.
pytestmark = pytest.mark.filterwarnings("ignore:Stored array in format 3.0:UserWarning")
ARRAYS = np_st.arrays(DTYPES, np_st.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4))


@given(ARRAYS)
def test_any_array_comes_back_bit_for_bit(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    packed = stored(pack({"it": array}), tmp_path)
    assert packed.arrays[0].tobytes() == array.tobytes()
    target = np.zeros_like(array)
    restore({"it": target}, packed)
    assert target.dtype == array.dtype
    assert target.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.zeros((0, 4)),
        np.arange(24).reshape(4, 6)[::2, ::3],
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(12.0).reshape(3, 4).T,
        np.broadcast_to(np.arange(3.0), (4, 3)),
        np.arange(5, dtype=">i4"),
        np.array([np.nan, np.inf, -0.0], np.float16),
        np.array([True, False]),
        np.array(["café", ""], dtype="U5"),
        np.array([1 + 2j]),
        np.array(["2026-01-01"], dtype="datetime64[D]"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_every_kind(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    target = np.zeros_like(array, subok=False).copy()
    restore({"it": target}, stored(pack({"it": array}), tmp_path))
    assert target.dtype == array.dtype
    assert target.tobytes() == array.tobytes()


def test_arrays_are_restored_in_place(tmp_path: Path) -> None:
    weights = np.arange(6.0).reshape(2, 3)
    packed = stored(pack({"weights": weights}), tmp_path)
    view, part = weights, weights[1]
    weights[...] = 0
    restore({"weights": weights}, packed)
    assert view is weights
    assert part.tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "Philox", "SFC64", "MT19937"])
def test_a_generator_goes_on_with_the_same_numbers(tmp_path: Path, kind: str) -> None:
    rng = np.random.Generator(getattr(np.random, kind)(7))
    rng.normal(size=5)
    rng.integers(0, 10, dtype=np.int32)  # half a 64-bit number is left over
    packed = stored(pack({"rng": rng}), tmp_path)
    expected = rng.integers(0, 2**31, size=100, dtype=np.int32).tolist()
    other = np.random.Generator(getattr(np.random, kind)(99))
    restore({"rng": other}, packed)
    assert other.integers(0, 2**31, size=100, dtype=np.int32).tolist() == expected


# --- Containers ---------------------------------------------------------------------------

KEYS = st.text(max_size=5) | st.integers() | st.booleans() | st.none()
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
)
TREES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=3)
    ),
    max_leaves=8,
)


class Box:
    """Something with a state, as PyTorch's modules and optimizers have one."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def state_dict(self) -> Any:
        return self.content

    def load_state_dict(self, content: Any) -> None:
        self.content = content


@given(TREES)
def test_any_tree_of_plain_values_comes_back_as_it_was(tmp_path: Path, tree: Any) -> None:
    packed = stored(pack({"box": Box(tree)}), tmp_path)
    box = Box(None)
    restore({"box": box}, packed)
    assert box.content == tree
    assert repr(box.content) == repr(tree)  # 1 and True, 0.0 and -0.0, lists and tuples


def test_a_tree_with_arrays_and_generators_in_it(tmp_path: Path) -> None:
    tree = {"layers": [np.arange(3.0), (np.array(1), {"deep": np.ones((2, 0))})], 7: "seven"}
    packed = stored(pack({"box": Box(tree)}), tmp_path)
    box = Box(None)
    restore({"box": box}, packed)
    first, (second, third) = box.content["layers"]
    assert first.tolist() == [0.0, 1.0, 2.0]
    assert second.shape == ()
    assert third["deep"].shape == (2, 0)
    assert box.content[7] == "seven"


def test_keys_that_look_like_marks_are_only_keys(tmp_path: Path) -> None:
    tree = {"$array": 0, "$tensor": [1], "$dict": {"$list": []}, "$generator": {"$state": None}}
    box = Box(None)
    restore({"box": box}, stored(pack({"box": Box(tree)}), tmp_path))
    assert box.content == tree


def test_numbers_in_dicts_and_lists_are_put_back(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "rate": 0.5, "best": None, "name": "adam", "flag": True,
        "history": [1.0, 2, "x"], "nested": {"count": 3, "array": np.arange(2)},
        "scalar": np.float32(0.1),
    }  # fmt: skip
    history, nested = state["history"], state["nested"]
    packed = stored(pack({"state": state}), tmp_path)
    state.update(rate=0.0, best=1, name="", flag=False, scalar=np.float32(9))
    history[:] = [0.0, 0, ""]
    nested["count"] = 0
    nested["array"][...] = 0
    restore({"state": state}, packed)
    assert (state["rate"], state["best"], state["name"], state["flag"]) == (0.5, None, "adam", True)
    assert np.float32(state["scalar"]) == np.float32(0.1)
    assert state["history"] is history
    assert history == [1.0, 2, "x"]
    assert nested["count"] == 3
    assert nested["array"].tolist() == [0, 1]


def test_packing_does_not_copy_arrays() -> None:
    weights = np.arange(3.0)
    assert pack({"weights": weights}).arrays[0] is weights


# --- What is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (np.array([None]), "track.it"),
        (np.array([{}], dtype=object), "track.it"),
        (np.zeros(2, dtype=[("a", float), ("b", object)]), "track.it"),
        ({"deep": [1, object()]}, "track.it.deep[1]"),
        ({"call": print}, "track.it.call"),
        (lambda: None, "track.it"),
        (b"bytes", "track.it"),
        (1 + 2j, "track.it"),
        ({1, 2}, "track.it"),
        (Exception("x"), "track.it"),
        (np.datetime64("2026-01-01"), "track.it"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_would_need_pickling_is_refused_by_name(value: object, where: str) -> None:
    with pytest.raises(TrainingError, match="cannot be saved") as refusal:
        pack({"it": value})
    assert str(refusal.value).startswith(f"{where}: a ")


def test_a_packed_tree_is_json_and_arrays_of_numbers() -> None:
    rng = np.random.default_rng(0)
    packed = pack({"a": np.arange(3), "b": [rng, OrderedDict(x=(1, 2.5))], "c": Box({"d": 1})})
    assert json.loads(json.dumps(packed.tree)) == packed.tree
    assert not any(array.dtype.hasobject for array in packed.arrays)


@pytest.mark.parametrize(
    "tracked",
    [
        {"weights": np.zeros(3), "velocity": np.zeros(3)},
        {"weight": np.zeros(3)},
        {},
        {"weights": np.zeros(4)},
        {"weights": np.zeros((3, 1))},
        {"weights": np.array(0.0)},
        {"weights": {"hidden": np.zeros(3)}},
        {"weights": [np.zeros(1)] * 2},
    ],
    ids=lambda tracked: repr(tracked)[:40],
)
def test_a_state_of_other_objects_is_refused(tmp_path: Path, tracked: dict[str, Any]) -> None:
    packed = stored(pack({"weights": np.arange(3.0)}), tmp_path)
    with pytest.raises(CheckpointError):
        restore(tracked, packed)


@pytest.mark.parametrize(
    ("saved", "tracked"),
    [
        (np.random.default_rng(0), np.random.Generator(np.random.MT19937(0))),
        (np.zeros(3), np.random.default_rng(0)),
        ({"a": 5}, {"a": {"b": np.zeros(2)}}),
        ({"a": np.zeros(3)}, {"a": 5}),
        (np.array([1.5, 2.7]), np.zeros(2, int)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_state_of_another_kind_is_refused(saved: object, tracked: object) -> None:
    with pytest.raises(CheckpointError, match=r"^it"):
        restore({"it": tracked}, pack({"it": saved}))


@pytest.mark.parametrize(
    ("tracked", "where"),
    [
        ({"model": {"a": np.zeros(2), "c": np.zeros(2)}}, "model"),
        ({"model": {"a": np.zeros(2)}}, "model"),
        ({"model": {"a": np.zeros(2), "b": np.zeros(3)}}, r"model\['b'\]"),
    ],
)
def test_a_refusal_names_the_object(tmp_path: Path, tracked: dict[str, Any], where: str) -> None:
    packed = stored(pack({"model": {"a": np.ones(2), "b": np.ones(2)}}), tmp_path)
    with pytest.raises(CheckpointError, match=rf"^{where}: the checkpoint holds "):
        restore(tracked, packed)


def test_what_cannot_be_changed_in_place_is_refused() -> None:
    with pytest.raises(TrainingError, match="count is a int, which cannot be changed in place"):
        restore({"count": 3}, pack({"count": 3}))


# --- PyTorch ------------------------------------------------------------------------------

DTYPE_NAMES = [
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "complex64",
]  # fmt: skip


@pytest.mark.torch
class TestTorch:
    """Modules, optimizers and schedulers go on as if nothing had happened."""

    @pytest.fixture(autouse=True)
    def _torch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
        torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra 'torch'")
        torch.set_num_threads(1)  # the models here are too small for more

    @pytest.mark.parametrize("name", DTYPE_NAMES)
    @pytest.mark.parametrize("shape", [(2, 3), ()])
    def test_tensors_of_every_type(self, tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
        import torch

        tensor = (torch.rand(shape) * 100).to(getattr(torch, name))
        box = Box(None)
        restore({"box": box}, stored(pack({"box": Box({"it": tensor})}), tmp_path))
        assert box.content["it"].dtype == tensor.dtype
        assert box.content["it"].shape == tensor.shape
        assert torch.equal(box.content["it"], tensor)

    @pytest.mark.parametrize("name", ["float32", "bfloat16", "int64"])
    def test_an_empty_tensor(self, tmp_path: Path, name: str) -> None:
        import torch

        tensor = torch.empty((0, 4), dtype=getattr(torch, name))
        box = Box(None)
        restore({"box": box}, stored(pack({"box": Box(tensor)}), tmp_path))
        assert box.content.shape == (0, 4)
        assert box.content.dtype == tensor.dtype

    def test_a_tensor_that_is_not_contiguous(self, tmp_path: Path) -> None:
        import torch

        tensor = torch.arange(12.0).reshape(3, 4).T[::2].requires_grad_()
        box = Box(None)
        restore({"box": box}, stored(pack({"box": Box(tensor)}), tmp_path))
        assert torch.equal(box.content, tensor)

    @pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD", "RMSprop"])
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_training_goes_on_with_the_same_numbers(
        self, tmp_path: Path, optimizer: str, dtype: str
    ) -> None:
        tracked = training(1, optimizer, dtype)
        for _ in range(5):
            step(tracked)
        packed = stored(pack(tracked), tmp_path)
        expected = [step(tracked) for _ in range(5)]
        fresh = training(2, optimizer, dtype)
        restore(fresh, packed)
        assert [step(fresh) for _ in range(5)] == expected
        assert fresh["scheduler"].get_last_lr() == tracked["scheduler"].get_last_lr()

    def test_another_module_is_refused(self, tmp_path: Path) -> None:
        import torch

        packed = stored(pack({"model": torch.nn.Linear(3, 2)}), tmp_path)
        for other in (torch.nn.Linear(3, 5), torch.nn.Linear(3, 2, bias=False), torch.nn.ReLU()):
            with pytest.raises(CheckpointError, match=r"^model: the checkpoint does not fit"):
                restore({"model": other}, packed)

    def test_an_optimizer_of_other_parameters_is_refused(self, tmp_path: Path) -> None:
        import torch

        def optimizer(layers: int) -> torch.optim.Optimizer:
            modules = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(layers))
            return torch.optim.Adam(modules.parameters())

        packed = stored(pack({"optimizer": optimizer(1)}), tmp_path)
        with pytest.raises(CheckpointError, match=r"^optimizer: the checkpoint does not fit"):
            restore({"optimizer": optimizer(2)}, packed)


def training(seed: int, optimizer: str, dtype: str) -> dict[str, Any]:
    """Return a small model with all that belongs to it."""
    import torch

    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    ).to(getattr(torch, dtype))
    moving = {"momentum": 0.9} if optimizer in ("SGD", "RMSprop") else {}
    chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01, **moving)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(chosen, T_max=20)
    return {
        "model": model, "optimizer": chosen, "scheduler": scheduler,
        "rng": np.random.default_rng(seed),
    }  # fmt: skip


def step(tracked: dict[str, Any]) -> float:
    """Train one step on random numbers and return the loss."""
    import torch

    model = tracked["model"]
    kind = next(model.parameters()).dtype
    inputs = torch.from_numpy(tracked["rng"].normal(size=(16, 4))).to(kind)
    tracked["optimizer"].zero_grad()
    loss = (model(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
    loss.backward()
    tracked["optimizer"].step()
    tracked["scheduler"].step()
    return float(loss.detach())
