"""Every API by address and encrypted: who vouches for a server is asked by each part that talks to it."""

import shutil
import subprocess

import pytest
from endpoint_runs import MACHINE, codes, compare, latest, only_round
from load_harness import make_plan, run
from main_job import complaint
from stub_endpoint import OIP, Tls, addresses, as_sides, serving

from loadtests.protos import message
from pipelines.access import Access
from pipelines.errors import MachineError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate"),
]
READY = message("inference.ServerReadyRequest")().SerializeToString()


def certificate(folder, name, subject="IP:127.0.0.1") -> Tls:
    """A certificate of `subject` that vouches for itself."""
    made = Tls(folder / f"{name}.pem", folder / f"{name}.key")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}")
    files = ("-keyout", str(made.key), "-out", str(made.certificate))
    subprocess.run(["openssl", "req", "-x509", *kind, *names, *files], check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def ours(work):
    return certificate(work, "ours")


@pytest.fixture(scope="module")
def strangers(work):
    return certificate(work, "strangers")


@pytest.fixture(scope="module")
def encrypted(work, ours):
    with serving(work, ours) as stub:
        yield stub


def url(stub, scheme):
    return f"https://127.0.0.1:{stub.http}" if scheme == "https" else f"grpcs://127.0.0.1:{stub.grpc}"


def ask(stub, scheme, access):
    """The status of a question that every such server answers."""
    if scheme == "https":
        return access.ask(f"{url(stub, scheme)}/v2")[0]
    return access.ask(f"{url(stub, scheme)}{OIP}ServerReady", READY)[0]


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_question_is_asked_of_those_whom_somebody_vouches_for(encrypted, ours, strangers, scheme):
    assert ask(encrypted, scheme, Access(ca_file=ours.certificate)) == 200
    assert ask(encrypted, scheme, Access(insecure=True)) == 200
    asked = len(encrypted.asked)
    for nobody in (Access(), Access(ca_file=strangers.certificate)):
        with pytest.raises(MachineError, match=r"TLS with 127.0.0.1:\d+ failed: .*--ca-file"):
            ask(encrypted, scheme, nobody)
    assert len(encrypted.asked) == asked


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_certificate_of_another_host_vouches_for_nobody_here(work, scheme):
    other = certificate(work, f"other-{scheme}", "DNS:elsewhere.example")
    with serving(work, other) as stub:
        with pytest.raises(MachineError, match="TLS with"):
            ask(stub, scheme, Access(ca_file=other.certificate))
        assert ask(stub, scheme, Access(ca_file=other.certificate, insecure=True)) == 200


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_round_sends_nothing_to_whom_nobody_vouches_for(encrypted, strangers, tmp_path, scheme):
    """Its samples were proven over a connection of another client, which says nothing of the generator's."""
    changes = {"load": "closed:1", "duration_s": 0.3, "warmup_limit_s": 0.0}
    transport = "http" if scheme == "https" else "grpc"
    asked = len(encrypted.asked)
    for number, ca_file in enumerate(("", str(strangers.certificate))):
        folder = tmp_path / str(number)
        folder.mkdir()
        where = url(encrypted, scheme)
        plan = make_plan(folder, where, transport=transport, ca_file=ca_file, **changes)
        result, samples = run(plan)
        assert result.requests_count == result.errors_count == len(samples.status) > 0
        assert {group.kind for group in result.errors} == {"TLS"}
    assert len(encrypted.asked) == asked


def test_every_api_is_measured_over_an_encrypted_connection(encrypted, work, ours):
    sides = addresses(encrypted, secure=True)
    done = compare(
        work,
        work / "runs",
        as_sides(sides),
        "--ca-file",
        str(ours.certificate),
        "--round-s",
        "0.5",
        *("--loads", "open:40"),
    )
    assert done.returncode == 0, done.stderr
    record = latest(work / "runs")
    assert [name for name, one in record["targets"].items() if one["role"] == "compared"] == list(sides)
    for name in sides:
        one, measured = record["targets"][name], only_round(record, name)
        assert one["endpoint_parity"]["passed"]
        assert one["implementation"]["protocol"] == ("gRPC" if name.endswith("grpc") else "REST")
        assert measured["requests_count"] > 0
        assert (measured["errors_count"], measured["wrong_count"]) == (0, 0)
        assert set(measured["failed_checks"]) <= MACHINE, codes(measured)


@pytest.mark.parametrize("name", ["tfserving-rest", "oip-grpc"])
def test_a_server_that_nobody_vouches_for_is_not_measured(encrypted, work, strangers, name):
    side = f"a={addresses(encrypted, secure=True)[name]}"
    asked = len(encrypted.asked)
    done = compare(work, work / "refused", side, "--ca-file", str(strangers.certificate))
    assert done.returncode == 3
    assert "TLS with 127.0.0.1:" in complaint(done.stderr)
    assert "--insecure" in complaint(done.stderr)
    assert len(encrypted.asked) == asked


def test_certificates_are_not_looked_at_where_nobody_wants_that(encrypted, work):
    sides = addresses(encrypted, secure=True)
    two = {name: sides[name] for name in ("plain", "tfserving-grpc")}
    done = compare(
        work, work / "insecure", as_sides(two), "--insecure", "--round-s", "0.5", "--loads", "open:40"
    )
    assert done.returncode == 0, done.stderr
    for name in two:
        measured = only_round(latest(work / "insecure"), name)
        assert measured["requests_count"] > 0
        assert measured["errors_count"] == 0
