# One file for every image; compose.yaml builds each with its target and member:
#   docker build --target service --build-arg MEMBER=services/solar --build-arg PORT=8001 --tag ev-solar .
# Nothing here needs BuildKit, a registry's syntax image or a certain Python: PYTHON_IMAGE is any image with Python 3.11
# or newer and its venv module.
ARG PYTHON_IMAGE=python:3.13-slim

# --- what is needed to build, and does not reach any image ---
# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements-build.lock ./
RUN python3 -m venv /tools \
    && /tools/bin/pip install --quiet --require-hashes --requirement requirements-build.lock

# --- what members share ---
FROM tools AS libs
COPY libs ./libs
# A checkout made under a strict umask must not become an image that its own user cannot read.
RUN chmod -R a+rX libs \
    && /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir wheels ./libs/*

# --- one member with what it needs; the layer of its dependencies changes with its lock alone ---
FROM tools AS member
ARG MEMBER
COPY ${MEMBER}/requirements.lock member/
RUN python3 -m venv --without-pip /app/venv \
    && /tools/bin/pip --python /app/venv/bin/python install --quiet --require-hashes --requirement member/requirements.lock \
    # The tests of numpy, scipy and pandas are a quarter of the solar image.
    && find /app/venv -type d -name tests -prune -exec rm -rf {} +
COPY --from=libs /build/wheels ./wheels/
COPY ${MEMBER} ./member/
RUN chmod -R a+rX member \
    && /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir wheels ./member \
    && /tools/bin/pip --python /app/venv/bin/python install --quiet --no-deps --no-index wheels/*.whl \
    && if [ -f member/main.py ]; then cp member/main.py /app/; fi

# --- what every image is made of ---
# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS base
ARG MEMBER
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="EV Charging Orchestrator: ${MEMBER}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A new volume takes owner and mode of the folder that it is mounted on.
RUN mkdir -p /app /var/lib/ev/certificates /var/lib/ev/credentials /var/lib/ev/state \
             /var/lib/ev/operator /var/lib/ev/field /var/lib/ev/broker /var/lib/ev/keys /var/lib/ev/wso2-config /var/lib/ev/wso2-logs /var/lib/ev/wso2-search \
    && chown -R 10001:10001 /var/lib/ev \
    && chmod -R u=rwX,go= /var/lib/ev
WORKDIR /app
ENV PATH="/app/venv/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    OMP_NUM_THREADS=1
COPY --from=member /app /app
USER 10001:10001

# --- a service, or the agent: an ASGI application in main.py ---
FROM base AS service
ARG PORT
# What the agent was approved to use; public, and of no use to the others.
COPY wso2/mcp-servers/tools.lock /app/wso2/mcp-servers/
ENV PORT=${PORT}
EXPOSE ${PORT}
# exec: the server itself gets the signal that stops it, and finishes what it is answering.
CMD ["sh", "-c", "exec uvicorn main:app --host 0.0.0.0 --port ${PORT} --http ev_service.http_protocol:HttpProtocol --backlog 128 --no-access-log --timeout-graceful-shutdown 5"]

# --- the local gateway ---
FROM base AS gateway
COPY wso2/conf/deployment.toml /app/wso2/conf/
ENV LOCAL_GATEWAY_DEPLOYMENT_FILE=/app/wso2/conf/deployment.toml \
    LOCAL_GATEWAY_STATE_DIR=/var/lib/ev/state
EXPOSE 8243 8280 9443
CMD ["python", "-m", "local_gateway"]

# --- the bootstrap, with everything that WSO2 is given; also makes keys ---
FROM base AS bootstrap
COPY scripts/bootstrap.py /app/scripts/
COPY wso2/apis /app/wso2/apis
COPY wso2/mcp-servers /app/wso2/mcp-servers
COPY wso2/policies /app/wso2/policies
COPY wso2/conf /app/wso2/conf
# As first process of a container Python does not hear SIGTERM; Ctrl-C it does, and says where it stopped.
STOPSIGNAL SIGINT
ENTRYPOINT ["python", "/app/scripts/bootstrap.py"]
CMD ["--credentials-dir", "/var/lib/ev/credentials"]
