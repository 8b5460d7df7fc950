"""The pages: their examples run, their links have targets, every command and every public name is on one of them."""

import doctest
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

import ckpttool
from ckpttool.cli import BESIDE, COMMANDS, main
from ckpttool.cli.commands.zoo import SUBCOMMANDS
from ckpttool.runtime.configure import keras as keras_on_tensorflow
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.schedules import Schedule

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "fixtures" / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "trust" / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
CHAPTER = runpy.run_path(str(ROOT / "benchmarks" / "chapter11.py"))
"""The benchmark that reads its commands from a page."""
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def yours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Readers' own files: a Keras image model, a folder of images for each class, a PyTorch file."""
    folder = tmp_path_factory.mktemp("yours")
    keras = keras_on_tensorflow()
    keras.utils.set_random_seed(1)
    layers = keras.layers
    trunk = [layers.Conv2D(8, 3, activation="relu", name="conv1"), layers.MaxPooling2D(name="pool1")]
    trunk += [layers.Conv2D(16, 3, activation="relu", name="conv2"), layers.GlobalAveragePooling2D(name="pooling")]
    keras.Sequential([keras.Input((32, 32, 3), name="photo"), *trunk, layers.Dense(10, name="classes")]).save(
        folder / "base.keras"
    )
    draw = np.random.default_rng(0)
    for channel, name in enumerate(("daisy", "rose", "tulip")):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = draw.integers(0, 90, (40, 48, 3))
            pixels[..., channel] += 140
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{number:03}.jpg")
    shutil.copy(ROOT / "fixtures" / "torch" / "state_dict.pt", folder / "pytorch_model.bin")
    return folder


