"""The embedded server's batching: what its parameters mean, and that every request keeps its own answer."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipelines.errors import RequestError
from pipelines.targets.tfserving.embedded.batching import Batcher
from pipelines.targets.tfserving.embedded.batching_parameters import BatchingParameters, read_parameters
from pipelines.targets.tfserving.embedded.status import Code, ServingError


class Doubler:
    """A model that doubles its rows, knows no negative ones, and remembers what it was run with."""

    def __init__(self, delay_s=0.0):
        self.runs, self.delay_s, self.lock = [], delay_s, threading.Lock()

    def __call__(self, feeds):
        with self.lock:
            self.runs.append(feeds["x"].copy())
        time.sleep(self.delay_s)
        if (feeds["x"] < 0).any():
            raise ServingError(Code.INVALID_ARGUMENT, "a negative row")
        return [feeds["x"] * 2]

    @property
    def sizes(self):
        return sorted(len(run) for run in self.runs)


def batcher(**parameters):
    noted = []
    made = Batcher(BatchingParameters(**parameters), lambda rows, waited: noted.append((rows, len(waited))))
    return made, noted


def asked(made, model, arrays, key="m"):
    """Everybody asks at once; answers or errors in the order of `arrays`."""

    def ask(array):
        try:
            return made.run(key, {"x": np.asarray(array, np.float32)}, model)[0].tolist()
        except ServingError as error:
            return error

    with ThreadPoolExecutor(len(arrays)) as pool:
        return list(pool.map(ask, arrays))


def test_requests_that_come_together_run_together_and_keep_their_own_answers():
    made, noted = batcher(max_batch_size=8, batch_timeout_micros=5_000_000, num_batch_threads=1)
    model = Doubler()
    answers = asked(made, model, [[[number]] for number in range(8)])
    assert answers == [[[2 * number]] for number in range(8)]
    assert model.sizes == [8], "a full batch does not wait for its time"
    assert noted == [(8, 8)]


def test_requests_of_several_rows_fill_a_batch_by_rows():
    made, _ = batcher(max_batch_size=6, batch_timeout_micros=5_000_000, num_batch_threads=1)
    model = Doubler()
    rows = [[[number], [number + 0.5], [number + 0.25]] for number in range(4)]
    assert asked(made, model, rows) == [[[2 * value] for (value,) in one] for one in rows]
    assert model.sizes == [6, 6]


@pytest.mark.slow
def test_an_open_batch_waits_for_its_time_and_no_longer():
    made, _ = batcher(max_batch_size=8, batch_timeout_micros=400_000, num_batch_threads=1)
    model, began = Doubler(), time.monotonic()
    assert asked(made, model, [[[1]], [[2]]]) == [[[2]], [[4]]]
    assert 0.39 < time.monotonic() - began < 5
    assert model.sizes == [2]


def test_without_a_timeout_a_free_thread_takes_what_is_there():
    made, _ = batcher(max_batch_size=8, num_batch_threads=1)
    model = Doubler()
    assert made.run("m", {"x": np.float32([[1]])}, model)[0].tolist() == [[2]]
    assert model.sizes == [1]


@pytest.mark.slow
def test_while_a_thread_is_busy_requests_gather():
    made, _ = batcher(max_batch_size=16, num_batch_threads=1)
    model = Doubler(delay_s=0.2)
    assert asked(made, model, [[[number]] for number in range(12)]) == [
        [[2 * number]] for number in range(12)
    ]
    assert len(model.runs) <= 3


@pytest.mark.parametrize("bad", [0, 3, 7])
def test_a_bad_request_has_its_error_alone(bad):
    made, _ = batcher(max_batch_size=8, batch_timeout_micros=5_000_000, num_batch_threads=1)
    model = Doubler()
    answers = asked(made, model, [[[-1 if number == bad else number]] for number in range(8)])
    assert isinstance(answers[bad], ServingError)
    assert answers[bad].message == "a negative row"
    assert [one for place, one in enumerate(answers) if place != bad] == [
        [[2 * number]] for number in range(8) if number != bad
    ]


def test_rows_of_other_shapes_are_batches_of_their_own():
    made, _ = batcher(max_batch_size=2, batch_timeout_micros=5_000_000, num_batch_threads=1)
    model = Doubler()
    assert asked(made, model, [[[1]], [[1, 2]], [[3]], [[3, 4]]]) == [[[2]], [[2, 4]], [[6]], [[6, 8]]]
    assert sorted(run.shape for run in model.runs) == [(2, 1), (2, 2)]


def test_variable_lengths_are_padded_with_their_first_value_where_asked():
    made, _ = batcher(
        max_batch_size=2, batch_timeout_micros=2_000_000, num_batch_threads=1, pad_variable_length_inputs=True
    )
    model = Doubler()
    answers = asked(made, model, [[[5]], [[1, 2, 3]]])
    assert answers == [[[10, 10, 10]], [[2, 4, 6]]]
    assert [run.shape for run in model.runs] == [(2, 3)]


@pytest.mark.slow
def test_a_batch_is_filled_up_to_an_allowed_size_with_its_first_row():
    made, noted = batcher(
        max_batch_size=8, batch_timeout_micros=400_000, num_batch_threads=1, allowed_batch_sizes=(4, 8)
    )
    model = Doubler()
    assert asked(made, model, [[[7], [8]], [[9]]]) == [[[14], [16]], [[18]]]
    assert model.sizes == [4]
    (run,) = model.runs
    assert run[3, 0] == run[0, 0]
    assert noted == [(3, 2)], "padding is no row of anybody"


def test_models_do_not_meet():
    made, _ = batcher(max_batch_size=2, batch_timeout_micros=50_000, num_batch_threads=1)
    first, second = Doubler(), Doubler()
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(made.run, key, {"x": np.float32([[number]])}, model)
            for number, (key, model) in enumerate((("a", first), ("b", second)))
        ]
        assert [job.result()[0].tolist() for job in jobs] == [[[0]], [[2]]]
    assert (first.sizes, second.sizes) == ([1], [1])


@pytest.mark.slow
def test_a_full_queue_refuses_and_says_so():
    made, _ = batcher(max_batch_size=1, num_batch_threads=1, max_enqueued_batches=2)
    answers = asked(made, Doubler(delay_s=0.3), [[[number]] for number in range(8)])
    refused = [one for one in answers if isinstance(one, ServingError)]
    assert {one.code for one in refused} == {Code.UNAVAILABLE}
    assert 3 <= len(refused) <= 6
    assert all("queue" in one.message for one in refused)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({"x": np.zeros((5, 1), np.float32)}, "Task size 5 is larger than maximum input batch size 4"),
        ({"x": np.float32(1)}, "at least one dimension"),
        ({"x": np.zeros(2), "y": np.zeros(3)}, "equal 0th-dimension size"),
        ({}, "at least one input tensor"),
    ],
)
def test_what_cannot_be_batched_is_refused(feeds, said):
    made, _ = batcher(max_batch_size=4)
    with pytest.raises(ServingError, match=said):
        made.run("m", feeds, Doubler())


def test_outputs_that_are_not_rows_are_an_error():
    made, _ = batcher(max_batch_size=4, num_batch_threads=1)
    with pytest.raises(ServingError, match="0th dimension"):
        made.run("m", {"x": np.zeros((2, 1))}, lambda _feeds: [np.zeros(1)])


def test_parameters_are_read_from_their_own_file(tmp_path):
    file = tmp_path / "batching"
    file.write_text(
        "max_batch_size { value: 32 }\nbatch_timeout_micros { value: 500 }\nnum_batch_threads { value: 2 }\n"
        "max_enqueued_batches { value: 100 }\nallowed_batch_sizes: [8, 32]\n"
        "pad_variable_length_inputs: true\n"
    )
    assert read_parameters(file) == BatchingParameters(32, 500, 100, 2, (8, 32), True)
    assert read_parameters(None) == BatchingParameters(1000, 0, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size is 0; allowed: 1 to"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1"),
        ("num_batch_threads { value: 5000 }", "allowed: 1024 at most"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [4]", "the last must be max_batch_size"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 4]", "they must increase"),
        ("max_batch { value: 8 }", "is not a BatchingParameters in text format"),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_the_file(tmp_path, text, said):
    file = tmp_path / "batching"
    file.write_text(text)
    with pytest.raises(RequestError, match=said) as raised:
        read_parameters(file)
    assert str(file) in str(raised.value)
