"""The space of a search, and that it finds the best of surfaces that are known."""

import itertools
import math

import pytest

from pipelines.errors import RequestError
from pipelines.targets.presets import Preset, checked, resolve
from pipelines.targets.registry import SERVED, find_target
from pipelines.targets.tuning import axes_of, delays_ms, doubling
from pipelines.tune.space import Space, next_point, space_around


def space_of(target: str, cores: int = 4, limit_ms: float = 20, preset: str = "tuned") -> Space:
    return space_around(target, resolve(preset, [target])[target], cores, limit_ms, axes_of)


def every_point(space: Space) -> set[tuple[int, ...]]:
    return {space.canonical(p) for p in itertools.product(*(range(len(a.levels)) for a in space.axes))}


@pytest.mark.parametrize("preset", ["default", "tuned"])
@pytest.mark.parametrize("cores", [1, 2, 3, 16])
@pytest.mark.parametrize("target", [name for name in SERVED if find_target(name).tuning])
def test_every_point_is_a_preset_that_the_server_takes(target, cores, preset):
    space = space_of(target, cores, preset=preset)
    made = [space.preset(point) for point in every_point(space)]
    assert space.preset(space.start).settings == space.base.settings
    assert len({str(one.settings) for one in made}) == len(made) == space.size


def test_an_axis_that_means_nothing_makes_no_second_point():
    space = space_of("torchserve", 1, preset="default")
    names = [axis.name for axis in space.axes]
    assert "threads" not in names  # one core: one level
    delay = names.index("delay")
    moved = list(space.start)
    moved[delay] = 0
    assert space.canonical(moved) == space.start
    assert "delay" not in space.labels(space.start)


@pytest.mark.parametrize(
    ("target", "on"),
    [
        ("torchserve", {"batchSize": 2, "maxBatchDelay": 1}),
        ("mlserver", {"max_batch_size": 2, "max_batch_time_ms": 1}),
    ],
)
@pytest.mark.parametrize("limit_ms", [1, 20])
def test_batching_that_is_turned_on_says_its_delay(target, on, limit_ms):
    space = space_of(target, 1, limit_ms, preset="default")
    batch = [axis.name for axis in space.axes].index("batch")
    point = next(one for one in space.neighbours(space.start) if one[batch] != space.start[batch])
    assert on.items() <= space.preset(point).settings.given().items()


def test_a_presets_own_value_is_where_the_search_starts():
    settings = resolve("tuned", ["torchserve"])["torchserve"].settings.model_copy(
        update={"batchSize": 6, "maxBatchDelay": 3}
    )
    space = space_around("torchserve", Preset("mine.toml", settings), 2, 20, axes_of)
    assert space.labels(space.start)["batch"] == "6"
    assert space.labels(space.start)["delay"] == "3"
    sizes = [level.settings["batchSize"] for level in next(a for a in space.axes if a.name == "batch").levels]
    assert sizes == sorted(sizes)


def test_batching_of_a_preset_can_be_turned_off():
    space = space_of("tfserving")
    batch = [axis.name for axis in space.axes].index("batch")
    on = next(p for p in every_point(space) if p[batch] > 0)
    around = Space("tfserving", space.preset(on), space.axes)
    off = [p for p in every_point(around) if p[batch] == 0]
    assert off
    assert all("enable_batching" not in space_of("tfserving").preset(p).settings.given() for p in off)
    assert all("batch_timeout_micros" not in around.preset(p).settings.given() for p in off)


@pytest.mark.parametrize(
    ("target", "settings", "starts"),
    [
        ("tfserving", {"enable_batching": True, "max_batch_size": 16, "allowed_batch_sizes": (4, 16)}, "16"),
        ("tfserving", {"enable_batching": True, "max_batch_size": 12, "allowed_batch_sizes": (12,)}, "12"),
        ("tfserving", {"enable_batching": True}, "1000"),
        ("tfserving", {"enable_batching": False}, "off"),
        ("triton", {"dynamic_batching": True, "max_batch_size": 8, "preferred_batch_size": (8,)}, "8"),
        ("triton", {"max_batch_size": 8}, "off"),
        ("mlserver", {"max_batch_size": 8, "max_batch_time_ms": 5}, "8"),
        ("torchserve", {"batchSize": 8}, "8"),
    ],
)
def test_a_search_starts_where_a_preset_is_and_tries_every_batch_from_there(target, settings, starts):
    base = Preset("mine.toml", checked(target, settings, "mine.toml"))
    space = space_around(target, base, 2, 20, axes_of)
    assert space.labels(space.start)["batch"] == starts
    made = {point: space.preset(point).settings for point in every_point(space)}
    assert made[space.start] == base.settings
    assert len(set(map(str, made.values()))) == len(made)
    batch = [axis.name for axis in space.axes].index("batch")
    assert {point[batch] for point in made} == set(range(len(space.axes[batch].levels)))


