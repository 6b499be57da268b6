"""TorchServe's settings, by the names that its config.properties has for them."""

import json
import math
import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from models.spec import ModelSpec, TensorSpec
from pipelines.targets.presets import ServerSettings

VENDOR_LIMIT_BYTES = 6_553_500
LARGEST_LIMIT_BYTES = 2**31 - 1
DYNAMIC_SIZE = 1024  # as long as samples may be where the signature says nothing
BATCH_ROWS = 16
# Of the model, not of the server.
BATCHING = ("batchSize", "maxBatchDelay")
# In files of their own, not in config.properties.
ELSEWHERE = {"vmargs", "request_log", "torch_threads", *BATCHING}
# In every archive of ours.
MODEL_VERSION = "1.0"
# The longest float32 as JSON, such as -1.1754943508222875e-38, and what stands between it and the next.
NUMBER_BYTES = 26
# Where a container has the files of `files`.
CONTAINER_FOLDER = "/etc/tandem/server"
LOGGING, ENVIRONMENT = "log4j2.xml", "environment"
# Log what concerns the server and its workers, and nothing of single requests. The vendor's configuration
# has fifteen lines for each: of access, of metrics, of these classes, and of the worker. All to one stream:
# without files there is nothing to roll over, which packs 100 MB with gzip in the middle of a load. Metrics
# alone have files, the vendor's: where `metrics_mode` has them logged, the time split is read there.
PER_REQUEST = ("wlm.BatchAggregator", "wlm.WorkerLifeCycle", "wlm.WorkerThread", "job.RestJob", "job.GRPCJob")
METRICS = {"TS_METRICS": "ts_metrics", "MODEL_METRICS": "model_metrics"}
METRICS_FILE = """
    <RollingFile name="{name}" createOnDemand="true"
        fileName="${{env:METRICS_LOCATION:-logs}}/{name}.log"
        filePattern="${{env:METRICS_LOCATION:-logs}}/{name}.%d{{dd-MMM}}.log.gz">
      <PatternLayout pattern="%d{{ISO8601}} - %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="100 MB"/><TimeBasedTriggeringPolicy/></Policies>
      <DefaultRolloverStrategy max="5"/>
    </RollingFile>"""
METRICS_LOGGER = """
    <Logger name="{logger}" level="all" additivity="false"><AppenderRef ref="{name}"/></Logger>"""
WITHOUT_REQUESTS = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="STDOUT" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{{ISO8601}} [%-5p] %t %c - %m%n"/>
    </Console>{"".join(METRICS_FILE.format(name=name) for name in METRICS.values())}
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="io.netty" level="error"/>
    <Logger name="org.apache" level="off"/>
    {"".join(f'<Logger name="org.pytorch.serve.{name}" level="warn"/>' for name in PER_REQUEST)}
    <Logger name="MODEL_LOG" level="all">
      <RegexFilter regex="Backend received inference at.*" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Logger>{"".join(METRICS_LOGGER.format(logger=logger, name=name) for logger, name in METRICS.items())}
    <Root level="info"><AppenderRef ref="STDOUT"/></Root>
  </Loggers>
</Configuration>
"""
# Of every TorchServe of ours, wherever it runs.
COMMON = (
    # The server is on loopback and serves one baked-in model: no token, and no way to change the model.
    "disable_token_authorization=true",
    "enable_model_api=false",
    "install_py_dep_per_model=false",
    # The handler parses bodies itself, all in one way.
    "decode_input_request=false",
)

Count = Annotated[int, Field(ge=1, le=LARGEST_LIMIT_BYTES)]


def _vm_option(text: str) -> str:
    """Allow only options of the virtual machine itself: -D would move the server's own folders."""
    if not re.fullmatch(r"-X[\w:+.=/%-]+", text, re.ASCII):
        raise PydanticCustomError("vm_option", "allowed: options that begin with -X, such as -Xmx512m")
    return text


VmOption = Annotated[str, AfterValidator(_vm_option)]


