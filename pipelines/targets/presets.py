"""Presets: a server's configuration, by name or in a file of the user's, read and checked before any work.

A preset is TOML with one table per target, whose keys are the server's own names for its settings. What is
not set is left as the vendor ships it. `resolve` makes of it one typed configuration per target; command
lines, configuration files and records come from that alone.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from models.spec import ModelSpec
from pipelines.errors import GateError, RequestError, unknown
from pipelines.files.regular import read_regular
from pipelines.targets.registry import SERVED, find_target
from pipelines.targets.target import TARGETS_FOLDER

DEFAULT = "default"
SHIPPED = (DEFAULT, "tuned")
SUFFIX = ".toml"
LARGEST_BYTES = 2**20
Value = bool | int | str | tuple[str | int, ...]


class ServerSettings(BaseModel):
    """What a preset may set of one server; None leaves it as the vendor ships it.

    `batching_settings` names those that make requests share a run of the model, its switch first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    batching_settings: ClassVar[tuple[str, ...]] = ()

    def given(self) -> dict[str, Value]:
        """Return the settings that are set, by the server's own names."""
        return self.model_dump(exclude_none=True, exclude_defaults=True)

    def implied(self) -> dict[str, bool]:
        """Return what is in force although nobody set it, because of what is set."""
        return {}

    @classmethod
    def batches(cls, spec: ModelSpec) -> bool:  # noqa: ARG003 - for those whose servers cannot batch all models
        """Return whether requests of the model `spec` can share a run on this server."""
        return True

    def files(self, spec: ModelSpec) -> dict[str, str]:
        """Return the files that an image's entry point starts from, by name; every target has its own."""
        raise NotImplementedError

    @property
    def most_rows(self) -> int | None:
        """How many rows a request may have; None if there is no such limit."""
        return None

    def max_request_bytes(self, spec: ModelSpec) -> int | None:  # noqa: ARG002 - for those that have a limit
        """Return the largest body that the server takes; None if there is no such limit."""
        return None


SettingsType = TypeVar("SettingsType", bound=ServerSettings)


@dataclass(frozen=True)
class Preset:
    """The resolved configuration of one server.

    Attributes:
        name: one of `SHIPPED`, or the path that was typed.
        adapts: whether batching, which nobody asked for, is left out for models that cannot have it.
    """

    name: str = DEFAULT
    settings: ServerSettings = field(default_factory=ServerSettings)
    adapts: bool = False

    def fitted(self, spec: ModelSpec) -> "Preset":
        """Return the preset for the model `spec`: batching that it cannot have stays only if asked for."""
        if not self.adapts or self.settings.batches(spec):
            return self
        without = dict.fromkeys(self.settings.batching_settings)
        return replace(self, settings=self.settings.model_copy(update=without))

    def settings_as(self, kind: type[SettingsType]) -> SettingsType:
        """Return the settings as the kind that a target's server takes; the vendor's where nothing is set."""
        return kind.model_validate(self.settings.given(), strict=False)

    def settings_of(self, target: str) -> ServerSettings:
        """Return the settings as the kind that the server of `target` takes."""
        return self.settings_as(_kind(target))


def resolve(preset: str, targets: Iterable[str]) -> dict[str, Preset]:
    """Read the configuration of each of `targets` from `preset`: its name, or the path of a file.

    Raises:
        RequestError: no such preset, a file that cannot be read, a target that it leaves out or that has no
            server, an unknown setting, or a value that is not allowed; one line.
    """
    names = [find_target(target, SERVED).name for target in dict.fromkeys(targets)]
    if preset in SHIPPED:
        return {name: _shipped(preset, name) for name in names}
    path = Path(preset)
    if path.suffix != SUFFIX and not path.is_file():
        raise unknown("preset", preset, SHIPPED, or_else=f"the path of a {SUFFIX} file")
    by_table = _parse(path)
    tables = {name: name if name in by_table else _owner(name) for name in names}
    for table in tables.values():
        if table not in by_table:
            raise RequestError(
                f"{path} says nothing of {table}; add a table [{table}], empty for the vendor's defaults"
            )
    return {name: Preset(preset, by_table[table]) for name, table in tables.items()}


