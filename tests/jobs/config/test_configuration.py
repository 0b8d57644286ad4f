"""topshelf.toml, the environment and flags: what wins, and how a fault is reported before anything starts."""

import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.config.configuration import FLAGS, KNOWN, Configuration, ConfigurationError, read_configuration, read_places
from jobs.config.console import as_toml
from jobs.config.fields import settings_of
from jobs.config.parameters import EventWeights, Parameters
from jobs.config.retention import Retention
from jobs.config.rules import checked_rules
from jobs.config.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(
    text: str = "", flags: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Configuration:
    """Return the configuration of a topshelf.toml in the working directory."""
    if text:
        Path("topshelf.toml").write_text(text)
    return read_configuration(flags, environment or {})


def faults(
    text: str = "", flags: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        read(text, flags, environment)
    return str(raised.value).splitlines()


def test_without_any_source_everything_has_its_default() -> None:
    assert read() == Configuration(Settings(), Parameters())


def test_flags_win_over_the_environment_and_the_environment_over_the_file() -> None:
    text = """
    [places]
    lake = "from-file"
    landing = "from-file"
    store = "lmdb://from-file"
    [parameters.shelves]
    top_n = 30
    [parameters.ranking]
    trees = 40
    leaves = 9
    """
    environment = {
        "TOPSHELF_LAKE": "from-variable",
        "TOPSHELF_LANDING": "from-variable",
        "TOPSHELF_PARAMETERS__RANKING__TREES": "50",
        "TOPSHELF_PARAMETERS__SHELVES__TOP_N": "60",
    }
    found = read(text, {"--landing": "from-flag", "--top-n": 70, "--lake": None}, environment)
    assert found.settings == Settings(landing="from-flag", lake="from-variable", store="lmdb://from-file")
    expected = {"shelves.top_n": 70, "ranking.trees": 50, "ranking.leaves": 9}
    assert found.parameters == Parameters().with_values(expected)
    assert found.origins == {
        "places.landing": "--landing",
        "places.lake": "TOPSHELF_LAKE",
        "places.store": "topshelf.toml",
        "parameters.shelves.top_n": "--top-n",
        "parameters.ranking.trees": "TOPSHELF_PARAMETERS__RANKING__TREES",
        "parameters.ranking.leaves": "topshelf.toml",
    }


def test_a_variable_may_name_another_file_and_an_empty_variable_is_one_that_is_not_set() -> None:
    Path("shop.toml").write_text("parameters.seed = 5")
    assert read("parameters.seed = 4", environment={"TOPSHELF_CONFIG": "shop.toml"}).parameters.seed == 5
    empty = {"TOPSHELF_CONFIG": "", "TOPSHELF_LAKE": "", "TOPSHELF_PARAMETERS__SEED": "", "TOPSHELF_RULES": ""}
    assert read(environment=empty) == read()


def test_a_setting_that_is_not_named_keeps_its_default_beside_one_that_is() -> None:
    weights = read("parameters.features.event_weight_milli.view = 2000").parameters.features.event_weight_milli
    assert weights.by_event_type() == EventWeights().by_event_type() | {"view": 2000}
    heads = read("parameters.ranking.head_weight.click = 2").parameters.ranking.head_weight
    assert heads.positive() == {"purchase": 1.0, "interaction": 0.1, "click": 2.0, "conversion": 30.0}


WHOLE = "is not allowed; give a whole number from"
NUMBER = "is not allowed; give a number"


@pytest.mark.parametrize(
    ("assignment", "fault"),
    [
        ("ranking.trees = 'many'", f"{WHOLE} 1 to 10,000"),
        ("ranking.trees = '300'", f"{WHOLE} 1 to 10,000"),
        ("ranking.trees = 300.0", f"{WHOLE} 1 to 10,000"),
        ("ranking.trees = true", f"{WHOLE} 1 to 10,000"),
        ("ranking.trees = 0", f"{WHOLE} 1 to 10,000"),
        ("ranking.trees = [1]", f"{WHOLE} 1 to 10,000"),
        ("ranking.learning_rate = 0", f"{NUMBER} above 0 and up to 1"),
        ("ranking.learning_rate = nan", f"{NUMBER} above 0 and up to 1"),
        ("ranking.learning_rate = true", f"{NUMBER} above 0 and up to 1"),
        ("ranking.order_tilt = -0.1", f"{NUMBER} from 0 to 100"),
        ("ranking.head_weight.purchase = -1", f"{NUMBER} from 0 to 1,000,000,000"),
        ("ranking.calibration = 'sigmoid'", "is not allowed; give one of platt, isotonic, none"),
        ("ranking.calibration = 1", "is not allowed; give one of platt, isotonic, none"),
        ("shelves.blend.mmr_lambda = 1.5", f"{NUMBER} from 0 to 1"),
        ("shelves.blend.max_per.brand = 0", f"{WHOLE} 1 to 2,000"),
        ("shelves.dormant.after_days = -1", f"{WHOLE} 0 to 36,500"),
        ("shelves.dormant.shelf = 'x'", "is not allowed; give one of segment, fused"),
        ("shelves.new_items.boost = -0.1", f"{NUMBER} from 0 to 1,000"),
        ("shelves.new_items.boost_days = 0", f"{WHOLE} 1 to 3,650"),
        ("models.two_tower.enabled = 1", "is not allowed; give true or false"),
    ],
)
def test_a_wrong_value_is_reported_with_its_key_and_what_is_allowed(assignment: str, fault: str) -> None:
    assert faults(f"parameters.{assignment}") == [f"topshelf.toml: parameters.{assignment} {fault}"]


@pytest.mark.parametrize(
    ("assignment", "nearest"),
    [
        ("ranking.treees = 300", "ranking.trees, a whole number from 1 to 10,000"),
        ("trees = 300", "ranking.trees, a whole number from 1 to 10,000"),
        ("als_factors = 8", "models.als.factors, a whole number from 1 to 1,024"),
        ("ranking.threads.most = 1", "ranking.threads, a whole number from 1 to 1,024"),
        ("ranking.head_weight.purchases = 1", "ranking.head_weight.purchase, a number from 0 to 1,000,000,000"),
    ],
)
def test_an_unknown_name_is_reported_with_the_nearest_one(assignment: str, nearest: str) -> None:
    expected = f"topshelf.toml: parameters.{assignment} is not known; the nearest name is parameters.{nearest}"
    assert faults(f"parameters.{assignment}") == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parameters = [1, 2]", "parameters = [1, 2] is not allowed; it is a table of candidates, features, models"),
        (
            "parameters.ranking = 3",
            "parameters.ranking = 3 is not allowed; it is a table of calibration, ",
        ),
        ("[[parameters.models]]\na = 3", "parameters.models = [{'a': 3}] is not allowed; it is a table of als"),
        ("parameters.features.event_weight_milli.wish = 2", "parameters.features.event_weight_milli.wish = 2 is not"),
        ("parameters.rules.blocked.items = []", "parameters.rules.blocked.items = [] is not known; "),
        ("places.lake = 3", "places.lake = 3 is not allowed; give text in quotes: a folder, or s3://"),
        ("places.lake = ''", "places.lake = '' is not allowed; give text in quotes: a folder, or s3://"),
        ("place.lake = 'x'", "place.lake = 'x' is not known; the nearest name is places.lake, text in quotes"),
        ("zzz = 'red'", "zzz = 'red' is not known; `topshelf config` lists all names"),
    ],
)
def test_what_is_no_table_and_what_belongs_to_none_is_reported(text: str, expected: str) -> None:
    (fault,) = faults(text)
    assert fault.startswith(f"topshelf.toml: {expected}")


