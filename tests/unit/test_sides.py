"""Who takes part in which block: every side gets a control, in every block or in turn."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from loadtests.payloads import PayloadPool, check_answer
from models.spec import ModelSpec, Samples, TensorSpec, Tolerance
from pipelines.config.asked import run_settings
from pipelines.config.profiles import PROFILES
from pipelines.errors import RequestError
from pipelines.measure.round import bodies_file, pool_file
from pipelines.measure.session import planned_rounds
from pipelines.measure.sides import Side, controls, make_sides
from pipelines.parity.quality import Expectation, Expectations
from pipelines.serve.readiness import payload_pool
from pipelines.targets.side import parse_sides


def side(name):
    return Side(name, name, "compared", None, prepare=None, pool=None, prove=None)


def profile(how, blocks):
    return PROFILES["full"].model_copy(update={"control_blocks": how, "blocks": blocks})


def blocks_of(names, how, blocks):
    made = controls([side(name) for name in names], profile(how, blocks))
    assert [(one.name, one.control_of, one.role) for one in made] == [
        (f"{name}-control", name, "control") for name in names
    ]
    return ["".join(str(block) for block in range(blocks) if one.takes_part(block)) for one in made]


@pytest.mark.parametrize(
    ("names", "how", "blocks", "expected"),
    [
        ("AB", "all", 4, ["0123", "0123"]),
        ("AB", "in turn", 2, ["0", "1"]),
        ("AB", "in turn", 1, ["0", "0"]),
        ("AB", "in turn", 3, ["02", "1"]),
        ("ABC", "in turn", 2, ["0", "1", "0"]),
        ("A", "in turn", 2, ["01"]),
    ],
)
def test_every_side_has_a_control_in_some_block(names, how, blocks, expected):
    assert blocks_of(names, how, blocks) == expected


def test_quick_has_three_servers_in_every_block_and_full_has_all_controls():
    sides = [side("A"), side("B")]
    quick = PROFILES["quick"]
    taking_part = [*sides, *controls(sides, quick)]
    for block in range(quick.blocks):
        assert sum(one.takes_part(block) for one in taking_part) == 3
    full = PROFILES["full"]
    assert all(one.takes_part(block) for one in controls(sides, full) for block in range(full.blocks))
    assert controls(sides, PROFILES["smoke"]) == []


def test_a_target_compared_with_itself_has_a_control_under_each_name():
    names = [one.name for one in parse_sides("tfserving,tfserving")]
    made = controls([side(name) for name in names], PROFILES["full"])
    assert [one.control_of for one in made] == ["tfserving", "tfserving-2"]


def test_planned_rounds_count_only_who_takes_part():
    sides = [side("A"), side("B")]
    quick = PROFILES["quick"]
    settings = type("Settings", (), {"profile": quick})()
    planned = planned_rounds(settings, [*sides, *controls(sides, quick)])
    assert planned == quick.blocks * quick.rounds * len(quick.loads) * 3


def test_the_first_block_of_a_control_is_its_own():
    made = controls([side("A"), side("B")], PROFILES["quick"])
    assert [one.first_block for one in made] == [0, 1]
    assert side("A").first_block == 0


SAMPLES = 20


@pytest.fixture(scope="module")
def large_images():
    """Of 3 x 224 x 224 floats, which are 3 MB of JSON each."""
    return model_of_images(3 * 224 * 224)


@pytest.fixture(scope="module")
def images():
    return model_of_images(3 * 64 * 64)


def model_of_images(pixels_count):
    """A model of images with two outputs, and what the source model gives for them."""
    pixels = np.random.default_rng(3).random((SAMPLES, pixels_count), dtype=np.float32)
    outputs = {"scores": pixels[:, :3], "boxes": pixels[:, :400].reshape(SAMPLES, 100, 4)}
    spec = ModelSpec(
        name="images",
        inputs=(TensorSpec("image", "float32", (None, pixels_count)),),
        outputs=tuple(TensorSpec(name, "float32", (None, *a.shape[1:])) for name, a in outputs.items()),
        labels=(),
        tolerance=Tolerance(1e-4, 1e-4),
        checkpoint=Path(__file__),
        build_torch=lambda: None,
        test_samples=lambda: Samples(pixels),
    )
    by_output = {
        name: Expectation(array, None, spec.tolerance_of(name), "classes" if name == "scores" else "none")
        for name, array in outputs.items()
    }
    return spec, SimpleNamespace(expected=Expectations(by_output), manifests={})


@pytest.mark.slow
def test_a_pool_is_bounded_and_spread_over_the_held_out_set(images):
    spec, verified = images
    all_bytes = len(payload_pool(spec, verified.expected, "/", 10**9).bodies[0]) * SAMPLES
    pool = payload_pool(spec, verified.expected, "/", int(0.52 * all_bytes))
    assert 8 <= len(pool.bodies) <= 10
    assert sum(map(len, pool.bodies)) <= 0.52 * all_bytes
    assert pool.samples == tuple(sorted(pool.samples))
    gaps = np.diff([-1, *pool.samples, SAMPLES])
    assert gaps.max() <= 4, "no part of the set is left out"
    for place, answer in zip(pool.samples, pool.expected, strict=True):
        outputs = verified.expected.tensors
        assert all(np.array_equal(answer[name], outputs[name][place].ravel()) for name in outputs)
    assert [output.classes for output in pool.outputs] == [True, False]


@pytest.mark.slow
def test_a_pool_has_at_least_one_body_and_at_most_one_per_sample(images):
    spec, verified = images
    assert len(payload_pool(spec, verified.expected, "/", 1).bodies) == 1
    assert payload_pool(spec, verified.expected, "/", 10**9).samples == tuple(range(SAMPLES))


@pytest.mark.slow
def test_the_pools_of_a_run_are_one_pool_on_disk(large_images, tmp_path):
    """The folder is not larger than one pool."""
    spec, verified = large_images
    settings = run_settings(
        profile="full", sides="torchserve,tfserving", model="images", pool_mb=12, artifacts=tmp_path
    )
    sides = make_sides(settings, spec, verified, runner=None)
    assert [one.name for one in sides] == [
        *("torchserve", "tfserving", "torchserve-control", "tfserving-control", "null")
    ]
    pools = {one.name: one.pool(f"/{one.name}") for one in sides}
    for name, pool in pools.items():
        pool.save(pool_file(tmp_path, name), bodies_file(tmp_path, pool.codec))
    size_bytes = sum(file.stat().st_size for file in tmp_path.iterdir())
    bodies_bytes = sum(map(len, pools["null"].bodies))
    assert 2 * 3_000_000 < bodies_bytes < 12_000_000
    assert size_bytes < 1.05 * bodies_bytes
    for name, pool in pools.items():
        loaded = PayloadPool.load(pool_file(tmp_path, name))
        assert (loaded.path, loaded.bodies) == (f"/{name}", pool.bodies)
    constant = verified.expected.tensors
    null = PayloadPool.load(pool_file(tmp_path, "null"))
    assert len(null.expected) == 1
    assert all(np.array_equal(null.expected_of(1)[name], constant[name][0].ravel()) for name in constant)


@pytest.mark.slow
def test_what_the_null_server_answers_is_right_for_every_request(images, tmp_path):
    spec, verified = images
    settings = run_settings(profile="full", sides="torchserve", model="images", artifacts=tmp_path)
    (null,) = (one for one in make_sides(settings, spec, verified, None) if one.role == "floor")
    with null.prepare(tmp_path) as server:
        (body,) = (file.read_bytes() for file in tmp_path.glob("answer.json"))
        assert server.plan.target == "null"
    pool = null.pool("/")
    assert all(check_answer(pool, index, body) for index in range(len(pool.bodies)))
    assert set(json.loads(body)["predictions"][0]) == {"scores", "boxes"}


@pytest.mark.parametrize("pool_mb", [0, -1, 5000])
def test_the_size_of_a_pool_is_checked(pool_mb):
    with pytest.raises(RequestError, match="pool_mb"):
        run_settings(profile="smoke", sides="torchserve", model="digits_cnn", pool_mb=pool_mb)
