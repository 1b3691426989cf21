"""deploy/compose: every file is read by what reads it in the field, or by a model of the part of its format that it uses.

That the commands, the environment and dagster.yaml work together is shown in `test_compose_stack.py`.
"""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict, Field

from deploy.compose.pin_digests import CannotPin, checked, images, with_digests
from deploy.compose.production_lock import normal, production, wanted_by
from orchestration.settings import Settings
from tests.requirements import ROOT

HERE = ROOT / "deploy" / "compose"
TEXT = (HERE / "compose.yaml").read_text(encoding="utf-8")
DOCKERFILE = (HERE / "Dockerfile").read_text(encoding="utf-8")
EXAMPLE = (HERE / "env.example").read_text(encoding="utf-8")
REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>:[?-][^}]*)?\}")
OF_THE_IMAGES = {
    "postgres": {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "POSTGRES_INITDB_ARGS"},
    "s3": {"RUSTFS_VOLUMES", "RUSTFS_ADDRESS", "RUSTFS_CONSOLE_ENABLE", "RUSTFS_ACCESS_KEY", "RUSTFS_SECRET_KEY"},
}
"""The variables that the images of others document."""


class Strict(BaseModel):
    """A part of the compose format; a key that is not in it is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Build(Strict):
    context: str
    dockerfile: str
    args: dict[str, str] = {}


class Healthcheck(Strict):
    test: list[str] = Field(min_length=2)
    interval: str = Field(pattern=r"^\d+s$")
    timeout: str = Field(pattern=r"^\d+s$")
    retries: int = Field(gt=0)
    start_period: str = Field(default="0s", pattern=r"^\d+s$")


class Condition(Strict):
    condition: Literal["service_healthy", "service_completed_successfully", "service_started"]


class EnvFile(Strict):
    path: str
    required: bool


class Service(Strict):
    """What our services use of the compose format."""

    image: str
    build: Build | None = None
    restart: Literal["no", "always", "on-failure", "unless-stopped"]
    init: bool = False
    user: str = Field(default="", pattern=r"^(\d+:\d+)?$")
    read_only: bool = False
    tmpfs: list[str] = []
    cap_drop: list[str] = []
    security_opt: list[str] = []
    shm_size: str = ""
    networks: list[str] = []
    network_mode: str = ""
    profiles: list[str] = []
    env_file: list[EnvFile] = []
    environment: dict[str, str] = {}
    command: list[str] = []
    ports: list[str] = []
    volumes: list[str] = []
    healthcheck: Healthcheck | None = None
    depends_on: dict[str, Condition] = {}


class Network(Strict):
    internal: bool = False


class Volume(Strict):
    """A named volume with the engine's defaults."""


class Compose(Strict):
    """The whole file, without its x- parts."""

    name: str
    services: dict[str, Service]
    networks: dict[str, Network]
    volumes: dict[str, Volume]


def load(values: dict[str, str] | None = None) -> Compose:
    """compose.yaml as compose reads it, with these variables; those without a value and a default stay as they are written."""

    def fill(match: re.Match[str]) -> str:
        default = (match["rest"] or "").removeprefix(":-") if (match["rest"] or "").startswith(":-") else match[0]
        return (values or {}).get(match["name"]) or default

    document = yaml.safe_load(REFERENCE.sub(fill, TEXT))
    return Compose.model_validate({k: v for k, v in document.items() if not k.startswith("x-")})


COMPOSE = load()
SERVICES = COMPOSE.services
OURS = {name: service for name, service in SERVICES.items() if service.build}


# --- compose.yaml ---


def test_the_services_are_those_of_production_and_the_stand_in_is_asked_for() -> None:
    production_services = {"postgres", "s3", "bucket", "code", "webserver", "daemon", "files"}
    assert {name for name, service in SERVICES.items() if not service.profiles} == production_services
    assert {name: service.profiles for name, service in SERVICES.items() if service.profiles} == {"agency": ["demo"]}


