"""Uses up EVApp's calls of one minute at SolarAPI: the gateway refuses the eleventh one.

Runs where the agent runs, with the agent's variables; in the Compose stack:

    docker compose exec -T agent python - < scripts/demo_throttling.py

It uses its own token (scope device_eleventh), so that the agent's is not revoked; the calls count for EVApp.
Exit code: 0 a call was refused with 429, 1 none was.
"""

import os
import ssl
import sys
import time
from pathlib import Path

import httpx

PATH = "/solar/1.0.0/solar-status"
# WSO2 decides shortly after the tenth call: some more may pass.
MAX_CALLS = 40
PAUSE_S = 0.1


def main() -> int:
    """Call until the gateway refuses; return the exit code."""
    trust = ssl.create_default_context(cafile=os.environ.get("WSO2_CA_FILE") or None)
    gateway = os.environ.get("WSO2_GATEWAY_URL") or "https://localhost:8243"
    # No proxy from the environment: it would see the token.
    with httpx.Client(verify=trust, trust_env=False, timeout=30) as client:
        bearer = {"Authorization": f"Bearer {request_token(client)}"}
        for number in range(1, MAX_CALLS + 1):
            response = client.get(gateway + PATH, headers=bearer)
            body = response.json()
            print(
                f"call {number:2}: {response.status_code} {body.get('code', '')} {body.get('description', '')}".rstrip()
            )
            if response.status_code == 429:
                return 0
            time.sleep(PAUSE_S)
    return 1


def request_token(client: httpx.Client) -> str:
    """Request a token for EVApp."""
    response = client.post(
        os.environ.get("WSO2_TOKEN_URL") or "https://localhost:9443/oauth2/token",
        data={"grant_type": "client_credentials", "scope": "solar:read device_eleventh"},
        auth=(read_credential("CLIENT_ID"), read_credential("CLIENT_SECRET")),
    )
    if response.status_code != 200:
        sys.exit(f"the token endpoint answered {response.status_code}")
    return str(response.json()["access_token"])


def read_credential(name: str) -> str:
    """Return the variable WSO2_<name>, or the content of the file WSO2_<name>_FILE."""
    value, file = os.environ.get(f"WSO2_{name}"), os.environ.get(f"WSO2_{name}_FILE")
    if value:
        return value
    if not file:
        sys.exit(f"WSO2_{name}_FILE is not set; the file is in the folder of bootstrap.py --credentials-dir")
    return Path(file).read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    sys.exit(main())
