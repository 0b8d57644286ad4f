# The endpoint: no Spark, no pandas, no Airflow.  docker build -f infra/images/serving.Dockerfile -t topshelf-serving .
FROM python:3.12.12-slim-bookworm AS built
RUN pip install --no-cache-dir uv==0.8.22
WORKDIR /opt/topshelf
COPY pyproject.toml requirements.lock ./
RUN uv venv .venv && uv pip install --python .venv/bin/python --group serving --constraint requirements.lock

FROM python:3.12.12-slim-bookworm
RUN useradd --create-home --uid 10001 topshelf
WORKDIR /opt/topshelf
COPY --from=built /opt/topshelf/.venv .venv
COPY serving serving
COPY infra/serving infra/serving
USER topshelf
ENV TOPSHELF_HOST=0.0.0.0 PYTHONUNBUFFERED=1
EXPOSE 8000
CMD ["infra/serving/start.sh"]
