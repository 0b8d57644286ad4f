#!/usr/bin/env bash
# Start a standalone Spark's master or worker in the foreground, from the pip package, natively or as a container's command.
#
#   infra/spark/start.sh master
#   infra/spark/start.sh worker spark://127.0.0.1:7077
#   infra/spark/start.sh executor       in a pod that Spark's driver made on Kubernetes; Spark sets SPARK_… there
#
# A night runs on it when its environment has TOPSHELF_SPARK_MASTER=spark://HOST:7077. Workers need the same Python
# packages, at the same path, and the same lake, as the driver.
# TOPSHELF_SPARK_HOST (127.0.0.1), TOPSHELF_SPARK_PORT (7077), TOPSHELF_WORKER_CORES (1), TOPSHELF_WORKER_MEMORY (2g).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${TOPSHELF_PYTHON:-$root/.venv/bin/python}
host=${TOPSHELF_SPARK_HOST:-127.0.0.1}
cd "$root"
TOPSHELF_JAVA=$("$python" -c 'from jobs.spark.session import java_home; print(java_home() / "bin" / "java")')
export TOPSHELF_JAVA JAVA_HOME=$root/jobs/spark/java_home
SPARK_HOME=$("$python" -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)')
export SPARK_HOME SPARK_LOCAL_IP=$host SPARK_CONF_DIR=${SPARK_CONF_DIR:-$root/jobs/spark/conf}
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1  # a task a core; BLAS's own threads would fight
work=${TOPSHELF_WORKER_DIR:-$root/data/spark-work}
case "${1:-}" in
  master)
    exec "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.master.Master \
      --host "$host" --port "${TOPSHELF_SPARK_PORT:-7077}" --webui-port "${TOPSHELF_SPARK_UI_PORT:-8081}"
    ;;
  worker)
    mkdir -p "$work"
    exec "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.worker.Worker "${2:?name the master, spark://HOST:7077}" \
      --host "$host" --webui-port "${TOPSHELF_SPARK_UI_PORT:-8082}" --work-dir "$work" \
      --cores "${TOPSHELF_WORKER_CORES:-1}" --memory "${TOPSHELF_WORKER_MEMORY:-2g}"
    ;;
  executor)  # as the entry point of Spark's own image does
    cd "$(mktemp -d)"  # where it lays the driver's jars, as an image may be for reading alone
    options=()
    while IFS= read -r name; do options+=("${!name}"); done < <(compgen -v SPARK_JAVA_OPT_ | sort -t_ -k4 -n)
    exec "$JAVA_HOME/bin/java" "${options[@]}" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
      -cp "$SPARK_CONF_DIR:$SPARK_HOME/jars/*${SPARK_CLASSPATH:+:$SPARK_CLASSPATH}" \
      org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
      --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
      --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
      --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
