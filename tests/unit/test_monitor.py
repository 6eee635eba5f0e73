"""What the monitor is made of: files for Prometheus and Grafana, and what is said of the trials that are scraped."""

from __future__ import annotations

import json
import socket

import pytest
import yaml

from controller.cli import main
from testbed.errors import InputError
from testbed.monitor.api import Target
from testbed.monitor.files import exported, grafana_files, prometheus_files
from testbed.monitor.monitor import check_free
from testbed.monitor.status import scraped


def test_prometheus_is_given_its_rules_where_its_configuration_looks_for_them():
    files = prometheus_files()
    (pattern,) = yaml.safe_load(files["prometheus.yml"])["rule_files"]
    assert pattern == "rules/*.yml"
    assert "rules/testbed.yml" in files


def test_grafana_is_given_a_data_source_and_every_dashboard():
    files = grafana_files("http://127.0.0.1:9091")
    (source,) = yaml.safe_load(files["provisioning/datasources/testbed.yaml"])["datasources"]
    (provider,) = yaml.safe_load(files["provisioning/dashboards/testbed.yaml"])["providers"]
    assert source["url"] == "http://127.0.0.1:9091"
    assert provider["options"]["path"] == "/etc/testbed/dashboards"
    assert {"dashboards/overview.json", "dashboards/ues.json"} < set(files)


def test_what_is_exported_finds_itself_where_it_lies(tmp_path):
    files = exported("http://prometheus.example:9090", tmp_path, tmp_path / "targets")
    (job,) = yaml.safe_load(files["prometheus/prometheus.yml"])["scrape_configs"]
    (provider,) = yaml.safe_load(files["grafana/provisioning/dashboards/testbed.yaml"])["providers"]
    assert job["file_sd_configs"][0]["files"] == [f"{tmp_path}/targets/*.json"]
    assert f"{provider['options']['path']}/overview.json" == f"{tmp_path}/grafana/dashboards/overview.json"
    assert not any("${TESTBED" in text for text in files.values())


def test_export_writes_files_and_says_so(tmp_path, capsys):
    main_with(["monitor", "export", str(tmp_path / "new"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*.*")} == set(told["files"])


def test_export_to_a_place_that_cannot_be_is_bad_input(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main_with(["monitor", "export", str(tmp_path / "file" / "in it")]) == 2
    assert capsys.readouterr().err.startswith("DIR: ")


def test_a_port_in_use_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"^--prometheus-port: 127\.0\.0\.1:{port} cannot be had: .* in use"):
            check_free(port, "--prometheus-port")
    check_free(port, "--prometheus-port")


def test_each_trial_that_is_scraped_has_a_row_with_who_is_silent():
    targets = [Target("a", "bs", True, ""), Target("a", "ue1", False, "refused"), Target("b", "bs", True, "")]
    assert scraped(targets) == [
        {"trial": "a", "targets": 2, "answering": 1, "silent": {"ue1": "refused"}},
        {"trial": "b", "targets": 1, "answering": 1, "silent": {}},
    ]


def main_with(arguments: list[str]) -> int:
    """The exit status of the command line."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)
