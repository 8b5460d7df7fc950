"""Sparse copies of remote files: each range is fetched once, and no more than is needed."""

import gc
import io
import os
from typing import Any

import pytest

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.remote import servers, sparse_files, web
from ckpttool.remote.paths import path_of
from ckpttool.remote.servers import RemoteFile
from ckpttool.remote.sparse_files import Ranges, SparseFile

CONTENT = bytes(range(200))


@pytest.mark.parametrize(
    ("added", "joined"),
    [
        ([(0, 10), (20, 30)], [(0, 10), (20, 30)]),
        ([(20, 30), (0, 10)], [(0, 10), (20, 30)]),
        ([(0, 10), (10, 20)], [(0, 20)]),
        ([(10, 20), (0, 10)], [(0, 20)]),
        ([(0, 10), (20, 30), (5, 25)], [(0, 30)]),
        ([(0, 30), (10, 20)], [(0, 30)]),
        ([(10, 20), (0, 30)], [(0, 30)]),
        ([(0, 10), (20, 30), (40, 50), (10, 20)], [(0, 30), (40, 50)]),
    ],
)
def test_ranges_that_touch_are_one(added, joined):
    ranges = Ranges()
    for each in added:
        ranges.add(*each)
    assert [(start, stop) for start, stop in joined if ranges.behind(stop) == stop - start] == joined
    gaps = [(end, begin) for (_, end), (begin, _) in zip([(0, 0), *joined], [*joined, (100, 100)], strict=True)]
    assert ranges.missing(0, 100) == [gap for gap in gaps if gap[0] < gap[1]]


@pytest.mark.parametrize(
    ("asked", "gaps"),
    [
        ((0, 5), [(0, 5)]),
        ((0, 10), [(0, 10)]),
        ((0, 15), [(0, 10)]),
        ((10, 20), []),
        ((12, 18), []),
        ((15, 30), [(20, 30)]),
        ((20, 30), [(20, 30)]),
        ((15, 45), [(20, 40)]),
        ((0, 60), [(0, 10), (20, 40), (50, 60)]),
        ((50, 60), [(50, 60)]),
        ((5, 5), []),
    ],
)
def test_what_is_missing_between_two_ranges(asked, gaps):
    ranges = Ranges()
    ranges.add(10, 20)
    ranges.add(40, 50)
    assert ranges.missing(*asked) == gaps
    assert [ranges.behind(place) for place in (20, 50, 19, 0)] == [10, 10, 0, 0]


class Fetched(list[tuple[int, int]]):
    """The ranges that a stand-in for a web server was asked for; it may refuse those that are not the whole."""

    refuses: Exception | None = None

    def fetch(self, url: str, file: RemoteFile, start: int, stop: int, take: Any) -> None:
        self.append((start, stop))
        if self.refuses and (start, stop) != (0, file.size):
            raise CkptError(f"{url}: no") from self.refuses
        for at in range(start, stop, 7):
            take(at, CONTENT[at : min(at + 7, stop)])


@pytest.fixture
def fetched(monkeypatch) -> Fetched:
    found = Fetched()
    monkeypatch.setattr(web, "fetch", found.fetch)
    return found


def file(mark: str | None = '"1"') -> SparseFile:
    return SparseFile("https://host/x.npz", RemoteFile(len(CONTENT), mark, "ETag"))


def test_a_range_is_fetched_once_and_never_beyond_the_file(fetched):
    sparse = file()
    for start, size in ((20, 10), (20, 10), (22, 3), (15, 20), (190, 100), (200, 5), (50, 0)):
        sparse.need(start, size)
    assert fetched == [(20, 30), (15, 20), (30, 35), (190, 200)]
    descriptor = sparse.fileno()
    assert os.pread(descriptor, 20, 15) == CONTENT[15:35]
    os.close(descriptor)


def test_a_copy_is_closed_with_its_last_reference():
    sparse = file()
    descriptor = sparse._descriptor
    os.fstat(descriptor)
    del sparse
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_who_reads_on_is_given_twice_as_much_and_not_over_the_limit(fetched, monkeypatch):
    sparse = file()
    for start in (10, 20, 40):
        sparse.need(start, 10)
    assert fetched == [(10, 20), (20, 30), (40, 50)]
    fetched.clear()
    sparse.need(30, 1)
    assert fetched == [(30, 40)]  # what is behind is 20 long, but beyond 40 all is there
    sparse.need(50, 1)
    assert fetched[1:] == [(50, 90)]
    monkeypatch.setattr(sparse_files, "AHEAD", 15)
    sparse.need(90, 1)
    assert fetched[2:] == [(90, 105)]
    sparse.need(105, 30)
    assert fetched[3:] == [(105, 135)]
    monkeypatch.setattr(sparse_files, "AHEAD", 1000)
    sparse.need(135, 1)
    assert fetched[4:] == [(135, 200)]