class TorchServeSettings(ServerSettings):
    """What a preset may set of TorchServe; what says where it runs is not among it.

    `request_log` and `torch_threads` are ours: whether lines about single requests are logged, and the
    threads that PyTorch computes with in each worker (OMP_NUM_THREADS).
    """

    batching_settings: ClassVar[tuple[str, ...]] = BATCHING
    batchSize: Count | None = None  # noqa: N815 - the server's own name
    maxBatchDelay: Count | None = None  # noqa: N815 - as above
    async_logging: bool | None = None
    default_response_timeout: Count | None = None
    default_startup_timeout: Count | None = None
    default_workers_per_model: Count | None = None
    disable_system_metrics: bool | None = None
    job_queue_size: Count | None = None
    max_request_size: Count | None = None
    max_response_size: Count | None = None
    metrics_mode: Literal["log", "prometheus", "legacy"] | None = None
    netty_client_threads: Count | None = None
    number_of_netty_threads: Count | None = None
    prefer_direct_buffer: bool | None = None
    request_log: bool | None = None
    torch_threads: Count | None = None
    vmargs: tuple[VmOption, ...] = Field(default=(), strict=False)

    def max_request_bytes(self, spec: ModelSpec) -> int:
        """Return the largest body that the server takes."""
        return self.max_request_size or body_limit_bytes(*spec.inputs)

    def properties(self, spec: ModelSpec) -> list[str]:
        """Write the lines of config.properties that do not depend on where the server runs."""
        limits = {
            "max_request_size": self.max_request_bytes(spec),
            "max_response_size": body_limit_bytes(*spec.outputs),
        }
        settings = {name: value for name, value in self.given().items() if name not in ELSEWHERE}
        lines = [*COMMON, *(f"{name}={_text(value)}" for name, value in {**limits, **settings}.items())]
        return [*lines, *self._model(spec)]

    def _model(self, spec: ModelSpec) -> list[str]:
        """Write the settings of the one model: a line of JSON, which has to name everything else as well."""
        batching = {name: getattr(self, name) for name in BATCHING if getattr(self, name) is not None}
        if not batching:
            return []
        own = {"defaultVersion": True, "marName": f"{spec.name}.mar", **batching}
        return [f"models={json.dumps({spec.name: {MODEL_VERSION: own}})}"]

    def variables(self) -> dict[str, str]:
        """Return the environment variables that the server hands on to its workers."""
        return {} if self.torch_threads is None else {"OMP_NUM_THREADS": str(self.torch_threads)}

    def logging(self) -> dict[str, str]:
        """Return the file that configures logging, by name; none if logging is the vendor's."""
        return {LOGGING: WITHOUT_REQUESTS} if self.request_log is False else {}

    def java_options(self, folder: str = CONTAINER_FOLDER) -> list[str]:
        """Return the options of the virtual machine; other files of `files` are in `folder`."""
        logging = [f"-Dlog4j.configurationFile={folder}/{LOGGING}"] if self.logging() else []
        return [*self.vmargs, *logging]

    def files(self, spec: ModelSpec) -> dict[str, str]:
        """Return the properties, the virtual machine's options for `java @FILE`, and what else is set."""
        return {
            "config.properties": "".join(f"{line}\n" for line in self.properties(spec)),
            "jvm.options": "".join(f"{option}\n" for option in self.java_options()),
            ENVIRONMENT: "".join(f"{name}={value}\n" for name, value in self.variables().items()),
            **self.logging(),
        }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def body_limit_bytes(*tensors: TensorSpec) -> int:
    """Return the bytes that `BATCH_ROWS` of `tensors` may take as JSON, the vendor's limit at least.

    The vendor's limit is for photographs as JPEG: one image of 512 x 512 x 3 as JSON is beyond it.
    """
    elements = sum(math.prod(size or DYNAMIC_SIZE for size in tensor.shape[1:]) for tensor in tensors)
    return min(max(VENDOR_LIMIT_BYTES, BATCH_ROWS * elements * NUMBER_BYTES), LARGEST_LIMIT_BYTES)
