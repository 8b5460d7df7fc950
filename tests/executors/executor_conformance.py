"""The contract of every executor; a test class for each provides one as `executor`."""

import threading
from concurrent.futures import wait

import pytest
from factories import Broken, Mistakes, Squares

from ckpttool.core.errors import CkptError, Interrupted, PlanError


class ExecutorTests:
    def test_an_item_is_computed(self, executor):
        assert executor.submit(Squares(), 7).result()[0] == 49

    def test_in_order_results_are_in_the_order_of_the_blocks(self, executor):
        assert [square for square, _ in executor.map_in_order(Squares(), range(20))] == [n * n for n in range(20)]

    def test_of_no_blocks_there_are_no_results(self, executor):
        assert list(executor.map_in_order(Squares(), [])) == []

    def test_blocks_are_taken_as_they_are_needed(self, executor):
        taken = []
        results = executor.map_in_order(Squares(), (taken.append(n) or n for n in range(1000)))
        next(results)
        assert len(taken) <= executor.workers * (1 + executor.ahead)
        results.close()

    def test_a_factory_is_called_once_in_a_worker(self, executor, tmp_path):
        futures = [executor.submit(Squares(tmp_path), n) for n in range(12)]
        wait(futures)
        assert len(list(tmp_path.iterdir())) == len({future.result()[1] for future in futures})

    def test_an_error_of_ours_comes_whole(self, executor):
        error = executor.submit(Mistakes(), "user").exception()
        assert type(error) is PlanError
        assert str(error) == "x.ckpt: w is [3], expected [4]; `shape` helps"
        assert getattr(error, "__notes__", []) == []

    def test_an_error_with_facts_keeps_them(self, executor):
        error = executor.submit(Mistakes(), "signal").exception()
        assert type(error) is Interrupted
        assert (str(error), error.number) == ("stopped", 15)

    def test_a_factory_that_fails_fails_its_items(self, executor):
        for _ in range(2):
            with pytest.raises(PlanError, match="no such model"):
                executor.submit(Broken(), 1).result()
        assert executor.submit(Squares(), 3).result()[0] == 9

    def test_the_first_error_ends_a_map(self, executor):
        with pytest.raises(PlanError):
            list(executor.map_in_order(Mistakes(), ["fine", "user", *["fine"] * 50]))
        assert executor.submit(Mistakes(), "fine").result() == "fine"

    def test_it_is_used_from_several_threads(self, executor):
        found = []

        def ask():
            found.append(list(executor.map_in_order(Mistakes(), "abc")))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [["a", "b", "c"]] * 3


class WorkerTests(ExecutorTests):
    """The contract of those that compute in other processes."""

    def test_a_bug_says_where_it_was(self, executor):
        error = executor.submit(Mistakes(), "bug").exception()
        assert type(error) is KeyError
        assert "factories.py" in error.__notes__[0]

    def test_an_error_that_cannot_be_made_again_is_told(self, executor):
        error = executor.submit(Mistakes(), "odd").exception()
        assert (type(error), str(error)) == (RuntimeError, "Odd: one two")

    def test_what_cannot_be_sent_fails_alone(self, executor):
        with pytest.raises((TypeError, RuntimeError, CkptError), match="lock"):
            executor.submit(Mistakes(), threading.Lock()).result()
        with pytest.raises((TypeError, RuntimeError, CkptError), match="lock"):
            executor.submit(Mistakes(), "lock").result()
        assert executor.submit(Mistakes(), "fine").result() == "fine"

    def test_a_closed_one_takes_no_items(self, executor):
        executor.submit(Squares(), 1).result()
        executor.close()
        with pytest.raises(CkptError, match="closed"):
            executor.submit(Squares(), 1)
        executor.close()
