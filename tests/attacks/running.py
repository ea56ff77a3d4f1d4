"""Makes on a stack what attacks need, and takes it back."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from tests.attacks.ground import Ground
from tests.attacks.stack import Stack
from tests.attacks.traffic import Traffic

from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import HttpClient

Report = Callable[[str], None]


@contextmanager
def standing(stack: Stack, report: Report) -> Generator[Ground]:
    """Give the ground of one run, and take back what was made there, whatever happens.

    Raises:
        EvError: the stack is not bootstrapped, or cannot be reached.
    """
    with HttpClient(stack.settings.wso2_ca_file) as http:
        ground = Ground(stack, http, Traffic(), report)
        try:
            if not ground.belongings.take_back(report):
                raise ProvisioningError("what an earlier run left cannot be removed")
            ground.belongings.set_up()
            yield ground
        finally:
            ground.door.close()
            ground.belongings.take_back(report)