@pytest.mark.parametrize(("whole", "ranges"), [(200, [(0, 200)]), (199, [(20, 30), (50, 60)])])
def test_a_small_file_of_no_known_version_is_fetched_whole(fetched, monkeypatch, whole, ranges):
    monkeypatch.setattr(sparse_files, "WHOLE", whole)
    sparse = file(None)
    sparse.need(20, 10)
    sparse.need(50, 10)
    assert fetched == ranges


def test_a_server_without_ranges_gives_a_small_file_whole_and_a_large_one_not(fetched, monkeypatch):
    fetched.refuses = ValueError("the server does not answer range requests")
    monkeypatch.setattr(sparse_files, "WHOLE", 200)
    sparse = file()
    sparse.need(20, 10)
    sparse.need(50, 10)
    assert fetched == [(20, 30), (0, 200)]
    monkeypatch.setattr(sparse_files, "WHOLE", 199)
    with pytest.raises(CkptError):
        file().need(20, 10)
    monkeypatch.setattr(sparse_files, "WHOLE", 200)
    for other in (ValueError("something else"), OSError("range requests")):
        fetched.refuses = other
        with pytest.raises(CkptError):
            file().need(20, 10)
    assert fetched[2:] == [(20, 30)] * 3


class Piecewise(io.BytesIO):
    """A file of fsspec, which may give less than asked for, and counts how often it is."""

    most, asked = 1000, 0

    def read(self, size: int | None = -1) -> bytes:
        self.asked += 1
        return super().read(min(self.most, size or 0))


def test_other_servers_are_asked_in_steps_and_must_give_all(monkeypatch):
    source = Piecewise(CONTENT)
    monkeypatch.setattr(servers, "opened", lambda url, size: source)
    monkeypatch.setattr(sparse_files, "STEP", 30)
    sparse = SparseFile("gs://bucket/x.npz", RemoteFile(len(CONTENT), None))
    with sparse.stream() as stream:
        stream.seek(10)
        assert stream.read(70) == CONTENT[10:80]
    source.most = 20
    with pytest.raises(CorruptCheckpoint, match=r"gs://bucket/x\.npz: the server gave 20 bytes at 100, not 30"):
        sparse.need(100, 50)
    source.most, source.asked = 30, 0
    for _ in range(2):
        sparse.need(100, 50)
    assert source.asked == 2


def test_a_file_of_the_same_version_keeps_what_was_fetched(fetched, monkeypatch):
    path = path_of("https://host/kept/x.npz")
    remote = RemoteFile(len(CONTENT), '"1"', "ETag")
    known = sparse_files.put(path, remote)
    assert path.exists()
    assert sparse_files.at(path) is sparse_files.put(path, remote) is known
    for other in (RemoteFile(len(CONTENT), '"2"', "ETag"), RemoteFile(100, '"2"', "ETag"), RemoteFile(100, None)):
        assert sparse_files.put(path, other) is not known
        known = sparse_files.put(path, other)
    assert sparse_files.put(path, RemoteFile(100, None)) is not known  # of no known version


def test_a_file_that_is_gone_is_not_there_any_more(monkeypatch, tmp_path):
    path, said = path_of("https://host/gone/x.npz"), [RemoteFile(3, '"1"'), None, None]
    monkeypatch.setattr(web, "metadata", lambda url: said.pop(0))
    assert sparse_files.is_there(path)
    assert sparse_files.size_of(path) == 3
    assert sparse_files.refreshed(path) is None
    assert not path.exists()
    assert not sparse_files.is_there(path)
    (tmp_path / "x").write_bytes(b"1234")
    assert sparse_files.is_there(tmp_path / "x")
    assert sparse_files.size_of(tmp_path / "x") == 4
    assert sparse_files.readable(tmp_path / "x") == tmp_path / "x"
    assert not sparse_files.is_there(tmp_path / "y")


def test_a_file_that_is_read_whole_has_a_limit(fetched, monkeypatch):
    path = path_of("https://host/whole/x.meta?key=secret")
    monkeypatch.setattr(web, "metadata", lambda url: RemoteFile(len(CONTENT), '"1"'))
    monkeypatch.setattr(sparse_files, "READ_LIMIT", 200)
    assert sparse_files.read_bytes(path) == CONTENT
    assert fetched == [(0, 200)]
    opened = sparse_files.readable(path)
    assert isinstance(opened, io.BufferedReader)
    opened.close()
    monkeypatch.setattr(sparse_files, "READ_LIMIT", 199)
    with pytest.raises(CkptError, match=r"https://host/whole/x\.meta has 200 bytes, at most 199 are read"):
        sparse_files.read_bytes(path)
