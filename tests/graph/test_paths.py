import pytest

from ckpttool.core.errors import MissingFile
from ckpttool.graph.files import load
from ckpttool.graph.paths import find


@pytest.mark.parametrize(
    "name", ["model.ckpt", "model.ckpt.meta", "model.ckpt.index", "model.ckpt.data-00000-of-00001"]
)
def test_every_path_of_a_checkpoint_means_its_meta(chapter, name):
    chapter.with_name("model.ckpt.index").touch()

    assert find(chapter.with_name(name)) == chapter
    assert load(chapter.with_name(name)).source == str(chapter)


def test_a_prefix_that_ends_in_a_slash_means_a_meta_without_a_name(chapter, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".meta").write_bytes(chapter.read_bytes())

    assert find(folder) == folder / ".meta"


def test_nothing_there(tmp_path):
    with pytest.raises(MissingFile, match=r"none: no graph found: neither a file, .* nor none\.meta"):
        load(tmp_path / "none")
    for name in ("model_final.ckpt.meta", "model_final.keras", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(MissingFile, match=r"nor model_final\.meta; nearest: model_final\.ckpt, model_final\.keras$"):
        load(tmp_path / "model_final")
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "b.meta").touch()
    with pytest.raises(MissingFile, match=r"a folder without saved_model\.pb; it has b\.meta: specify one"):
        load(tmp_path)
