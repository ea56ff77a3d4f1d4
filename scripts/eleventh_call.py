"""Spends EVApp's minute at SolarAPI: the eleventh call is refused by the gateway.

Runs where the agent runs, with the agent's variables; in the Compose stack:

    docker compose exec -T agent python - < scripts/eleventh_call.py

Its token is its own (scope device_eleventh), so that the agent's is not revoked; the calls are EVApp's.
Exit code: 0 a call was refused with 429, 1 none was.
"""

import os
import ssl
import sys
import time
from pathlib import Path

import httpx

PATH = "/solar/1.0.0/solar-status"
# WSO2's verdict comes back a moment after the tenth call: some more may pass.
MOST_CALLS = 40
PAUSE_S = 0.1


def main() -> int:
    """Call until refused."""
    trust = ssl.create_default_context(cafile=os.environ.get("WSO2_CA_FILE") or None)
    gateway = os.environ.get("WSO2_GATEWAY_URL") or "https://localhost:8243"
    # No proxy from the environment: it would see the token.
    with httpx.Client(verify=trust, trust_env=False, timeout=30) as client:
        bearer = {"Authorization": f"Bearer {token(client)}"}
        for number in range(1, MOST_CALLS + 1):
            answer = client.get(gateway + PATH, headers=bearer)
            told = answer.json()
            print(
                f"call {number:2}: {answer.status_code} {told.get('code', '')} {told.get('description', '')}".rstrip()
            )
            if answer.status_code == 429:
                return 0
            time.sleep(PAUSE_S)
    return 1


def token(client: httpx.Client) -> str:
    """Get a token in EVApp's name."""
    answer = client.post(
        os.environ.get("WSO2_TOKEN_URL") or "https://localhost:9443/oauth2/token",
        data={"grant_type": "client_credentials", "scope": "solar:read device_eleventh"},
        auth=(credential("CLIENT_ID"), credential("CLIENT_SECRET")),
    )
    if answer.status_code != 200:
        sys.exit(f"the token endpoint answered {answer.status_code}")
    return str(answer.json()["access_token"])


def credential(name: str) -> str:
    """The variable, or the content of the file that WSO2_<name>_FILE names."""
    value, file = os.environ.get(f"WSO2_{name}"), os.environ.get(f"WSO2_{name}_FILE")
    if value:
        return value
    if not file:
        sys.exit(f"WSO2_{name}_FILE is not set; the file stands in the folder of bootstrap.py --credentials-dir")
    return Path(file).read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    sys.exit(main())
