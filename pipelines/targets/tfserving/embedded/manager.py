"""Keeps the versions of all models loaded as settings and folders ask for, and finds them for requests."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from .servable import Servable
from .status import Code, ServingError, invalid
from .versions import ModelSettings, fingerprint, version_folders

_log = logging.getLogger(__name__)
_OK = ServingError(Code.OK, "")
# A version that failed is tried again when its files change, and as often as the real server does.
_MAX_TRIES = 6
_RETRY_S = 60.0

Loader = Callable[[str, int, Path], Servable]


class State(IntEnum):
    """Where a version is in its life; the numbers are those of ModelVersionStatus.State."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The state of one version, and the error that ended it (code OK if none did)."""

    version: int
    state: State
    error: ServingError


@dataclass(slots=True)
class _Version:
    status: VersionStatus
    servable: Servable | None = None
    mark: object = None
    tries: int = 1
    tried_s: float = 0.0


class ModelManager:
    """All models and their versions.

    One thread of its own loads and unloads; requests read tables that are replaced and never changed, so they
    need no lock and a version in use stays alive until its last request is done.
    """

    def __init__(self, load: Loader, poll_wait_s: float) -> None:
        self._load = load
        self._poll_wait_s = poll_wait_s
        self._settings: dict[str, ModelSettings] = {}
        self._versions: dict[str, dict[int, _Version]] = {}
        self._serving: dict[str, dict[int, Servable]] = {}
        self._latest: dict[str, Servable] = {}
        self._unreadable: dict[str, str] = {}
        self._work = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="model-manager", daemon=True)

    def start(self) -> None:
        """Go on polling the folders; with a poll wait of 0 or less nothing changes after the first look."""
        if self._poll_wait_s > 0:
            self._thread.start()

    def stop(self) -> None:
        """Stop polling, waiting for a load that is under way, and let go of every servable."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._serving, self._latest = {}, {}
        for versions in self._versions.values():
            for version in versions.values():
                version.servable = None

    def apply(self, settings: Iterable[ModelSettings]) -> None:
        """Serve these models and no others; returns when what their folders hold was loaded or has failed."""
        with self._work:
            self._settings = {model.name: model for model in settings}
            self._refresh()

    def settings(self) -> Mapping[str, ModelSettings]:
        """Return the models to serve, by name."""
        return self._settings

    def knows(self, name: str) -> bool:
        """Return whether a model of this name is to be served."""
        return name in self._settings

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """Find the servable for a request: of this version, else of this label, else the latest.

        Raises ServingError.
        """
        if label is not None and version is None:
            version = self._version_of(name, label)
        if version is None:
            servable = self._latest.get(name)
            if servable is None:
                raise self._not_found(name, f"Latest({name})")
            return servable
        servable = self._serving.get(name, {}).get(version)
        if servable is None:
            raise self._not_found(name, f"Specific({name}, {version})")
        return servable

    def _not_found(self, name: str, wanted: str) -> ServingError:
        if not name:
            return invalid("ModelSpec has no name specified.")
        return ServingError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")

    def _version_of(self, name: str, label: str) -> int:
        if not name:
            raise self._not_found(name, "")
        model = self._settings.get(name)
        if model is None or label not in model.labels:
            raise invalid(f"Unrecognized servable version label: {label}")
        return model.labels[label]

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Return all versions' states, newest first, or one's. Raises ServingError (NOT_FOUND)."""
        versions = self._versions.get(name, {})
        if version is not None:
            if version not in versions:
                raise ServingError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
            return [versions[version].status]
        if not versions:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return [versions[number].status for number in sorted(versions, reverse=True)]

    def available(self) -> dict[str, list[int]]:
        """Return the versions that can be asked, by model."""
        return {name: sorted(versions) for name, versions in self._serving.items() if versions}

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_wait_s):
            with self._work:
                self._refresh()

    def _refresh(self) -> None:
        for name in [*self._settings, *(self._serving.keys() - self._settings.keys())]:
            if self._stopping.is_set():
                return
            try:
                self._refresh_model(name)
            except Exception:  # noqa: BLE001  the thread must live on to serve the other models
                _log.exception("model %s could not be looked at", name)

    def _refresh_model(self, name: str) -> None:
        model = self._settings.get(name)
        folders = self._folders(model) if model else {}
        if folders is None:
            return  # a version goes only when a listing shows that it is gone
        wanted = model.policy.choose(folders) if model else set()
        for number in sorted(wanted, reverse=True):
            if number not in self._serving.get(name, {}):
                self._load_version(name, number, folders[number])
        serving = self._serving.get(name, {})
        # An old version goes only when a wanted one has taken its place, or none is wanted any more.
        if not wanted or wanted & serving.keys():
            for number in serving.keys() - wanted:
                self._unload_version(name, number)

    def _folders(self, model: ModelSettings) -> dict[int, Path] | None:
        """Return a model's version folders, or None, with a line in the log, if they cannot be listed."""
        try:
            folders = version_folders(model.base_path)
        except OSError as error:
            if self._unreadable.get(model.name) != str(error):
                self._unreadable[model.name] = str(error)
                _log.warning("model %s stays as it is, its folder cannot be read: %s", model.name, error)
            return None
        self._unreadable.pop(model.name, None)
        return folders

    def _load_version(self, name: str, number: int, folder: Path) -> None:
        earlier = self._versions.setdefault(name, {}).get(number)
        mark, began = fingerprint(folder), time.monotonic()
        version = _Version(VersionStatus(number, State.LOADING, _OK), mark=mark, tried_s=began)
        if earlier is not None and earlier.status.error.code is not Code.OK and earlier.mark == mark:
            if earlier.tries >= _MAX_TRIES or began < earlier.tried_s + _RETRY_S:
                return  # it failed, and nothing changed since
            version.tries = earlier.tries + 1
        self._versions[name] = {**self._versions[name], number: version}
        try:
            version.servable = self._load(name, number, folder)
        except ServingError as error:
            _log.error("model %s version %d did not load: %s", name, number, error.text)
            version.status = VersionStatus(number, State.END, error)
            return
        self._publish(name, {**self._serving.get(name, {}), number: version.servable})
        version.status = VersionStatus(number, State.AVAILABLE, _OK)
        _log.info(
            "model %s version %d is available, loaded in %.2f s", name, number, time.monotonic() - began
        )
        # What a load leaves behind lives as long as the model: keep it out of every later garbage collection.
        gc.collect()
        gc.freeze()

    def _unload_version(self, name: str, number: int) -> None:
        version = self._versions[name][number]
        version.status = VersionStatus(number, State.UNLOADING, _OK)
        self._publish(name, {key: servable for key, servable in self._serving[name].items() if key != number})
        version.servable = None
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        version.status = VersionStatus(number, State.END, _OK)
        _log.info("model %s version %d is unloaded", name, number)

    def _publish(self, name: str, versions: dict[int, Servable]) -> None:
        self._serving = {**self._serving, name: versions}
        latest = {key: servable for key, servable in self._latest.items() if key != name}
        if versions:
            latest[name] = versions[max(versions)]
        self._latest = latest
