"""Files of Keras 1 and 2 are read, and said not to be written. The names of their weights are in test_keras_names."""

import h5py
import numpy as np
import pytest
from conformance import FormatTests, tensors_of

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.hdf5.writer import write_tree


class TestKerasLegacy(FormatTests):
    name = "keras-legacy"
    suffix = ".h5"

    def save(self, tensors, path, overwrite):
        """Write a layer per name, `a/b` with the weight `b`, and one of no layer as Keras 3 writes it."""
        layers, attributes = {}, {}
        for name, tensor in tensors.items():
            layer, _, weight = name.rpartition("/")
            layer = layer or "top_level_model_weights"
            layers[f"{layer}/{weight}"] = tensor
            attributes.setdefault(layer, {"weight_names": []})["weight_names"].append(weight.encode())
        named = [layer.encode() for layer in attributes if layer != "top_level_model_weights"]
        with path.open("w+b") as file:
            write_tree(file, layers, {"": {"layer_names": np.array(named, "S")}, **attributes})

    test_the_suffix_decides_what_is_written = test_names_are_not_files = None
    test_an_existing_output_is_refused_and_kept = test_overwriting_leaves_only_the_new_one = None
    test_it_can_be_written_over_itself = test_a_failure_while_writing_leaves_the_old_one_and_no_litter = None
    test_a_tensor_that_gives_too_few_bytes_is_refused = test_resources_are_refused = None
    test_a_folder_that_is_not_there_is_said = None

    def test_a_damaged_tensor_does_not_hide_the_others(self, path):
        """Only where another program asked for a checksum has HDF5 one."""
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"layer"]
            file.create_group("layer").attrs["weight_names"] = [b"a", b"b"]
            for name, value in (("a", 7.0), ("b", 9.0)):
                file.create_dataset(f"layer/{name}", data=np.full(8, value), fletcher32=True)
        path.write_bytes(path.read_bytes().replace(np.full(8, 9.0).tobytes(), np.full(8, 8.0).tobytes()))
        problems = {item.name: item.problem for item in self.format.verify(path)}
        assert [name for name, problem in problems.items() if problem] == ["layer/b"]
        with pytest.raises(CorruptCheckpoint, match="b is damaged"):
            self.format.open(path)["layer/b"].read()

    def test_it_is_not_written(self, path):
        with pytest.raises(FormatError, match=r"read, not written; .* \.weights\.h5 .* \.h5 a tree of datasets"):
            checkpoint.save(tensors_of(a=np.zeros(3)), path, format="keras-legacy")
        assert not path.exists()

    def test_an_output_of_its_suffix_is_a_tree(self, tmp_path, path):
        self.save(tensors_of(**{"hidden1/kernel": np.ones(3)}), path, False)
        checkpoint.save(checkpoint.open(path), tmp_path / "tree.h5")
        assert checkpoint.open(tmp_path / "tree.h5").format == "hdf5"
        assert list(checkpoint.open(tmp_path / "tree.h5")) == ["hidden1/kernel"]
