"""What the rest of Tandem knows of one way to deploy a model; how it is done is in that way's folder."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.targets.protocols import Protocol

TARGETS_FOLDER = Path(__file__).parent
# Modules of a target's folder that decide how an artifact runs, not what is in it.
RUN_ONLY = (
    "__init__.py",
    *(
        f"{name}.py"
        for name in (
            "app",
            "archive",
            "checks",
            "compiled",
            "configuration",
            "model",
            "container",
            "doctor",
            "runtime",
            "server",
            "settings",
            "timings",
            "tuning",
            "workers",
        )
    ),
)


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

    @property
    def sources(self) -> list[Path]:
        """The files that decide what an export contains, beside the model's and the toolchain's."""
        folder = self.folder or TARGETS_FOLDER / self.name
        own = [path for path in folder.glob("*.py") if path.name not in RUN_ONLY]
        return [*sorted(own), *self.shared_sources]
