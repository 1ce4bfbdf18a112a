"""The doctor's judgements on made-up machines, and its report on this one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from astra_play import cli, doctor
from astra_play.display import settings
from astra_play.errors import ConfigError, WeightsError

NO_GPU = {"cuda": [], "cuda_build": "", "mps": False, "capability": "AVX2", "threads": 2}
SCREEN = {"driver": "x11", "error": "", "sizes": [[1920, 1080]], "pads": []}


def levels(findings: list[doctor.Finding]) -> dict[str, str]:
    return {finding.area: finding.level for finding in findings}


def test_machine_without_gpu_is_fine() -> None:
    findings = doctor.judge_compute(NO_GPU, num_cores=2, has_nvidia_tool=False)
    assert levels(findings) == {"gpu": "note", "cpu": "ok"}
    assert "2 cores, AVX2, 2 compute threads" in findings[-1].text


def test_gpu_that_torch_cannot_use_is_told_with_the_reason() -> None:
    finding = doctor.judge_compute(NO_GPU, num_cores=2, has_nvidia_tool=True)[0]
    assert "build without CUDA" in finding.text and "CUDA build of torch" in finding.fix


def test_gpu_is_named_with_its_memory() -> None:
    finding = doctor.judge_compute({**NO_GPU, "cuda": [["H200", 141.0]]}, num_cores=8, has_nvidia_tool=True)[0]
    assert (finding.level, finding.text) == ("ok", "CUDA: H200, 141 GB")


def test_little_memory_prevents_playing_and_little_disk_does_not() -> None:
    findings = doctor.judge_space(available_gb=0.4, total_gb=4.0, free_disk_gb=0.2)
    assert levels(findings) == {"memory": "problem", "disk": "note"}
    assert "0.4 GB available" in findings[0].text and findings[0].fix


def test_screen_is_reported_with_driver_and_size() -> None:
    finding = doctor.judge_display(SCREEN, "linux", {"DISPLAY": ":0"})[0]
    assert (finding.level, finding.text) == ("ok", "x11, 1920x1080")


@pytest.mark.parametrize(("facts", "environment", "why"), [
    ({"driver": "offscreen"}, {}, "neither DISPLAY nor WAYLAND_DISPLAY"),
    ({"driver": "dummy"}, {"SDL_VIDEODRIVER": "dummy", "DISPLAY": ":0"}, "SDL_VIDEODRIVER is 'dummy'"),
    ({"driver": "offscreen"}, {"DISPLAY": ":0"}, "only its 'offscreen' driver"),
    ({"driver": "", "error": "x11 not available"}, {"SDL_VIDEODRIVER": "x11"}, "x11 not available"),
])
def test_missing_display_prevents_playing_and_says_why(facts: dict, environment: dict, why: str) -> None:
    finding = doctor.judge_display({**SCREEN, **facts}, "linux", environment)[0]
    assert finding.level == "problem" and why in finding.text
    assert "--headless" in finding.fix


def test_gamepads_are_named() -> None:
    finding = doctor.judge_display({**SCREEN, "pads": ["A pad"]}, "linux", {"DISPLAY": ":0"})[1]
    assert (finding.level, finding.text) == ("ok", "A pad")


def test_package_that_is_missing_or_old_is_a_problem_only_if_needed() -> None:
    assert [f.level for f in doctor.check_packages(["no-such-package>=1.0", "numpy>=99.0"], needed=True)] == [
        "problem", "problem"]
    assert [f.level for f in doctor.check_packages(["no-such-package>=1.0", "numpy>=99.0"], needed=False)] == ["note"]


def test_local_part_of_a_version_does_not_count() -> None:
    assert doctor.version_numbers("2.13.0+cpu") == doctor.version_numbers("2.13.0")


def test_damaged_default_world_prevents_playing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def verify(folder: Path) -> str:
        raise WeightsError("model.safetensors is cut short")

    monkeypatch.setattr("astra_play.paths.world_names", lambda: ["mini", "other"])
    monkeypatch.setattr("astra_play.paths.world_folder", lambda name: tmp_path / name)
    monkeypatch.setattr("astra_play.weights_cli.verify_world", verify)
    assert [finding.level for finding in doctor.check_weights()] == ["problem", "note"]


def test_missing_default_world_prevents_playing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astra_play.paths.world_names", lambda: [])
    assert [finding.level for finding in doctor.check_weights()] == ["problem"]


def test_own_file_that_does_not_exist_means_defaults(tmp_path: Path) -> None:
    finding = doctor.judge_own_file("keymap", tmp_path / "keymap.toml", lambda path: None, "problem")
    assert finding.level == "ok" and "defaults" in finding.text


def test_damaged_own_file_is_told_with_its_sentence(tmp_path: Path) -> None:
    path = tmp_path / "keymap.toml"
    path.touch()

    def read(path: Path) -> None:
        raise ConfigError("key 'ww' is not the name of a key")

    finding = doctor.judge_own_file("keymap", path, read, "problem")
    assert finding.level == "problem" and "'ww'" in finding.text and str(path) in finding.fix


@pytest.mark.parametrize(("text", "words"), [
    ('{"mouse_sensitivity": 99}', "mouse_sensitivity"), ('{"hut": true}', "'hut'"), ('{"hud": tru', "not valid JSON")])
def test_settings_that_the_player_does_not_take_are_told(text: str, words: str) -> None:
    path = settings.default_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"hud": true}', encoding="utf-8")
    assert doctor.check_settings()[1].level == "ok"
    path.write_text(text, encoding="utf-8")
    finding = doctor.check_settings()[1]
    assert finding.level == "note" and words in finding.text
    assert path.read_text(encoding="utf-8") == text


def test_check_that_breaks_does_not_end_the_report() -> None:
    def check_nothing() -> list[doctor.Finding]:
        raise ZeroDivisionError("by zero")

    assert [f.level for f in doctor.guarded(check_nothing)] == ["note"]


def test_exit_status_follows_the_problems(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    fine, bad = doctor.Finding("a", "note", "so so"), doctor.Finding("b", "problem", "broken", "mend it")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: [fine],))
    assert cli.main(["doctor"]) == 0
    monkeypatch.setattr(doctor, "CHECKS", (lambda: [fine, bad],))
    assert cli.main(["doctor"]) == 1
    assert "-> mend it" in capsys.readouterr().out


def test_json_report_of_this_machine_holds_every_area(capsys: pytest.CaptureFixture) -> None:
    status = cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert status == (1 if report["problems"] else 0)
    areas = {finding["area"] for finding in report["findings"]}
    assert areas >= {"environment", "packages", "gpu", "cpu", "memory", "disk", "display", "gamepad", "weights",
                     "keymap", "settings"}