@pytest.mark.parametrize(
    ("settings", "limit_ms", "delays"),
    [
        ({}, 20, [1, 2, 5, 10]),
        ({"batchSize": 8, "maxBatchDelay": 2}, 20, [1, 2, 5, 10]),
        ({"batchSize": 8}, 20, [1, 2, 5, 10, 100]),  # what the vendor has
        ({}, 200, [1, 2, 5, 10, 20, 50, 100]),
    ],
)
def test_torchserves_delays_are_those_that_the_limit_allows_and_the_presets(settings, limit_ms, delays):
    base = Preset("mine.toml", checked("torchserve", settings, "mine.toml"))
    space = space_around("torchserve", base, 2, limit_ms, axes_of)
    axis = next(axis for axis in space.axes if axis.name == "delay")
    assert [level.settings["maxBatchDelay"] for level in axis.levels] == delays
    if settings:
        assert axis.levels[axis.start].settings["maxBatchDelay"] == settings.get("maxBatchDelay", 100)


def smooth(space: Space, top: tuple[int, ...]):
    """A surface with one summit: every step away from it on any axis costs, and so does an axis left out."""
    wanted = space.labels(top)

    def rate(point: tuple[int, ...]) -> float:
        matters = space.labels(point)
        far = 0
        for axis, here, there in zip(space.axes, point, top, strict=True):
            if axis.name in wanted:
                far += abs(here - there) if axis.name in matters else len(axis.levels)
        return 1000.0 * math.exp(-0.2 * far) - (0 if matters.keys() <= wanted.keys() else 1)

    return rate


def climb(space: Space, rate, most: int = 10_000):
    """The points that were tried, in their order."""
    tried: dict[tuple[int, ...], float | None] = {}
    while len(tried) < most and (point := next_point(space, tried)) is not None:
        assert point not in tried
        assert point == space.canonical(point)
        tried[point] = rate(point)
    return tried


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "cores"), [("torchserve", 1), ("torchserve", 4), ("tfserving", 4), ("python", 2)]
)
def test_the_summit_of_a_known_surface_is_found_wherever_it_is(target, cores):
    space = space_of(target, cores)
    for top in sorted(every_point(space))[::5]:
        tried = climb(space, smooth(space, top))
        assert max(tried, key=lambda point: tried[point]) == top
    assert len(tried) < space.size


def test_oversubscription_is_climbed_along_its_ridge():
    """As many workers as cores with one thread each is best, and workers x threads = cores is the ridge."""
    space = space_of("torchserve", 16, preset="default")
    workers, threads = ([axis.name for axis in space.axes].index(name) for name in ("workers", "threads"))

    def rate(point):
        w = space.axes[workers].levels[point[workers]].settings["default_workers_per_model"]
        t = space.axes[threads].levels[point[threads]].settings["torch_threads"]
        return min(w * t, 16) / (1 + 0.3 * max(0, w * t - 16)) * (1 - 0.02 * t)

    tried = climb(space, rate)
    best = max(tried, key=lambda point: tried[point])
    assert space.labels(best) == {"workers": "16", "threads": "1", "batch": "1"}
    assert len(tried) < space.size / 4


def test_where_nothing_keeps_the_limit_the_sweep_ends_the_search():
    space = space_of("tfserving", 2)
    tried = climb(space, lambda _: None)
    assert list(tried) == space.coarse()


@pytest.mark.parametrize("cut", [0, 1, 5, 9])
def test_a_search_goes_on_where_it_was_interrupted(cut):
    space = space_of("torchserve", 2)
    rate = smooth(space, max(every_point(space)))
    whole = climb(space, rate)
    first = climb(space, rate, most=cut)
    assert list(whole)[:cut] == list(first)
    if cut < len(whole):
        assert next_point(space, first) == list(whole)[cut]


@pytest.mark.parametrize(
    ("limit_ms", "found"), [(0.5, (1,)), (4, (1, 2)), (20, (1, 2, 5, 10)), (1000, (1, 2, 5, 10, 20, 50, 100))]
)
def test_delays_leave_half_of_the_limit(limit_ms, found):
    assert delays_ms(limit_ms) == found


def test_doubling_ends_at_the_most():
    assert [doubling(n) for n in (1, 2, 3, 6, 8)] == [(1,), (1, 2), (1, 2, 3), (1, 2, 4, 6), (1, 2, 4, 8)]


def test_a_target_without_axes_is_refused(monkeypatch):
    from dataclasses import replace

    from pipelines.targets import registry

    bare = replace(registry.PYTHON, tuning=None)
    monkeypatch.setitem(registry.TARGETS, "python", bare)
    with pytest.raises(
        RequestError, match="python has no settings to tune; allowed: torchserve, tfserving, mlserver"
    ):
        axes_of("python", 2, 20)