def test_every_file_is_one_that_compose_itself_reads(tmp_path: Path) -> None:
    """Strictly by the model above; and by compose, which needs no engine for it, where docker has that plugin."""
    with pytest.raises(ValueError, match="networkss"):
        Compose.model_validate({"name": "x", "services": {}, "networks": {}, "volumes": {}, "networkss": {}})
    docker = shutil.which("docker")
    if docker and not subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        env = tmp_path / "env"
        env.write_text(with_digests(EXAMPLE, dict.fromkeys(names_of(EXAMPLE), "sha256:" + "0" * 64)), encoding="utf-8")
        command = [
            docker,
            "compose",
            "--env-file",
            str(env),
            "-f",
            str(HERE / "compose.yaml"),
            "config",
            "--no-env-resolution",
            "-q",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_parts_that_the_file_names_exist() -> None:
    for name, service in SERVICES.items():
        assert set(service.networks) <= set(COMPOSE.networks), name
        assert set(service.depends_on) <= set(SERVICES), name
        for volume in service.volumes:
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            assert mode in ([], ["ro"])
            if source.startswith("."):
                assert (HERE / source).exists(), f"{name}: {source}"
            else:
                assert source in COMPOSE.volumes, f"{name}: {source}"
        if service.network_mode:
            assert service.network_mode.removeprefix("service:") in SERVICES
            assert not service.networks, "a service has networks or another's network"
        for other, condition in service.depends_on.items():
            if condition.condition == "service_healthy":
                assert SERVICES[other].healthcheck is not None, f"{name} waits for {other}, which has no health check"
            if condition.condition == "service_completed_successfully":
                assert SERVICES[other].restart == "no", f"{name} waits for {other} to end, and it restarts"


def test_nobody_waits_in_a_circle() -> None:
    done: set[str] = set()
    while ready := {n for n, s in SERVICES.items() if n not in done and set(s.depends_on) <= done}:
        done |= ready
    assert done == set(SERVICES)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service.read_only
    assert service.cap_drop == ["ALL"]
    assert service.security_opt == ["no-new-privileges:true"]
    assert not any("docker.sock" in volume for volume in service.volumes)
    assert all(port.startswith("127.0.0.1:") for port in service.ports)
    if name != "s3":
        # RustFS's own image names its user, 10001.
        assert service.user.partition(":")[0] not in ("", "0")
    if service.restart != "no" and not service.profiles:
        assert service.healthcheck is not None


def test_only_the_code_server_reaches_agencies_and_knows_their_keys() -> None:
    assert COMPOSE.networks["inside"].internal
    for name in ("postgres", "s3", "bucket", "daemon"):
        assert SERVICES[name].networks == ["inside"]
    assert [name for name, service in SERVICES.items() if service.env_file] == ["code"]
    for name in ("webserver", "daemon", "agency"):
        assert not any(variable.startswith("AWS_") for variable in SERVICES[name].environment)


def test_images_are_pinned_by_digest_and_none_is_latest() -> None:
    assert not re.search(r":latest\b", TEXT + DOCKERFILE)
    for name, service in SERVICES.items():
        if service.build is None:
            assert re.fullmatch(r"[a-z0-9/.-]+:[\w.-]+@\$\{\w+_DIGEST:\?[^}]+\}", service.image), name
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases
    assert all(base.endswith("@${PYTHON_DIGEST}") for base in bases)
    assert {service.image for service in OURS.values()} == {f"madang:{version()}"}
    pinned = images([TEXT, DOCKERFILE])
    assert pinned.keys() == {"POSTGRES_DIGEST", "RUSTFS_DIGEST", "PYTHON_DIGEST"}


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return found[1]


def test_every_variable_is_known_to_who_gets_it() -> None:
    ours = {*Settings.from_environment({}).in_force({}), *re.findall(r"\{env: (\w+)\}", (HERE / "dagster.yaml").read_text())}
    for name, service in SERVICES.items():
        known = OF_THE_IMAGES.get(name, ours)
        assert set(service.environment) <= known, f"{name}: {set(service.environment) - known}"
        assert all("\n" not in value for value in service.environment.values())


def test_what_dagster_yaml_asks_of_the_environment_is_given() -> None:
    asked = set(re.findall(r"\{env: (\w+)\}", (HERE / "dagster.yaml").read_text(encoding="utf-8")))
    assert asked
    for name in ("code", "webserver", "daemon"):
        assert asked <= set(SERVICES[name].environment), name


def test_the_environment_is_one_that_settings_accept() -> None:
    values = {"POSTGRES_PASSWORD": "p4", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "long secret"}
    code = load(values).services["code"].environment
    settings = Settings.from_environment(code)
    assert settings.ledger_url == "postgresql://madang:p4@postgres:5432/madang_ledger"
    assert "p4" not in settings.in_force(code)["MADANG_LEDGER"]
    assert settings.store_url == "s3://madang"
    assert settings.reports_url == "http://127.0.0.1:3001"


# --- secrets ---


def names_of(env: str) -> list[str]:
    return re.findall(r"^([A-Z0-9_]+)=", env, re.MULTILINE)


def test_no_secret_stands_in_a_file() -> None:
    """What is named like a secret is a reference that fails without a value; the example leaves every value to the reader."""
    for name, service in SERVICES.items():
        for variable, value in service.environment.items():
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY|TOKEN", variable) or "://madang:" in value:
                assert re.search(r"\$\{\w+:\?[^}]+\}", value), f"{name}.{variable}"
    assert re.findall(r"^[A-Z0-9_]+=(.+)$", EXAMPLE, re.MULTILINE) == []
    for path in HERE.rglob("*"):
        if path.is_file() and path.name not in (".env",) and "__pycache__" not in path.parts:
            assert not re.search(r"sha256:[0-9a-f]{64}|-----BEGIN|AKIA[0-9A-Z]{16}", path.read_text(encoding="utf-8")), path


def test_every_reference_is_in_the_example() -> None:
    referred = {m["name"] for m in REFERENCE.finditer("\n".join(x for x in TEXT.splitlines() if not x.lstrip().startswith("#")))}
    assert referred <= set(names_of(EXAMPLE))


def test_git_ignores_the_filled_in_file() -> None:
    assert (HERE / ".gitignore").read_text(encoding="utf-8").split() == [".env"]


# --- dagster.yaml, workspace.yaml ---


@pytest.mark.parametrize("path", ["deploy/dagster.yaml", "deploy/compose/dagster.yaml"])
def test_dagster_accepts_its_instance_file(path: str) -> None:
    from dagster._core.instance.config import dagster_instance_config

    file = ROOT / path
    config, _ = dagster_instance_config(str(file.parent), config_filename=file.name)
    assert config["telemetry"] == {"enabled": False}
    assert config["freshness"] == {"enabled": True}


def test_the_two_instance_files_differ_only_in_where_things_are() -> None:
    here = yaml.safe_load((HERE / "dagster.yaml").read_text(encoding="utf-8"))
    there = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text(encoding="utf-8"))
    for part in ("storage", "local_artifact_storage", "compute_logs"):
        assert here.pop(part) != there.pop(part, None)
    assert here == there


