# A frontend: nginx, and the regenerator that keeps it at what the registry says.
#
#   docker build -f docker/frontend.Dockerfile -t branchfront/frontend .
#
# Any nginx of 1.27.4 or newer on Debian will do as a base, such as nginx:1.30.6@sha256:…; 1.30.1 mended CVE-2026-42945.
ARG NGINX_IMAGE=nginx:1.30

FROM ${NGINX_IMAGE} AS base
USER root
# Python and curl of the distribution, where the base has none: the official image has no Python.
RUN for needed in python3 curl; do \
        command -v "$needed" >/dev/null || missing="${missing:-} $needed"; \
    done; \
    if [ -n "${missing:-}" ]; then \
        apt-get update && apt-get install --yes --no-install-recommends $missing && rm -rf /var/lib/apt/lists/* /var/cache/apt/*; \
    fi

FROM base AS build
# Where pip looks for packages; only read if they are given.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
RUN python3 -m pip --version 2>/dev/null || \
    { apt-get update && apt-get install --yes --no-install-recommends python3-pip; }
WORKDIR /src
COPY . .
# Compiled now, because nothing can be written later: a start takes half the time. Unchecked: times change on the way.
RUN python3 -m pip install --no-cache-dir --target /opt/branchfront/lib '.[regenerator]' && \
    rm -rf /opt/branchfront/lib/bin && \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/branchfront/lib && \
    install -D docker/launcher /opt/branchfront/bin/regenerator && \
    install -D docker/launcher /opt/branchfront/bin/registrar

FROM base
COPY --from=build /opt/branchfront /opt/branchfront
# The user nginx of the official image, by number: so that whoever forbids root can tell.
RUN install -d -o 101 -g 101 -m 0700 /var/lib/branchfront
# The access log stays in the volume, where the regenerator bounds it. In the container's log it would end all service as soon as
# nobody reads that: nginx waits for its log, and an engine that hangs, or a slow driver, keeps it waiting.
ENV PATH=/opt/branchfront/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    STATE=/var/lib/branchfront \
    NGINX=/usr/sbin/nginx
# Generations: what was served last is served again after a start, be there a registry or not.
VOLUME /var/lib/branchfront
USER 101:101
WORKDIR /
EXPOSE 8080
# To the regenerator, which ends nginx in order; nginx's own image says SIGQUIT.
STOPSIGNAL SIGTERM
# Healthy: nginx accepts connections, with a generation. There is none before a new frontend's first look at the registry.
HEALTHCHECK --interval=5s --timeout=3s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "--max-time", "2", \
         "--unix-socket", "/var/lib/branchfront/run/marker.sock", "http://marker/generation"]
LABEL org.opencontainers.image.title="branchfront/frontend" \
      org.opencontainers.image.description="nginx that follows a registry: every branch of every service has an address" \
      org.opencontainers.image.licenses="MIT"
ENTRYPOINT ["regenerator", "run"]