def _owner(target: str) -> str:
    """Return the target whose presets a target takes: mostly its own."""
    return find_target(target, SERVED).presets_of or target


def _shipped(name: str, target: str) -> Preset:
    if find_target(target, SERVED).settings is None:
        return Preset(name)  # nothing of it can be set
    owner = _owner(target)
    settings = _parse(TARGETS_FOLDER / owner / "presets" / f"{name}{SUFFIX}")[owner]
    return Preset(name, settings, adapts=True)


def _parse(path: Path) -> dict[str, ServerSettings]:
    """Read and check the settings of every target that a file has a table for."""
    return {target: _settings(path, target, table) for target, table in _read(path).items()}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(read_regular(path.resolve(), LARGEST_BYTES).decode())
    except FileNotFoundError as error:
        raise RequestError(f"there is no preset file {path}") from error
    except (GateError, OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise RequestError(f"the preset cannot be read: {error}") from error
    except ValueError as error:  # TOML's and UTF-8's
        raise RequestError(f"{path} is not TOML: {error}") from error


def _settings(path: Path, target: str, table: Any) -> ServerSettings:
    if not isinstance(table, dict):
        tables = " or ".join(f"[{name}]" for name in SERVED)
        raise RequestError(f"{path}: {target} is in no table; write it below {tables}")
    if target not in SERVED:
        raise unknown("target", target, SERVED, where=f"{path}: ")
    return checked(target, table, str(path))


def checked(
    target: str, settings: Mapping[str, Any], where: str, *, strict: bool | None = None
) -> ServerSettings:
    """Check settings of `target` by name; a value of None counts as not set.

    Args:
        strict: False for values that are of a record, whose kinds JSON does not keep.

    Raises:
        RequestError: an unknown setting, or a value that is not allowed; one line that begins with `where`.
    """
    kind = _kind(target)
    for key in settings:
        if key not in kind.model_fields:
            raise _unknown_setting(target, key, kind, where)
    try:
        return kind.model_validate(settings, strict=strict)
    except ValidationError as error:
        problem = error.errors()[0]
        if not problem["loc"]:  # it is about several settings together
            raise RequestError(f"{where}: {target}: {problem['msg']}") from error
        raise RequestError(
            f"{where}: {problem['loc'][0]} of {target} is {problem['input']!r:.80}; {problem['msg']}"
        ) from error


def _unknown_setting(target: str, key: str, kind: type[ServerSettings], where: str) -> RequestError:
    if not kind.model_fields:
        return RequestError(f"{where}: {target} has no setting {key!r:.60}; nothing of its server can be set")
    return unknown(f"setting of {target}", key, sorted(kind.model_fields), where=f"{where}: ")


def changed(preset: Preset, target: str, changes: Mapping[str, Any], where: str) -> Preset:
    """Return `preset` with some settings changed and named in its name.

    Batching that is switched off takes its other settings with it. Once one of them is asked for, so are all.

    Raises:
        RequestError: as `checked`.
    """
    batching = _kind(target).batching_settings
    given = preset.settings.given()
    if batching and changes.get(batching[0]) is False:
        given = {name: value for name, value in given.items() if name not in batching}
    settings = checked(target, {**given, **changes}, where)
    suffix = ",".join(
        f"{key}={'unset' if value is None else as_toml(value)}"
        for key, value in changes.items()
        if value is not None or key in given
    )
    adapts = preset.adapts and changes.keys().isdisjoint(batching)
    return Preset(f"{preset.name}+{suffix}", settings, adapts)


def as_toml(value: Any) -> str:
    """Write a setting's value as TOML, which for these kinds is JSON's."""
    return json.dumps(value, ensure_ascii=False)


def _kind(target: str) -> type[ServerSettings]:
    settings = find_target(target, SERVED).settings
    if settings is None:
        return ServerSettings
    kind: type[ServerSettings] = resolve_name(settings)
    return kind