def test_a_file_that_is_no_toml_is_reported_with_the_line() -> None:
    (fault,) = faults("parameters.seed = 1\nparameters.ranking.trees =\n")
    assert fault.startswith("topshelf.toml is no TOML: Invalid value (at line 2, column 27); `topshelf config")


def test_each_fault_has_a_line_and_names_the_variable_or_the_flag() -> None:
    environment = {
        "TOPSHELF_PARAMETERS__RANKING__TREES": "many",
        "TOPSHELF_PARAMETERS__TREEES": "300",
        "TOPSHELF_PARAMETERS__MODELS": "{}",
        "TOPSHELF_PARAMETERS__MODELS__TWO_TOWER__ENABLED": "2",
    }
    assert faults("parameters.seed = -1", {"--top-n": 0}, environment) == [
        "topshelf.toml: parameters.seed = -1 is not allowed; give a whole number from 0 to 2,147,483,647",
        "TOPSHELF_PARAMETERS__MODELS = '{}' is not allowed; "
        "it is a table of als, content, ease, neighbours, two_tower",
        "TOPSHELF_PARAMETERS__MODELS__TWO_TOWER__ENABLED = '2' is not allowed; give true or false",
        "TOPSHELF_PARAMETERS__RANKING__TREES = 'many' is not allowed; give a whole number from 1 to 10,000",
        "TOPSHELF_PARAMETERS__TREEES = '300' is not known; "
        "the nearest name is parameters.ranking.trees, a whole number from 1 to 10,000",
        "--top-n = 0 is not allowed; give a whole number from 1 to 2,000",
    ]


