"""Messages in text form: what protobuf would take long to parse is rejected at once."""

import pytest
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from ckpttool.formats.wire.protos.graph_pb2 import GraphDef
from ckpttool.formats.wire.text_messages import parsed


def test_a_text_is_read_as_protobuf_reads_it():
    text = b'node {\n  name: "a\\134\\\\b"   # a comment\n' + b"\n" * 100 + b"  op: 'Const'\n}"
    assert parsed(text, GraphDef()) == text_format.Parse(text.decode(), GraphDef())


@pytest.mark.parametrize("run", [b" " * 70_000, b"\\" * 2_000], ids=["blanks", "backslashes"])
def test_runs_that_cost_more_than_they_say_are_refused(run):
    with pytest.raises(DecodeError, match="blanks or backslashes in a row"):
        parsed(b"node { name: '" + run + b"' }", GraphDef())


def test_texts_of_many_short_runs_are_looked_through_once():
    with pytest.raises(DecodeError):
        parsed((b" " * 65_000 + b"?") * 100, GraphDef())
