"""Makes on a stack what attacks need, and takes it back."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from tests.attacks.attack_run import AttackRun
from tests.attacks.stack import Stack
from tests.attacks.traffic import Traffic

from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import HttpClient

Report = Callable[[str], None]


@contextmanager
def create_run(stack: Stack, report: Report) -> Generator[AttackRun]:
    """Create the resources of a run, and remove them at its end, also after an error.

    Raises:
        EvError: the stack is not bootstrapped, or cannot be reached.
    """
    with HttpClient(stack.settings.wso2_ca_file) as http:
        run = AttackRun(stack, http, Traffic(), report)
        try:
            if not run.resources.remove_all(report):
                raise ProvisioningError("what an earlier run left cannot be removed")
            run.resources.set_up()
            yield run
        finally:
            run.access.close()
            run.resources.remove_all(report)
