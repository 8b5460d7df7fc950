"""Calls: a class per name, its fields the parameters, its checks the error messages."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from ckpttool.core.calls import Call, above_zero, below_one, from_to, not_negative, require
from ckpttool.core.errors import CkptError, PlanError, UnknownName


@dataclass(frozen=True)
class Coat(Call):
    noun, example = "coat", "fur(long)"


@dataclass(frozen=True)
class Fur(Coat):
    name = "fur"
    length: Literal["long", "short"] = "long"


@dataclass(frozen=True)
class Bare(Coat):
    name = "bare"


@dataclass(frozen=True)
class Animal(Call):
    noun, example = "animal", "tom = cat(9)"

    @classmethod
    def problem_of_name(cls, name: str) -> str | None:
        return "a name is short" if len(name) > 8 else None


@dataclass(frozen=True)
class Cat(Animal):
    """A cat, of some lives. It falls on its feet."""

    name = "cat"
    lives: int
    speed: float = 1.5
    tame: bool = True
    coat: Coat = Fur()
    colour: Annotated[str, ("black", "white")] = "black"
    stripes: tuple[float, ...] = ()
    size: tuple[int, int] = (3, 2)
    owner: str | None = None

    def __post_init__(self) -> None:
        above_zero("lives", self.lives)
        from_to("speed", self.speed, 0, 40)
        if self.owner and not self.tame:
            raise PlanError("who is owned is tame")


@dataclass(frozen=True)
class Dog(Animal):
    name = "dog"


def test_the_classes_below_a_family_are_known_by_name() -> None:
    assert Animal.known() == {"cat": Cat, "dog": Dog}
    assert Coat.known() == {"fur": Fur, "bare": Bare}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat(9)", Cat(9)),
        ("cat(lives=7, speed=2)", Cat(7, 2.0)),
        ("cat(7, 2, False, bare)", Cat(7, 2.0, False, Bare())),
        ("cat(7, coat=fur('short'))", Cat(7, coat=Fur("short"))),
        ("cat(7, colour=white, stripes=[1, 0.5])", Cat(7, colour="white", stripes=(1.0, 0.5))),
        ("cat(7, size=(4, 5), owner=me)", Cat(7, size=(4, 5), owner="me")),
        ("cat(7, size=4, owner=None)", Cat(7, size=(4, 4))),
        ("dog", Dog()),
        ("dog()", Dog()),
    ],
)
def test_a_value_is_read_as_its_type_says_and_written_back(text: str, expected: Animal) -> None:
    assert Animal.read(text, "pet") == expected
    assert Animal.read(str(expected), "pet") == expected


def test_several_calls_may_have_names() -> None:
    assert Animal.read_all("tom = cat(9); dog()\n  cat(7)", "pets") == [("tom", Cat(9)), (None, Dog()), (None, Cat(7))]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("cta(9)", UnknownName, "no animal cta; known: cat, dog; nearest: cat"),
        (
            "cat(9, spede=1)",
            UnknownName,
            "pet, line 1, column 8, at 'spede=1': cat has no argument 'spede'",
        ),
        ("cat(speed=2)", PlanError, "cat needs lives"),
        ("cat(9, lives=9)", PlanError, "cat is given lives twice"),
        ("cat(2.5)", PlanError, "at '2.5': expected a whole number"),
        ("cat(9, x)", PlanError, "at 'x': expected a number"),
        ("cat(9, tame=1)", PlanError, "expected True or False"),
        ("cat(9, coat=fir)", UnknownName, "at 'fir': no coat fir; known: fur, bare; nearest: fur"),
        ("cat(9, coat=fur(shrot))", UnknownName, "at 'shrot': no length shrot; nearest: short"),
        ("cat(9, colour=red)", UnknownName, "at 'red': no colour red; there are black, white"),
        ("cat(9, stripes=2)", PlanError, "expected a list of numbers such as [1, 0.5]"),
        ("cat(9, size=(1, 2, 3))", PlanError, "at '(1, 2, 3)': expected a number"),
        ("cat(0)", PlanError, "pet cat: lives must be a number above 0, found 0"),
        ("cat(9, 41.0)", PlanError, "pet cat: speed must be a number from 0 to 40, found 41"),
        ("cat(9, tame=False, owner=me)", PlanError, "pet cat: who is owned is tame"),
        ("cat(9); dog()", PlanError, "pet 'cat(9); dog()': expected one animal such as tom = cat(9)"),
        ("tom = cat(9)", PlanError, "pet 'tom = cat(9)': expected one animal"),
    ],
)
def test_what_one_call_cannot_be_is_told(text: str, error: type[CkptError], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Animal.read(text, "pet")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", PlanError, "pets: expected an animal such as tom = cat(9)"),
        ("dog", PlanError, "pets, line 1, column 1, at 'dog': expected a call such as cat(9)"),
        (
            "dog(); cta()",
            UnknownName,
            "line 1, column 8, at 'cta()': no animal cta; known: cat, dog; nearest: cat",
        ),
        (
            "dog()\n cat(lives=0)",
            PlanError,
            "line 2, column 12, at '0': cat: lives must be a number above 0, found 0",
        ),
        ("a = dog(); a = dog()", PlanError, "column 12, at 'a': two animals are named 'a'"),
        ("montgomery = dog()", PlanError, "column 1, at 'montgomery': a name is short"),
    ],
)
def test_what_several_calls_cannot_be_is_told_with_its_place(text: str, error: type[CkptError], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Animal.read_all(text, "pets")


def test_help_comes_from_the_class() -> None:
    call = "cat(lives, speed=1.5, tame=True, coat=fur, colour=black, stripes=[], size=(3, 2), owner=None)"
    assert Cat.describe() == (call, "A cat, of some lives.")


@pytest.mark.parametrize("check", [above_zero, not_negative, below_one])
def test_checks_let_through_what_may_be_left_out(check: Any) -> None:
    check("rate", None)
    check("rate", 0.5)
    for value in (-1.0, float("nan")):
        with pytest.raises(PlanError, match=r"rate must be .*, found"):
            check("rate", value)
    require("rate", None, False, "anything")
