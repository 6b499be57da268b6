"""What the rest of Tandem knows of one way to deploy a model; how it is done is in that way's folder."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.targets.protocols import Protocol

TARGETS_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """One way to deploy a model.

    Attributes:
        name: as people type it.
        title: the product's name for people; None where the name says it.
        road: whose tools made it, in a few words for the legend of a figure.
        framework: targets of one framework are exported by one process.
        toolchain: distributions whose versions decide the exported files.
        export: "module:function" (spec, folder, progress) -> list of `Exported` and `NotExported`.
        imports: kinds of imported files that it is made of, the best first, each with the name of the format
            in which its runtime reads such a file; none where it is made of a program alone.
        place: "module:function" (spec, file, folder) -> list of `Exported`, of one imported file;
            None where `imports` has none.
        placing: files outside the target's folder that decide too what is made of an imported file.
        archives: whether it takes an archive as a whole, and what else was imported beside it; others take
            the best file alone, and of an archive the program in it.
        runtime: "module:function" (artifact path, format, inputs) -> outputs, from files alone.
        shared_sources: files outside the target's folder that decide an export too.
        server: "module:function" that plans a server; None for targets that run in process.
        protocols: the ways to ask its server, the usual one first.
        settings: "module:class" of what a preset may set of that server; None for nothing.
        tuning: "module:function" (cores_count, p99_limit_ms) -> axes that a search may vary; None for none.
        checks: the module of what it asks the smoke test to look at (`own_checks`); None for nothing.
        container: the module of what its container is like (`container.Contained`); None where it has none.
        doctor: the module of what it needs of this machine (`needs.checks_of`); None for nothing.
        environment: of the server, by its name in `pipelines.environments`; None where it runs in ours.
        serving: distributions that run it, beside the toolchain.
        roads: ways from PyTorch into its framework that it knows, in their order
            (`pipelines.roads.known`); its exporter is then also given what was `Asked`.
        strings: whether what it exports can take and give strings.
        traces: whether the exporter traces the PyTorch module, which then has to be deployable.
        presets_of: the target whose presets it takes, where it has none of its own.
        on_request: exported only where it is named: it takes long, or needs a tool beside ours.
        folder: where its modules are; None for a folder of ours with its name.
        run_only: modules of its folder that decide how an artifact runs and not what is in it, beside those
            named above for its runtime, its server and the like. Every other module of the folder decides
            what is exported: a change of it exports anew.
    """

    name: str
    framework: str
    toolchain: tuple[str, ...]
    export: str
    runtime: str
    server: str | None
    protocols: tuple[Protocol, ...] = (Protocol(),)
    settings: str | None = None
    tuning: str | None = None
    checks: str | None = None
    container: str | None = None
    doctor: str | None = None
    environment: str | None = None
    title: str | None = None
    road: str = ""
    shared_sources: tuple[Path, ...] = ()
    serving: tuple[str, ...] = ()
    strings: bool = False
    traces: bool = False
    roads: tuple[str, ...] = ()
    presets_of: str | None = None
    on_request: bool = False
    folder: Path | None = None
    imports: tuple[tuple[str, str], ...] = ()
    place: str | None = None
    placing: tuple[Path, ...] = ()
    archives: bool = False
    run_only: tuple[str, ...] = ()

    @property
    def runtime_module(self) -> str:
        """The module that `runtime` is in; it also opens and inspects artifacts for devices."""
        return self.runtime.partition(":")[0]

    @property
    def sources(self) -> list[Path]:
        """The files that decide what an export contains, beside the model's and the toolchain's."""
        left_out = {"__init__", *self.run_only, *map(self._stem, self._running)}
        if self.place is not None:
            left_out.add(self._stem(self.place))
        left_out -= {self._stem(self.export)}
        own = [path for path in self._folder.glob("*.py") if path.stem not in left_out]
        return [*sorted(own), *self.shared_sources]

    @property
    def placing_sources(self) -> list[Path]:
        """The files that decide, beside `sources`, what is made of an imported file."""
        if self.place is None:
            return []
        own = self._folder / f"{self._stem(self.place)}.py"
        placing = [*([own] if own.is_file() else []), *self.placing]
        return [path for path in placing if path not in self.sources]

    @property
    def _folder(self) -> Path:
        return self.folder or TARGETS_FOLDER / self.name

    @property
    def _running(self) -> list[str]:
        """What decides how an artifact runs, by module or function."""
        named = (
            self.runtime,
            self.server,
            self.settings,
            self.tuning,
            self.checks,
            self.container,
            self.doctor,
        )
        return [name for name in named if name]

    def _stem(self, dotted: str) -> str:
        """Return the name of the file, without its ending, of a module, which a function's may follow.

        A module of the package's own name is not the package, which is the file `__init__`.
        """
        own = self._folder.name
        package, _, name = dotted.partition(":")[0].rpartition(".")
        return "__init__" if name == own and package.rpartition(".")[2] != own else name
