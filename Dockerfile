# Two stages: wheels are built where there is a compiler, and run where there is none.
FROM python:3.13-slim AS build
WORKDIR /src
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY pyproject.toml hatch_build.py README.md ./
COPY bgproxy ./bgproxy
RUN python -m venv /opt/bgproxy && BGPROXY_COMPILE=1 /opt/bgproxy/bin/pip install --no-cache-dir .

FROM python:3.13-slim
COPY --from=build /opt/bgproxy /opt/bgproxy
RUN useradd --system --uid 10001 --no-create-home bgproxy \
 && mkdir -p /etc/bgproxy /var/lib/bgproxy \
 && chown bgproxy /var/lib/bgproxy
COPY config/minimal.yaml /etc/bgproxy/bgproxy.yaml
ENV PATH=/opt/bgproxy/bin:$PATH
USER 10001
VOLUME /var/lib/bgproxy
EXPOSE 8080
# SIGTERM drains: give the container longer than shutdown.timeout before it is killed.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9900/readyz', timeout=2)"]
ENTRYPOINT ["bgproxy"]
CMD ["run", "-c", "/etc/bgproxy/bgproxy.yaml"]
