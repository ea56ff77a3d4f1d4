"""The process in which the product's classes run."""

import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.contract.wso2_oracle.oracle import Oracle
from tests.fetching import java_path, program_environment

HERE = Path(__file__).parent
OPTIONS = (
    # As the product's own start script has it.
    "-Dfile.encoding=UTF-8",
    # Classes are loaded though some that they name are empty.
    *("-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote"),
    # Else the log would look for one of several libraries, and find an empty class for each.
    "-Dorg.apache.commons.logging.LogFactory=org.apache.commons.logging.impl.LogFactoryImpl",
    "-Dorg.apache.commons.logging.Log=org.apache.commons.logging.impl.NoOpLog",
)


@pytest.fixture(scope="session")
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Oracle]:
    """The oracle; skips where there is no Java or Maven."""
    cache = request.config.cache
    assert cache is not None
    classes = tmp_path_factory.mktemp("oracle")
    path = java_path(cache, HERE / "java", classes, "dependency:copy")
    asm = next(jar for jar in path if jar.name.startswith("asm-"))
    command = ["java", *OPTIONS, "-cp", os.pathsep.join(map(str, (classes, asm))), "Oracle", *map(str, path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=program_environment()
    ) as process:
        yield Oracle(process)
