# The night: Spark's driver, master and workers.  docker build -f infra/images/jobs.Dockerfile -t topshelf-jobs .
FROM python:3.12.12-slim-bookworm AS built
RUN pip install --no-cache-dir uv==0.8.22
WORKDIR /opt/topshelf
COPY pyproject.toml requirements.lock README.md ./
RUN uv venv .venv && uv pip install --python .venv/bin/python --group jobs --constraint requirements.lock
COPY jobs jobs
COPY serving serving
COPY sql sql
# Editable, so that workers import jobs from wherever Spark starts them, and queries are found beside them.
RUN uv pip install --python .venv/bin/python hatchling editables --constraint requirements.lock \
 && uv pip install --python .venv/bin/python --no-deps --no-build-isolation --editable .

# What Spark needs for a lake on s3://, and to read topics of Kafka.
FROM python:3.12.12-slim-bookworm AS jars
RUN apt-get update && apt-get install -y --no-install-recommends maven && rm -rf /var/lib/apt/lists/*
COPY infra/s3a.sh infra/s3a.sh
RUN infra/s3a.sh /opt/s3a
COPY infra/spark/kafka.sh infra/spark/kafka.sh
RUN infra/spark/kafka.sh /opt/spark-kafka

FROM python:3.12.12-slim-bookworm
# OpenJDK for Spark, libgomp for LightGBM and implicit, procps for Spark's own scripts.
RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless libgomp1 procps \
 && rm -rf /var/lib/apt/lists/* && useradd --create-home --uid 10001 topshelf
WORKDIR /opt/topshelf
COPY --from=built /opt/topshelf ./
COPY --from=jars /opt/s3a /opt/s3a
COPY --from=jars /opt/spark-kafka /opt/spark-kafka
COPY infra/spark infra/spark
COPY infra/kubernetes/spark-executor.yaml infra/kubernetes/spark-executor.yaml
USER topshelf
ENV TOPSHELF_S3A_JARS=/opt/s3a TOPSHELF_KAFKA_JARS=/opt/spark-kafka PYTHONUNBUFFERED=1
CMD [".venv/bin/python", "-m", "jobs", "--help"]
