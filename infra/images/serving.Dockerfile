# The endpoint: no Spark, no pandas, no Airflow.  docker build -f infra/images/serving.Dockerfile -t topshelf-serving .
FROM python:3.12.12-slim-bookworm AS built
RUN pip install --no-cache-dir uv==0.8.22
WORKDIR /opt/topshelf
COPY pyproject.toml requirements.lock ./
# Compiled here: the user that serves cannot write beside the modules, and every start would compile a thousand of them.
RUN uv venv .venv \
 && uv pip install --python .venv/bin/python --compile-bytecode --group serving --constraint requirements.lock
COPY serving serving
RUN .venv/bin/python -m compileall -q serving

FROM python:3.12.12-slim-bookworm
RUN useradd --create-home --uid 10001 topshelf
WORKDIR /opt/topshelf
COPY --from=built /opt/topshelf/.venv .venv
COPY --from=built /opt/topshelf/serving serving
COPY infra/serving infra/serving
USER topshelf
ENV TOPSHELF_HOST=0.0.0.0 PYTHONUNBUFFERED=1
EXPOSE 8000
ENTRYPOINT ["infra/serving/start.sh"]
CMD ["serve"]