def test_the_text_of_a_variable_stands_for_a_value() -> None:
    environment = {
        "TOPSHELF_PARAMETERS__RANKING__TREES": "300",
        "TOPSHELF_PARAMETERS__RANKING__LEARNING_RATE": "1",
        "TOPSHELF_PARAMETERS__RANKING__CALIBRATION": "none",
        "TOPSHELF_PARAMETERS__MODELS__ALS__ALPHA": "2.5",
        "TOPSHELF_PARAMETERS__MODELS__TWO_TOWER__ENABLED": "false",
        "TOPSHELF_LAKE": "2026",
    }
    found = read(environment=environment)
    assert found.settings.lake == "2026"
    assert found.parameters.ranking.trees == 300
    assert repr(found.parameters.ranking.learning_rate) == "1.0"
    assert found.parameters.ranking.calibration == "none"
    assert found.parameters.models.als.alpha == 2.5
    assert found.parameters.models.two_tower.enabled is False


def test_a_file_that_is_missing_or_cannot_be_read_is_reported() -> None:
    (fault,) = faults(environment={"TOPSHELF_CONFIG": "gone.toml"})
    assert fault == "TOPSHELF_CONFIG = 'gone.toml': there is no such file; name one, or unset it"
    (fault,) = faults(environment={"TOPSHELF_CONFIG": "."})
    assert fault == ". cannot be read (Is a directory); make it a readable file"
    Path("topshelf.toml").write_bytes(b"\xff\xfe")
    (fault,) = faults()
    assert fault.startswith("topshelf.toml is no TOML: it is not UTF-8 text; `topshelf config --toml` prints")


def test_the_variable_that_once_named_a_json_file_says_what_to_do_instead() -> None:
    (fault,) = faults(environment={"TOPSHELF_PARAMETERS": "parameters.json"})
    assert fault.startswith("TOPSHELF_PARAMETERS is no longer read; write its values into topshelf.toml")
    assert "TOPSHELF_CONFIG" in fault


def test_a_command_ends_with_the_fault_alone_before_it_starts_anything(tmp_path: Path) -> None:
    Path("topshelf.toml").write_text("parameters.ranking.trees = 'many'\nparameters.sed = 1")
    command = [sys.executable, "-m", "jobs", "nightly", "--ds", "2026-01-31", "--landing", "nowhere"]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "topshelf: topshelf.toml: parameters.ranking.trees = 'many' is not allowed; "
        "give a whole number from 1 to 10,000\n"
        "topshelf.toml: parameters.sed = 1 is not known; "
        "the nearest name is parameters.seed, a whole number from 0 to 2,147,483,647\n"
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "topshelf.toml"]


def test_parameters_are_frozen_and_checked_wherever_they_are_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Parameters().seed = 3
    with pytest.raises(ValidationError, match=r"ranking\.treees"):
        Parameters().with_values({"ranking.treees": 3})
    with pytest.raises(ValidationError, match=r"ranking\.trees"):
        Parameters().with_values({"ranking.trees": "3"})
    with pytest.raises(ValidationError, match="extra"):
        Parameters(top_n=3)  # type: ignore[call-arg]


def test_other_values_leave_all_others_as_they_are() -> None:
    changed = Parameters(rules={"just_bought": {"days": 7}}).with_values({"ranking.trees": 9})
    assert changed.rules == {"just_bought": {"days": 7}}
    assert changed.with_values({"ranking.trees": Parameters().ranking.trees, "rules": {}}) == Parameters()
    assert changed.with_values({"report.currency": "EUR"}).digest() == changed.digest()  # it shapes no snapshot
    assert changed.digest() != Parameters(rules={"just_bought": {"days": 7}}).digest()


def test_every_setting_is_described_with_what_is_allowed_and_its_default_is_allowed() -> None:
    tables = {"parameters": Parameters, "places": Settings, "retention": Retention}
    leaves = {key for name, table in tables.items() for key in settings_of(table, name)}
    assert leaves == set(KNOWN)
    assert set(FLAGS.values()) <= set(KNOWN)
    for setting in KNOWN.values():
        assert setting.description.endswith(".")
        assert setting.allowed
        assert setting.default is None or setting.checked(setting.default) == setting.default


def test_a_printed_file_reads_back_as_what_was_in_force() -> None:
    plain = {
        "blocked": {"items": ['quote " and \\ and \x7f', "línea\n2", "0042"], "brands": ["Acme"]},
        "age_limits": [{"category": "drinks/spirits", "least_age": 18, "by_region": {"U S": 21, "DE": 0}}],
        "just_bought": {"days": 30},
    }
    rules = checked_rules(plain, "rules")
    flags = {"--top-n": 7, "--lake": 's3://bucket/"x"'}
    environment = {
        "TOPSHELF_PARAMETERS__MODELS__ALS__FACTORS": "8",
        "TOPSHELF_PARAMETERS__RANKING__LEARNING_RATE": "1e-05",
    }
    found = read(flags=flags, environment=environment)
    changed = Configuration(found.settings, found.parameters.with_values({"rules": rules}))
    for configuration in (read(), found, changed):
        again = read(as_toml(configuration))
        assert again.settings == configuration.settings
        assert again.parameters == configuration.parameters
        assert again.parameters.digest() == configuration.parameters.digest()
        Path("topshelf.toml").unlink()


