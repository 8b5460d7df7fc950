"""The mirror of a search in Optuna's own storage, written by its API: `OUT.optuna.db`, which optuna-dashboard opens.

A configuration is an Optuna trial. Its intermediate values are the mean accuracies after each block, its value is that
of all blocks; if it is given up it is pruned, if it diverged it has failed. Each number of rows has its own study.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, Self

from ckpttool.core.errors import CkptError, FormatError, MissingDependency
from ckpttool.searching.configurations import Block, Configuration, Outcome, Outcomes
from ckpttool.searching.recommendation import Recommendation
from ckpttool.searching.trackers import Tracked

SUFFIX = ".optuna.db"
WAIT = 30
"""The seconds for which another process, such as a dashboard, may lock the file."""
QUESTION = "question"


class OptunaMirror:
    """A mirror of studies in an Optuna database; a context manager that closes it."""

    def __init__(self, output: Path) -> None:
        """Open or create the database beside an output.

        Raises:
            MissingDependency: Optuna is not installed.
            CkptError: the file is not an Optuna database, or cannot be written.
        """
        try:
            import optuna
        except ImportError as error:
            raise MissingDependency("`tracker` optuna needs Optuna: pip install 'ckpttool[optuna]'") from error
        from sqlalchemy import URL

        self._optuna, self.path = optuna, Path(f"{output}{SUFFIX}")
        url = URL.create("sqlite", database=str(self.path)).render_as_string()
        try:
            with self._told():
                self._storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": WAIT}})
        except RuntimeError as error:  # the tables are of another version
            raise FormatError(f"{self.path}: {error}") from None
        self._study: Any = None
        self._blocks: Sequence[Block] = ()
        self._depths = 0
        self._numbers: dict[Configuration, int] = {}

    def begin(self, search: Tracked, known: Outcomes) -> None:
        """Start a study; an existing one is resumed, unless it contains other outcomes than those known.

        Raises:
            CkptError: the database cannot be written.
        """
        self._blocks, self._depths = search.blocks, search.depths
        question = {key: str(value) for key, value in search.question.items()}
        with self._told():
            self._study = self._opened(search.name)
            there = {_configuration(trial): trial for trial in self._study.get_trials(deepcopy=False)}
            asked = self._study.user_attrs.get(QUESTION, question)
            if asked != question or any(_steps(each) > self._judged(known.get(one, {})) for one, each in there.items()):
                self._optuna.delete_study(study_name=search.name, storage=self._storage)
                self._study, there = self._opened(search.name), {}
            self._study.set_user_attr(QUESTION, question)
        self._numbers = {one: trial.number for one, trial in there.items()}
        for configuration, outcomes in known.items():
            self.follow(configuration, outcomes)

    def follow(self, configuration: Configuration, known: Mapping[Block, Outcome]) -> None:
        """Report the blocks that a configuration's Optuna trial lacks, and end the trial if it is finished.

        Raises:
            CkptError: the database cannot be written.
        """
        with self._told():
            there = self._trial(configuration)
            if not there.state.is_finished():
                self._report(there, known)

    def end(self, found: Recommendation | None) -> None:
        """Store the recommendation and the reason.

        Raises:
            CkptError: the database cannot be written.
        """
        with self._told():
            chosen = found.configuration if found else None
            self._study.set_user_attr("recommended", "nothing" if chosen is None else str(chosen))
            self._study.set_user_attr("why", found.why if found else "no configuration was evaluated")

    def close(self) -> None:
        """Close the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def __enter__(self) -> Self:
        """Return the open mirror."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _opened(self, name: str) -> Any:
        return self._optuna.create_study(
            storage=self._storage, study_name=name, direction="maximize", load_if_exists=True
        )

    def _trial(self, configuration: Configuration) -> Any:
        """Return the Optuna trial of a configuration from the database; it is started if there is none."""
        if configuration not in self._numbers:
            whole = self._optuna.distributions.IntDistribution(0, self._depths)
            params = {"keep": configuration.keep, "freeze": configuration.freeze}
            state, distributions = self._optuna.trial.TrialState.RUNNING, dict.fromkeys(params, whole)
            self._study.add_trial(self._optuna.create_trial(state=state, params=params, distributions=distributions))
            self._numbers[configuration] = len(self._study.get_trials(deepcopy=False)) - 1
        return self._study.get_trials(deepcopy=False)[self._numbers[configuration]]

    def _report(self, there: Any, known: Mapping[Block, Outcome]) -> None:
        """Report the means after the blocks that a trial lacks, and end it according to its last block."""
        trial, states = self._optuna.trial.Trial(self._study, there._trial_id), self._optuna.trial.TrialState
        accuracies: list[float] = []
        outcomes = [known[block] for block in self._blocks if block in known]
        for step, outcome in enumerate(outcomes, start=1):
            accuracies.append(outcome.accuracy or 0.0)
            if outcome.state == "done" and step > _steps(there):
                trial.report(fmean(accuracies), step)
        last = outcomes[-1]
        trial.set_user_attr("seconds", sum(outcome.seconds for outcome in outcomes))
        if last.state != "done":
            trial.set_user_attr("reason", last.reason)
            self._study.tell(there.number, state=states.PRUNED if last.state == "stopped" else states.FAIL)
        elif len(outcomes) == len(self._blocks):
            self._study.tell(there.number, fmean(accuracies))

    def _judged(self, known: Mapping[Block, Outcome]) -> int:
        """Return the number of blocks with evaluated outcomes."""
        return sum(block in known and known[block].state == "done" for block in self._blocks)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Convert errors of Optuna about its database to one line, and suppress its own messages.

        Raises:
            CkptError: Optuna raised an error.
        """
        from sqlalchemy.exc import SQLAlchemyError

        logging = self._optuna.logging
        before = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        try:
            yield
        except (SQLAlchemyError, self._optuna.exceptions.StorageInternalError) as error:
            cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
            raise CkptError(f"{self.path}: cannot be written as a database of Optuna's: {cause}") from None
        finally:
            logging.set_verbosity(before)


def _configuration(trial: Any) -> Configuration:
    return Configuration(trial.params["keep"], trial.params["freeze"])


def _steps(trial: Any) -> int:
    return len(trial.intermediate_values)
