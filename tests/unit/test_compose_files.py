"""The compose files, as text: the same grants for both servers, nothing more than needed, only loopback."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
OVERLAYS = sorted(DOCKER.glob("compose.*.yaml"))
GRANTS = ("cpuset", "cpus", "mem_limit", "memswap_limit", "pids_limit")
VARIABLES = {
    "TORCHSERVE_IMAGE": "tandem/torchserve:x",
    "TFSERVING_IMAGE": "tandem/tfserving:x",
    "TFSERVING_EMBEDDED_IMAGE": "tandem/tfserving-embedded:x",
    "LOCUST_IMAGE": "tandem/locust:x",
    "TANDEM_PAYLOADS": "/payloads.zip",
    "COMPOSE_PROJECT_NAME": "tandem-test",
}


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def services() -> dict[str, dict]:
    """Every service that runs an image of its own, by file and name."""
    return {
        f"{path.name} {name}": service
        for path in [DOCKER / "compose.yaml", *OVERLAYS]
        for name, service in read(path)["services"].items()
        if "networks" in service
    }


def test_every_overlay_is_looked_at():
    assert [path.name for path in OVERLAYS] == [
        "compose.embedded.yaml",
        "compose.locust.yaml",
        "compose.prometheus.yaml",
    ]
    assert len(services()) == 8


@pytest.mark.parametrize("name", read(DOCKER / "compose.yaml")["services"])
def test_a_server_without_its_image_is_pulled_from_nobody(name):
    """A repository on Docker Hub belongs to whoever registers its name; nothing listens on port 1 of here."""
    image = read(DOCKER / "compose.yaml")["services"][name]["image"]
    variable, unset = re.fullmatch(r"\$\{([A-Z]+_IMAGE):-(.+)\}", image).groups()
    assert re.fullmatch(rf"localhost:1/[a-z]+:set-{variable}", unset)


def test_all_servers_are_granted_the_same():
    servers = read(DOCKER / "compose.yaml")["services"]
    assert set(servers) == {"torchserve", "tfserving", "python", "triton", "mlserver"}
    for key in (
        *GRANTS,
        "read_only",
        "cap_drop",
        "security_opt",
        "init",
        "healthcheck",
        "tmpfs",
    ):
        assert all(server[key] == servers["torchserve"][key] for server in servers.values()), key
        assert servers["torchserve"][key], key


@pytest.mark.parametrize("name", services())
def test_no_service_has_more_rights_than_it_needs(name):
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["restart"] == "no"
    assert service["mem_limit"]
    assert service["cpuset"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert "docker.sock" not in str(service)
    assert service["labels"]["io.tandem.project"] == "${COMPOSE_PROJECT_NAME:-tandem}"


@pytest.mark.parametrize("name", services())
def test_ports_are_published_on_loopback_only(name):
    for port in services()[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-0\}:\d+", port), port


def test_no_management_and_no_metrics_port_is_published():
    published = [port for service in services().values() for port in service.get("ports", [])]
    inside = sorted(int(port.rpartition(":")[2]) for port in published)
    assert inside == [7070, 8000, 8000, 8001, 8080, 8080, 8081, 8089, 8500, 8501, 9090]


def test_prometheus_scrapes_what_the_overlay_opens():
    config = read(DOCKER / "prometheus" / "prometheus.yml")
    scraped = {
        job["job_name"]: (job["metrics_path"], job["static_configs"][0]["targets"])
        for job in config["scrape_configs"][:2]
    }
    assert scraped == {
        "torchserve": ("/metrics", ["torchserve:8082"]),
        "tfserving": ("/monitoring/prometheus/metrics", ["tfserving:8501"]),
    }
    overlay = read(DOCKER / "compose.prometheus.yaml")["services"]
    for server in ("torchserve", "tfserving"):
        assert overlay[server] == {"environment": {"TANDEM_METRICS": "prometheus"}}
    monitoring = (DOCKER / "tfserving" / "monitoring.config").read_text()
    assert scraped["tfserving"][0] in monitoring
    mounted = overlay["prometheus"]["volumes"][0]
    assert (DOCKER / mounted["source"]).is_file()
    assert f"--config.file={mounted['target']}" in overlay["prometheus"]["command"]


def compose() -> list[str]:
    if shutil.which("docker"):
        plugin = ["docker", "compose"]
        if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
            return plugin
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("needs docker compose or docker-compose")


@pytest.mark.slow
def test_no_server_needs_the_image_of_another(tmp_path):
    """As for a stack of one server: compose looks at all of the file whatever is started."""
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path), "TRITON_IMAGE": "own:1"}
    command = [*compose(), "-f", str(DOCKER / "compose.yaml"), "config"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["services"]["triton"]["image"] == "own:1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "overlays",
    [[], *[[path] for path in OVERLAYS], OVERLAYS],
    ids=lambda o: "+".join(p.name.split(".")[1] for p in o) or "alone",
)
def test_compose_accepts_the_files(overlays, tmp_path):
    files = [argument for path in (DOCKER / "compose.yaml", *overlays) for argument in ("-f", str(path))]
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path), **VARIABLES}
    done = subprocess.run(
        [*compose(), *files, "config"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load(done.stdout)["services"]
    assert resolved["torchserve"]["image"] == "tandem/torchserve:x"
    embedded = any(path.name == "compose.embedded.yaml" for path in overlays)
    assert resolved["tfserving"]["image"] == f"tandem/tfserving{'-embedded' if embedded else ''}:x"
    for key in GRANTS:
        assert resolved["torchserve"][key] == resolved["tfserving"][key], key
