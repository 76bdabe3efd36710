# SIEIS in one image: web, consumer, worker, beat and every command are the same code, started differently.
FROM python:3.12.12-slim-bookworm AS libraries
COPY requirements /requirements
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        -r /requirements/base.txt -c /requirements/constraints.txt

FROM python:3.12.12-slim-bookworm
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SIEIS_DATA=/sieis/var SIEIS_LOG_FORMAT=json
# glibc gives each thread an arena of its own otherwise, and a web process keeps 60 MB of them.
ENV MALLOC_ARENA_MAX=2
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin sieis \
    && install -d -o sieis -g sieis /sieis /sieis/var
WORKDIR /sieis
COPY --from=libraries /venv /venv
COPY --chown=root:root . .
USER sieis
# The key that settings ask for is made for this one command and not kept in the image.
RUN SIEIS_SECRET_KEY=only-while-building SIEIS_EMBEDDED=1 python manage.py collectstatic --noinput --verbosity 0
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["python", "manage.py", "serve", "--host", "0.0.0.0"]
