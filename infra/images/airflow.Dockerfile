# Airflow.  docker build -f infra/images/airflow.Dockerfile --target airflow -t topshelf-airflow .
# With `--target scheduler` the jobs come along, in an environment of their own: LocalExecutor runs tasks where it is.
FROM python:3.12.12-slim-bookworm AS built
RUN pip install --no-cache-dir uv==0.8.22
WORKDIR /opt/topshelf
COPY pyproject.toml requirements.lock requirements-airflow-kubernetes.lock requirements-airflow-aws.lock ./
RUN uv venv /opt/airflow && uv pip install --python /opt/airflow/bin/python --group airflow --constraint requirements.lock \
 && uv pip install --python /opt/airflow/bin/python --require-hashes --no-deps -r requirements-airflow-kubernetes.lock \
 && uv pip install --python /opt/airflow/bin/python --require-hashes --no-deps -r requirements-airflow-aws.lock

FROM python:3.12.12-slim-bookworm AS airflow
RUN apt-get update && apt-get install -y --no-install-recommends curl \
 && rm -rf /var/lib/apt/lists/* && useradd --create-home --uid 10001 topshelf \
 && mkdir -p /var/lib/airflow && chown topshelf /var/lib/airflow
WORKDIR /opt/topshelf
COPY --from=built /opt/airflow /opt/airflow
COPY dags dags
COPY infra/airflow infra/airflow
USER topshelf
ENV PATH=/opt/airflow/bin:$PATH AIRFLOW_PYTHON=/opt/airflow/bin/python AIRFLOW_HOME=/var/lib/airflow TOPSHELF_AIRFLOW_HOST=0.0.0.0 PYTHONUNBUFFERED=1
CMD ["infra/airflow/start.sh", "api-server"]

FROM airflow AS scheduler
USER root
RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless libgomp1 procps \
 && rm -rf /var/lib/apt/lists/*
COPY --from=topshelf-jobs /opt/topshelf/.venv .venv
COPY --from=topshelf-jobs /opt/s3a /opt/s3a
COPY --from=topshelf-jobs /opt/spark-kafka /opt/spark-kafka
COPY jobs jobs
COPY serving serving
COPY sql sql
COPY infra/spark infra/spark
USER topshelf
ENV TOPSHELF_S3A_JARS=/opt/s3a TOPSHELF_KAFKA_JARS=/opt/spark-kafka
CMD ["infra/airflow/start.sh", "scheduler"]