def test_the_file_in_the_readme_is_read() -> None:
    text = (ROOT / "README.md").read_text().split("```toml\n")[1].split("```")[0]
    configuration = read(text)
    assert configuration.settings == Settings.below(Path("shop"))
    assert configuration.parameters == Parameters(rules={"just_bought": {"days": 30}})


def test_a_printed_file_names_every_setting_with_its_bounds_and_default() -> None:
    text = as_toml(read())
    tables = tomllib.loads(text)
    assert tables["parameters"]["ranking"]["trees"] == 100
    assert text.count("# Allowed: ") == len(KNOWN)
    assert "# Trees of each head.\n# Allowed: a whole number from 1 to 10,000. Default: 100.\ntrees = 100\n" in text
    assert "\n# factors =\n" in text  # not set: the shop's data choose


def test_what_is_in_force_is_printed_with_its_origin() -> None:
    Path("topshelf.toml").write_text(
        '[places]\nstore = "redis://:secret@host:6379/0"\n[rules]\nblocked.items = ["[/a]"]'
    )
    environment = {"PYTHONPATH": str(ROOT), "TOPSHELF_PARAMETERS__RANKING__TREES": "300"}
    command = [sys.executable, "-m", "jobs", "config", "--top-n", "50"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines()}
    assert rows["parameters.ranking.trees"] == "300 TOPSHELF_PARAMETERS__RANKING__TREES Trees of each head."
    assert rows["parameters.shelves.top_n"] == "50 --top-n Items on a shelf."
    assert rows["parameters.ranking.leaves"] == "31 default Most leaves of a tree; fewer with few labels."
    assert rows["rules.blocked.items"] == '["[/a]"] topshelf.toml See docs/rules.md.'
    assert rows["places.store"].startswith('"redis://***@host:6379/0" topshelf.toml ')
    assert "secret" not in done.stdout
    assert set(rows) == {"key", "rules.blocked.items", *KNOWN}


def test_a_rollback_finds_its_store_though_parameters_and_rules_are_invalid() -> None:
    Path("topshelf.toml").write_text("""
    [places]
    store = "lmdb://from-file"
    [parameters.ranking]
    trees = "many"
    [rules]
    blocked = 7
    """)
    environment = {"TOPSHELF_RULES": "missing.yaml", "TOPSHELF_ARCHIVE": "s3://bucket/shop"}
    places = read_places({"--lake": "from-flag"}, environment)
    assert (places.store, places.archive, places.lake) == ("lmdb://from-file", "s3://bucket/shop", "from-flag")
    with pytest.raises(ConfigurationError, match=r"--store = .. is not allowed"):
        read_places({"--store": ""}, {})


@pytest.mark.parametrize("scheme", ["gs://", "s3a://", "abfss://", "hdfs://", "S3://", "file:///"])
@pytest.mark.parametrize("place", ["landing", "lake", "store", "archive"])
def test_a_place_of_an_unknown_scheme_is_refused_with_what_is_known(place: str, scheme: str) -> None:
    variable = f"TOPSHELF_{place.upper()}"
    with pytest.raises(ConfigurationError) as raised:
        read_places(environment={variable: f"{scheme}shop/x"})
    assert str(raised.value).startswith(f"{variable} = '{scheme}shop/x' is not allowed; give text in quotes: ")
    assert "://" in str(raised.value).partition("give ")[2]


def test_a_lake_on_s3_gets_its_server_from_the_environment_as_spark_does() -> None:
    fault = faults("places.lake = 's3://shop/lake?endpoint=http://127.0.0.1:7070'")
    assert fault[0].endswith("its server in AWS_ENDPOINT_URL")


def test_gauges_go_to_a_folder_of_this_machine() -> None:
    with pytest.raises(ConfigurationError, match="TOPSHELF_METRICS_DIR: 'gs://shop' is no folder"):
        read(environment={"TOPSHELF_METRICS_DIR": "gs://shop"})


def test_retention_has_bounds_and_leaves_a_night_s_identity_alone() -> None:
    kept = read("retention.exposures_days = 90", environment={"TOPSHELF_RETENTION__REPORTS_DAYS": "7"})
    assert (kept.retention.exposures_days, kept.retention.reports_days) == (90, 7)
    assert kept.parameters.digest() == Parameters().digest()
    fault = faults("", environment={"TOPSHELF_RETENTION__REPORTS_DAYS": "29"})
    assert fault == ["TOPSHELF_RETENTION__REPORTS_DAYS = '29' is not allowed; give a whole number from 1 to 28"]
