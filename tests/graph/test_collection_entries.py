"""Entries of collections that are not valid messages: a one-line error in every command."""

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.collection_entries import entry_of


def test_an_entry_is_read_or_refused():
    assert entry_of(VariableDef, VariableDef(variable_name="x:0").SerializeToString()).variable_name == "x:0"
    with pytest.raises(GraphError, match="an entry that is not a VariableDef: it is damaged"):
        entry_of(VariableDef, b"\xff\xff\xff")