@pytest.fixture
def folder(tmp_path: Path, yours: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the fixtures and readers' own files, with its own cache, and tables as in a terminal."""
    for pattern in ("my_model_final.ckpt*", "mnist_small.npz", "plan.toml", "zero_to_four.ckpt*", "five_to_nine.npz"):
        for path in (ROOT / "fixtures").glob(pattern):
            shutil.copy(path, tmp_path)
    shutil.copytree(yours, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "CKPTTOOL_ZOO"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name, value in (("CKPTTOOL_TABLE", "1"), ("COLUMNS", "116")):
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("page", "least"), [("python.md", 40), ("references.md", 10)])
def test_the_examples_of_a_page_run(page: str, least: int) -> None:
    result = doctest.testfile(str(ROOT / "docs" / page), module_relative=False)
    assert result.failed == 0
    assert result.attempted > least


def has_option(name: str, option: str) -> bool:
    command = main.get_command(click.Context(main), name)
    return command is not None and option in {each.name for each in command.params}


def test_every_command_has_a_section_and_a_place_in_the_readme() -> None:
    assert re.findall(r"^## ckpttool (\S+)$", text_of(ROOT / "docs" / "cli.md"), re.MULTILINE) == list(COMMANDS)
    assert [name for name in COMMANDS if f"ckpttool {name} " not in text_of(ROOT / "README.md")] == []


def test_the_security_of_every_command_is_stated() -> None:
    table = text_of(ROOT / "SECURITY.md").partition("## What is checked")[0]
    names = [*COMMANDS, *(f"zoo {name}" for name in SUBCOMMANDS)]
    assert [name for name in names if f"`{name}`" not in table and name != "zoo"] == []


def test_the_commands_that_read_hdf5_in_a_sandbox_are_named() -> None:
    sentence = re.search(r"On Linux, (.*?) read them in such a sandbox", text_of(ROOT / "SECURITY.md"), re.DOTALL)
    assert sentence
    assert set(re.findall(r"`(\S+?)`", sentence[1])) == {name for name in COMMANDS if has_option(name, "in_process")}


def test_the_commands_that_run_a_graph_in_a_sandbox_are_named() -> None:
    row = re.search(r"^\| (.*?) \| run a graph with TensorFlow", text_of(ROOT / "SECURITY.md"), re.MULTILINE)
    assert row
    running = [*(name for name in COMMANDS if has_option(name, "trust")), "zoo suggest"]
    assert set(re.findall(r"`([a-z][^`]*)`", row[1])) == set(running)


def test_every_public_name_is_on_a_page() -> None:
    text = "".join(map(text_of, PAGES))
    assert [name for name in ckpttool.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_the_commands_of_the_readme_are_understood(folder: Path) -> None:
    """Every option there is one of the command's; the commands are not run."""
    (folder / "tuned.ckpt.run.json").write_text(
        '{"model": "new.ckpt", "data": {"path": "x.npz", "fingerprint": {}}, "options": {}}'
    )
    commands = [words for words in CHAPTER["commands_of"](ROOT / "README.md") if words[0] == "ckpttool"]
    assert len(commands) > 15
    for _, name, *arguments in commands:
        if arguments[:1] and arguments[0] in BESIDE.get(name, {}):
            name, arguments = f"{name} {arguments[0]}", arguments[1:]  # noqa: PLW2901
        command = main.get_command(click.Context(main), name)
        assert command is not None, name
        if "|" not in arguments:
            words = [word.removeprefix("zoo:") for word in arguments if word not in {"||", "&&"}]  # no entry is there
            command.make_context(name, words)


def run(program: str, *arguments: str, exit_code: int = 0) -> str:
    """Run a command of a page, ours in this process (TensorFlow is imported once), and return its output."""
    if program == "ckpttool":
        result = CliRunner().invoke(main, arguments)
        code, printed = result.exit_code, result.output + (repr(result.exception) if result.exception else "")
    else:
        python = sys.executable if program == "python" else program
        done = subprocess.run([python, *arguments], capture_output=True, text=True, check=False)
        code, printed = done.returncode, done.stdout + done.stderr
    assert code == exit_code, f"{program} {' '.join(arguments)}\n{printed}"
    return "\n".join(line.rstrip() for line in printed.splitlines())


YOURS = re.compile(r"photos|(photos|flowers|weights|bert|graph|pytorch_model|imported)\..*|(hf|keras):.*|--resume")
"""Files that do not exist for the README, and commands that only resume an interrupted run."""


QUICKER = {
    "finetune": ("--epochs", "1"),
    "search": ("--on", "here", "--keep", "4", "--freeze", "3", "--folds", "2", "--epochs", "1"),
    "lr-find": ("--steps", "20"),
    "pretrain": ("--epochs", "1"),
}
"""Additional options of the commands: they must run here, but need not learn."""


def test_the_commands_of_the_readme_run_in_a_row(folder: Path) -> None:
    with np.load(ROOT / "fixtures" / "mnist_small.npz") as arrays:
        np.savez(folder / "mnist_small.npz", **{name: array[: len(array) // 4] for name, array in arrays.items()})
    ran = set()
    for words in CHAPTER["commands_of"](ROOT / "README.md"):
        made_here = words[-1] == "weights.safetensors"
        if words[0] == "ckpttool" and (made_here or not any(map(YOURS.fullmatch, words))):
            as_it_is = {"--stages", "--config", "--quick"} & set(words)
            run(
                *words,
                *(() if as_it_is else QUICKER.get(words[1], ())),
                exit_code=words[1] == "diff" and "--patch" not in words,
            )
            ran.add(words[1])
    assert COMMANDS.keys() - ran == {"import", "export"}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("network", "preprocessed"),
    [
        ("base.keras --after pooling", "resize(32, 32); scale(1/255)"),
        pytest.param(
            "\"keras:MobileNetV2(alpha=0.35, input_shape=32, weights='none')\"",
            "resize(32, 32); keras(tf)",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["own", "architecture"],
)
def test_five_commands_make_a_served_model_of_a_readers_own_images(network: str, preprocessed: str) -> None:
    """The README's commands, on a small model, or on its architecture with random weights."""
    (block,) = re.findall(r"<!-- five: .*? -->\n```sh\n(.*?)```", text_of(ROOT / "README.md"), re.DOTALL)
    small = block.replace("keras:MobileNetV2", network).replace("resize(224, 224); keras(tf)", preprocessed)
    assert network in small and preprocessed in small
    commands = list(CHAPTER["commands_in"](small))
    printed = [run(*words) for words in commands]
    assert len(commands) == 5
    assert "3 classes: daisy, rose, tulip" in run("ckpttool", "layers", "served")
    assert re.search(r"^rose +\d+ +\d+ +\d+$", printed[2], re.MULTILINE)
    assert len(Path("predictions.csv").read_text().splitlines()) == 61
    image = np.asarray(Image.open("photos/rose/000.jpg"))
    served = tf.saved_model.load("served").signatures["serving_default"]
    (scores,) = served(**{name: tf.constant(image[None]) for name in served.structured_input_signature[1]}).values()
    assert scores.shape == (1, 3)


LONG = {"chapter11", "slim", "photos"}
"""Pages that train for long: they run in `make trust`; the commands are tested elsewhere in `make check`."""
PRINTED = [
    (CHAPTER["PAGE"], 31),
    (ROOT / "docs" / "surgery.md", 12),
    (ROOT / "docs" / "merging.md", 15),
    (ROOT / "docs" / "zoo.md", 25),
    (ROOT / "docs" / "surgery-alternatives.md", 12),
    *((page, 2) for folder in ("tutorials", "coming-from") for page in sorted((ROOT / "docs" / folder).glob("*.md"))),
]
"""Pages whose commands run, after their Python examples if there are any, and the least number of commands."""


DIFFERING = [
    ["ckpttool", "diff", "zoo:digits@1", "zoo:digits@2"],
    ["ckpttool", "diff", "base.safetensors", "adapted.safetensors"],
    ["ckpttool", "diff", "base.safetensors", "head.safetensors"],
    ["ckpttool", "diff", "base.safetensors", "tuned1.safetensors", "--spectra"],
]
"""Commands of these pages that exit with 1."""


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("page", "least"),
    [
        pytest.param(page, least, id=page.stem, marks=pytest.mark.slow if page.stem in LONG else ())
        for page, least in PRINTED
    ],
)
def test_a_page_runs_as_it_is_and_prints_what_is_shown(page: Path, least: int) -> None:
    assert doctest.testfile(str(page), module_relative=False).failed == 0
    printed, count = "", 0
    for kind, block in BLOCK.findall(text_of(page).rpartition("<!-- end of tables -->")[2]):
        if kind == "text":
            assert DATE.sub("then", block.rstrip()) in DATE.sub("then", printed)
        else:
            commands = list(CHAPTER["commands_in"](block))
            printed = "\n".join(run(*words, exit_code=words in DIFFERING) for words in commands)
            count += len(commands)
    assert count >= least


MESSAGES = re.findall(
    r"^### ([^\n]+)\n\n```sh\n(.*?)^```\n\n```text\n(.*?)^```",
    text_of(ROOT / "docs" / "troubleshooting.md"),
    re.DOTALL | re.MULTILINE,
)
"""Each message on the troubleshooting page: its heading, the commands that cause it, and its text."""


@pytest.mark.parametrize(("heading", "block", "message"), MESSAGES, ids=[heading for heading, _, _ in MESSAGES])
def test_a_message_of_the_troubleshooting_page_is_the_real_one(
    heading: str, block: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(folder / "keras"))  # without weights
    *before, failing = block.strip().splitlines()
    for command in before:
        subprocess.run(command, shell=True, check=True)
    result = CliRunner().invoke(main, shlex.split(failing)[1:])
    assert result.exit_code in {1, 2}
    printed = " ".join(result.output.split())  # a table wraps lines
    assert " ".join(message.split()) in printed
    assert heading.replace("`", "") in printed.replace("`", "")


def test_the_optimizers_and_schedules_that_the_chapter_names_are_known() -> None:
    named = re.findall(r"`--(optimizer|schedule) '?([^`']+)'?`", text_of(CHAPTER["PAGE"]))
    assert len(named) > 8
    for option, call in named:
        (Optimizer if option == "optimizer" else Schedule).read(call, option)


@pytest.mark.parametrize("table", CHAPTER["TABLES"], ids=lambda table: table.name)
def test_a_table_of_the_chapter_is_made_by_the_commands_of_the_page(table: Any) -> None:
    made = CHAPTER["leading_to"](table.model, CHAPTER["commands_of"](CHAPTER["PAGE"]))
    assert [words[1] for words in made if words[1] == "finetune"] == ["finetune"]
    shown = f"{table.name:<46}  {table.model:<19}  {table.chapter:7.4f}"
    assert sum(line.startswith(shown) for line in text_of(ROOT / "docs" / "chapter11.txt").splitlines()) == 1


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(text_of(page)) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_files_that_the_design_names_are_there() -> None:
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text_of(ROOT / "docs" / "design.md")))
    files = [
        f"/{path.relative_to(ROOT)}"
        for folder in ("ckpttool", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(named) > 50
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in files)] == []


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_commands_of_the_page_on_reuse_are_understood() -> None:
    """They run for an hour in `make reuse`; here every option is checked, and each table has its search."""
    made = outputs_of_commands("how-much-to-reuse.md")
    figures = json.loads(text_of(ROOT / "docs" / "how-much-to-reuse.json"))
    assert figures.keys() <= {output.stem for output in made}
    assert [point["rows"] for point in figures["judged"]] == [25, 100, 500, 2000]


def test_the_page_on_few_labels_has_all_ways_at_all_numbers() -> None:
    assert outputs_of_commands("few-labels.md") == [Path(f"{name}.ckpt") for name in ("denoising", "few", "tuned")]
    figures = json.loads(text_of(ROOT / "docs" / "few-labels.json"))["MNIST"]
    for task in figures.values():
        for way in task["ways"]:
            assert [point["labels"] for point in way["points"]] == [50, 100, 300, 1000, 10_000], way["name"]
            assert {point["seeds"] for point in way["points"]} == {10}, way["name"]


def outputs_of_commands(page_name: str) -> list[Path]:
    """Return the outputs that a page's commands would write; each of their options is one of the command's."""
    page = text_of(ROOT / "docs" / page_name)
    made = []
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for _, name, *arguments in CHAPTER["commands_in"](block):
            command = main.get_command(click.Context(main), name)
            assert command is not None, name
            made.append(command.make_context(name, arguments).params["output"])
    return made
