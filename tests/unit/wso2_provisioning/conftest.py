"""A WSO2 in a dictionary: answers the calls of the provisioning, so that its state can be looked at and cut off."""

import base64
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import yaml
from defusedxml.ElementTree import fromstring

from wso2_provisioning.settings import ProvisioningSettings
from wso2_terms.api_archive import read_api_archive
from wso2_terms.artifacts import Artifacts, load_artifacts
from wso2_terms.policies import SHIPPED_PLANS

ADMIN_PASSWORD, OWNER_PASSWORD = "admin-Passw0rd", "evapp-Passw0rd"
WSO2_DIR = Path(__file__).parents[3] / "wso2"
BACKENDS = {f"{name}_BACKEND_URL": "http://127.0.0.1:9" for name in ("SOLAR", "BATTERY", "GRID", "AGENT", "CHARGERS")}
JSON = dict[str, Any]
READ_ONLY_SOAP = ("isExistingRole", "isExistingUser", "getRoleListOfUser", "authenticate")


class FakeWso2:
    """State and answers. `requests` holds what was asked, `mutated_by` which of them (from 1) changed the state."""

    def __init__(self) -> None:
        self.roles = {"admin", "Internal/everyone", "Internal/subscriber"}
        self.users: dict[str, JSON] = {"admin": {"password": ADMIN_PASSWORD, "roles": {"admin"}}}
        self.policies: dict[str, dict[str, JSON]] = {"subscription": {}, "advanced": {}, "application": {}}
        self.apis: dict[str, JSON] = {}
        self.mcp_servers: dict[str, JSON] = {}
        self.revisions: dict[str, list[JSON]] = {}
        self.applications: dict[str, JSON] = {}
        self.subscriptions: dict[str, JSON] = {}
        self.clients: dict[str, JSON] = {}
        self.tokens: dict[str, JSON] = {}
        self.requests: list[httpx.Request] = []
        self.mutated_by: list[int] = []
        self.denied: list[JSON] = []
        self.starting_answers = 0
        self.gateway_answers: list[httpx.Response] = []
        self.grants_everything = False
        self.never_granted: set[str] = set()
        self.forgets: JSON = {}
        self.mcp_forgets: JSON = {}
        self._made = 0

    def configuration(self) -> JSON:
        """Everything that outlives a run, without ids that every new start chooses anew."""
        names = {app_id: app["name"] for app_id, app in self.applications.items()}
        api_names = {api_id: api["name"] for api_id, api in self.apis.items()}
        server_names = {server_id: server["name"] for server_id, server in self.mcp_servers.items()}
        return {
            "roles": sorted(self.roles),
            "users": {name: sorted(user["roles"]) for name, user in self.users.items()},
            "policies": self.policies,
            "apis": {name: self.apis[api_id] | {"id": ""} for api_id, name in api_names.items()},
            "mcp_servers": {name: self.served(server_id) for server_id, name in server_names.items()},
            "applications": sorted((app["owner"], app["name"]) for app in self.applications.values()),
            "subscriptions": sorted(
                (names[s["applicationId"]], (api_names | server_names)[s["apiId"]], s["throttlingPolicy"], s["status"])
                for s in self.subscriptions.values()
            ),
            "clients": sorted(client["name"] for client in self.clients.values()),
        }

    def served(self, server_id: str) -> JSON:
        """What the gateway has of an MCP server: the deployed revision, without ids, and the state."""
        found = [revision for revision in self.revisions[server_id] if revision["deploymentInfo"]]
        frozen: JSON = json.loads(json.dumps(found[0]["frozen"])) if found else {"operations": []}
        for operation in frozen["operations"]:
            operation["apiOperationMapping"] |= {"apiId": ""}
            operation.pop("schemaDefinition", None)
        return frozen | {"id": "", "lifeCycleStatus": self.mcp_servers[server_id]["lifeCycleStatus"]}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        for pattern, handler in self._routes():
            found = re.fullmatch(pattern, f"{request.method} {path}")
            if found:
                return handler(request, *found.groups())
        return httpx.Response(404, json={"code": 404, "message": "Not Found", "description": path})

    def _routes(self) -> Iterator[tuple[str, Callable[..., httpx.Response]]]:
        portal, publisher = "/api/am/devportal/v3", "/api/am/publisher/v4"
        yield "GET /api/am/gateway/v2/server-startup-healthcheck", self._health
        yield "POST /client-registration/v0.17/register", self._register
        yield "POST /oauth2/token", self._token
        yield "POST /oauth2/revoke", self._revoke
        yield "POST /services/RemoteUserStoreManagerService", self._soap
        yield "GET /api/am/admin/v4/throttling/policies/(subscription|advanced|application)", self._list_policies
        yield "POST /api/am/admin/v4/throttling/policies/import", self._import_policy
        yield "GET /api/am/admin/v4/throttling/deny-policies", self._list_denied
        yield "GET /api/am/admin/v4/applications", self._owned
        yield f"GET {publisher}/subscriptions", self._subscribers
        yield f"GET {publisher}/apis", self._list_apis
        yield f"POST {publisher}/apis/import", self._import_api
        yield f"GET {publisher}/apis/([^/]+)", self._get_api
        yield f"GET {publisher}/apis/([^/]+)/deployments", self._deployments
        servers = f"{publisher}/mcp-servers"
        yield f"GET {servers}", self._list_servers
        yield f"POST {servers}/generate-from-api", self._generate_server
        yield f"POST {servers}/change-lifecycle", self._change_lifecycle
        yield f"(GET|PUT) {servers}/([^/]+)", self._server
        yield f"(GET|POST) {servers}/([^/]+)/revisions", self._server_revisions
        yield f"DELETE {servers}/([^/]+)/revisions/([^/]+)", self._delete_revision
        yield f"POST {servers}/([^/]+)/deploy-revision", self._deploy_revision
        yield f"(GET|POST) {portal}/applications", self._applications
        yield f"GET {portal}/applications/export", self._export
        yield f"GET {portal}/applications/([^/]+)", self._application
        yield f"(GET|POST) {portal}/subscriptions", self._subscriptions
        yield f"PUT {portal}/subscriptions/([^/]+)", self._change_plan
        yield f"GET {portal}/applications/([^/]+)/oauth-keys", self._list_keys
        yield f"POST {portal}/applications/([^/]+)/generate-keys", self._generate_keys
        yield f"POST {portal}/applications/([^/]+)/oauth-keys/([^/]+)/regenerate-secret", self._rotate
        yield "GET /(?:solar|battery|grid)/1.0.0/.*", self._gateway

    @property
    def mutations(self) -> int:
        return len(self.mutated_by)

    def _mutated(self) -> None:
        self.mutated_by.append(len(self.requests))

    def _id(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made}"

    def _caller(self, request: httpx.Request) -> str | None:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer":
            return self.tokens.get(value, {}).get("user")
        name, _, password = base64.b64decode(value).decode().partition(":")
        known = self.users.get(name)
        return name if known and known["password"] == password else None

    def _health(self, _: httpx.Request) -> httpx.Response:
        self.starting_answers -= 1
        return httpx.Response(500 if self.starting_answers >= 0 else 200)

    def _register(self, request: httpx.Request) -> httpx.Response:
        if self._caller(request) is None:
            return build_unauthenticated()
        name = json.loads(request.content)["clientName"]
        client = next((c for c in self.clients.values() if c["name"] == name), None)
        if client is None:
            client = self._client(name, "admin", None)
        body = {"clientId": client["id"], "clientSecret": client["secret"], "clientName": name}
        return httpx.Response(200, json=body)

    def _client(self, name: str, owner: str, application: str | None) -> JSON:
        self._mutated()
        client_id = self._id("client")
        client = {"id": client_id, "secret": f"s3cr3t-{client_id}", "name": name, "owner": owner, "app": application}
        self.clients[client_id] = client | {"mapping": self._id("mapping")}
        return self.clients[client_id]

    def _token(self, request: httpx.Request) -> httpx.Response:
        basic = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        client_id, _, secret = basic.partition(":")
        client = self.clients.get(client_id)
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        if client is None or client["secret"] != secret:
            return httpx.Response(401, json={"error": "invalid_client"})
        user = str(form.get("username", client["owner"]))
        if "username" in form and self.users.get(user, {}).get("password") != form["password"]:
            return httpx.Response(400, json={"error": "invalid_grant", "error_description": "Authentication failed"})
        granted = [scope for scope in form["scope"].split() if self._is_granted(scope, self.users[user]["roles"])]
        token = self._id("t0k3n")
        self.tokens[token] = {"user": user, "scopes": granted, "client": client_id}
        body = {"access_token": token, "scope": " ".join(granted) or "default", "token_type": "Bearer"}
        return httpx.Response(200, json=body | {"expires_in": 3600})

    def _revoke(self, request: httpx.Request) -> httpx.Response:
        self.tokens.pop(parse_qs(request.content.decode())["token"][0], None)
        return httpx.Response(200)

    def _is_granted(self, scope: str, roles: set[str]) -> bool:
        if scope in self.never_granted:
            return False
        if self.grants_everything or scope.startswith("device_"):
            return True
        if scope.startswith("apim:"):
            return "admin" in roles or (scope == "apim:subscribe" and "Internal/subscriber" in roles)
        bindings = {
            listed["scope"]["name"]: set(listed["scope"]["bindings"])
            for product in (*self.apis.values(), *self.mcp_servers.values())
            for listed in product["scopes"]
        }
        return bool(bindings.get(scope, set()) & roles)

    def _soap(self, request: httpx.Request) -> httpx.Response:
        if self._caller(request) != "admin":
            return httpx.Response(401)
        call = next(iter(next(iter(fromstring(request.content)))))
        operation = call.tag.rpartition("}")[2]
        assert request.headers["SOAPAction"] == f'"urn:{operation}"'
        values: dict[str, list[str]] = {}
        for element in call:
            values.setdefault(element.tag.rpartition("}")[2], []).append(element.text or "")
        if operation not in READ_ONLY_SOAP:
            self._mutated()
            return self._write_user(operation, values)
        name = (values.get("roleName") or values["userName"])[0]
        answer = {
            "isExistingRole": ["true" if name in self.roles else "false"],
            "isExistingUser": ["true" if name in self.users else "false"],
            "getRoleListOfUser": sorted(self.users.get(name, {}).get("roles", [])),
            "authenticate": [str(values.get("credential") == [self.users.get(name, {}).get("password")]).lower()],
        }[operation]
        returned = "".join(f"<ns:return>{value}</ns:return>" for value in answer)
        return httpx.Response(200, text=f'<e xmlns:ns="urn:any">{returned}</e>')

    def _write_user(self, operation: str, values: dict[str, list[str]]) -> httpx.Response:
        if operation == "addRole":
            self.roles.add(values["roleName"][0])
        elif operation == "addUser":
            roles = set(values["roleList"])
            if not roles <= self.roles:
                fault = f"<e><faultstring>no such role {values['credential'][0]}</faultstring></e>"
                return httpx.Response(500, text=fault)
            self.users[values["userName"][0]] = {"password": values["credential"][0], "roles": roles}
        elif operation == "updateRoleListOfUser":
            held = self.users[values["userName"][0]]["roles"]
            held -= set(values.get("deletedRoles", []))
            held |= set(values.get("newRoles", []))
        else:
            self.users[values["userName"][0]]["password"] = values["newCredential"][0]
        return httpx.Response(202)

    def _list_policies(self, request: httpx.Request, kind: str) -> httpx.Response:
        if self._caller(request) != "admin":
            return build_unauthenticated()
        return listing(list(self.policies[kind].values()))

    def _import_policy(self, request: httpx.Request) -> httpx.Response:
        policy = yaml.safe_load(read_upload(request))
        self._mutated()
        kind = self.policies[policy["subtype"].removesuffix(" policy")]
        existed = policy["data"]["policyName"] in kind
        kind[policy["data"]["policyName"]] = policy["data"]
        return httpx.Response(200 if existed else 201, text="Successfully imported")

    def _list_apis(self, request: httpx.Request) -> httpx.Response:
        if self._caller(request) != "admin":
            return build_unauthenticated()
        name = request.url.params.get("query", "name:").split()[0].removeprefix("name:")
        return listing([api for api in self.apis.values() if name in api["name"]])

    def _import_api(self, request: httpx.Request) -> httpx.Response:
        project = read_api_archive(read_upload(request))
        roles = {role for listed in project.api.scopes for role in listed.scope.bindings}
        if (
            not roles <= self.roles
            or not set(project.api.policies) <= self.policies["subscription"].keys() | SHIPPED_PLANS
        ):
            body = {"code": 900305, "message": "Invalid", "description": "unknown policy or role"}
            return httpx.Response(400, json=body)
        self._mutated()
        known = next((i for i, api in self.apis.items() if api["name"] == project.api.name), None)
        api_id = known or self._id("api")
        body = project.api.model_dump(mode="json", by_alias=True)
        deployed = [deployment.deployment_environment for deployment in project.deployments]
        self.apis[api_id] = body | {"id": api_id, "deployed": deployed, "definition": project.definition} | self.forgets
        return httpx.Response(200, json={"id": api_id, "revision": "r"})

    def _get_api(self, _: httpx.Request, api_id: str) -> httpx.Response:
        return httpx.Response(200, json=self.apis[api_id])

    def _deployments(self, _: httpx.Request, api_id: str) -> httpx.Response:
        return httpx.Response(200, json={"list": [{"name": name} for name in self.apis[api_id]["deployed"]]})

    def _list_servers(self, request: httpx.Request) -> httpx.Response:
        if self._caller(request) != "admin":
            return build_unauthenticated()
        name = request.url.params.get("query", "name:").split()[0].removeprefix("name:")
        shown = ("id", "name", "version", "provider")
        found = [server for server in self.mcp_servers.values() if name in server["name"]]
        return listing([{key: server[key] for key in shown} for server in found])

    def _generate_server(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        contexts = {server["context"] for server in self.mcp_servers.values()}
        if body["context"] in contexts:
            return httpx.Response(409, json={"code": 900251, "description": "context exists"})
        self._mutated()
        server_id = self._id("server")
        for operation in body["operations"]:
            # The least that WSO2 is sure to take over when it makes tools of an API's operations.
            operation |= {"scopes": [], "throttlingPolicy": "Unlimited"}
        made = body | {"id": server_id, "provider": "admin", "lifeCycleStatus": "CREATED"}
        self.mcp_servers[server_id] = self._with_tools(made) | {"subtypeConfiguration": {"subtype": "EXISTING_API"}}
        self.revisions[server_id] = []
        return httpx.Response(201, json=self.mcp_servers[server_id])

    def _with_tools(self, server: JSON) -> JSON:
        for operation in server["operations"]:
            mapping = operation["apiOperationMapping"]
            behind = mapping["backendOperation"]
            defined = self.apis[mapping["apiId"]]["definition"]["paths"][behind["target"]][behind["verb"].lower()]
            operation.setdefault("target", defined["operationId"])
            operation.setdefault("description", defined["description"])
        return server | self.mcp_forgets

    def _server(self, request: httpx.Request, verb: str, server_id: str) -> httpx.Response:
        if server_id not in self.mcp_servers:
            return httpx.Response(404, json={"code": 404})
        if verb == "PUT":
            self._mutated()
            kept = {name: self.mcp_servers[server_id][name] for name in ("id", "provider", "lifeCycleStatus")}
            self.mcp_servers[server_id] = self._with_tools(json.loads(request.content) | kept)
        return httpx.Response(200, json=self.mcp_servers[server_id])

    def _server_revisions(self, request: httpx.Request, verb: str, server_id: str) -> httpx.Response:
        kept = self.revisions[server_id]
        if verb == "GET":
            return listing([{key: value for key, value in one.items() if key != "frozen"} for one in kept])
        if len(kept) >= 5:
            return httpx.Response(400, json={"code": 900351, "description": "Maximum number of revisions"})
        self._mutated()
        number = 1 + max((int(one["displayName"].split()[1]) for one in kept), default=0)
        made: JSON = {"id": self._id("revision"), "displayName": f"Revision {number}", "deploymentInfo": []}
        frozen = json.loads(json.dumps(self.mcp_servers[server_id]))
        kept.append(made | {"description": json.loads(request.content)["description"], "frozen": frozen})
        return httpx.Response(201, json=made)

    def _delete_revision(self, _: httpx.Request, server_id: str, revision_id: str) -> httpx.Response:
        found = next(one for one in self.revisions[server_id] if one["id"] == revision_id)
        if found["deploymentInfo"]:
            return httpx.Response(400, json={"code": 900352, "description": "it is deployed"})
        self._mutated()
        self.revisions[server_id].remove(found)
        return httpx.Response(200, json={})

    def _deploy_revision(self, request: httpx.Request, server_id: str) -> httpx.Response:
        self._mutated()
        deployments = json.loads(request.content)
        for revision in self.revisions[server_id]:
            is_it = revision["id"] == request.url.params["revisionId"]
            revision["deploymentInfo"] = deployments if is_it else []
        return httpx.Response(201, json=deployments)

    def _change_lifecycle(self, request: httpx.Request) -> httpx.Response:
        server = self.mcp_servers[request.url.params["mcpServerId"]]
        if (server["lifeCycleStatus"], request.url.params["action"]) != ("CREATED", "Publish"):
            return httpx.Response(400, json={"code": 900381, "description": "no such transition"})
        self._mutated()
        server["lifeCycleStatus"] = "PUBLISHED"
        return httpx.Response(200, json={"workflowStatus": "APPROVED"})

    def _list_denied(self, request: httpx.Request) -> httpx.Response:
        return listing(self.denied) if self._caller(request) == "admin" else build_unauthenticated()

    def _owned(self, request: httpx.Request) -> httpx.Response:
        if self._caller(request) != "admin":
            return build_unauthenticated()
        return listing([app for app in self.applications.values() if app["owner"] == request.url.params["user"]])

    def _export(self, request: httpx.Request) -> httpx.Response:
        wanted = (request.url.params["appOwner"], request.url.params["appName"])
        app = next((app for app in self.applications.values() if (app["owner"], app["name"]) == wanted), None)
        if self._caller(request) != "admin" or app is None:
            return httpx.Response(404, json={"code": 404}) if app is None else build_unauthenticated()
        keys = [key_body(client) for client in self.clients.values() if client["app"] == app["applicationId"]]
        for key in keys:
            key["consumerSecret"] = base64.b64encode(key["consumerSecret"].encode()).decode()
        document: JSON = {"type": "application", "data": {"applicationInfo": app | {"keys": keys}}}
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(f"{app['owner']}-{app['name']}/application.json", json.dumps(document))
        return httpx.Response(200, content=content.getvalue())

    def _subscribers(self, request: httpx.Request) -> httpx.Response:
        if self._caller(request) != "admin":
            return build_unauthenticated()
        wanted = request.url.params["apiId"]
        return listing([self._subscriber(one) for one in self.subscriptions.values() if one["apiId"] == wanted])

    def _subscriber(self, held: JSON) -> JSON:
        app = self.applications[held["applicationId"]]
        return {
            "subscriptionId": held["subscriptionId"],
            "applicationInfo": {
                "applicationId": app["applicationId"],
                "name": app["name"],
                "subscriber": app["owner"],
            },
            "throttlingPolicy": held["throttlingPolicy"],
            "subscriptionStatus": held["status"],
        }

    def _application(self, _: httpx.Request, app_id: str) -> httpx.Response:
        return httpx.Response(200, json=self.applications[app_id])

    def _applications(self, request: httpx.Request, verb: str) -> httpx.Response:
        user = self._caller(request)
        if user is None:
            return build_unauthenticated()
        mine = [app for app in self.applications.values() if app["owner"] == user]
        if verb == "GET":
            return listing([app for app in mine if request.url.params["query"] in app["name"]])
        name = json.loads(request.content)["name"]
        if any(app["name"] == name for app in mine):
            return httpx.Response(409, json={"code": 409, "description": "exists"})
        self._mutated()
        app_id = self._id("app")
        self.applications[app_id] = {"applicationId": app_id, "name": name, "owner": user}
        self.applications[app_id]["throttlingPolicy"] = json.loads(request.content)["throttlingPolicy"]
        return httpx.Response(201, json=self.applications[app_id])

    def _subscriptions(self, request: httpx.Request, verb: str) -> httpx.Response:
        if verb == "GET":
            wanted = request.url.params["applicationId"]
            return listing([s for s in self.subscriptions.values() if s["applicationId"] == wanted])
        body = json.loads(request.content)
        pair = (body["applicationId"], body["apiId"])
        if any((s["applicationId"], s["apiId"]) == pair for s in self.subscriptions.values()):
            return httpx.Response(409, json={"code": 409, "description": "exists"})
        self._mutated()
        made = body | {"subscriptionId": self._id("subscription"), "status": "UNBLOCKED"}
        self.subscriptions[made["subscriptionId"]] = made
        return httpx.Response(201, json=made)

    def _change_plan(self, request: httpx.Request, subscription_id: str) -> httpx.Response:
        self._mutated()
        subscription = self.subscriptions[subscription_id]
        subscription["throttlingPolicy"] = json.loads(request.content)["requestedThrottlingPolicy"]
        return httpx.Response(200, json=subscription)

    def _list_keys(self, _: httpx.Request, app_id: str) -> httpx.Response:
        return listing([key_body(client) for client in self.clients.values() if client["app"] == app_id])

    def _generate_keys(self, _: httpx.Request, app_id: str) -> httpx.Response:
        if any(client["app"] == app_id for client in self.clients.values()):
            return httpx.Response(409, json={"code": 901409, "message": "Key Mappings already exists"})
        app = self.applications[app_id]
        return httpx.Response(200, json=key_body(self._client(app["name"], app["owner"], app_id)))

    def _rotate(self, _: httpx.Request, app_id: str, mapping: str) -> httpx.Response:
        client = next(c for c in self.clients.values() if c["app"] == app_id and c["mapping"] == mapping)
        self._mutated()
        client["secret"] += "-rotated"
        return httpx.Response(200, json={"consumerKey": client["id"], "consumerSecret": client["secret"]})

    def _gateway(self, _: httpx.Request) -> httpx.Response:
        return self.gateway_answers.pop(0) if self.gateway_answers else httpx.Response(200, json={"generation_kw": 1.0})


def key_body(client: JSON) -> JSON:
    return {
        "keyMappingId": client["mapping"],
        "keyManager": "Resident Key Manager",
        "keyType": "PRODUCTION",
        "consumerKey": client["id"],
        "consumerSecret": client["secret"],
    }


def listing(found: list[JSON]) -> httpx.Response:
    return httpx.Response(200, json={"count": len(found), "list": found})


def build_unauthenticated() -> httpx.Response:
    return httpx.Response(401, json={"code": 401, "message": "", "description": "Unauthenticated request"})


def read_upload(request: httpx.Request) -> bytes:
    body = io.BytesIO(request.content).getvalue()
    boundary = request.headers["Content-Type"].partition("boundary=")[2].encode()
    return body.split(b"--" + boundary)[1].partition(b"\r\n\r\n")[2][:-2]


@pytest.fixture
def fake() -> FakeWso2:
    return FakeWso2()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> ProvisioningSettings:
    monkeypatch.setenv("WSO2_ADMIN_PASSWORD", ADMIN_PASSWORD)
    monkeypatch.setenv("EVAPP_PASSWORD", OWNER_PASSWORD)
    return ProvisioningSettings()


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    return load_artifacts(WSO2_DIR, BACKENDS)
