"""The tree of layers: nested scopes, in the order of the layers."""

from ckpttool.reporting.scopes import Scope, tree


def lines(scope: Scope, level: int = 0) -> list[str]:
    own = [f"{'  ' * level}{scope.name}{'' if scope.layer is None else ' *'}"] if scope.name else []
    return own + [line for each in scope.inside.values() for line in lines(each, level + bool(scope.name))]


def test_scopes_are_in_scopes_and_those_with_one_in_them_are_left_out() -> None:
    names = ["net/stem/conv", "net/block/a", "net/block/a/norm", "net/block/b", "top"]
    assert lines(tree([{"name": name} for name in names])) == [
        "net",
        "  net/stem/conv *",
        "  net/block",
        "    net/block/a *",
        "      net/block/a/norm *",
        "    net/block/b *",
        "top *",
    ]


def test_names_of_pytorch_are_scopes_at_their_dots() -> None:
    names = ["features.0", "features.3", "classifier"]
    assert lines(tree([{"name": name} for name in names])) == [
        "features",
        "  features.0 *",
        "  features.3 *",
        "classifier *",
    ]


def test_a_layer_in_very_many_scopes() -> None:
    scope = tree([{"name": "a/" * 5000 + name} for name in ("x", "y")])
    while len(scope.inside) == 1:
        (scope,) = scope.inside.values()
    assert [each.layer for each in scope.inside.values()] == [{"name": "a/" * 5000 + name} for name in ("x", "y")]
