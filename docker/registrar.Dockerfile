# The registrar: to run beside a container that cannot be changed, and to copy from into one that can:
#
#   COPY --from=branchfront/registrar /opt/branchfront /opt/branchfront
#
#   docker build -f docker/registrar.Dockerfile -t branchfront/registrar .
#
# Any Python of 3.11 or newer will do as a base, such as python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
USER root
# Where pip looks for packages; only read if they are given.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
WORKDIR /src
COPY . .
# Pure Python of 3.11 alone: the folder has to work with the Python of whatever image it is copied into.
# Compiled for this image's own; with another it starts a little later. Unchecked: times change on the way.
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheel . && \
    python3 -m pip install --no-cache-dir --target /opt/branchfront/lib \
        --platform any --python-version 3.11 --only-binary :all: "$(echo /wheel/branchfront-*.whl)[docker]" && \
    rm -rf /opt/branchfront/lib/bin && \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/branchfront/lib && \
    install -D docker/launcher /opt/branchfront/bin/registrar && \
    install docker/register.sh /opt/branchfront/register.sh

FROM ${PYTHON_IMAGE}
USER root
# Whoever gets in here shall not find an installer.
RUN python3 -c 'import shutil, sys; from pathlib import Path; \
[shutil.rmtree(found) for folder in sys.path for name in ("pip", "pip-*", "ensurepip") for found in Path(folder).glob(name)]' && \
    rm -f /usr/bin/pip* /usr/local/bin/pip* /usr/share/python-wheels/pip*
COPY --from=build /opt/branchfront /opt/branchfront
ENV PATH=/opt/branchfront/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# nobody, by number: so that whoever forbids root can tell.
USER 65534:65534
WORKDIR /
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.title="branchfront/registrar" \
      org.opencontainers.image.description="registers containers, so that every branch of every service has an address" \
      org.opencontainers.image.licenses="MIT"
ENTRYPOINT ["registrar"]
CMD ["sidecar"]
