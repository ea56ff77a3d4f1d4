"""Developer Portal REST API v3, `/applications/export`: an application as a zip, for whoever may export any.

Source: WSO2 API Manager 4.6, devportal-api.yaml and ExportUtils (carbon-apimgt): one folder `owner-name` with one
document; consumer secrets are in base64.
"""

import io
import json
import zipfile
from base64 import b64encode

from aiohttp import web

from local_gateway.management.application_keys import build_key_body
from local_gateway.management.devportal import BASE, ApplicationsApi, list_application_clients
from local_gateway.management.rest import Caller, ManagementContext, RestError, RouteTable, not_found, read_flag
from local_gateway.state import Application, Document

_SCOPES = ("apim:app_import_export",)


class ApplicationExportApi:
    """The operation, over the state of this process."""

    def __init__(self, context: ManagementContext, applications: ApplicationsApi) -> None:
        self._context = context
        self._applications = applications

    def routes(self) -> list[web.RouteDef]:
        """The operation with the scope that its caller needs; to be offered before those of single applications."""
        routes = RouteTable(self._context, BASE)
        routes.add("GET", "/applications/export", self.export, _SCOPES)
        return routes.definitions

    async def export(self, request: web.Request, caller: Caller) -> web.Response:
        owner, name = request.query.get("appOwner"), request.query.get("appName")
        if not owner or not name:
            raise RestError(400, "appOwner and appName are needed")
        for application in self._context.state.applications.values():
            if (application.owner, application.name) == (owner, name):
                document = self._build_document(application, with_keys=read_flag(request, "withKeys", default=False))
                is_json = request.query.get("format", "YAML").upper() == "JSON"
                return web.Response(body=_write_archive(application, document, is_json), content_type="application/zip")
        raise not_found("Application", name)

    def _build_document(self, application: Application, *, with_keys: bool) -> Document:
        described = self._applications.build_application_body(application)
        if with_keys:
            described["keys"] = [
                body | {"consumerSecret": b64encode(body["consumerSecret"].encode()).decode()}
                for body in map(build_key_body, list_application_clients(self._context, application.application_id))
            ]
        products = {one.product_id: one for one in self._context.state.products()}
        subscribed = [
            {
                "apiId": {
                    "providerName": products[held.api_id].provider,
                    "apiName": products[held.api_id].name,
                    "version": products[held.api_id].version,
                },
                "throttlingPolicy": held.throttling_policy,
            }
            for held in self._context.state.subscriptions.values()
            if held.application_id == application.application_id
        ]
        data = {"applicationInfo": described, "subscribedAPIs": subscribed}
        return {"type": "application", "version": "v4.6.0", "data": data}


def _write_archive(application: Application, document: Document, is_json: bool) -> bytes:
    # JSON is YAML, too.
    text = json.dumps(document)
    folder = f"{application.owner}-{application.name}"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{folder}/application.{'json' if is_json else 'yaml'}", text)
    return content.getvalue()