def test_dagster_finds_the_code_server_of_compose() -> None:
    from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    (origin,) = location_origins_from_yaml_paths([str(HERE / "workspace.yaml")])
    assert isinstance(origin, GrpcServerCodeLocationOrigin)
    command = SERVICES["code"].command
    assert origin.host == "code"
    assert str(origin.port) == command[command.index("-p") + 1]
    assert origin.location_name == command[command.index("--location-name") + 1]


# --- the image ---


def instructions() -> Iterator[tuple[str, list[str]]]:
    """The Dockerfile's instructions: name and words."""
    joined = re.sub(r"\\\n", " ", "\n".join(x for x in DOCKERFILE.splitlines() if not x.lstrip().startswith("#")))
    for line in joined.splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, shlex.split(rest, posix=True) if name == "COPY" else rest.split()


def test_what_the_image_copies_exists_and_is_in_the_context() -> None:
    ignored = (HERE / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = set()
    for name, words in instructions():
        if name == "COPY" and not words[0].startswith("--from"):
            for source in words[:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in allowed, f"{source} is not in the build context"
                copied.add(source.split("/")[0])
    assert copied == allowed
    assert "**/.env" in ignored


def test_the_image_runs_as_nobody_special_and_installs_by_hash() -> None:
    seen = list(instructions())
    assert {name for name, _ in seen} <= {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "CMD"}
    last_stage = max(i for i, (name, _) in enumerate(seen) if name == "FROM")
    users = [words[0] for name, words in seen[last_stage:] if name == "USER"]
    assert users == [next(iter(OURS.values())).user]
    installs = [" ".join(words) for name, words in seen if name == "RUN" and "pip install" in " ".join(words)]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps -e ." in installs[1]


def test_the_image_holds_what_production_needs_and_no_test_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    kept = production(lock, wanted_by(project))
    names = {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", kept, re.MULTILINE)}
    assert {"dagster-postgres", "duckdb", "great-expectations", "tzdata", "uvicorn", "hatchling", "mlcroissant"} <= names
    assert not names & {"pytest", "mypy", "ruff", "playwright", "hypothesis", "uv", "import-linter"}
    assert needed_here(wanted_by(project)) <= names
    entries = re.findall(r"^\S.*", kept, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", kept, re.MULTILINE))
    with pytest.raises(ValueError, match="lacks not-locked"):
        production(lock, {"not-locked"})


def needed_here(roots: set[str]) -> set[str]:
    """What the installed packages' own metadata say that `roots` need on this machine."""
    found: set[tuple[str, str]] = set()
    todo = [(name, "") for name in roots]
    while todo:
        name, extra = todo.pop()
        if (name, extra) not in found:
            found.add((name, extra))
            for line in importlib.metadata.requires(name) or []:
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    todo += [(normal(requirement.name), e) for e in ("", *requirement.extras)]
    return {name for name, _ in found}


# --- pin_digests.py ---


def test_pinning_keeps_every_other_line() -> None:
    digest = "sha256:" + "a" * 64
    env = "# mine\nPOSTGRES_PASSWORD=x=y\nRUSTFS_DIGEST=sha256:old\n\n"
    assert with_digests(env, {"RUSTFS_DIGEST": digest, "PYTHON_DIGEST": digest}) == (
        f"# mine\nPOSTGRES_PASSWORD=x=y\nRUSTFS_DIGEST={digest}\n\nPYTHON_DIGEST={digest}\n"
    )


def test_what_is_no_digest_pins_nothing() -> None:
    assert checked("sha256:" + "0" * 64, "a:1") == "sha256:" + "0" * 64
    for answer in ("", "sha256:", "sha256:" + "0" * 63, "latest", "sha256:" + "0" * 64 + "\nX=1"):
        with pytest.raises(CannotPin, match="no sha256 digest"):
            checked(answer, "a:1")
    with pytest.raises(CannotPin, match="A_DIGEST stands for"):
        images(["image: a:1@${A_DIGEST:?x}", "FROM b:1@${A_DIGEST}"])


def test_without_an_engine_pinning_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from deploy.compose import pin_digests

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotPin, match="neither docker"):
        pin_digests.ask("postgres:17-bookworm")


def test_services_refuse_what_they_do_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    from deploy.compose.services import main

    arguments: list[Any] = [[], ["buckets"], ["files"], ["answers", "http://elsewhere.example/"]]
    assert [main(a) for a in arguments] == [2, 2, 2, 2]
    assert "health check" in capsys.readouterr().err
    for service in OURS.values():
        if service.command[:3] == ["python", "-m", "deploy.compose.services"]:
            assert service.command[3] in ("bucket", "files")
