FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY daemon daemon
COPY docs/runbooks docs/runbooks
RUN python -m venv /opt/psapwatch \
 && /opt/psapwatch/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt . \
 && /opt/psapwatch/bin/pip uninstall --yes --quiet pip setuptools

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 911 --home-dir /var/lib/psapwatch --create-home --shell /usr/sbin/nologin psapwatch
COPY --from=build /opt/psapwatch /opt/psapwatch
ENV PATH=/opt/psapwatch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 911
VOLUME /var/lib/psapwatch
EXPOSE 9911
STOPSIGNAL SIGTERM
# The image has no curl; PSAPWATCH_HEALTH_URL follows a web.listen other than the default.
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=2 CMD ["python", "-c", \
  "import os, urllib.request as u; u.urlopen(os.environ.get('PSAPWATCH_HEALTH_URL', 'http://127.0.0.1:9911/-/healthy'), timeout=2)"]
ENTRYPOINT ["psapwatch"]
CMD ["run", "--config", "/etc/psapwatch/psapwatch.yml"]
