"""Reads the tensors of a PyTorch weight file of before version 1.6, with numpy alone.

Such a file is a row of pickles (a magic number, a protocol version, notes about the machine, the named
tensors, the keys of their storages), then the storages themselves, each as its length and its values.
The pickles may name nothing but what is listed here, so a file cannot run code.
"""

import collections
import pickle

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class Tensor:
    """A view of a storage: its place, shape and strides, in values."""

    def __init__(self, storage, offset, shape, strides, *_):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self, storages):
        values = storages[self.storage[0]]
        size = values.itemsize
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        if min(self.offset, *self.strides, 0) < 0 or last >= len(values):
            raise SystemExit("a tensor reaches beyond its storage")
        strides = [s * size for s in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


class Unpickler(pickle.Unpickler):
    """Knows the handful of names that weights need, and refuses all others."""

    KNOWN = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor"): Tensor,
        ("torch._utils", "_rebuild_tensor_v2"): Tensor,
        **{("torch", name): name for name in STORAGES},
    }

    def find_class(self, module, name):
        if (module, name) not in self.KNOWN:
            raise SystemExit(f"the weight file names {module}.{name}, which weights do not need")
        return self.KNOWN[module, name]

    def persistent_load(self, reference):
        kind, storage, key, _device, length, view = reference
        if kind != "storage" or view is not None:
            raise SystemExit("the weight file refers to something else than whole storages")
        return key, storage, length


def tensors(path):
    """The arrays of a weight file by name, in the file's order."""
    with open(path, "rb") as file:
        load = lambda: Unpickler(file).load()
        if load() != MAGIC:
            raise SystemExit(f"{path} is no PyTorch weight file of the old kind")
        _protocol, _machine, named, keys = load(), load(), load(), load()
        kinds = {tensor.storage[0]: STORAGES[tensor.storage[1]] for tensor in named.values()}
        storages = {}
        for key in keys:
            kind = np.dtype(kinds[key])
            length = int(np.frombuffer(file.read(8), "<i8")[0])
            storages[key] = np.frombuffer(file.read(length * kind.itemsize), kind)
        return {name: tensor.array(storages) for name, tensor in named.items()}
