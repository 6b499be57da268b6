"""The parameters of `--batching_parameters_file`, with the real server's names, defaults and meaning."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipelines.errors import RequestError

from .text_proto import read_text_proto

_LARGEST = 2**31 - 1
_MOST_THREADS = 1024
_FEWEST_WAITING, _MOST_WAITING = 4, 64


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """The parameters by their own names, with the real server's defaults; sizes are in rows.

    `num_batch_threads` 0 is one per core.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 0
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False

    def __post_init__(self) -> None:
        least = {"batch_timeout_micros": 0, "num_batch_threads": 0}
        for item in fields(self):
            value = getattr(self, item.name)
            if type(value) is int and not least.get(item.name, 1) <= value <= _LARGEST:
                raise RequestError(
                    f"{item.name} is {value}; allowed: {least.get(item.name, 1)} to {_LARGEST}"
                )
        if self.num_batch_threads > _MOST_THREADS:
            raise RequestError(
                f"num_batch_threads is {self.num_batch_threads}; allowed: {_MOST_THREADS} at most"
            )
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            raise RequestError(
                f"allowed_batch_sizes are {list(sizes)}; they must increase, and the last must be "
                f"max_batch_size, which is {self.max_batch_size}"
            )

    @property
    def threads(self) -> int:
        """Threads that run batches."""
        return self.num_batch_threads or len(os.sched_getaffinity(0))

    @property
    def waiting_threads(self) -> int:
        """Threads for requests that suffice to fill a batch, as each waits for its own answer."""
        return min(max(self.max_batch_size, _FEWEST_WAITING), _MOST_WAITING)

    def padded_size(self, size: int) -> int:
        """Return the smallest allowed size that holds so many rows."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def read_parameters(path: Path | None) -> BatchingParameters:
    """Read the parameters in a text proto, or the defaults if there is no file.

    Raises RequestError, naming the file.
    """
    if path is None:
        return BatchingParameters()
    message = read_text_proto(path, _message())
    values = {
        name: getattr(message, name).value
        for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
        if message.HasField(name)
    }
    try:
        return BatchingParameters(
            **values,
            allowed_batch_sizes=tuple(message.allowed_batch_sizes),
            pad_variable_length_inputs=message.pad_variable_length_inputs,
        )
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from None


def _message() -> Any:
    """Build an empty BatchingParameters message, which tensorflow-serving-api leaves out."""
    from google.protobuf import (  # type: ignore[import-untyped]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
        wrappers_pb2,
    )

    package = "tandem.embedded"
    file = descriptor_pb2.FileDescriptorProto(name="tandem/batching.proto", package=package, syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name="BatchingParameters")
    wrapped = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    kinds = {**dict.fromkeys(wrapped, "Int64Value"), "thread_pool_name": "StringValue"}
    for number, (name, kind) in enumerate(kinds.items(), start=1):
        message.field.add(
            name=name,
            number=number,
            type="TYPE_MESSAGE",
            label="LABEL_OPTIONAL",
            type_name=f".google.protobuf.{kind}",
        )
    message.field.add(name="allowed_batch_sizes", number=6, type="TYPE_INT64", label="LABEL_REPEATED")
    message.field.add(name="pad_variable_length_inputs", number=7, type="TYPE_BOOL", label="LABEL_OPTIONAL")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.BatchingParameters"))()
