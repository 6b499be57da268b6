import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save
from test_weights import DENSE, dense_state, dense_twin

from models import model_spec
from models.checkpoint import CheckpointError, read_tensors
from models.digits_cnn import MODEL
from models.spec import ModelError, load_unchanged
from models.weights import load_source, load_twin, read_checkpoint


def file_of(header, data=b"", length=None):
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(said) if length is None else length).to_bytes(8, "little") + said + data


def tensor(dtype="F32", shape=(1,), begin=0, end=4):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


arrays = st.sampled_from(
    [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint16, np.bool_]
).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)))


@pytest.mark.slow
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), arrays, max_size=4))
def test_tensors_come_back_as_the_formats_own_library_wrote_and_reads_them(tensors):
    content = save(tensors)
    found, theirs = read_tensors(content), load(content)
    assert set(found) == set(theirs) == set(tensors)
    for name, array in theirs.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_a_bfloat16_is_the_float32_with_the_same_upper_half():
    values = np.array([1.0, -2.5, 0.15625, np.inf], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    found = read_tensors(file_of({"a": tensor("BF16", [4], 0, 8)}, upper))
    assert found["a"].tolist() == values.tolist()


DEEP = b"[" * 100_000
REFUSED = {
    "nothing": b"",
    "seven bytes": b"\0" * 7,
    "a header longer than the file": file_of({}, length=11),
    "a header of 2**63 bytes": file_of({}, length=2**63),
    "a header of 128 MB": file_of({}, length=2**27),
    "no JSON": file_of(b"{"),
    "no UTF-8": file_of(b'{"\xff": 1}'),
    "a list": file_of([]),
    "deep": file_of(DEEP),
    "a gigantic number": file_of(
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', b"\0" * 4
    ),
    "a name twice": file_of(b'{"a":1,"b":2,"a":3}'),
    "a key twice": file_of(
        b'{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4
    ),
    "65 dimensions": file_of({"a": tensor(shape=[1] * 65)}, b"\0" * 4),
    "a shape beyond 2**63": file_of({"a": tensor(shape=[2**33, 2**33])}, b"\0" * 4),
    "an empty shape beyond 2**63": file_of({"a": tensor(shape=[0, 2**62, 2**62], end=0)}),
    "a negative size": file_of({"a": tensor(shape=[-1])}, b"\0" * 4),
    "a fraction": file_of({"a": tensor(shape=[1.0])}, b"\0" * 4),
    "true as a size": file_of({"a": tensor(shape=[True])}, b"\0" * 4),
    "no shape": file_of({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, b"\0" * 4),
    "no object": file_of({"a": 1}),
    "three offsets": file_of({"a": tensor() | {"data_offsets": [0, 2, 4]}}, b"\0" * 4),
    "an unknown dtype": file_of({"a": tensor("F8_E4M3", [4])}, b"\0" * 4),
    "a dtype that is a list": file_of({"a": tensor() | {"dtype": []}}, b"\0" * 4),
    "beyond the end": file_of({"a": tensor(shape=[2], end=8)}, b"\0" * 4),
    "backwards": file_of({"a": tensor(begin=4, end=0)}, b"\0" * 4),
    "overlapping": file_of({"a": tensor(), "b": tensor()}, b"\0" * 4),
    "half overlapping": file_of({"a": tensor(shape=[2], end=8), "b": tensor(begin=4, end=8)}, b"\0" * 8),
    "a hole": file_of({"a": tensor(begin=4, end=8)}, b"\0" * 8),
    "bytes of nobody": file_of({"a": tensor()}, b"\0" * 8),
    "a boolean of 2": file_of({"a": tensor("BOOL", [4])}, b"\0\1\2\0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_header_claims_wrongly_is_refused(name):
    with pytest.raises(CheckpointError) as caught:
        read_tensors(REFUSED[name])
    assert len(str(caught.value)) < 400


def test_64_dimensions_and_names_of_any_kind_are_read():
    names = ["", "\x1b[31m", "a|b`c\n", "\ud800"]
    header = {name: tensor(shape=[1] * 64, begin=4 * n, end=4 * n + 4) for n, name in enumerate(names)}
    assert list(read_tensors(file_of(header, b"\0" * 16))) == names


def spec_with(tmp_path, content):
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    return dataclasses.replace(MODEL, checkpoint=path)


def changed(name, change):
    state = {key: np.array(value) for key, value in read_checkpoint(MODEL).items()}
    state[name] = change(state[name])
    return save(state)


def first_float():
    return next(name for name, array in read_checkpoint(MODEL).items() if array.dtype == np.float32)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.bool_])
def test_whole_numbers_where_floats_are_declared_are_refused(tmp_path, dtype):
    spec = spec_with(tmp_path, changed(first_float(), lambda array: array.astype(dtype)))
    with pytest.raises(ModelError, match="holds integers, the architecture needs floats"):
        load_source(spec)


def test_a_twin_gets_no_whole_numbers_either():
    state = dense_state()
    state["fc.bias"] = state["fc.bias"].astype(np.int32)
    with pytest.raises(ModelError, match=r"fc\.bias holds integers, dense/bias needs floats"):
        load_twin(dense_twin(), state, DENSE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_nan_among_the_weights_is_refused_by_name(tmp_path, dtype):
    name = first_float()

    def spoil(array):
        array = array.astype(dtype)
        array.flat[-1] = np.nan
        return array

    with pytest.raises(ModelError, match=f"has NaN in {name}"):
        read_checkpoint(spec_with(tmp_path, changed(name, spoil)))


def test_an_infinity_may_be_meant(tmp_path):
    name = first_float()
    spec = spec_with(tmp_path, changed(name, lambda array: np.full_like(array, -np.inf)))
    assert np.isneginf(read_checkpoint(spec)[name]).all()


def test_a_checkpoint_replaced_after_its_digest_was_taken_is_refused(tmp_path):
    spec = spec_with(tmp_path, MODEL.checkpoint.read_bytes())
    assert spec.digest
    spec.checkpoint.write_bytes(changed(first_float(), lambda array: array + 1))
    with pytest.raises(ModelError, match="was replaced meanwhile"):
        read_checkpoint(spec)


def test_a_model_of_another_digest_than_the_asking_process_saw_is_refused():
    assert load_unchanged("digits_cnn", MODEL.digest).name == "digits_cnn"
    with pytest.raises(ModelError, match="digits_cnn changed meanwhile"):
        load_unchanged("digits_cnn", "0" * 64)


def test_a_sparse_checkpoint_beyond_all_memory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(model_spec, "_memory_bytes", lambda: 2**30)
    spec = spec_with(tmp_path, MODEL.checkpoint.read_bytes())
    with spec.checkpoint.open("r+b") as file:
        file.truncate(2**42)
    with pytest.raises(ModelError, match="4398046511104 bytes, more than this machine's memory"):
        _ = spec.digest
